"""Over all external cohorts of a study: pooled AUC and calibration, and how much the cohorts differ.

Takes the tables of scores of two or more cohorts; a cohort that shares subjects with development is left out of the
mean. Writes OUT (rows as in metrics.tsv) and a forest beside it (.svg and .png); docs/metrics.md defines every number.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

from hccflow.cli._arguments import settings
from hccflow.cli.validate import make_options
from hccflow.tables import read_table, write_table
from hccflow.validate import pool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``hccflow pool``."""
    parser.add_argument("--predictions", required=True, nargs="+", type=Path, help="tables of scores, all cohorts")
    parser.add_argument("--settings", type=settings, default={}, help="sections validate, endpoints, models, primary")
    parser.add_argument("--out", required=True, type=Path, help="table to write, for example pooled.tsv")


def run(args: argparse.Namespace) -> None:
    """Read, pool, write."""
    options = make_options(args.settings)
    table = pool(pd.concat([read_table(path, "predictions") for path in args.predictions], ignore_index=True), options)
    from hccflow.figures.validate import draw_pooled

    draw_pooled(table, args.out.with_suffix(""), options.labels)
    write_table(table, args.out)
