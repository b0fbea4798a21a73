"""One fold of a network: its networks, and their scores for the rows that they have not seen. Resumable."""

from __future__ import annotations

import argparse
from pathlib import Path

from hccflow.cli import _arguments
from hccflow.participants import read_subjects
from hccflow.tables import read_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    _arguments.network(parser)
    parser.add_argument(
        "--place", type=_place, required=True, help="repeat and fold that the networks must not see, from 0: 0-3"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the fold")


def run(args: argparse.Namespace) -> None:
    """Train one fold."""
    from hccflow.networks.croptable import crop_table
    from hccflow.train.networks import train_fold

    repeat, fold = args.place
    train_fold(
        args.model, args.settings, read_subjects(args.subjects, args.settings["columns"]),
        read_table(args.split, "split"), crop_table(args.crops), repeat=repeat, fold=fold, out=args.out,
        work=args.work, threads=args.threads,
    )  # fmt: skip


def _place(text: str) -> tuple[int, int]:
    repeat, _, fold = text.partition("-")
    return int(repeat), int(fold)
