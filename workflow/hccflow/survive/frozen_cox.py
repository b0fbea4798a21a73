"""The prespecified clinical Cox model of a study: fitted on the training rows, judged where it has not been fitted.

Its covariates and transforms are those of ``survive`` in the configuration. Formula and nomogram are those of the
training rows and go with the development cohorts; every other cohort is scored by that formula as it stands, and
subjects who taught by the formula of the training rows outside their fold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from hccflow.ids import CLINICAL_COX, Role, ScoreKind
from hccflow.metrics.estimate import metrics_table, undefined
from hccflow.metrics.nomogram import apply_formula
from hccflow.survive import Result, analyse
from hccflow.survive.assemble import assemble
from hccflow.survive.clinical import clinical_tables
from hccflow.survive.samples import collect, design
from hccflow.survive.settings import Settings

#: Curves that belong to the training rows, and not to each cohort.
OWN = ("formula", "nomogram")


def frozen_clinical(
    subjects: pd.DataFrame, development: pd.DataFrame, split: pd.DataFrame, endpoint: str, study: Mapping[str, Any],
    settings: Settings,
) -> Result:  # fmt: skip
    """Score one cohort with the clinical Cox model of the training rows, and analyse the scores.

    Parameters
    ----------
    subjects : pandas.DataFrame
        Enrolled cases of the cohort to be judged (schema ``subjects``).
    development : pandas.DataFrame
        Enrolled cases of the development cohorts.
    split : pandas.DataFrame
        The study's split; folds of its first repeat.
    endpoint : str
        Name of the survival endpoint.
    study : mapping
        Sections ``columns, endpoints, models, survive`` of the configuration.
    settings : Settings

    Returns
    -------
    Result
        Metrics of the model ``clinical_cox`` (kind ``frozen``; ``oof`` for subjects who taught), its curves, and in a
        development cohort ``formula`` and ``nomogram``. Where the model cannot be fitted: one row with the reason.
    """
    taught = split[(split["role"] == Role.TRAIN) & (split["repeat"] == 0)].set_index("subject")["fold"]
    train = development[development["subject"].isin(taught.index)]
    fitted = _fit(train, endpoint, study, settings)
    cohort = str(subjects["cohort"].iloc[0])
    if isinstance(fitted, str):
        reason = f"no clinical Cox model of the training rows: {fitted}"
        where = {"study": study.get("study", ""), "endpoint": endpoint, "cohort": cohort, "model": CLINICAL_COX}
        return Result(metrics_table([undefined(reason).row("c_harrell", **where)]), {})
    plain = replace(settings, covariates=[], transforms={}, strata=[], levels={}, ridge=None)
    parts = []
    table = _table(subjects, endpoint, study)
    fold = table["subject"].map(taught)
    parts.append(_scored(table[fold.isna()], fitted["formula"], settings))
    cut = None
    own = _out_of_fold(train, taught, endpoint, study, settings)
    if not own.empty:
        # One score a subject: the first horizon stands for all of them.
        cut = float(own.drop_duplicates("subject")["risk"].median())
        parts.append(own[own["subject"].isin(table.loc[fold.notna(), "subject"])].assign(cohort=cohort))
    scores = pd.concat([part for part in parts if not part.empty], ignore_index=True)
    scores = scores.drop(columns=[name for name in ("time_days", "event", "entry_days") if name in scores])
    followed = [name for name in ("time_days", "event", "entry_days") if name in table]
    scores = scores.merge(table[["subject", *followed]], on="subject", how="left", validate="many_to_one")
    result = analyse(scores, replace(plain, cut={} if cut is None or np.isnan(cut) else {CLINICAL_COX: cut}))
    curves = {name: curve for name, curve in result.curves.items() if name not in OWN}
    if cohort in set(development["cohort"]):
        curves |= {name: table.assign(cohort=cohort) for name, table in fitted.items()}
    return Result(result.metrics, curves)


def _table(subjects: pd.DataFrame, endpoint: str, study: Mapping[str, Any]) -> pd.DataFrame:
    """Follow-up and covariates, one row per subject, without scores."""
    rows = subjects[["cohort", "subject"]].drop_duplicates("subject").assign(study=study.get("study", ""))
    rows = rows.assign(model=CLINICAL_COX, kind=ScoreKind.FROZEN.value, y_prob=np.nan, risk=np.nan)
    return assemble(rows, subjects, endpoint, study)


def _fit(
    train: pd.DataFrame, endpoint: str, study: Mapping[str, Any], settings: Settings
) -> dict[str, pd.DataFrame] | str:
    """Formula and nomogram of training rows, or why there are none."""
    if train.empty:
        return "no training rows"
    table = _table(train, endpoint, study).assign(cohort="+".join(sorted(train["cohort"].unique())))
    return clinical_tables(collect(table, replace(settings, cut={}))[0], settings)


def _scored(table: pd.DataFrame, formula: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    """Linear predictor as ``risk``, and as ``y_prob`` the risk by each time of the formula (a row for each)."""
    if table.empty:
        return table
    frame = table.set_index("subject")
    predictor, risks = apply_formula(formula, design(frame, settings)[0])
    rows = table.assign(risk=predictor.to_numpy())
    if not risks:
        return rows
    parts = [rows.assign(horizon_days=t, y_prob=risk.to_numpy()) for t, risk in risks.items()]
    return pd.concat(parts, ignore_index=True)


def _out_of_fold(
    train: pd.DataFrame, taught: pd.Series, endpoint: str, study: Mapping[str, Any], settings: Settings
) -> pd.DataFrame:
    """Scores of the training rows by the model of the other folds; none for a fold whose model has no estimate."""
    fold = train["subject"].map(taught)
    parts = []
    for held_out in sorted(fold.unique()):
        fitted = _fit(train[fold != held_out], endpoint, study, settings)
        if not isinstance(fitted, str):
            table = _table(train[fold == held_out], endpoint, study).assign(kind=ScoreKind.OOF.value)
            parts.append(_scored(table, fitted["formula"], settings))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
