"""Who has both: imaging and laboratory tables meet by patient, and whoever stays alone is counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hccflow.errors import TableError
from hccflow.tables import read_text_table

#: Columns of a laboratory table that are not measurements.
NAMES = ("cohort", "subject", "session", "sample")
COUNTS = [
    "cohort", "source", "signature", "n_enrolled", "n_signature", "n_table", "n_samples", "n_averaged", "n_matched",
    "n_signature_only", "n_table_not_enrolled", "n_table_no_signature", "n_no_covariate",
]  # fmt: skip


def read_measurements(path: str | Path) -> pd.DataFrame:
    """Read a laboratory table: one row per sample, ``subject`` (``session``, ``sample``), every other column a number.

    Returns
    -------
    pandas.DataFrame
        Index ``subject, session`` (empty where the table has no sessions), float columns, missing = NaN.

    Raises
    ------
    TableError
        No subject column, a column twice, or a cell that is no number.
    """
    text = read_text_table(path)
    if "subject" not in text.columns:
        raise TableError("column 'subject' is missing", where=path, found=", ".join(text.columns[:5]))
    if text.columns.duplicated().any():
        raise TableError("a column stands twice", where=path, found=text.columns[text.columns.duplicated()][0])
    names = [name for name in text.columns if name not in NAMES]
    cells = text[names].to_numpy(dtype=object)
    try:
        values = np.where(cells == "", "nan", cells).astype(float)
    except ValueError:
        values = np.array([[_number(cell) for cell in row] for row in cells])
    strange = (cells != "") & ~np.isfinite(values)
    if strange.any():
        row, column = np.argwhere(strange)[0]
        raise TableError(
            f"column '{names[column]}' has a value outside its domain", where=f"{path}, line {row + 2}",
            expected="a number", found=repr(cells[row, column]),
        )  # fmt: skip
    sessions = text["session"] if "session" in text.columns else pd.Series("", index=text.index)
    index = pd.MultiIndex.from_arrays([text["subject"], sessions], names=["subject", "session"])
    return pd.DataFrame(values, index=index, columns=names)


def _number(cell: str) -> float:
    try:
        return float(cell) if cell else np.nan
    except ValueError:
        return np.nan


def by_subject(table: pd.DataFrame) -> pd.DataFrame:
    """Mean of each patient's rows, missing cells left out; index ``subject``, sorted."""
    return table.groupby(level="subject", sort=True).mean()


def match(
    signature: pd.Series, table: pd.DataFrame, covariates: pd.DataFrame | None = None
) -> tuple[pd.Index, dict[str, int]]:
    """Patients who have the signature, a row in the table and all covariates, with the counts of those who have not.

    Parameters
    ----------
    signature : pandas.Series
        Index ``subject, session`` of the enrolled cases; missing = NaN.
    table : pandas.DataFrame
        Measurements, index ``subject, session``.
    covariates : pandas.DataFrame, optional
        Index with the level ``subject``; a patient counts who has them all in one row.
    """
    rows = table.groupby(level="subject").size()
    enrolled = signature.groupby(level="subject").count()
    with_signature = enrolled.index[enrolled > 0]
    both = with_signature.intersection(rows.index).sort_values()
    matched = both if covariates is None else both[both.isin(covariates.dropna().index.get_level_values("subject"))]
    return matched, {
        "n_enrolled": len(enrolled),
        "n_signature": len(with_signature),
        "n_table": len(rows),
        "n_samples": int(rows.sum()),
        "n_averaged": int((rows.reindex(matched) > 1).sum()),
        "n_matched": len(matched),
        "n_signature_only": len(with_signature.difference(rows.index)),
        "n_table_not_enrolled": len(rows.index.difference(enrolled.index)),
        "n_table_no_signature": len(rows.index.intersection(enrolled.index[enrolled == 0])),
        "n_no_covariate": len(both) - len(matched),
    }


def covariate_matrix(subjects: pd.DataFrame, names: Sequence[str], columns: Mapping[str, Any]) -> pd.DataFrame | None:
    """Covariates of each case as numbers: categories become indicators; None when none is named.

    Returns
    -------
    pandas.DataFrame or None
        Index ``subject, session``. One that is the same in all sessions of every patient holds for those in which
        it was not written down too; of one that varies with the session a missing value stays missing.
    """
    if not names:
        return None
    cases = subjects.set_index(["subject", "session"]).sort_index()
    parts = []
    for name in names:
        if name == "site" or columns[name]["kind"] == "category":
            cells = cases[name].astype(object).where(cases[name] != "")
            indicators = pd.get_dummies(cells, prefix=name, dtype=float)
            parts.append(indicators.where(cells.notna(), np.nan).iloc[:, 1:])
        else:
            parts.append(cases[[name]].astype(float))
    matrix = pd.concat(parts, axis=1)
    fixed = matrix.columns.difference(varying(matrix))
    matrix[fixed] = matrix[fixed].groupby(level="subject").transform("first")
    return matrix


def varying(covariates: pd.DataFrame) -> list[str]:
    """Covariates that have more than one value in a patient, so that a patient's mean has no one value of them."""
    patients = covariates.groupby(level="subject")
    return list(covariates.columns[(patients.max() > patients.min()).any()])


def patient_covariates(covariates: pd.DataFrame | None, where: str, todo: str) -> pd.DataFrame | None:
    """One row of covariates per patient (index ``subject``), for what compares patients' means.

    Raises
    ------
    TableError
        A covariate varies within a patient.
    """
    if covariates is None:
        return None
    for name in varying(covariates):
        values = covariates[name].dropna().groupby(level="subject").unique()
        subject = values.index[values.map(len) > 1][0]
        raise TableError(
            f"covariate '{name}' varies within a patient, but patients' means are compared", where=where,
            expected="one value per patient", found=f"{', '.join(f'{v:g}' for v in values[subject])} in {subject}",
            todo=todo,
        )  # fmt: skip
    return covariates.groupby(level="subject").first()
