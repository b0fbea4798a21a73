"""Competing risks: Aalen-Johansen cumulative incidence and Gray's test.

Event codes: 0 censored, 1 event of interest, 2 competing event. Censoring at a time happens after the events of it.

References
----------
Aalen OO, Johansen S. Scand J Stat 1978;5:141-150. Gray RJ. Ann Stat 1988;16:1141-1154.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy import stats

from hccflow.metrics.logrank import LogRank

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Incidence:
    """Cumulative incidence of one cause on the distinct observed times.

    Attributes
    ----------
    time, incidence : numpy.ndarray, shape (k,)
        Times and F(t).
    place, event : numpy.ndarray, shape (n,)
        Place of each subject's time among `time`, and its event.
    cause : int
    """

    time: Array
    incidence: Array
    place: Array
    event: Array
    cause: int

    @property
    def at_risk(self) -> Array:
        """Number at risk just before each time, shape (k,)."""
        return np.cumsum(np.bincount(self.place, minlength=self.time.size)[::-1])[::-1]

    @cached_property
    def error(self) -> Array:
        """Standard error of F(t), shape (k,): infinitesimal jackknife, as R's ``survfit``."""
        size = self.time.size
        risk = self.at_risk
        mine, every = self.event == self.cause, self.event > 0
        own, gone = np.bincount(self.place, mine, size) / risk, np.bincount(self.place, every, size) / risk
        before = np.concatenate([[1.0], np.cumprod(1 - gone)[:-1]])
        error = np.zeros(size)
        # Influence of each subject on log S(t-) and on F(t), carried from one time to the next.
        log_survival, influence = np.zeros(self.place.size), np.zeros(self.place.size)
        for k in range(size):
            if gone[k] > 0:
                at_risk, here = self.place >= k, self.place == k
                influence += before[k] * (log_survival * own[k] + ((here & mine) - at_risk * own[k]) / risk[k])
                if gone[k] < 1:
                    log_survival -= ((here & every) - at_risk * gone[k]) / risk[k] / (1 - gone[k])
            error[k] = np.sqrt(influence @ influence)
        return error

    def at(self, times: Array | float) -> Array:
        """F(t) at any times; the last value is carried on."""
        return self._step(self.incidence, times)

    def error_at(self, times: Array | float) -> Array:
        """Standard error of F(t) at any times."""
        return self._step(self.error, times)

    def _step(self, values: Array, times: Array | float) -> Array:
        return np.concatenate([[0.0], values])[np.searchsorted(self.time, np.atleast_1d(times), "right")]

    def interval(self, conf_type: str = "log-log", level: float = 0.95) -> tuple[Array, Array]:
        """Pointwise limits of F(t), shape (k,): ``log-log`` of F, or ``log``; NaN where F is 0."""
        half = stats.norm.ppf(0.5 + level / 2)
        F = self.incidence
        with np.errstate(divide="ignore", invalid="ignore"):
            if conf_type == "log":
                spread = half * self.error / F
                low, high = F * np.exp(-spread), np.minimum(F * np.exp(spread), 1.0)
            else:
                spread = half * self.error / (F * np.abs(np.log(F)))
                low, high = F ** np.exp(spread), F ** np.exp(-spread)
        known = (F > 0) & np.isfinite(low) & np.isfinite(high)
        return np.where(known, low, np.nan), np.where(known, high, np.nan)


def cumulative_incidence(time: Array, event: Array, cause: int = 1) -> Incidence:
    """Aalen-Johansen estimate of the cumulative incidence of `cause`.

    Parameters
    ----------
    time : array_like, shape (n,)
    event : array_like of int, shape (n,)
        0 censored, 1 and 2 the causes.
    cause : int
    """
    time, event = np.asarray(time, float), np.asarray(event, int)
    values, place = np.unique(time, return_inverse=True)
    risk = np.cumsum(np.bincount(place, minlength=values.size)[::-1])[::-1]
    gone = np.bincount(place, event > 0, values.size) / risk
    before = np.concatenate([[1.0], np.cumprod(1 - gone)[:-1]])
    incidence = np.cumsum(before * np.bincount(place, event == cause, values.size) / risk)
    return Incidence(values, incidence, place, event, cause)


def gray_test(time: Array, event: Array, group: Array) -> LogRank:
    """Gray's test that the cumulative incidence of event 1 is the same in all groups (rho = 0).

    Observed minus expected events with risk sets Y(1 - F(t-))/S(t-); the variance is that of its martingale form under
    the hypothesis.
    """
    time, event = np.asarray(time, float), np.asarray(event, int)
    labels, code = np.unique(group, return_inverse=True)
    k = labels.size
    own = event == 1
    values = np.unique(time[event > 0])
    observed = np.array([np.sum(own & (code == j)) for j in range(k)], float)
    if k < 2 or not own.any():
        reason = "only one group has subjects" if k < 2 else "no events of interest"
        return LogRank(None, max(k - 1, 0), None, observed, np.full(k, np.nan), reason)
    counts = np.zeros((3, values.size, k))
    for j in range(k):
        mine = np.sort(time[code == j])
        counts[0, :, j] = mine.size - np.searchsorted(mine, values, "left")
        for cause in (1, 2):
            at = np.searchsorted(values, time[(code == j) & (event == cause)])
            np.add.at(counts[cause, :, j], at, 1)
    expected, variance = _gray(*counts)
    difference, part = (observed - expected)[1:], variance[1:, 1:]
    if np.linalg.matrix_rank(part, hermitian=True) < k - 1:
        return LogRank(None, k - 1, None, observed, expected, "too few events of interest")
    chi2 = float(difference @ np.linalg.solve(part, difference))
    return LogRank(chi2, k - 1, float(stats.chi2.sf(chi2, k - 1)), observed, expected)


def _gray(at_risk: Array, first: Array, second: Array) -> tuple[Array, Array]:
    """Expected events and variance of observed minus expected; arrays of shape (times, groups)."""
    m, k = at_risk.shape
    alive = at_risk > 0
    y = np.where(alive, at_risk, 1.0)
    after = np.cumprod(1 - np.where(alive, (first + second) / y, 0.0), 0)
    before = np.vstack([np.ones(k), after[:-1]])
    own = np.cumsum(np.where(alive, before * first / y, 0.0), 0)
    own = np.vstack([np.zeros(k), own[:-1]])
    h = np.where(alive & (before > 0), at_risk / np.where(before > 0, before, 1.0), 0.0)
    total, died = h.sum(1), first.sum(1)
    risk = h * (1 - own)
    sums = risk.sum(1)
    expected = (np.where(sums > 0, died / np.where(sums > 0, sums, 1.0), 0.0)[:, None] * risk).sum(0)
    step = np.where(total > 0, died / np.where(total > 0, total, 1.0), 0.0)
    pooled = np.cumsum(step)
    variance = np.zeros((k, k))
    for j in range(k):
        A = -h * (h[:, j] / np.where(total > 0, total, 1.0))[:, None]
        A[:, j] += h[:, j]
        C = np.cumsum(A * (step / (1 - (pooled - step)))[:, None], 0)
        rest = C[-1] - C
        left = np.where(after[:, j] > 0, (1 - pooled) / np.where(after[:, j] > 0, after[:, j], 1.0), 0.0)
        ties = np.where(died > 1, 1 - (died - 1) / np.maximum(total * before[:, j] - 1, 1e-300), 1.0)
        one = np.where(alive[:, j] & (total > 0), ties * before[:, j] * step / y[:, j], 0.0)
        pairs = np.where(second[:, j] > 1, 1 - (second[:, j] - 1) / np.maximum(y[:, j] - 1, 1e-300), 1.0)
        two = pairs * before[:, j] ** 2 * second[:, j] / y[:, j] ** 2
        a = A + (1 - left)[:, None] * rest
        b = left[:, None] * rest
        variance += (a * one[:, None]).T @ a + (b * two[:, None]).T @ b
    return expected, variance
