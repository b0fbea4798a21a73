"""The door of the binary statistics: labels and scores are checked once, here."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hccflow.errors import TableError

Floats = NDArray[np.float64]

#: Reasons that many statistics share.
EMPTY = "no rows with label and score"
CONSTANT = "every score is the same"
NOT_PROBABILITIES = "scores are not probabilities"


def check_binary(y: ArrayLike, score: ArrayLike) -> tuple[Floats, Floats]:
    """Return labels and scores as float arrays of one length.

    Parameters
    ----------
    y : array-like, shape (n,)
        Labels, 1 = event. Missing labels are the caller's business: rows without label or score do not come here.
    score : array-like, shape (n,)
        Scores, higher = event more likely. The direction is never turned.

    Raises
    ------
    TableError
        Lengths differ, a label is not 0 or 1, or a score is not finite.
    """
    labels, scores = np.asarray(y, dtype=np.float64), np.asarray(score, dtype=np.float64)
    if labels.ndim != 1 or labels.shape != scores.shape:
        raise TableError("labels and scores differ in length", expected=labels.shape, found=scores.shape)
    if not np.isin(labels, (0.0, 1.0)).all():
        raise TableError("a label is not 0 or 1", found=labels[~np.isin(labels, (0.0, 1.0))][0])
    if not np.isfinite(scores).all():
        raise TableError("a score is missing or infinite", todo="leave rows without a score out, and count them")
    return labels, scores


def single_class(y: Floats) -> str:
    """Reason why a statistic that needs both classes is undefined, or an empty string."""
    if len(y) == 0:
        return EMPTY
    events = int(y.sum())
    if events == 0:
        return "single class: no events"
    if events == len(y):
        return "single class: only events"
    return ""


def are_probabilities(score: Floats) -> bool:
    """Whether every score lies in [0, 1]."""
    return bool(((score >= 0) & (score <= 1)).all())
