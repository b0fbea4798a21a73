"""Lesion measurements by reader and time point become response categories, one label, and sums at baseline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from hccflow.enrol.criteria import CRITERIA, Criterion, Visit, best_response
from hccflow.errors import TableError


@dataclass(frozen=True)
class Readings:
    """What the readers found, one row per subject and one column per reader.

    Attributes
    ----------
    categories : pandas.DataFrame of str
        CR, PR, SD, PD, or "" when not assessable.
    reasons : pandas.DataFrame of str
        Why not, in a few words that can be counted; "" where there is a category.
    baseline : pandas.DataFrame of float
        Sum over the target lesions at baseline in the criterion's measure (mm, for EASL mm2).
    """

    categories: pd.DataFrame
    reasons: pd.DataFrame
    baseline: pd.DataFrame


def with_measure(lesions: pd.DataFrame, criterion: Criterion, where: object) -> pd.DataFrame:
    """Add the column ``measure``: the quantity that the criterion sums.

    The area of EASL is `viable_area_mm2`, or the product of the two perpendicular viable diameters. One diameter alone
    gives no area (its square assumes a disc), so a table with neither column is refused.
    """
    if criterion.measure != "viable_area_mm2":
        return lesions.assign(measure=lesions[criterion.measure])
    if not {"viable2_mm", "viable_area_mm2"} & set(lesions.columns):
        raise TableError(
            "EASL needs two diameters of the viable tumour", where=where,
            expected="column viable2_mm or viable_area_mm2",
            found="one viable diameter per lesion, whose square is not its area",
            todo="add the perpendicular diameter, or use source mrecist",
        )  # fmt: skip
    empty = pd.Series(np.nan, index=lesions.index)
    area = lesions["viable_mm"] * lesions.get("viable2_mm", empty)
    area = area.mask(lesions["viable_mm"] == 0, 0.0)
    return lesions.assign(measure=lesions.get("viable_area_mm2", empty).fillna(area))


def read_responses(lesions: pd.DataFrame, spec: Mapping[str, Any], where: object) -> Readings:
    """Response of every subject by every reader.

    Parameters
    ----------
    lesions : pandas.DataFrame
        Table of schema ``lesions``.
    spec : mapping
        Endpoint of the configuration: ``source`` (mrecist, recist, easl), optional ``window_days`` and
        ``baseline_window_days`` (inclusive, days since the index date), ``landmark_days``.
    where : object
        Name of the table for messages.

    Notes
    -----
    Baseline is the last baseline imaging on or before day 0, else the first after it. Of several follow-ups the best
    response up to the first progression counts. Only follow-ups in the window, and not before the landmark, are
    judged; earlier ones lower the nadir.
    """
    criterion = CRITERIA[spec["source"]]
    table = with_measure(lesions, criterion, where)
    found = {key: _read_one(rows, criterion, spec) for key, rows in table.groupby(["subject", "reader"], sort=True)}
    keys = pd.MultiIndex.from_tuples(list(found), names=["subject", "reader"])
    long = pd.DataFrame(list(found.values()), index=keys, columns=["category", "reason", "baseline"]).reset_index()
    wide = {name: long.pivot(index="subject", columns="reader", values=name) for name in long.columns[2:]}  # noqa: PD010
    reasons = wide["reason"].fillna("not read by this reader")
    return Readings(wide["category"].fillna(""), reasons, wide["baseline"])


def _read_one(rows: pd.DataFrame, criterion: Criterion, spec: Mapping[str, Any]) -> tuple[str, str, float]:
    """Category, reason and baseline sum of one subject by one reader."""
    first = rows[rows["timepoint"] == "baseline"]
    if first.empty:
        return "", "no baseline imaging", np.nan
    before = first[first["days"] <= 0]
    if not before.empty:
        first = before[before["days"] == before["days"].max()]
    elif first["days"].notna().any():
        first = first[first["days"] == first["days"].min()]
    targets = first[first["target"] == 1]
    total = float(targets["measure"].sum(skipna=False)) if len(targets) else np.nan
    if np.isnan(total):
        return "", "baseline not measured", np.nan
    if "baseline_window_days" in spec and not first["days"].between(*spec["baseline_window_days"]).all():
        return "", "baseline imaging outside the window", total
    if total == 0:
        return "", "nothing to measure at baseline", total
    follow = rows[rows["timepoint"] == "followup"]
    if follow.empty or (follow["measure"].isna().all() and not _new(follow)):
        return "", "no follow-up imaging", total
    low, high = spec.get("window_days", (-np.inf, np.inf))
    if spec.get("landmark_days"):
        low = max(low, spec["landmark_days"])
    bounded = np.isfinite(low) or np.isfinite(high)
    if bounded and follow["days"].isna().all():
        return "", "day of follow-up imaging unknown", total
    visits = []
    for day, seen in follow.groupby("days", sort=True, dropna=False):
        judged = not bounded or low <= day <= high
        visits.append(_visit(seen, set(targets["lesion"]), judged))
    if not any(visit.judged for visit in visits):
        return "", "follow-up imaging outside the window", total
    response = best_response(criterion, total, visits)
    return (response.value, "", total) if response else ("", "target lesion not measured at follow-up", total)


def _visit(rows: pd.DataFrame, targets: set[str], judged: bool) -> Visit:
    measured = rows[rows["lesion"].isin(targets)].set_index("lesion")["measure"].reindex(sorted(targets))
    rest = rows.loc[~rows["lesion"].isin(targets), "measure"]
    total = None if measured.isna().any() else float(measured.sum())
    return Visit(total, _new(rows), bool((rest == 0).all()), judged)


def _new(rows: pd.DataFrame) -> bool:
    return "new_lesion" in rows and bool((rows["new_lesion"] == 1).any())


def adjudicate(labels: pd.DataFrame, rule: str) -> tuple[pd.Series, pd.Series]:
    """Make one label from several readers' labels.

    Parameters
    ----------
    labels : pandas.DataFrame, shape (n_subjects, n_readers)
        0, 1 or NaN (not assessable); columns sorted by reader.
    rule : {"majority", "any", "all", "first"}
        Over the readers who could judge the subject; ``first`` is the reader whose name sorts first.

    Returns
    -------
    label, reason : pandas.Series
        0, 1 or NaN; and why it is missing ("" where it is not, and where no reader could judge).
    """
    reason = pd.Series("", index=labels.index)
    if rule == "first":
        return labels.iloc[:, 0], reason
    if rule == "any":
        return labels.max(axis=1), reason
    if rule == "all":
        return labels.min(axis=1), reason
    share = labels.mean(axis=1)
    tie = share == 0.5
    return (share > 0.5).astype(float).mask(share.isna() | tie), reason.mask(tie, "readers are tied")
