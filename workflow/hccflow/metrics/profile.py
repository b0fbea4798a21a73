"""Interval and test of one coefficient from the profile of a penalised likelihood.

References
----------
Heinze G, Schemper M. Biometrics 2001;57:114-119; Stat Med 2002;21:2409-2419.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from scipy import linalg, stats
from scipy.optimize import brentq

from hccflow.metrics.estimate import Estimate
from hccflow.metrics.firth import Point, maximise

Array = np.ndarray[Any, Any]
Likelihood = Callable[[Array], Point | None]
METHOD = "profile penalised likelihood"
NO_FIT = "the penalised likelihood has its maximum beyond the precision of numbers"


def profiled(at: Likelihood, best: Point, j: int, unit: float, level: float, count: dict[str, int]) -> Estimate:
    """Coefficient `j` in units of `unit`, with profile-likelihood interval and penalised likelihood-ratio p.

    Parameters
    ----------
    at : callable
        Coefficients -> penalised likelihood, or None where it cannot be computed.
    best : Point
        Its maximum.
    j : int
    unit : float
        The coefficient and its limits are divided by this (the SD of a standardised covariate).
    level : float
    count : dict
        ``n`` and ``n_events`` of the estimate.
    """
    others = np.arange(best.beta.size) != j
    low, high = (_limit(at, best, j, others, level, side) for side in (-1, 1))
    without = maximise(at, np.where(others, best.beta, 0.0), others)
    known = {"below": low is not None, "above": high is not None, "to 0, so no p": without is not None}
    missing = [text for text, found in known.items() if not found]
    reason = f"the profile likelihood cannot be followed {', '.join(missing)}" if missing else ""
    p = None if without is None else float(stats.chi2.sf(max(2 * (best.value - without.value), 0.0), 1))
    below, above = (None if v is None else float(v / unit) for v in (low, high))
    return Estimate(float(best.beta[j] / unit), below, above, METHOD, p, **count, reason=reason)


def _limit(at: Likelihood, best: Point, j: int, others: Array, level: float, side: int) -> float | None:
    """Where the profile of coefficient `j` falls by half a quantile of chi-squared; None: cannot be followed."""
    quantile = float(np.sqrt(stats.chi2.ppf(level, 1)))
    here, warm = float(best.beta[j]), best.beta.copy()

    @cache  # of several maxima another may be climbed from another start, and a bracket must stay one
    def excess(value: float) -> float:
        """Signed root of the fall beyond the quantile: nearly a line, so that few steps find its zero."""
        point = maximise(at, np.where(others, warm, value), others)
        if point is None:
            return np.nan
        warm[:] = point.beta
        return float(np.sqrt(max(2 * (best.value - point.value), 0.0)) - quantile)

    near, far = here, here + side * quantile * float(np.sqrt(linalg.inv(best.information)[j, j]))
    for _ in range(60):
        beyond = excess(far)
        if beyond >= 0:
            root = brentq(excess, near, far, xtol=1e-9 * max(1.0, abs(far)))
            return float(root) if np.isfinite(root) else None
        # Too far to be computed: half the way; not far enough: twice.
        near, far = (near, (near + far) / 2) if np.isnan(beyond) else (far, far + 2 * (far - near))
    return None
