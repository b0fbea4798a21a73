"""Agreement between readers: kappa, intraclass and concordance correlation, limits of agreement, ceiling on an AUC.

References
----------
Cohen 1960, Educ Psychol Meas 20:37; Fleiss, Cohen, Everitt 1969, Psychol Bull 72:323 (variance of kappa).
Fleiss 1971, Psychol Bull 76:378; Light 1971, Psychol Bull 76:365 (more than two readers).
Shrout, Fleiss 1979, Psychol Bull 86:420; McGraw, Wong 1996, Psychol Methods 1:30 (ICC and its intervals).
Bland, Altman 1986, Lancet 327:307 (limits of agreement); Lin 1989, Biometrics 45:255 and the correction of 2000,
Biometrics 56:324 (concordance correlation and its variance on Fisher's scale).
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
from hccflow.metrics.intraclass import Kind, mean_squares

#: Standard deviations between the bias and a limit of agreement, as Bland and Altman print it.
LIMIT = 1.96


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
    return _cut(float(kappa), float(half), "Fleiss-Cohen-Everitt", n)


def _cut(value: float, half: float, method: str, n: int) -> Estimate:
    """Estimate with a symmetric interval, cut to [-1, 1] (and said so): no coefficient lies outside."""
    low, high = max(-1.0, value - half), min(1.0, value + half)
    cut = ", cut to [-1, 1]" if (low, high) != (value - half, value + half) else ""
    return Estimate(value, low, high, method + cut, n=n)


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
    return _cut(float(value), float(half), "jackknife", n)


def icc(ratings: ArrayLike, kind: Kind, confidence: float = 0.95) -> Estimate:
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
    squares = mean_squares(table[:, None, :])
    value = float(squares.icc(kind)[0])
    ms_rows, ms_readers, ms_error = (float(x[0]) for x in (squares.ms_rows, squares.ms_readers, squares.ms_error))
    if ms_error == 0:
        return Estimate(value, n=n, reason="no interval: the residual variance is zero")
    df_error = (n - 1) * (k - 1)
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


def lin_ccc(first: ArrayLike, second: ArrayLike, confidence: float = 0.95) -> Estimate:
    """Lin's concordance correlation of two readers' measurements: distance from the line of identity.

    Parameters
    ----------
    first, second : array_like, shape (n,)
        Measurements in one unit; NaN = missing, such pairs are left out.
    confidence : float
        Level of the interval, made on Fisher's z scale.

    Returns
    -------
    Estimate
        With variances over n, as Lin has them. Undefined with fewer than two pairs or without variance; without an
        interval below three pairs, or where the pairs lie on a line or are uncorrelated.
    """
    pairs = complete_ratings(np.column_stack([np.asarray(first, float), np.asarray(second, float)]))
    n = len(pairs)
    if n < 2:
        return undefined("fewer than two subjects measured by both readers", n=n)
    mean, spread = pairs.mean(axis=0), pairs.var(axis=0)
    if np.ptp(pairs) == 0:
        return undefined("no variance: every measurement is the same", n=n)
    shared = float(((pairs[:, 0] - mean[0]) * (pairs[:, 1] - mean[1])).mean())
    value = 2 * shared / float(spread.sum() + (mean[0] - mean[1]) ** 2)
    if n < 3 or min(spread) == 0:
        reason = "fewer than three subjects" if n < 3 else "one of the readers measures the same in everybody"
        return Estimate(value, n=n, reason=f"no interval: {reason}")
    r = shared / float(np.sqrt(spread.prod()))
    if np.isclose(abs(r), 1.0, rtol=0, atol=1e-12) or np.isclose(r, 0.0, atol=1e-12):
        return Estimate(value, n=n, reason="no interval: the correlation is 0, 1 or -1")
    shift = float((mean[0] - mean[1]) ** 2 / np.sqrt(spread.prod()))
    # Lin's variance of z, with the sign of the second term as corrected in 2000.
    variance = (
        (1 - r**2) * value**2 / ((1 - value**2) * r**2)
        + 2 * value**3 * (1 - value) * shift / (r * (1 - value**2) ** 2)
        - value**4 * shift**2 / (2 * r**2 * (1 - value**2) ** 2)
    ) / (n - 2)
    if not variance > 0:
        return Estimate(value, n=n, reason="no interval: Lin's variance is not positive here")
    half = float(stats.norm.ppf(0.5 + confidence / 2) * np.sqrt(variance))
    low, high = np.tanh(np.arctanh(value) + np.array([-half, half]))
    return Estimate(value, float(low), float(high), "Fisher z (Lin)", n=n)


def limits_of_agreement(
    first: ArrayLike, second: ArrayLike, confidence: float = 0.95
) -> dict[Literal["bias", "loa_low", "loa_high"], Estimate]:
    """Bland and Altman's bias (second minus first) and limits, bias -+ 1.96 standard deviations of the differences.

    Parameters
    ----------
    first, second : array_like, shape (n,)
        Measurements in one unit; NaN = missing, such pairs are left out.
    confidence : float
        Level of the intervals: of the bias by Student's t, of each limit with Bland and Altman's standard error
        ``s sqrt(1 / n + 1.96^2 / (2 (n - 1)))``.

    Returns
    -------
    dict
        In the unit of the measurements; undefined with fewer than two pairs. The two limits hold 95 % of the
        differences whatever the level of the intervals.
    """
    pairs = complete_ratings(np.column_stack([np.asarray(first, float), np.asarray(second, float)]))
    n = len(pairs)
    if n < 2:
        none = undefined("fewer than two subjects measured by both readers", n=n)
        return {"bias": none, "loa_low": none, "loa_high": none}
    difference = pairs[:, 1] - pairs[:, 0]
    bias, sd = float(difference.mean()), float(difference.std(ddof=1))
    t = float(stats.t.ppf(0.5 + confidence / 2, n - 1))
    half = t * sd * np.sqrt(1 / n + LIMIT**2 / (2 * (n - 1)))
    reason = "" if sd > 0 else "no interval: every difference is the same"

    def around(value: float, width: float, method: str, p: float | None = None) -> Estimate:
        if sd == 0:
            return Estimate(value, n=n, reason=reason)
        return Estimate(value, float(value - width), float(value + width), method, p=p, n=n)

    p = float(2 * stats.t.sf(abs(bias) / (sd / np.sqrt(n)), n - 1)) if sd > 0 else None
    return {
        "bias": around(bias, t * sd / np.sqrt(n), "t", p),
        "loa_low": around(bias - LIMIT * sd, half, "Bland-Altman"),
        "loa_high": around(bias + LIMIT * sd, half, "Bland-Altman"),
    }


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
