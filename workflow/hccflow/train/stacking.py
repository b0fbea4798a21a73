"""Stacking: a fusion learnt from the out-of-fold scores of frozen models."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hccflow.errors import LeakageError
from hccflow.freeze import SCORES, split_digest, verify
from hccflow.ids import ScoreKind
from hccflow.models.encoding import KEYS, Encoding
from hccflow.models.fold import Development, Fold, refuse_other_roles
from hccflow.models.fusion import FusionModel, logit_table
from hccflow.models.parameters import check_learner
from hccflow.models.tabular import fit_tabular
from hccflow.models.targets import read_target
from hccflow.provenance import code_digest
from hccflow.tables import read_table
from hccflow.train.training import LIBRARIES, Training, conclude, judge


def train_fusion(
    name: str,
    settings: Mapping[str, Any],
    subjects: pd.DataFrame,
    split: pd.DataFrame,
    inputs: Mapping[str, Path],
) -> Training:
    """Train a fusion on the out-of-fold scores of its inputs.

    The stacker that judges a fold is fitted on the other folds' out-of-fold scores; with several repeats each has its
    own. The final one is fitted on all out-of-fold logits, averaged over repeats.

    Parameters
    ----------
    name, settings, subjects, split
        As for `hccflow.train.training.train`.
    inputs : mapping
        Training folder of each input.

    Raises
    ------
    LeakageError
        An input was trained on another split, for another endpoint, or its scores are not out of fold.
    FreezeError
        An input is not what was frozen.
    """
    refuse_other_roles(subjects)
    spec = settings["models"][name]
    check_learner(spec, f"models.{name}")
    frozen = {model: verified_input(model, folder, spec["endpoint"], split) for model, folder in inputs.items()}
    tables = [read_table(folder / SCORES, "predictions") for folder in inputs.values()]
    logits = logit_table(tables, spec["inputs"], spec["endpoint"], ScoreKind.OOF)
    encoding = Encoding((), tuple(spec["inputs"]))
    subjects = subjects.reset_index(drop=True)
    log: list[dict[str, Any]] = []

    def rows_of(table: pd.DataFrame, part: pd.DataFrame) -> Development:
        x, _ = encoding.encode(subjects, table)
        targets = {spec["endpoint"]: read_target(subjects, spec["endpoint"], {"kind": "binary"})}
        rows = Development(subjects, part, x, scorable=x.notna().all(axis=1), targets=targets, seed=settings["seed"])
        rows.log = log
        return rows

    judged, chosen = [], []
    for repeat, table in logits.groupby("repeat"):
        rows = rows_of(table.drop(columns="repeat"), split[(split["repeat"] == repeat) | split["repeat"].isna()])
        for fold, places, held in rows.folds():
            model = _fit(fold, spec, encoding)
            chosen.append(model.selected)
            judged.append(judge(rows, fold, places, {spec["endpoint"]: model.score(held)}))
    rows = rows_of(logits.groupby(KEYS, as_index=False)[spec["inputs"]].mean(), split)
    final_fold = rows.all()
    final = _fit(final_fold, spec, encoding)
    frequency = [float(np.mean([one in names for names in chosen])) for one in spec["inputs"]]
    kept = [int(one in final.selected) for one in spec["inputs"]]
    selection = pd.DataFrame({"feature": spec["inputs"], "frequency": frequency, "in_final_model": kept})
    more = {"inputs": {model: fact["digest"] for model, fact in frozen.items()}}
    return conclude(
        name, settings, split, rows, pd.concat(judged, ignore_index=True), final, final_fold, selection,
        code=code_digest("fuse"), libraries=LIBRARIES, more=more,
    )  # fmt: skip


def _fit(fold: Fold, spec: Mapping[str, Any], encoding: Encoding) -> FusionModel:
    return FusionModel(fit_tabular(fold, {**spec, "select": {}}, encoding))


def verified_input(model: str, folder: Path, endpoint: str, split: pd.DataFrame) -> dict[str, Any]:
    """What was frozen of an input, after a look at whether it may feed a fusion or a choice on this split."""
    facts = verify(folder)
    for key, wanted, what in (
        ("model", model, "is another model"),
        ("endpoint", endpoint, "has learnt another endpoint"),
        ("split_digest", split_digest(split), "was trained on another split"),
    ):
        if facts[key] != wanted:
            raise LeakageError(
                f"input '{model}' {what}", where=folder.name, expected=json.dumps(wanted), found=facts[key],
                todo="train every input on the study's one split",
            )  # fmt: skip
    return facts
