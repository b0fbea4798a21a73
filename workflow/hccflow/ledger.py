"""The ledger of looks: every time a frozen model is judged on an external cohort, it is written down, for good.

One look is one frozen model on one state of a cohort; asking the same again is the same look. The ledger is committed;
it is the one output that bears a date and a user.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import getpass
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd

from hccflow.errors import TableError
from hccflow.tables import read_text_table, write_table

#: What makes a look the same look.
LOOK = ["cohort", "model", "freeze_digest", "cohort_digest"]
COLUMNS = ["date", *LOOK, "user", "reason"]
#: What of it may enter results: no date and no user.
SHOWN = [*LOOK, "reason"]
REASON = "HCCFLOW_LOOK_REASON"


def record_look(ledger: Path, look: Mapping[str, str], reason: str = "", note: str = "") -> pd.DataFrame:
    """Append a look unless it stands there already; return the looks of this model at this cohort, oldest first.

    Parameters
    ----------
    ledger : Path
        ``ledger/<study>.tsv``; made when it is not there.
    look : mapping
        ``cohort, model, freeze_digest, cohort_digest``.
    reason : str
        Why; the environment variable HCCFLOW_LOOK_REASON where it is empty.
    note : str
        What the program has to say about this look; stands in brackets after the reason.

    Returns
    -------
    pandas.DataFrame
        The columns `SHOWN`.
    """
    ledger.parent.mkdir(parents=True, exist_ok=True)
    with _locked(ledger.parent):
        table = read_text_table(ledger) if ledger.is_file() else pd.DataFrame(columns=COLUMNS, dtype=str)
        if list(table.columns) != COLUMNS:
            raise TableError(
                "not a ledger of looks", where=ledger, expected=", ".join(COLUMNS), found=list(table.columns)
            )
        if not (table[LOOK] == pd.Series(dict(look))[LOOK]).all(axis=1).any():
            text = " ".join(f"{reason or os.environ.get(REASON, '')} {f'[{note}]' if note else ''}".split())
            today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
            row = {"date": today, **look, "user": _user(), "reason": text}
            table = pd.concat([table, pd.DataFrame([row])[COLUMNS]], ignore_index=True)
            write_table(table, ledger)
    mine = table[(table["cohort"] == look["cohort"]) & (table["model"] == look["model"])]
    return mine[SHOWN].reset_index(drop=True)


def _user() -> str:
    """Who looks; empty in a container whose user has no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a lock on the folder itself, which leaves no lock file behind."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
