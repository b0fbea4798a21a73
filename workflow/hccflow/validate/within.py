"""AUC of out-of-fold scores among the subjects that one fold has judged, for a cohort and for a pair of models.

Each fold's model has an offset of its own. Pooled over folds those offsets are noise between subjects, and
where folds are stratified they lie against the outcome: a fold whose training rows have more events predicts higher and
judges fewer events.

References
----------
Airola A et al. Comput Stat Data Anal 2011;55:1828-1844. Parker BJ et al. BMC Bioinformatics 2007;8:326.
"""

from __future__ import annotations

import pandas as pd

from hccflow.ids import ScoreKind
from hccflow.metrics.auc import stratified_auc, stratified_difference
from hccflow.metrics.estimate import Estimate
from hccflow.metrics.exchange import exchanged
from hccflow.validate.scores import ScoreSet


def several_folds(scores: ScoreSet) -> bool:
    """Whether all scores are out of fold, and those of one repeat come from several folds."""
    rows = _judged(scores)
    return not scores.mixed and bool(rows.drop_duplicates(["repeat", "fold"])["repeat"].duplicated().any())


def auc_within_folds(scores: ScoreSet, level: float) -> Estimate:
    """AUC among subjects of one repeat and fold."""
    rows = _judged(scores)
    return stratified_auc(rows["y"], rows["score"], rows["fold"], repeats=rows["repeat"], level=level)


def difference_within_folds(a: ScoreSet, b: ScoreSet, level: float) -> Estimate:
    """AUC(a) - AUC(b) among subjects of one repeat and fold, of those whom the same fold of both has judged.

    The interval is DeLong's, the p that of the exchange test: folds hold few events.
    """
    other = _judged(b).rename(columns={"score": "other"}).drop(columns="y")
    both = _judged(a).merge(other, on=["subject", "repeat", "fold"])
    found = stratified_difference(
        both["y"], both["score"], both["other"], both["fold"], repeats=both["repeat"], level=level
    )
    return exchanged(found, both)


def _judged(scores: ScoreSet) -> pd.DataFrame:
    """Out-of-fold scores with label and fold: ``subject, repeat, fold, y, score``."""
    rows = scores.judged[scores.judged["kind"] == ScoreKind.OOF.value].reset_index()
    rows = rows[["subject", "repeat", "fold", "y", "score"]]
    return rows.dropna(subset=["fold", "y", "score"]).fillna({"repeat": 0})
