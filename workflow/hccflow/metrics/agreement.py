"""Agreement between readers: kappa, intraclass correlation, and the ceiling that disagreement puts on an AUC.

References
----------
Cohen 1960, Educ Psychol Meas 20:37; Fleiss, Cohen, Everitt 1969, Psychol Bull 72:323 (variance of kappa).
Fleiss 1971, Psychol Bull 76:378; Light 1971, Psychol Bull 76:365 (more than two readers).
Shrout, Fleiss 1979, Psychol Bull 86:420; McGraw, Wong 1996, Psychol Methods 1:30 (ICC and its intervals).
Cantor, Kattan 2000, Med Decis Making 20:468 (AUC of a binary test); Menon et al. 2015, ICML 37:125 (AUC under noisy
labels); Zou, Donner 2008, Stat Med 27:1693 (interval of a sum from the intervals of its parts).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from hccflow.metrics.estimate import Estimate, undefined


def complete_ratings(ratings: ArrayLike) -> NDArray[np.float64]:
    """Rows of a subjects x readers table without a missing (NaN) rating."""
    table = np.asarray(ratings, dtype=np.float64)
    if table.ndim != 2:
        raise ValueError(f"ratings must be a table of subjects x readers, got {table.ndim} dimensions")
    return table[~np.isnan(table).any(axis=1)]


def cohen_kappa(first: ArrayLike, second: ArrayLike, confidence: float = 0.95) -> Estimate:
    """Cohen's unweighted kappa of two readers, with the large-sample interval of Fleiss, Cohen and Everitt (1969).

    Parameters
    ----------
    first, second : array_like, shape (n,)
        Category codes; NaN = not rated, such rows are left out.
    confidence : float
        Level of the interval.

    Returns
    -------
    Estimate
        Undefined when fewer than two subjects have both ratings, or when both readers use one and the same category
        throughout (chance agreement is then 1). The interval is left out when the readers agree on every subject: its
        width would be zero, which says nothing.
    """
    pairs = complete_ratings(np.column_stack([np.asarray(first, float), np.asarray(second, float)]))
    n = len(pairs)
    if n < 2:
        return undefined("fewer than two subjects rated by both readers", n=n)
    table = _cross_table(pairs)
    p = table / n
    row, column = p.sum(axis=1), p.sum(axis=0)
    agreed, chance = float(np.trace(p)), float(row @ column)
    if np.isclose(chance, 1.0):
        return undefined("both readers use one category only", n=n)
    kappa = (agreed - chance) / (1 - chance)
    if np.isclose(agreed, 1.0):
        return Estimate(1.0, n=n, reason="no interval: the readers agree on every subject")
    if np.isclose(row.max(), 1.0) or np.isclose(column.max(), 1.0):
        return Estimate(float(kappa), n=n, reason="no interval: one of the readers uses one category only")
    diagonal = np.diag(p) @ (1 - (row + column) * (1 - kappa)) ** 2
    weights = (column[:, None] + row[None, :]) ** 2
    off = (1 - kappa) ** 2 * float((p * weights).sum() - (np.diag(p) * np.diag(weights)).sum())
    variance = (diagonal + off - (kappa - chance * (1 - kappa)) ** 2) / (n * (1 - chance) ** 2)
    half = stats.norm.ppf(0.5 + confidence / 2) * np.sqrt(variance)
    return Estimate(float(kappa), float(kappa - half), float(kappa + half), "Fleiss-Cohen-Everitt", n=n)


def _cross_table(pairs: NDArray[np.float64]) -> NDArray[np.float64]:
    levels, codes = np.unique(pairs, return_inverse=True)
    codes = codes.reshape(pairs.shape)
    table = np.zeros((len(levels), len(levels)))
    np.add.at(table, (codes[:, 0], codes[:, 1]), 1)
    return table


def _fleiss(ratings: NDArray[np.float64]) -> float:
    readers = ratings.shape[1]
    counts = np.stack([(ratings == level).sum(axis=1) for level in np.unique(ratings)], axis=1)
    observed = float(((counts**2).sum(axis=1) - readers).mean()) / (readers * (readers - 1))
    chance = float(((counts.sum(axis=0) / counts.sum()) ** 2).sum())
    return np.nan if np.isclose(chance, 1.0) else (observed - chance) / (1 - chance)


def _light(ratings: NDArray[np.float64]) -> float:
    values = [cohen_kappa(ratings[:, i], ratings[:, j]).value for i, j in combinations(range(ratings.shape[1]), 2)]
    return float(np.mean([np.nan if value is None else value for value in values]))


def multi_kappa(ratings: ArrayLike, kind: Literal["fleiss", "light"], confidence: float = 0.95) -> Estimate:
    """Kappa of several readers: Fleiss' kappa, or Light's mean of the pairwise Cohen kappas.

    Parameters
    ----------
    ratings : array_like, shape (n_subjects, n_readers)
        Category codes; rows with a missing rating are left out.
    kind : {"fleiss", "light"}
        Fleiss assumes that readers are interchangeable; Light keeps each reader's own category frequencies.
    confidence : float
        Level of the interval, which is a delete-one jackknife over subjects.
    """
    statistic: Callable[[NDArray[np.float64]], float] = {"fleiss": _fleiss, "light": _light}[kind]
    table = complete_ratings(ratings)
    n = len(table)
    if n < 2 or table.shape[1] < 2:
        return undefined("fewer than two subjects rated by all readers, or fewer than two readers", n=n)
    value = statistic(table)
    if np.isnan(value):
        return undefined("the readers use one category only", n=n)
    if (table == table[:, :1]).all():
        return Estimate(1.0, n=n, reason="no interval: the readers agree on every subject")
    left_out = np.array([statistic(np.delete(table, i, axis=0)) for i in range(n)])
    if np.isnan(left_out).any():
        return Estimate(float(value), n=n, reason="no interval: one subject alone makes the second category")
    half = stats.norm.ppf(0.5 + confidence / 2) * np.sqrt((n - 1) / n * ((left_out - left_out.mean()) ** 2).sum())
    return Estimate(float(value), float(value - half), float(value + half), "jackknife", n=n)


def icc(ratings: ArrayLike, kind: Literal["agreement", "consistency"], confidence: float = 0.95) -> Estimate:
    """Intraclass correlation of single measurements in a two-way design.

    Parameters
    ----------
    ratings : array_like, shape (n_subjects, n_readers)
        Measurements in one unit; rows with a missing value are left out.
    kind : {"agreement", "consistency"}
        ``agreement`` is ICC(A,1) = ICC(2,1), which counts a constant shift between readers as disagreement;
        ``consistency`` is ICC(C,1) = ICC(3,1), which does not.
    confidence : float
        Level of the F-based interval (McGraw and Wong 1996); ``p`` is that of F = MSR / MSE.

    Returns
    -------
    Estimate
        Undefined without variance, or with fewer than two subjects or readers.
    """
    table = complete_ratings(ratings)
    n, k = table.shape
    if n < 2 or k < 2:
        return undefined("fewer than two subjects measured by all readers, or fewer than two readers", n=n)
    if np.ptp(table) == 0:
        return undefined("no variance: every measurement is the same", n=n)
    mean = table.mean()
    residual = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0, keepdims=True) + mean
    ms_rows = k * float(((table.mean(axis=1) - mean) ** 2).sum()) / (n - 1)
    ms_readers = n * float(((table.mean(axis=0) - mean) ** 2).sum()) / (k - 1)
    df_error = (n - 1) * (k - 1)
    ms_error = float((residual**2).sum()) / df_error
    if np.isclose(ms_error, 0, atol=1e-12 * float(table.var())):
        ms_error = 0.0
    shift = k * (ms_readers - ms_error) / n if kind == "agreement" else 0.0
    value = (ms_rows - ms_error) / (ms_rows + (k - 1) * ms_error + shift)
    if ms_error == 0:
        return Estimate(value, n=n, reason="no interval: the residual variance is zero")
    ratio = ms_rows / ms_error
    p = float(stats.f.sf(ratio, n - 1, df_error))
    upper = 0.5 + confidence / 2
    if kind == "consistency":
        low = ratio / stats.f.ppf(upper, n - 1, df_error)
        high = ratio * stats.f.ppf(upper, df_error, n - 1)
        bounds = ((low - 1) / (low + k - 1), (high - 1) / (high + k - 1))
    else:
        bounds = _bounds_agreement(value, ms_rows, ms_readers, ms_error, n, k, upper)
    return Estimate(value, float(bounds[0]), float(bounds[1]), "F (McGraw-Wong)", p=p, n=n)


def _bounds_agreement(
    value: float, ms_rows: float, ms_readers: float, ms_error: float, n: int, k: int, upper: float
) -> tuple[float, float]:
    """Interval of ICC(A,1), Satterthwaite degrees of freedom (McGraw and Wong 1996, table 7)."""
    a = k * value * ms_readers / ms_error
    b = n * (1 + (k - 1) * value) - k * value
    df = (a + b) ** 2 / (a**2 / (k - 1) + b**2 / ((n - 1) * (k - 1)))
    f_low, f_high = stats.f.ppf(upper, n - 1, df), stats.f.ppf(upper, df, n - 1)
    rest = k * ms_readers + (k * n - k - n) * ms_error
    low = n * (ms_rows - f_low * ms_error) / (f_low * rest + n * ms_rows)
    high = n * (f_high * ms_rows - ms_error) / (rest + n * f_high * ms_rows)
    return float(low), float(high)


def auc_ceiling(predicted: ArrayLike, judge: ArrayLike, confidence: float = 0.95) -> Estimate:
    """Expected AUC of a perfect predictor of one reader's label when another reader's label is the truth.

    A score that separates the labels of the first reader without error, and is otherwise uninformative about the
    judge, has AUC = (Se + Sp) / 2 with Se = P(first = 1 | judge = 1) and Sp = P(first = 0 | judge = 0) (Cantor and
    Kattan 2000). It is the value 1/2 + (1 - alpha - beta) / 2 that Menon et al. (2015) give for an error-free score on
    noisy labels. The interval combines the Wilson intervals of Se and Sp (Zou and Donner 2008).

    Parameters
    ----------
    predicted, judge : array_like, shape (n,)
        Labels 0 / 1 of the two readers; NaN = not rated, such rows are left out.
    confidence : float
        Level of the interval.

    Returns
    -------
    Estimate
        Undefined when the judge uses one class only. ``n_events`` counts the judge's positives.
    """
    pairs = complete_ratings(np.column_stack([np.asarray(predicted, float), np.asarray(judge, float)]))
    positive = pairs[:, 1] == 1
    n, n_events = len(pairs), int(positive.sum())
    if n_events in (0, n):
        return undefined("the judging reader uses one class only", n=n, n_events=n_events)
    parts = [
        _wilson(int((pairs[positive, 0] == 1).sum()), n_events, confidence),
        _wilson(int((pairs[~positive, 0] == 0).sum()), n - n_events, confidence),
    ]
    value = sum(part[0] for part in parts) / 2
    low = value - np.sqrt(sum((part[0] - part[1]) ** 2 for part in parts)) / 2
    high = value + np.sqrt(sum((part[2] - part[0]) ** 2 for part in parts)) / 2
    return Estimate(value, float(low), float(high), "MOVER-Wilson", n=n, n_events=n_events)


def _wilson(successes: int, n: int, confidence: float) -> tuple[float, float, float]:
    interval: Any = stats.binomtest(successes, n).proportion_ci(confidence, method="wilson")
    return successes / n, float(interval.low), float(interval.high)
