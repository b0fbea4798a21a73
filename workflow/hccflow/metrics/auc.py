"""Area under the ROC curve, its DeLong variance, and the paired comparison of two scores.

AUC = P(score of an event > score of a non-event) + P(equal) / 2. Midranks make the variance O(n log n).

References
----------
DeLong ER, DeLong DM, Clarke-Pearson DL. Biometrics 1988;44:837-845.
Sun X, Xu W. IEEE Signal Process Lett 2014;21:1389-1393.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit
from scipy.stats import norm, rankdata

from hccflow.errors import TableError
from hccflow.metrics.estimate import Estimate, undefined
from hccflow.metrics.inputs import CONSTANT, Floats, check_binary, single_class

#: Which rows of a table belong to a part of it.
Rows = NDArray[np.bool_]


@dataclass(frozen=True)
class Placements:
    """Placement values of one score: for each event the share of non-events below it, and the reverse.

    Attributes
    ----------
    auc : float
        Mean of either array.
    events, nonevents : numpy.ndarray, shapes (n_events,) and (n_nonevents,)
        In the order of the rows.
    """

    auc: float
    events: Floats
    nonevents: Floats

    @property
    def variance(self) -> float:
        """DeLong variance; NaN with fewer than two events or non-events."""
        return covariance(self, self)


def placements(y: ArrayLike, score: ArrayLike) -> Placements:
    """Compute the placement values; both classes must be present (see `single_class`)."""
    labels, scores = check_binary(y, score)
    event = labels == 1
    n1, n0 = int(event.sum()), int((~event).sum())
    ranks = rankdata(scores)
    of_events = (ranks[event] - rankdata(scores[event])) / n0
    of_nonevents = 1 - (ranks[~event] - rankdata(scores[~event])) / n1
    return Placements((ranks[event].sum() - n1 * (n1 + 1) / 2) / (n1 * n0), of_events, of_nonevents)


def covariance(a: Placements, b: Placements) -> float:
    """DeLong covariance of the AUCs of two scores on the same rows."""
    n1, n0 = len(a.events), len(a.nonevents)
    if min(n1, n0) < 2:
        return float("nan")
    part1 = (a.events - a.events.mean()) @ (b.events - b.events.mean()) / (n1 - 1)
    part0 = (a.nonevents - a.nonevents.mean()) @ (b.nonevents - b.nonevents.mean()) / (n0 - 1)
    return float(part1 / n1 + part0 / n0)


def influence(placed: Placements) -> Floats:
    """Influence of each row (events first) on the AUC when events and non-events are redrawn apart, for BCa."""
    return np.concatenate(
        [(placed.events - placed.auc) / len(placed.events), (placed.nonevents - placed.auc) / len(placed.nonevents)]
    )


def auc(y: ArrayLike, score: ArrayLike, *, level: float = 0.95) -> Estimate:
    """AUC with the DeLong interval, cut to [0, 1].

    Where the variance is zero (perfect or constant score) or unknown (one event or one non-event) the interval is
    empty with the reason: [1, 1] would claim certainty.
    """
    labels, scores = check_binary(y, score)
    n, events = len(labels), int(labels.sum())
    if reason := single_class(labels):
        return undefined(reason, n=n, n_events=events)
    placed = placements(labels, scores)
    if reason := _no_variance(placed, scores):
        return Estimate(placed.auc, n=n, n_events=events, reason=f"no interval: {reason}")
    half = norm.ppf((1 + level) / 2) * np.sqrt(placed.variance)
    low, high = max(0.0, placed.auc - half), min(1.0, placed.auc + half)
    return Estimate(placed.auc, float(low), float(high), "DeLong, cut to [0, 1]", n=n, n_events=events)


def stratified_auc(
    y: ArrayLike, score: ArrayLike, strata: ArrayLike, *, repeats: ArrayLike | None = None, level: float = 0.95
) -> Estimate:
    """AUC among pairs of the same stratum: what a score tells of `y` beyond what the strata tell.

    The mean of the strata's AUCs weighted by their numbers of pairs, that is the share of all such pairs, with DeLong's
    variance of that mean and p against 0.5. A stratum without one of the classes has no pairs and takes no part. Of a
    lone event (or non-event) of a stratum the spread of placement values is unknown: it takes that of all strata.

    Parameters
    ----------
    y, score, strata : array_like, shape (rows,)
    repeats : array_like, shape (rows,), optional
        Where the same patients stand once in each repeat of a cross-validation (the strata are its folds): the result
        is the mean over repeats, with the mean of their variances. That is never below the variance of the mean, so
        the interval is conservative and counts no patient twice.
    level : float

    References
    ----------
    Janes H, Pepe MS. Biometrika 2009;96:371-382 (covariate-adjusted ROC curve).
    """
    labels, scores = check_binary(y, score)
    parts = _strata(labels, strata, repeats, lambda rows: placements(labels[rows], scores[rows]))
    return _within(parts, level, "DeLong within strata", null=0.5, lowest=0.0)


def stratified_difference(
    y: ArrayLike, a: ArrayLike, b: ArrayLike, strata: ArrayLike, *, repeats: ArrayLike | None = None,
    level: float = 0.95,
) -> Estimate:  # fmt: skip
    """AUC(a) - AUC(b) among pairs of the same stratum, by DeLong's paired test within strata.

    Strata, their weights and `repeats` as in `stratified_auc`: of two scores on the same rows the result is the
    difference of their stratified AUCs. Its variance is the sum of weight^2 (v_a + v_b - 2 cov) over the strata.
    A constant added to either score in a stratum (the offset of a fold's model) changes nothing.

    References
    ----------
    DeLong ER, DeLong DM, Clarke-Pearson DL. Biometrics 1988;44:837-845 (each stratum); Janes H, Pepe MS. Biometrika
    2009;96:371-382 (the mean over strata, which are independent).
    """
    if np.shape(a) != np.shape(b):
        raise TableError("a paired test needs the same rows", expected=np.shape(a), found=np.shape(b))
    labels, first = check_binary(y, a)
    _, second = check_binary(y, b)

    def gap(rows: Rows) -> Placements:
        one, two = placements(labels[rows], first[rows]), placements(labels[rows], second[rows])
        # Its DeLong variance is v_one + v_two - 2 cov, since the covariance is linear in the placement values.
        return Placements(one.auc - two.auc, one.events - two.events, one.nonevents - two.nonevents)

    parts = _strata(labels, strata, repeats, gap)
    return _within(parts, level, "DeLong, paired, within strata", null=0.0, lowest=-1.0)


def _strata(
    labels: Floats, strata: ArrayLike, repeats: ArrayLike | None, place: Callable[[Rows], Placements]
) -> list[list[Placements | None]]:
    """Placement values of each stratum of each repeat; None where one class is absent."""
    stratum = np.asarray(strata)
    turn = np.zeros(len(labels)) if repeats is None else np.asarray(repeats)
    out: list[list[Placements | None]] = []
    for one in np.unique(turn):
        parts = [(turn == one) & (stratum == value) for value in np.unique(stratum[turn == one])]
        out.append([None if single_class(labels[rows]) else place(rows) for rows in parts])
    return out


def _within(
    repeats: list[list[Placements | None]], level: float, method: str, *, null: float, lowest: float
) -> Estimate:
    """Mean of the strata weighted by pairs, then over repeats; limits cut to [lowest, 1], p against `null`."""
    means = []
    for strata in repeats:
        if parts := [one for one in strata if one is not None]:
            weights = np.array([len(one.events) * len(one.nonevents) for one in parts], dtype=float)
            weights /= weights.sum()
            share = weights @ np.array([one.auc for one in parts])
            classes = [one.events for one in parts], [one.nonevents for one in parts]
            square = weights**2 @ (_variances(classes[0]) + _variances(classes[1]))
            events, others = (sum(map(len, values)) for values in classes)
            means.append((events + others, events, share, square))
    if not means:
        return undefined("no stratum has rows of both classes", n=0, n_events=0)
    n, found = max(mean[:2] for mean in means)
    value, variance = (float(np.mean([mean[k] for mean in means])) for k in (2, 3))
    count, left = sum(map(len, repeats)), sum(one is None for strata in repeats for one in strata)
    note = f"{left} of {count} strata have one class only and take no part" if left else ""
    if not variance > 1e-15:  # rounding, as in `paired_auc`
        why = "no stratum has two rows of each class" if np.isnan(variance) else "the estimated variance is zero"
        note = "; ".join(filter(None, (f"no interval: {why}", note)))
        return Estimate(value, n=n, n_events=found, reason=note)
    error = float(np.sqrt(variance))
    half = float(norm.ppf((1 + level) / 2)) * error
    p = float(2 * norm.sf(abs(value - null) / error))
    how = f"{method}, cut to [{lowest:g}, 1]" + (f", mean of {len(means)} repeats" if len(means) > 1 else "")
    return Estimate(value, max(lowest, value - half), min(1.0, value + half), how, p, n, found, note)


def _variances(strata: list[Floats]) -> Floats:
    """Variance of the mean placement value of one class in each stratum, of a lone one by the spread of all strata."""
    squares = [float(((values - values.mean()) ** 2).sum()) for values in strata]
    freedom = sum(len(values) - 1 for values in strata)
    pooled = sum(squares) / freedom if freedom else float("nan")
    own = [
        square / (len(values) - 1) if len(values) > 1 else pooled
        for square, values in zip(squares, strata, strict=True)
    ]
    return np.array([spread / len(values) for spread, values in zip(own, strata, strict=True)])


def _no_variance(placed: Placements, scores: Floats) -> str:
    if min(len(placed.events), len(placed.nonevents)) < 2:
        return "fewer than two events or non-events, so no variance"
    if np.ptp(scores) == 0:
        return f"{CONSTANT}, so the variance is zero"
    return "perfect separation, so the estimated variance is zero" if placed.variance <= 0 else ""


def logit_interval(placed: Placements, *, level: float = 0.95) -> tuple[float, float] | None:
    """DeLong interval on the logit scale, which stays inside (0, 1); None where AUC is 0 or 1 or has no variance."""
    error = logit_error(placed)
    if error is None:
        return None
    low, high = expit(logit(placed.auc) + norm.ppf([(1 - level) / 2, (1 + level) / 2]) * error)
    return float(low), float(high)


def logit_error(placed: Placements) -> float | None:
    """Standard error of logit(AUC) by the delta method, or None where it does not exist."""
    if not 0 < placed.auc < 1 or not placed.variance > 0:
        return None
    return float(np.sqrt(placed.variance) / (placed.auc * (1 - placed.auc)))


@dataclass(frozen=True)
class PairedTest:
    """Paired DeLong test of two scores on the same rows; `z` and `error` are None where there is no variance."""

    difference: Estimate
    covariance: float
    z: float | None = None
    error: float | None = None


def paired_auc(y: ArrayLike, a: ArrayLike, b: ArrayLike, *, level: float = 0.95) -> PairedTest:
    """Compare AUC(a) - AUC(b) on the rows that both scores have, by DeLong's paired test; limits are cut to [-1, 1].

    Raises
    ------
    TableError
        The scores differ in length: the caller joins rows by identifier before it comes here.
    """
    if np.shape(a) != np.shape(b):
        raise TableError("a paired test needs the same rows", expected=np.shape(a), found=np.shape(b))
    labels, first = check_binary(y, a)
    _, second = check_binary(y, b)
    n, events = len(labels), int(labels.sum())
    if reason := single_class(labels):
        return PairedTest(undefined(reason, n=n, n_events=events), float("nan"))
    one, two = placements(labels, first), placements(labels, second)
    shared = covariance(one, two)
    difference = one.auc - two.auc
    variance = one.variance + two.variance - 2 * shared
    # Rounding leaves about 1e-17 where the two scores rank every pair alike.
    if not variance > 1e-15:
        reason = "fewer than two events or non-events" if np.isnan(variance) else "the difference has no variance"
        return PairedTest(Estimate(difference, n=n, n_events=events, reason=f"no test: {reason}"), shared)
    error = float(np.sqrt(variance))
    half = float(norm.ppf((1 + level) / 2)) * error
    z = difference / error
    low, high = max(-1.0, difference - half), min(1.0, difference + half)
    method = "DeLong, paired" + (", cut to [-1, 1]" if low == -1 or high == 1 else "")
    estimate = Estimate(difference, low, high, method, float(2 * norm.sf(abs(z))), n, events)
    return PairedTest(estimate, shared, z, error)
