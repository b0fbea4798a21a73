"""Writing a cohort's DICOM as a hospital exports it, with its faults, and the index beside it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from hccflow.errors import HccflowError
from hccflow.phantom.anatomy import draw_anatomy
from hccflow.phantom.faults import planted_faults
from hccflow.phantom.identity import Identity, identity
from hccflow.phantom.parameters import Parameters, Scanner
from hccflow.phantom.people import person
from hccflow.phantom.series import PHASE_NUMBER, SEG_NUMBER, subject_series
from hccflow.provenance import series_digest
from hccflow.tables import write_table

SEG_FILE = "IM0001.dcm"
SEGMENTS = ("liver", "tumour")


def write_cohort(card: Mapping[str, Any], folder: str | Path, *, jobs: int = 1) -> pd.DataFrame:
    """Write a cohort's DICOM and, last, ``series.tsv``.

    Parameters
    ----------
    card : mapping
        The cohort's card.
    folder : path
        Made if needed. A patient's folder that is there already is replaced; nothing else is touched.
    jobs : int
        Processes.

    Returns
    -------
    pandas.DataFrame
        The index: what is on disk, faults included (schema ``series``). The path of an image is its folder, that of a
        mask its file.

    Raises
    ------
    ConfigError
        The card is not a valid phantom card.
    HccflowError
        `jobs` is not positive.
    """
    p = Parameters.from_card(card)
    planted_faults(p)
    if jobs < 1:
        raise HccflowError("too few processes", where="--jobs", expected="at least 1", found=jobs)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write = partial(_write_subject, p, folder)
    subjects = list(p.subjects())
    if jobs == 1:
        parts = [write(subject) for subject in subjects]
    else:
        with ProcessPoolExecutor(jobs) as pool:
            parts = list(pool.map(write, subjects, chunksize=4))
    index = pd.DataFrame([row for rows in parts for row in rows])
    write_table(index, folder / "series.tsv", sort_by=["subject", "name"])
    return index


def series_folder(who: Identity, scanner: Scanner, name: str) -> Path:
    """Folder of a series (``arterial``, ``portal`` or ``seg``) below the cohort's DICOM folder."""
    if name == "seg":
        last = f"{SEG_NUMBER:04d}_SEG"
    else:
        last = f"{PHASE_NUMBER[name]:04d}_{getattr(scanner, name).replace(' ', '_')}"
    return Path(who.patient_folder, who.study_folder, last)


def _write_subject(p: Parameters, root: Path, subject: str) -> list[dict[str, Any]]:
    one = person(p, subject, p.subjects()[subject])
    scanner, who = p.scanners[one.site], identity(p, one)
    phases, seg = subject_series(subject, who, scanner, draw_anatomy(p, one))
    if p.has_fault("missing_portal", subject):
        del phases["portal"]
    files = {name: _numbered(slices) for name, slices in phases.items()}
    middle = f"IM{len(phases['arterial']) // 2:04d}.dcm"
    if p.has_fault("missing_slice", subject):
        del files["arterial"][middle]
    if p.has_fault("truncated_file", subject):
        whole = files["arterial"][middle]
        files["arterial"][middle] = whole[: len(whole) - scanner.matrix[0] * scanner.matrix[1]]
    # Beside first, then renamed: a folder with the patient's name is whole.
    part = root / f".{who.patient_folder}.part"
    final = root / who.patient_folder
    for old in (part, final):
        if old.exists():
            shutil.rmtree(old)
    for name, contents in {**files, "seg": {SEG_FILE: seg}}.items():
        folder = part / series_folder(who, scanner, name).relative_to(who.patient_folder)
        folder.mkdir(parents=True)
        for file, content in contents.items():
            (folder / file).write_bytes(content)
    part.rename(final)
    return _index_rows(root, subject, who, scanner, list(files))


def _numbered(slices: list[bytes]) -> dict[str, bytes]:
    return {f"IM{i + 1:04d}.dcm": content for i, content in enumerate(slices)}


def _index_rows(root: Path, subject: str, who: Identity, scanner: Scanner, phases: list[str]) -> list[dict[str, Any]]:
    rows = []
    for phase in phases:
        relative = series_folder(who, scanner, phase)
        paths = sorted((root / relative).iterdir())
        rows.append(_row(subject, phase, "image", relative, who.series_uids[phase], "", paths))
    relative = series_folder(who, scanner, "seg") / SEG_FILE
    for segment in SEGMENTS:
        rows.append(_row(subject, segment, "mask", relative, who.series_uids["seg"], segment, [root / relative]))
    return rows


def _row(
    subject: str, name: str, kind: str, relative: Path, series_uid: str, segment: str, paths: list[Path]
) -> dict[str, Any]:
    return {
        "subject": subject,
        "session": "",
        "name": name,
        "kind": kind,
        "format": "dicom" if kind == "image" else "seg",
        "path": relative.as_posix(),
        "series_uid": series_uid,
        "segment": segment,
        "value": "",
        "n_files": len(paths),
        "sha256": series_digest(paths),
    }
