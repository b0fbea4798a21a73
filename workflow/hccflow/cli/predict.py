"""A frozen model on one cohort: unseen rows are scored, rows that have taught keep their out-of-fold scores.

Each look at an external or follow-up cohort is appended to the ledger; say why with the environment variable
HCCFLOW_LOOK_REASON.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from hccflow.cli import _arguments
from hccflow.freeze import other_code, other_settings
from hccflow.ids import CohortRole, ScoreKind
from hccflow.ledger import SHOWN, record_look
from hccflow.models.fusion import check_inputs, logit_table
from hccflow.networks.croptable import crop_table
from hccflow.participants import read_subjects
from hccflow.provenance import digest_of, file_digest
from hccflow.tables import read_table, write_table

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--train", type=Path, required=True, help="folder made by train, with freeze.json")
    parser.add_argument("--cohort", required=True, help="name of the cohort")
    parser.add_argument("--role", type=CohortRole, choices=list(CohortRole), required=True, help="role of the cohort")
    parser.add_argument("--subjects", type=Path, required=True, help="subjects.tsv of the cohort")
    parser.add_argument("--features", type=Path, nargs="?", help="feature table of the cohort")
    parser.add_argument("--crops", type=Path, nargs="?", help="folder crop-<name> of the cohort, for a network")
    parser.add_argument("--scores", type=Path, nargs="*", default=[], help="the inputs' scores, for a fusion")
    parser.add_argument("--inputs", type=Path, nargs="*", default=[], help="the inputs' training folders")
    parser.add_argument("--split", type=Path, help="split.tsv, for a development cohort")
    parser.add_argument("--shared-with", nargs="?", default="", help="development cohort that shares subjects")
    parser.add_argument("--ledger", type=Path, required=True, help="ledger of looks")
    parser.add_argument("--contributions", type=Path, help="table to make of what each predictor adds to each score")
    parser.add_argument("--settings", type=_arguments.settings, required=True, help="JSON, or a YAML or JSON file")
    parser.add_argument("--out", type=Path, required=True, help="table of scores to make; NAME.looks.tsv beside it")


def run(args: argparse.Namespace) -> None:
    """Write the look down, then score the cohort."""
    from hccflow.predict import contribution_table, open_frozen, predict

    frozen = open_frozen(args.train)
    notes = [text for text in (other_code(frozen.facts), other_settings(frozen.facts, args.settings)) if text]
    for text in notes:
        log.warning("%s was %s", frozen.facts["model"], text)
    subjects = read_subjects([args.subjects], args.settings["columns"])
    features = _features(args, frozen.facts)
    split = read_table(args.split, "split") if args.split is not None else None
    shared = args.shared_with or ""
    scores = predict(frozen, args.cohort, args.role, subjects, features, split=split, shared_with=shared)
    looks = pd.DataFrame(columns=SHOWN)
    if args.role is not CohortRole.DEVELOPMENT:
        looks = record_look(args.ledger, _look(args, frozen.facts), note="; ".join(notes))
    write_table(looks, args.out.with_suffix(".looks.tsv"))
    if args.contributions is not None:
        write_table(contribution_table(frozen, scores, subjects, features), args.contributions)
    write_table(scores, args.out)


def _features(args: argparse.Namespace, facts: Mapping[str, Any]) -> pd.DataFrame | None:
    """What the model looks at besides clinical columns: features, crops, or the scores of other frozen models."""
    if facts["kind"] == "network":
        return crop_table([args.crops]) if args.crops is not None else None
    if facts["kind"] == "fusion":
        check_inputs(facts, args.inputs)
        tables = [read_table(path, "predictions") for path in args.scores]
        return logit_table(tables, list(facts["inputs"]), facts["endpoint"], ScoreKind.FROZEN)
    return read_table(args.features) if args.features is not None else None


def _look(args: argparse.Namespace, facts: Mapping[str, Any]) -> dict[str, str]:
    """What makes this look the same as another: the frozen model, and the bytes of the cohort's tables."""
    crops = args.crops / "manifest.tsv" if args.crops is not None else None
    tables = [path for path in (args.subjects, args.features, crops, *args.scores) if path is not None]
    return {
        "cohort": args.cohort, "model": facts["model"], "freeze_digest": facts["digest"],
        "cohort_digest": digest_of([file_digest(path) for path in tables]),
    }  # fmt: skip
