"""What the commands share that may train a variant of an experiment: it is counted before it is trained."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from hccflow.errors import ConfigError
from hccflow.ledger import record_variant


def add_ledger(parser: argparse.ArgumentParser) -> None:
    """Declare where a variant of an experiment is written down."""
    parser.add_argument("--variants", type=Path, help="ledger of variants; needed when the settings hold a variant")


def count_variant(args: argparse.Namespace) -> None:
    """Write down, before it is trained, that a variant is tried; a declared model is not counted here."""
    about = args.settings.get("variant")
    if about is None:
        return
    if args.variants is None:
        raise ConfigError("a variant is counted", where="--variants", todo="name the study's ledger of variants")
    changes = json.dumps(about["changes"], sort_keys=True)
    record_variant(args.variants, {**about, "variant": args.model, "changes": changes})
