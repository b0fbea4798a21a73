"""How good the study's masks are, cohort by cohort (volumes, surfaces, lesions); 1 when they miss the demanded Dice."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import pandas as pd

from hccflow.cli._arguments import settings
from hccflow.segment.summary import shortfalls, summarise
from hccflow.tables import read_table, write_table

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--manifests", required=True, nargs="+", type=Path, help="manifests of segment_predict")
    parser.add_argument("--settings", required=True, type=settings, help="section segment")
    parser.add_argument("--out", required=True, type=Path, help="dice.tsv")


def run(args: argparse.Namespace) -> int:
    """Summarise and judge."""
    segment = args.settings["segment"]
    manifests = [read_table(path, "segment") for path in args.manifests]
    summary = summarise(pd.concat(manifests, ignore_index=True), segment["labels"])
    write_table(summary, args.out)
    lacking = shortfalls(summary, segment["require_dice"])
    for sentence in lacking:
        log.error("segment: %s (config.segment.require_dice)", sentence)
    return int(bool(lacking))
