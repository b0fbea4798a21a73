"""Bootstrap of one cohort: all models and all differences on the same draws, so that differences are paired."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hccflow.metrics import calibration as cal
from hccflow.metrics.auc import influence, placements
from hccflow.metrics.bootstrap import bca_interval, percentile_interval, resample
from hccflow.metrics.decision import benefit_weights
from hccflow.metrics.estimate import Estimate
from hccflow.metrics.inputs import Floats, single_class
from hccflow.metrics.weighted import Ranking, calibration_slopes, ratios
from hccflow.validate.options import Options

#: Comparators of a net benefit that are not models.
TREAT_ALL, TREAT_NONE = "treat_all", "treat_none"
#: (model, comparator, metric, at)
Key = tuple[str, str, str, float | None]


@dataclass(frozen=True)
class Scored:
    """Scores of one model on the labelled cases of a cohort; NaN where it has none.

    Attributes
    ----------
    model : str
    score : numpy.ndarray, shape (cases,)
    probability : bool
    threshold : float or None
    """

    model: str
    score: Floats
    probability: bool
    threshold: float | None


class _Model:
    """Statistics of one model as functions of weights: precomputed once, evaluated for every chunk of draws."""

    def __init__(self, y: Floats, scored: Scored, at: Floats) -> None:
        self.rows = np.flatnonzero(np.isfinite(scored.score))
        self.y, self.score = y[self.rows], scored.score[self.rows]
        self.ranking = Ranking(self.y, self.score)
        self.threshold, self.probability, self.at = scored.threshold, scored.probability, at
        columns = [np.ones_like(self.y), self.y]
        if scored.threshold is not None:
            called = self.score >= scored.threshold
            columns += [called * self.y, called * (1 - self.y)]
        self.lp, self.start = None, (0.0, 1.0)
        if scored.probability:
            columns.append((self.score - self.y) ** 2)
            columns += list(benefit_weights(self.y, self.score, at).T)
            columns += list(benefit_weights(self.y, np.ones_like(self.y), at).T)
            lp = cal.safe_logit(self.score)
            if not cal.no_logistic_fit(self.y, lp, slope=True):
                fit = cal.fit_logistic(self.y, lp)
                self.lp, self.start = lp, (fit.intercept, fit.slope)
        self.linear = np.column_stack(columns)
        self.keys: list[Key] = []

    def __call__(self, weights: Floats) -> list[tuple[str, str, float | None, Floats]]:
        """(comparator, metric, at, value of each draw)."""
        w = weights if len(self.rows) == weights.shape[1] else weights[:, self.rows]
        sums = w @ self.linear
        n, events = sums[:, 0], sums[:, 1]
        used = 2
        out: list[tuple[str, str, float | None, Floats]] = [("", "auc_pr", None, self.ranking.average_precision(w))]
        if self.threshold is not None:
            tp, fp = sums[:, 2], sums[:, 3]
            used = 4
            for name, value in ratios(tp, fp, events - tp, n - events - fp).items():
                out.append(("", name, self.threshold, value))
        if self.probability:
            with np.errstate(invalid="ignore", divide="ignore"):
                brier, prevalence = sums[:, used] / n, events / n
                out += [("", "brier", None, brier)]
                out += [("", "brier_scaled", None, 1 - brier / (prevalence * (1 - prevalence)))]
                model, everybody = np.split(sums[:, used + 1 :] / n[:, None], 2, axis=1)
            for k, t in enumerate(self.at):
                out.append(("", "net_benefit", float(t), model[:, k]))
                out.append(("", "net_benefit_treat_all", float(t), everybody[:, k]))
                out.append((TREAT_ALL, "net_benefit_difference", float(t), model[:, k] - everybody[:, k]))
        if self.lp is not None:
            a, b = calibration_slopes(w, self.y, self.lp, self.start)
            out += [("", "calibration_intercept_bootstrap", None, a), ("", "calibration_slope_bootstrap", None, b)]
        return out


class _Pair:
    """Differences of two models' Brier scores and net benefits on the rows that both scored."""

    def __init__(self, y: Floats, a: Scored, b: Scored, at: Floats) -> None:
        self.rows = np.flatnonzero(np.isfinite(a.score) & np.isfinite(b.score))
        labels, first, second = y[self.rows], a.score[self.rows], b.score[self.rows]
        squares = (first - labels) ** 2 - (second - labels) ** 2
        benefit = benefit_weights(labels, first, at) - benefit_weights(labels, second, at)
        self.linear = np.column_stack([np.ones_like(labels), squares, benefit])
        self.comparator, self.at = b.model, at

    def __call__(self, weights: Floats) -> list[tuple[str, str, float | None, Floats]]:
        """(comparator, metric, at, value of each draw)."""
        w = weights if len(self.rows) == weights.shape[1] else weights[:, self.rows]
        sums = w @ self.linear
        with np.errstate(invalid="ignore", divide="ignore"):
            means = sums[:, 1:] / sums[:, :1]
        out: list[tuple[str, str, float | None, Floats]] = [(self.comparator, "brier_difference", None, means[:, 0])]
        return out + [
            (self.comparator, "net_benefit_difference", float(t), means[:, k + 1]) for k, t in enumerate(self.at)
        ]


def bootstrap_cohort(
    y: Floats, models: Sequence[Scored], pairs: Sequence[tuple[str, str]], options: Options, seed: int
) -> dict[Key, Estimate]:
    """Resample the labelled cases of a cohort and return value and percentile interval of every statistic.

    Parameters
    ----------
    y : numpy.ndarray, shape (cases,)
        Labels, none missing.
    models : sequence of Scored
    pairs : sequence of (model, comparator)
    options : Options
        Draws, level, threshold probabilities. Without draws the values come without intervals.
    seed : int
    """
    at = np.asarray(options.net_benefit_at, dtype=np.float64)
    usable = {m.model: m for m in models if np.isfinite(m.score).any()}
    parts: list[tuple[str, _Model | _Pair]] = [(name, _Model(y, m, at)) for name, m in usable.items()]
    for a, b in pairs:
        if a in usable and b in usable and usable[a].probability and usable[b].probability:
            pair = _Pair(y, usable[a], usable[b], at)
            if len(pair.rows):
                parts.append((a, pair))
    if not parts:
        return {}

    def statistic(weights: Floats) -> Floats:
        return np.column_stack([value for _, part in parts for *_, value in part(weights)])

    once = np.ones((1, len(y)))
    described = [(model, part, *entry) for model, part in parts for entry in part(once)]
    draws = resample(statistic, len(y), options.draws, seed) if options.draws else None
    out: dict[Key, Estimate] = {}
    for i, (model, part, comparator, metric, when, value) in enumerate(described):
        n, events = len(part.rows), int(y[part.rows].sum())
        point = None if np.isnan(value[0]) else float(value[0])
        estimate = Estimate(point, n=n, n_events=events, reason="" if point is not None else "undefined")
        if draws is not None and point is not None:
            estimate = with_interval(estimate, draws[:, i], options)
        out[model, comparator, metric, when] = estimate
    return out


def with_interval(estimate: Estimate, draws: Floats, options: Options) -> Estimate:
    """Add the percentile interval of the draws to an estimate, or the reason why there is none."""
    if len(draws) == 0:
        return estimate
    interval = percentile_interval(draws, level=options.level)
    if interval is None:
        return replace(estimate, reason="no interval: too many bootstrap draws are undefined")
    if interval[0] == interval[1]:
        return replace(estimate, reason=estimate.reason or "no interval: every bootstrap draw gives the same value")
    return replace(
        estimate, ci_low=interval[0], ci_high=interval[1], ci_method=f"bootstrap percentile, {len(draws)} draws"
    )


def auc_bootstrap(y: Floats, score: Floats, options: Options, seed: int) -> Estimate:
    """AUC with the BCa interval of draws within events and within non-events."""
    n, events = len(y), int(y.sum())
    if reason := single_class(y):
        return Estimate(n=n, n_events=events, reason=reason)
    placed, ranking = placements(y, score), Ranking(y, score)
    value = Estimate(placed.auc, n=n, n_events=events)
    draws = resample(lambda w: ranking.auc(w)[:, None], n, options.draws, seed, strata=y)[:, 0]
    interval = bca_interval(placed.auc, draws, influence(placed), level=options.level)
    if interval is None:
        return replace(value, reason="no interval: the bootstrap draws do not spread around the value")
    return replace(
        value, ci_low=interval[0], ci_high=interval[1],
        ci_method=f"bootstrap BCa, stratified by class, {options.draws} draws",
    )  # fmt: skip
