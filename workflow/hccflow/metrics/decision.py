"""Decision curves: net benefit of treating by a score against treating all and treating none.

Net benefit at threshold probability t: (TP - FP t / (1 - t)) / n with calls ``p >= t``. Treat none is 0 everywhere.

References
----------
Vickers AJ, Elkin EB. Med Decis Making 2006;26:565-574. Vickers AJ et al. BMC Med Inform Decis Mak 2008;8:53.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from hccflow.errors import ConfigError
from hccflow.metrics.calibration import check_probabilities
from hccflow.metrics.inputs import Floats


def check_thresholds(at: ArrayLike) -> Floats:
    """Threshold probabilities as an array; raises `ConfigError` when one is not inside (0, 1)."""
    thresholds = np.asarray(at, dtype=np.float64)
    outside = ~((thresholds > 0) & (thresholds < 1))
    if outside.any():
        raise ConfigError("a threshold probability must lie between 0 and 1", found=thresholds[outside][0])
    return thresholds


def benefit_weights(y: Floats, p: Floats, at: Floats) -> Floats:
    """Contribution of each row to net benefit at each threshold, shape (n, thresholds); their mean is the net benefit.

    Any resampling of the rows is then a product with its weights.
    """
    harm = at / (1 - at)
    return (p[:, None] >= at) * (y[:, None] - (1 - y[:, None]) * harm)


def net_benefit(y: ArrayLike, p: ArrayLike, at: ArrayLike) -> Floats:
    """Net benefit of the score at each threshold probability, shape (thresholds,); `y` must not be empty."""
    labels, scores = check_probabilities(y, p)
    return benefit_weights(labels, scores, check_thresholds(at)).mean(axis=0)


def net_benefit_treat_all(y: ArrayLike, at: ArrayLike) -> Floats:
    """Net benefit of treating everybody at each threshold probability, shape (thresholds,)."""
    labels, thresholds = np.asarray(y, dtype=np.float64), check_thresholds(at)
    return benefit_weights(labels, np.ones_like(labels), thresholds).mean(axis=0)
