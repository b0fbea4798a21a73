"""From the tables of a study to the table of an analysis: scores, follow-up, covariates and frozen cuts by subject."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from hccflow.errors import FreezeError, TableError
from hccflow.survive.settings import Settings, check_transforms


def assemble(
    predictions: pd.DataFrame, subjects: pd.DataFrame, endpoint: str, study: Mapping[str, Any]
) -> pd.DataFrame:
    """Table of one survival endpoint, by the schema ``predictions`` with the covariates in further columns.

    Of a model that has learnt this endpoint (a head of a network) the rows of this endpoint are taken, with its own
    risk; of any other model those of its own endpoint. There a ``y_prob`` stays one only when the model predicts this
    endpoint at a horizon; otherwise it is not a probability of this event, and becomes ``risk``; of a favourable
    endpoint (a response) the risk is ``1 - y_prob``.

    Parameters
    ----------
    predictions : pandas.DataFrame
        Unseen scores of one cohort.
    subjects : pandas.DataFrame
        Its enrolled cases, with ``<endpoint>_time_days``, ``<endpoint>_event`` and ``<endpoint>_entry_days``.
    endpoint : str
        Name of the survival endpoint.
    study : mapping
        Sections ``columns, endpoints, models, survive`` of the configuration.

    Raises
    ------
    TableError
        A subject has follow-up that differs between its sessions, or a column is missing.

    Notes
    -----
    A subject counts once: the scores of its sessions are averaged, its covariates are those of its first session.
    """
    names = {f"{endpoint}_time_days": "time_days", f"{endpoint}_event": "event", f"{endpoint}_entry_days": "entry_days"}
    covariates = list(study["survive"]["covariates"])
    wanted = ["subject", *list(names)[:2], *covariates]
    for name in wanted:
        if name not in subjects:
            raise TableError(f"column '{name}' is missing", where="subjects", found=", ".join(subjects.columns))
    have = [name for name in names if name in subjects]
    twice = subjects[["subject", *have]].drop_duplicates()["subject"].duplicated()
    if twice.any():
        raise TableError(
            "sessions of a subject disagree about its follow-up", where=f"endpoint {endpoint}",
            found=subjects.loc[twice[twice].index[0], "subject"],
        )  # fmt: skip
    first = subjects.sort_values("session", kind="stable") if "session" in subjects else subjects
    known = first.drop_duplicates("subject")[["subject", *have, *covariates]]
    drop = ["time_days", "event", "entry_days", *(name for name in covariates if name in predictions)]
    predictions = _of_interest(predictions, endpoint, study)
    scores = _by_subject(predictions.drop(columns=[name for name in drop if name in predictions]))
    table = scores.merge(known.rename(columns=names), on="subject", how="left", validate="many_to_one")
    learnt = table["endpoint"] if "endpoint" in table else table["model"].map(lambda model: _own(study, model))
    horizon = learnt.map(lambda name: _horizon(study, name, endpoint)).astype("float64")
    for name in ("y_prob", "risk"):
        table[name] = table[name].astype("float64") if name in table else np.nan
    score = table["y_prob"].where(table["y_prob"].notna(), table["risk"])
    score = score.mask(learnt.map(lambda name: _good_news(study, name)).astype(bool), 1 - score)
    matching = horizon.notna()
    table["risk"], table["y_prob"] = score.mask(matching), table["y_prob"].where(matching)
    return table.assign(endpoint=endpoint, horizon_days=horizon)


def _by_subject(predictions: pd.DataFrame) -> pd.DataFrame:
    """Scores with the sessions of each subject averaged (per model, endpoint and repeat)."""
    keys = [name for name in ("model", "endpoint", "cohort", "subject", "repeat") if name in predictions]
    if "session" not in predictions or not predictions.duplicated(keys).any():
        return predictions
    numbers = [name for name in ("y_prob", "risk") if name in predictions]
    rest = [str(name) for name in predictions if name not in (*keys, *numbers)]
    how: dict[str, str] = {**dict.fromkeys(numbers, "mean"), **dict.fromkeys(rest, "first")}
    return predictions.sort_values("session", kind="stable").groupby(keys, as_index=False, dropna=False).agg(how)


def _of_interest(predictions: pd.DataFrame, endpoint: str, study: Mapping[str, Any]) -> pd.DataFrame:
    """Rows of one endpoint per model: of the analysed one where the model has learnt it, else of the model's own."""
    if "endpoint" not in predictions:
        return predictions
    learnt = set(predictions.loc[predictions["endpoint"] == endpoint, "model"])
    wanted = predictions["model"].map(lambda model: endpoint if model in learnt else _own(study, model))
    return predictions[(predictions["endpoint"] == wanted) | (wanted == "")]


def _own(study: Mapping[str, Any], model: str) -> str:
    """Endpoint of a model; empty for one that the configuration does not declare."""
    return str(study["models"].get(model, {}).get("endpoint", ""))


def _good_news(study: Mapping[str, Any], learnt: str) -> bool:
    """Whether an endpoint is favourable: the risk is then 1 - probability, so that higher is worse."""
    return bool(study["endpoints"].get(learnt, {}).get("favourable", False))


def _horizon(study: Mapping[str, Any], learnt: str, endpoint: str) -> float:
    """Days by which a model that has learnt one endpoint predicts the analysed one; NaN when it does not."""
    spec = study["endpoints"].get(learnt, {})
    if spec.get("source") == "horizon" and spec.get("of") == endpoint:
        return float(spec["horizon_days"])
    return np.nan


def study_settings(study: Mapping[str, Any], freezes: Mapping[str, Mapping[str, Any]], endpoint: str) -> Settings:
    """Settings of a study's analysis of one endpoint; the cut of each model comes from its ``freeze.json`` alone.

    It is that of the score that `assemble` takes: of the model's head for this endpoint, or of its own endpoint.

    Raises
    ------
    FreezeError
        A model's ``freeze.json`` says nothing about its survival cut.
    """
    section = study["survive"]
    cut = {}
    for model, freeze in freezes.items():
        head = freeze.get("heads", {}).get(endpoint, {})
        if "survival_cut" not in freeze:
            raise FreezeError(
                "the frozen model has no survival cut", where=f"freeze.json of {model}", expected="key survival_cut",
                todo="train the model again",
            )  # fmt: skip
        value = (head or freeze)["survival_cut"]
        value = value.get("value") if isinstance(value, Mapping) else value
        if value is not None:
            turned = not head and _good_news(study, _own(study, model))
            cut[model] = 1 - float(value) if turned else float(value)
    levels = {
        name: [str(level) for level in study["columns"][name]["levels"]]
        for name in section["covariates"]
        if "levels" in study["columns"].get(name, {})
    }
    transforms = dict(section.get("transforms", {}))
    check_transforms(transforms, list(section["covariates"]), "survive.transforms")
    return Settings(
        covariates=list(section["covariates"]), transforms=transforms, cut=cut,
        times=[float(t) for t in section["times_days"]],
        tau=None if section.get("tau_days") is None else float(section["tau_days"]), conf_type=section["conf_type"],
        levels=levels,
    )  # fmt: skip
