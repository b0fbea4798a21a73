"""Masks from DICOM SEG: by geometry, so that sparse, cropped, overlapping and label-map objects all come out right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk  # noqa: N813 - its usual name
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from hccflow.dicom.headers import Header, planes_of, text
from hccflow.errors import GeometryError, RoiError
from hccflow.images import make_image, mask_on_grid

#: A fractional segment is the region where its fraction is at least this.
FRACTION = 0.5


def mask_from_seg(
    path: Path, segment: str, reference: sitk.Image, frame_of_reference: str
) -> tuple[sitk.Image, list[str]]:
    """Mask of one segment of a SEG on the grid of a reference image.

    Parameters
    ----------
    path : Path
        The SEG file.
    segment : str
        Label of the segment (letter case aside); empty when the SEG holds one only.
    reference : SimpleITK.Image
        Image on whose grid the mask is wanted.
    frame_of_reference : str
        FrameOfReferenceUID of that image, empty when it is not known.

    Raises
    ------
    RoiError
        No such segment, another frame of reference, an empty mask, or no overlap with the image.
    """
    dataset = pydicom.dcmread(path)
    own = text(dataset, "FrameOfReferenceUID")
    if own and frame_of_reference and own != frame_of_reference:
        raise RoiError("the segmentation belongs to another frame of reference than the image")
    numbers = _numbers(dataset, segment)
    kind = text(dataset, "SegmentationType")
    pixels = dataset.pixel_array
    frames = pixels if pixels.ndim == 3 else pixels[None]
    planes = planes_of(Header(path, dataset))
    if len(planes) != len(frames) or any(p.position is None or p.orientation is None or not p.spacing for p in planes):
        raise GeometryError("the segmentation does not say where its frames lie")
    notes = []
    if kind == "LABELMAP":
        inside = np.isin(frames, list(numbers))
        chosen = [i for i in range(len(frames)) if inside[i].any()]
    else:
        threshold = 1
        if kind == "FRACTIONAL":
            threshold = int(np.ceil(FRACTION * int(dataset.MaximumFractionalValue)))
            notes.append(f"fractional segment cut at {FRACTION:g}")
        groups = dataset.PerFrameFunctionalGroupsSequence
        shared = dataset.SharedFunctionalGroupsSequence[0]
        inside = frames >= threshold
        chosen = [i for i, frame in enumerate(groups) if _frame_number(frame, shared) in numbers and inside[i].any()]
    if not chosen:
        raise RoiError("the mask is empty")
    mask, moved = _placed([planes[i] for i in chosen], inside[chosen], dataset, reference)
    return mask, notes + (["mask resampled to the reference grid"] if moved else [])


def _segments(dataset: Dataset) -> list[Dataset]:
    return [s for s in dataset.SegmentSequence if int(s.SegmentNumber) != 0]


def _numbers(dataset: Dataset, segment: str) -> set[int]:
    segments = _segments(dataset)
    if not segment and len(segments) == 1:
        return {int(segments[0].SegmentNumber)}
    found = {int(s.SegmentNumber) for s in segments if text(s, "SegmentLabel").casefold() == segment.strip().casefold()}
    if not segment or not found:
        raise RoiError(
            "no segment of this label" if segment else "the segmentation holds several segments and none is named",
            found=f"{len(segments)} segments",
            todo="write the label into the column segment of series.tsv",
        )
    return found


def _frame_number(frame: Dataset, shared: Dataset) -> int:
    for holder in (frame, shared):
        if holder.get("SegmentIdentificationSequence"):
            return int(holder.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
    raise GeometryError("a frame of the segmentation names no segment")


def _placed(
    planes: list, inside: NDArray[np.bool_], dataset: Dataset, reference: sitk.Image
) -> tuple[sitk.Image, bool]:
    """Frames as a volume on their own regular grid, brought onto the reference grid.

    The step of that grid is the reference's own where all frames lie on its planes, else what the SEG declares.
    """
    row, column = np.array(planes[0].orientation[:3]), np.array(planes[0].orientation[3:])
    normal = np.cross(row, column)
    positions = np.array([p.position for p in planes])
    along = positions @ normal
    step = _step(along, dataset, reference, normal)
    index = np.rint((along - along.min()) / step).astype(int)
    if np.abs((along - along.min()) / step - index).max() > 0.1:
        raise GeometryError("the frames of the segmentation do not lie on evenly spaced planes")
    volume = np.zeros((index.max() + 1, *inside.shape[1:]), dtype=np.uint8)
    for at, frame in zip(index, inside, strict=True):
        volume[at] |= frame
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = row * planes[0].spacing[1], column * planes[0].spacing[0]
    affine[:3, 2], affine[:3, 3] = normal * step, positions[int(np.argmin(along))]
    return mask_on_grid(make_image(volume, affine), reference)


def _step(along: NDArray[np.float64], dataset: Dataset, reference: sitk.Image, normal: NDArray[np.float64]) -> float:
    direction = np.array(reference.GetDirection()).reshape(3, 3)
    if abs(abs(direction[:, 2] @ normal) - 1) < 1e-3:
        step = reference.GetSpacing()[2]
        away = (along - np.array(reference.GetOrigin()) @ normal) / step
        if np.abs(away - np.rint(away)).max() < 0.1:
            return step
    gaps = np.diff(np.unique(np.round(along, 3)))
    if gaps.size:
        return float(gaps.min())
    shared = dataset.SharedFunctionalGroupsSequence[0]
    measures = shared.get("PixelMeasuresSequence") or [Dataset()]
    return float(
        measures[0].get("SpacingBetweenSlices") or measures[0].get("SliceThickness") or reference.GetSpacing()[2]
    )
