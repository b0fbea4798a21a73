"""Frozen models on every cohort: unseen rows are scored, rows that have taught keep their out-of-fold scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hccflow.errors import LeakageError, TableError
from hccflow.freeze import SCORES, split_digest, verify
from hccflow.ids import CohortRole, Role, ScoreKind
from hccflow.models.contributions import COLUMNS, contributions
from hccflow.models.encoding import KEYS
from hccflow.models.fusion import FusionModel
from hccflow.models.opening import load_model, predict_all
from hccflow.models.registry import Model
from hccflow.models.tabular import TabularModel
from hccflow.models.targets import read_target
from hccflow.scores import outcome, score_table
from hccflow.tables import read_table

#: Why a case has no contributions.
TAUGHT = "out-of-fold score: the models of its folds have scored it, not the frozen one"
NO_TABLE = "a network has no predictors in a table"


@dataclass(frozen=True)
class Frozen:
    """A verified training folder: what was frozen with the model, and its out-of-fold scores."""

    folder: Path
    facts: Mapping[str, Any]
    oof: pd.DataFrame

    @cached_property
    def model(self) -> Model:
        """The model; opened when rows are to be scored, since a network takes seconds that kept scores do not need."""
        return load_model(self.facts["kind"], self.folder / "model")


def open_frozen(folder: Path) -> Frozen:
    """Verify a training folder.

    Raises
    ------
    FreezeError
        A file is not what was frozen.
    """
    facts = verify(folder)
    return Frozen(folder, facts, read_table(folder / SCORES, "predictions"))


def predict(
    frozen: Frozen,
    cohort: str,
    role: CohortRole,
    subjects: pd.DataFrame,
    features: pd.DataFrame | None = None,
    *,
    split: pd.DataFrame | None = None,
    shared_with: str = "",
) -> pd.DataFrame:
    """Scores of every row of a cohort.

    Parameters
    ----------
    frozen : Frozen
        See `open_frozen`.
    cohort, role : str, CohortRole
        The cohort and what it is in this study.
    subjects : pandas.DataFrame
        Its enrolled cases, typed.
    features : pandas.DataFrame, optional
        Features of the model's region of interest.
    split : pandas.DataFrame, optional
        The study's split; needed for a development cohort.
    shared_with : str
        Development cohort with which this one shares subjects.

    Returns
    -------
    pandas.DataFrame
        Schema `predictions` with a column ``reason``. Development: ``oof`` for training rows, ``frozen`` for internal
        test rows. Others: ``frozen``, and ``oof`` for subjects that are shared with development. Every case has a row
        for each endpoint that the model has learnt. One that cannot be scored has an empty ``y_prob`` (``risk``) and
        the reason.

    Raises
    ------
    LeakageError
        A subject of this cohort has taught the model, and no `shared_with` says so; or the split of a development
        cohort is not the one that the model was trained on.
    TableError
        A column or feature that the model uses is missing, or a label lies outside its domain.
    """
    subjects = _rows_of(subjects, cohort, role)
    source = cohort if role is CohortRole.DEVELOPMENT else shared_with
    oof = frozen.oof[frozen.oof["cohort"] == source]
    keeps = subjects["subject"].isin(
        _train_subjects(frozen, split, cohort) if role is CohortRole.DEVELOPMENT else oof["subject"]
    )
    taught = ~keeps & subjects["subject"].isin(frozen.oof["subject"])
    if taught.any():
        raise LeakageError(
            f"{int(taught.sum())} subjects of '{cohort}' are in the training set of the model",
            where=f"subject {subjects.loc[taught, 'subject'].iloc[0]}", expected="subjects that the model has not seen",
            todo="declare subset_of for this cohort (--shared-with), or remove them",
        )  # fmt: skip
    unseen = subjects[~keeps]
    scores, reasons = predict_all(frozen.model, frozen.facts["endpoint"], unseen, features) if len(unseen) else ({}, [])
    parts = []
    for endpoint, about in frozen.facts["heads"].items():
        kind = "survival" if about["survival"] else "binary"
        target = read_target(subjects, endpoint, {"kind": kind})
        threshold = about["threshold"]["value"]
        more = {"endpoint": endpoint, "threshold": np.nan if threshold is None else threshold}
        if len(unseen):
            found = outcome(target.take(~keeps.to_numpy()), scores[endpoint])
            parts.append(unseen[KEYS].assign(kind=ScoreKind.FROZEN.value, reason=reasons, **found, **more))
        if keeps.any():
            own = _out_of_fold(subjects[keeps], oof[oof["endpoint"] == endpoint])
            values = own.pop("risk" if target.survival else "y_prob").to_numpy(float)
            own = own.drop(columns=["risk", "y_prob"], errors="ignore")
            parts.append(own.assign(**outcome(target.take(own.index.to_numpy()), values), **more))
    fixed = {"study": frozen.facts["study"], "model": frozen.facts["model"]}
    return score_table(pd.concat(parts).assign(**fixed) if parts else pd.DataFrame(columns=["reason"]))


def contribution_table(
    frozen: Frozen, scores: pd.DataFrame, subjects: pd.DataFrame, features: pd.DataFrame | None = None
) -> pd.DataFrame:
    """What each predictor adds to each score that the frozen model has given.

    Parameters
    ----------
    frozen : Frozen
        See `open_frozen`.
    scores : pandas.DataFrame
        Made by `predict` from the same `subjects` and `features`.

    Returns
    -------
    pandas.DataFrame
        ``cohort, subject, session, feature, value, contribution, reason``. A case that the frozen model of tables has
        scored: a row of the base and one for each predictor, whose contributions add up to the logit of ``y_prob``.
        Any other case: one row with the reason why it has none.
    """
    cases = scores.drop_duplicates(KEYS)
    scored = cases["kind"] == ScoreKind.FROZEN.value
    reason = cases["reason"].where(scored, TAUGHT)
    model, parts = frozen.model if scored.any() else None, []
    if isinstance(model, TabularModel | FusionModel):
        rows = subjects.merge(cases.loc[reason == "", KEYS], on=KEYS)
        if len(rows):
            parts.append(contributions(model, rows, features).table(rows[KEYS]))
    else:
        reason = reason.mask(reason == "", NO_TABLE)
    parts.append(cases[KEYS].assign(reason=reason)[reason != ""])
    table = pd.concat([part.reindex(columns=COLUMNS) for part in parts if len(part)] or [pd.DataFrame(columns=COLUMNS)])
    return table.sort_values(KEYS, kind="stable").reset_index(drop=True)


def _rows_of(subjects: pd.DataFrame, cohort: str, role: CohortRole) -> pd.DataFrame:
    rows = subjects[subjects["cohort"] == cohort].reset_index(drop=True)
    if len(rows) < len(subjects):
        other = subjects.loc[subjects["cohort"] != cohort, "cohort"].iloc[0]
        raise TableError("rows of another cohort", where="--subjects", expected=cohort, found=other)
    if (rows["role"] != role.value).any():
        raise LeakageError("the cohort has another role", where=cohort, expected=role.value, found=rows["role"].iloc[0])
    return rows


def _train_subjects(frozen: Frozen, split: pd.DataFrame | None, cohort: str) -> pd.Series:
    if split is None:
        raise TableError("a development cohort needs the split", where="--split", todo="give R/enrol/split.tsv")
    if split_digest(split) != frozen.facts["split_digest"]:
        raise LeakageError(
            "the model was trained on another split", where="--split", expected=frozen.facts["split_digest"][:12],
            found=split_digest(split)[:12], todo="train the model again on the study's one split",
        )  # fmt: skip
    return split.loc[(split["cohort"] == cohort) & (split["role"] == Role.TRAIN.value), "subject"]


def _out_of_fold(rows: pd.DataFrame, oof: pd.DataFrame) -> pd.DataFrame:
    """Out-of-fold scores of rows, one row per repeat, with the index of `rows`.

    Sessions are matched where they have the same name; a subject with one session in training keeps its score.
    """
    by_subject = {str(subject): table for subject, table in oof.groupby("subject")}
    parts = []
    for index, row in rows.iterrows():
        own = by_subject.get(row["subject"], oof.iloc[:0])
        same = own[own["session"] == row["session"]]
        found = own if same.empty and len(set(own["session"])) == 1 else same
        scores = found[["repeat", "fold", "y_prob", "risk"]].assign(reason="")
        if scores.empty:
            scores = pd.DataFrame(
                [{"repeat": pd.NA, "fold": pd.NA, "y_prob": np.nan, "risk": np.nan, "reason": "no out-of-fold score"}]
            )
        keys = {name: row[name] for name in KEYS}
        parts.append(scores.assign(**keys, kind=ScoreKind.OOF.value).set_axis([index] * len(scores)))
    return pd.concat(parts)
