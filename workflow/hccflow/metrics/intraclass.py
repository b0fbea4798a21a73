"""Intraclass correlation of many measurements at once, in numpy alone: scipy takes half a second of every training.

References
----------
Shrout, Fleiss 1979, Psychol Bull 86:420; McGraw, Wong 1996, Psychol Methods 1:30.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Kind = Literal["agreement", "consistency"]


@dataclass(frozen=True)
class MeanSquares:
    """Mean squares of two-way tables of subjects x readers, one for each of p measurements.

    Attributes
    ----------
    n : numpy.ndarray, shape (p,)
        Subjects measured by all readers.
    readers : int
    ms_rows, ms_readers, ms_error : numpy.ndarray, shape (p,)
        NaN with fewer than two subjects or readers, or where every measurement is the same.
    """

    n: NDArray[np.int64]
    readers: int
    ms_rows: NDArray[np.float64]
    ms_readers: NDArray[np.float64]
    ms_error: NDArray[np.float64]

    def icc(self, kind: Kind) -> NDArray[np.float64]:
        """ICC(A,1) = ICC(2,1) (``agreement``) or ICC(C,1) = ICC(3,1) (``consistency``) of single measurements."""
        k = self.readers
        with np.errstate(divide="ignore", invalid="ignore"):
            shift = k * (self.ms_readers - self.ms_error) / self.n if kind == "agreement" else 0.0
            return (self.ms_rows - self.ms_error) / (self.ms_rows + (k - 1) * self.ms_error + shift)


def mean_squares(ratings: ArrayLike) -> MeanSquares:
    """Mean squares of the rows that have no missing value, for each measurement by itself.

    Parameters
    ----------
    ratings : array_like, shape (n_subjects, p, n_readers)
        Measurements, each in one unit; NaN = missing.
    """
    table = np.asarray(ratings, dtype=np.float64)
    k = table.shape[2]
    whole = np.asarray(~np.isnan(table).any(axis=2))
    there = whole[:, :, None]
    n = whole.sum(axis=0)
    values = np.where(there, table, 0.0)
    low = table.min(axis=(0, 2), initial=np.inf, where=there)
    high = table.max(axis=(0, 2), initial=-np.inf, where=there)
    with np.errstate(divide="ignore", invalid="ignore"):
        by_row, by_reader = values.mean(axis=2), values.sum(axis=0) / n[:, None]
        mean = by_reader.mean(axis=1)
        residual = np.where(there, values - by_row[:, :, None] - by_reader + mean[:, None], 0.0)
        variance = np.where(there, (values - mean[:, None]) ** 2, 0.0).sum(axis=(0, 2)) / (n * k)
        rows = k * np.where(whole, (by_row - mean) ** 2, 0.0).sum(axis=0) / (n - 1)
        readers = n * ((by_reader - mean[:, None]) ** 2).sum(axis=1) / (k - 1)
        error = (residual**2).sum(axis=(0, 2)) / ((n - 1) * (k - 1))
    error = np.where(error <= 1e-12 * variance, 0.0, error)  # rounding is no disagreement
    known = (n > 1) & (k > 1) & (high > low)
    return MeanSquares(n, k, *(np.where(known, part, np.nan) for part in (rows, readers, error)))
