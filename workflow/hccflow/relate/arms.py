"""Do arms of treatment differ, at one time or in their course?"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from hccflow.metrics.estimate import Estimate, undefined
from hccflow.metrics.multiplicity import adjust
from hccflow.relate.mixed import fit_mixed

LEVEL = 0.95


def arm_rows(outcomes: pd.DataFrame, arm: pd.Series, levels: list[str], time: pd.Series | None) -> list[dict[str, Any]]:
    """Contrasts of every arm with the first one, for every outcome.

    Parameters
    ----------
    outcomes : pandas.DataFrame
        Signatures and histology, index ``subject, session``; NaN = not measured.
    arm : pandas.Series
        Arm of each case (same index); one arm per subject.
    levels : list of str
        Arms, the reference first.
    time : pandas.Series, optional
        Time of each case (same index).

    Returns
    -------
    list of dict
        Rows of the metrics table: ``model`` the outcome, ``group`` the arm, ``comparator`` the reference.
        ``arm_difference``: of the patients' means (Welch), or, for an outcome measured at several times, of the arms
        at the mean time (mixed model). ``arm_slope_difference``: of their slopes over time. ``…_holm``: p adjusted over
        all contrasts of the cohort.
    """
    rows, tests = [], []
    for outcome in outcomes:
        table = pd.DataFrame({"y": outcomes[outcome], "arm": arm, "time": np.nan if time is None else time})
        table = table[table["y"].notna() & (table["arm"] != "") & table["arm"].notna()]
        repeated = time is not None and table.index.get_level_values("subject").duplicated().any()
        found = _course(table.dropna(), levels) if repeated else _means(table, levels)
        for (metric, group), estimate in found.items():
            where = {"model": outcome, "group": group, "comparator": levels[0]}
            rows.append(estimate.row(metric, **where))
            tests.append((metric, estimate, where))
    adjusted = adjust([estimate.p for _, estimate, _ in tests], "holm")
    for (metric, estimate, where), p in zip(tests, adjusted, strict=True):
        holm = replace(estimate, p=p, ci_low=None, ci_high=None, ci_method=f"Holm over {len(tests)}")
        rows.append(holm.row(f"{metric}_holm", **where))
    return rows


def _means(table: pd.DataFrame, levels: list[str]) -> dict[tuple[str, str], Estimate]:
    """Welch's t on one mean per subject."""
    means = table.groupby(level="subject").agg(y=("y", "mean"), arm=("arm", "first"))
    groups = {level: means.loc[means["arm"] == level, "y"].to_numpy() for level in levels}
    reference = groups[levels[0]]
    found = {}
    for level in levels[1:]:
        one, n = groups[level], len(groups[level]) + len(reference)
        if min(len(one), len(reference)) < 2 or np.ptp(one) + np.ptp(reference) == 0:
            estimate = undefined("fewer than two patients in an arm, or no variation", n=n)
        else:
            test = stats.ttest_ind(one, reference, equal_var=False)
            interval = test.confidence_interval(LEVEL)
            difference = float(one.mean() - reference.mean())
            low, high = float(interval.low), float(interval.high)
            estimate = Estimate(difference, low, high, "Welch t", float(test.pvalue), n)
        found["arm_difference", level] = estimate
    return found


def _course(table: pd.DataFrame, levels: list[str]) -> dict[tuple[str, str], Estimate]:
    """Mixed model of time, arm and their product; time is centred, so that an arm's coefficient is at the mean time."""
    present = [level for level in levels if (table["arm"] == level).any()]
    time = (table["time"] - table["time"].mean()).to_numpy(float)
    design = pd.DataFrame({"constant": 1.0, "time": time})
    for level in present[1:]:
        inside = (table["arm"] == level).to_numpy(float)
        design[f"arm_difference|{level}"] = inside
        design[f"arm_slope_difference|{level}"] = inside * time
    subjects = table.index.get_level_values("subject").to_numpy()
    fitted = fit_mixed(design, table["y"].to_numpy(float), subjects, level=LEVEL) if levels[0] in present else {}
    absent = undefined("no measurement in this arm or in the reference")
    return {
        (metric, level): fitted.get(f"{metric}|{level}", absent)
        for level in levels[1:]
        for metric in ("arm_difference", "arm_slope_difference")
    }
