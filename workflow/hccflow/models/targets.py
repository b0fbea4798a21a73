"""What is known of rows about an endpoint: a label, or days and event."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from hccflow.errors import TableError

SURVIVAL = "survival"


@dataclass(frozen=True)
class Target:
    """An endpoint of rows.

    Attributes
    ----------
    code : numpy.ndarray, shape (n,)
        Label 0 or 1; of a survival endpoint 0 censored, 1 event, 2 competing event. NaN where unknown.
    days : numpy.ndarray, shape (n,), or None
        Days to event or censoring, NaN where unknown; None for a binary endpoint.
    """

    code: np.ndarray
    days: np.ndarray | None = None

    @property
    def y(self) -> np.ndarray:
        """1 for the event, else 0, NaN where unknown: a competing event ends the follow-up as censoring does."""
        return np.where(np.isnan(self.code), np.nan, (self.code == 1).astype(float))

    @property
    def known(self) -> np.ndarray:
        """Rows whose endpoint is known."""
        return np.isfinite(self.code)

    @property
    def survival(self) -> bool:
        """Whether there are days."""
        return self.days is not None

    def take(self, rows: np.ndarray) -> Target:
        """Some rows: places, or a mask."""
        return Target(self.code[rows], None if self.days is None else self.days[rows])

    def array(self) -> np.ndarray:
        """What a loss needs: labels, shape (n,), or days and event, shape (n, 2)."""
        return self.y if self.days is None else np.column_stack([self.days, self.y])


def read_target(subjects: pd.DataFrame, endpoint: str, spec: Mapping[str, Any]) -> Target:
    """Target of rows of subjects.

    Parameters
    ----------
    subjects : pandas.DataFrame
        A column named as the endpoint, or ``<endpoint>_time_days`` and ``<endpoint>_event``.
    endpoint : str
    spec : mapping
        Its entry in the configuration.

    Raises
    ------
    TableError
        A column is missing, or a value lies outside its domain.
    """
    if spec["kind"] != SURVIVAL:
        return Target(labels(subjects, endpoint))
    days, code = (_numbers(subjects, f"{endpoint}_{part}") for part in ("time_days", "event"))
    unknown = np.isnan(days) | np.isnan(code)
    bad = ~unknown & ((days < 0) | ~np.isin(code, (0.0, 1.0, 2.0)))
    if bad.any():
        raise TableError(
            f"follow-up of '{endpoint}' is outside its domain",
            where=f"subject {subjects['subject'].to_numpy()[bad][0]}", expected="days from 0, event 0, 1 or 2",
            found=(days[bad][0], code[bad][0]),
        )  # fmt: skip
    return Target(np.where(unknown, np.nan, code), np.where(unknown, np.nan, days))


def labels(subjects: pd.DataFrame, endpoint: str) -> np.ndarray:
    """Labels of an endpoint as floats, NaN where unknown.

    Raises
    ------
    TableError
        The column is missing, or a label is not 0, 1 or empty.
    """
    y = _numbers(subjects, endpoint)
    cells = subjects[endpoint]
    bad = ~(np.isin(y, (0.0, 1.0)) | (np.isnan(y) & (cells.isna() | (cells == "")).to_numpy()))
    if bad.any():
        raise TableError(
            f"a label of '{endpoint}' is outside its domain", where=f"subject {subjects['subject'].to_numpy()[bad][0]}",
            expected="0, 1 or empty", found=cells.to_numpy()[bad][0],
        )  # fmt: skip
    return y


def _numbers(subjects: pd.DataFrame, column: str) -> np.ndarray:
    if column not in subjects:
        raise TableError(f"column '{column}' is missing", where="subjects.tsv", todo="derive the endpoint: run enrol")
    cells = subjects[column]
    return pd.to_numeric(cells.astype(object).where(cells.notna() & (cells != ""), None), errors="coerce").to_numpy(
        float
    )
