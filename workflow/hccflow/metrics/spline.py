"""Hazard along a continuous score: a restricted cubic spline in a Cox model, beside the dichotomy.

References
----------
Harrell FE. Regression Modeling Strategies. 2nd ed. 2015, section 2.4.5 (restricted cubic spline, place of the knots).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from hccflow.metrics.cox import fit_cox
from hccflow.metrics.estimate import Estimate, undefined

Array = np.ndarray[Any, Any]
KNOTS = (0.10, 0.50, 0.90)


@dataclass(frozen=True)
class SplineHazard:
    """Hazard ratio along the score, against the median score; `grid` is empty when there is no fit.

    Attributes
    ----------
    grid, ratio, low, high : numpy.ndarray, shape (k,)
    nonlinearity : Estimate
        Likelihood-ratio chi2 of the spline against a straight line, with p.
    """

    grid: Array
    ratio: Array
    low: Array
    high: Array
    nonlinearity: Estimate


def restricted_cubic(x: Array, knots: Array) -> Array:
    """Basis of the restricted cubic spline, linear beyond the outer knots; shape (n, number of knots - 1)."""
    x = np.asarray(x, float)[:, None]
    cube = np.maximum(x - knots, 0) ** 3
    last, before = knots[-1], knots[-2]
    scale = (knots[-1] - knots[0]) ** 2
    inner = cube[:, :-2]
    tail = (cube[:, [-2]] * (last - knots[:-2]) - cube[:, [-1]] * (before - knots[:-2])) / (last - before)
    return np.hstack([x, (inner - tail) / scale])


def spline_hazard(
    time: Array, event: Array, score: Array, *, entry: Array | None = None, level: float = 0.95, points: int = 101
) -> SplineHazard:
    """Fit the spline with knots at the 10th, 50th and 90th percentile of the score.

    Parameters
    ----------
    time, event, score, entry : array_like, shape (n,)
    points : int
        Points of the grid from the 2nd to the 98th percentile.
    """
    score, event = np.asarray(score, float), np.asarray(event, bool)
    empty = np.zeros(0)
    count: dict[str, Any] = {"n": score.size, "n_events": int(event.sum())}
    knots = np.quantile(score, KNOTS)
    if event.sum() < 10 or np.unique(knots).size < len(KNOTS):
        reason = "fewer than 10 events" if event.sum() < 10 else "too few distinct scores for a spline"
        return SplineHazard(empty, empty, empty, empty, undefined(reason, **count))
    names = ["linear", "curve"]
    fit = fit_cox(restricted_cubic(score, knots), time, event, names, entry=entry)
    line = fit_cox(score[:, None], time, event, names[:1], entry=entry)
    if fit.reasons or line.reasons:
        reason = next(iter((fit.reasons | line.reasons).values()))
        return SplineHazard(empty, empty, empty, empty, undefined(reason, **count))
    chi2 = max(2 * (fit.loglik[1] - line.loglik[1]), 0.0)
    grid = np.linspace(np.quantile(score, 0.02), np.quantile(score, 0.98), points)
    basis = restricted_cubic(grid, knots) - restricted_cubic(np.array([np.median(score)]), knots)
    log_ratio = basis @ fit.coef
    half = stats.norm.ppf(0.5 + level / 2) * np.sqrt(np.einsum("ij,jk,ik->i", basis, fit.covariance, basis))
    test = Estimate(chi2, p=float(stats.chi2.sf(chi2, 1)), **count)
    return SplineHazard(grid, np.exp(log_ratio), np.exp(log_ratio - half), np.exp(log_ratio + half), test)
