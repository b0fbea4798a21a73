"""How far a study is: stages and cohorts, what is done, running or failed, and the reasons of cases that are not ok.

Reads files only, so it may be asked while the study runs; `watch hccflow status` shows it live.
"""

from __future__ import annotations

import argparse

from hccflow.cli._study import add_configfile, read_study
from hccflow.orchestration.status import status


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``hccflow status``."""
    add_configfile(parser)


def run(args: argparse.Namespace) -> None:
    """Print the table."""
    _, study = read_study(args.configfile)
    print(status(study))  # noqa: T201
