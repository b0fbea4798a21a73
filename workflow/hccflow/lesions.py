"""The lesions table: what each reader measured, from which response criteria derive the label."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from hccflow.errors import DataAbsentError, TableError
from hccflow.tables import read_table

#: One measurement.
KEY = ["subject", "reader", "timepoint", "days", "lesion"]


def needs_lesions(endpoint: Mapping[str, Any]) -> bool:
    """Whether an endpoint (a value of `endpoints` in the configuration) is derived from lesions."""
    return endpoint["kind"] == "binary" and endpoint.get("source", "column") not in ("column", "horizon")


def is_read(endpoint: Mapping[str, Any]) -> bool:
    """Whether somebody has read or recorded an endpoint's label, and may have known the predictors."""
    return endpoint["kind"] == "binary" and endpoint.get("source", "column") != "horizon"


def demand_lesions(endpoints: Mapping[str, Any], where: object) -> None:
    """Refuse a cohort without lesions when an endpoint is derived from them."""
    for name, spec in endpoints.items():
        if needs_lesions(spec):
            raise DataAbsentError(
                f"endpoint '{name}' is derived from lesions, and there are none", where=where,
                todo="add lesions.tsv to the cohort, or use another source",
            )  # fmt: skip


def check_lesions(lesions: pd.DataFrame, subjects: Iterable[str], where: object) -> None:
    """Refuse a measurement that stands twice, and one of a subject that is no participant."""
    twice = lesions.duplicated(KEY)
    if twice.any():
        row = lesions[twice].iloc[0]
        raise TableError(
            "a lesion was measured twice", where=where, expected=f"one row per {', '.join(KEY)}",
            found=f"subject {row['subject']}, reader {row['reader']}, {row['timepoint']}, lesion {row['lesion']}",
        )  # fmt: skip
    unknown = sorted(set(lesions["subject"]) - set(subjects))
    if unknown:
        raise TableError(
            "a subject with lesions is no participant", where=where, found=", ".join(unknown[:5]),
            todo="correct the identifier, or add the subject to participants.tsv",
        )  # fmt: skip


def check_lesions_file(path: Path, subjects: Iterable[str], endpoints: Mapping[str, Any]) -> None:
    """Check the lesions table of a cohort before any compute: enrol reads it only after the images were converted.

    Raises
    ------
    DataAbsentError
        An endpoint needs lesions and there are none.
    TableError
        A column is missing, a value lies outside its domain, a measurement stands twice, or its subject is unknown.
    """
    if path.is_file():
        check_lesions(read_table(path, "lesions"), subjects, path)
    else:
        demand_lesions(endpoints, path)
