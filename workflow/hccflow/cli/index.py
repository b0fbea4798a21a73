"""Look through a folder of DICOM or NIfTI files and propose its index.

Writes beside the images: series.tsv (which series is which channel or structure; edit the column `name`),
series_report.tsv (every series seen, and why it was taken or not) and subjects.tsv (which subject is which patient).
All three hold what may identify a patient: they stay where the images are, and never enter git.
Names, subjects and sessions that you edit are kept when the command runs again.

With --participants, hospital identifiers are matched to pseudonyms by subjects.tsv (columns source and subject): run
once, write the subject beside each source (PatientID or folder name) that has none, and run again. A key table that you
have can be put there before the first run.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--images", type=Path, required=True, help="folder to look through")
    parser.add_argument(
        "--participants",
        type=Path,
        help="participants table: only its subjects are taken, found by a column source_id, else by subject",
    )


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    import pandas as pd

    from hccflow.index import check_unique, index_images, keep_edits
    from hccflow.tables import read_table, read_text_table, write_table

    known: dict[str, str] = {}
    sessions: dict[str, list[str]] = {}
    if args.participants is not None:
        people = read_text_table(args.participants)
        known = dict(zip(people["source_id" if "source_id" in people else "subject"], people["subject"], strict=True))
        sessions = {str(subject): sorted(rows["session"]) for subject, rows in people.groupby("subject")}
    mapping = args.images / "subjects.tsv"
    key: dict[str, str] = {}
    if mapping.is_file():
        key = _read_key(mapping, people=set(known.values()) if args.participants is not None else None)
        known |= {source: subject for source, subject in key.items() if subject}
    series, report, subjects = index_images(args.images, known, sessions, closed=args.participants is not None)
    target = args.images / "series.tsv"
    if target.is_file():
        series = keep_edits(series, read_table(target, "series"))
    check_unique(series)
    write_table(series, target, sort_by=["subject", "session", "kind", "name"])
    write_table(report, args.images / "series_report.tsv", sort_by=["subject", "session", "path"])
    write_table(pd.DataFrame(sorted((key | subjects).items()), columns=["source", "subject"]), mapping)
    taken = int(report["taken"].sum())
    log.info(
        "%d of %d series of %d subjects taken; read series_report.tsv, then edit the names in series.tsv",
        taken, len(report), series["subject"].nunique(),
    )  # fmt: skip
    strangers = sum(not subject for subject in subjects.values())
    if strangers:
        log.warning(
            "%d of %d patients are no participants. Where that is wrong, write the subject beside the source in %s "
            "(it stays with the images, never in git) and run the same command again",
            strangers, len(subjects), mapping,
        )  # fmt: skip


def _read_key(path: Path, people: set[str] | None) -> dict[str, str]:
    """Subject by source of a key table; a subject that is no participant is a slip of the pen."""
    from hccflow.errors import TableError
    from hccflow.tables import read_text_table

    table = read_text_table(path)
    if not {"source", "subject"} <= set(table.columns):
        raise TableError("not a key table", where=path, expected="columns source, subject", found=list(table.columns))
    odd = sorted(set(table["subject"]) - people - {""}) if people is not None else []
    if odd:
        raise TableError(
            "a subject of the key table is no participant", where=path, found=", ".join(odd[:5]),
            todo="correct it, or add it to participants.tsv",
        )  # fmt: skip
    return dict(zip(table["source"], table["subject"], strict=True))
