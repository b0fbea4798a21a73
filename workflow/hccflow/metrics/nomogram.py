"""A Cox model in plain numbers: its formula with the baseline survival, and the points of a nomogram."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from hccflow.errors import HccflowError
from hccflow.metrics.cox import CoxFit

Array = np.ndarray[Any, Any]
#: Label on a scale -> the value of each column of the model that it stands for.
Scale = Mapping[str, Mapping[str, float]]


def formula(fit: CoxFit, X: Array, times: Sequence[float]) -> pd.DataFrame:
    """Everything needed to apply a fitted model elsewhere.

    The linear predictor is the sum of ``coefficient x (value - centre)``; the predicted risk by a time is
    ``1 - baseline ** exp(linear predictor)``.

    Parameters
    ----------
    fit : CoxFit
        With an estimate for every covariate.
    X : array_like, shape (n, p)
        The covariates it was fitted on (for their means).
    times : sequence of float
        Times at which the baseline survival is given.

    Returns
    -------
    pandas.DataFrame
        ``part`` (coefficient or baseline), ``name``, ``time_days``, ``value``, ``centre``.
    """
    _check(fit)
    centre = np.asarray(X, float).mean(0)
    rows: list[dict[str, Any]] = [
        {"part": "coefficient", "name": name, "value": float(b), "centre": float(c)}
        for name, b, c in zip(fit.names, fit.coef, centre, strict=True)
    ]
    survival = np.exp(-_hazard(fit, times))
    rows += [
        {"part": "baseline", "name": "survival", "time_days": float(t), "value": float(s)}
        for t, s in zip(times, survival, strict=True)
    ]
    return pd.DataFrame(rows, columns=["part", "name", "time_days", "value", "centre"])


def apply_formula(table: pd.DataFrame, X: pd.DataFrame) -> tuple[pd.Series, dict[float, pd.Series]]:
    """Apply the plain numbers of `formula` to other subjects.

    Parameters
    ----------
    table : pandas.DataFrame
        See `formula`.
    X : pandas.DataFrame
        A column for each coefficient; NaN = missing.

    Returns
    -------
    pandas.Series, dict
        Linear predictor, and the predicted risk by each time of the formula; NaN where a covariate is missing.
    """
    parts = table[table["part"] == "coefficient"].set_index("name")
    predictor = ((X[parts.index] - parts["centre"]) * parts["value"]).sum(axis=1, skipna=False)
    baseline = table[table["part"] == "baseline"]
    risks = {
        float(t): 1 - float(s) ** np.exp(predictor)
        for t, s in zip(baseline["time_days"], baseline["value"], strict=True)
    }
    return predictor, risks


def nomogram(fit: CoxFit, X: Array, scales: Mapping[str, Scale], times: Sequence[float]) -> pd.DataFrame:
    """Points of every scale, and what their sum means.

    Parameters
    ----------
    fit : CoxFit
        With an estimate for every covariate.
    X : array_like, shape (n, p)
        The covariates it was fitted on.
    scales : mapping
        Name of a scale -> label -> the values of the model's columns; columns left out are 0. Every column of the
        model belongs to one scale.
    times : sequence of float
        Times of the predicted risks.

    Returns
    -------
    pandas.DataFrame
        ``part`` = ``points``: ``name, label, points`` (the scale with the widest effect spans 0 to 100; the least
        hazardous label of each has 0). ``part`` = ``risk``: ``points`` (the sum) and ``risk`` by ``time_days``.
    """
    _check(fit)
    coef = dict(zip(fit.names, fit.coef, strict=True))
    effects = {
        name: {label: sum(coef[c] * v for c, v in values.items()) for label, values in scale.items()}
        for name, scale in scales.items()
    }
    low = {name: min(effect.values()) for name, effect in effects.items()}
    widest = max((max(effect.values()) - low[name] for name, effect in effects.items()), default=0.0)
    if widest == 0:
        raise HccflowError("a nomogram needs at least one covariate with two values and an effect")
    rows: list[dict[str, Any]] = [
        {"part": "points", "name": name, "label": label, "points": (value - low[name]) / widest * 100}
        for name, effect in effects.items()
        for label, value in effect.items()
    ]
    most = sum(max(effect.values()) - low[name] for name, effect in effects.items()) / widest * 100
    centre = float(np.asarray(X, float).mean(0) @ fit.coef)
    hazard = _hazard(fit, times)
    for total in np.linspace(0, np.ceil(most / 10) * 10, 51):
        relative = np.exp(total / 100 * widest + sum(low.values()) - centre)
        rows += [
            {"part": "risk", "name": "total", "points": float(total), "time_days": float(t), "risk": float(r)}
            for t, r in zip(times, 1 - np.exp(-hazard * relative), strict=True)
        ]
    return pd.DataFrame(rows, columns=["part", "name", "label", "points", "time_days", "risk"])


def _check(fit: CoxFit) -> None:
    if fit.reasons:
        raise HccflowError("a model without an estimate of every covariate has no formula", found=fit.reasons)


def _hazard(fit: CoxFit, times: Sequence[float]) -> Array:
    """Cumulative baseline hazard of mean covariates at `times`."""
    at, hazard = fit.sets.baseline(fit.coef)
    return np.concatenate([[0.0], hazard])[np.searchsorted(at, np.asarray(times, float), "right")]
