"""Where a result comes from: made from what (inputs and digests), by what (rule, code, seed, settings, environment),
and when. Reads Snakemake's records, dvc.lock and freeze.json; computes nothing.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from hccflow.orchestration.why import explain


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``hccflow why``."""
    parser.add_argument("file", type=Path, help="a file or folder of the results")


def run(args: argparse.Namespace) -> None:
    """Print the origin of the file."""
    print(explain(args.file))  # noqa: T201
