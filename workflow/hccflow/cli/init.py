"""Begin a study: `hccflow init my-study` writes its configuration, its DVC stages, and a folder per cohort with example
tables that pass `hccflow check`; then prints what to fill in. Nothing that exists is overwritten.

`hccflow init --stages [--configfile F]` writes the DVC stages of a configuration again, after cohorts, models or keys
were added to it.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from hccflow.cli._study import add_configfile, read_study
from hccflow.errors import ConfigError
from hccflow.ids import check_id
from hccflow.orchestration.stages import dvc_place, dvc_text
from hccflow.orchestration.template import example_study, todo_list
from hccflow.tables import write_text

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``hccflow init``."""
    parser.add_argument("name", nargs="?", help="name of the new study: lower-case letters, digits and hyphens")
    parser.add_argument("--stages", action="store_true", help="only write the DVC stages of --configfile again")
    add_configfile(parser)


def run(args: argparse.Namespace) -> None:
    """Write the new study, or the stages of one."""
    if args.stages == bool(args.name):
        raise ConfigError("give the name of a new study, or --stages for an existing one")
    if args.stages:
        _write_stages(args.configfile)
        return
    check_id("study", args.name, where="hccflow init")
    if not Path("Snakefile").is_file():
        raise ConfigError(
            "a study needs the rules beside it, and this folder is no copy of the repository", where=Path.cwd(),
            todo="git clone the repository and call hccflow init in its folder",
        )  # fmt: skip
    config_file = Path("studies", f"{args.name}.yaml")
    files: Mapping[Path, str] = example_study(args.name, config_file)
    there = [path for path in files if path.exists()]
    if there:
        raise ConfigError("the study is there already", where=there[0], todo="choose another name, or remove it")
    for path, text in files.items():
        write_text(path, text)
        log.info("wrote %s", path)
    _write_stages(config_file)
    print(todo_list(args.name, config_file))  # noqa: T201


def _write_stages(config_file: Path) -> None:
    raw, study = read_study(config_file)
    place = dvc_place(config_file)
    write_text(place, dvc_text(study, raw, config_file))
    stages: dict[str, Any] = yaml.safe_load(place.read_text(encoding="utf-8"))["stages"]
    log.info("wrote %s: %d stages", place, len(stages))
