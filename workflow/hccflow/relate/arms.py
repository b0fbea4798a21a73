"""Do arms of treatment differ, at one time or in their course?"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from hccflow.metrics.estimate import Estimate, undefined
from hccflow.metrics.multiplicity import holm_rows
from hccflow.relate.correlation import Array
from hccflow.relate.mixed import fit_mixed

LEVEL = 0.95
#: A contrast: the arm, and the earlier level that it is compared with.
Pair = tuple[str, str]


def arm_rows(outcomes: pd.DataFrame, arm: pd.Series, levels: list[str], time: pd.Series | None) -> list[dict[str, Any]]:
    """Contrasts of every two arms, for every outcome.

    Parameters
    ----------
    outcomes : pandas.DataFrame
        Signatures and histology, index ``subject, session``; NaN = not measured.
    arm : pandas.Series
        Arm of each case (same index); one arm per subject.
    levels : list of str
        Arms, in their order.
    time : pandas.Series, optional
        Time of each case (same index).

    Returns
    -------
    list of dict
        Rows of the metrics table: ``model`` the outcome, ``group`` the arm, ``comparator`` the earlier level.
        ``arm_difference``: of the subjects' means (Welch), or, for an outcome measured at several times, of the arms
        at the mean time (mixed model). ``arm_slope_difference``: of the subjects' slopes over time (Welch), for an
        outcome measured at several times. ``…_holm``: p adjusted over all contrasts of the cohort.
    """
    rows, tests = [], []
    for outcome in outcomes:
        table = pd.DataFrame({"y": outcomes[outcome], "arm": arm, "time": np.nan if time is None else time})
        table = table[table["y"].notna() & (table["arm"] != "") & table["arm"].notna()]
        repeated = time is not None and table.index.get_level_values("subject").duplicated().any()
        found = {"arm_difference": level_differences(table, levels) if repeated else mean_differences(table, levels)}
        if repeated:
            found["arm_slope_difference"] = slope_differences(table, levels)
        for metric, contrasts in found.items():
            for (group, comparator), estimate in contrasts.items():
                where = {"model": outcome, "group": group, "comparator": comparator}
                rows.append(estimate.row(metric, **where))
                tests.append((metric, estimate, where))
    return rows + holm_rows(tests)


def contrasts_of(levels: list[str]) -> list[Pair]:
    """Every two arms: the later level and the earlier one that it is compared with."""
    return [(group, comparator) for comparator, group in combinations(levels, 2)]


def mean_differences(table: pd.DataFrame, levels: list[str]) -> dict[Pair, Estimate]:
    """Welch's t on one mean per subject.

    Parameters
    ----------
    table : pandas.DataFrame
        ``y, arm``, index ``subject, session``.
    levels : list of str
    """
    return _welch(table.groupby(level="subject").agg(y=("y", "mean"), arm=("arm", "first")), levels)


def slope_differences(table: pd.DataFrame, levels: list[str]) -> dict[Pair, Estimate]:
    """Welch's t on one least-squares slope per subject.

    How slopes differ between subjects is then in the test, as it is not in a model whose only random effect is the
    intercept. A subject with fewer than two times has no slope; ``reason`` counts those.

    Parameters
    ----------
    table : pandas.DataFrame
        ``y, arm, time``, index ``subject, session``.
    levels : list of str

    References
    ----------
    Matthews JNS, Altman DG, Campbell MJ, Royston P. Analysis of serial measurements in medical research.
    BMJ 1990;300:230-235.
    """
    known = table[table["time"].notna()]
    known = known[known.groupby(level="subject")["time"].transform("nunique") > 1]
    time = known["time"] - known.groupby(level="subject")["time"].transform("mean")
    sums = pd.DataFrame({"ty": time * known["y"], "tt": time**2}).groupby(level="subject").sum()
    arm = table["arm"].groupby(level="subject").first()
    return _welch(pd.DataFrame({"y": sums["ty"] / sums["tt"], "arm": arm}), levels)


def _welch(each: pd.DataFrame, levels: list[str]) -> dict[Pair, Estimate]:
    """Welch's t between every two arms on one value per subject (``y, arm``); subjects without one are counted out."""
    values = {level: each.loc[each["arm"] == level, "y"].dropna().to_numpy(float) for level in levels}
    absent = {level: int((each["arm"] == level).sum()) - len(values[level]) for level in levels}
    return {
        (group, comparator): _difference(values[group], values[comparator], absent[group] + absent[comparator])
        for group, comparator in contrasts_of(levels)
    }


def _difference(one: Array, other: Array, absent: int) -> Estimate:
    n, left_out = len(one) + len(other), f"subjects with fewer than two times, left out: {absent}" if absent else ""
    if min(len(one), len(other)) < 2 or np.ptp(one) + np.ptp(other) == 0:
        why = "fewer than two subjects in an arm, or no variation"
        return undefined("; ".join(text for text in (why, left_out) if text), n=n)
    test = stats.ttest_ind(one, other, equal_var=False)
    interval = test.confidence_interval(LEVEL)
    low, high = float(interval.low), float(interval.high)
    return Estimate(float(one.mean() - other.mean()), low, high, "Welch t", float(test.pvalue), n, reason=left_out)


def level_differences(table: pd.DataFrame, levels: list[str]) -> dict[Pair, Estimate]:
    """Differences at the mean time by a mixed model in which every arm has a line of its own.

    Parameters
    ----------
    table : pandas.DataFrame
        ``y, arm, time``, index ``subject, session``; rows without a time are left out.
    levels : list of str
    """
    table = table.dropna()
    present = [level for level in levels if (table["arm"] == level).any()]
    time = (table["time"] - table["time"].mean()).to_numpy(float)
    inside = {level: (table["arm"] == level).to_numpy(float) for level in present}
    design = pd.DataFrame(inside | {f"{level}, slope": inside[level] * time for level in present})
    pairs = {f"{group} - {comparator}": (group, comparator) for group, comparator in contrasts_of(present)}
    weights = {
        name: (design.columns == group).astype(float) - (design.columns == comparator)
        for name, (group, comparator) in pairs.items()
    }
    subjects = table.index.get_level_values("subject").to_numpy()
    fitted = fit_mixed(design, table["y"].to_numpy(float), subjects, contrasts=weights, level=LEVEL)
    absent = undefined("no measurement in one of the two arms")
    found = {pair: fitted[name] for name, pair in pairs.items()}
    return {pair: found.get(pair, absent) for pair in contrasts_of(levels)}
