"""Agreement of two binary masks: Dice coefficient and 95 % Hausdorff distance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from hccflow.metrics.estimate import Estimate, undefined


def dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> Estimate:
    """Dice coefficient ``2 |A ∩ B| / (|A| + |B|)`` of two masks of the same shape.

    An empty mask against one that is not empty is 0; two empty masks have no Dice coefficient.

    References
    ----------
    Dice LR. Measures of the amount of ecologic association between species. Ecology 1945;26:297-302.
    """
    total = int(a.sum()) + int(b.sum())
    if total == 0:
        return undefined("both masks are empty")
    return Estimate(2 * int((a & b).sum()) / total)


def hd95(a: NDArray[np.bool_], b: NDArray[np.bool_], spacing_mm: Sequence[float]) -> Estimate:
    """95 % Hausdorff distance of two masks, in mm: the larger of the two directed 95th percentiles.

    The surface of a mask is its voxels with at least one of the six face neighbours outside it (the outside of the
    image counts as outside). From every surface voxel of the one mask the distance to the nearest surface voxel of the
    other is taken between voxel centres; percentiles are interpolated linearly.

    Parameters
    ----------
    a, b : array of bool, shape (k, j, i)
        Masks on the same grid.
    spacing_mm : sequence of 3 float
        Spacing along the axes of the arrays, ``(k, j, i)``.

    Returns
    -------
    Estimate
        Undefined with a reason when a mask is empty: no distance, neither 0 nor the image's size, stands in its place.

    References
    ----------
    Maier-Hein L, Reinke A, et al. Metrics reloaded: recommendations for image analysis validation. Nat Methods
    2024;21:195-212 (Hausdorff distance, percentile variant: maximum of the two directed percentiles).
    """
    if not a.any() or not b.any():
        which = "both masks are" if not a.any() and not b.any() else "one mask is"
        return undefined(f"{which} empty")
    box = _box(a | b)
    edge_a, edge_b = _surface(a[box]), _surface(b[box])
    there = ndimage.distance_transform_edt(~edge_b, sampling=spacing_mm)[edge_a]
    back = ndimage.distance_transform_edt(~edge_a, sampling=spacing_mm)[edge_b]
    return Estimate(float(max(np.percentile(there, 95), np.percentile(back, 95))))


def _surface(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return mask & ~ndimage.binary_erosion(mask)


def _box(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    """Smallest box around a mask; cutting there keeps every surface voxel one."""
    return ndimage.find_objects(mask.astype(np.uint8))[0]
