"""Copies of the repository in which tests run whole studies, as a newcomer's clone would."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from mockstudy import ROOT


def copy_repository(folder: Path, wanted: Callable[[str], bool]) -> None:
    """Copy the files that git knows of, and new ones, by their path in the repository."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    for name in names:
        if wanted(name) and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)


class Workspace:
    """A copy of the repository with the data of some cohorts; `run` and `snakemake` run in it."""

    def __init__(self, folder: Path, *cohorts: str) -> None:
        data = tuple(f"data/{cohort}/" for cohort in cohorts)
        copy_repository(folder, lambda name: not name.startswith("data/") or name.startswith(data))
        self.folder = folder

    @property
    def environment(self) -> dict[str, str]:
        """Environment of a command: this interpreter first, no data folder of somebody else, modules compiled once."""
        others = ("HCCFLOW_", "SNAKEMAKE_", "PYTHONDONTWRITEBYTECODE")
        env = {key: value for key, value in os.environ.items() if not key.startswith(others)}
        env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
        env["PYTHONPATH"] = str(self.folder / "workflow")
        return env

    def run(self, *command: str, check: bool = True) -> str:
        """Run a command in the copy and return what it printed."""
        done = subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True)
        output = done.stdout + done.stderr
        assert not check or done.returncode == 0, output[-6000:]
        return output

    def snakemake(self, *arguments: str, check: bool = True) -> str:
        """Run snakemake in the copy on two cores."""
        return self.run(sys.executable, "-m", "snakemake", "--cores", "2", *arguments, check=check)
