"""The geometry of a series, decided from its headers alone, before anything converts it.

Converters disagree on irregular series, and some go wrong without a word: a missing slice becomes a wrong spacing, two
phases become one interleaved volume, a tilted gantry a sheared one. So every series is split into volumes here, and a
volume whose slices do not form one regular stack is refused with its reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hccflow.dicom.headers import Plane
from hccflow.errors import GeometryError

#: Largest difference between direction cosines of one orientation (0.06 degrees).
SAME_DIRECTION = 1e-3
#: Positions along the normal closer than this are one position, in mm.
SAME_POSITION_MM = 0.01
#: Tags by which the volumes of one series are told apart, in this order of trust.
ORDER_TAGS = (
    *("TemporalPositionIdentifier", "AcquisitionNumber", "TriggerTime", "AcquisitionTime", "ContentTime", "EchoTime"),
)


@dataclass(frozen=True)
class Stack:
    """One volume: its slices in the order of the third axis, and where it lies.

    Attributes
    ----------
    planes : tuple of Plane
        Slices, along the normal.
    affine : ndarray of shape (4, 4)
        Voxel indices ``(i, j, k)`` to LPS millimetres; sheared where the gantry was tilted.
    tilt_degrees : float
        Angle between the normal and the line of the slice positions; 0 for a straight stack.
    """

    planes: tuple[Plane, ...]
    affine: NDArray[np.float64]
    tilt_degrees: float

    @property
    def size(self) -> tuple[int, int, int]:
        """Voxels ``(i, j, k)``."""
        return (*self.planes[0].size, len(self.planes))

    @property
    def straight_affine(self) -> NDArray[np.float64]:
        """Affine of the same planes with the shear taken out: axes orthogonal, the first plane in its place."""
        affine = self.affine.copy()
        normal = _normal(affine)
        affine[:3, 2] = normal * (affine[:3, 2] @ normal)
        return affine

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance of voxel centres along rows, columns and the normal, in mm."""
        x, y, z = np.linalg.norm(self.straight_affine[:3, :3], axis=0)
        return float(x), float(y), float(z)


def volumes(planes: Sequence[Plane], *, gap_tolerance: float, min_slices: int) -> list[Stack]:
    """Split the slices of one series into volumes, each one a regular stack, in the order of time (or echo).

    Parameters
    ----------
    planes : sequence of Plane
        All slices of the series, in any order.
    gap_tolerance : float
        Largest deviation of a step from the median step, as a fraction of it.
    min_slices : int
        Fewest slices of a volume.

    Raises
    ------
    GeometryError
        Missing tags, several orientations or matrices, a missing slice, uneven steps, too few slices, or several
        slices at one position that no tag tells apart.
    """
    _check_tags(planes)
    direction = np.array([p.orientation for p in planes])
    if np.abs(direction - direction[0]).max() > SAME_DIRECTION:
        raise GeometryError(
            "slices of several orientations in one series", found=f"{_distinct(direction)} orientations"
        )
    row, column = direction[0, :3], direction[0, 3:]
    lengths = np.array([np.linalg.norm(row), np.linalg.norm(column)])
    if np.abs(lengths - 1).max() > 1e-2 or abs(row @ column) > 1e-2:
        raise GeometryError("the orientation is not two perpendicular unit vectors")
    along = np.array([p.position for p in planes]) @ np.cross(row, column)
    order = np.argsort(along, kind="stable")
    breaks = np.flatnonzero(np.diff(along[order]) > SAME_POSITION_MM) + 1
    piles = [[planes[i] for i in pile] for pile in np.split(order, breaks)]
    if len(piles) < min_slices:
        raise GeometryError(
            "too few slices for a volume", expected=f"at least {min_slices} positions", found=f"{len(piles)}"
        )
    return [_stack(group, gap_tolerance) for group in _phases(piles)]


def _check_tags(planes: Sequence[Plane]) -> None:
    for name, label in (
        ("position", "ImagePositionPatient"),
        ("orientation", "ImageOrientationPatient"),
        ("spacing", "PixelSpacing"),
    ):
        missing = sum(getattr(p, name) is None for p in planes)
        if missing:
            raise GeometryError(
                "a geometry tag is missing", expected=label, found=f"absent in {missing} of {len(planes)}"
            )
    if not planes:
        raise GeometryError("no slice can be read")
    if len({p.size for p in planes}) > 1:
        raise GeometryError(
            "slices of several matrix sizes in one series", found=f"{len({p.size for p in planes})} sizes"
        )
    spacing = np.array([p.spacing for p in planes])
    if (spacing <= 0).any() or np.ptp(spacing, axis=0).max() > 1e-3 * spacing.max():
        raise GeometryError("pixel spacing is not positive, or differs between slices")


def _distinct(direction: NDArray[np.float64]) -> int:
    return len(np.unique(np.round(direction, 2), axis=0))


def _phases(piles: list[list[Plane]]) -> list[list[Plane]]:
    """Volumes of a series from its piles of slices at one position: one of each pile, in the order of one tag."""
    count = len(piles[0])
    if any(len(pile) != count for pile in piles):
        heights = [len(pile) for pile in piles]
        raise GeometryError(
            "positions do not hold the same number of slices",
            found=f"{min(heights)} to {max(heights)} slices per position",
            todo="look for duplicated slices or an incomplete phase",
        )
    if count == 1:
        return [[pile[0] for pile in piles]]
    for tag in ORDER_TAGS:
        if not all(tag in plane.order for pile in piles for plane in pile):
            continue
        sorted_piles = [sorted(pile, key=lambda plane: plane.order[tag]) for pile in piles]  # noqa: B023 - used at once
        times = np.array([[plane.order[tag] for plane in pile] for pile in sorted_piles])
        if (times[:, 1:].min(axis=0) > times[:, :-1].max(axis=0)).all():  # phases follow one another without overlap
            return [[pile[phase] for pile in sorted_piles] for phase in range(count)]
    raise GeometryError(
        "several slices at one position and no tag that tells them apart",
        found=f"{count} slices at each of {len(piles)} positions",
        todo="remove the duplicates, or split the series by hand",
    )


def _stack(planes: list[Plane], gap_tolerance: float) -> Stack:
    first = planes[0]
    assert first.orientation is not None and first.spacing is not None  # _check_tags
    row, column = np.array(first.orientation[:3]), np.array(first.orientation[3:])
    normal = np.cross(row, column)
    positions = np.array([p.position for p in planes])
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = row * first.spacing[1], column * first.spacing[0]
    affine[:3, 3] = positions[0]
    if len(planes) == 1:
        affine[:3, 2] = normal
        return Stack(tuple(planes), affine, 0.0)
    steps = np.diff(positions @ normal)
    median = float(np.median(steps))
    off = np.abs(steps - median) > gap_tolerance * median
    if off.any():
        gaps = int(np.round(steps[off] / median - 1).clip(0).sum())
        what = "slices are missing" if gaps else "the steps between slices are uneven"
        raise GeometryError(
            what,
            expected=f"steps of {median:.3g} mm within {100 * gap_tolerance:g} %",
            found=f"steps from {steps.min():.3g} to {steps.max():.3g} mm" + (f", about {gaps} missing" if gaps else ""),
        )
    step = (positions[-1] - positions[0]) / (len(planes) - 1)
    line = positions[0] + np.arange(len(planes))[:, None] * step
    aside = (positions - line) - np.outer((positions - line) @ normal, normal)
    pixel = min(first.spacing)
    if np.linalg.norm(aside, axis=1).max() > 0.5 * pixel:
        raise GeometryError("slices are shifted against each other in their plane", expected="positions on one line")
    affine[:3, 2] = step
    inplane = step - normal * (step @ normal)
    tilted = np.linalg.norm(inplane) * (len(planes) - 1) > 0.5 * pixel
    if not tilted:
        affine[:3, 2] = normal * (step @ normal)
    tilt = float(np.degrees(np.arctan2(np.linalg.norm(inplane), step @ normal))) if tilted else 0.0
    return Stack(tuple(planes), affine, tilt)


def _normal(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    return normal / np.linalg.norm(normal)
