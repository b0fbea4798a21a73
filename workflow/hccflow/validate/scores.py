"""The door of the stage: a predictions table becomes one set of unseen scores per endpoint, cohort and model."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from hccflow.errors import ConfigError, LeakageError, TableError
from hccflow.ids import ScoreKind
from hccflow.metrics.inputs import Floats

CASE = ["subject", "session"]
_TEXT = ("study", "endpoint", "session")
_NUMBERS = ("repeat", "fold", "y_true", "y_prob", "risk", "threshold")


@dataclass(frozen=True)
class ScoreSet:
    """Scores of one model in one cohort for one endpoint, one row per subject, sorted by subject.

    Scans of one subject are not independent, and every interval and test of the stage takes rows as independent. So the
    scores of a subject's sessions are averaged, and the subject stands under its first session; `sessions` keeps them
    apart, for results session by session, in each of which a subject stands once.

    Attributes
    ----------
    study, endpoint, cohort, model : str
    group : str
        Empty for the whole cohort; ``kind=oof`` or ``kind=frozen`` for one kind of its scores (`kinds`).
    rows : pandas.DataFrame
        Indexed by subject and session: ``y, score, kind``; NaN = missing. Repeats are averaged, then sessions.
    sessions : pandas.DataFrame
        The same, one row per case; empty where every subject has one.
    judged : pandas.DataFrame
        One row per subject, repeat and fold (``repeat, fold, kind, y, score``), sessions averaged.
    probability : bool
        Whether the scores are probabilities (column ``y_prob``) or any other score (``risk``).
    threshold : float or None
        Frozen operating point; `no_threshold` says why there is none.
    """

    study: str
    endpoint: str
    cohort: str
    model: str
    rows: pd.DataFrame
    sessions: pd.DataFrame
    judged: pd.DataFrame
    probability: bool
    threshold: float | None
    no_threshold: str
    group: str = ""

    @property
    def mixed(self) -> bool:
        """Whether some scores are out of fold and others frozen."""
        return len(self.rows["kind"].unique()) > 1

    @property
    def kinds(self) -> list[ScoreSet]:
        """The scores of each kind apart."""
        tables = {"rows": self.rows, "judged": self.judged, "sessions": self.sessions}
        return [
            replace(self, group=f"kind={kind}", **{name: t[t["kind"] == kind] for name, t in tables.items()})
            for kind in sorted(self.rows["kind"].unique())
        ]

    @property
    def used(self) -> pd.DataFrame:
        """Rows with label and score."""
        return self.rows.dropna(subset=["y", "score"])

    @property
    def arrays(self) -> tuple[Floats, Floats]:
        """Labels and scores of the rows that have both."""
        used = self.used
        return used["y"].to_numpy(float), used["score"].to_numpy(float)

    def where(self, **more: object) -> dict[str, object]:
        """Columns of the metrics table that say what a number is about."""
        return {
            "study": self.study,
            "endpoint": self.endpoint,
            "cohort": self.cohort,
            "model": self.model,
            "group": self.group,
            **more,
        }


def collect(
    predictions: pd.DataFrame, thresholds: Mapping[str, float], survival: Collection[str] = ()
) -> list[ScoreSet]:
    """Check a predictions table and split it into score sets, sorted by endpoint, cohort and model.

    Parameters
    ----------
    predictions : pandas.DataFrame
        Follows the schema ``predictions``; only ``model, cohort, subject, kind`` need be there.
    thresholds : mapping
        Operating points by model; they go before the column ``threshold``.
    survival : collection of str
        Survival endpoints: their rows are not for this stage, and left out.

    Raises
    ------
    LeakageError
        A row is ``apparent``: a score of a subject that the model was fitted on.
    TableError
        A case stands twice, models disagree about a case's label, or sessions about their subject's.
    ConfigError
        A threshold names a model that is not in the table.
    """
    if predictions.empty:
        raise TableError("the predictions have no rows", expected="one row per model and case")
    table = _complete(predictions)
    _check(table)
    table = table[~table["endpoint"].isin(list(survival))]
    models = sorted(table["model"].unique())
    for name in thresholds:
        if name not in models:
            near = difflib.get_close_matches(name, models, n=1)
            raise ConfigError(
                f"threshold of an unknown model '{name}'",
                where="--thresholds",
                expected=", ".join(models),
                todo=f"did you mean '{near[0]}'?" if near else None,
            )
    scored = table[table["y_prob"].notna()]
    probabilities = set(zip(scored["endpoint"], scored["model"], strict=True))
    for name in scored["model"].unique():
        if name in thresholds and not 0 <= thresholds[name] <= 1:
            raise ConfigError(
                f"the threshold of '{name}' is no probability, but its scores are", where="--thresholds",
                expected="0 to 1, on the scale of y_prob", found=thresholds[name],
            )  # fmt: skip
    sets = []
    for key, part in table.groupby(["endpoint", "cohort", "model"], sort=True):
        endpoint, cohort, model = map(str, key)
        probability = (endpoint, model) in probabilities
        sets.append(_score_set(part, endpoint, cohort, model, probability, thresholds.get(model)))
    return sets


def _complete(predictions: pd.DataFrame) -> pd.DataFrame:
    table = predictions.copy()
    for name in _TEXT:
        table[name] = table[name].fillna("").astype(str) if name in table else ""
    for name in _NUMBERS:
        table[name] = table[name].astype("float64") if name in table else np.nan
    return table


def _check(table: pd.DataFrame) -> None:
    apparent = table["kind"] == ScoreKind.APPARENT.value
    if apparent.any():
        row = table[apparent].iloc[0]
        raise LeakageError(
            f"{int(apparent.sum())} rows are apparent: scores of subjects that the model was fitted on",
            where=f"model {row['model']}, cohort {row['cohort']}, subject {row['subject']}",
            expected="kind oof or frozen",
            todo="give out-of-fold scores of training subjects, frozen scores of all others",
        )
    keys = ["endpoint", "model", "cohort", *CASE, "repeat"]
    twice = table.duplicated(keys)
    if twice.any():
        row = table[twice].iloc[0]
        raise TableError(
            "a case stands twice",
            where=f"model {row['model']}, cohort {row['cohort']}, subject {row['subject']}",
            expected="one row per model, case and repeat",
        )
    labels = table.groupby(["endpoint", "cohort", *CASE])["y_true"].nunique(dropna=True)
    if (labels > 1).any():
        endpoint, cohort, subject, _ = labels.index[int((labels > 1).to_numpy().argmax())]
        raise TableError(
            "models disagree about the label of a case",
            where=f"endpoint {endpoint or '(none)'}, cohort {cohort}, subject {subject}",
            expected="one y_true per case",
        )


def _score_set(
    part: pd.DataFrame, endpoint: str, cohort: str, model: str, probability: bool, given: float | None
) -> ScoreSet:
    part = part.assign(y=part["y_true"], score=part["y_prob" if probability else "risk"]).sort_values([*CASE, "repeat"])
    rows = part.groupby(CASE, sort=True).agg(y=("y", "first"), score=("score", "mean"), kind=("kind", "first"))
    judged = part.groupby(["subject", "repeat", "fold"], dropna=False, as_index=False).agg(
        session=("session", "first"), kind=("kind", "first"), y=("y", "first"), score=("score", "mean")
    )
    sessions = rows.iloc[:0]
    if rows.index.get_level_values("subject").has_duplicates:
        sessions, rows = rows, _by_subject(rows, f"endpoint {endpoint or '(none)'}, cohort {cohort}")
    threshold, reason = given, ""
    if threshold is None:
        known = part["threshold"].dropna().unique()
        threshold = float(known[0]) if len(known) == 1 else None
        reason = "" if len(known) == 1 else "no frozen threshold" if len(known) == 0 else "several frozen thresholds"
    return ScoreSet(
        study=next((s for s in part["study"] if s), ""),
        endpoint=endpoint,
        cohort=cohort,
        model=model,
        rows=rows,
        sessions=sessions,
        judged=judged.set_index(CASE),
        probability=probability,
        threshold=threshold,
        no_threshold=reason,
    )


def _by_subject(rows: pd.DataFrame, where: str) -> pd.DataFrame:
    """One row per subject: the label that its sessions share, and the mean of their scores."""
    subject = rows.index.get_level_values("subject")
    labels = rows["y"].groupby(subject).nunique()
    if (labels > 1).any():
        raise TableError(
            "sessions of a subject have different labels", where=where, found=labels.index[int(labels.argmax())],
            expected="one label per subject", todo="keep one session of each subject, or judge sessions apart",
        )  # fmt: skip
    first = rows.reset_index("session").groupby(level="subject").agg(
        session=("session", "first"), y=("y", "first"), score=("score", "mean"), kind=("kind", "first")
    )  # fmt: skip
    return first.set_index("session", append=True)
