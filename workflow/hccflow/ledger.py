"""Ledgers: what was looked at and what was tried, written down for good.

Looks: every time a frozen model is judged on an external cohort. One look is one frozen model on one state of a cohort.
Variants: every model that an experiment has trained. One variant is one entry of the configuration.
Primary comparisons: those that were in force when an external cohort was judged.
Asking the same again is the same row. The ledgers are committed; they are the one output that bears a date and a user.
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
#: A primary comparison that was in force when a cohort was judged.
PRIMARY = ["cohort", "primary"]
IN_FORCE = ["date", *PRIMARY, "user"]
REASON = "HCCFLOW_LOOK_REASON"
#: A variant that was tried: its sweep, base, name and changes, and the digest of its whole entry.
VARIANT = ["sweep", "base", "variant", "changes", "digest"]
TRIED = ["date", *VARIANT, "user"]


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
    text = " ".join(f"{reason or os.environ.get(REASON, '')} {f'[{note}]' if note else ''}".split())
    table = _append(ledger, COLUMNS, LOOK, {**look, "reason": text})
    mine = table[(table["cohort"] == look["cohort"]) & (table["model"] == look["model"])]
    return mine[SHOWN].reset_index(drop=True)


def record_variant(ledger: Path, variant: Mapping[str, str]) -> None:
    """Append a variant that is about to be trained, unless its entry stands there already under whatever name.

    Parameters
    ----------
    ledger : Path
        ``ledger/<study>.variants.tsv``; made when it is not there.
    variant : mapping
        The columns `VARIANT`.
    """
    _append(ledger, TRIED, ["base", "digest"], variant)


def record_primary(ledger: Path, cohort: str, primary: str) -> pd.DataFrame:
    """Append the primary comparison under which a cohort is judged, unless it stands there for this cohort already.

    Parameters
    ----------
    ledger : Path
        ``ledger/<study>.primary.tsv``; made when it is not there.
    cohort : str
        A cohort that is not for development.
    primary : str
        See `primary_words`.

    Returns
    -------
    pandas.DataFrame
        Those under which this cohort was ever judged, oldest first (columns `PRIMARY`).
    """
    table = _append(ledger, IN_FORCE, PRIMARY, {"cohort": cohort, "primary": primary})
    return table.loc[table["cohort"] == cohort, PRIMARY].reset_index(drop=True)


def primary_words(primary: Mapping[str, str | None]) -> str:
    """Write the section ``primary`` of a configuration as one line, the same whatever the order of its keys."""
    return ", ".join(f"{key} {primary[key]}" for key in sorted(primary) if primary[key] is not None)


def read_variants(ledger: Path) -> pd.DataFrame:
    """Variants that were ever tried, oldest first, without date and user (columns `VARIANT`)."""
    return _read(ledger, TRIED)[VARIANT]


def _append(ledger: Path, columns: list[str], same: list[str], row: Mapping[str, str]) -> pd.DataFrame:
    """Append a row, with date and user, unless one that is equal in the columns `same` is there; return the ledger."""
    ledger.parent.mkdir(parents=True, exist_ok=True)
    with _locked(ledger.parent):
        table = _read(ledger, columns)
        if not (table[same] == pd.Series(dict(row))[same]).all(axis=1).any():
            today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
            new = pd.DataFrame([{"date": today, **row, "user": _user()}])[columns]
            table = pd.concat([table, new], ignore_index=True)
            write_table(table, ledger)
    return table


def _read(ledger: Path, columns: list[str]) -> pd.DataFrame:
    table = read_text_table(ledger) if ledger.is_file() else pd.DataFrame(columns=columns, dtype=str)
    if list(table.columns) != columns:
        raise TableError(
            "not a ledger of this kind", where=ledger, expected=", ".join(columns), found=list(table.columns)
        )
    return table


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
