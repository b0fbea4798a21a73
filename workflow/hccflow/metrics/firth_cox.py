"""Cox regression with Firth's penalty: finite estimates where events are few or a covariate separates them.

References
----------
Heinze G, Schemper M. Biometrics 2001;57:114-119.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hccflow.errors import HccflowError
from hccflow.metrics.cox import RiskSets
from hccflow.metrics.estimate import Estimate, undefined
from hccflow.metrics.firth import Point, maximise, penalised
from hccflow.metrics.profile import NO_FIT, profiled

Array = np.ndarray[Any, Any]
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
    return {name: profiled(likelihood.at, best, j, scale[j], level, count) for j, name in enumerate(names)}


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
