"""The door of the stage: a table of unseen scores with follow-up becomes one sample per endpoint, cohort and model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from hccflow.errors import ConfigError, LeakageError, TableError
from hccflow.ids import ScoreKind
from hccflow.metrics.km import snap_times
from hccflow.models.encoding import transformed
from hccflow.survive.settings import Settings

Array = np.ndarray[Any, Any]
#: Scores and covariates beyond this are no measurements, and their squares no numbers.
LARGEST = 1e100


@dataclass(frozen=True)
class Sample:
    """Subjects of one cohort with the scores of one model and the follow-up of one endpoint.

    Attributes
    ----------
    frame : pandas.DataFrame
        One row per subject with known follow-up, indexed by subject: ``time, event, kind, score`` (NaN = no score),
        ``entry`` with delayed entry, and the covariates.
    risks : dict
        Time -> predicted probabilities of the event by it (indexed by subject); the key None holds probabilities that
        name no time. Empty when the score is not a probability.
    n_rows, n_no_outcome : int
        Subjects of the table, and those of them without time or event.
    folds : pandas.DataFrame
        Out-of-fold scores: ``subject, repeat, fold, score``; empty where there are none.
    """

    study: str
    endpoint: str
    cohort: str
    model: str
    frame: pd.DataFrame
    risks: dict[float | None, pd.Series]
    n_rows: int
    n_no_outcome: int
    folds: pd.DataFrame

    @property
    def where(self) -> dict[str, str]:
        """Columns of the metrics table that name the sample."""
        return {"study": self.study, "endpoint": self.endpoint, "cohort": self.cohort, "model": self.model}

    @property
    def scored(self) -> pd.DataFrame:
        """Rows with a score."""
        return self.frame[self.frame["score"].notna()]

    @property
    def kinds(self) -> dict[str, Sample]:
        """Scored subjects by the kind of their score (out of fold, frozen), each a sample of its own."""
        return {str(kind): self._part(rows) for kind, rows in self.scored.groupby("kind")}

    def _part(self, frame: pd.DataFrame) -> Sample:
        risks = {horizon: risk.reindex(frame.index) for horizon, risk in self.risks.items()}
        return replace(self, frame=frame, risks=risks, folds=self.folds[self.folds["subject"].isin(frame.index)])

    @property
    def competing(self) -> bool:
        """Whether some subject had the competing event."""
        return bool((self.frame["event"] == 2).any())

    def groups(self, cut: float | None) -> dict[str, pd.DataFrame]:
        """``all`` (also without a score), and with a cut ``low`` and ``high`` (score at least the cut)."""
        parts = {"all": self.frame}
        if cut is not None:
            scored = self.scored
            parts |= {"low": scored[scored["score"] < cut], "high": scored[scored["score"] >= cut]}
        return parts


def outcome(frame: pd.DataFrame) -> tuple[Array, Array, Array | None]:
    """Time, event of interest (bool) and delayed entry (or None) of rows of a sample."""
    entry = frame["entry"].to_numpy(float) if "entry" in frame else None
    return frame["time"].to_numpy(float), frame["event"].to_numpy() == 1, entry


def collect(table: pd.DataFrame, settings: Settings) -> list[Sample]:
    """Check a table (schema ``predictions``, covariates in further columns) and split it.

    The score is ``risk`` where a model gives it (a frozen Cox model's linear predictor, say), else ``y_prob``; Brier(t)
    and calibration are of ``y_prob``. Repeats of the cross-validation are averaged per subject. Several rows of a
    subject may differ in ``horizon_days``: then they are its predicted probabilities at several times, and the first
    horizon ranks the subjects.

    Raises
    ------
    LeakageError
        A row is ``apparent``.
    TableError
        No follow-up, a subject twice, an entry that is not before the exit.
    ConfigError
        A covariate or a model with a cut that is not in the table.
    """
    _check(table, settings)
    table = table.copy()
    for name in ("study", "endpoint"):
        table[name] = table[name].fillna("").astype(str) if name in table else ""
    for name in ("y_prob", "risk", "horizon_days", "entry_days", "time_days", "event"):
        table[name] = table[name].astype("float64") if name in table else np.nan
    for name in ("y_prob", "risk", *settings.covariates):
        if pd.api.types.is_numeric_dtype(table[name]) and (table[name].abs() > LARGEST).any():
            raise TableError(
                f"column '{name}' has an absurd number", expected=f"at most {LARGEST:g}", found=table[name].abs().max()
            )
    samples = []
    for (study, endpoint, cohort, model), rows in table.groupby(["study", "endpoint", "cohort", "model"], sort=True):
        samples.append(_sample(rows, str(study), str(endpoint), str(cohort), str(model), settings))
    return samples


def _check(table: pd.DataFrame, settings: Settings) -> None:
    apparent = table["kind"] == ScoreKind.APPARENT.value
    if apparent.any():
        raise LeakageError(
            "a score of a subject that the model was fitted on", where=f"model {table.loc[apparent, 'model'].iloc[0]}",
            expected="kind oof or frozen", found=f"{int(apparent.sum())} rows of kind apparent",
            todo="use out-of-fold scores for training subjects",
        )  # fmt: skip
    for name in ("time_days", "event"):
        if name not in table:
            raise TableError(
                f"column '{name}' is missing", expected="time_days and event", found=", ".join(table.columns)
            )
    if not {"y_prob", "risk"} & set(table.columns):
        raise TableError("no scores", expected="a column y_prob or risk", found=", ".join(table.columns))
    for where, names in (("covariates", settings.covariates), ("strata", settings.strata)):
        for name in names:
            if name not in table:
                raise ConfigError(f"column '{name}' is not in the table", where=where, found=", ".join(table.columns))
    for name in settings.cut:
        if name not in set(table["model"]):
            raise ConfigError(
                f"cut of an unknown model '{name}'", where="cut", expected=", ".join(sorted(set(table["model"])))
            )


def _sample(rows: pd.DataFrame, study: str, endpoint: str, cohort: str, model: str, settings: Settings) -> Sample:
    where = f"cohort {cohort}, model {model}, endpoint {endpoint or '(none named)'}"
    probability = bool(rows["y_prob"].notna().any())
    rows = rows.assign(score=rows["risk"] if rows["risk"].notna().any() else rows["y_prob"])
    _one_row_each(rows, where)
    followed = ["kind", "time_days", "event", "entry_days", *settings.covariates, *settings.strata]
    followed = list(dict.fromkeys(followed))
    differing = rows.groupby("subject")[followed].nunique(dropna=False).max()
    if (differing > 1).any():
        raise TableError(
            "rows of one subject disagree", where=where, found=str(differing.index[differing > 1][0]),
            expected="the same kind, follow-up and covariates in every row of a subject",
        )  # fmt: skip
    subjects = rows.groupby("subject", sort=True)
    horizons = sorted(rows["horizon_days"].dropna().unique())
    first = rows[rows["horizon_days"].isna() | (rows["horizon_days"] == (horizons or [np.nan])[0])]
    frame = subjects[followed].first().assign(score=first.groupby("subject")["score"].mean())
    frame = frame.rename(columns={"time_days": "time", "entry_days": "entry"})
    known = frame["time"].notna() & frame["event"].notna()
    n_rows, frame = len(frame), frame[known].copy()
    frame["time"], frame["event"] = snap_times(frame["time"].to_numpy(float)), frame["event"].astype(int)
    if frame["entry"].isna().all():
        frame = frame.drop(columns="entry")
    elif frame["entry"].isna().any() or (frame["entry"] >= frame["time"]).any():
        raise TableError("delayed entry must be known and before the exit", where=where, found="see entry_days")
    risks: dict[float | None, pd.Series] = {}
    if probability:
        for horizon in horizons or [None]:
            part = rows[rows["horizon_days"] == horizon] if horizon is not None else rows
            risks[horizon] = part.groupby("subject")["y_prob"].mean().reindex(frame.index)
    folds = first.reindex(columns=["subject", "repeat", "fold", "score"]).dropna(subset=["fold", "score"])
    folds = folds[folds["subject"].isin(frame.index)]
    return Sample(study, endpoint, cohort, model, frame, risks, n_rows, int(n_rows - known.sum()), folds)


def _one_row_each(rows: pd.DataFrame, where: str) -> None:
    keys = [k for k in ("subject", "repeat", "horizon_days") if k in rows]
    twice = rows.duplicated(keys)
    if twice.any():
        raise TableError(
            "a subject stands twice", where=where, found=rows.loc[twice, "subject"].iloc[0],
            expected="one row per subject (and repeat, and horizon_days): follow-up belongs to a person, not to a scan",
        )  # fmt: skip


def design(frame: pd.DataFrame, settings: Settings) -> tuple[pd.DataFrame, dict[str, list[str]]]:
    """Covariates as numbers: categories become one column per level after the first, named ``column=level``.

    Returns
    -------
    pandas.DataFrame, dict
        The columns (NaN = missing) and, for each covariate, the names of its columns.
    """
    columns: dict[str, Array] = {}
    terms: dict[str, list[str]] = {}
    for name in settings.covariates:
        cells, kind = frame[name], settings.transforms.get(name)
        if pd.api.types.is_numeric_dtype(cells) and name not in settings.levels:
            values, label = cells.astype("float64"), name
            if kind:
                values, label = transformed(values, kind, frame.index.to_series()), f"{name} ({kind})"
            columns[label], terms[label] = values.to_numpy(), [label]
            continue
        if kind:
            raise ConfigError("a transform needs a numeric covariate", where=f"transforms.{name}")
        text = cells.map(lambda v: "" if pd.isna(v) else str(v))
        known = settings.levels.get(name) or sorted(set(text) - {""})
        if other := sorted(set(text) - {"", *known}):
            raise ConfigError(
                f"'{name}' has a category that is not among its levels", where=f"levels.{name}",
                expected=", ".join(known), found=", ".join(other), todo="name every category, the reference first",
            )  # fmt: skip
        terms[name] = []
        # Of one category only, its constant column says why it has no estimate.
        for value in known[1:] or known:
            columns[f"{name}={value}"] = np.where(text == "", np.nan, (text == value).astype(float))
            terms[name].append(f"{name}={value}")
    return pd.DataFrame(columns, index=frame.index), {name: cols for name, cols in terms.items() if cols}
