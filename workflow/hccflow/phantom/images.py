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
from hccflow.phantom.contrast import CHANNELS, SEG_NUMBER
from hccflow.phantom.faults import planted_faults
from hccflow.phantom.identity import Identity, identity
from hccflow.phantom.parameters import Parameters, Scanner
from hccflow.phantom.people import Person, Visit, person, visits
from hccflow.phantom.series import scan_series
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
    write_table(index, folder / "series.tsv", sort_by=["subject", "session", "name"])
    return index


def series_folder(who: Identity, scanner: Scanner, modality: str, name: str) -> Path:
    """Folder of a series (of a channel, or ``seg``) below the cohort's DICOM folder."""
    if name == "seg":
        last = f"{SEG_NUMBER:04d}_SEG"
    else:
        last = f"{CHANNELS[modality][name].number:04d}_{scanner.description(name).replace(' ', '_')}"
    return Path(who.patient_folder, who.study_folder, last)


def _write_subject(p: Parameters, root: Path, subject: str) -> list[dict[str, Any]]:
    one = person(p, subject, p.subjects()[subject])
    # Beside first, then renamed: a folder with the patient's name is whole.
    patient = identity(p, one).patient_folder
    part, final = root / f".{patient}.part", root / patient
    for old in (part, final):
        if old.exists():
            shutil.rmtree(old)
    written = [_write_scan(p, part, one, visit) for visit in visits(p, one)]
    part.rename(final)
    return [row for visit, names in written for row in _index_rows(p, root, one, visit, names)]


def _write_scan(p: Parameters, part: Path, one: Person, visit: Visit) -> tuple[Visit, list[str]]:
    """Write one scan below the patient's folder; returns the channels that are there."""
    scanner, who, modality = p.scanners[one.site], identity(p, one, visit), p.design.modality
    phases, seg = scan_series(who, scanner, modality, draw_anatomy(p, one, visit))
    first = p.design.channels[0]
    if p.has_fault("missing_portal", one.subject):
        del phases["portal"]
    files = {name: _numbered(slices) for name, slices in phases.items()}
    middle = f"IM{len(phases[first]) // 2:04d}.dcm"
    if p.has_fault("missing_slice", one.subject):
        del files[first][middle]
    if p.has_fault("truncated_file", one.subject):
        whole = files[first][middle]
        files[first][middle] = whole[: len(whole) - scanner.matrix[0] * scanner.matrix[1]]
    for name, contents in {**files, "seg": {SEG_FILE: seg}}.items():
        folder = part / series_folder(who, scanner, modality, name).relative_to(who.patient_folder)
        folder.mkdir(parents=True)
        for file, content in contents.items():
            (folder / file).write_bytes(content)
    return visit, list(files)


def _numbered(slices: list[bytes]) -> dict[str, bytes]:
    return {f"IM{i + 1:04d}.dcm": content for i, content in enumerate(slices)}


def _index_rows(p: Parameters, root: Path, one: Person, visit: Visit, names: list[str]) -> list[dict[str, Any]]:
    scanner, who = p.scanners[one.site], identity(p, one, visit)
    case = (one.subject, visit.session)
    rows = []
    for name in names:
        relative = series_folder(who, scanner, p.design.modality, name)
        paths = sorted((root / relative).iterdir())
        rows.append(_row(case, name, "image", relative, who.series_uids[name], "", paths))
    relative = series_folder(who, scanner, p.design.modality, "seg") / SEG_FILE
    for segment in SEGMENTS:
        rows.append(_row(case, segment, "mask", relative, who.series_uids["seg"], segment, [root / relative]))
    return rows


def _row(
    case: tuple[str, str], name: str, kind: str, relative: Path, series_uid: str, segment: str, paths: list[Path]
) -> dict[str, Any]:
    return {
        "subject": case[0],
        "session": case[1],
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
