"""Every measure of one set of labels and scores, as pairs (metric, at, estimate)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from hccflow.metrics import calibration as cal
from hccflow.metrics.auc import auc
from hccflow.metrics.estimate import Estimate, undefined
from hccflow.metrics.inputs import EMPTY, NOT_PROBABILITIES, Floats
from hccflow.metrics.precision_recall import average_precision
from hccflow.metrics.samplesize import ENOUGH_EVENTS, TARGET_WIDTH, auc_error, detectable, validation_size
from hccflow.metrics.threshold import COUNTS, confusion, threshold_metrics

Measure = tuple[str, float | None, Estimate]

THRESHOLD_NAMES = (
    *("sensitivity", "specificity", "ppv", "npv", "accuracy"),
    *("balanced_accuracy", "f1", "mcc", *COUNTS),
)
CALIBRATION_NAMES = (
    *("brier", "brier_scaled", "oe_ratio", "calibration_in_the_large", "calibration_intercept"),
    *("calibration_slope", "ici", "e50", "e90", "emax", "eavg", "ece"),
)
HL_GROUPS = (5, 10)


def discrimination(y: Floats, score: Floats, level: float) -> Iterator[Measure]:
    """AUC and average precision."""
    yield "auc", None, auc(y, score, level=level)
    yield "auc_pr", None, average_precision(y, score)


def at_threshold(y: Floats, score: Floats, threshold: float | None, reason: str, level: float) -> Iterator[Measure]:
    """Metrics of the decision ``score >= threshold``."""
    n, events = len(y), int(y.sum())
    if threshold is None or n == 0:
        why = reason if threshold is None else EMPTY
        yield from ((name, threshold, undefined(why, n=n, n_events=events)) for name in THRESHOLD_NAMES)
        return
    for name, estimate in threshold_metrics(confusion(y, score, threshold), level=level).items():
        yield name, threshold, estimate


def calibration(y: Floats, score: Floats, probability: bool, level: float) -> Iterator[Measure]:
    """Brier scores and calibration; all refused when the scores are not probabilities."""
    n, events = len(y), int(y.sum())
    if not probability or n == 0:
        empty = undefined(EMPTY if probability else NOT_PROBABILITIES, n=n, n_events=events)
        yield from ((name, None, empty) for name in CALIBRATION_NAMES)
        names = ("hosmer_lemeshow", "hosmer_lemeshow_development")
        yield from ((name, float(groups), empty) for groups in HL_GROUPS for name in names)
        return
    plain, scaled = cal.brier(y, score)
    yield "brier", None, plain
    yield "brier_scaled", None, scaled
    yield "oe_ratio", None, cal.observed_expected(y, score)
    yield "calibration_in_the_large", None, cal.in_the_large(y, score, level=level)
    intercept, slope = cal.intercept_and_slope(y, score, level=level)
    yield "calibration_intercept", None, intercept
    yield "calibration_slope", None, slope
    smooth = cal.flexible_curve(y, score)
    if isinstance(smooth, str):
        for name in ("ici", "e50", "e90", "emax", "eavg"):
            yield name, None, undefined(smooth, n=n, n_events=events)
    else:
        for name, value in smooth.curve.errors().items():
            yield name, None, Estimate(value, n=n, n_events=events)
        yield "eavg", None, Estimate(cal.lowess_curve(y, score).errors()["ici"], n=n, n_events=events)
    yield "ece", None, cal.expected_calibration_error(y, score)
    for groups in HL_GROUPS:
        test = cal.hosmer_lemeshow(y, score, groups)
        external = Estimate(test.chi2, p=test.p_external, n=n, n_events=events, reason=test.reason)
        yield "hosmer_lemeshow", float(groups), external
        development = replace(external, p=test.p_development)
        if test.chi2 is not None and test.p_development is None:
            development = replace(development, reason="no p: fewer than three groups")
        yield "hosmer_lemeshow_development", float(groups), development


def precision(area: Estimate, level: float) -> Iterator[Measure]:
    """What the study could see: width of the interval of AUC, the size a validation needs, the smallest detectable AUC.

    Stamped ``underpowered`` below 100 events or 100 non-events, or when the interval is wider than 0.1.
    """
    n, events = area.n or 0, area.n_events or 0
    if area.value is None or area.ci_low is None or area.ci_high is None:
        reason = area.reason or EMPTY
        for name in ("auc_ci_width", "auc_n_needed", "auc_detectable"):
            yield name, None, undefined(reason, n=n, n_events=events)
        return
    width = area.ci_high - area.ci_low
    faults = []
    if min(events, n - events) < ENOUGH_EVENTS:
        faults.append(f"{events} events and {n - events} non-events, fewer than {ENOUGH_EVENTS} of each")
    if width > TARGET_WIDTH:
        faults.append(f"interval of AUC wider than {TARGET_WIDTH:g}")
    stamp = f"underpowered: {'; '.join(faults)}" if faults else ""
    common: dict[str, Any] = {"n": n, "n_events": events}
    yield "auc_ci_width", None, Estimate(width, **common, reason=stamp)
    yield "auc_n_needed", None, Estimate(float(validation_size(area.value, events / n, level=level)), **common)
    # Under the null hypothesis AUC is 0.5, so its error is taken there.
    smallest = 0.5 + detectable(auc_error(0.5, n, events / n), level=level)
    if smallest < 1:
        yield "auc_detectable", None, Estimate(smallest, **common)
    else:
        yield "auc_detectable", None, undefined("too few rows to tell even a perfect score from chance", **common)
