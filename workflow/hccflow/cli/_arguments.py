"""Arguments that several commands share."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import yaml

from hccflow.errors import ConfigError, DataAbsentError


def settings(text: str) -> dict[str, Any]:
    """Settings of a stage: inline JSON (``{…}``), or the path of a YAML or JSON file."""
    if text.lstrip().startswith("{"):
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            raise ConfigError("--settings is not valid JSON", found=str(error)) from error
    path = Path(text)
    if not path.is_file():
        raise DataAbsentError("settings file not found", where=path)
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def network(parser: argparse.ArgumentParser) -> None:
    """Declare what the two commands that train a network share."""
    parser.add_argument("--model", required=True, help="name of the model in the settings")
    parser.add_argument("--subjects", type=Path, nargs="+", required=True, help="subjects.tsv of development cohorts")
    parser.add_argument("--split", type=Path, required=True, help="split.tsv")
    parser.add_argument("--crops", type=Path, nargs="+", required=True, help="folders crop-<name> of these cohorts")
    parser.add_argument("--settings", type=settings, required=True, help="JSON, or a YAML or JSON file")
    parser.add_argument("--work", type=Path, required=True, help="folder for checkpoints")
    parser.add_argument("--threads", type=int, default=1, help="threads on the CPU")
