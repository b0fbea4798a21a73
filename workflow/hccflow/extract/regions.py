"""Regions of interest: is the mask usable, does it fit its image, and which part of the image matters for it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk

from hccflow.errors import RoiError

#: Largest deviation of origin and spacing, as a fraction of a voxel, and of direction cosines.
TOLERANCE = 1e-3


def same_grid(a: sitk.Image, b: sitk.Image, tolerance: float = TOLERANCE) -> bool:
    """Whether two images have the same size, spacing, origin and direction, within a fraction of a voxel."""
    if a.GetSize() != b.GetSize():
        return False
    spacing = np.asarray(a.GetSpacing())
    return bool(
        np.all(np.abs(spacing - b.GetSpacing()) <= tolerance * spacing)
        and np.all(np.abs(np.subtract(a.GetOrigin(), b.GetOrigin())) <= tolerance * spacing.min())
        and np.all(np.abs(np.subtract(a.GetDirection(), b.GetDirection())) <= tolerance)
    )


def describe(image: sitk.Image) -> str:
    """Geometry of an image in a few words, for messages."""
    numbers = [" ".join(f"{x:.4g}" for x in values) for values in (image.GetSpacing(), image.GetOrigin())]
    return f"size {'x'.join(map(str, image.GetSize()))}, spacing {numbers[0]}, origin {numbers[1]}"


def check_mask(
    mask: sitk.Image, reference: sitk.Image, *, label: int | None, min_voxels: int, flat: bool, tolerance: float
) -> sitk.Image:
    """Return the ROI as 0/1 on the exact grid of its reference image, or say why it cannot be used.

    Parameters
    ----------
    mask : SimpleITK.Image
        3D label map. Without `label` it may hold one label only.
    reference : SimpleITK.Image
        The image on whose grid the mask claims to lie.
    label : int or None
        Label to take out of a map with several.
    min_voxels : int
        Fewest voxels.
    flat : bool
        Whether an ROI of a single slice is meant (features in 2D).
    tolerance : float
        See `same_grid`.

    Raises
    ------
    RoiError
        The mask is on another grid, empty, of several labels, too small, or of a single slice.
    """
    if mask.GetDimension() != 3 or reference.GetDimension() != 3:
        raise RoiError(
            "not a volume", expected="3 dimensions", found=f"{mask.GetDimension()}, {reference.GetDimension()}"
        )
    if not same_grid(mask, reference, tolerance):
        raise RoiError(
            "the mask is not on the grid of its image", expected=describe(reference), found=describe(mask),
            todo="resample the mask to the image, or check that both belong together",
        )  # fmt: skip
    voxels = sitk.GetArrayViewFromImage(mask)
    labels = [int(value) for value in np.unique(voxels) if value != 0]
    if not labels:
        raise RoiError("the mask is empty", todo="segment the structure, or exclude the case")
    if label is None and len(labels) > 1:
        raise RoiError(
            f"the mask has {len(labels)} labels", expected="one label", found=labels,
            todo="make one mask for each structure, or name one by setting.label",
        )  # fmt: skip
    wanted = labels[0] if label is None else label
    if wanted not in labels:
        raise RoiError(f"label {wanted} is not in the mask", found=labels)
    roi = (voxels == wanted).astype(np.uint8)
    n = int(roi.sum())
    if n == 1:
        raise RoiError("the mask is a single voxel", expected=f"at least {min_voxels} voxels")
    if n < min_voxels:
        raise RoiError("the mask is too small", expected=f"at least {min_voxels} voxels", found=n)
    _, size = bounding_box(roi)
    if size.min() == 1 and not flat:
        raise RoiError(
            "the mask is a single slice", expected="at least 2 slices along every axis",
            found="x".join(map(str, size)), todo="set force2D: true in extract.radiomics.setting for features in 2D",
        )  # fmt: skip
    out = sitk.GetImageFromArray(roi)
    out.CopyInformation(reference)
    return out


def bounding_box(roi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First index and size, in (x, y, z), of the box around the voxels of an array (z, y, x) that are not 0."""
    first, size = [], []
    for axis in (2, 1, 0):
        hit = np.flatnonzero(roi.any(axis=tuple(a for a in range(3) if a != axis)))
        first.append(int(hit[0]))
        size.append(int(hit[-1] - hit[0] + 1))
    return np.array(first), np.array(size)


def crop_around(
    image: sitk.Image, roi: sitk.Image, margin_mm: Sequence[float], margin_voxels: Sequence[int]
) -> sitk.Image:
    """Part of an image that covers an ROI, `margin_mm` along the axes of the ROI's grid and then `margin_voxels`.

    The image may lie on another grid than the ROI; the part keeps the image's own lattice.
    """
    first, size = bounding_box(sitk.GetArrayViewFromImage(roi))
    margin = np.asarray(margin_mm) / roi.GetSpacing()
    low, high = first - 0.5 - margin, first + size - 0.5 + margin
    corners = [[(low, high)[(i >> axis) & 1][axis] for axis in range(3)] for i in range(8)]
    points = [roi.TransformContinuousIndexToPhysicalPoint([float(c) for c in corner]) for corner in corners]
    there = np.array([image.TransformPhysicalPointToContinuousIndex(point) for point in points])
    start = np.clip(np.floor(there.min(axis=0)).astype(int) - margin_voxels, 0, np.array(image.GetSize()) - 1)
    stop = np.clip(np.ceil(there.max(axis=0)).astype(int) + margin_voxels + 1, start + 1, image.GetSize())
    return sitk.RegionOfInterest(image, (stop - start).tolist(), start.tolist())
