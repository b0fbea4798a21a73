"""Development cohorts -> a frozen model: nested cross-validation, final fit, cut-offs, freeze.json."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from hccflow.cli import _arguments, _variants
from hccflow.errors import ConfigError
from hccflow.participants import read_subjects
from hccflow.tables import read_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--model", required=True, help="name of the model in the settings")
    parser.add_argument("--subjects", type=Path, nargs="+", required=True, help="subjects.tsv of development cohorts")
    parser.add_argument("--split", type=Path, required=True, help="split.tsv")
    parser.add_argument("--features", type=Path, nargs="*", default=[], help="feature tables of development cohorts")
    parser.add_argument(
        "--outlines", type=Path, nargs="*", default=[],
        help="feature tables of the regions of select.stable, each in a folder roi-<region>",
    )  # fmt: skip
    parser.add_argument("--settings", type=_arguments.settings, required=True, help="JSON, or a YAML or JSON file")
    parser.add_argument("--out", type=Path, required=True, help="folder of the model")
    _variants.add_ledger(parser)


def run(args: argparse.Namespace) -> None:
    """Train and write one model."""
    from hccflow.train.training import train, write_training

    if args.model not in args.settings["models"]:
        raise ConfigError(f"unknown model '{args.model}'", where="models", expected=", ".join(args.settings["models"]))
    _variants.count_variant(args)
    subjects = read_subjects(args.subjects, args.settings["columns"])
    features = _joined(args.features) if args.features else None
    regions: dict[str, list[Path]] = {}
    for path in args.outlines:
        regions.setdefault(path.parent.name.removeprefix("roi-"), []).append(path)
    outlines = {region: _joined(paths) for region, paths in regions.items()}
    training = train(args.model, args.settings, subjects, read_table(args.split, "split"), features, outlines)
    write_training(training, args.out)


def _joined(paths: Sequence[Path]) -> pd.DataFrame:
    """Feature tables of several cohorts as one."""
    return pd.concat([read_table(path) for path in paths], ignore_index=True)
