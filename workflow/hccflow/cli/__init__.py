"""The command line: ``hccflow <command> …``. One module per command, imported only when it is called."""

from __future__ import annotations

import argparse
import ast
import importlib
import logging
import pkgutil
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from hccflow import __version__
from hccflow.errors import HccflowError


def commands() -> list[str]:
    """Names of the commands: the modules of this package that do not begin with an underscore."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))


def _summary(name: str) -> str:
    """First sentence of a command's documentation, read without importing what the command needs."""
    text = Path(__path__[0], f"{name}.py").read_text(encoding="utf-8")
    return re.split(r"(?<=[.:])\s|\n\n", ast.get_docstring(ast.parse(text)) or "")[0].replace("\n", " ").rstrip(":.")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0 when it worked, 1 when a stage failed its own criterion, 2 for bad input."""
    argv = list(sys.argv[1:] if argv is None else argv)
    names = commands()
    if not argv or argv[0] in ("-h", "--help"):
        told = "\n".join(f"  {name:<16} {_summary(name)}" for name in names)
        print(f"usage: hccflow <command> [options]\n\n{told}\n\nhccflow <command> --help tells more.")  # noqa: T201
        return 0
    if argv[0] == "--version":
        print(f"hccflow {__version__}")  # noqa: T201
        return 0
    name = argv[0].replace("-", "_")
    if name not in names:
        print(f"hccflow: unknown command '{argv[0]}'; expected one of {', '.join(names)}", file=sys.stderr)  # noqa: T201
        return 2
    module = importlib.import_module(f"hccflow.cli.{name}")
    parser = argparse.ArgumentParser(prog=f"hccflow {argv[0]}", description=module.__doc__)
    module.add_arguments(parser)
    args = parser.parse_args(argv[1:])
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    logging.getLogger("hccflow").setLevel(logging.INFO)  # our own progress, other libraries' warnings
    try:
        return module.run(args) or 0
    except HccflowError as error:
        print(f"hccflow {argv[0]}: {type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201
        return 2
