"""Masks of a case: DICOM SEG, DICOM RTSTRUCT or a NIfTI label map, all onto the grid of the reference channel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813 - its usual name

from hccflow.convert.rtstruct import mask_from_rtstruct
from hccflow.convert.seg import mask_from_seg
from hccflow.errors import RoiError
from hccflow.images import mask_on_grid, read_image


def read_mask(
    path: Path, kind: str, segment: str, value: int | None, reference: sitk.Image, frame_of_reference: str
) -> tuple[sitk.Image, list[str]]:
    """Mask (0/1, uint8) of one structure on the grid of the reference channel, never empty.

    Parameters
    ----------
    path : Path
        The file.
    kind : {"seg", "rtstruct", "nifti"}
        Its format.
    segment : str
        Label inside a SEG or RTSTRUCT.
    value : int or None
        Label value inside a NIfTI label map.
    reference : SimpleITK.Image
        The reference channel.
    frame_of_reference : str
        Its FrameOfReferenceUID, empty when it is not known.

    Returns
    -------
    mask : SimpleITK.Image
    notes : list of str
        What was resampled, cut or missing.

    Raises
    ------
    RoiError
        Nothing of the structure lies inside the reference, or the label is missing or ambiguous.
    """
    if kind == "seg":
        return mask_from_seg(path, segment, reference, frame_of_reference)
    if kind == "rtstruct":
        return mask_from_rtstruct(path, segment, reference, frame_of_reference)
    return mask_from_nifti(path, value, reference)


def mask_from_nifti(path: Path, value: int | None, reference: sitk.Image) -> tuple[sitk.Image, list[str]]:
    """Mask of one label value of a NIfTI label map (any value but 0 when it has only one)."""
    image = read_image(path)
    if image.GetDimension() != 3:
        raise RoiError("the mask is not three-dimensional", found=f"{image.GetDimension()} dimensions")
    array = sitk.GetArrayViewFromImage(image)
    found = np.unique(array[array != 0])
    if value is None and found.size > 1:
        raise RoiError(
            "the label map holds several values and none is named",
            found=f"{found.size} values",
            todo="write the value into the column value of series.tsv",
        )
    inside = array == value if value is not None else array != 0
    mask = sitk.GetImageFromArray(inside.astype(np.uint8))
    mask.CopyInformation(image)
    if not inside.any():
        raise RoiError("the mask is empty", found=f"values {', '.join(f'{v:g}' for v in found[:10]) or 'none'}")
    on_grid, moved = mask_on_grid(mask, reference)
    return on_grid, ["mask resampled to the reference grid"] if moved else []
