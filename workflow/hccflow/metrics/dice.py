"""Agreement of two binary masks by volume; apart from `overlap`, since networks need it and no reader of images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

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
