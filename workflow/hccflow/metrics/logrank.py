"""Log-rank tests of two or more groups: plain, weighted, stratified."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from scipy import stats

from hccflow.metrics.km import kaplan_meier

Array = np.ndarray[Any, Any]


class Weight(StrEnum):
    """Weight of an event time: 1, the number at risk (Gehan), its root (Tarone-Ware), S(t-) (Peto, R's rho = 1),
    or S(t-)^rho (1 - S(t-))^gamma (Fleming-Harrington)."""  # noqa: D209

    LOGRANK = "logrank"
    GEHAN = "gehan"
    TARONE_WARE = "tarone_ware"
    PETO = "peto"
    FLEMING_HARRINGTON = "fleming_harrington"


@dataclass(frozen=True)
class LogRank:
    """Result of a log-rank test; `chi2` is None when it is undefined, with the reason."""

    chi2: float | None
    df: int
    p: float | None
    observed: Array
    expected: Array
    reason: str = ""


def log_rank(
    time: Array,
    event: Array,
    group: Array,
    *,
    weight: Weight | str = Weight.LOGRANK,
    rho: float = 0.0,
    gamma: float = 0.0,
    strata: Array | None = None,
    entry: Array | None = None,
) -> LogRank:
    """Test whether groups have the same hazard (Fleming and Harrington 1991).

    Parameters
    ----------
    time, event, group : array_like, shape (n,)
        Times, events (bool) and group labels.
    weight : Weight
        Weight of each event time.
    rho, gamma : float
        Exponents of ``Weight.FLEMING_HARRINGTON``.
    strata : array_like, shape (n,), optional
        Observed minus expected is summed over strata.
    entry : array_like, shape (n,), optional
        Delayed entry.

    Returns
    -------
    LogRank
        ``observed`` and ``expected`` in the order of the sorted group labels, weighted as the test is.
    """
    time, event = np.asarray(time, float), np.asarray(event, bool)
    labels, code = np.unique(group, return_inverse=True)
    k = labels.size
    strata_code = np.zeros(time.size, int) if strata is None else np.unique(strata, return_inverse=True)[1]
    observed, expected, variance = np.zeros(k), np.zeros(k), np.zeros((k, k))
    for stratum in np.unique(strata_code):
        rows = strata_code == stratum
        late = None if entry is None else np.asarray(entry, float)[rows]
        o, e, v = _stratum(time[rows], event[rows], code[rows], k, weight, rho, gamma, late)
        observed, expected, variance = observed + o, expected + e, variance + v
    if k < 2:
        return LogRank(None, 0, None, observed, expected, "only one group has subjects")
    if not event.any():
        return LogRank(None, k - 1, None, observed, expected, "no events")
    used = np.diag(variance) > 0
    if not used.any():
        return LogRank(None, k - 1, None, observed, expected, "no event time at which two groups are at risk")
    keep = np.flatnonzero(used)[1:] if used.sum() > 1 else np.flatnonzero(used)
    difference = (observed - expected)[keep]
    chi2 = float(difference @ np.linalg.solve(variance[np.ix_(keep, keep)], difference))
    df = int(used.sum()) - 1 or 1
    return LogRank(chi2, df, float(stats.chi2.sf(chi2, df)), observed, expected)


def _stratum(
    time: Array, event: Array, code: Array, k: int, weight: Weight | str, rho: float, gamma: float, entry: Array | None
) -> tuple[Array, Array, Array]:
    curve = kaplan_meier(time, event, entry)
    at = curve.events > 0
    values, died, total = curve.time[at], curve.events[at], curve.at_risk[at].astype(float)
    if not values.size:
        return np.zeros(k), np.zeros(k), np.zeros((k, k))
    before = curve.at(values, before=True)
    w = {
        Weight.LOGRANK: np.ones_like(total),
        Weight.GEHAN: total,
        Weight.TARONE_WARE: np.sqrt(total),
        Weight.PETO: before,
        Weight.FLEMING_HARRINGTON: before**rho * (1 - before) ** gamma,
    }[Weight(weight)]
    risk, events = np.zeros((values.size, k)), np.zeros((values.size, k))
    for g in range(k):
        mine = code == g
        exits = np.sort(time[mine])
        came = mine.sum() if entry is None else np.searchsorted(np.sort(entry[mine]), values, "left")
        risk[:, g] = came - np.searchsorted(exits, values, "left")
        np.add.at(events[:, g], np.searchsorted(values, time[mine & event]), 1)
    share = risk / total[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = np.where(total > 1, died * (total - died) / (total - 1), 0.0) * w**2
    variance = np.diag((factor[:, None] * share).sum(0)) - (factor[:, None] * share).T @ share
    return (w[:, None] * events).sum(0), (w[:, None] * died[:, None] * share).sum(0), variance
