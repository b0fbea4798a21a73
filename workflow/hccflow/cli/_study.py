"""What the commands share that look at a whole study; they run in the folder of the repository."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from hccflow.cli._arguments import settings
from hccflow.study import Study, load_study


def add_configfile(parser: argparse.ArgumentParser) -> None:
    """Declare which study."""
    parser.add_argument(
        "--configfile", type=Path, default=Path("config.yaml"), help="configuration of the study (config.yaml)"
    )


def read_study(path: Path) -> tuple[dict[str, Any], Study]:
    """Read a configuration as its file has it, and the checked study with its cohorts."""
    raw = settings(str(path))
    return raw, load_study(raw)
