"""Do unseen scores stratify survival? Each cohort, model and endpoint separately."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

import pandas as pd

from hccflow.metrics.estimate import metrics_table
from hccflow.survive.clinical import clinical_tables
from hccflow.survive.competing_risks import competing_rows
from hccflow.survive.discrimination import comparison_rows, discrimination_rows
from hccflow.survive.groups import group_rows
from hccflow.survive.hazards import hazard_rows
from hccflow.survive.kinds import kind_rows
from hccflow.survive.samples import Sample, collect
from hccflow.survive.settings import Settings, read_settings

__all__ = ["Result", "Sample", "Settings", "analyse", "read_settings"]

KEYS = ["study", "endpoint", "cohort", "model", "group"]
#: Columns by which each curve is sorted, after the sample and the group.
ORDER = {
    "km": ["time_days"],
    "cif": ["cause", "time_days"],
    "auc_t": ["time_days"],
    "brier_t": ["time_days"],
    "spline": ["score"],
    "formula": [],
    "nomogram": [],
}


@dataclass(frozen=True)
class Result:
    """What an analysis gives: the tidy metrics, and the curves by their names (the keys of `ORDER`)."""

    metrics: pd.DataFrame
    curves: dict[str, pd.DataFrame]


def analyse(table: pd.DataFrame, settings: Settings) -> Result:
    """Analyse a table of unseen scores with follow-up.

    Parameters
    ----------
    table : pandas.DataFrame
        Schema ``predictions`` with ``time_days`` and ``event`` (0 censored, 1 event, 2 competing), and the covariates.
        ``y_prob`` is the probability of the event by ``horizon_days`` (by any time, where that is empty); ``risk`` is
        any other score, and ranks the subjects where both are given. Higher = earlier event.
    settings : Settings

    Raises
    ------
    LeakageError, TableError, ConfigError
        See `hccflow.survive.samples.collect`.
    """
    samples = collect(table, settings)
    rows = []
    found: dict[str, list[pd.DataFrame]] = {name: [] for name in ORDER}
    for sample in samples:
        for name, (more, curve) in {
            "km": group_rows(sample, settings),
            "spline": hazard_rows(sample, settings),
            "cif": competing_rows(sample, settings),
        }.items():
            rows += more
            found[name].append(curve)
        more, curves = discrimination_rows(sample, settings)
        rows += more + kind_rows(sample, settings)
        for name, curve in curves.items():
            found[name].append(curve)
    for _, same in groupby(samples, key=lambda s: (s.study, s.endpoint, s.cohort)):
        models = list(same)
        rows += comparison_rows(models, settings)
        clinical = clinical_tables(max(models, key=lambda s: len(s.frame)), settings)
        for name, curve in clinical.items() if isinstance(clinical, dict) else ():
            found[name].append(curve)
    return Result(metrics_table(rows), {name: _joined(parts, ORDER[name]) for name, parts in found.items()})


def _joined(parts: list[pd.DataFrame], order: list[str]) -> pd.DataFrame:
    parts = [part for part in parts if not part.empty]
    if not parts:
        return pd.DataFrame()
    table = pd.concat(parts, ignore_index=True)
    keys = [key for key in KEYS if key in table]
    return table[[*keys, *(c for c in table if c not in keys)]].sort_values(
        [*keys, *order], kind="stable", ignore_index=True
    )
