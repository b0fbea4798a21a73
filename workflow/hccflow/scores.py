"""The one table of scores: columns, types and order, for whoever writes one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from hccflow.models.targets import Target

COLUMNS = [
    "study", "model", "cohort", "subject", "session", "endpoint", "repeat", "fold", "kind", "y_true", "y_prob", "risk",
    "time_days", "event", "entry_days", "horizon_days", "threshold",
]  # fmt: skip


def outcome(target: Target, scores: np.ndarray) -> dict[str, Any]:
    """Columns of rows' scores for one endpoint: ``y_true, y_prob``, or ``risk, time_days, event`` of a survival one."""
    if not target.survival:
        return {"y_true": target.y, "y_prob": scores}
    return {"risk": scores, "time_days": target.days, "event": target.code}


def score_table(scores: pd.DataFrame) -> pd.DataFrame:
    """Give scores the columns, types and order of the schema `predictions`; a column ``reason`` stays at the end."""
    out = scores.reindex(columns=[*COLUMNS, *(name for name in scores.columns if name == "reason")])
    for name in ("repeat", "fold", "y_true", "event"):
        out[name] = pd.to_numeric(out[name]).astype("Int64")
    for name in ("y_prob", "risk", "time_days", "entry_days", "horizon_days", "threshold"):
        out[name] = pd.to_numeric(out[name]).astype("float64")
    return out.sort_values(["endpoint", "cohort", "subject", "session", "repeat"], kind="stable").reset_index(drop=True)
