"""Intensities before feature extraction: MR has no unit and needs an anchor, and its coil shades it; CT needs a window.

References
----------
Tustison et al., IEEE Transactions on Medical Imaging 29 (2010) 1310: N4 bias field correction.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import SimpleITK as sitk

from hccflow.errors import RoiError
from hccflow.extract.regions import demand_grid, same_grid

#: Fewest organ voxels outside the ROI from which a mean and an SD are taken.
MIN_ORGAN_VOXELS = 50
#: N4 estimates the field on every fourth voxel of an axis, as long as 16 are left: two for each of the 8 spans of the
#: last of 4 levels. An axis of fewer voxels is not thinned and gets fewer levels. 50 iterations a level at most.
SHRINK, SAMPLES, LEVELS, ITERATIONS = 4, 16, 4, 50
#: Fewest voxels of an axis, and of the body on the thinned image, from which a field is estimated.
MIN_AXIS, MIN_BODY_VOXELS = 3, 100


def normalise(image: sitk.Image, roi: sitk.Image, organ: sitk.Image | None, how: Mapping[str, Any]) -> sitk.Image:
    """Normalise a whole image, after a correction of its bias field where that is asked for.

    Parameters
    ----------
    image : SimpleITK.Image
        Whole volume, never a crop.
    roi : SimpleITK.Image
        0/1; left out of the organ.
    organ : SimpleITK.Image or None
        Organ mask (not 0 = organ), on the grid of `roi`; needed for ``kind: organ``.
    how : mapping
        ``extract.intensity``: ``kind``, ``scale``, for the kind window ``window`` (low, high), and ``bias_field``
        (``n4``, or absent), which `correct_bias` takes out first.

    Returns
    -------
    SimpleITK.Image
        The image itself for ``none``, so that its pixel type is what PyRadiomics would see; else
        ``scale * (x - mean) / SD`` in float64, with the SD of n - 1; for ``window`` x is cut to [low, high] and
        ``scale * (x - low) / (high - low)``.

    Raises
    ------
    RoiError
        The organ mask is absent, on another grid, too small, the intensities are constant, or `correct_bias` refuses.
    """
    kind = how["kind"]
    if how.get("bias_field") == "n4":
        image = correct_bias(image)
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


def correct_bias(image: sitk.Image) -> sitk.Image:
    """Divide a whole MR image by its smooth multiplicative field, as N4 finds it inside the body.

    The body is what lies above Otsu's threshold. The field is estimated on a thinned image and applied to every voxel,
    also outside the body. It is known up to a factor, so only ratios inside an image mean something afterwards.

    Parameters
    ----------
    image : SimpleITK.Image
        Whole volume, never a crop.

    Returns
    -------
    SimpleITK.Image
        In float32; the same bytes whatever the number of cores.

    Raises
    ------
    RoiError
        The image is too thin, not finite or constant, or hardly anything of it is body.
    """
    values = sitk.GetArrayViewFromImage(image)
    if min(image.GetSize()) < MIN_AXIS:
        raise RoiError(
            "the image is too thin for a bias field", expected=f"at least {MIN_AXIS} voxels along every axis",
            found=" x ".join(map(str, image.GetSize())),
        )  # fmt: skip
    if not np.isfinite(values).all() or values.min() == values.max():
        raise RoiError("no bias field in an image that is constant or not finite", todo="look at the converted image")
    thin = [max(1, min(SHRINK, n // SAMPLES)) for n in image.GetSize()]
    whole = sitk.Cast(image, sitk.sitkFloat32)
    with _one_thread():
        body = sitk.OtsuThreshold(whole, 0, 1, 200) & (whole > 0)  # the field is one of logarithms
        small, inside = sitk.Shrink(whole, thin), sitk.Shrink(body, thin)
        n = int(sitk.GetArrayViewFromImage(inside).sum())
        if n < MIN_BODY_VOXELS:
            raise RoiError("too little of the image is body", expected=f"at least {MIN_BODY_VOXELS} voxels", found=n)
        levels = min(LEVELS, int(math.log2(min(small.GetSize()))))
        n4 = sitk.N4BiasFieldCorrectionImageFilter()
        n4.SetMaximumNumberOfIterations([ITERATIONS] * levels)
        n4.Execute(small, inside)
        return whole / sitk.Exp(n4.GetLogBiasFieldAsImage(whole))


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    # N4 adds up per thread, and its inner filters follow the default of the process, not SetNumberOfThreads.
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)


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
