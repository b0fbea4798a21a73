"""Frozen models -> a fusion learnt from their out-of-fold scores (stacking), frozen in its turn."""

from __future__ import annotations

import argparse
from pathlib import Path

from hccflow.cli import _arguments, _variants
from hccflow.participants import read_subjects
from hccflow.tables import read_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--model", required=True, help="name of the fusion in the settings")
    parser.add_argument("--subjects", type=Path, nargs="+", required=True, help="subjects.tsv of development cohorts")
    parser.add_argument("--split", type=Path, required=True, help="split.tsv")
    parser.add_argument("--inputs", type=Path, nargs="+", required=True, help="training folders, named as the models")
    parser.add_argument("--settings", type=_arguments.settings, required=True, help="JSON, or a YAML or JSON file")
    parser.add_argument("--out", type=Path, required=True, help="folder of the model")
    _variants.add_ledger(parser)


def run(args: argparse.Namespace) -> None:
    """Train and write one fusion."""
    from hccflow.train.stacking import train_fusion
    from hccflow.train.training import write_training

    _variants.count_variant(args)
    subjects = read_subjects(args.subjects, args.settings["columns"])
    inputs = {folder.name: folder for folder in args.inputs}
    training = train_fusion(args.model, args.settings, subjects, read_table(args.split, "split"), inputs)
    write_training(training, args.out)
