"""A stand-in for the program conda, for machines that reach no channel: a venv with the file's pip section.

It answers the calls that Snakemake makes and proves the wiring: every environment file is well formed and names what
the stand-in can provide (this Python, a C compiler), every rule of a run is bound to a file, rules of one kind share
one environment, the post-deploy script runs inside it, jobs run inside it and nowhere else, a second run is empty.

It does NOT prove that conda solves the file, that the channel packages exist or work (python, pip, c-compiler), that
conda's activation scripts agree with `set -u`, GPU builds, or any platform but this one.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

VERSION = "25.1.0"
#: What stands where a channel package would be: this interpreter, its pip, the system's compiler.
PROVIDED = {f"python={sys.version_info[0]}.{sys.version_info[1]}", "pip", "c-compiler"}


def install(prefix: Path) -> None:
    """Make a folder that looks like conda's installation: the program and the script that activates."""
    (prefix / "bin").mkdir(parents=True)
    program, activate = prefix / "bin" / "conda", prefix / "bin" / "activate"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{__file__}" "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    activate.write_text('. "$1/bin/activate"\n', encoding="utf-8")


def create(file: Path, prefix: Path) -> None:
    """Make one environment."""
    text = yaml.safe_load(file.read_text(encoding="utf-8"))
    channel = {item for item in text["dependencies"] if isinstance(item, str)}
    if text["channels"] != ["conda-forge", "nodefaults"] or not channel <= PROVIDED:
        sys.exit(f"{file.name}: the stand-in provides {sorted(PROVIDED)}, asked for {sorted(channel)}")
    if "c-compiler" in channel and shutil.which("gcc") is None:
        sys.exit("no C compiler on this machine")
    (pins,) = (item["pip"] for item in text["dependencies"] if isinstance(item, dict))
    wanted = prefix.with_suffix(".requirements.txt")
    wanted.write_text("\n".join(pins) + "\n", encoding="utf-8")
    subprocess.run([sys.executable, "-m", "venv", str(prefix)], check=True)
    subprocess.run([prefix / "bin" / "python", "-m", "pip", "install", "--quiet", "-r", str(wanted)], check=True)
    subprocess.run([prefix / "bin" / "python", "-m", "pip", "check"], check=True)


def answer(text: str) -> None:
    sys.stdout.write(text + "\n")


def main(arguments: list[str]) -> None:
    os.environ.pop("PYTHONPATH", None)
    match arguments:
        case ["info", "--json"]:
            answer(json.dumps({"conda_prefix": os.environ["STANDIN_PREFIX"], "platform": "linux-64"}))
        case ["--version"]:
            answer(f"conda {VERSION}")
        case ["config", "--get", "channel_priority", "--json"]:
            answer(json.dumps({"get": {"channel_priority": "strict"}}))
        case ["env", "create", *options]:
            named = dict(zip(options, options[1:], strict=False))
            create(Path(named["--file"]), Path(named["--prefix"]))
        case ["clean", *_]:
            pass
        case _:
            sys.exit(f"the stand-in does not know: conda {' '.join(arguments)}")


if __name__ == "__main__":
    main(sys.argv[1:])
