"""Concordance of a score with survival: Harrell's and Uno's C in O(n log n), with variance and paired comparison.

A pair is comparable when one of the two has the event and the other is known to live longer (a subject censored at
the very time of the event does); it is concordant when the earlier event has the higher score, and counts one half
when the scores are equal. Pairs of events at the same time are not comparable. The direction is fixed: higher score =
earlier event. A competing event is treated as censoring.

References
----------
Harrell FE et al. JAMA 1982;247:2543-2546. Uno H et al. Stat Med 2011;30:1105-1117. Therneau TM, Atkinson E: the
vignette "concordance" of the R package survival (the infinitesimal jackknife).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from scipy import stats

from hccflow.errors import HccflowError
from hccflow.metrics.estimate import Estimate, undefined

Array = np.ndarray[Any, Any]
METHOD = "infinitesimal jackknife"
#: Draws of the bootstrap that are worked on at once; more would leave the processor's cache.
DRAWS = 8


class Dominance:
    """For each query, the sum of the weights of points with a later slot and a lower rank.

    Points stand in the order of their ranks; a prefix of that order is a union of blocks of 2^k points, one for each
    bit of its length. Inside a block points are sorted by slot, so a sum is the difference of two cumulative sums. The
    order does not depend on the weights, hence any number of weightings (bootstrap draws) share it.
    """

    def __init__(self, slot: Array, rank: Array, query_slot: Array, query_rank: Array, *, equal: bool = False) -> None:
        by_rank = np.argsort(rank, kind="stable")
        slot_sorted = slot[by_rank]
        length = np.searchsorted(rank[by_rank], query_rank, "right" if equal else "left")
        self.levels: list[tuple[Array, Array, Array, Array]] = []
        self.n_queries = query_slot.size
        span = int(max(slot.max(initial=0), query_slot.max(initial=0))) + 2
        low = int(min(slot.min(initial=0), query_slot.min(initial=0)))
        span -= low
        for level in range(int(slot.size).bit_length()):
            queries = np.flatnonzero((length >> level) & 1)
            if not queries.size:
                continue
            key = (np.arange(slot.size) >> level) * span + (slot_sorted - low)
            order = np.argsort(key, kind="stable")
            block = (length[queries] >> level) - 1
            begin = np.searchsorted(key[order], block * span + (query_slot[queries] - low), "right")
            end = np.minimum((block + 1) << level, slot.size)
            self.levels.append((by_rank[order], queries, begin, end))

    def sums(self, weights: Array) -> Array:
        """Sums for weights of shape (draws, points); returns (draws, queries)."""
        out = np.zeros((len(weights), self.n_queries))
        total = np.zeros((len(weights), weights.shape[1] + 1))
        for order, queries, begin, end in self.levels:
            np.cumsum(np.take(weights, order, axis=1), axis=1, out=total[:, 1:])
            out[:, queries] += np.take(total, end, axis=1) - np.take(total, begin, axis=1)
        return out


class Concordance:
    """Comparable and concordant pairs of one score, ready for any weighting of the subjects.

    Parameters
    ----------
    time, event : array_like, shape (n,)
        Time and event (bool).
    score : array_like, shape (n,)
        Higher = earlier event.
    entry : array_like, shape (n,), optional
        Delayed entry: a pair is comparable only while both are at risk.
    uno : bool
        Weight each event by 1/G(t-)^2, G the Kaplan-Meier estimate of being uncensored (Uno's C).
    tau : float, optional
        Leave out events after `tau`.

    Raises
    ------
    HccflowError
        Uno's weights with delayed entry.
    """

    def __init__(
        self, time: Array, event: Array, score: Array, *, entry: Array | None = None, uno: bool = False,
        tau: float | None = None,
    ) -> None:  # fmt: skip
        time, event = np.asarray(time, float), np.asarray(event, bool)
        if uno and entry is not None:
            raise HccflowError("Uno's C is not defined here with delayed entry")
        self.n, self.n_events = time.size, int(event.sum())
        values, index = np.unique(time, return_inverse=True)
        self.slot = 2 * index + ~event
        self.rank = np.unique(np.asarray(score, float), return_inverse=True)[1]
        used = event if tau is None else event & (time <= tau)
        self.cases = np.flatnonzero(used)
        self.entry_slot: Array | None = None
        if entry is not None:
            self.entry_slot = 2 * np.searchsorted(values, np.asarray(entry, float), "right") - 1
        self.pair_weight = np.ones(self.cases.size)
        if uno and self.n_events > 1:
            self.pair_weight = censoring_survival(time, event, time[self.cases], before=True) ** -2.0

    @cached_property
    def _by_slot(self) -> tuple[Array, Array]:
        order = np.argsort(self.slot, kind="stable")
        return order, np.searchsorted(self.slot[order], self.slot[self.cases], "right")

    @cached_property
    def _by_entry(self) -> tuple[Array, Array]:
        assert self.entry_slot is not None
        order = np.argsort(self.entry_slot, kind="stable")
        return order, np.searchsorted(self.entry_slot[order], self.slot[self.cases], "right")

    @cached_property
    def _below(self) -> list[tuple[float, Dominance]]:
        """Signed sums whose total is the weight of concordant pairs plus half of the tied ones, for each event."""
        ties = np.unique(self.rank).size < self.n
        kinds = [(0.5, False), (0.5, True)] if ties else [(1.0, False)]
        out = []
        for sign, slot in [(1.0, self.slot), (-1.0, self.entry_slot)]:
            for share, equal in kinds if slot is not None else []:
                rule = Dominance(slot, self.rank, self.slot[self.cases], self.rank[self.cases], equal=equal)
                out.append((sign * share, rule))
        return out

    def _pairs(self, weights: Array) -> tuple[Array, Array]:
        """Concordant (with half of the tied) and comparable weight of each event's pairs, (draws, events)."""
        won = np.zeros((len(weights), self.cases.size))
        for factor, rule in self._below:
            won += factor * rule.sums(weights)
        pairs = _suffix(weights, *self._by_slot)
        if self.entry_slot is not None:
            pairs -= _suffix(weights, *self._by_entry)
        return won, pairs

    def index(self, weights: Array) -> Array:
        """C of each weighting of the subjects: the bootstrap.

        Parameters
        ----------
        weights : numpy.ndarray, shape (draws, n)
            How often each subject stands in a draw.

        Returns
        -------
        numpy.ndarray, shape (draws,)
            NaN where a draw has no comparable pair.
        """
        weights = np.atleast_2d(np.asarray(weights, float))
        return np.concatenate([self._index(weights[k : k + DRAWS]) for k in range(0, len(weights), DRAWS)])

    def _index(self, weights: Array) -> Array:
        won, pairs = self._pairs(weights)
        own = weights[:, self.cases] * self.pair_weight
        total = np.einsum("ij,ij->i", own, pairs)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(total > 0, np.einsum("ij,ij->i", own, won) / total, np.nan)

    @cached_property
    def _counts(self) -> tuple[Array, Array]:
        won, pairs = self._pairs(np.ones((1, self.n)))
        return won[0] * self.pair_weight, pairs[0] * self.pair_weight

    @property
    def pairs(self) -> float:
        """Comparable pairs (their weight for Uno's C)."""
        return float(self._counts[1].sum())

    @property
    def value(self) -> float:
        """C, NaN without a comparable pair."""
        return float(self._counts[0].sum() / self.pairs) if self.pairs > 0 else float("nan")

    @cached_property
    def _shares(self) -> tuple[Array, Array]:
        """Concordant and comparable weight of each subject's pairs, shape (n,) each."""
        won, pairs = np.zeros(self.n), np.zeros(self.n)
        won[self.cases], pairs[self.cases] = self._counts
        slot, rank = -self.slot[self.cases], -self.rank[self.cases]
        weight = self.pair_weight[None, :]
        everything = np.full_like(rank, rank.min(initial=0)), np.full(self.n, 1 - rank.min(initial=0))
        for sign, query in [(1.0, self.slot), (-1.0, self.entry_slot)]:
            if query is None:
                continue
            for equal in (False, True):
                won += sign / 2 * Dominance(slot, rank, -query, -self.rank, equal=equal).sums(weight)[0]
            pairs += sign * Dominance(slot, everything[0], -query, everything[1]).sums(weight)[0]
        return won, pairs

    @cached_property
    def influence(self) -> Array:
        """Infinitesimal-jackknife influence of each subject on C, shape (n,); its squares add up to the variance."""
        won, pairs = self._shares
        return (won - self.value * pairs) / self.pairs

    def estimate(self, level: float = 0.95) -> Estimate:
        """C with its normal interval; p tests C = 0.5."""
        problem = self._problem()
        if problem:
            return undefined(problem, n=self.n, n_events=self.n_events)
        error = float(np.sqrt(np.sum(self.influence**2)))
        if error < 1e-12:
            return Estimate(
                self.value, n=self.n, n_events=self.n_events, reason="no interval: no variation among pairs"
            )
        half = float(stats.norm.ppf(0.5 + level / 2) * error)
        p = float(2 * stats.norm.sf(abs(self.value - 0.5) / error))
        return Estimate(self.value, self.value - half, self.value + half, METHOD, p, self.n, self.n_events)

    def _problem(self) -> str:
        if self.n_events == 0:
            return "no events"
        if self.rank.max() == 0:
            return "all scores are equal"
        return "" if self.pairs > 0 else "no comparable pair"


def _suffix(weights: Array, order: Array, begin: Array) -> Array:
    total = np.zeros((len(weights), weights.shape[1] + 1))
    np.cumsum(np.take(weights, order, axis=1), axis=1, out=total[:, 1:])
    return total[:, -1:] - np.take(total, begin, axis=1)


def concordance_within(repeats: Sequence[Sequence[Concordance]], level: float = 0.95) -> Estimate:
    """C over the pairs of subjects of one stratum, as R's ``concordance`` with ``strata``.

    Scores of different strata (out-of-fold scores of differently trained models, say) are never compared.

    Parameters
    ----------
    repeats : sequence of sequence of Concordance
        The strata of each repeat, in which the same subjects stand again: the result is the mean over repeats with the
        mean of their variances, which is never below the variance of the mean.
    level : float
    """
    return _over_repeats([_within(strata) for strata in repeats], repeats[0], level, null=0.5)


def concordance_difference_within(
    first: Sequence[Sequence[Concordance]], second: Sequence[Sequence[Concordance]], level: float = 0.95
) -> Estimate:
    """Difference of two C of the same subjects in the same order over the pairs of one stratum, first minus second.

    Strata and repeats as in `concordance_within`.
    """
    parts = []
    for one, other in zip(first, second, strict=True):
        _same_subjects(one, other)
        (c_one, own), (c_other, theirs) = _within(one), _within(other)
        parts.append((c_one - c_other, own - theirs))
    return _over_repeats(parts, first[0], level, null=0.0)


def _within(strata: Sequence[Concordance]) -> tuple[float, Array]:
    """C over the pairs of one stratum, NaN without any, and each subject's influence on it."""
    parts = [part for part in strata if part.pairs > 0]
    total = sum(part.pairs for part in parts)
    if not parts:
        return float("nan"), np.zeros(0)
    value = sum(part.value * part.pairs for part in parts) / total
    shares = [part._shares for part in parts]
    return value, np.concatenate([won - value * pairs for won, pairs in shares]) / total


def _over_repeats(
    parts: Sequence[tuple[float, Array]], strata: Sequence[Concordance], level: float, *, null: float
) -> Estimate:
    """Mean of values and of variances; p against `null`."""
    count: dict[str, Any] = {"n": sum(one.n for one in strata), "n_events": sum(one.n_events for one in strata)}
    known = [(value, np.sum(influence**2)) for value, influence in parts if not np.isnan(value)]
    if not known:
        return undefined("no comparable pair", **count)
    value, variance = (float(np.mean(numbers)) for numbers in zip(*known, strict=True))
    error = float(np.sqrt(variance))
    if error < 1e-12:
        return Estimate(value, reason="no interval: no variation among pairs", **count)
    half = float(stats.norm.ppf(0.5 + level / 2) * error)
    p = float(2 * stats.norm.sf(abs(value - null) / error))
    how = METHOD + (f", mean of {len(known)} repeats" if len(known) > 1 else "")
    return Estimate(value, value - half, value + half, how, p, **count)


def concordance_difference(first: Concordance, second: Concordance, level: float = 0.95) -> Estimate:
    """Difference of two C of the same subjects in the same order, first minus second (paired).

    Raises
    ------
    HccflowError
        The two are not on the same subjects.
    """
    _same_subjects([first], [second])
    count: dict[str, Any] = {"n": first.n, "n_events": first.n_events}
    problem = first._problem() or second._problem()
    if problem:
        return undefined(problem, **count)
    value = first.value - second.value
    error = float(np.sqrt(np.sum((first.influence - second.influence) ** 2)))
    if error < 1e-12:
        return Estimate(value, reason="no interval: the two scores order the subjects alike", **count)
    half = float(stats.norm.ppf(0.5 + level / 2) * error)
    p = float(2 * stats.norm.sf(abs(value / error)))
    return Estimate(value, value - half, value + half, METHOD, p, **count)


def _same_subjects(first: Sequence[Concordance], second: Sequence[Concordance]) -> None:
    if len(first) != len(second) or any(not np.array_equal(a.slot, b.slot) for a, b in zip(first, second, strict=True)):
        raise HccflowError("a paired comparison needs both scores of the same subjects")


def censoring_survival(time: Array, event: Array, at: Array | float, *, before: bool = False) -> Array:
    """G(t), or G(t-) with `before`: Kaplan-Meier estimate of being uncensored; at ties events come first.

    Subjects with an event (of any kind) at a time are no longer at risk of being censored at it.
    """
    values, where = np.unique(time, return_inverse=True)
    event = np.asarray(event, bool)
    died = np.bincount(where, event, values.size)
    lost = np.bincount(where, ~event, values.size)
    risk = np.cumsum((died + lost)[::-1])[::-1] - died
    with np.errstate(invalid="ignore", divide="ignore"):
        curve = np.cumprod(np.where(risk > 0, 1 - lost / risk, 1.0))
    return np.concatenate([[1.0], curve])[np.searchsorted(values, at, "left" if before else "right")]
