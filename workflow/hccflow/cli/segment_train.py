"""Train the nnU-Net of one fold on the other folds' cases; a killed job resumes, or starts again and ends the same."""

from __future__ import annotations

import argparse
from pathlib import Path

from hccflow.cli._arguments import settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--dataset", required=True, type=Path, help="work folder made by segment_export")
    parser.add_argument("--fold", required=True, type=int, help="fold whose cases the network must not see, from 0")
    parser.add_argument("--settings", required=True, type=settings, help="section segment, and the seed")
    parser.add_argument("--out", required=True, type=Path, help="folder for weights.safetensors, log.tsv and fold.json")
    parser.add_argument("--work", required=True, type=Path, help="folder for checkpoints")
    parser.add_argument("--threads", type=int, default=1, help="threads on the CPU; augmenting processes with a GPU")


def run(args: argparse.Namespace) -> None:
    """Train."""
    from hccflow.segment.nnunet.training import train_fold

    train_fold(
        args.dataset, fold=args.fold, segment=args.settings["segment"], seed=args.settings["seed"], out=args.out,
        work=args.work, threads=args.threads,
    )  # fmt: skip
