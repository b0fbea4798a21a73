"""Crops for the networks: every channel and the mask of a case on one small grid around its region of interest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from safetensors.numpy import save_file

from hccflow.batch import Case
from hccflow.errors import DataAbsentError, HccflowError, RoiError
from hccflow.extract.cases import converted_channels, folder_of, mask_folders
from hccflow.extract.intensity import normalise
from hccflow.extract.regions import TOLERANCE, bounding_box, check_mask, find_region, same_grid
from hccflow.images import read_image
from hccflow.paths import CHANNELS, case_file

#: Fewest voxels of the ROI inside a crop.
MIN_VOXELS = 4


@dataclass(frozen=True)
class Crop:
    """A case on the grid of a network.

    Attributes
    ----------
    image : array of float32, shape (channels, k, j, i)
        Normalised intensities; outside the scan a channel has its own smallest value. A channel that the case does not
        have is NaN.
    mask : array of uint8, shape (k, j, i)
        The region of interest.
    spacing_mm : tuple of 3 float
        Voxel size ``(i, j, k)``.
    padding : float
        Share of the crop that lies outside the scan.
    inside : float
        Share of the region's volume that lies inside the crop.
    n_components : int
        Connected components of the mask of which the region was made.
    notes : list of str
        What was odd.
    """

    image: NDArray[np.float32]
    mask: NDArray[np.uint8]
    spacing_mm: tuple[float, float, float]
    padding: float
    inside: float
    n_components: int
    notes: list[str]


def make_crop(
    images: Sequence[sitk.Image | None],
    mask: sitk.Image,
    box: Mapping[str, Any],
    *,
    around: sitk.Image | None = None,
    organ: sitk.Image | None = None,
    intensity: Mapping[str, Any] | None = None,
    min_voxels: int = 1,
    entry: Mapping[str, Any] | None = None,
    within: sitk.Image | None = None,
) -> Crop:
    """Crop around a region of interest.

    The grid follows the axes of the mask, permuted and flipped towards left, posterior and superior, and is centred on
    the box around the region, so all channels meet on the same millimetres whatever their own grids.

    Parameters
    ----------
    images : sequence of SimpleITK.Image
        Whole volumes in the order of the network's channels, None where there is none; the mask lies on the grid of the
        first one that is there.
    mask : SimpleITK.Image
        0/1.
    box : mapping
        ``size`` (voxels i, j, k) with either ``spacing_mm`` (a fixed grid, on which size is seen) or ``margin_mm`` (a
        grid fitted to the box around the region and this margin, on which size is lost).
    around : SimpleITK.Image, optional
        Another structure (the liver), 0/1 on the mask's grid, whose box is cropped in place of the region's.
    organ, intensity
        As in `hccflow.extract.intensity.normalise`.
    min_voxels : int
        Fewest voxels of the region on its own grid.
    entry, within
        As in `hccflow.extract.regions.find_region`.

    Raises
    ------
    RoiError
        The mask cannot be used, intensities cannot be normalised, or nothing of the region is left on the grid.
    """
    reference = next(image for image in images if image is not None)
    region = find_region(mask, reference, entry or {}, within=within, min_voxels=min_voxels, flat=True)
    roi = region.roi
    how = {"scale": 1.0, **(intensity or {"kind": "none"})}
    if around is not None:
        around = check_mask(around, reference, label=None, min_voxels=min_voxels, flat=True, tolerance=TOLERANCE)
    grid = _grid(roi if around is None else around, box)
    channels, outside = [], np.zeros(grid.GetSize()[::-1], dtype=bool)
    for image in images:
        if image is None:
            channels.append(np.full(outside.shape, np.nan, dtype=np.float32))
            continue
        scaled = sitk.Cast(normalise(image, region.whole, organ, how), sitk.sitkFloat32)
        values = sitk.GetArrayViewFromImage(scaled)
        if not np.isfinite(values).all():
            raise RoiError("the image holds values that are not numbers", todo="look at the converted image")
        darkest = float(values.min())
        channels.append(sitk.GetArrayFromImage(sitk.Resample(scaled, grid, sitk.Transform(), sitk.sitkLinear, darkest)))
        scan = sitk.Cast(scaled * 0, sitk.sitkUInt8) + 1
        cover = sitk.Resample(scan, grid, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
        outside |= sitk.GetArrayViewFromImage(cover) == 0
    fraction = sitk.Resample(sitk.Cast(roi, sitk.sitkFloat32), grid, sitk.Transform(), sitk.sitkLinear, 0.0)
    voxels = (sitk.GetArrayFromImage(fraction) >= 0.5).astype(np.uint8)
    if voxels.sum() < MIN_VOXELS:
        raise RoiError(
            "the region is empty after cropping", expected=f"at least {MIN_VOXELS} voxels", found=int(voxels.sum()),
            todo="use a finer or larger crop, or a region of one piece",
        )  # fmt: skip
    return Crop(
        np.stack(channels), voxels, grid.GetSpacing(), float(outside.mean()), _share_inside(roi, grid),
        region.n_components, region.notes,
    )  # fmt: skip


def _grid(roi: sitk.Image, box: Mapping[str, Any]) -> sitk.Image:
    """Empty image of the crop's size around the box of the region."""
    turned = sitk.DICOMOrient(roi, "LPS")
    first, extent = bounding_box(sitk.GetArrayViewFromImage(turned))
    size = np.array(box["size"], dtype=int)
    if "spacing_mm" in box:
        spacing = np.array(box["spacing_mm"], dtype=float)
    else:
        spacing = (extent * np.array(turned.GetSpacing()) + 2 * float(box["margin_mm"])) / size
    centre = turned.TransformContinuousIndexToPhysicalPoint((first + (extent - 1) / 2).tolist())
    axes = np.array(turned.GetDirection()).reshape(3, 3)
    grid = sitk.Image(size.tolist(), sitk.sitkUInt8)
    grid.SetSpacing(spacing.tolist())
    grid.SetDirection(turned.GetDirection())
    grid.SetOrigin((np.array(centre) - axes @ ((size - 1) / 2 * spacing)).tolist())
    return grid


def _share_inside(roi: sitk.Image, grid: sitk.Image) -> float:
    """Share of the region's voxels whose centres lie inside the crop."""
    full = grid * 0 + 1
    back = sitk.Resample(full, roi, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
    own = sitk.GetArrayViewFromImage(roi) != 0
    return float((sitk.GetArrayViewFromImage(back)[own] != 0).mean())


@dataclass(frozen=True)
class CaseCropper:
    """Crop of one case of a converted batch; ``self(case, folder)`` is what `run_batch` calls.

    Parameters
    ----------
    folder_in : Path
        Batch folder made by convert.
    converted : mapping
        Row of convert's manifest by case stem.
    imaging, extract : mapping
        Sections of the configuration.
    name : str
        Name of the crop.
    box : mapping
        Its entry in the configuration.
    segmented, folder_masks
        Manifest rows and batch folder of the segment stage, for a region whose source is `nnunet`.
    """

    folder_in: Path
    converted: Mapping[str, Mapping[str, Any]]
    imaging: Mapping[str, Any]
    extract: Mapping[str, Any]
    name: str
    box: Mapping[str, Any]
    segmented: Mapping[str, Mapping[str, Any]] | None = None
    folder_masks: Path | None = None

    def __call__(self, case: Case, folder: Path) -> dict[str, Any]:
        """Write the case's crop below `folder` and return its manifest columns."""
        roi = self.extract["rois"][self.box["roi"]]
        have = converted_channels(self.converted[case.stem])
        masks = mask_folders(case, roi["mask"], self.folder_in, self.converted, self.folder_masks, self.segmented)
        missing = [name for name in self.imaging["channels"] if name not in have]
        if self.imaging["reference"] in missing:
            raise HccflowError(f"no image of '{self.imaging['reference']}', on whose grid the region lies")
        mask = self._read(masks[roi["mask"]], case, roi["mask"], mask=True)
        reference = self._read(self.folder_in, case, self.imaging["reference"])
        images: list[sitk.Image | None] = []
        for name in self.imaging["channels"]:
            image = None if name in missing else self._read(self.folder_in, case, name)
            first = not any(one is not None for one in images)
            if image is not None and first and not same_grid(image, reference):  # the mask lies on the reference's grid
                image = sitk.Resample(image, reference, sitk.Transform(), sitk.sitkLinear, 0.0, sitk.sitkFloat32)
            images.append(image)
        how = self.extract["intensity"]
        organ_name = how.get("organ", "")
        organ = self._read(masks[organ_name], case, organ_name, mask=True) if organ_name in masks else None
        around, within = (
            self._read(folder_of(name, masks), case, name, mask=True) if name else None
            for name in (self.box.get("around", ""), roi.get("within", ""))
        )
        crop = make_crop(
            images, mask, self.box, around=around, organ=organ, intensity={**how, "scale": 1.0},
            min_voxels=roi.get("min_voxels", 20), entry=roi, within=within,
        )  # fmt: skip
        out = folder / case_file(case.subject, case.session, "crop", desc=self.name, ext=".safetensors")
        out.parent.mkdir(parents=True, exist_ok=True)
        names = ",".join(self.imaging["channels"])
        save_file({"image": crop.image, "mask": crop.mask}, out, metadata={CHANNELS: names})
        notes = [*(f"no image of '{name}'" for name in missing), *crop.notes]
        notes += [f"{100 * (1 - crop.inside):.0f} % of the region lies outside the crop"] if crop.inside < 0.995 else []
        spacing = dict(zip(("spacing_x_mm", "spacing_y_mm", "spacing_z_mm"), crop.spacing_mm, strict=True))
        return {
            "n_voxels": int(crop.mask.sum()), "padding_fraction": round(crop.padding, 6),
            "inside_fraction": round(crop.inside, 6), "n_components": crop.n_components, **spacing,
            "missing_channels": ",".join(missing), "notes": "; ".join(notes),
        }  # fmt: skip

    def _read(self, folder: Path, case: Case, name: str, *, mask: bool = False) -> sitk.Image:
        suffix, desc = ("mask", name) if mask else (name, "")
        path = folder / case_file(case.subject, case.session, suffix, desc=desc)
        if not path.is_file():
            what = f"mask of '{name}'" if mask else f"image of '{name}'"
            raise DataAbsentError(f"the case has no {what}", where=path.name)
        return read_image(path)
