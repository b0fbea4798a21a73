"""The frozen models of a sweep -> the best of them, chosen inside the development folds and frozen in its turn."""

from __future__ import annotations

import argparse
from pathlib import Path

from hccflow.cli import _arguments
from hccflow.participants import read_subjects
from hccflow.tables import read_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--model", required=True, help="name of the choice in the settings")
    parser.add_argument("--subjects", type=Path, nargs="+", required=True, help="subjects.tsv of development cohorts")
    parser.add_argument("--split", type=Path, required=True, help="split.tsv")
    parser.add_argument("--inputs", type=Path, nargs="+", required=True, help="the candidates' training folders")
    parser.add_argument("--settings", type=_arguments.settings, required=True, help="JSON, or a YAML or JSON file")
    parser.add_argument("--out", type=Path, required=True, help="folder of the model")


def run(args: argparse.Namespace) -> None:
    """Choose, and write the choice."""
    from hccflow.train.choosing import train_choice
    from hccflow.train.training import write_training

    subjects = read_subjects(args.subjects, args.settings["columns"])
    split = read_table(args.split, "split")
    write_training(train_choice(args.model, args.settings, subjects, split, args.inputs), args.out)
