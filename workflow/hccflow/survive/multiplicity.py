"""Holm's correction of what survive judges: the log-rank tests of the models, and their pairs."""

from __future__ import annotations

import pandas as pd

from hccflow.metrics.estimate import Estimate, metrics_table
from hccflow.metrics.multiplicity import adjust

#: Judged metric -> metric with its adjusted p.
ADJUSTED = {"logrank_chi2": "logrank_holm", "c_difference": "c_difference_holm"}
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
            adjusted = adjust(list(family["p"]))
            size = sum(p is not None for p in adjusted)
            method = f"Holm, {size} comparison{'s' * (size != 1)}"
            for record, p in zip(family.to_dict("records"), adjusted, strict=True):
                value = None if pd.isna(record["value"]) else record["value"]
                holm = Estimate(
                    value, ci_method=method, p=p, n=record["n"], n_events=record["n_events"], reason=record["reason"]
                )
                where = {key: record[key] for key in ("study", *FAMILY, "model", "comparator")}
                rows.append(holm.row(name, **where))
    return pd.concat([metrics, metrics_table(rows)], ignore_index=True) if rows else metrics
