"""Fine-Gray regression: hazard of the subdistribution, weighted for censoring, with the sandwich variance.

A subject with a competing event stays at risk with weight G(t-)/G(T-); G is the Kaplan-Meier estimate of being
uncensored, events and censorings of the same time both at risk (as R's cmprsk). Ties as Breslow.

References
----------
Fine JP, Gray RJ. J Am Stat Assoc 1999;94:496-509, equations 7 and 8 (variance with the estimation of G).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from hccflow.errors import HccflowError
from hccflow.metrics.cox import MONOTONE, fit_cox
from hccflow.metrics.estimate import Estimate, undefined

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class FineGrayFit:
    """Fitted model: coefficients (p,), robust covariance (p, p), subjects, events of interest, reasons by name."""

    names: list[str]
    coef: Array
    covariance: Array
    n: int
    events: int
    reasons: dict[str, str]

    def coefficient(self, name: str, level: float = 0.95) -> Estimate:
        """Log subdistribution hazard ratio of one covariate with its Wald interval and p."""
        if name in self.reasons:
            return undefined(self.reasons[name], n=self.n, n_events=self.events)
        j = self.names.index(name)
        value, error = float(self.coef[j]), float(np.sqrt(self.covariance[j, j]))
        half = float(stats.norm.ppf(0.5 + level / 2) * error)
        p = float(2 * stats.norm.sf(abs(value / error)))
        return Estimate(value, value - half, value + half, "wald, robust", p, self.n, self.events)


class _Weighted:
    """Weighted risk sets: who is under observation, plus who had a competing event before."""

    def __init__(self, X: Array, time: Array, event: Array) -> None:
        order = np.argsort(time, kind="stable")
        self.X, self.time, self.event = X[order], time[order], event[order]
        self.values, where, count = np.unique(self.time, return_inverse=True, return_counts=True)
        risk = np.cumsum(count[::-1])[::-1]
        lost = np.bincount(where, self.event == 0, self.values.size)
        curve = np.concatenate([[1.0], np.cumprod(1 - lost / risk)])
        # There is no time before 0: as cmprsk does, G(0) stands for G(0-).
        curve[0] = curve[1] if self.values[0] == 0 else 1.0
        self.where, self.risk, self.censored = where, risk, lost
        self.times, self.deaths = np.unique(self.time[self.event == 1], return_counts=True)
        at = np.searchsorted(self.values, self.times)
        self.G = curve[at]
        self.first = np.searchsorted(self.time, self.times, "left")
        self.over = np.where(self.event == 2, 1 / np.maximum(curve[where], 1e-300), 0.0)

    def sums(self, values: Array) -> Array:
        """Weighted sum over the risk set at each event time."""
        shape = [-1, *[1] * (values.ndim - 1)]
        tail, head = (np.zeros((len(values) + 1, *values.shape[1:])) for _ in range(2))
        tail[:-1] = np.cumsum(values[::-1], axis=0)[::-1]
        head[1:] = np.cumsum(values * self.over.reshape(shape), axis=0)
        return tail[self.first] + self.G.reshape(shape) * head[self.first]

    def evaluate(self, beta: Array) -> tuple[float, Array, Array, Array, Array]:
        """Log likelihood, gradient, information, mean covariates (k, p) and baseline increments (k)."""
        eta = self.X @ beta
        shift = eta.max()
        r = np.exp(eta - shift)
        s0 = self.sums(r)
        s1 = self.sums(r[:, None] * self.X)
        s2 = self.sums(r[:, None, None] * self.X[:, :, None] * self.X[:, None, :])
        mean = s1 / s0[:, None]
        spread = s2 / s0[:, None, None] - mean[:, :, None] * mean[:, None, :]
        own = self.event == 1
        loglik = eta[own].sum() - self.deaths @ (np.log(s0) + shift)
        gradient = self.X[own].sum(0) - self.deaths @ mean
        return float(loglik), gradient, np.tensordot(self.deaths, spread, 1), mean, self.deaths / s0 / np.exp(shift)


def fit_fine_gray(X: Array, time: Array, event: Array, names: Sequence[str]) -> FineGrayFit:
    """Fit the subdistribution hazard of event 1 with event 2 competing.

    Parameters
    ----------
    X : array_like, shape (n, p)
        Covariates, complete.
    time : array_like, shape (n,)
    event : array_like of int, shape (n,)
        0 censored, 1 event of interest, 2 competing event.
    names : sequence of str

    Raises
    ------
    HccflowError
        No event of interest.
    """
    time, event = np.asarray(time, float), np.asarray(event, int)
    X = np.asarray(X, float).reshape(time.size, len(names))
    if not (event == 1).any():
        raise HccflowError("a Fine-Gray model needs events of interest", found="none")
    # The same model with competing events never leaving the risk set: tells constants and separation apart at once.
    plain = fit_cox(X, np.where(event == 2, np.inf, time), event == 1, names, ties="breslow")
    good = [j for j, name in enumerate(names) if name not in plain.reasons]
    coef, covariance = np.full(len(names), np.nan), np.full((len(names), len(names)), np.nan)
    reasons = dict(plain.reasons)
    if good and MONOTONE not in reasons.values():
        Z = X[:, good]
        scale = Z.std(0)
        sets = _Weighted((Z - Z.mean(0)) / scale, time, event)
        beta = _newton(sets, plain.coef[good] * scale)
        coef[good] = beta / scale
        covariance[np.ix_(good, good)] = _sandwich(sets, beta) / np.outer(scale, scale)
    elif good:
        reasons |= {names[j]: MONOTONE for j in good}
    return FineGrayFit(list(names), coef, covariance, time.size, int((event == 1).sum()), reasons)


def _newton(sets: _Weighted, beta: Array) -> Array:
    target, gradient, information, _, _ = sets.evaluate(beta)
    for _ in range(50):
        step = np.linalg.solve(information, gradient)
        for _ in range(30):
            loglik, gradient, information, _, _ = sets.evaluate(beta + step)
            if loglik >= target - 1e-12 * abs(target):
                break
            step = step / 2
        beta, target = beta + step, loglik
        if np.abs(step).max() < 1e-10:
            break
    return beta


def _sandwich(sets: _Weighted, beta: Array) -> Array:
    _, _, information, mean, increment = sets.evaluate(beta)
    r = np.exp(sets.X @ beta)
    p = beta.size
    zero = np.zeros((1, p))
    plain = (
        np.concatenate([[0.0], np.cumsum(increment)]),
        np.concatenate([zero, np.cumsum(mean * increment[:, None], 0)]),
    )
    late = sets.G * increment
    # Sums from each event time to the end.
    rest = (
        np.concatenate([np.cumsum(late[::-1])[::-1], [0.0]]),
        np.concatenate([np.cumsum((mean * late[:, None])[::-1], 0)[::-1], zero]),
    )
    until = np.searchsorted(sets.times, sets.time, "right")
    eta = -r[:, None] * (sets.X * plain[0][until][:, None] - plain[1][until])
    own = np.flatnonzero(sets.event == 1)
    eta[own] += sets.X[own] - mean[np.searchsorted(sets.times, sets.time[own])]
    over = (r * sets.over)[:, None]
    eta -= over * (sets.X * rest[0][until][:, None] - rest[1][until])
    # What the estimate of G adds: subjects with a competing event before a censoring time, from that time on.
    before = np.searchsorted(sets.time, sets.values, "left")
    mass = np.concatenate([[0.0], np.cumsum(over[:, 0])])[before]
    moment = np.concatenate([zero, np.cumsum(over * sets.X, 0)])[before]
    after = np.searchsorted(sets.times, sets.values, "left")
    q = moment * rest[0][after][:, None] - mass[:, None] * rest[1][after]
    jump = q / sets.risk[:, None]
    drift = np.cumsum(jump * (sets.censored / sets.risk)[:, None], 0)
    eta += (sets.event == 0)[:, None] * jump[sets.where] - drift[sets.where]
    inverse = np.linalg.inv(information)
    return inverse @ (eta.T @ eta) @ inverse
