"""The curves behind the figures, as tables: ROC, precision-recall, calibration, decision."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from hccflow.metrics import calibration as cal
from hccflow.metrics.bootstrap import percentile_interval, resample
from hccflow.metrics.decision import benefit_weights
from hccflow.metrics.inputs import Floats, single_class
from hccflow.metrics.precision_recall import steps
from hccflow.metrics.threshold import proportion_interval
from hccflow.validate.options import Options

#: What a curve is about.
KEYS = ["endpoint", "cohort", "group", "model"]
#: Columns of each curve after `KEYS`.
COLUMNS = {
    "roc": ["threshold", "fpr", "tpr"],
    "pr": ["threshold", "recall", "precision"],
    "calibration": ["kind", "predicted", "observed", "ci_low", "ci_high", "n", "n_events"],
    "decision": ["strategy", "threshold", "net_benefit", "ci_low", "ci_high"],
    "scores": ["low", "high", "events", "nonevents"],
}
Row = dict[str, Any]


def roc(y: Floats, score: Floats) -> Iterator[Row]:
    """Corners of the ROC curve, from the highest threshold down; the first point (0, 0) has no threshold."""
    if single_class(y):
        return
    count, events = steps(y, score), y.sum()
    yield {"threshold": None, "fpr": 0.0, "tpr": 0.0}
    for t, tp, fp in zip(count.threshold, count.tp, count.fp, strict=True):
        yield {"threshold": t, "fpr": fp / (len(y) - events), "tpr": tp / events}


def precision_recall(y: Floats, score: Floats) -> Iterator[Row]:
    """Points of the precision-recall steps, from the highest threshold down; none where `auc_pr` is undefined."""
    if single_class(y):
        return
    count = steps(y, score)
    for t, tp, fp in zip(count.threshold, count.tp, count.fp, strict=True):
        yield {"threshold": t, "recall": tp / y.sum(), "precision": tp / (tp + fp)}


def histogram(y: Floats, score: Floats) -> Iterator[Row]:
    """How many events and non-events have a score in each of 20 bins of [0, 1]."""
    edges = np.linspace(0, 1, 21)
    events, others = np.histogram(score[y == 1], edges)[0], np.histogram(score[y == 0], edges)[0]
    for k in range(20):
        yield {"low": edges[k], "high": edges[k + 1], "events": events[k], "nonevents": others[k]}


def calibration_groups(y: Floats, p: Floats, options: Options) -> Iterator[Row]:
    """Observed share of events with Wilson interval in up to ten quantile groups of at least ten rows."""
    table = cal.grouped(y, p, max(2, min(10, len(y) // 10)))
    for n, events, expected in table if table is not None else ():
        low, high = proportion_interval(int(events), int(n), level=options.level)
        yield {
            "kind": "group", "predicted": expected / n, "observed": events / n, "ci_low": low, "ci_high": high,
            "n": int(n), "n_events": int(events),
        }  # fmt: skip


def calibration_curve(y: Floats, p: Floats, options: Options, seed: int) -> tuple[list[Row], dict[str, Floats]]:
    """Flexible curve on 100 points with a pointwise bootstrap band, and the draws of ICI, E50, E90 and Emax.

    Empty where `hccflow.metrics.calibration.flexible_curve` gives a reason.
    """
    whole = cal.flexible_curve(y, p)
    if isinstance(whole, str):
        return [], {}
    grid = np.linspace(p.min(), p.max(), 100)
    names = ("ici", "e50", "e90", "emax")

    def one(weights: Floats) -> Floats:
        rows = np.repeat(np.arange(len(y)), weights.astype(int))
        smooth = cal.flexible_curve(y[rows], p[rows])
        if isinstance(smooth, str):
            return np.full(len(names) + len(grid), np.nan)
        errors = smooth.curve.errors()
        return np.concatenate([[errors[k] for k in names], smooth.at(grid)])

    observed = whole.at(grid)
    draws = np.empty((0, len(names) + len(grid)))
    if options.curve_draws:
        draws = resample(lambda w: np.array([one(row) for row in w]), len(y), options.curve_draws, seed)
    rows = []
    for k, (x, value) in enumerate(zip(grid, observed, strict=True)):
        # At the ends of the range many draws do not reach the point: no band there.
        band = percentile_interval(draws[:, len(names) + k], level=options.level) if len(draws) else None
        low, high = band or (None, None)
        rows.append({"kind": "loess", "predicted": x, "observed": value, "ci_low": low, "ci_high": high})
    return rows, {name: draws[:, k] for k, name in enumerate(names)}


def decision(y: Floats, p: Floats, options: Options, seed: int) -> Iterator[Row]:
    """Net benefit of the model, of treating all and of treating none, at threshold probabilities 0.01 to 0.99."""
    if len(y) == 0:
        return
    at = np.arange(1, 100) / 100
    everybody = benefit_weights(y, np.ones_like(y), at).mean(axis=0)
    contribution = benefit_weights(y, p, at)
    draws = resample(lambda w: w @ contribution / len(y), len(y), options.draws, seed) if options.draws else None
    for k, t in enumerate(at):
        interval = percentile_interval(draws[:, k], level=options.level) if draws is not None else None
        low, high = interval or (None, None)
        yield {
            "strategy": "model", "threshold": t, "net_benefit": contribution[:, k].mean(),
            "ci_low": low, "ci_high": high,
        }  # fmt: skip
        yield {"strategy": "treat_all", "threshold": t, "net_benefit": everybody[k]}
        yield {"strategy": "treat_none", "threshold": t, "net_benefit": 0.0}


def curve_table(name: str, rows: list[Row]) -> pd.DataFrame:
    """Assemble the rows of one kind of curve."""
    return pd.DataFrame(rows, columns=[*KEYS, *COLUMNS[name]])
