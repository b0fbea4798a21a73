"""Cut of a score into a low and a high group, from training scores only: the median, or the best log-rank cut.

References
----------
Lausen B, Schumacher M. Biometrics 1992;48:73-85 (maximally selected rank statistics and their p).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from hccflow.metrics.km import kaplan_meier

Array = np.ndarray[Any, Any]
#: Smallest share of subjects in either group of a maximally selected cut.
SMALLEST = 0.1


@dataclass(frozen=True)
class Cut:
    """A cut: a score is in the group ``high`` when it is at least `value`.

    `p_corrected` belongs to a maximally selected cut: the chance of a statistic as large at the best of all cuts. When
    there is no cut `value` is None and `reason` says why.
    """

    value: float | None
    how: str
    statistic: float | None = None
    p_corrected: float | None = None
    reason: str = ""


def median_cut(score: Array) -> Cut:
    """Cut at the median of the training scores."""
    score = np.asarray(score, float)
    if np.unique(score).size < 2:
        return Cut(None, "median", reason="all scores are equal")
    return Cut(float(np.median(score)), "median")


def maxstat_cut(score: Array, time: Array, event: Array) -> Cut:
    """Cut with the largest standardised log-rank statistic, with its p corrected for the search.

    Parameters
    ----------
    score, time, event : array_like, shape (n,)
        Training scores (out of fold) with their outcome; no row with a missing value.
    """
    score, time, event = np.asarray(score, float), np.asarray(time, float), np.asarray(event, bool)
    if not event.any():
        return Cut(None, "maxstat", reason="no events")
    n = score.size
    order = np.argsort(score, kind="stable")
    ranked = score[order]
    # Log-rank scores: event minus the cumulative hazard (Nelson-Aalen) at the subject's time.
    curve = kaplan_meier(time, event)
    hazard = np.cumsum(curve.events / curve.at_risk)
    scores = (event - hazard[np.searchsorted(curve.time, time)])[order]
    size = np.arange(1, n)
    deviation = np.abs(np.cumsum(scores)[:-1] - size * scores.mean())
    spread = np.sqrt(size * (n - size) / n * scores.var(ddof=1))
    allowed = (np.diff(ranked) > 0) & (size >= SMALLEST * n) & (n - size >= SMALLEST * n)
    if not allowed.any() or not np.any(spread > 0):
        return Cut(None, "maxstat", reason="no cut leaves 10 % of the subjects on either side")
    statistic = np.where(allowed, deviation / np.where(spread > 0, spread, 1.0), -np.inf)
    best = int(np.argmax(statistic))
    share = size[allowed] / n
    p = _corrected_p(float(statistic[best]), float(share.min()), float(share.max()))
    return Cut(float(ranked[best + 1]), "maxstat", float(statistic[best]), p)


def _corrected_p(b: float, low: float, high: float) -> float:
    """Lausen and Schumacher's approximation; with one possible cut the ordinary two-sided p."""
    if high <= low:
        return float(2 * stats.norm.sf(b))
    density = stats.norm.pdf(b)
    width = np.log(high * (1 - low) / ((1 - high) * low))
    p = 4 * density / b + density * (b - 1 / b) * width if b > 0 else 1.0
    return float(min(max(p, 2 * stats.norm.sf(b)), 1.0))
