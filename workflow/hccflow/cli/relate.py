"""Imaging signatures of one cohort against genes, gene sets, histology and arms of treatment.

Scores must be unseen (kind oof or frozen); components, scales and lines come frozen from ``relate_fit``. Patients are
matched by their identifier and whoever stays alone is counted. Writes metrics.tsv, genes.tsv, enrichment.tsv,
pairs.tsv, matching.tsv, signatures.tsv and figures/*.{svg,png}; docs/relate.md defines every number.
"""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path

from hccflow.cli import _relate
from hccflow.errors import DataAbsentError
from hccflow.ids import CohortRole
from hccflow.tables import read_table, write_table

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    _relate.add_arguments(parser, several=False)
    parser.add_argument("--cohort", required=True, help="name of the cohort")
    parser.add_argument("--role", type=CohortRole, choices=list(CohortRole), required=True, help="role of the cohort")
    parser.add_argument("--fit", type=Path, required=True, help="folder made by relate_fit")
    parser.add_argument("--sets", type=Path, nargs="?", help="gene sets in GMT form")


def run(args: argparse.Namespace) -> None:
    """Read, relate, write, draw."""
    import pandas as pd

    from hccflow.figures.relate import GenePicture, draw_all
    from hccflow.relate import Cohort, frozen_from, read_gmt, relate, signature_table

    chosen = args.settings["relate"]
    path = args.fit / "frozen.json"
    if not path.is_file():
        raise DataAbsentError("frozen.json not found", where=path, todo="run relate_fit on the development cohorts")
    frozen = frozen_from(json.loads(path.read_text(encoding="utf-8")))
    subjects, scores, features = _relate.imaging(args)
    cases = pd.MultiIndex.from_frame(subjects[["subject", "session"]])
    signatures = frozen.standardised(signature_table(chosen["signatures"], scores, features, frozen.components, cases))
    split = read_table(args.split, "split")
    cohort = Cohort(
        args.cohort, args.role is CohortRole.DEVELOPMENT, subjects, signatures,
        _relate.measurements(args.data, chosen["genes"]["table"]) if "genes" in chosen else None,
        _relate.histology(args.data, chosen.get("histology")),
    )  # fmt: skip
    sets = read_gmt(args.sets) if args.sets is not None else {}
    taught = frozenset(split.loc[split["role"] == "train", "subject"])
    result = relate(cohort, frozen, taught, sets, args.settings)
    for name in ("genes", "enrichment", "pairs", "matching"):
        write_table(getattr(result, name), args.out / f"{name}.tsv")
    write_table(signatures.reset_index().assign(cohort=args.cohort), args.out / "signatures.tsv")
    pictures = {
        name: GenePicture(link.genes.table, link.genes.tested, link.genes.sets.members, link.expression, link.signature)
        for name, link in result.links.items()
        if link.genes.null is not None
    }
    tables = {"enrichment": result.enrichment, "pairs": result.pairs, "metrics": result.metrics}
    for drawn in draw_all(args.cohort, pictures, tables, chosen, args.out / "figures"):
        log.info("%s", drawn)
    write_table(result.metrics, args.out / "metrics.tsv")
    log.info("%s: %d numbers", args.out / "metrics.tsv", len(result.metrics))
