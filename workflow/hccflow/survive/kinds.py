"""Out-of-fold and frozen scores of a cohort apart: cross-validation beside the part of the split that only judges."""

from __future__ import annotations

from typing import Any

from hccflow.survive.discrimination import ranking_rows
from hccflow.survive.groups import log_rank_rows
from hccflow.survive.hazards import score_rows
from hccflow.survive.samples import Sample
from hccflow.survive.settings import Settings

#: What is told of each kind; everything else is of the cohort as a whole.
TOLD = {
    "c_harrell", "c_harrell_within_folds", "c_uno", "c_uno_tau", "auc_t",
    "logrank_chi2", "cox_coef", "cox_hr", "cox_hr_sd", "firth_coef", "firth_hr",
}  # fmt: skip


def kind_rows(sample: Sample, settings: Settings) -> list[dict[str, Any]]:
    """Rows of the metrics table of each kind of score, where a cohort has both; none elsewhere.

    The ``group`` is ``kind=oof`` or ``kind=frozen``, also of hazard ratios: their ``comparator`` says whether they are
    of the score as a number (``univariable``) or of high against low (``low``).
    """
    parts = sample.kinds
    if len(parts) < 2:
        return []
    return [
        {**row, "group": f"kind={kind}"}
        for kind, part in parts.items()
        for row in (*ranking_rows(part, settings), *log_rank_rows(part, settings), *score_rows(part, settings))
        if row["metric"] in TOLD
    ]
