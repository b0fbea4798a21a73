"""The value of a statistic: a number with interval and count, or empty with a reason."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

COLUMNS = [
    "study",
    "endpoint",
    "cohort",
    "group",
    "model",
    "comparator",
    "metric",
    "at",
    "repeat",
    "value",
    "ci_low",
    "ci_high",
    "ci_method",
    "p",
    "n",
    "n_events",
    "reason",
]


@dataclass(frozen=True)
class Estimate:
    """One statistic. Undefined means ``value is None`` and a ``reason``; never a number in its place."""

    value: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    ci_method: str = ""
    p: float | None = None
    n: int | None = None
    n_events: int | None = None
    reason: str = ""

    def row(self, metric: str, **where: Any) -> dict[str, Any]:
        """Row of the metrics table; `where` fills ``endpoint, cohort, group, model, comparator, at, repeat, study``."""
        own = {k: getattr(self, k) for k in ("value", "ci_low", "ci_high", "ci_method", "p", "n", "n_events", "reason")}
        return {"metric": metric, **where, **own}


def undefined(reason: str, *, n: int | None = None, n_events: int | None = None) -> Estimate:
    """Build an estimate that could not be made, with the reason."""
    return Estimate(reason=reason, n=n, n_events=n_events)


def ratio(value: Estimate, unit: float = 1.0) -> Estimate:
    """Hazard or odds ratio per `unit` of the covariate from its logarithm."""
    if value.value is None:
        return value
    with np.errstate(over="ignore"):
        limits = [None if v is None else float(np.exp(v * unit)) for v in (value.value, value.ci_low, value.ci_high)]
    ends = [None if v is None or not np.isfinite(v) or v == 0 else v for v in limits]
    reason = value.reason
    if ends != limits:
        reason = "; ".join(text for text in (reason, "a ratio beyond the range of numbers is left out") if text)
    return Estimate(ends[0], ends[1], ends[2], value.ci_method, value.p, value.n, value.n_events, reason)


def metrics_table(rows: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """Assemble rows into the tidy metrics table (columns and order of DESIGN section 4), sorted."""
    table = pd.DataFrame(list(rows), columns=COLUMNS)
    for name in ("study", "endpoint", "cohort", "group", "model", "comparator", "metric", "ci_method", "reason"):
        table[name] = table[name].fillna("")
    for name in ("repeat", "n", "n_events"):
        table[name] = table[name].astype("Int64")
    for name in ("at", "value", "ci_low", "ci_high", "p"):
        table[name] = table[name].astype("float64")
    keys = ["endpoint", "cohort", "group", "model", "comparator", "metric", "at", "repeat"]
    return table.sort_values(keys, kind="stable").reset_index(drop=True)
