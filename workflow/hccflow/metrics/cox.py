"""Cox regression by Newton's method: Efron or Breslow ties, delayed entry, weights, ridge.

Written here because a common optimiser stops up to 1e-3 short of the maximum on narrow scores, and because the test of
proportional hazards, Fine-Gray and the spline need the same sums over risk sets. Covariates that are constant or a
combination of others are left out of the fit (as R does); directions in which the likelihood has no maximum are named.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import linalg, stats

from hccflow.errors import HccflowError
from hccflow.metrics.collinearity import NOT_OWN, independent, standardised
from hccflow.metrics.estimate import Estimate, undefined

Array = np.ndarray[Any, Any]
#: Curvature left at the end, relative to the start, below which the likelihood is flat: it has no maximum there.
FLAT = 1e-6
#: Log hazard ratio between the extremes of a covariate beyond which it is on its way to infinity.
FURTHEST = 100.0
#: Subjects with delayed entry up to which risk sets are summed one by one: differences of sums lose small ones.
DENSE = 3000
MONOTONE = "monotone likelihood: the covariate separates the events, no finite estimate exists"


class RiskSets:
    """Sums over the risk sets of a sample; one entry per event, ties spread as Efron or Breslow.

    Parameters
    ----------
    X : numpy.ndarray, shape (n, p)
    time, event, entry, weights : numpy.ndarray, shape (n,)
        `entry` and `weights` may be None.
    ties : {"efron", "breslow"}
    """

    def __init__(
        self, X: Array, time: Array, event: Array, entry: Array | None = None, weights: Array | None = None,
        ties: str = "efron",
    ) -> None:  # fmt: skip
        if ties not in ("efron", "breslow"):
            raise HccflowError("unknown handling of ties", expected="efron or breslow", found=ties)
        order = np.argsort(time, kind="stable")
        self.X, self.time, self.event = X[order], time[order], event[order]
        self.weights = np.ones(time.size) if weights is None else np.asarray(weights, float)[order]
        self.dead = np.flatnonzero(self.event)
        self.times, self.where, self.count = np.unique(self.time[self.dead], return_inverse=True, return_counts=True)
        self.first = np.searchsorted(self.time, self.times, "left")
        self.entry = None if entry is None else np.asarray(entry, float)[order]
        self.late: tuple[Array, Array] | None = None
        self.members: Array | None = None
        if self.entry is not None and time.size <= DENSE:
            at = self.times[:, None]
            self.members = ((self.entry < at) & (self.time >= at)).astype(float)
        elif self.entry is not None:
            by_entry = np.argsort(self.entry, kind="stable")
            self.late = by_entry, np.searchsorted(self.entry[by_entry], self.times, "left")
        rank = np.arange(self.dead.size) - np.repeat(np.cumsum(self.count) - self.count, self.count)
        self.fraction = rank / self.count[self.where] if ties == "efron" else np.zeros(self.dead.size)
        self.share = (np.bincount(self.where, self.weights[self.dead]) / self.count)[self.where]

    def _at_events(self, values: Array) -> Array:
        """Sum of `values` (n, …) over the risk set of each distinct event time."""
        if self.members is not None:
            flat = values.reshape(len(values), int(np.prod(values.shape[1:])))
            return (self.members @ flat).reshape(self.times.size, *values.shape[1:])
        tail = np.zeros((len(values) + 1, *values.shape[1:]))
        tail[:-1] = np.cumsum(values[::-1], axis=0)[::-1]
        total = tail[self.first]
        if self.late is not None:
            order, start = self.late
            tail[:-1] = np.cumsum(values[order][::-1], axis=0)[::-1]
            total = total - tail[start]
        return total

    def _among_dead(self, values: Array) -> Array:
        total = np.zeros((self.times.size, *values.shape[1:]))
        np.add.at(total, self.where, values[self.dead])
        return total

    def moments(self, beta: Array) -> tuple[Array, Array, Array]:
        """Log of the risk-set sum, mean (p) and covariance (p, p) of the covariates at each event."""
        eta = self.X @ beta
        shift = eta.max(initial=0.0)
        risk = self.weights * np.exp(eta - shift)
        weighted = risk[:, None] * self.X
        squares = weighted[:, :, None] * self.X[:, None, :]
        sums = []
        for values in (risk, weighted, squares):
            part = self.fraction.reshape(-1, *[1] * (values.ndim - 1)) * self._among_dead(values)[self.where]
            sums.append(self._at_events(values)[self.where] - part)
        # Far out on the way of a monotone likelihood a sum underflows; who asks looks whether the result is finite.
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = sums[1] / sums[0][:, None]
            spread = sums[2] / sums[0][:, None, None] - mean[:, :, None] * mean[:, None, :]
            return np.log(sums[0]) + shift, mean, spread

    def evaluate(self, beta: Array) -> tuple[float, Array, Array]:
        """Log partial likelihood, its gradient and the information."""
        log_sum, mean, spread = self.moments(beta)
        own = self.weights[self.dead]
        loglik = own @ (self.X[self.dead] @ beta) - self.share @ log_sum
        gradient = own @ self.X[self.dead] - self.share @ mean
        return float(loglik), gradient, np.tensordot(self.share, spread, 1)

    def baseline(self, beta: Array) -> tuple[Array, Array]:
        """Event times and cumulative baseline hazard (Efron or Breslow) for covariates of zero."""
        log_sum, _, _ = self.moments(beta)
        return self.times, np.cumsum(np.bincount(self.where, self.share * np.exp(-log_sum)))


@dataclass(frozen=True)
class CoxFit:
    """Fitted Cox model.

    Attributes
    ----------
    names : list of str
        Covariates, in the order of all arrays.
    coef, covariance : numpy.ndarray, shapes (p,), (p, p)
        NaN where `reasons` says why.
    loglik : tuple of float
        At zero and at the maximum.
    score : float
        Score test statistic at zero.
    df, n, events : int
        Estimable parameters, subjects, events.
    reasons : dict
        Covariate -> why it has no estimate.
    sets : RiskSets
        The risk sets of the (centred) covariates, for residuals and tests.
    """

    names: list[str]
    coef: Array
    covariance: Array
    loglik: tuple[float, float]
    score: float
    df: int
    n: int
    events: int
    reasons: dict[str, str]
    sets: RiskSets

    @property
    def error(self) -> Array:
        """Standard errors, shape (p,)."""
        return np.sqrt(np.diag(self.covariance))

    @property
    def usable(self) -> Array:
        """Which covariates have an estimate, shape (p,)."""
        return np.isfinite(self.coef)

    def coefficient(self, name: str, level: float = 0.95) -> Estimate:
        """Log hazard ratio of one covariate with its Wald interval and p."""
        if name in self.reasons:
            return undefined(self.reasons[name], n=self.n, n_events=self.events)
        j = self.names.index(name)
        value, error = float(self.coef[j]), float(self.error[j])
        half = float(stats.norm.ppf(0.5 + level / 2) * error)
        p = float(2 * stats.norm.sf(abs(value / error)))
        return Estimate(value, value - half, value + half, "wald", p, self.n, self.events)

    def tests(self) -> dict[str, Estimate]:
        """Likelihood-ratio, Wald and score tests of all covariates together (chi2 with `df` degrees of freedom)."""
        monotone = MONOTONE in self.reasons.values()
        k = self.usable
        wald = float(self.coef[k] @ np.linalg.solve(self.covariance[np.ix_(k, k)], self.coef[k])) if k.any() else None
        values = {"lr": 2 * (self.loglik[1] - self.loglik[0]), "wald": None if monotone else wald, "score": self.score}
        out = {}
        for name, value in values.items():
            if value is None or self.df == 0:
                reason = MONOTONE if monotone else "no covariate can be estimated"
                out[name] = undefined(reason, n=self.n, n_events=self.events)
            else:
                out[name] = Estimate(value, p=float(stats.chi2.sf(value, self.df)), n=self.n, n_events=self.events)
        return out


def fit_cox(
    X: Array, time: Array, event: Array, names: Sequence[str], *, entry: Array | None = None,
    weights: Array | None = None, ties: str = "efron", ridge: float = 0.0,
) -> CoxFit:  # fmt: skip
    """Fit a Cox model.

    Parameters
    ----------
    X : array_like, shape (n, p)
        Covariates, complete.
    time, event : array_like, shape (n,)
        Times and events (bool).
    names : sequence of str
        Names of the covariates.
    entry : array_like, shape (n,), optional
        Delayed entry.
    weights : array_like, shape (n,), optional
        Case weights.
    ties : {"efron", "breslow"}
    ridge : float
        Penalty: half of `ridge` times the sum of the squared coefficients of the standardised covariates.

    Returns
    -------
    CoxFit

    Raises
    ------
    HccflowError
        No events, or a covariate with missing values.
    """
    X = np.asarray(X, float).reshape(np.size(time), len(names))
    time, event = np.asarray(time, float), np.asarray(event, bool)
    if not event.any():
        raise HccflowError("a Cox model needs events", found="none")
    if not np.isfinite(X).all():
        raise HccflowError("a Cox model needs complete covariates")
    Z, centre, scale = standardised(X)
    null, gradient, start = RiskSets(Z, time, event, entry, weights, ties).evaluate(np.zeros(len(names)))
    keep = independent(start)
    reasons = {n: NOT_OWN for n, ok in zip(names, keep, strict=True) if not ok}
    sets = RiskSets(Z[:, keep], time, event, entry, weights, ties)
    beta, loglik, information = _newton(sets, ridge)
    flat = _flat(information, start[np.ix_(keep, keep)] + ridge * np.eye(beta.size))
    flat |= np.abs(beta) * np.ptp(Z[:, keep], axis=0) > FURTHEST
    coef, covariance = np.full(len(names), np.nan), np.full((len(names), len(names)), np.nan)
    kept = np.flatnonzero(keep)
    good = kept[~flat]
    reasons |= {names[j]: MONOTONE for j in kept[flat]}
    coef[good] = beta[~flat] / scale[good]
    inverse = linalg.pinvh(information)[np.ix_(~flat, ~flat)]
    covariance[np.ix_(good, good)] = inverse / np.outer(scale[good], scale[good])
    k = np.ix_(keep, keep)
    score = float(gradient[keep] @ np.linalg.solve(start[k], gradient[keep])) if keep.any() else 0.0
    original = RiskSets(X - centre, time, event, entry, weights, ties)
    df, events = int(keep.sum()), int(event.sum())
    return CoxFit(list(names), coef, covariance, (null, loglik), score, df, time.size, events, reasons, original)


def _newton(sets: RiskSets, ridge: float) -> tuple[Array, float, Array]:
    """Maximise; returns coefficients, log likelihood (unpenalised) and penalised information."""
    p = sets.X.shape[1]
    beta = np.zeros(p)
    loglik, gradient, information = sets.evaluate(beta)
    target = loglik
    for _ in range(100):
        if p == 0:
            break
        information = information + ridge * np.eye(p)
        step = linalg.pinvh(information) @ (gradient - ridge * beta)
        step *= min(1.0, 5.0 / max(np.abs(step).max(), 1e-300))
        gain = -np.inf
        for _ in range(30):
            new = beta + step
            loglik, gradient, information = sets.evaluate(new)
            gain = loglik - ridge / 2 * new @ new - target
            if np.isfinite(gradient).all() and gain >= -1e-12 * max(1.0, abs(target)):
                break
            step = step / 2
        beta, target = new, target + gain
        if np.abs(step).max() < 1e-10 or (abs(gain) < 1e-12 and np.abs(step).max() > 0.1):
            break
    return beta, loglik, information + ridge * np.eye(p)


def _flat(information: Array, start: Array) -> Array:
    """Covariates with a part in a direction along which the likelihood went flat."""
    if not len(start):
        return np.zeros(0, bool)
    values, vectors = linalg.eigh(information, start)
    loose = vectors[:, values < FLAT]
    size = np.abs(loose) * np.sqrt(np.diag(start))[:, None]
    return size.max(1, initial=0.0) > 1e-3
