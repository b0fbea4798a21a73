"""Rows of ``agreement.tsv``: how far the readers agree, and what that means for any AUC."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations, permutations
from typing import Any

import pandas as pd

from hccflow.enrol.criteria import ORDER
from hccflow.enrol.endpoints import Endpoints, reader_labels
from hccflow.enrol.response import Readings, adjudicate
from hccflow.metrics.agreement import auc_ceiling, cohen_kappa, icc, limits_of_agreement, lin_ccc, multi_kappa
from hccflow.metrics.estimate import metrics_table


def agreement_table(
    endpoints: Endpoints, specs: Mapping[str, Any], *, study: str, cohort: str, subjects: set[str]
) -> pd.DataFrame:
    """Agreement of the readers on every endpoint that they measured, among the enrolled subjects.

    Returns
    -------
    pandas.DataFrame
        Tidy metrics rows. ``group`` says who: ``1 and 2`` (a pair), ``all readers``, ``1 judged by 2`` (the AUC that a
        perfect predictor of reader 1 would have under reader 2's labels). Metrics: ``kappa`` (label),
        ``kappa_category`` (CR, PR, SD, PD), ``kappa_fleiss``, ``kappa_light``, ``icc`` (absolute agreement of the
        baseline sum in the criterion's measure), ``icc_consistency``, ``ccc``, ``bias``, ``loa_low``, ``loa_high`` (the
        same sums), ``auc_ceiling``.
    """
    rows: list[dict[str, Any]] = []
    for name, readings in endpoints.readings.items():
        keep = readings.categories.index.isin(subjects)
        kept = Readings(readings.categories[keep], readings.reasons[keep], readings.baseline[keep])
        where = {"study": study, "endpoint": name, "cohort": cohort}
        rows += [{**where, **row} for row in _rows(kept, specs[name])]
    return metrics_table(rows)


def _rows(readings: Readings, spec: Mapping[str, Any]) -> list[dict[str, Any]]:
    labels = reader_labels(readings, spec["positive"])
    if labels.shape[1] < 2:
        return []
    codes = readings.categories.apply(lambda column: column.map(ORDER)).astype("float64")
    rows = []
    for a, b in combinations(labels.columns, 2):
        pair = f"{a} and {b}"
        rows.append(cohen_kappa(labels[a], labels[b]).row("kappa", group=pair))
        rows.append(cohen_kappa(codes[a], codes[b]).row("kappa_category", group=pair))
        first, second = readings.baseline[a], readings.baseline[b]
        rows.append(icc(readings.baseline[[a, b]], "agreement").row("icc", group=pair))
        rows.append(lin_ccc(first, second).row("ccc", group=pair))
        rows += [value.row(name, group=pair) for name, value in limits_of_agreement(first, second).items()]
    every = "all readers"
    rows.append(multi_kappa(labels, "fleiss").row("kappa_fleiss", group=every))
    rows.append(multi_kappa(labels, "light").row("kappa_light", group=every))
    rows.append(icc(readings.baseline, "agreement").row("icc", group=every))
    rows.append(icc(readings.baseline, "consistency").row("icc_consistency", group=every))
    label, _ = adjudicate(labels, spec.get("adjudication", "majority"))
    judges = {**{str(a): labels[a] for a in labels.columns}, "adjudicated": label}
    for a, b in permutations(judges, 2):
        rows.append(auc_ceiling(judges[a], judges[b]).row("auc_ceiling", group=f"{a} judged by {b}"))
    return rows
