"""LASSO for logistic regression: the whole path of penalties at once, by accelerated proximal gradient.

All penalties share one matrix product per iteration, which makes the path of a small study some hundred times faster
than one saga fit after the other, and exact zeros stay exact.

References
----------
Beck and Teboulle, SIAM J. Imaging Sci. 2 (2009) 183; O'Donoghue and Candes, Found. Comput. Math. 15 (2015) 715;
Friedman, Hastie and Tibshirani, J. Stat. Softw. 33 (2010) 1 (the path and its conventions).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import expit

from hccflow.errors import FitError
from hccflow.models.fold import Fold

N_PENALTIES = 25
#: Smallest penalty of the path as a part of the one that empties the model.
SMALLEST = 0.05
TOLERANCE = 1e-9
#: The cross-validated loss is flat around the optimum, so paths that only choose the penalty may stop earlier.
CHOICE_TOLERANCE = 1e-4
CHECK_EVERY = 10
MAX_ITERATIONS = 20_000


@dataclass(frozen=True)
class LassoFit:
    """LASSO at the penalty with the smallest inner log-loss; coefficients belong to z-scores of the columns."""

    intercept: float
    coef: pd.Series
    penalty: float

    @property
    def selected(self) -> list[str]:
        """Columns with non-zero coefficients, the largest first, equal ones in the order of the columns."""
        nonzero = self.coef[self.coef != 0]
        return list(nonzero.iloc[np.argsort(-nonzero.abs().to_numpy(), kind="stable")].index)

    @property
    def detail(self) -> str:
        """What came out."""
        if not self.selected:
            return f"nothing selected of {len(self.coef)} (penalty {self.penalty:.4g})"
        return f"kept {len(self.selected)} of {len(self.coef)} (penalty {self.penalty:.4g})"


def largest_penalty(x: np.ndarray, y: np.ndarray) -> float:
    """Smallest penalty at which every coefficient is 0."""
    return float(np.abs(x.T @ (y - y.mean())).max() / len(y)) if x.shape[1] else 0.0


def lasso_path(x: np.ndarray, y: np.ndarray, penalties: np.ndarray, tolerance: float = TOLERANCE) -> np.ndarray:
    """Minimise ``mean log-loss + penalty * |coef|_1`` for every penalty; the intercept is free.

    Parameters
    ----------
    x : array, shape (n, p)
        Standardised columns.
    y : array, shape (n,)
        0 or 1, both present.
    penalties : array, shape (m,)
        Per-row convention of glmnet: ``1 / (n C)`` in scikit-learn's.
    tolerance : float
        Largest change of a coefficient at which the iteration ends.

    Returns
    -------
    array, shape (p + 1, m)
        Intercepts in the first row.

    Raises
    ------
    FitError
        The iteration does not converge.
    """
    n = len(y)
    a = np.column_stack([np.ones(n), x])
    step = 4.0 * n / np.linalg.norm(a, 2) ** 2  # the curvature of the logistic loss is at most 1/4
    result = np.zeros((a.shape[1], len(penalties)))
    result[0] = np.log(y.mean() / (1 - y.mean()))
    live = np.arange(len(penalties))  # penalties that have not converged yet
    beta = look = result
    momentum = np.ones(len(penalties))
    for iteration in range(MAX_ITERATIONS):
        moved = look - (step / n) * (a.T @ (expit(a @ look) - y[:, None]))
        size = np.abs(moved[1:])
        moved[1:] *= np.maximum(size - step * penalties[live], 0) / np.where(size > 0, size, 1.0)
        change = moved - beta
        restart = ((look - moved) * change).sum(axis=0) > 0
        momentum = np.where(restart, 1.0, momentum)
        following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        look = moved + np.where(restart, 0.0, (momentum - 1) / following) * change
        beta, momentum = moved, following
        if iteration % CHECK_EVERY == 0:
            done = np.abs(change).max(axis=0) < tolerance
            if done.any():
                result[:, live[done]] = beta[:, done]
                live, beta, look, momentum = live[~done], beta[:, ~done], look[:, ~done], momentum[~done]
                if not live.size:
                    return result
    raise FitError("LASSO does not converge", expected=f"at most {MAX_ITERATIONS} iterations")


def fit_lasso(fold: Fold, penalty: float | None = None) -> LassoFit:
    """LASSO on standardised columns; without a penalty the one with the smallest inner cross-validated log-loss.

    The smallest log-loss and not the one-standard-error rule: the learner after the selection regularises again, and in
    a study of some tens of patients the one-standard-error rule hardly ever leaves the empty model.
    """
    x, y = fold.x.to_numpy(float), fold.y
    if penalty is None:
        top = largest_penalty(x, y)
        if top == 0:
            return LassoFit(float(np.log(y.mean() / (1 - y.mean()))), pd.Series(0.0, index=fold.x.columns), 0.0)
        penalties = top * np.geomspace(1, SMALLEST, N_PENALTIES)
        loss = np.zeros(N_PENALTIES)
        for inner, held_x, held_y in fold.inner("lasso"):
            loss += _held_out_loss(inner, held_x.to_numpy(float), held_y, penalties)
        penalty = float(penalties[int(np.argmin(loss))])  # of equal ones the largest penalty
    beta = lasso_path(x, y, np.array([penalty]))[:, 0]
    return LassoFit(float(beta[0]), pd.Series(beta[1:], index=fold.x.columns), penalty)


def _held_out_loss(inner: Fold, held_x: np.ndarray, held_y: np.ndarray, penalties: np.ndarray) -> np.ndarray:
    """Summed log-loss of the held-out rows for every penalty; standardised by the inner training rows."""
    x = inner.x.to_numpy(float)
    mean, sd = x.mean(axis=0), x.std(axis=0)
    use = sd > 1e-12 * np.maximum(1.0, np.abs(mean))
    beta = lasso_path((x[:, use] - mean[use]) / sd[use], inner.y, penalties, CHOICE_TOLERANCE)
    z = beta[0] + ((held_x[:, use] - mean[use]) / sd[use]) @ beta[1:]
    return (np.logaddexp(0, z) - held_y[:, None] * z).sum(axis=0)
