"""Test of the difference of two scores on the same subjects by exchanging them: for cohorts of few events.

The normal approximations behind DeLong's test and its kin take their variance from the placement values. In a fold with
four events that one score ranks without a fault that variance is 0, and the p far too small. Under the null hypothesis
that both scores rank alike, each subject's two scores may be exchanged; how often the exchanged data differ as much as
the real ones is a p that needs no variance.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from hccflow.metrics.estimate import Estimate

#: Random exchanges, one vector of signs each; the smallest p is 1 / (DRAWS + 1).
DRAWS = 9999
SEED = 20050815
BATCH = 1000
STRATUM = ["repeat", "fold"]


def exchanged(estimate: Estimate, table: pd.DataFrame) -> Estimate:
    """Estimate of a difference within folds with the p of the exchange test in place of its own, where it has one.

    Within each fold both scores are replaced by their mid-ranks, so that they are on one scale. A subject is exchanged
    in all repeats at once. The difference is the share of correctly ordered pairs of the first score minus that of the
    second, over the pairs of one fold, averaged over repeats: AUC or Harrell's C.

    Parameters
    ----------
    estimate : Estimate
    table : pandas.DataFrame
        ``subject, repeat, fold, score, other`` and the outcome: ``y`` (1 should have the higher score), or
        ``time_days, event`` (the earlier event should; event 1, anything else is censoring).

    References
    ----------
    Bandos AI, Rockette HE, Gur D. Stat Med 2005;24:2873-2893 (AUC of one stratum; here over strata, and for C).
    """
    if estimate.p is None:
        return estimate
    ranks = table.groupby(STRATUM)[["score", "other"]].rank()
    subjects, code = np.unique(table["subject"].to_numpy(dtype=str), return_inverse=True)
    parts = np.zeros(len(subjects))
    for _, repeat in table.groupby("repeat"):
        shares, total = np.zeros(len(subjects)), 0
        for _, fold in repeat.groupby("fold"):
            high, low = _pairs(fold)
            a, b = (ranks.loc[fold.index, name].to_numpy() for name in ("score", "other"))
            _add(shares, code[table.index.get_indexer(fold.index)], a, b, high, low)
            total += len(high)
        parts += shares / max(1, total)
    real, rng, count = abs(parts.sum()), np.random.default_rng(SEED), 0
    for start in range(0, DRAWS, BATCH):
        signs = rng.integers(0, 2, (min(BATCH, DRAWS - start), len(parts))) * 2 - 1
        count += int((np.abs(signs @ parts) >= real - 1e-12).sum())
    method = f"{estimate.ci_method}; p by {DRAWS:,} exchanges"
    return replace(estimate, p=(count + 1) / (DRAWS + 1), ci_method=method)


def _pairs(fold: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Places of the rows of each comparable pair: the one that should have the higher score, and the other."""
    if "y" in fold:
        y = fold["y"].to_numpy(float)
        first = (y[:, None] == 1) & (y[None, :] == 0)
    else:
        time, event = fold["time_days"].to_numpy(float), fold["event"].to_numpy(float) == 1
        later = (time[:, None] < time[None, :]) | ((time[:, None] == time[None, :]) & ~event[None, :])
        first = event[:, None] & later
    high, low = np.nonzero(first)
    return high, low


def _add(shares: np.ndarray, code: np.ndarray, a: np.ndarray, b: np.ndarray, high: np.ndarray, low: np.ndarray) -> None:
    """Add each subject's part of the difference.

    With a sign for each subject, -1 where it is exchanged, a pair gives `kept` where neither or both are exchanged
    (then with the other sign) and `crossed` where one is: their sum is linear in the signs.
    """
    kept = _won(a[high] - a[low]) - _won(b[high] - b[low])
    crossed = _won(b[high] - a[low]) - _won(a[high] - b[low])
    np.add.at(shares, code[high], (kept - crossed) / 2)
    np.add.at(shares, code[low], (kept + crossed) / 2)


def _won(gap: np.ndarray) -> np.ndarray:
    return (np.sign(gap) + 1) / 2
