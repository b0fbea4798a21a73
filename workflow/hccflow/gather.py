"""Putting the tables of batches together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from hccflow.errors import TableError
from hccflow.tables import read_table, read_text_table

KEYS = ["cohort", "subject", "session"]


def gather_tables(paths: Sequence[Path]) -> pd.DataFrame:
    """Concatenate tables cell by cell, as text, sorted by case; a column that one table lacks is empty there.

    Raises
    ------
    TableError
        A case stands in two tables.
    """
    parts = [read_text_table(path) for path in paths]
    table = pd.concat(parts, ignore_index=True).fillna("")
    twice = table.duplicated(KEYS)
    if twice.any():
        raise TableError(
            "a case stands in two batches", where=", ".join(map(str, paths[:3])),
            found=" ".join(table.loc[twice, KEYS].iloc[0]), todo="a subject belongs to one batch: see participants.tsv",
        )  # fmt: skip
    return table.sort_values(KEYS, kind="stable").reset_index(drop=True)


def gather_manifests(paths: Sequence[Path]) -> pd.DataFrame:
    """Concatenate manifests after checking each against the schema that all stages share."""
    for path in paths:
        read_table(path, "manifest")
    return gather_tables(paths)


def feature_files(folders: Sequence[Path]) -> list[Path]:
    """Feature tables of the cases below batch folders (or the tables themselves), sorted by name."""
    found = [file for path in folders for file in ([path] if path.is_file() else path.rglob("sub-*_features.tsv"))]
    return sorted(found, key=lambda file: (file.name, str(file)))
