"""A hazard ratio that changes with time: Cox model with score and score x log(t), as R's ``coxph(tt =)``.

It is what to report where proportional hazards do not hold. The step-function remedy, separate coefficients before and
after a time, needs nothing but delayed entry (`hccflow.survive.hazards`; R: ``survSplit``).

References
----------
Therneau TM, Crowson CS, Atkinson E: the vignette "Using time dependent covariates" of the R package survival.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from hccflow.errors import HccflowError
from hccflow.metrics.cox import FLAT, FURTHEST, MONOTONE
from hccflow.metrics.estimate import Estimate, undefined

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class LogTimeFit:
    """Log hazard ratio ``main + slope x log(t)`` of one covariate.

    Attributes
    ----------
    coef, covariance : numpy.ndarray, shapes (2,), (2, 2)
        Of ``main`` and ``slope``; NaN where `reason` says why.
    n, events : int
    reason : str
    """

    coef: Array
    covariance: Array
    n: int
    events: int
    reason: str = ""

    def slope(self, level: float = 0.95) -> Estimate:
        """Coefficient of covariate x log(t); p tests that the hazard ratio does not change with log(t)."""
        return self._linear(np.array([0.0, 1.0]), level)

    def at(self, t: float, level: float = 0.95) -> Estimate:
        """Log hazard ratio at a time, which must be above 0."""
        if not t > 0:
            return undefined("time 0 has no logarithm", n=self.n, n_events=self.events)
        return self._linear(np.array([1.0, np.log(t)]), level)

    def _linear(self, weights: Array, level: float) -> Estimate:
        if self.reason:
            return undefined(self.reason, n=self.n, n_events=self.events)
        value, error = float(weights @ self.coef), float(np.sqrt(weights @ self.covariance @ weights))
        half = float(stats.norm.ppf(0.5 + level / 2) * error)
        p = float(2 * stats.norm.sf(abs(value / error)))
        return Estimate(value, value - half, value + half, "wald", p, self.n, self.events)


def fit_log_time(x: Array, time: Array, event: Array, *, entry: Array | None = None, ties: str = "efron") -> LogTimeFit:
    """Fit a Cox model of one covariate whose log hazard ratio is linear in log(t).

    Parameters
    ----------
    x, time, event : array_like, shape (n,)
        Covariate (complete), times and events (bool).
    entry : array_like, shape (n,), optional
        Delayed entry.
    ties : {"efron", "breslow"}

    Returns
    -------
    LogTimeFit
        Without estimate, and with the reason, when an event is at time 0, at fewer than two event times, for a constant
        covariate, and where the likelihood has no maximum.

    Raises
    ------
    HccflowError
        No events, or an unknown handling of ties.
    """
    x, time, event = np.asarray(x, float), np.asarray(time, float), np.asarray(event, bool)
    if ties not in ("efron", "breslow"):
        raise HccflowError("unknown handling of ties", expected="efron or breslow", found=ties)
    if not event.any():
        raise HccflowError("a Cox model needs events", found="none")
    at = np.unique(time[event])
    reason = ""
    if at[0] <= 0:
        reason = "an event at time 0 has no logarithm"
    elif at.size < 2:
        reason = "events at one time only"
    scale = float(x.std())
    if not reason and not scale > 0:
        reason = "the covariate is constant"
    nothing = np.full(2, np.nan), np.full((2, 2), np.nan), x.size, int(event.sum())
    if reason:
        return LogTimeFit(*nothing, reason)
    z, centre = (x - x.mean()) / scale, float(np.log(at).mean())
    sets = _sets(z, time, event, entry, at, ties)
    beta, information, start = _newton(sets, np.log(at) - centre)
    smallest = np.linalg.eigvalsh(start)[0]
    if smallest <= 0 or np.linalg.matrix_rank(start) < 2:
        return LogTimeFit(*nothing, "too few subjects at risk at several event times")
    widest = float(np.abs(beta[0] + beta[1] * (np.log(at) - centre)).max() * np.ptp(z))
    if np.linalg.eigvals(np.linalg.solve(start, information)).real.min() < FLAT or widest > FURTHEST:
        return LogTimeFit(*nothing, MONOTONE)
    # Back from the standardised covariate and the centred logarithm.
    back = np.array([[1.0, -centre], [0.0, 1.0]]) / scale
    return LogTimeFit(back @ beta, back @ np.linalg.inv(information) @ back.T, x.size, int(event.sum()))


def _sets(
    z: Array, time: Array, event: Array, entry: Array | None, at: Array, ties: str
) -> list[tuple[Array, Array, Array]]:
    """At each event time: covariate of those at risk, of those with the event, and the shares that Efron removes."""
    order = np.argsort(-time, kind="stable")
    z, time, event = z[order], time[order], event[order]
    entry = None if entry is None else np.asarray(entry, float)[order]
    stop = np.searchsorted(-time, -at, "right")
    out = []
    for t, end in zip(at, stop, strict=True):
        risk = z[:end] if entry is None else z[:end][entry[:end] < t]
        dead = z[:end][event[:end] & (time[:end] == t)]
        share = np.arange(dead.size) / dead.size if ties == "efron" else np.zeros(dead.size)
        out.append((risk, dead, share))
    return out


def _evaluate(sets: list[tuple[Array, Array, Array]], logs: Array, beta: Array) -> tuple[float, Array, Array]:
    """Log partial likelihood, gradient and information of (main, slope)."""
    total, gradient, information = 0.0, np.zeros(2), np.zeros((2, 2))
    for (risk, dead, share), log in zip(sets, logs, strict=True):
        slope = float(beta[0] + beta[1] * log)
        eta = slope * risk
        shift = float(eta.max())
        weight, own = np.exp(eta - shift), np.exp(slope * dead - shift)
        sums = [float((weight * risk**k).sum()) - share * float((own * dead**k).sum()) for k in (0, 1, 2)]
        mean = sums[1] / sums[0]
        direction = np.array([1.0, log])
        total += slope * float(dead.sum()) - float(np.log(sums[0]).sum()) - shift * dead.size
        gradient += (float(dead.sum()) - float(mean.sum())) * direction
        information += float((sums[2] / sums[0] - mean**2).sum()) * np.outer(direction, direction)
    return total, gradient, information


def _newton(sets: list[tuple[Array, Array, Array]], logs: Array) -> tuple[Array, Array, Array]:
    """Maximise; returns coefficients, the information there and at zero."""
    beta = np.zeros(2)
    loglik, gradient, information = _evaluate(sets, logs, beta)
    start = information
    for _ in range(50):
        step = np.linalg.pinv(information, hermitian=True) @ gradient
        step *= min(1.0, 5.0 / max(float(np.abs(step).max()), 1e-300))
        for _ in range(30):
            found = _evaluate(sets, logs, beta + step)
            if found[0] >= loglik - 1e-12 * max(1.0, abs(loglik)):
                break
            step = step / 2
        gain = found[0] - loglik
        beta, (loglik, gradient, information) = beta + step, found
        if float(np.abs(step).max()) < 1e-10 or (abs(gain) < 1e-12 and float(np.abs(step).max()) > 0.1):
            break
    return beta, information, start
