"""Regions of interest: is the mask usable, which lesion counts, what lies around it, what of the image matters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk

from hccflow.errors import RoiError
from hccflow.images import ROUNDING, components

#: Largest deviation of origin and spacing, as a fraction of a voxel, and of direction cosines.
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Region:
    """What is measured, the mask from which it was made, and what was found on the way.

    Attributes
    ----------
    roi, whole : SimpleITK.Image
        0/1 on the grid of the reference image: the region, and the whole mask of the structure, which an organ of the
        normalisation leaves out whatever the region is.
    n_components : int
        Connected components of the whole mask (26 neighbours).
    notes : list of str
    """

    roi: sitk.Image
    whole: sitk.Image
    n_components: int
    notes: list[str]


def find_region(
    mask: sitk.Image,
    reference: sitk.Image,
    entry: Mapping[str, Any],
    *,
    within: sitk.Image | None = None,
    label: int | None = None,
    min_voxels: int,
    flat: bool,
    tolerance: float = TOLERANCE,
) -> Region:
    """Region that an entry of ``extract.rois`` describes.

    Without ``lesion``, ``ring_mm`` and ``grow_mm`` the whole mask. With ``lesion: largest`` its largest connected
    component, the first one of equals in the order of the voxels. With ``ring_mm`` the voxels outside the whole mask
    whose centre is at most so many millimetres from the centre of the nearest voxel of what was chosen. With
    ``grow_mm`` what was chosen and the voxels so near to it; below 0 what was chosen but the voxels so near to a voxel
    outside it: as a reader would have drawn who draws wider, or closer.

    Parameters
    ----------
    entry : mapping
        ``lesion`` and ``ring_mm`` or ``grow_mm``, all optional.
    within : SimpleITK.Image, optional
        Mask (not 0 = inside), on the grid of `mask`, that a ring does not leave, nor what a lesion grows by.
    mask, reference, label, min_voxels, flat, tolerance
        As in `check_mask`; what was chosen and the ring must be usable too.

    Raises
    ------
    RoiError
        See `check_mask`; or `within` is on another grid.
    """
    whole = check_mask(mask, reference, label=label, min_voxels=min_voxels, flat=flat, tolerance=tolerance)
    ring_mm, grow_mm = float(entry.get("ring_mm", 0)), float(entry.get("grow_mm", 0))
    reach = max(ring_mm, grow_mm)
    part = crop_around(whole, whole, [reach] * 3, [1] * 3)  # nothing of the region lies beyond
    start = whole.TransformPhysicalPointToIndex(part.GetOrigin())
    inside = sitk.GetArrayFromImage(part) > 0
    labels, n = components(inside)
    roi, notes = whole, []

    def usable(voxels: np.ndarray, name: str) -> sitk.Image:
        made = sitk.GetImageFromArray(voxels.astype(np.uint8))
        made = sitk.Paste(whole * 0, made, made.GetSize(), destinationIndex=start)
        return check_mask(
            made, reference, label=None, min_voxels=min_voxels, flat=flat, tolerance=tolerance, name=name
        )  # fmt: skip

    chosen = inside
    if entry.get("lesion") == "largest" and n > 1:
        sizes = np.bincount(labels.ravel())[1:]
        chosen = labels == 1 + int(sizes.argmax())
        notes.append(f"the largest of {n} components, {100 * sizes.max() / sizes.sum():.0f} % of the mask")
        roi = usable(chosen, "largest lesion")
    allowed = np.ones_like(inside)
    if within is not None:
        demand_grid(within, whole, "mask within which the region lies")
        allowed = sitk.GetArrayFromImage(sitk.RegionOfInterest(within, part.GetSize(), start)) != 0
    if grow_mm and abs(grow_mm) * (1 + ROUNDING) < min(part.GetSpacing()):
        raise RoiError(
            f"an outline moved by {grow_mm:g} mm is the same", where="grow_mm",
            expected=f"at least {min(part.GetSpacing()):.3g} mm, the smallest side of a voxel",
            todo="move it further, or remove this region",
        )  # fmt: skip
    if grow_mm > 0:
        roi = usable(chosen | (_near(chosen, part, grow_mm) & allowed), f"mask wider by {grow_mm:g} mm")
    elif grow_mm < 0:
        left = chosen & ~_near(~chosen, part, -grow_mm)
        if not left.any():
            raise RoiError(
                f"nothing is left of the mask within {-grow_mm:g} mm of its border", expected="a larger lesion",
                todo="take less off, or exclude the case",
            )  # fmt: skip
        roi = usable(left, f"mask closer by {-grow_mm:g} mm")
    elif ring_mm:
        ring = _near(chosen, part, ring_mm) & ~inside & allowed
        if not ring.any():
            raise RoiError(
                f"the ring of {ring_mm:g} mm is empty", expected="voxels beside the mask, inside its organ",
                todo="look at both masks, widen the ring, or exclude the case",
            )  # fmt: skip
        roi = usable(ring, f"ring of {ring_mm:g} mm")
    return Region(roi, whole, n, notes)


def _near(voxels: np.ndarray, grid: sitk.Image, mm: float) -> np.ndarray:
    """Voxels whose centre is at most so many millimetres from the centre of the nearest of `voxels`."""
    there = sitk.GetImageFromArray(voxels.astype(np.uint8))
    there.SetSpacing(grid.GetSpacing())
    distance = sitk.SignedMaurerDistanceMap(there, squaredDistance=False, useImageSpacing=True)
    near: np.ndarray = sitk.GetArrayViewFromImage(distance) <= mm * (1 + ROUNDING)
    return near


def demand_grid(mask: sitk.Image, roi: sitk.Image, name: str) -> None:
    """`RoiError` when a further mask does not lie on the grid of the ROI."""
    if not same_grid(mask, roi):
        raise RoiError(f"the {name} is not on the grid of the ROI", expected=describe(roi), found=describe(mask))


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
    mask: sitk.Image,
    reference: sitk.Image,
    *,
    label: int | None,
    min_voxels: int,
    flat: bool,
    tolerance: float,
    name: str = "mask",
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
    name : str
        What it is called in messages.

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
        raise RoiError(f"the {name} is a single voxel", expected=f"at least {min_voxels} voxels")
    if n < min_voxels:
        raise RoiError(f"the {name} is too small", expected=f"at least {min_voxels} voxels", found=n)
    _, size = bounding_box(roi)
    if size.min() == 1 and not flat:
        raise RoiError(
            f"the {name} is a single slice", expected="at least 2 slices along every axis",
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
