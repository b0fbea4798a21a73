"""The headline numbers as one JSON document that `dvc metrics diff` can compare between two versions of a study."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

from hccflow.report.results import Results, records

#: Measures of a whole cohort that say whether a model is better or worse than before.
MEASURES = (
    "auc", "auc_within_folds", "auc_difference", "auc_difference_within_folds", "brier", "calibration_slope",
    "calibration_in_the_large", "c_harrell", "c_uno", "cox_hr_sd", "ibs",
)  # fmt: skip


def headline_numbers(root: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Numbers by cohort, endpoint, model and measure; what is undefined is left out (its reason is in metrics.tsv).

    Parameters
    ----------
    root : Path
        Folder of the study's results.
    settings : mapping
        See `hccflow.report.results.Results`.
    """
    results = Results(root, settings)
    out: dict[str, Any] = {}
    for cohort in results.cohorts:
        flow = results.need(f"enrol/{cohort}/subjects.tsv", ("subject",))
        numbers: dict[str, Any] = defaultdict(lambda: defaultdict(dict))
        rows = results.rows(MEASURES, cohort=cohort)
        for row in records(rows[rows["at"].isna() & rows["value"].notna() & (rows["model"] != "")]):
            binary = row["endpoint"] in results.endpoints("binary")
            if row["group"] != (results.part(cohort, row["endpoint"]) if binary else ""):
                continue
            measure = "_".join(filter(None, (row["metric"], row["comparator"])))
            numbers[row["endpoint"]][row["model"]].setdefault(measure, row["value"])
        out[cohort] = {"enrolled": len(flow), **{name: dict(models) for name, models in numbers.items()}}
    return out
