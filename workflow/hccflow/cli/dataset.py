"""Write a published data set as cohort folders.

`sts` (soft-tissue sarcoma, FDG-PET) makes sts-dev and sts-ext; `hcc-tace-seg` makes hcc-tace-seg. The source is the
folder of the unpacked data set, at any depth. Then set HCCFLOW_DATA to the folder given by --out and run the study of
the same name in studies/. What is written is data: it does not belong in git.
"""

from __future__ import annotations

import argparse
import importlib
import logging
from pathlib import Path

from hccflow.errors import DataAbsentError

log = logging.getLogger(__name__)

NAMES = ("sts", "hcc-tace-seg")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``hccflow dataset``."""
    parser.add_argument("name", choices=NAMES, help="data set")
    parser.add_argument("--source", required=True, type=Path, help="folder of the unpacked data set")
    parser.add_argument("--out", required=True, type=Path, help="folder of cohort folders")


def run(args: argparse.Namespace) -> None:
    """Write the cohorts of one data set."""
    if not args.source.is_dir():
        raise DataAbsentError("the data set is not there", where=args.source, todo="unpack it, and check --source")
    adapter = importlib.import_module(f"hccflow.datasets.{args.name.replace('-', '_')}")
    for folder in adapter.write(args.source, args.out):
        log.info("wrote %s", folder)
