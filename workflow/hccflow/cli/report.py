"""Make the report of a study: one self-contained HTML page from its tables; the printed tables as TSV beside it; and
metrics.json, the headline numbers that `dvc metrics diff` compares.
"""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path

from hccflow.cli._arguments import settings
from hccflow.errors import DataAbsentError
from hccflow.provenance import environment
from hccflow.report import build_report, write_report
from hccflow.report.metrics import headline_numbers
from hccflow.tables import write_text

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``hccflow report``."""
    parser.add_argument("--results", required=True, type=Path, help="results folder of the study")
    parser.add_argument(
        "--settings", required=True, type=settings, help="JSON, or a YAML file: the study's configuration"
    )
    parser.add_argument("--out", required=True, type=Path, help="page to write; the tables go to tables/ beside it")


def run(args: argparse.Namespace) -> None:
    """Write the report."""
    if not args.results.is_dir():
        raise DataAbsentError("results folder not found", where=args.results, todo="run the study first")
    study = {**args.settings, "versions": environment()}
    sections = build_report(args.results, study)
    write_report(sections, study, args.out)
    numbers = headline_numbers(args.results, study)
    write_text(args.out.parent / "metrics.json", json.dumps(numbers, indent=1, sort_keys=True, allow_nan=False) + "\n")
    log.info("%s: %d sections", args.out, len(sections))
