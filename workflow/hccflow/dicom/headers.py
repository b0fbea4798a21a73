"""Reading DICOM headers: which files make a series, and where each of its slices lies.

Values are read leniently, since hospital headers rarely follow the standard to the letter; what is missing stays
``None`` and the geometry check decides whether that matters.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.multival import MultiValue

# Without this every value representation that a scanner filled carelessly is a warning per file.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE

TAGS = (
    *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID"),
    *("PatientID", "PatientName", "PatientBirthDate", "InstitutionName"),
    *("Modality", "Manufacturer", "ManufacturerModelName", "MagneticFieldStrength", "RepetitionTime", "EchoTime"),
    *("FlipAngle", "KVP", "SliceThickness", "ContrastBolusAgent", "ImageType", "SeriesDescription", "SeriesNumber"),
    *("StudyDate", "SeriesDate", "SeriesTime", "AcquisitionDate", "AcquisitionTime", "ContentTime", "TriggerTime"),
    *("TemporalPositionIdentifier", "AcquisitionNumber", "InstanceNumber", "Rows", "Columns", "PixelSpacing"),
    *("ImagePositionPatient", "ImageOrientationPatient", "NumberOfFrames", "SamplesPerPixel", "BitsAllocated"),
    *("RescaleSlope", "RescaleIntercept", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    *("SegmentSequence", "ReferencedSeriesSequence", "StructureSetROISequence", "BurnedInAnnotation"),
)
#: What pydicom raises on files that are not DICOM, or no longer.
UNREADABLE = (
    *(InvalidDicomError, EOFError, ValueError, AttributeError, KeyError, TypeError, NotImplementedError),
    *(OSError, struct.error),
)
#: Files that may lie beside the images and are none.
NOT_IMAGES = frozenset({"series.tsv", "series_report.tsv", "subjects.tsv", "DICOMDIR"})


@dataclass(frozen=True)
class Header:
    """One file: its trimmed dataset, or none when it is not readable as DICOM."""

    path: Path
    dataset: Dataset | None
    complete: bool = True

    @property
    def series_uid(self) -> str:
        """SeriesInstanceUID, empty when it is missing."""
        return text(self.dataset, "SeriesInstanceUID")

    @property
    def kind(self) -> str:
        """``image``, ``seg``, ``rtstruct``, ``other`` (another DICOM object) or ``unreadable``."""
        if self.dataset is None:
            return "unreadable"
        modality = text(self.dataset, "Modality")
        if modality in ("SEG", "RTSTRUCT"):
            return modality.lower()
        return "image" if "Rows" in self.dataset and "Columns" in self.dataset else "other"


@dataclass(frozen=True)
class Plane:
    """One slice of a series: a classic file, or one frame of a multi-frame file."""

    path: Path
    frame: int | None
    sop_uid: str
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    spacing: tuple[float, ...] | None
    size: tuple[int, int]
    slope: float
    intercept: float
    order: dict[str, float] = field(compare=False)


def scan(path: Path) -> list[Header]:
    """Headers of a file, or of every file below a folder (hidden files and tables left out), sorted by path."""
    if path.is_file():
        return [read_header(path)]
    files = (p for p in path.rglob("*") if p.is_file() and p.name not in NOT_IMAGES)
    return [
        read_header(p) for p in sorted(files) if not any(part.startswith(".") for part in p.relative_to(path).parts)
    ]


def read_header(path: Path) -> Header:
    """Header of one file, without its pixels; says whether the pixel data are all there."""
    with path.open("rb") as handle:
        try:
            dataset = pydicom.dcmread(handle, stop_before_pixels=True, specific_tags=list(TAGS))
        except UNREADABLE:
            return Header(path, None)
        return Header(path, dataset, _pixels_complete(dataset, handle))


def members(headers: Sequence[Header], series_uid: str) -> list[Header]:
    """Headers of one series: image, SEG or RTSTRUCT objects with this SeriesInstanceUID (which may be empty)."""
    return [h for h in headers if h.kind in ("image", "seg", "rtstruct") and h.series_uid == series_uid]


def structure_labels(dataset: Dataset) -> list[str]:
    """Labels of the segments of a SEG (background left out), or names of the ROIs of an RTSTRUCT."""
    segments = [s for s in dataset.get("SegmentSequence") or [] if number(s, "SegmentNumber") != 0]
    rois = dataset.get("StructureSetROISequence") or []
    return [text(s, "SegmentLabel") for s in segments] + [text(roi, "ROIName") for roi in rois]


def transfer_syntax(dataset: Dataset) -> str:
    """Transfer syntax UID of a file, empty when its meta header lacks it."""
    return str(getattr(dataset, "file_meta", Dataset()).get("TransferSyntaxUID", ""))


def text(dataset: Dataset | None, name: str) -> str:
    """A tag as stripped text, empty when it is missing; several values are joined by a backslash."""
    value = None if dataset is None else dataset.get(name)
    if value is None:
        return ""
    if isinstance(value, MultiValue):
        return "\\".join(str(item) for item in value)
    return str(value).strip()


def numbers(dataset: Dataset | None, name: str, count: int) -> tuple[float, ...] | None:
    """A tag of `count` numbers, or None when it is missing or not that."""
    value = None if dataset is None else dataset.get(name)
    if value is None or value == "":
        return None
    try:
        found = tuple(float(v) for v in (value if isinstance(value, Iterable) else (value,)))
    except (TypeError, ValueError):
        return None
    return found if len(found) == count and all(abs(v) < float("inf") for v in found) else None


def number(dataset: Dataset | None, name: str) -> float | None:
    """A tag of one number, or None."""
    found = numbers(dataset, name, 1)
    return found[0] if found else None


def integer(dataset: Dataset | None, name: str) -> int:
    """A tag of one whole number, 0 when it is missing."""
    return int(number(dataset, name) or 0)


def seconds(clock: str) -> float | None:
    """A DICOM time or date-time (``[YYYYMMDD]HHMMSS[.f]``) as seconds, for ordering only."""
    digits, _, fraction = clock.split("+")[0].split("-")[0].partition(".")
    if not digits.isdigit() or len(digits) not in (6, 14):
        return None
    day, rest = (int(digits[:8]), digits[8:]) if len(digits) == 14 else (0, digits)
    return day * 86400.0 + int(rest[:2]) * 3600 + int(rest[2:4]) * 60 + int(rest[4:]) + float(f"0.{fraction or 0}")


def planes_of(header: Header) -> list[Plane]:
    """Slices of an image file: one, or one per frame of a multi-frame file."""
    dataset = header.dataset
    if dataset is None:
        return []
    if "PerFrameFunctionalGroupsSequence" in dataset:
        shared = dataset.get("SharedFunctionalGroupsSequence") or [Dataset()]
        frames = dataset.PerFrameFunctionalGroupsSequence
        return [_frame(header, index, frame, shared[0]) for index, frame in enumerate(frames)]
    order = {name: number(dataset, name) for name in ("TemporalPositionIdentifier", "AcquisitionNumber", "TriggerTime")}
    order |= {name: seconds(text(dataset, name)) for name in ("AcquisitionTime", "ContentTime")}
    order["EchoTime"] = number(dataset, "EchoTime")
    return [_plane(header, None, dataset, dataset, dataset, dataset, order)]


def _frame(header: Header, index: int, frame: Dataset, shared: Dataset) -> Plane:
    def group(name: str) -> Dataset:
        for holder in (frame, shared):
            if holder.get(name):
                return holder[name][0]
        return Dataset()

    content = group("FrameContentSequence")
    order = {
        "TemporalPositionIdentifier": number(content, "TemporalPositionIndex"),
        "AcquisitionNumber": number(content, "FrameAcquisitionNumber"),
        "AcquisitionTime": seconds(text(content, "FrameAcquisitionDateTime")),
        "EchoTime": number(group("MREchoSequence"), "EffectiveEchoTime"),
    }
    position, orientation = group("PlanePositionSequence"), group("PlaneOrientationSequence")
    measures, rescale = group("PixelMeasuresSequence"), group("PixelValueTransformationSequence")
    return _plane(header, index, position, orientation, measures, rescale, order)


def _plane(
    header: Header,
    frame: int | None,
    position: Dataset,
    orientation: Dataset,
    measures: Dataset,
    rescale: Dataset,
    order: dict[str, float | None],
) -> Plane:
    slope, intercept = number(rescale, "RescaleSlope"), number(rescale, "RescaleIntercept")
    return Plane(
        path=header.path,
        frame=frame,
        sop_uid=text(header.dataset, "SOPInstanceUID"),
        position=numbers(position, "ImagePositionPatient", 3),
        orientation=numbers(orientation, "ImageOrientationPatient", 6),
        spacing=numbers(measures, "PixelSpacing", 2),
        size=(integer(header.dataset, "Columns"), integer(header.dataset, "Rows")),
        slope=1.0 if slope is None else slope,
        intercept=intercept or 0.0,
        order={name: value for name, value in order.items() if value is not None},
    )


def _pixels_complete(dataset: Dataset, handle: BinaryIO) -> bool:
    """Whether the pixel data element, at whose tag `handle` stands, is as long as the header promises."""
    syntax = getattr(dataset, "file_meta", Dataset()).get("TransferSyntaxUID")
    pixels = integer(dataset, "Rows") * integer(dataset, "Columns")
    if syntax is None or not pixels or syntax == pydicom.uid.DeflatedExplicitVRLittleEndian:
        return True
    start = handle.tell()
    end = handle.seek(0, 2)
    if not syntax.is_compressed:
        frames, samples = integer(dataset, "NumberOfFrames") or 1, integer(dataset, "SamplesPerPixel") or 1
        bits = pixels * frames * samples * (integer(dataset, "BitsAllocated") or 16)
        return end - start - 8 >= bits // 8
    place = handle.seek(start + 12)  # tag, VR, reserved, undefined length: then items until the delimiter
    while place + 8 <= end:
        element, item, length = struct.unpack("<HHI", handle.read(8))
        if (element, item) != (0xFFFE, 0xE000):
            return (element, item) == (0xFFFE, 0xE0DD)
        place = handle.seek(place + 8 + length)
    return False
