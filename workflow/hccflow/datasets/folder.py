"""What every adapter does: find the published files, and write a cohort folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from hccflow.errors import DataAbsentError, TableError
from hccflow.ids import assign_batch, check_id
from hccflow.tables import write_table, write_text


def find_one(source: Path, name: str) -> Path:
    """Return the one file or folder below `source` with this name (or relative path ``a/b``).

    Raises
    ------
    DataAbsentError
        None, or several.
    """
    found = sorted(path for path in source.glob(f"**/{name}"))
    if len(found) != 1:
        raise DataAbsentError(
            f"'{name}' is not there" if not found else f"'{name}' is there {len(found)} times", where=source,
            expected="the folder of the unpacked data set", todo="check --source",
        )  # fmt: skip
    return found[0]


def subject_key(text: str) -> str:
    """Subject identifier without the characters that identifiers may not have: ``HCC_001`` becomes ``HCC001``."""
    return check_id("subject", text.replace("_", "").replace("-", ""))


def write_cohort(folder: Path, card: Mapping[str, Any], participants: pd.DataFrame) -> None:
    """Write ``cohort.yaml`` and ``participants.tsv``; batches come from the subjects' names.

    Parameters
    ----------
    folder : Path
        Folder of the cohort.
    card : mapping
        Content of the card (schema ``cohort``).
    participants : pandas.DataFrame
        ``subject``, ``site`` and the clinical columns.
    """
    table = participants.copy()
    if table["subject"].duplicated().any():
        raise TableError(
            "a subject stands twice", where=folder.name, found=table["subject"][table["subject"].duplicated()]
        )
    table.insert(1, "session", "")
    table.insert(3, "batch", [assign_batch(subject, card["batches"]) for subject in table["subject"]])
    write_text(folder / "cohort.yaml", yaml.safe_dump(dict(card), sort_keys=False, allow_unicode=True, width=120))
    write_table(table, folder / "participants.tsv", sort_by=["subject"])
