"""The participants table: one row per subject and session, with the columns that the study declares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from hccflow.errors import TableError
from hccflow.tables import check_table, load_schema, read_table, read_text_table

FIXED = ("subject", "session", "site", "batch")


def column_rule(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Row-schema rule of a declared column (a value of `columns` in the configuration)."""
    if spec["kind"] == "binary":
        return {"type": ["integer", "null"], "enum": [0, 1]}
    if spec["kind"] == "category":
        return {"type": ["string", "null"], "enum": list(spec["levels"])}
    return {"type": ["number", "null"], **{k: spec[k] for k in ("minimum", "maximum") if k in spec}}


def read_participants(path: str | Path, columns: Mapping[str, Any]) -> pd.DataFrame:
    """Read a participants table and check it against the declared columns; undeclared columns are left out.

    Returns
    -------
    pandas.DataFrame
        ``subject, session, site, batch`` and the declared columns, typed, sorted by subject and session.

    Raises
    ------
    DataAbsentError
        The table is not there.
    TableError
        A declared column is missing, a value lies outside its domain, or a case stands twice.
    """
    text = read_text_table(path)
    missing = [name for name in (*FIXED, *columns) if name not in text.columns]
    if missing:
        raise TableError(
            f"column '{missing[0]}' is missing",
            where=path,
            expected=", ".join([*FIXED, *columns]),
            found=", ".join(text.columns),
            todo="add the column, or remove it from `columns` in the config",
        )
    fixed = load_schema("participants")["properties"]
    rules = {**fixed, **{name: column_rule(spec) for name, spec in columns.items()}}
    table = check_table(text[[*FIXED, *columns]], {"properties": rules}, where=path)
    twice = table.duplicated(["subject", "session"])
    if twice.any():
        row = int(twice.to_numpy().argmax())
        raise TableError(
            "a case stands twice",
            where=f"{path}, line {row + 2}",
            found=f"subject {table['subject'].iloc[row]} session {table['session'].iloc[row] or '(none)'}",
            todo="keep one row per subject and session",
        )
    return table.sort_values(["subject", "session"], kind="stable").reset_index(drop=True)


def read_subjects(paths: Sequence[str | Path], columns: Mapping[str, Any]) -> pd.DataFrame:
    """Read the enrolled cases of cohorts (``subjects.tsv``) with the declared columns typed and checked.

    Raises
    ------
    DataAbsentError, TableError
        As in `read_participants`.
    """
    schema = load_schema("subjects")
    rules = {**schema["properties"], **{name: column_rule(spec) for name, spec in columns.items()}}
    return pd.concat([read_table(path, {**schema, "properties": rules}) for path in paths], ignore_index=True)
