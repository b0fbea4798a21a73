"""Snakemake and DVC, called as programs from the folder of the study."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hccflow.errors import DataAbsentError, EngineError

#: Set for the one run of Snakemake that settles: it alone may meet unsettled results.
SETTLING = "HCCFLOW_SETTLING"


def program(name: str) -> str:
    """Path of a program, beside this Python or in PATH."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.is_file() else shutil.which(name)
    if found is None:
        raise DataAbsentError(
            f"the program '{name}' is not installed", todo="make .venv/.complete; . .venv/bin/activate"
        )
    return found


def call(name: str, arguments: Sequence[str], *, settling: bool = False) -> str:
    """Run a program in the current folder and return what it printed to standard output.

    Raises
    ------
    EngineError
        It ended with an error; holds its last words.
    """
    env = {**os.environ, **({SETTLING: "1"} if settling else {})}
    done = subprocess.run([program(name), *arguments], env=env, capture_output=True, text=True)
    if done.returncode:
        words = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        raise EngineError(f"{name} ended with status {done.returncode}", where=" ".join(arguments), found=words[-3:])
    return done.stdout


def dvc_status(stages: Path) -> dict[str, list[Any]]:
    """What `dvc status` finds changed, by stage or tracked file: empty when data, models and results belong together.

    Only the stages of this file and the tracked folders of images are looked at: another study is another matter.
    """
    changed: dict[str, list[Any]] = json.loads(call("dvc", ["status", "--json"]))
    prefix = "" if stages.parent == Path() else f"{stages.as_posix()}:"
    return {
        name: what
        for name, what in changed.items()
        if name.endswith(".dvc") or (name.startswith(prefix) if prefix else "dvc.yaml:" not in name)
    }
