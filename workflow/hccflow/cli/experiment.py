"""Variants of declared models against their bases, on out-of-fold scores of the development cohorts.

Writes OUT (rows as in metrics.tsv) and OUT with the ending .variants.tsv: every variant ever tried, those that the
configuration no longer declares among them. docs/experiment.md defines every number.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from hccflow.cli._arguments import settings
from hccflow.cli.validate import make_options
from hccflow.errors import ConfigError
from hccflow.freeze import SCORES, verify
from hccflow.ledger import read_variants
from hccflow.tables import read_table, write_table

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``hccflow experiment``."""
    parser.add_argument("--train", required=True, nargs="+", type=Path, help="training folders of bases and variants")
    parser.add_argument("--variants", required=True, type=Path, help="ledger of variants")
    parser.add_argument("--settings", type=settings, required=True, help="sections validate, variants, seed")
    parser.add_argument("--out", required=True, type=Path, help="table to write, for example experiment.tsv")


def run(args: argparse.Namespace) -> None:
    """Verify, compare, write."""
    from hccflow.validate.experiment import compare, tried

    frozen = {folder.name: verify(folder) for folder in args.train}
    scores = {folder.name: read_table(folder / SCORES, "predictions") for folder in args.train}
    variants = tried(args.settings["variants"], read_variants(args.variants))
    declared = variants[variants["declared"] == 1]
    for name in [*declared["base"], *declared["variant"]]:
        if name not in frozen:
            raise ConfigError("a model of the experiment is not given", where="--train", expected=name)
    table = compare(scores, frozen, variants, make_options(args.settings))
    write_table(variants, args.out.with_suffix(".variants.tsv"))
    write_table(table, args.out)
    log.info("%s: %d variants, %d of them declared", args.out, len(variants), len(declared))
