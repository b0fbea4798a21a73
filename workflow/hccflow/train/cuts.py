"""Operating point and survival cut: learnt from out-of-fold scores of training rows, then frozen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hccflow.metrics.cut import maxstat_cut, median_cut
from hccflow.metrics.threshold import youden
from hccflow.models.fold import Fold


@dataclass(frozen=True)
class Cut:
    """A cut-off: rows with ``score >= value`` are positive (or at high risk). No value comes with the reason.

    `p_corrected` belongs to a maximally selected cut: its p in the training rows, corrected for the search.
    """

    value: float | None
    rule: str
    reason: str = ""
    p_corrected: float | None = None

    @property
    def detail(self) -> str:
        """What came out."""
        if self.value is None:
            return f"{self.rule}: undefined, {self.reason}"
        p = "" if self.p_corrected is None else f" (p {self.p_corrected:.3g}, corrected for the search)"
        return f"{self.rule}: {self.value!r}{p}"

    def to_json(self) -> dict[str, object]:
        """JSON form."""
        p = {} if self.p_corrected is None else {"p_corrected": self.p_corrected}
        return {"value": self.value, "rule": self.rule, "reason": self.reason, **p}


def per_subject(fold: Fold, *values: np.ndarray) -> list[np.ndarray]:
    """Mean over each subject's sessions: cut-offs belong to the scores that are judged, one per subject."""
    _, place = np.unique(fold.subjects, return_inverse=True)
    if len(np.unique(place)) == len(place):
        return list(values)
    return [np.bincount(place, value) / np.bincount(place) for value in values]


def learn_threshold(fold: Fold, scores: np.ndarray, rule: str | float) -> Cut:
    """Operating point.

    Parameters
    ----------
    fold : Fold
        All training rows.
    scores : array, shape (n,)
        Their out-of-fold scores, averaged over repeats.
    rule : str or float
        ``youden`` (`hccflow.metrics.threshold.youden`: of equal optima the lowest, which is the more sensitive),
        ``prevalence`` (share of events), or a prespecified number.
    """
    if not isinstance(rule, str):
        return Cut(float(rule), "prespecified")
    y, scores = per_subject(fold, fold.y, scores)
    if rule == "prevalence":
        return Cut(float(y.mean()), rule)
    best = youden(y, scores)
    if best is None or np.unique(scores).size < 2:
        return Cut(None, rule, "every out-of-fold score is the same")
    return Cut(best[0], rule)


def learn_survival_cut(
    fold: Fold, scores: np.ndarray, rule: str | float, times: np.ndarray | None = None, events: np.ndarray | None = None
) -> Cut:
    """Cut of the score for survival groups.

    Parameters
    ----------
    fold : Fold
        All training rows; named so that the step is recorded, since the scores are theirs.
    scores : array, shape (n,)
        Their out-of-fold scores, averaged over repeats.
    rule : str or float
        ``median``, ``maxstat`` (`hccflow.metrics.cut.maxstat_cut`; optimistic by design in the training rows, honest
        elsewhere), or a prespecified number.
    times, events : array, shape (n,), optional
        Days and event (0 or 1) of the first survival endpoint, NaN where unknown; for ``maxstat``.
    """
    if not isinstance(rule, str):
        return Cut(float(rule), "prespecified")
    if rule == "median":
        found = median_cut(per_subject(fold, scores)[0])
    elif times is None or events is None:
        return Cut(None, rule, "no survival endpoint is given")
    else:
        scores, times, events = per_subject(fold, scores, times, events)
        known = np.isfinite(times) & np.isfinite(events)
        found = maxstat_cut(scores[known], times[known], events[known])
    return Cut(found.value, rule, found.reason, found.p_corrected)
