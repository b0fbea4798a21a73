"""The index of a cohort's images, ``series.tsv``: which series is which channel, and the digest of its bytes.

Everything found is reported with the reason why it was taken or not; names are proposals for the user to edit. The
tables hold UIDs and hospital paths, so they stay beside the images.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import SimpleITK as sitk  # noqa: N813 - its usual name

from hccflow.dicom.headers import Header, integer, scan, seconds, structure_labels, text
from hccflow.dicom.series import volumes_of
from hccflow.errors import DataAbsentError, HccflowError, TableError
from hccflow.ids import SUBJECT
from hccflow.images import read_image
from hccflow.naming import channel_name, dynamic_name, is_mask_name, structure_name
from hccflow.provenance import series_digest

SERIES = ["subject", "session", "name", "kind", "format", "path", "series_uid", "segment", "value", "n_files", "sha256"]
REPORT = ["subject", "session", "path", "series_uid", "modality", "description", "n_files", "taken", "names", "reason"]
#: A label map with more values than this is not proposed value by value.
MAX_LABELS = 20
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
#: Values of ImageType that say that a series is no scan of its own.
NOT_SCANS = frozenset({"LOCALIZER", "SCREEN SAVE", "PROJECTION IMAGE", "MIP", "MINIP", "SCOUT", "REPORT"})


@dataclass
class Found:
    """One series, or one NIfTI file: where it is, whose it is, and what it could be."""

    path: Path
    files: list[Path]
    #: Identifiers that may say whose it is: PatientID or BIDS label first, then the folders, the nearest first.
    sources: list[str]
    session: str = ""
    kind: str = "image"
    format: str = "dicom"
    series_uid: str = ""
    modality: str = ""
    description: str = ""
    study: str = ""
    when: tuple[str, float] = ("", 0.0)
    slices: int = 0
    source: str = ""
    #: Proposals: (name, segment, value).
    proposals: list[tuple[str, str, int | None]] = field(default_factory=list)
    reason: str = ""


def index_images(
    images: Path, known: Mapping[str, str], sessions: Mapping[str, list[str]], *, closed: bool
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, str]]:
    """Look through a folder of DICOM or NIfTI files and propose its index.

    Parameters
    ----------
    images : Path
        Folder to look through, with everything below it.
    known : mapping
        Subject by source identifier (PatientID, folder name or BIDS label), as far as it is known.
    sessions : mapping
        Sessions by subject in the order of time, as far as they are known.
    closed : bool
        Whether a source that is not in `known` is left out (a participants table was given) or gets a new subject.

    Returns
    -------
    series : DataFrame
        Rows of ``series.tsv``.
    report : DataFrame
        One row for every series seen, with the reason why it was taken or not.
    subjects : dict
        Subject by source identifier, for every source with something to take; empty where it is not known.
    """
    if not images.is_dir():
        raise DataAbsentError("folder of images not found", where=images)
    found = [*_dicom(images), *_nifti(images)]
    subjects = _assign_subjects(found, known, closed)
    _number_sessions(found, subjects, sessions)
    rows: list[dict[str, object]] = []
    report: list[dict[str, object]] = []
    names: dict[tuple[str, str], set[tuple[str, str]]] = defaultdict(set)
    for item in sorted(found, key=lambda f: (f.source, f.session, f.kind, -f.slices, f.when, str(f.path))):
        subject = subjects.get(item.source, "")
        taken = []
        where = item.path.relative_to(images).as_posix()
        if item.proposals and not subject:
            item.reason = "no participant of this identifier: give it a subject in subjects.tsv"
        elif item.proposals:
            digest = series_digest(item.files)
            for name, segment, value in item.proposals:
                unique = _unique(name, item.kind, names[subject, item.session])
                taken.append(unique)
                rows.append(dict(zip(SERIES, (
                    subject, item.session, unique, item.kind, item.format, where, item.series_uid, segment, value,
                    len(item.files), digest,
                ), strict=True)))  # fmt: skip
        report.append(dict(zip(REPORT, (
            subject, item.session, where, item.series_uid, item.modality, item.description, len(item.files),
            int(bool(taken)), ",".join(taken), item.reason or "taken",
        ), strict=True)))  # fmt: skip
    series = pd.DataFrame(rows, columns=SERIES).astype({"value": "Int64", "n_files": "Int64"})
    return series, pd.DataFrame(report, columns=REPORT), subjects


def keep_edits(series: pd.DataFrame, before: pd.DataFrame) -> pd.DataFrame:
    """Carry the user's names, subjects and sessions of an earlier index over to a new one."""
    key = ["path", "series_uid", "segment", "value"]
    keyed = {tuple(map(str, row)): i for i, row in enumerate(before[key].itertuples(index=False))}
    out = series.copy()
    for i, row in enumerate(series[key].itertuples(index=False)):
        old = keyed.get(tuple(map(str, row)))
        if old is not None:
            for column in ("subject", "session", "name"):
                out.loc[out.index[i], column] = before[column].iloc[old]
    return out


def check_unique(series: pd.DataFrame) -> None:
    """Refuse an index in which one case has two series of one name."""
    twice = series.duplicated(["subject", "session", "name", "kind"])
    if twice.any():
        row = series[twice].iloc[0]
        raise TableError(
            "one case has two series of one name", found=f"{row['subject']} {row['session']} {row['name']}",
            todo="rename one of them in series.tsv",
        )  # fmt: skip


def _unique(name: str, kind: str, taken: set[tuple[str, str]]) -> str:
    """A name that this case does not have yet: the larger series keeps the plain one."""
    free = name
    count = 2
    while (kind, free) in taken:
        free = f"{name[:13]}x{count}"
        count += 1
    taken.add((kind, free))
    return free


def _assign_subjects(found: list[Found], known: Mapping[str, str], closed: bool) -> dict[str, str]:
    """Choose each item's source, the first of its identifiers that is known, and give every source its subject."""
    subjects = {_letters(source): subject for source, subject in known.items()}
    for item in found:
        item.source = next((s for s in item.sources if _letters(s) in subjects), item.sources[0])
    sources = sorted({item.source for item in found if item.proposals})
    if not closed:
        used = set(subjects.values())
        free = (name for n in range(1, 10**6) if (name := f"P{n:04d}") not in used)
        for source in sources:
            bids = source.removeprefix("sub-")
            own = source.startswith("sub-") and re.fullmatch(SUBJECT, bids) and bids not in used
            subjects.setdefault(_letters(source), bids if own else next(free))
            used.add(subjects[_letters(source)])
    return {source: subjects.get(_letters(source), "") for source in sources}


def _letters(source: str) -> str:
    return re.sub(r"[^A-Za-z0-9]", "", source.removeprefix("sub-"))


def _number_sessions(found: list[Found], subjects: Mapping[str, str], sessions: Mapping[str, list[str]]) -> None:
    """DICOM studies of one subject become its sessions in the order of time; a single study has none of its own."""
    studies: dict[str, dict[str, tuple[str, float]]] = defaultdict(dict)
    for item in found:
        if item.study and item.kind == "image" and item.proposals:
            known = studies[item.source].get(item.study, item.when)
            studies[item.source][item.study] = min(known, item.when)
    for item in found:
        if not item.study:
            continue
        ordered = sorted(studies[item.source], key=lambda s, of=studies[item.source]: of[s])  # type: ignore[misc]
        names = sessions.get(subjects.get(item.source, ""), [])
        if len(names) != len(ordered):
            names = [""] if len(ordered) <= 1 else [f"{n + 1}" for n in range(len(ordered))]
        # masks are often written into a study of their own
        item.session = names[ordered.index(item.study)] if item.study in ordered else (names[0] if names else "")


def _dicom(images: Path) -> list[Found]:
    groups: dict[tuple[str, str, str], list[Header]] = defaultdict(list)
    for header in scan(images):
        if not _is_nifti(header.path):
            alone = "" if header.series_uid else str(header.path.parent)
            groups[header.kind, header.series_uid, alone].append(header)
    found = []
    for (kind, _, _), members in groups.items():
        for number, part in enumerate(_places(kind, members)):
            item = _object(images, kind, part)
            if number and kind == "image":
                item.proposals, item.reason = [], "a copy of instances that another folder holds"
            found.append(item)
    return found


def _places(kind: str, members: list[Header]) -> list[list[Header]]:
    """Split a group where a folder only repeats instances (a copy), and masks into their files."""
    if kind in ("seg", "rtstruct"):
        return [[header] for header in members]
    folders: dict[Path, list[Header]] = defaultdict(list)
    for header in members:
        folders[header.path.parent].append(header)
    parts: list[list[Header]] = [[]]
    seen: set[str] = set()
    for folder in sorted(folders):
        instances = {text(h.dataset, "SOPInstanceUID") for h in folders[folder]} - {""}
        if instances & seen:
            parts.append(folders[folder])
        else:
            parts[0] += folders[folder]
        seen |= instances
    return parts


def _object(images: Path, kind: str, members: list[Header]) -> Found:
    """One DICOM series with its proposals, or with the reason why there are none."""
    first = members[0].dataset
    path = members[0].path if len(members) == 1 else _common({h.path.parent for h in members})
    folders = members[0].path.parent.relative_to(images).parts[::-1]
    item = Found(
        path=path,
        files=[h.path for h in members],
        sources=[s for s in (text(first, "PatientID"), *folders) if s] or ["unknown"],
        kind="image" if kind == "image" else "mask",
        format="dicom" if kind == "image" else kind,
        series_uid=members[0].series_uid,
        modality=text(first, "Modality"),
        description=" ".join(text(first, "SeriesDescription").split()),
        study=text(first, "StudyInstanceUID"),
        when=(text(first, "StudyDate") or text(first, "SeriesDate"), seconds(text(first, "AcquisitionTime")) or 0.0),
    )
    if kind == "unreadable":
        item.reason = "not readable as DICOM"
    elif kind == "other":
        item.reason = "no image, segmentation or structure set"
    elif kind == "image":
        _propose_image(item, members)
    else:
        labels = structure_labels(first) if first is not None else []
        item.proposals = [(structure_name(label) or _slug(label, "mask"), label, None) for label in labels]
        item.reason = "" if labels else "no segment or contour in it"
    return item


def _propose_image(item: Found, members: list[Header]) -> None:
    dataset = members[0].dataset
    kinds = {word.upper() for word in text(dataset, "ImageType").split("\\")}
    if text(dataset, "SOPClassUID").startswith(SECONDARY_CAPTURE):
        item.reason = "a secondary capture, not a scan"
    elif kinds & NOT_SCANS:
        item.reason = f"image type {sorted(kinds & NOT_SCANS)[0].lower()}"
    else:
        try:
            stacks, notes = volumes_of(members)
        except HccflowError as error:
            item.reason = str(error)
            return
        item.reason, item.slices = "; ".join(["taken", *notes]), stacks[0].size[2]
        plain = channel_name(item.description) or _slug(f"series{integer(dataset, 'SeriesNumber') or ''}", "series")
        if len(stacks) == 1:
            item.proposals = [(plain, "", None)]
        else:
            item.reason += f"; {len(stacks)} volumes in the order of time"
            item.proposals = [(dynamic_name(n, len(stacks)), "", n) for n in range(1, len(stacks) + 1)]


def _common(folders: Iterable[Path]) -> Path:
    same = [level[0] for level in zip(*(folder.parts for folder in folders), strict=False) if len(set(level)) == 1]
    return Path(*same)


def _slug(label: str, otherwise: str) -> str:
    slug = re.sub(r"[^a-z0-9]", "", label.lower())[:16]
    return slug if re.match(r"[a-z]", slug) else f"{otherwise}{slug}"[:16]


def _is_nifti(path: Path) -> bool:
    return path.name.endswith((".nii", ".nii.gz"))


def _nifti(images: Path) -> list[Found]:
    found = []
    for path in sorted(p for p in images.rglob("*") if p.is_file() and _is_nifti(p) and not p.name.startswith(".")):
        parts = path.relative_to(images).parts
        stem = parts[-1].removesuffix(".gz").removesuffix(".nii")
        labelled = [part for part in (*parts[:-1], *stem.split("_")) if re.fullmatch(r"sub-[A-Za-z0-9]+", part)]
        session = [part[4:] for part in (*parts[:-1], *stem.split("_")) if re.fullmatch(r"ses-[A-Za-z0-9]+", part)]
        words = "_".join(word for word in stem.split("_") if not re.match(r"(sub|ses)-", word))
        item = Found(
            path=path,
            files=[path],
            sources=[*labelled, *parts[-2::-1], stem.split("_")[0]],
            session=session[0] if session else "",
            kind="mask" if is_mask_name(words) else "image",
            format="nifti",
            description=words,
        )
        try:
            _propose_nifti(item, words)
        except HccflowError as error:
            item.reason = error.what
        found.append(item)
    return found


def _propose_nifti(item: Found, words: str) -> None:
    image = read_image(item.path)
    if image.GetNumberOfComponentsPerPixel() > 1 or image.GetDimension() not in (3, 4):
        item.reason = "not a grey volume"
        return
    count = image.GetSize()[3] if image.GetDimension() == 4 else 1
    item.slices, item.reason = image.GetSize()[2], "taken"
    if item.kind == "image":
        name = channel_name(words) or _slug(words, "image")
        item.proposals = [(name, "", None)] if count == 1 else [
            (dynamic_name(n, count), "", n) for n in range(1, count + 1)
        ]  # fmt: skip
        return
    values = np.unique(sitk.GetArrayFromImage(image))
    values = values[values != 0]
    name = structure_name(words) or _slug(f"mask{channel_name(words)}", "mask")
    if not values.size or values.size > MAX_LABELS or (values != np.rint(values)).any() or count > 1:
        item.reason = f"a mask with {values.size} values" if values.size else "an empty mask"
    elif values.size == 1:
        item.proposals = [(name, "", None)]
    else:
        item.proposals = [(f"{name[:12]}v{int(value)}", "", int(value)) for value in values]
        item.reason = "taken; a label map, one row for each value"
