"""Channels and masks of a case as the network sees them: one grid, axes in LPS order, and the way back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from hccflow.batch import Case
from hccflow.errors import DataAbsentError, GeometryError, RoiError
from hccflow.images import read_image, same_grid
from hccflow.paths import case_file


@dataclass(frozen=True)
class Volume:
    """Channels of one case on the grid of its reference image.

    Attributes
    ----------
    channels : tuple of SimpleITK.Image
        float32, same grid, axes nearest to left, posterior, superior.
    reference : SimpleITK.Image
        The reference channel as it lies on disk; masks are written on its grid.
    """

    channels: tuple[sitk.Image, ...]
    reference: sitk.Image

    @property
    def array(self) -> NDArray[np.float32]:
        """Channels as one array ``(channel, k, j, i)``."""
        return np.stack([sitk.GetArrayFromImage(image) for image in self.channels])

    @property
    def spacing(self) -> tuple[float, ...]:
        """Spacing in mm along the array's axes ``(k, j, i)``."""
        return tuple(float(s) for s in self.channels[0].GetSpacing()[::-1])

    def mask_image(self, mask: NDArray[np.bool_]) -> sitk.Image:
        """Mask (uint8) on the reference grid from an array in the network's axes."""
        image = sitk.GetImageFromArray(mask.astype(np.uint8))
        image.CopyInformation(self.channels[0])
        direction = self.reference.GetDirection()
        code = sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(direction)
        image = sitk.DICOMOrient(image, code)
        image.CopyInformation(self.reference)
        return image


def to_lps(image: sitk.Image) -> sitk.Image:
    """Permute and flip axes, losslessly, so that they point nearest to left, posterior and superior."""
    return sitk.DICOMOrient(image, "LPS")


def make_volume(images: Sequence[sitk.Image], reference: sitk.Image) -> Volume:
    """Put channels on the reference grid (linear interpolation where they lie on another) and turn them to LPS.

    Raises
    ------
    GeometryError
        An image is not three-dimensional, or holds values that are not numbers.
    """
    turned = []
    for image in images:
        if image.GetDimension() != 3:
            raise GeometryError("not a volume", expected="3 dimensions", found=image.GetDimension())
        image = sitk.Cast(image, sitk.sitkFloat32)
        if not same_grid(image, reference):
            image = sitk.Resample(image, reference, sitk.Transform(), sitk.sitkLinear, 0.0, sitk.sitkFloat32)
        else:
            image.CopyInformation(reference)
        if not np.isfinite(sitk.GetArrayViewFromImage(image)).all():
            raise GeometryError("the image holds values that are not numbers", todo="look at the converted image")
        turned.append(to_lps(image))
    return Volume(tuple(turned), reference)


def read_volume(folder: Path, case: Case, channels: Sequence[str], reference: str) -> Volume:
    """Read the channels of a converted case."""
    images = {name: _read(folder, case, name) for name in dict.fromkeys([reference, *channels])}
    return make_volume([images[name] for name in channels], images[reference])


def read_mask(folder: Path, case: Case, structure: str, reference: sitk.Image) -> sitk.Image:
    """Read a mask (0/1, as it lies on disk).

    Raises
    ------
    GeometryError, RoiError
        It is not on the grid of `reference`, holds labels other than 0 and 1, or is empty.
    """
    mask = _read(folder, case, structure, desc=True)
    if not same_grid(mask, reference):
        raise GeometryError(f"the mask of '{structure}' is not on the grid of its image", todo="run convert again")
    labels = [float(v) for v in np.unique(sitk.GetArrayViewFromImage(mask))]
    if not set(labels) <= {0.0, 1.0}:
        raise RoiError(
            f"the mask of '{structure}' holds labels outside the table", expected="0 and 1", found=labels[:6],
            todo="give every structure its own mask in series.tsv (column value)",
        )  # fmt: skip
    if labels == [0.0]:
        raise RoiError(f"the mask of '{structure}' is empty")
    return mask


def mask_array(mask: sitk.Image) -> NDArray[np.bool_]:
    """Mask as an array ``(k, j, i)`` in the network's axes."""
    return sitk.GetArrayFromImage(to_lps(mask)) > 0


def _read(folder: Path, case: Case, name: str, *, desc: bool = False) -> sitk.Image:
    suffix, what = ("mask", name) if desc else (name, "")
    path = folder / case_file(case.subject, case.session, suffix, desc=what)
    if not path.is_file():
        raise DataAbsentError("image not found", where=path.name, todo="run convert again")
    return read_image(path)
