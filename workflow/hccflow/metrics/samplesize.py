"""Sample size: what a development or a validation study needs, to be read beside what it had.

References
----------
Riley RD et al. Stat Med 2019;38:1276-1296 (development). Riley RD et al. BMJ 2020;368:m441 (what R2 to take).
Riley RD et al. Stat Med 2021;40:4230-4251 (validation). Newcombe RG. Stat Med 2006;25:559-573 (variance of AUC).
Collins GS et al. Stat Med 2016;35:214-226 (100 events).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

#: An external validation with fewer events or non-events than this is stamped "underpowered" (Collins 2016).
ENOUGH_EVENTS = 100
#: Width of the interval of AUC at which an external validation aims (Riley 2021).
TARGET_WIDTH = 0.1
#: Share of the largest Cox-Snell R2 that a model is taken to reach where nothing better is known (Riley 2020).
USUAL_SHARE = 0.15


@dataclass(frozen=True)
class Development:
    """Riley's three criteria for a binary outcome, and their maximum `n`."""

    max_r2: float
    n_shrinkage: int
    shrinkage_needed: float
    n_optimism: int
    n_prevalence: int
    n: int
    events_per_parameter: float


def max_r2(prevalence: float) -> float:
    """Largest Cox-Snell R2 that any model of a binary outcome can reach."""
    return 1 - (prevalence**prevalence * (1 - prevalence) ** (1 - prevalence)) ** 2


def development_size(r2: float, parameters: int, prevalence: float, *, shrinkage: float = 0.9) -> Development:
    """Smallest development study for a binary outcome.

    Parameters
    ----------
    r2 : float
        Cox-Snell R2 that the model is expected to reach.
    parameters : int
        Candidate predictor parameters.
    prevalence : float
        Share of events.
    shrinkage : float
        Largest tolerated shrinkage of the coefficients.
    """
    largest = max_r2(prevalence)

    def size(target: float) -> int:
        return math.ceil(parameters / ((target - 1) * math.log(1 - r2 / target)))

    needed = r2 / (r2 + 0.05 * largest)
    sizes = (size(shrinkage), size(needed), math.ceil((1.96 / 0.05) ** 2 * prevalence * (1 - prevalence)))
    n = max(sizes)
    return Development(largest, sizes[0], needed, sizes[1], sizes[2], n, n * prevalence / parameters)


def auc_error(auc: float, n: float, prevalence: float) -> float:
    """Expected standard error of an AUC (Newcombe's formula)."""
    half = n / 2 - 1
    spread = 1 + half * (1 - auc) / (2 - auc) + half * auc / (1 + auc)
    return float(np.sqrt(auc * (1 - auc) * spread / (n**2 * prevalence * (1 - prevalence))))


def validation_size(auc: float, prevalence: float, *, width: float = TARGET_WIDTH, level: float = 0.95) -> int:
    """Smallest external validation in which the interval of AUC is expected to be at most `width` wide."""
    error = width / (2 * float(norm.ppf((1 + level) / 2)))
    low, high = 2, 4
    while auc_error(auc, high, prevalence) > error:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if auc_error(auc, middle, prevalence) > error else (low, middle)
    return high


def detectable(error: float, *, level: float = 0.95, power: float = 0.8) -> float:
    """Smallest true effect that a two-sided test with this standard error finds with the given power."""
    return float((norm.ppf((1 + level) / 2) + norm.ppf(power)) * error)
