"""Images on disk and on grids: one way to read, write and compare them.

An affine maps voxel indices ``(i, j, k)`` to millimetres in DICOM patient coordinates (LPS), which are SimpleITK's.
Arrays are ``(k, j, i)``, the order of `SimpleITK.GetArrayFromImage`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813 - its usual name
from numpy.typing import NDArray
from scipy import ndimage

from hccflow.errors import DataAbsentError, GeometryError, RoiError

#: Two grids are the same when no corner of the one is farther than this from its place in the other, in voxels.
SAME_GRID_VOXELS = 0.02
#: Share by which a distance may exceed a limit and still count as within it: spacings are rounded on disk.
ROUNDING = 1e-6


def read_image(path: str | Path) -> sitk.Image:
    """Read an image file; `DataAbsentError` when it is not there, `GeometryError` when it cannot be read."""
    path = Path(path)
    if not path.is_file():
        raise DataAbsentError("image not found", where=path)
    try:
        return sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise GeometryError("the image file cannot be read", where=path, todo="check that the file is whole") from error


def write_image(image: sitk.Image, path: str | Path) -> None:
    """Write an image whole, with no text in its header; the same image gives the same bytes.

    NIfTI gets both qform and sform, and its gzip stream carries neither time nor name.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    bare = sitk.Image(image)
    for key in bare.GetMetaDataKeys():
        bare.EraseMetaData(key)
    part = path.with_name(f".part.{path.name}")  # the extension says the format
    sitk.WriteImage(bare, str(part), useCompression=path.name.endswith(".gz"))
    part.replace(path)


def affine_of(image: sitk.Image) -> NDArray[np.float64]:
    """Affine (4 x 4, LPS, mm) of a three-dimensional image."""
    affine = np.eye(4)
    direction = np.array(image.GetDirection()).reshape(3, 3)
    affine[:3, :3] = direction * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return affine


def make_image(array: NDArray, affine: NDArray[np.float64]) -> sitk.Image:
    """Image from an array ``(k, j, i)`` and an affine with orthogonal axes."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(array))
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    return image


def corners(size: tuple[int, ...]) -> NDArray[np.float64]:
    """Indices (4 x 8, homogeneous) of the eight corner voxels of a grid of `size` ``(i, j, k)``."""
    points = [(i, j, k, 1) for i in (0, size[0] - 1) for j in (0, size[1] - 1) for k in (0, size[2] - 1)]
    return np.array(points, dtype=float).T


def grid_distance(a: sitk.Image, b: sitk.Image) -> float:
    """Largest distance of a corner of grid `a` from its place in grid `b`, in voxels; infinite when sizes differ."""
    if a.GetSize() != b.GetSize():
        return float("inf")
    points = corners(a.GetSize())
    moved = np.linalg.solve(affine_of(b), affine_of(a) @ points)
    return float(np.abs(moved - points).max())


def same_grid(a: sitk.Image, b: sitk.Image) -> bool:
    """Whether two images lie on the same voxel grid (size, origin, spacing and direction)."""
    return grid_distance(a, b) <= SAME_GRID_VOXELS


def aligned(a: sitk.Image, b: sitk.Image) -> bool:
    """Whether every voxel of grid `a` is a voxel of grid `b` or lies outside it: no resampling between the two."""
    turn = np.linalg.solve(affine_of(b), affine_of(a) @ corners(a.GetSize()))[:3]
    steps = np.linalg.solve(affine_of(b)[:3, :3], affine_of(a)[:3, :3])
    whole = np.abs(turn - np.rint(turn)).max() <= SAME_GRID_VOXELS
    return bool(whole and np.abs(np.abs(steps) - np.rint(np.abs(steps))).max() < 1e-3 and abs(steps).max() < 1.5)


def components(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], int]:
    """Connected components of a mask in three dimensions and their number.

    Voxels that share a face, an edge or a corner (26 neighbours) belong together. Labels count from 1 in the order in
    which a scan along the array meets the components; 0 is outside.
    """
    labels, n = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    return labels, int(n)


def mask_on_grid(mask: sitk.Image, reference: sitk.Image) -> tuple[sitk.Image, bool]:
    """Mask (0/1, uint8) on the grid of `reference`, and whether it had to be resampled (nearest neighbour) for that.

    Raises
    ------
    RoiError
        The mask is empty, or nothing of it lies inside `reference`.
    """
    mask = sitk.Cast(mask != 0, sitk.sitkUInt8)
    if not sitk.GetArrayViewFromImage(mask).any():
        raise RoiError("the mask is empty")
    if same_grid(mask, reference):
        return make_image(sitk.GetArrayViewFromImage(mask), affine_of(reference)), False
    moved = sitk.Resample(mask, reference, sitk.Transform(), sitk.sitkNearestNeighbor, 0, sitk.sitkUInt8)
    if not sitk.GetArrayViewFromImage(moved).any():
        raise RoiError("the mask does not overlap the image", todo="check that both belong to the same examination")
    return moved, not aligned(mask, reference)
