"""Kaplan-Meier: survival, its interval, median, restricted mean and follow-up, by the conventions of R's survival.

Censoring at a time is taken to happen after the events of that time. A subject is at risk at *t* when
``entry < t <= time``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy import stats

from hccflow.errors import HccflowError
from hccflow.metrics.estimate import Estimate

Array = np.ndarray[Any, Any]
#: Two survival values closer than this are the same (R's ``sqrt(.Machine$double.eps)``).
TOLERANCE = float(np.sqrt(np.finfo(float).eps))


def snap_times(time: Array) -> Array:
    """Make times equal that differ by rounding only, as R's ``aeqSurv`` does: ties must be ties."""
    time = np.asarray(time, float)
    values = np.unique(time)
    if values.size < 2:
        return time
    step = np.diff(values)
    same = np.concatenate([[False], (step <= TOLERANCE) | (step / np.abs(values).mean() <= TOLERANCE)])
    first = np.maximum.accumulate(np.where(same, 0, np.arange(values.size)))
    return values[first][np.searchsorted(values, time)]


@dataclass(frozen=True)
class Curve:
    """Kaplan-Meier curve on the distinct observed times.

    Attributes
    ----------
    time, at_risk, events, censored, survival : numpy.ndarray, shape (k,)
        Distinct times in ascending order; numbers (or sums of weights) and S(t).
    hazard_variance : numpy.ndarray, shape (k,)
        Greenwood's sum, the variance of log S(t).
    n : int
        Number of subjects.
    """

    time: Array
    at_risk: Array
    events: Array
    censored: Array
    survival: Array
    hazard_variance: Array
    exits: Array
    entries: Array
    n: int

    def at(self, times: Array | float, *, before: bool = False) -> Array:
        """S(t), or S(t-) with `before`; the last value is carried on (as R's ``extend=TRUE``)."""
        where = np.searchsorted(self.time, np.atleast_1d(times), "left" if before else "right")
        return np.concatenate([[1.0], self.survival])[where]

    def at_risk_at(self, times: Array | float) -> Array:
        """Number at risk just before each time: entry < t <= exit."""
        times = np.atleast_1d(np.asarray(times, float))
        return np.searchsorted(self.entries, times, "left") - np.searchsorted(self.exits, times, "left")

    def interval(self, conf_type: str = "log-log", level: float = 0.95) -> tuple[Array, Array]:
        """Pointwise limits of S(t) at `time`; NaN where the transformation is undefined.

        Parameters
        ----------
        conf_type : {"log", "log-log", "plain"}
            Scale of the normal approximation: R's default is ``log``, lifelines' is ``log-log``.
        level : float
            Confidence level.
        """
        return _interval(self.survival, self.hazard_variance, conf_type, level)

    def interval_at(self, times: Array | float, conf_type: str, level: float = 0.95) -> tuple[Array, Array]:
        """Limits of S(t) at any times; 1 before the first observed time."""
        low, high = self.interval(conf_type, level)
        where = np.searchsorted(self.time, np.atleast_1d(times), "right")
        return np.concatenate([[1.0], low])[where], np.concatenate([[1.0], high])[where]

    def median(self, conf_type: str = "log-log", level: float = 0.95) -> Estimate:
        """Median survival: first time with S(t) < 0.5, the midpoint of the flat stretch where S(t) = 0.5 exactly.

        The limits are the same crossing of the limits of S(t) (Brookmeyer and Crowley 1982).
        """
        low, high = self.interval(conf_type, level)
        value, first, last = (_crossing(self.time, curve) for curve in (self.survival, low, high))
        count = int(self.events.sum())
        if value is None:
            reason = "S(t) does not fall to 0.5 within follow-up" if count else "no events"
            return Estimate(None, first, last, conf_type, n=self.n, n_events=count, reason=reason)
        reason = "the limits of S(t) do not cross 0.5: no interval" if first is None and last is None else ""
        return Estimate(value, first, last, conf_type, n=self.n, n_events=count, reason=reason)

    def restricted_mean(self, tau: float, level: float = 0.95) -> Estimate:
        """Area under S(t) up to `tau` with its Greenwood-type variance (Klein and Moeschberger 2003, 4.5)."""
        value, variance = self.area(tau)
        count: dict[str, Any] = {"n": self.n, "n_events": int(self.events.sum())}
        if variance == 0:
            return Estimate(
                value, **count, reason="no interval: no event before tau leaves anybody, the variance is zero"
            )
        half = float(stats.norm.ppf(0.5 + level / 2) * np.sqrt(variance))
        return Estimate(value, value - half, value + half, "normal", **count)

    def area(self, tau: float) -> tuple[float, float]:
        """Area under S(t) up to `tau`, the last value carried on, and its variance."""
        inside = self.time < tau
        grid = np.concatenate([[0.0], self.time[inside], [tau]])
        steps = np.diff(grid) * np.concatenate([[1.0], self.survival[inside]])
        rest = np.cumsum(steps[::-1])[::-1][1:]
        return float(steps.sum()), float(np.sum(rest**2 * self._increments[inside]))

    @cached_property
    def _increments(self) -> Array:
        left = self.at_risk - self.events
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(left > 0, self.events / (self.at_risk * left), 0.0)


def _interval(survival: Array, variance: Array, conf_type: str, level: float) -> tuple[Array, Array]:
    half = stats.norm.ppf(0.5 + level / 2) * np.sqrt(variance)
    with np.errstate(divide="ignore", invalid="ignore"):
        if conf_type == "plain":
            low, high = survival - half * survival, survival + half * survival
        elif conf_type == "log":
            low, high = np.exp(np.log(survival) - half), np.exp(np.log(survival) + half)
        elif conf_type == "log-log":
            log = np.log(survival)
            inner = np.where((survival > 0) & (survival < 1), np.log(-log), np.nan)
            low, high = np.exp(-np.exp(inner - half / log)), np.exp(-np.exp(inner + half / log))
        else:
            raise HccflowError("unknown kind of interval", expected="log, log-log or plain", found=conf_type)
    known = survival > 0
    return np.where(known, np.clip(low, 0, 1), np.nan), np.where(known, np.clip(high, 0, 1), np.nan)


def _crossing(time: Array, curve: Array) -> float | None:
    below = np.flatnonzero(curve < 0.5 + TOLERANCE)
    if not below.size:
        return None
    first = below[0]
    if abs(curve[first] - 0.5) < TOLERANCE:
        later = below[curve[below] < curve[first]]
        if later.size:
            return float((time[first] + time[later[0]]) / 2)
    return float(time[first])


def kaplan_meier(time: Array, event: Array, entry: Array | None = None) -> Curve:
    """Kaplan-Meier estimate of S(t).

    Parameters
    ----------
    time : array_like, shape (n,)
        Time of event or censoring.
    event : array_like of bool, shape (n,)
        True for the event, False for censoring.
    entry : array_like, shape (n,), optional
        Time of delayed entry; everyone is at risk from the start when absent.

    Returns
    -------
    Curve

    Raises
    ------
    HccflowError
        No subjects, or an entry that is not before the exit.
    """
    time, event = np.asarray(time, float), np.asarray(event, bool)
    if time.size == 0:
        raise HccflowError("no subjects for a survival curve")
    if entry is not None and np.any(np.asarray(entry) >= time):
        raise HccflowError("delayed entry must be before the event or censoring time")
    values, where = np.unique(time, return_inverse=True)
    died = np.bincount(where, event, values.size)
    lost = np.bincount(where, ~event, values.size)
    exits = np.sort(time)
    entries = np.sort(np.asarray(entry, float)) if entry is not None else np.full(time.size, -np.inf)
    risk = np.searchsorted(entries, values, "left") - np.searchsorted(exits, values, "left")
    survival = np.cumprod((risk - died) / risk)
    with np.errstate(divide="ignore"):
        variance = np.cumsum(np.where(died > 0, died / (risk * (risk - died)), 0.0))
    return Curve(values, risk, died, lost, survival, variance, exits, entries, time.size)


def restricted_mean_difference(first: Curve, second: Curve, tau: float, level: float = 0.95) -> Estimate:
    """Difference of the restricted means of two groups, first minus second.

    The variance is the sum of the two variances of the areas, not of min(T, tau).
    """
    one, two = first.area(tau), second.area(tau)
    value, error = one[0] - two[0], float(np.sqrt(one[1] + two[1]))
    n, events = first.n + second.n, int(first.events.sum() + second.events.sum())
    if error == 0:
        return Estimate(value, n=n, n_events=events, reason="no events before tau: no interval")
    half = float(stats.norm.ppf(0.5 + level / 2) * error)
    p = float(2 * stats.norm.sf(abs(value / error)))
    return Estimate(value, value - half, value + half, "normal", p, n, events)


def median_follow_up(time: Array, event: Array, conf_type: str = "log-log", level: float = 0.95) -> Estimate:
    """Median follow-up by the reverse Kaplan-Meier estimate (Schemper and Smith 1996): censoring is the event."""
    return kaplan_meier(time, ~np.asarray(event, bool)).median(conf_type, level)
