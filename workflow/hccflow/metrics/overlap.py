"""Agreement of two binary masks by surface (95 % Hausdorff distance, surface Dice) and by lesion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from hccflow.images import ROUNDING, components
from hccflow.metrics.estimate import Estimate, undefined


class Distances(NamedTuple):
    """Distance in mm from every surface voxel of one mask to the nearest of the other, for both masks.

    A surface without voxels has no distances; those of the other mask are then infinite.
    """

    there: NDArray[np.float64]
    back: NDArray[np.float64]


class Detection(NamedTuple):
    """Lesions of the reference, how many of them were found, and predicted lesions that are none."""

    n_lesions: int
    n_found: int
    n_false: int


def surface_distances(a: NDArray[np.bool_], b: NDArray[np.bool_], spacing_mm: Sequence[float]) -> Distances:
    """Distances between the surfaces of two masks.

    The surface of a mask is its voxels with at least one of the six face neighbours outside it (the outside of the
    image counts as outside). Distances are taken between voxel centres.

    Parameters
    ----------
    a, b : array of bool, shape (k, j, i)
        Masks on the same grid.
    spacing_mm : sequence of 3 float
        Spacing along the axes of the arrays, ``(k, j, i)``.
    """
    box = _box(a | b)
    edge_a, edge_b = _surface(a[box]), _surface(b[box])
    if not edge_a.any() or not edge_b.any():
        return Distances(*(np.full(int(edge.sum()), np.inf) for edge in (edge_a, edge_b)))
    there = ndimage.distance_transform_edt(~edge_b, sampling=spacing_mm)[edge_a]
    back = ndimage.distance_transform_edt(~edge_a, sampling=spacing_mm)[edge_b]
    return Distances(there, back)


def hd95(distances: Distances) -> Estimate:
    """95 % Hausdorff distance in mm: the larger of the two directed 95th percentiles, interpolated linearly.

    Returns
    -------
    Estimate
        Undefined with a reason when a mask is empty: no distance, neither 0 nor the image's size, stands in its place.

    References
    ----------
    Maier-Hein L, Reinke A, et al. Metrics reloaded: recommendations for image analysis validation. Nat Methods
    2024;21:195-212 (Hausdorff distance, percentile variant: maximum of the two directed percentiles).
    """
    empty = [not len(side) for side in distances]
    if any(empty):
        return undefined(f"{'both masks are' if all(empty) else 'one mask is'} empty")
    return Estimate(float(max(np.percentile(side, 95) for side in distances)))


def surface_dice(distances: Distances, tolerance_mm: float) -> Estimate:
    """Surface Dice: share of the voxels of both surfaces that lie at most the tolerance from the other surface.

    Voxels count alike, as in Metrics Reloaded and in MONAI's default; Nikolov et al. weigh them by the area that they
    stand for. Like Dice, an empty mask against one that is not empty is 0, and two empty masks have none.

    References
    ----------
    Nikolov S, Blackwell S, et al. Deep learning to achieve clinically applicable segmentation of head and neck anatomy
    for radiotherapy. arXiv:1809.04430 (2018); J Med Internet Res 2021;23:e26151.
    """
    total = sum(len(side) for side in distances)
    if total == 0:
        return undefined("both masks are empty")
    limit = tolerance_mm * (1 + ROUNDING)
    return Estimate(sum(int((side <= limit).sum()) for side in distances) / total)


def detection(reference: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> Detection:
    """Lesions that were found: connected components (26 neighbours) that share at least one voxel with the other mask.

    A component of the reference is found when the predicted mask has a voxel of it; a predicted component without any
    voxel of the reference is false. One predicted component may find several lesions, and several may find one.

    References
    ----------
    Gatidis S, Früh M, Fabritius MP, et al. Results from the autoPET challenge on fully automated lesion segmentation in
    oncologic PET/CT imaging. Nat Mach Intell 2024;6:1396-1405 (false negative and false positive components).
    """
    box = _box(reference | predicted)
    both = reference[box] & predicted[box]
    (lesions, n), (finds, m) = components(reference[box]), components(predicted[box])
    return Detection(n, len(np.unique(lesions[both])), m - len(np.unique(finds[both])))


def _surface(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return mask & ~ndimage.binary_erosion(mask)


def _box(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    """Smallest box around a mask, of nothing when it is empty; cutting there keeps every surface voxel one."""
    found = ndimage.find_objects(mask.astype(np.uint8))
    return found[0] if found else (slice(0),) * mask.ndim
