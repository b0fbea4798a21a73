"""Put the manifests of batches, and the feature tables of their cases, together into one table each."""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

from hccflow.gather import KEYS, feature_files, gather_manifests, gather_tables
from hccflow.tables import write_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--manifests", type=Path, nargs="+", required=True, help="manifests of batches")
    parser.add_argument("--out", type=Path, required=True, help="the gathered manifest")
    parser.add_argument("--features-in", type=Path, nargs="*", default=[], help="batch folders with feature tables")
    parser.add_argument("--features-out", type=Path, help="the gathered feature table")


def run(args: argparse.Namespace) -> None:
    """Write the gathered tables."""
    write_table(gather_manifests(args.manifests), args.out)
    if args.features_out is not None:
        files = feature_files(args.features_in)
        write_table(gather_tables(files) if files else pd.DataFrame(columns=KEYS), args.features_out)
