"""Development cohorts -> odds ratios of a clinical logistic model's variables, each alone and all together."""

from __future__ import annotations

import argparse
from pathlib import Path

from hccflow.cli import _arguments
from hccflow.errors import ConfigError
from hccflow.participants import read_subjects
from hccflow.tables import read_table, write_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--model", required=True, help="name of the model in the settings")
    parser.add_argument("--subjects", type=Path, nargs="+", required=True, help="subjects.tsv of development cohorts")
    parser.add_argument("--split", type=Path, required=True, help="split.tsv")
    parser.add_argument("--settings", type=_arguments.settings, required=True, help="JSON, or a YAML or JSON file")
    parser.add_argument("--out", type=Path, required=True, help="table (schema metrics)")


def run(args: argparse.Namespace) -> None:
    """Write the table of one model."""
    from hccflow.train.odds import odds_table

    if args.model not in args.settings["models"]:
        raise ConfigError(f"unknown model '{args.model}'", where="models", expected=", ".join(args.settings["models"]))
    subjects = read_subjects(args.subjects, args.settings["columns"])
    write_table(odds_table(args.model, args.settings, subjects, read_table(args.split, "split")), args.out)
