"""Holm's correction of what survive judges: the log-rank tests of the models, and their pairs."""

from __future__ import annotations

from typing import Any

import pandas as pd

from hccflow.metrics.estimate import Estimate, metrics_table
from hccflow.metrics.multiplicity import holm_rows

#: Judged metric -> what the metric with its adjusted p is called, less ``_holm``.
ADJUSTED = {"logrank_chi2": "logrank", "c_difference": "c_difference"}
#: One family of tests: all models (or pairs) of a cohort and endpoint, whatever study trained them, by kind of score.
FAMILY = ["endpoint", "cohort", "group"]


def with_holm(metrics: pd.DataFrame) -> pd.DataFrame:
    """Add the rows ``logrank_holm`` and ``c_difference_holm``; the others stay as they are.

    Parameters
    ----------
    metrics : pandas.DataFrame
        All rows of the cohorts: a model that is not there is not counted, nor is a test without p.
    """
    rows = []
    for metric, name in ADJUSTED.items():
        for _, family in metrics[metrics["metric"] == metric].groupby(FAMILY, sort=False):
            tests = []
            for record in family.to_dict("records"):
                known: dict[str, Any] = {
                    key: None if pd.isna(record[key]) else record[key] for key in ("value", "p", "n", "n_events")
                }
                where = {key: record[key] for key in ("study", *FAMILY, "model", "comparator")}
                tests.append((name, Estimate(**known, reason=record["reason"]), where))
            rows += holm_rows(tests, of="comparison")
    return pd.concat([metrics, metrics_table(rows)], ignore_index=True) if rows else metrics
