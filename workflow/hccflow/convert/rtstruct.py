"""Masks from DICOM RTSTRUCT: contours filled plane by plane on the grid of the reference image.

Contours are matched to the image by frame of reference and position. The instance UIDs that an RTSTRUCT names are not
used: after a re-export or an anonymisation they often exist nowhere.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk  # noqa: N813 - its usual name
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from hccflow.dicom.headers import text
from hccflow.errors import RoiError
from hccflow.images import affine_of, make_image

#: Contours farther than this from a plane of the image, in steps, lie between planes and get a note.
ON_PLANE = 0.1


def mask_from_rtstruct(
    path: Path, segment: str, reference: sitk.Image, frame_of_reference: str
) -> tuple[sitk.Image, list[str]]:
    """Mask of one ROI of an RTSTRUCT on the grid of a reference image.

    A voxel is inside when its centre is (even-odd rule), contours of one plane combined by exclusive or, so that
    inner contours are holes.

    Parameters
    ----------
    path : Path
        The RTSTRUCT file.
    segment : str
        Name of the ROI (letter case aside); empty when there is one only.
    reference : SimpleITK.Image
        Image on whose grid the mask is wanted.
    frame_of_reference : str
        FrameOfReferenceUID of that image, empty when it is not known.

    Raises
    ------
    RoiError
        No such ROI, another frame of reference, contours oblique to the image, or nothing inside the image.
    """
    dataset = pydicom.dcmread(path)
    roi = _roi(dataset, segment)
    own = text(roi, "ReferencedFrameOfReferenceUID")
    if own and frame_of_reference and own != frame_of_reference:
        raise RoiError("the contours belong to another frame of reference than the image")
    inverse = np.linalg.inv(affine_of(reference))
    columns, rows, slices = reference.GetSize()
    mask = np.zeros((slices, rows, columns), dtype=bool)
    away, drawn, outside = 0.0, set(), 0
    for points in _contours(dataset, int(roi.ROINumber)):
        voxel = points @ inverse[:3, :3].T + inverse[:3, 3]
        if np.ptp(voxel[:, 2]) > 0.5:
            raise RoiError("the contours are not parallel to the slices of the image")
        height = float(voxel[:, 2].mean())
        plane = int(np.floor(height + 0.5))
        if not 0 <= plane < slices:
            outside += 1
            continue
        away = max(away, abs(height - plane))
        drawn.add(plane)
        mask[plane] ^= fill_polygon(voxel[:, :2], (rows, columns))
    if not mask.any():
        raise RoiError(
            "the mask is empty", found=f"{len(drawn)} contoured planes inside the image, {outside} contours outside"
        )
    notes = []
    if outside:
        notes.append(f"{outside} contours outside the image")
    if away > ON_PLANE:
        notes.append(f"contours up to {away:.2f} of a step off the planes of the image")
    empty = max(drawn) - min(drawn) + 1 - len(drawn)
    if empty:
        notes.append(f"{empty} planes without contour inside the region")
    return make_image(mask.astype(np.uint8), affine_of(reference)), notes


def fill_polygon(points: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Pixels whose centre lies inside a polygon, by the even-odd rule.

    Parameters
    ----------
    points : ndarray of shape (n, 2)
        Corners ``(column, row)`` in pixels, pixel centres at whole numbers; closed by itself.
    shape : tuple of int
        ``(rows, columns)`` of the result.
    """
    crossings = np.zeros((shape[0], shape[1] + 1), dtype=np.int64)
    ends = np.roll(points, -1, axis=0)
    for (x0, y0), (x1, y1) in zip(points, ends, strict=True):
        if y0 == y1:
            continue
        low, high = min(y0, y1), max(y0, y1)
        # half-open in y, so that a corner on a row of centres counts once
        rows = np.arange(max(0, int(np.ceil(low))), min(shape[0] - 1, int(np.ceil(high)) - 1) + 1)
        x = x0 + (rows - y0) * (x1 - x0) / (y1 - y0)
        np.add.at(crossings, (rows, np.clip(np.ceil(x), 0, shape[1]).astype(int)), 1)
    return (np.cumsum(crossings, axis=1)[:, :-1] % 2).astype(bool)


def _roi(dataset: Dataset, segment: str) -> Dataset:
    rois = list(dataset.get("StructureSetROISequence", []))
    if not segment and len(rois) == 1:
        return rois[0]
    found = [roi for roi in rois if text(roi, "ROIName").casefold() == segment.strip().casefold()]
    if not segment or len(found) != 1:
        raise RoiError(
            "no single ROI of this name" if segment else "the structure set holds several ROIs and none is named",
            found=f"{len(rois)} ROIs, {len(found)} of this name",
            todo="write the name into the column segment of series.tsv",
        )
    return found[0]


def _contours(dataset: Dataset, number: int) -> list[NDArray[np.float64]]:
    found = []
    for roi in dataset.get("ROIContourSequence", []):
        if int(roi.ReferencedROINumber) != number:
            continue
        for contour in roi.get("ContourSequence", []):
            if text(contour, "ContourGeometricType") in ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR"):
                found.append(np.array(contour.ContourData, dtype=float).reshape(-1, 3))
    return [points for points in found if len(points) >= 3]
