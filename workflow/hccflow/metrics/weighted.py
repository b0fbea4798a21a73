"""Binary metrics of many weightings of the same rows at once: the arithmetic of the bootstrap.

Weights have shape (draws, n): how often each row stands in a draw. A score is sorted once; every draw then costs one
or two cumulative sums. Metrics that are sums over rows are matrix products. Undefined draws are NaN.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from hccflow.metrics.inputs import Floats


class Ranking:
    """A score sorted once, from the highest down, events and non-events apart.

    Parameters
    ----------
    y, score : numpy.ndarray, shape (n,)
        Labels and finite scores.
    """

    def __init__(self, y: Floats, score: Floats) -> None:
        order = np.argsort(-score, kind="stable")
        self.events, self.others = order[y[order] == 1], order[y[order] == 0]
        high, low = -score[self.events], -score[self.others]
        # How many rows of the other (or own) class stand above a row, or at least as high.
        self.above = np.searchsorted(high, low, "left")
        self.not_below = np.searchsorted(high, low, "right")
        self.others_called = np.searchsorted(low, high, "right")
        self.events_called = np.searchsorted(high, high, "right")
        self.ties = bool((self.above != self.not_below).any())

    def auc(self, weights: Floats) -> Floats:
        """AUC of each draw, shape (draws,)."""
        count = _cumulative(weights, self.events)
        others = np.take(weights, self.others, axis=1)
        won = np.einsum("ij,ij->i", others, np.take(count, self.above, axis=1))
        if self.ties:
            won = (won + np.einsum("ij,ij->i", others, np.take(count, self.not_below, axis=1))) / 2
        pairs = count[:, -1] * others.sum(axis=1)
        return np.divide(won, pairs, out=np.full(len(weights), np.nan), where=pairs > 0)

    def average_precision(self, weights: Floats) -> Floats:
        """Average precision of each draw, shape (draws,): the mean precision at the threshold of each event."""
        events = np.take(weights, self.events, axis=1)
        count = _cumulative(weights, self.events)
        tp = np.take(count, self.events_called, axis=1)
        called = tp + np.take(_cumulative(weights, self.others), self.others_called, axis=1)
        # Nothing is called only where nothing is drawn, so the numerator is 0 there.
        np.maximum(called, 1.0, out=called)
        total = np.einsum("ij,ij->i", events, np.divide(tp, called, out=tp))
        drawn = count[:, -1]
        return np.divide(total, drawn, out=np.full(len(weights), np.nan), where=drawn > 0)


def _cumulative(weights: Floats, rows: NDArray[np.intp]) -> Floats:
    """Cumulative weights of some rows in their order, beginning with 0, shape (draws, rows + 1)."""
    out = np.zeros((len(weights), len(rows) + 1))
    np.cumsum(np.take(weights, rows, axis=1), axis=1, out=out[:, 1:])
    return out


def ratios(tp: Floats, fp: Floats, fn: Floats, tn: Floats) -> dict[str, Floats]:
    """Threshold metrics of each draw from its weighted counts."""
    with np.errstate(invalid="ignore", divide="ignore"):
        scale = np.sqrt(tp + fp) * np.sqrt(tp + fn) * np.sqrt(tn + fp) * np.sqrt(tn + fn)
        sensitivity, specificity = tp / (tp + fn), tn / (tn + fp)
        return {
            "sensitivity": sensitivity, "specificity": specificity, "ppv": tp / (tp + fp), "npv": tn / (tn + fn),
            "balanced_accuracy": (sensitivity + specificity) / 2,
            "f1": 2 * tp / (2 * tp + fp + fn), "mcc": (tp * tn - fp * fn) / scale,
        }  # fmt: skip


def calibration_slopes(
    weights: Floats, y: Floats, lp: Floats, start: tuple[float, float], *, steps: int = 25
) -> tuple[Floats, Floats]:
    """Intercept and slope of logit(P(y)) = a + b lp in each draw, by Newton's method from the fit to all rows.

    Parameters
    ----------
    weights : numpy.ndarray, shape (draws, n)
    y, lp : numpy.ndarray, shape (n,)
        Labels and finite linear predictors.
    start : tuple of float
        Intercept and slope of all rows.

    Returns
    -------
    numpy.ndarray, numpy.ndarray
        Each of shape (draws,); NaN where the draw has no finite maximum (separation) or did not converge.
    """
    draws = len(weights)
    a, b = np.full(draws, start[0]), np.full(draws, start[1])
    moments = np.column_stack([np.ones_like(lp), lp, lp**2])
    done = np.zeros(draws, bool)
    target = weights @ (moments[:, :2] * y[:, None])
    active = np.arange(draws)
    for _ in range(steps):
        w = weights if len(active) == draws else weights[active]
        mu = expit(a[active, None] + b[active, None] * lp)
        w_mu = mu * w
        gradient = target[active] - w_mu @ moments[:, :2]
        np.subtract(1.0, mu, out=mu)
        h00, h01, h11 = (np.multiply(w_mu, mu, out=mu) @ moments).T
        determinant = h00 * h11 - h01**2
        with np.errstate(invalid="ignore", divide="ignore"):
            da = (h11 * gradient[:, 0] - h01 * gradient[:, 1]) / determinant
            db = (h00 * gradient[:, 1] - h01 * gradient[:, 0]) / determinant
        a[active] += da
        b[active] += db
        size = np.maximum(np.abs(da), np.abs(db))
        done[active[size < 1e-6]] = True  # quadratic convergence: the error is then about 1e-12
        active = active[(size >= 1e-6) & (size < 1e3)]
        if len(active) == 0:
            break
    return np.where(done, a, np.nan), np.where(done, b, np.nan)
