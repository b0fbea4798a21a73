"""Precision-recall curve and average precision in the step definition (no interpolation between points).

References
----------
Davis J, Goadrich M. ICML 2006:233-240 (why the trapezoid is too optimistic).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from hccflow.metrics.estimate import Estimate, undefined
from hccflow.metrics.inputs import Floats, check_binary, single_class


@dataclass(frozen=True)
class Steps:
    """True and false positives when every score >= `threshold` is called, from the highest threshold down."""

    threshold: Floats
    tp: Floats
    fp: Floats


def steps(y: ArrayLike, score: ArrayLike) -> Steps:
    """Count the calls at every different score; equal scores are called together."""
    labels, scores = check_binary(y, score)
    values, which = np.unique(scores, return_inverse=True)
    events = np.bincount(which, labels, len(values))[::-1].cumsum()
    nonevents = np.bincount(which, 1 - labels, len(values))[::-1].cumsum()
    return Steps(values[::-1], events, nonevents)


def average_precision(y: ArrayLike, score: ArrayLike) -> Estimate:
    """Area under the precision-recall steps: sum of (recall gained) x precision; undefined for a single class."""
    labels, scores = check_binary(y, score)
    n, events = len(labels), int(labels.sum())
    if reason := single_class(labels):
        return undefined(reason, n=n, n_events=events)
    count = steps(labels, scores)
    gained = np.diff(count.tp, prepend=0.0) / events
    return Estimate(float((gained * count.tp / (count.tp + count.fp)).sum()), n=n, n_events=events)
