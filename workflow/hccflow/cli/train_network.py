"""The folds of a network -> its final fit on all training rows, frozen, with the out-of-fold scores of all folds."""

from __future__ import annotations

import argparse
from pathlib import Path

from hccflow.cli import _arguments, _variants
from hccflow.participants import read_subjects
from hccflow.tables import read_table, write_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    _arguments.network(parser)
    parser.add_argument("--folds", type=Path, nargs="+", required=True, help="folders made by train_fold")
    parser.add_argument("--out", type=Path, required=True, help="folder of the model")
    _variants.add_ledger(parser)


def run(args: argparse.Namespace) -> None:
    """Fit the final networks and freeze them."""
    from hccflow.models.encoding import KEYS
    from hccflow.networks.croptable import crop_table
    from hccflow.train.networks import DICE, fold_dice, train_network
    from hccflow.train.training import write_training

    _variants.count_variant(args)
    training, history = train_network(
        args.model, args.settings, read_subjects(args.subjects, args.settings["columns"]),
        read_table(args.split, "split"), crop_table(args.crops), args.folds, work=args.work, threads=args.threads,
    )  # fmt: skip
    write_table(history, args.out / "history.tsv")
    write_table(fold_dice(args.folds), args.out / DICE, sort_by=[*KEYS, "repeat"])
    write_training(training, args.out)
