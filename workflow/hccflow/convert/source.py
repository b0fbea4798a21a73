"""Reading one row of ``series.tsv``: find its files, check their bytes, and turn them into a volume.

Reasons and notes made here reach manifests, so they name channels and counts, never paths, UIDs, names or dates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import SimpleITK as sitk  # noqa: N813 - its usual name

from hccflow.convert.dcm2niix import convert_stack
from hccflow.dicom.headers import Header, members, scan, text
from hccflow.dicom.series import volumes_of
from hccflow.errors import DataAbsentError, GeometryError, HccflowError
from hccflow.images import affine_of, make_image, read_image
from hccflow.provenance import series_digest


@dataclass(frozen=True)
class Volume:
    """One converted channel."""

    image: sitk.Image
    header: Header | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def frame_of_reference(self) -> str:
        """FrameOfReferenceUID, empty when it is not known."""
        return text(self.header.dataset, "FrameOfReferenceUID") if self.header else ""


class Files:
    """The files that the rows of one case name, each folder read once, each series checked against its digest.

    Parameters
    ----------
    root : Path
        Folder of ``series.tsv``.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._headers: dict[Path, list[Header]] = {}

    def of(self, row: pd.Series) -> list[Header]:
        """Headers of the files of a row, verified (for NIfTI one entry without a dataset).

        Raises
        ------
        DataAbsentError
            The path does not exist, lies outside the folder, or holds nothing of this series.
        HccflowError
            The bytes are not those that were indexed, or cannot be read.
        """
        path = self.root / row["path"]
        if not path.resolve().is_relative_to(self.root.resolve()) or not path.exists():
            raise DataAbsentError("the files are not there", todo="run hccflow index")
        if row["format"] == "nifti":
            found, unreadable = [Header(path, None)], []
        else:
            if path not in self._headers:
                self._headers[path] = scan(path)
            found = members(self._headers[path], row["series_uid"])
            unreadable = [h for h in self._headers[path] if h.kind == "unreadable"]
        if not found and not unreadable:
            raise DataAbsentError("no file of this series is there", todo="run hccflow index")
        if series_digest(h.path for h in found) == row["sha256"]:
            return found
        if unreadable and series_digest(h.path for h in [*found, *unreadable]) == row["sha256"]:
            raise HccflowError(
                "files cannot be read as DICOM", found=f"{len(unreadable)} of {len(found) + len(unreadable)} files",
                todo="export the series again, then run hccflow index",
            )  # fmt: skip
        expected = row["n_files"]
        raise HccflowError(
            "the files are not those that were indexed",
            expected="the bytes of series.tsv" + ("" if pd.isna(expected) else f", {expected} files"),
            found=f"{len(found)} readable files with other bytes",
            todo="run hccflow index",
        )


def read_volume(row: pd.Series, files: Files, settings: Mapping[str, Any]) -> Volume:
    """Volume of one image row.

    Parameters
    ----------
    row : Series
        Row of ``series.tsv`` with ``kind`` image. ``value`` picks one of several volumes of a series, from 1.
    files : Files
        Access to the files of the case.
    settings : mapping
        Sections ``imaging`` and ``convert`` of the configuration.
    """
    headers = files.of(row)
    which = None if pd.isna(row["value"]) else int(row["value"])
    if row["format"] == "nifti":
        return _from_nifti(headers[0].path, which)
    modality = text(headers[0].dataset, "Modality")
    wanted = settings["imaging"].get("modality")
    if wanted and modality and modality != wanted:
        raise GeometryError("another modality than the study's", expected=wanted, found=modality[:4])
    stacks, notes = volumes_of(
        headers, gap_tolerance=settings["convert"]["gap_tolerance"], min_slices=settings["convert"]["min_slices"]
    )
    stack = stacks[_pick(which, len(stacks))]
    image, more = convert_stack(stack)
    first = next(h for h in headers if h.path == stack.planes[0].path)
    if len(stacks) > 1:
        notes.append(f"volume {which} of {len(stacks)} in the series")
    return Volume(image, first, notes + more)


def _pick(which: int | None, count: int) -> int:
    if which is None and count > 1:
        raise GeometryError(
            "the series holds several volumes and none is named", found=f"{count} volumes in the order of time",
            todo="write the number of the volume, from 1, into the column value of series.tsv",
        )  # fmt: skip
    if which is not None and not 1 <= which <= count:
        raise GeometryError("no volume of this number in the series", expected=f"1 to {count}", found=which)
    return (which or 1) - 1


def _from_nifti(path: Path, which: int | None) -> Volume:
    image = read_image(path)
    if image.GetNumberOfComponentsPerPixel() > 1:
        raise GeometryError("a colour or vector image, not a scan")
    if image.GetDimension() == 4:
        count = image.GetSize()[3]
        image = image[:, :, :, _pick(which, count)]
    if image.GetDimension() != 3:
        raise GeometryError("the image is not a volume", found=f"{image.GetDimension()} dimensions")
    array = sitk.GetArrayFromImage(image)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise GeometryError(
            "the image holds values that are not finite", found=f"{int((~np.isfinite(array)).sum())} voxels",
            todo="replace them before indexing; which value is right depends on the modality",
        )  # fmt: skip
    small = bool((array == np.rint(array)).all()) and array.min() >= -32768 and array.max() <= 32767
    array = array.astype(np.int16 if small else np.float32)
    notes = []
    if image.HasMetaDataKey("qform_code") and image.HasMetaDataKey("sform_code"):
        codes = [image.GetMetaData(key).strip() for key in ("qform_code", "sform_code")]
        if codes == ["0", "0"]:
            notes.append("the NIfTI header states no orientation")
    return Volume(make_image(array, affine_of(image)), None, notes)
