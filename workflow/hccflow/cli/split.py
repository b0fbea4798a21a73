"""Split the development subjects: internal test set, and folds of the repeated cross-validation.

One split serves every later stage. Only development cohorts may enter; the unit is the subject, whatever its number of
sessions, and the result does not depend on the order of the rows.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from hccflow.cli._arguments import settings
from hccflow.enrol.split import make_split
from hccflow.tables import check_table, load_schema, read_text_table, write_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``hccflow split``."""
    parser.add_argument("--subjects", required=True, nargs="+", type=Path, help="subjects.tsv of development cohorts")
    parser.add_argument("--settings", required=True, type=settings, help="columns, endpoints, split and the seed")
    parser.add_argument("--out", required=True, type=Path, help="split.tsv")


def run(args: argparse.Namespace) -> None:
    """Read the subjects, split, write the table."""
    schema = load_schema("subjects")
    tables = [check_table(read_text_table(path), schema, where=path) for path in args.subjects]
    write_table(make_split(tables, args.settings), args.out)
