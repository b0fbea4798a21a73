"""Write docs/config.md from the schema of the configuration."""

from __future__ import annotations

import argparse
from pathlib import Path

from hccflow.configdoc import config_page
from hccflow.tables import write_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``hccflow configdoc``."""
    parser.add_argument("--out", type=Path, required=True, help="file to write")


def run(args: argparse.Namespace) -> None:
    """Write the page."""
    write_text(args.out, config_page())
