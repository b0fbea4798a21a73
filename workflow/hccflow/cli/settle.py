"""After git clone and dvc pull (or dvc checkout of another version): let Snakemake accept the results that DVC brought.

Refuses unless `dvc status` is clean; touches every output in the order of the rules; then makes sure that neither
`snakemake -n` nor `dvc status` has anything to do. Computes nothing.
"""

from __future__ import annotations

import argparse

from hccflow.cli._study import add_configfile
from hccflow.orchestration.settle import settle


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``hccflow settle``."""
    add_configfile(parser)


def run(args: argparse.Namespace) -> None:
    """Settle, or refuse and say why."""
    settle(args.configfile)
