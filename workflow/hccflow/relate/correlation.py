"""Correlation of many columns with one, given covariates, and what permuted patients would have shown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

Array = np.ndarray[Any, Any]
#: Below this many patients the t approximation of Spearman's p cannot be trusted.
ENOUGH = 10
#: Permutations that are held in memory at once.
CHUNK = 200
#: Residual length, relative to the length before, that counts as nothing left.
TINY = 1e-9


@dataclass(frozen=True)
class Correlation:
    """Columns and a signature as unit vectors, free of the mean and the covariates; ready to be permuted.

    Attributes
    ----------
    x : numpy.ndarray, shape (n, m)
        Columns; a column without variation is NaN.
    y : numpy.ndarray, shape (n,)
    basis : numpy.ndarray, shape (n, 1 + c)
        Orthonormal basis of the constant and the covariates.
    """

    x: Array
    y: Array
    basis: Array

    @property
    def df(self) -> int:
        """Degrees of freedom of t: subjects less the rank of constant and covariates, less one."""
        return len(self.y) - self.basis.shape[1] - 1

    @property
    def r(self) -> Array:
        """Correlation of each column with the signature, shape (m,)."""
        return np.clip(self.x.T @ self.y, -1.0, 1.0)

    def p(self, r: Array) -> Array:
        """Two-sided p of correlations by the t approximation (R: ``cor.test(exact = FALSE)``)."""
        with np.errstate(divide="ignore"):
            t = np.abs(r) * np.sqrt(self.df / ((1.0 - r) * (1.0 + r)))
        return 2.0 * stats.t.sf(t, self.df)

    def critical(self, p: Array | float) -> Array:
        """Smallest absolute correlation whose p is at most `p`; the inverse of `p`."""
        t = stats.t.isf(np.asarray(p, float) / 2.0, self.df)
        return t / np.sqrt(self.df + t**2)

    def permuted(self, permutations: int, rng: np.random.Generator) -> Iterator[Array]:
        """Correlations under permuted patients, in chunks of shape (m, up to `CHUNK`).

        One permutation moves the signature against all columns at once, so the correlation between columns stays.
        With covariates the residuals of the signature are permuted and freed of the covariates again.
        """
        for start in range(0, permutations, CHUNK):
            orders = np.argsort(rng.random((len(self.y), min(CHUNK, permutations - start))), axis=0)
            yield np.clip(self.x.T @ _unit(self.y[orders], self.basis), -1.0, 1.0)


def correlation(x: Array, y: Array, covariates: Array | None = None, *, method: str = "spearman") -> Correlation:
    """Prepare a correlation without missing values.

    Parameters
    ----------
    x : numpy.ndarray, shape (n, m)
    y : numpy.ndarray, shape (n,)
    covariates : numpy.ndarray, shape (n, c), optional
        Numbers and indicators; redundant columns do no harm.
    method : {"spearman", "pearson"}
        Spearman: ranks (ties averaged) take the place of `x` and `y`, and with covariates the correlation is the
        partial one of the ranks.
    """
    if method == "spearman":
        x, y = stats.rankdata(x, axis=0), stats.rankdata(y)
    design = np.column_stack([np.ones(len(y)), *([] if covariates is None else covariates.T)])
    u, s, _ = np.linalg.svd(design, full_matrices=False)
    basis = u[:, s > s[0] * 1e-10]
    return Correlation(_unit(x, basis), _unit(y[:, None], basis)[:, 0], basis)


def _unit(columns: Array, basis: Array) -> Array:
    """Columns freed of the basis, of length 1; NaN where nothing is left."""
    left = columns - basis @ (basis.T @ columns)
    length = np.linalg.norm(left, axis=0)
    nothing = length <= TINY * np.maximum(np.linalg.norm(columns, axis=0), 1e-300)
    return left / np.where(nothing, np.nan, length)


def spearman_interval(r: float, n: int, level: float = 0.95) -> tuple[float, float]:
    """Interval of Spearman's correlation by Fisher's z with the variance (1 + r²/2) / (n - 3).

    References
    ----------
    Bonett DG, Wright TA. Sample size requirements for estimating Pearson, Kendall and Spearman correlations.
    Psychometrika 2000;65:23-28.
    """
    half = stats.norm.ppf(0.5 + level / 2.0) * np.sqrt((1.0 + r**2 / 2.0) / (n - 3.0))
    z = np.arctanh(np.clip(r, -1 + 1e-15, 1 - 1e-15))
    return float(np.tanh(z - half)), float(np.tanh(z + half))
