"""Stacking: a fusion learnt from the out-of-fold scores of frozen models."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

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

M = TypeVar("M")


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
    spec = settings["models"][name]
    check_learner(spec, f"models.{name}")
    learnt = learn_from_scores(
        settings, spec, subjects, split, inputs, spec["inputs"], logit_table,
        fit=lambda fold, encoding: FusionModel(fit_tabular(fold, {**spec, "select": {}}, encoding)),
        score=lambda model, held: model.score(held),
    )  # fmt: skip
    final, chosen = learnt.final, [model.selected for model in learnt.in_folds.values()]
    frequency = [float(np.mean([one in names for names in chosen])) for one in spec["inputs"]]
    kept = [int(one in final.selected) for one in spec["inputs"]]
    selection = pd.DataFrame({"feature": spec["inputs"], "frequency": frequency, "in_final_model": kept})
    more = {"inputs": {model: learnt.frozen[model]["digest"] for model in inputs}}
    return conclude(
        name, settings, split, learnt.rows, learnt.judged, final, learnt.final_fold, selection,
        code=code_digest("fuse"), libraries=LIBRARIES, more=more,
    )  # fmt: skip


@dataclass(frozen=True)
class Learnt(Generic[M]):
    """What was learnt from out-of-fold scores: for each fold (``<repeat>-<fold>``) on the others, and on all rows."""

    frozen: dict[str, dict[str, Any]]
    rows: Development
    judged: pd.DataFrame
    in_folds: dict[str, M]
    final: M
    final_fold: Fold


def learn_from_scores(
    settings: Mapping[str, Any],
    spec: Mapping[str, Any],
    subjects: pd.DataFrame,
    split: pd.DataFrame,
    inputs: Mapping[str, Path],
    names: list[str],
    to_table: Callable[[list[pd.DataFrame], list[str], str, ScoreKind], pd.DataFrame],
    *,
    fit: Callable[[Fold, Encoding], M],
    score: Callable[[M, pd.DataFrame], np.ndarray],
) -> Learnt[M]:
    """Learn from frozen models' out-of-fold scores: in each fold from the other folds' scores, at last from all.

    Parameters
    ----------
    settings, subjects, split
        As for `hccflow.train.training.train`.
    spec : mapping
        Entry of the model in the configuration.
    inputs : mapping
        Training folder of each input.
    names : list of str
        The inputs in the order of the predictors.
    to_table : callable
        Makes one column per input of their tables of scores, keyed by row and repeat.
    fit, score : callable
        Learns from a fold; scores held-out rows of the table.

    Raises
    ------
    LeakageError
        An input was trained on another split, for another endpoint, or its scores are not out of fold.
    FreezeError
        An input is not what was frozen.
    """
    refuse_other_roles(subjects)
    endpoint = spec["endpoint"]
    frozen = {model: verified_input(model, folder, endpoint, split) for model, folder in inputs.items()}
    tables = [read_table(folder / SCORES, "predictions") for folder in inputs.values()]
    scores = to_table(tables, names, endpoint, ScoreKind.OOF)
    encoding = Encoding((), tuple(names))
    subjects = subjects.reset_index(drop=True)
    log: list[dict[str, Any]] = []

    def rows_of(table: pd.DataFrame, part: pd.DataFrame) -> Development:
        x, _ = encoding.encode(subjects, table)
        targets = {endpoint: read_target(subjects, endpoint, {"kind": "binary"})}
        rows = Development(subjects, part, x, scorable=x.notna().all(axis=1), targets=targets, seed=settings["seed"])
        rows.log = log
        return rows

    judged, in_folds = [], {}
    for repeat, table in scores.groupby("repeat"):
        rows = rows_of(table.drop(columns="repeat"), split[(split["repeat"] == repeat) | split["repeat"].isna()])
        for fold, places, held in rows.folds():
            model = fit(fold, encoding)
            in_folds[f"{fold.repeat}-{fold.fold}"] = model
            judged.append(judge(rows, fold, places, {endpoint: score(model, held)}))
    rows = rows_of(scores.groupby(KEYS, as_index=False)[names].mean(), split)
    final_fold = rows.all()
    final = fit(final_fold, encoding)
    return Learnt(frozen, rows, pd.concat(judged, ignore_index=True), in_folds, final, final_fold)


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
