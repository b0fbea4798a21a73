"""Intensity normalisation before feature extraction: MR has no unit and needs an anchor, CT needs a window."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import SimpleITK as sitk

from hccflow.errors import RoiError
from hccflow.extract.regions import demand_grid, same_grid

#: Fewest organ voxels outside the ROI from which a mean and an SD are taken.
MIN_ORGAN_VOXELS = 50


def normalise(image: sitk.Image, roi: sitk.Image, organ: sitk.Image | None, how: Mapping[str, Any]) -> sitk.Image:
    """Normalise a whole image.

    Parameters
    ----------
    image : SimpleITK.Image
        Whole volume, never a crop.
    roi : SimpleITK.Image
        0/1; left out of the organ.
    organ : SimpleITK.Image or None
        Organ mask (not 0 = organ), on the grid of `roi`; needed for ``kind: organ``.
    how : mapping
        ``extract.intensity``: ``kind``, ``scale``, and for the kind window ``window`` (low, high).

    Returns
    -------
    SimpleITK.Image
        The image itself for ``none``, so that its pixel type is what PyRadiomics would see; else
        ``scale * (x - mean) / SD`` in float64, with the SD of n - 1; for ``window`` x is cut to [low, high] and
        ``scale * (x - low) / (high - low)``.

    Raises
    ------
    RoiError
        The organ mask is absent, on another grid, too small, or the intensities are constant.
    """
    kind = how["kind"]
    if kind == "none":
        return image
    values = sitk.GetArrayFromImage(image).astype(np.float64)
    if kind == "window":
        low, high = how["window"]
        return _like(image, how["scale"] * (np.clip(values, low, high) - low) / (high - low))
    sample = values.ravel()
    if kind == "organ":
        sample = values[_organ_without_roi(image, roi, organ)]
    mean, sd = float(sample.mean()), float(sample.std(ddof=1))
    if not np.isfinite(sd) or sd == 0:
        raise RoiError(f"intensities cannot be normalised ({kind}): they do not vary", found=f"SD {sd:g}")
    return _like(image, how["scale"] * (values - mean) / sd)


def _like(image: sitk.Image, values: np.ndarray) -> sitk.Image:
    out = sitk.GetImageFromArray(values)
    out.CopyInformation(image)
    return out


def _organ_without_roi(image: sitk.Image, roi: sitk.Image, organ: sitk.Image | None) -> np.ndarray:
    if organ is None:
        raise RoiError("no organ mask to normalise by", todo="convert the organ, or set intensity to zscore")
    demand_grid(organ, roi, "organ mask")
    alone = (sitk.GetArrayViewFromImage(organ) != 0) & (sitk.GetArrayViewFromImage(roi) == 0)
    if not same_grid(roi, image):
        mask = sitk.GetImageFromArray(alone.astype(np.uint8))
        mask.CopyInformation(roi)
        alone = sitk.GetArrayFromImage(sitk.Resample(mask, image, sitk.Transform(), sitk.sitkNearestNeighbor)) != 0
    n = int(alone.sum())
    if n < MIN_ORGAN_VOXELS:
        raise RoiError("the organ mask is too small", expected=f"at least {MIN_ORGAN_VOXELS} outside the ROI", found=n)
    return alone
