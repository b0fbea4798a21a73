"""Converting by hand: everything below a file or folder, with the masks of a SEG or an RTSTRUCT."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pandas as pd
import pydicom
import SimpleITK as sitk  # noqa: N813 - its usual name

from hccflow.convert.dcm2niix import convert_stack
from hccflow.convert.masks import read_mask
from hccflow.convert.qc import picture
from hccflow.convert.sidecar import dump, sidecar
from hccflow.dicom.headers import Header, scan, structure_labels, text
from hccflow.dicom.series import volumes_of
from hccflow.errors import DataAbsentError, HccflowError
from hccflow.images import write_image
from hccflow.tables import write_table, write_text

COLUMNS = ["file", "status", "reason", "spacing_x_mm", "spacing_y_mm", "spacing_z_mm", "n_slices", "n_voxels", "notes"]


def convert_folder(dicom: Path, out: Path, *, seg: Path | None = None, rtstruct: Path | None = None) -> pd.DataFrame:
    """Convert every image series of a file or folder, and the masks of a SEG or RTSTRUCT onto the first volume's grid.

    The grid is that of the first volume in the masks' frame of reference, else of the first volume.

    Parameters
    ----------
    dicom : Path
        DICOM file or folder.
    out : Path
        Folder to write: ``image[-<n>][_<volume>].nii.gz`` with its ``.json``, ``mask_<n>.nii.gz``, ``qc.png`` and
        ``conversion.tsv``.
    seg, rtstruct : Path, optional
        Files whose segments or ROIs become masks, numbered in their order.

    Returns
    -------
    DataFrame
        The table ``conversion.tsv``: one row for each volume, each refused series and each mask.
    """
    if not dicom.exists():
        raise DataAbsentError("no such file or folder", where=dicom)
    groups: dict[str, list[Header]] = defaultdict(list)
    for header in scan(dicom):
        if header.kind == "image":
            groups[header.series_uid].append(header)
    if not groups:
        raise DataAbsentError("no DICOM image found", where=dicom)
    out.mkdir(parents=True, exist_ok=True)
    rows, made = [], {}
    for number, headers in enumerate(groups.values(), 1):
        stem = "image" if len(groups) == 1 else f"image-{number:02d}"
        try:
            stacks, notes = volumes_of(headers)
            for phase, stack in enumerate(stacks, 1):
                name = stem if len(stacks) == 1 else f"{stem}_{phase}"
                image, more = convert_stack(stack)
                write_image(image, out / f"{name}.nii.gz")
                write_text(out / f"{name}.json", dump(sidecar(headers[0], image)))
                made[name] = (image, text(headers[0].dataset, "FrameOfReferenceUID"))
                rows.append(_row(name, image, [*notes, *more]))
        except HccflowError as error:
            rows.append({"file": stem, "status": "failed", "reason": str(error)})
    masks: dict[str, sitk.Image] = {}
    for path, kind in ((seg, "seg"), (rtstruct, "rtstruct")):
        if path is not None and made:
            reference = _reference(path, made)
            rows += _masks(path, kind, *made[reference], out, masks)
            picture({reference: made[reference][0]}, masks, out / "qc.png")
    if made and not masks:
        name = next(iter(made))
        picture({name: made[name][0]}, {}, out / "qc.png")
    table = pd.DataFrame(rows, columns=COLUMNS).astype({"n_slices": "Int64", "n_voxels": "Int64"})
    write_table(table, out / "conversion.tsv")
    return table


def _reference(path: Path, made: dict[str, tuple[sitk.Image, str]]) -> str:
    dataset = pydicom.dcmread(path, stop_before_pixels=True)
    frames = [text(dataset, "FrameOfReferenceUID")]
    frames += [text(roi, "ReferencedFrameOfReferenceUID") for roi in dataset.get("StructureSetROISequence") or []]
    return next((name for name, (_, frame) in made.items() if frame and frame in frames), next(iter(made)))


def _masks(
    path: Path, kind: str, reference: sitk.Image, frame: str, out: Path, masks: dict[str, sitk.Image]
) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for label in structure_labels(pydicom.dcmread(path, stop_before_pixels=True)):
        name = f"mask_{len(masks) + sum(row['status'] == 'failed' for row in rows) + 1}"
        try:
            mask, notes = read_mask(path, kind, label, None, reference, frame)
        except HccflowError as error:
            rows.append({"file": name, "status": "failed", "reason": f"{label}: {error}"})
            continue
        write_image(mask, out / f"{name}.nii.gz")
        masks[name] = mask
        rows.append(_row(name, mask, [label, *notes]) | {"n_voxels": int(sitk.GetArrayViewFromImage(mask).sum())})
    return rows


def _row(name: str, image: sitk.Image, notes: list[str]) -> dict[str, object]:
    x, y, z = (round(v, 6) for v in image.GetSpacing())
    return {
        "file": f"{name}.nii.gz", "status": "ok", "reason": "", "spacing_x_mm": x, "spacing_y_mm": y,
        "spacing_z_mm": z, "n_slices": image.GetSize()[2], "notes": " | ".join(notes),
    }  # fmt: skip
