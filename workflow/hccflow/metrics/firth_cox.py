"""Cox regression with Firth's penalty: finite estimates where events are few or a covariate separates them.

References
----------
Heinze G, Schemper M. Biometrics 2001;57:114-119.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import linalg, stats
from scipy.optimize import brentq

from hccflow.errors import HccflowError
from hccflow.metrics.cox import RiskSets
from hccflow.metrics.estimate import Estimate, undefined
from hccflow.metrics.firth import Point, maximise, penalised

Array = np.ndarray[Any, Any]
METHOD = "profile penalised likelihood"
NO_FIT = "the penalised likelihood has its maximum beyond the precision of numbers"
#: Risk sets times subjects up to which deviations from the mean of each risk set are summed one by one: differences of
#: sums lose the small information far out, where a covariate separates the events.
DENSE = 40_000
#: Information left, relative to the start, below which a difference of sums is rounding.
LOST = 1e-11


def firth_cox(X: Array, time: Array, event: Array, names: Sequence[str], level: float = 0.95) -> dict[str, Estimate]:
    """Penalised log hazard ratios with profile-likelihood intervals and penalised likelihood-ratio p.

    Parameters
    ----------
    X : array_like, shape (n, p)
        Covariates, complete and not collinear.
    time, event : array_like, shape (n,)
    names : sequence of str

    Returns
    -------
    dict
        Covariate -> estimate. Ties are handled as by Breslow.
    """
    X, time, event = np.asarray(X, float), np.asarray(time, float), np.asarray(event, bool)
    count: dict[str, Any] = {"n": time.size, "n_events": int(event.sum())}
    if not event.any():
        raise HccflowError("a Cox model needs events", found="none")
    centre, scale = X.mean(0), X.std(0)
    if np.any(scale == 0) or np.linalg.matrix_rank(X - centre) < X.shape[1]:
        return {name: undefined("a covariate is constant, or a combination of others", **count) for name in names}
    likelihood = _Likelihood((X - centre) / scale, time, event)
    best = maximise(likelihood.at, np.zeros(len(names)), np.ones(len(names), bool))
    if best is None:
        return {name: undefined(NO_FIT, **count) for name in names}
    out = {}
    for j, name in enumerate(names):
        low, high = (_limit(likelihood, best, j, level, side) for side in (-1, 1))
        others = _but(j, len(names))
        without = maximise(likelihood.at, np.where(others, best.beta, 0.0), others)
        known = {"below": low is not None, "above": high is not None, "to 0, so no p": without is not None}
        missing = [text for text, found in known.items() if not found]
        reason = f"the profile likelihood cannot be followed {', '.join(missing)}" if missing else ""
        p = None if without is None else float(stats.chi2.sf(max(2 * (best.value - without.value), 0.0), 1))
        below, above = (None if v is None else float(v / scale[j]) for v in (low, high))
        out[name] = Estimate(float(best.beta[j] / scale[j]), below, above, METHOD, p, **count, reason=reason)
    return out


class _Likelihood:
    """Partial likelihood (Breslow ties) with half the logarithm of the determinant of the information added."""

    def __init__(self, X: Array, time: Array, event: Array) -> None:
        self.sets = RiskSets(X, time, event, ties="breslow")
        self.members: Array | None = None
        if self.sets.times.size * time.size <= DENSE:
            self.members = np.where(self.sets.time >= self.sets.times[:, None], 0.0, -np.inf)
        self.start = np.diag(self.sets.evaluate(np.zeros(X.shape[1]))[2])

    def at(self, beta: Array) -> Point | None:
        """Evaluate at `beta`; None where the information is lost in rounding."""
        loglik, gradient, information, slope = self._by_sums(beta) if self.members is None else self._one_by_one(beta)
        if self.members is None and np.any(np.diag(information) <= LOST * self.start):
            return None
        return penalised(beta, loglik, gradient, information, lambda inverse: np.einsum("jkl,lk->j", slope, inverse))

    def _one_by_one(self, beta: Array) -> tuple[float, Array, Array, Array]:
        """Log likelihood, gradient, information, and its derivative by each coefficient, from deviations."""
        sets = self.sets
        eta = sets.X @ beta
        exponent = self.members + eta
        top = exponent.max(1)
        risk = np.exp(exponent - top[:, None])
        total = risk.sum(1)
        risk /= total[:, None]
        mean = risk @ sets.X
        away = (sets.X - mean[:, None, :]).reshape(-1, beta.size)
        weighted = (sets.count[:, None] * risk).reshape(-1, 1) * away
        own = eta[sets.dead] - top[sets.where]
        slope = np.array([(weighted * away[:, [j]]).T @ away for j in range(beta.size)])
        gradient = (sets.X[sets.dead] - mean[sets.where]).sum(0)
        return float(own.sum() - sets.count @ np.log(total)), gradient, weighted.T @ away, slope

    def _by_sums(self, beta: Array) -> tuple[float, Array, Array, Array]:
        """The same from sums over risk sets; the derivative of the information by central differences."""
        step = 1e-4 * np.eye(beta.size)
        slope = [(self.sets.evaluate(beta + h)[2] - self.sets.evaluate(beta - h)[2]) / 2e-4 for h in step]
        return *self.sets.evaluate(beta), np.array(slope)


def _but(j: int, size: int) -> Array:
    return np.arange(size) != j


def _limit(likelihood: _Likelihood, best: Point, j: int, level: float, side: int) -> float | None:
    """Where the profile of coefficient `j` falls by half a quantile of chi-squared; None: cannot be followed."""
    quantile = float(np.sqrt(stats.chi2.ppf(level, 1)))
    others, here = _but(j, best.beta.size), float(best.beta[j])
    warm = best.beta.copy()

    def excess(value: float) -> float:
        """Signed root of the fall beyond the quantile: nearly a line, so that few steps find its zero."""
        point = maximise(likelihood.at, np.where(others, warm, value), others)
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
