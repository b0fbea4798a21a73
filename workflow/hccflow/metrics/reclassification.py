"""Net reclassification (NRI) and integrated discrimination (IDI): for supplements, beside a warning.

References
----------
Pencina MJ et al. Stat Med 2011;30:11-21.
The warning: Hilden J, Gerds TA. Stat Med 2014;33:3405-3414. Pepe MS et al. Stat Biosci 2015;7:282-295.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from hccflow.metrics.calibration import check_probabilities

WARNING = (
    "supplement only: NRI and IDI are not proper scores, adding noise can raise them; read AUC and net benefit first"
)


def reclassification(y: ArrayLike, new: ArrayLike, old: ArrayLike) -> dict[str, float]:
    """Category-free NRI (events, non-events, sum) and IDI of `new` against `old` probabilities; needs both classes."""
    labels, after = check_probabilities(y, new)
    _, before = check_probabilities(y, old)
    event, move, gain = labels == 1, np.sign(after - before), after - before
    events, nonevents = float(move[event].mean()), -float(move[~event].mean())
    return {
        "nri_events": events, "nri_nonevents": nonevents, "nri": events + nonevents,
        "idi": float(gain[event].mean() - gain[~event].mean()),
    }  # fmt: skip
