"""What relate learns from development cohorts: components of features, scales, lines to histology. See ``relate``.

Writes frozen.json, fits.tsv (who taught each step). The feature tables lie in folders roi-NAME, as extract makes them;
--data names the cohort folders with the laboratory tables.
"""

from __future__ import annotations

import argparse
import json

from hccflow.cli import _relate
from hccflow.tables import read_table, write_table, write_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    _relate.add_arguments(parser, several=True)


def run(args: argparse.Namespace) -> None:
    """Fit and write."""
    from hccflow.relate import learn

    chosen = args.settings["relate"]
    subjects, scores, features = _relate.imaging(args)
    frozen, fits = learn(
        chosen, subjects, read_table(args.split, "split"), scores, features,
        _relate.histology(args.data, chosen.get("histology")),
    )  # fmt: skip
    write_table(fits, args.out / "fits.tsv")
    write_text(args.out / "frozen.json", json.dumps(frozen.document(), indent=1, sort_keys=True) + "\n")
