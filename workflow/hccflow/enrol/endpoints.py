"""Endpoints of a cohort, derived from its tables: labels, follow-up times, and why a value is missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from hccflow.enrol.criteria import CRITERIA
from hccflow.enrol.response import Readings, adjudicate, read_responses
from hccflow.errors import ConfigError, TableError
from hccflow.lesions import check_lesions, demand_lesions

MISSING = "value missing"


@dataclass
class Endpoints:
    """Endpoint columns of every case, in the order of the participants.

    Attributes
    ----------
    values : pandas.DataFrame
        Columns as in ``subjects.tsv``: binary ``<name>`` and ``<name>_reader_<id>``; survival ``<name>_time_days``,
        ``<name>_event``, ``<name>_entry_days``.
    reasons : pandas.DataFrame of str
        One column per endpoint: why it is unknown ("" = known).
    readings : dict
        Endpoint -> `Readings`, for endpoints that readers measured.
    """

    values: pd.DataFrame
    reasons: pd.DataFrame
    readings: dict[str, Readings] = field(default_factory=dict)


def derive_endpoints(
    participants: pd.DataFrame,
    endpoints: Mapping[str, Any],
    lesions: pd.DataFrame | None = None,
    *,
    where: object = "lesions.tsv",
) -> Endpoints:
    """Derive every endpoint for every case.

    Parameters
    ----------
    participants : pandas.DataFrame
        One row per case, typed as by `hccflow.participants.read_participants`.
    endpoints : mapping
        The section `endpoints` of the configuration.
    lesions : pandas.DataFrame, optional
        Lesion measurements; needed by the sources mrecist, recist and easl.
    where : object
        Name of the lesions table for messages.

    Raises
    ------
    DataAbsentError
        An endpoint needs lesions and there are none.
    TableError
        A value that no endpoint can have (a negative time, an event code other than 0, 1, 2).
    """
    if lesions is None:
        demand_lesions(endpoints, where)
    else:
        check_lesions(lesions, participants["subject"], where)
    columns: dict[str, pd.Series] = {}
    reasons: dict[str, pd.Series] = {}
    readings: dict[str, Readings] = {}
    for name, spec in endpoints.items():
        if spec["kind"] == "survival":
            made, reason = _survival(participants, name, spec)
            columns.update(made)
        elif spec.get("source", "column") == "horizon":
            columns[name], reason = _horizon(participants, spec, endpoints)
        elif spec.get("source", "column") == "column":
            columns[name], reason = _column(participants, name, spec)
        else:
            assert lesions is not None  # demanded above
            readings[name] = read_responses(lesions, spec, where)
            made, reason = _from_readers(participants["subject"], name, spec, readings[name])
            columns.update(made)
        reasons[name] = reason
    frame = pd.DataFrame(columns, index=participants.index)
    return Endpoints(frame, pd.DataFrame(reasons, index=participants.index), readings)


def _reasons(index: pd.Index, *steps: tuple[pd.Series, str]) -> pd.Series:
    """Text of the first step that applies to each row."""
    out = pd.Series("", index=index)
    for applies, text in steps:
        out = out.mask(applies.fillna(False).astype(bool) & (out == ""), text)
    return out


def _column(participants: pd.DataFrame, name: str, spec: Mapping[str, Any]) -> tuple[pd.Series, pd.Series]:
    cells = participants[spec["column"]]
    text = pd.api.types.is_string_dtype(cells) or cells.dtype == object
    missing = (cells == "") if text else cells.isna()
    if "positive" in spec:
        wanted = [str(v) for v in spec["positive"]] if text else [float(v) for v in spec["positive"]]
        label = cells.isin(wanted).astype("Int64")
    elif text or not cells.dropna().isin([0, 1]).all():
        raise ConfigError(
            "this column is no 0/1 label by itself", where=f"endpoints.{name}.column", found=spec["column"],
            todo="list the values that count as 1 under positive",
        )  # fmt: skip
    else:
        label = cells.astype("Int64")
    return label.mask(missing), _reasons(cells.index, (missing, MISSING))


def follow_up(
    participants: pd.DataFrame, name: str, spec: Mapping[str, Any]
) -> tuple[pd.Series, pd.Series, pd.Series, pd.Series]:
    """Time, event and entry of a survival endpoint, and why it is unknown.

    A subject whose follow-up ends before the landmark, or not after its own entry, is unknown. Times stay counted from
    the index date: below the landmark nobody who stays in has an event.
    """
    time = participants[spec["time"]].astype("float64")
    event = participants[spec["event"]].astype("float64")
    entry = participants[spec["entry"]].astype("float64") if "entry" in spec else pd.Series(0.0, index=time.index)
    for bad, column, expected in (
        (time < 0, "time", "days >= 0"),
        (event.notna() & ~event.isin([0, 1, 2]), "event", "0 censored, 1 event, 2 competing event"),
        (entry < 0, "entry", "days >= 0"),
    ):
        if bad.any():
            raise TableError(
                f"endpoint '{name}' has a value outside its domain", where=f"column {spec.get(column)}",
                expected=expected, found=f"subject {participants['subject'][bad].iloc[0]}",
            )  # fmt: skip
    reason = _reasons(
        time.index,
        (time.isna() | event.isna() | entry.isna(), MISSING),
        (time < spec.get("landmark_days", 0), "follow-up ends before the landmark"),
        ((entry > 0) & (time <= entry), "follow-up ends before entry"),
    )
    return time, event, entry, reason


def _survival(participants: pd.DataFrame, name: str, spec: Mapping[str, Any]) -> tuple[dict[str, pd.Series], pd.Series]:
    time, event, entry, reason = follow_up(participants, name, spec)
    gone = reason != ""
    made = {
        f"{name}_time_days": time.mask(gone),
        f"{name}_event": event.mask(gone).astype("Int64"),
        f"{name}_entry_days": entry.mask(gone) if "entry" in spec else pd.Series(np.nan, index=time.index),
    }
    return made, reason


def _horizon(
    participants: pd.DataFrame, spec: Mapping[str, Any], endpoints: Mapping[str, Any]
) -> tuple[pd.Series, pd.Series]:
    """Label at a horizon: 1 with an event by then; 0 when followed to it, or with a competing event before it.

    Censored before the horizon is missing, never 0.
    """
    base = endpoints[spec["of"]]
    landmark = max(spec.get("landmark_days", 0), base.get("landmark_days", 0))
    time, event, _, reason = follow_up(participants, spec["of"], {**base, "landmark_days": landmark})
    horizon = spec["horizon_days"]
    censored = (event == 0) & (time < horizon)
    reason = reason.mask((reason == "") & censored, "censored before the horizon")
    label = ((event == 1) & (time <= horizon)).astype("Int64")
    return label.mask(reason != ""), reason


def _from_readers(
    subjects: pd.Series, name: str, spec: Mapping[str, Any], readings: Readings
) -> tuple[dict[str, pd.Series], pd.Series]:
    labels = reader_labels(readings, spec["positive"])
    label, tied = adjudicate(labels, spec.get("adjudication", "majority"))
    why = readings.reasons.where(labels.isna(), "")
    reason = tied.mask((tied == "") & label.isna(), why.iloc[:, 0])
    columns = {name: subjects.map(label).astype("Int64")}
    for reader in labels.columns:
        columns[f"{name}_reader_{reader}"] = subjects.map(labels[reader]).astype("Int64")
    return columns, subjects.map(reason).fillna("no lesion was measured")


def reader_labels(readings: Readings, positive: list[str]) -> pd.DataFrame:
    """Labels 0 and 1 (NaN = not assessable) by subject and reader; `positive` are the categories that count as 1."""
    return readings.categories.isin(positive).astype("float64").mask(readings.categories == "")


def check_categories(endpoints: Mapping[str, Any]) -> None:
    """Refuse a response endpoint whose `positive` names something that is no category."""
    for name, spec in endpoints.items():
        if spec["kind"] == "binary" and spec.get("source") in CRITERIA:
            odd = [value for value in spec["positive"] if value not in ("CR", "PR", "SD", "PD")]
            if odd:
                raise ConfigError(
                    f"unknown response category '{odd[0]}'", where=f"endpoints.{name}.positive",
                    expected="CR, PR, SD, PD",
                )  # fmt: skip
