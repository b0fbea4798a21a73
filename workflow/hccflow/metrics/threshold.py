"""Metrics of a decision at a threshold: a row is called positive when ``score >= threshold``.

References
----------
Wilson EB. J Am Stat Assoc 1927;22:209-212. Clopper CJ, Pearson ES. Biometrika 1934;26:404-413.
Youden WJ. Cancer 1950;3:32-35. McNemar Q. Psychometrika 1947;12:153-157.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binomtest

from hccflow.metrics.estimate import Estimate, undefined
from hccflow.metrics.inputs import check_binary, single_class

#: The four counts of the two-by-two table.
COUNTS = ("tp", "fp", "fn", "tn")


@dataclass(frozen=True)
class Confusion:
    """Counts of true and false calls."""

    tp: int
    fp: int
    tn: int
    fn: int

    @property
    def n(self) -> int:
        """Number of rows."""
        return self.tp + self.fp + self.tn + self.fn

    @property
    def events(self) -> int:
        """Number of events."""
        return self.tp + self.fn


def confusion(y: ArrayLike, score: ArrayLike, threshold: float) -> Confusion:
    """Count the calls at a threshold."""
    labels, scores = check_binary(y, score)
    called, event = scores >= threshold, labels == 1
    return Confusion(
        int((called & event).sum()), int((called & ~event).sum()),
        int((~called & ~event).sum()), int((~called & event).sum()),
    )  # fmt: skip


def proportion_interval(x: int, n: int, *, level: float = 0.95, method: str = "wilson") -> tuple[float, float]:
    """Interval of the proportion x / n: ``wilson`` (no continuity correction) or ``exact`` (Clopper-Pearson)."""
    interval = binomtest(x, n).proportion_ci(level, method=method)
    return float(interval.low), float(interval.high)


def threshold_metrics(counts: Confusion, *, level: float = 0.95) -> dict[str, Estimate]:
    """Sensitivity, specificity, PPV, NPV and accuracy with Wilson intervals; the rest without.

    The rest: balanced accuracy, F1, MCC, and the four counts that all are made of. A ratio with an empty denominator is
    undefined, with the reason.
    """
    c = counts
    out = {name: Estimate(float(getattr(c, name)), n=c.n, n_events=c.events) for name in COUNTS}
    out |= {
        "sensitivity": _proportion(c, c.tp, c.tp + c.fn, "no events", level),
        "specificity": _proportion(c, c.tn, c.tn + c.fp, "no non-events", level),
        "ppv": _proportion(c, c.tp, c.tp + c.fp, "no row is called positive", level),
        "npv": _proportion(c, c.tn, c.tn + c.fn, "no row is called negative", level),
        "accuracy": _proportion(c, c.tp + c.tn, c.n, "no rows", level),
    }
    sensitivity, specificity = out["sensitivity"].value, out["specificity"].value
    balanced = None if sensitivity is None or specificity is None else (sensitivity + specificity) / 2
    # Square roots one by one: the product of four counts overflows nothing here, but keeps R's last digits.
    scale = np.sqrt(c.tp + c.fp) * np.sqrt(c.tp + c.fn) * np.sqrt(c.tn + c.fp) * np.sqrt(c.tn + c.fn)
    mcc = float((c.tp * c.tn - c.fp * c.fn) / scale) if scale > 0 else None
    f1 = 2 * c.tp / (2 * c.tp + c.fp + c.fn) if c.tp + c.fp + c.fn > 0 else None
    for name, value, reason in (
        ("balanced_accuracy", balanced, "single class" if c.n else "no rows"),
        ("f1", f1, "no events and no positive calls" if c.n else "no rows"),
        ("mcc", mcc, "a margin of the two-by-two table is empty" if c.n else "no rows"),
    ):
        out[name] = Estimate(value, n=c.n, n_events=c.events, reason="" if value is not None else reason)
    return out


def _proportion(counts: Confusion, x: int, n: int, empty: str, level: float) -> Estimate:
    if n == 0:
        return undefined(empty, n=0, n_events=counts.events)
    low, high = proportion_interval(x, n, level=level)
    return Estimate(x / n, low, high, "Wilson", n=n, n_events=counts.events)


def youden(y: ArrayLike, score: ArrayLike) -> tuple[float, float] | None:
    """Threshold with the largest sensitivity + specificity - 1 and that maximum; None for a single class.

    Thresholds are midpoints between neighbouring scores, so that the rule does not hang on a last digit; of several
    optima the lowest is taken. Only for training rows: the threshold is then frozen.
    """
    labels, scores = check_binary(y, score)
    if single_class(labels):
        return None
    values, start = np.unique(scores, return_inverse=True)
    events = np.bincount(start, labels, len(values))
    nonevents = np.bincount(start, 1 - labels, len(values))
    # J when everything from value k upward is called positive.
    gain = events[::-1].cumsum()[::-1] / events.sum() - nonevents[::-1].cumsum()[::-1] / nonevents.sum()
    best = int(np.argmax(gain.round(12)))
    lower = values[best - 1] if best else values[best]
    return float((lower + values[best]) / 2), float(gain[best])


@dataclass(frozen=True)
class McNemar:
    """Rows that only one of two decisions gets right, and the exact p-value of their balance."""

    only_a: int
    only_b: int
    p: float


def mcnemar(right_a: ArrayLike, right_b: ArrayLike) -> McNemar:
    """Exact McNemar test on paired right / wrong decisions; p = 1 without discordant rows."""
    a, b = np.asarray(right_a, bool), np.asarray(right_b, bool)
    only_a, only_b = int((a & ~b).sum()), int((~a & b).sum())
    p = binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    return McNemar(only_a, only_b, float(p))
