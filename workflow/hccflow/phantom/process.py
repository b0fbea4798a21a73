"""The data-generating process, on arrays: covariates, response, what readers measure, progression and death.

The same functions draw one subject for a table and a hundred thousand for the Bayes-optimal results, so the two cannot
disagree.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, ndtr, ndtri

from hccflow.phantom.parameters import Parameters, Response, Survival

Floats = NDArray[np.float64]
Booleans = NDArray[np.bool_]


def truncated_normal(rng: np.random.Generator, n: int, bound: float) -> Floats:
    """Standard normal draws, cut at plus and minus `bound`."""
    low = ndtr(-bound)
    return ndtri(low + (1 - 2 * low) * rng.random(n))


def draw_covariates(p: Parameters, rng: np.random.Generator, n: int) -> dict[str, Floats]:
    """Draw what response and survival depend on; all are independent.

    Returns
    -------
    dict
        ``heterogeneity``, ``size``, ``afp`` (cut standard normal) and ``child_pugh_b`` (0 or 1), each of shape (n,); in
        a study with arms also ``treatment``, the dose of an arm drawn at random.
    """
    drawn = {
        "heterogeneity": truncated_normal(rng, n, p.latent_bound),
        "size": truncated_normal(rng, n, p.latent_bound),
        "afp": truncated_normal(rng, n, p.latent_bound),
        "child_pugh_b": (rng.random(n) < p.clinical.child_pugh_b).astype(float),
    }
    if p.design.arms:
        drawn["treatment"] = rng.choice(list(p.design.arms.values()), n)
    return drawn


def linear_predictor(
    coefficients: Mapping[str, float], covariates: Mapping[str, Floats], names: Iterable[str] | None = None
) -> Floats:
    """Sum of coefficient times covariate over `names` (all by default), without an intercept; shape (n,)."""
    return np.sum([coefficients[name] * covariates[name] for name in names or coefficients], axis=0)


def draw_response(p: Response, rng: np.random.Generator, covariates: Mapping[str, Floats]) -> Booleans:
    """True objective response: Bernoulli with logit = intercept + linear predictor; shape (n,)."""
    probability = expit(p.intercept + linear_predictor(p.coefficients, covariates))
    return rng.random(len(probability)) < probability


def draw_course(p: Response, rng: np.random.Generator, response: Booleans) -> tuple[Floats, Booleans]:
    """True course of the viable tumour under treatment, given the true response and nothing else.

    Returns
    -------
    ratio : array of shape (n,)
        Viable diameter after treatment over viable diameter before; 0 for a complete response.
    new_lesion : array of bool of shape (n,)
    """
    n = len(response)
    which, within = rng.random(n), rng.random(n)

    def between(bounds: list[float]) -> Floats:
        return bounds[0] + (bounds[1] - bounds[0]) * within

    progressive = ~response & (which < p.progressive)
    responder = np.where(which < p.complete, 0.0, between(p.partial_ratio))
    other = np.where(progressive, between(p.progressive_ratio), between(p.stable_ratio))
    return np.where(response, responder, other), progressive & (rng.random(n) < p.new_lesion)


def draw_diameters(p: Parameters, rng: np.random.Generator, size: Floats) -> Floats:
    """Longest diameters of up to three lesions at baseline in mm, largest first, NaN where absent; shape (n, 3)."""
    largest = p.tumour.diameter_mm * np.exp(p.tumour.diameter_log_slope * size)
    number = 1 + (rng.random(len(size))[:, None] > np.cumsum(p.clinical.tumour_number)[:2]).sum(axis=1)
    smaller = np.sort(rng.uniform(0.4, 0.75, (len(size), 2)), axis=1)[:, ::-1]
    diameters = largest[:, None] * np.column_stack([np.ones(len(size)), smaller])
    return np.where(np.arange(3) < number[:, None], diameters, np.nan)


def draw_readings(p: Response, rng: np.random.Generator, diameters: Floats, ratio: Floats) -> dict[str, Floats]:
    """What each reader measures: true value times log-normal noise, in mm with one decimal.

    Parameters
    ----------
    diameters : array of shape (n, 3)
        True longest diameters at baseline.
    ratio : array of shape (n,)
        True viable ratio, see `draw_course`.

    Returns
    -------
    dict
        ``baseline_diameter, baseline_viable, followup_diameter, followup_viable``, each of shape (n, readers, 3).
    """
    n, lesions = diameters.shape
    viable = diameters * rng.uniform(0.85, 1.0, (n, lesions))
    viable_after = viable * ratio[:, None]
    after = np.fmax(diameters * (0.75 + 0.25 * np.minimum(ratio, 1.0))[:, None], viable_after)

    def read(truth: Floats, sd: float) -> Floats:
        noise = np.exp(sd * rng.standard_normal((n, len(p.readers), lesions)))
        return truth[:, None, :] * noise

    # A viable part is never larger than its lesion.
    whole, whole_after = read(diameters, p.diameter_noise), read(after, p.diameter_noise)
    part, part_after = read(viable, p.viable_noise), read(viable_after, p.viable_noise)
    measured = {
        "baseline_diameter": whole,
        "baseline_viable": np.minimum(part, whole),
        "followup_diameter": whole_after,
        "followup_viable": np.minimum(part_after, whole_after),
    }
    return {name: np.round(values, 1) for name, values in measured.items()}


def objective_response(readings: Mapping[str, Floats], new_lesion: Booleans) -> Booleans:
    """Objective response by each reader: viable diameters of the two target lesions fall by 30 % and nothing is new.

    Returns
    -------
    array of bool of shape (n, readers)

    References
    ----------
    Lencioni and Llovet, Semin Liver Dis 2010;30:52-60 (mRECIST).
    """
    before = np.nansum(readings["baseline_viable"][:, :, :2], axis=2)
    after = np.nansum(readings["followup_viable"][:, :, :2], axis=2)
    return (after <= 0.7 * before) & ~new_lesion[:, None]


def draw_survival(
    p: Survival, rng: np.random.Generator, covariates: Mapping[str, Floats]
) -> dict[str, tuple[NDArray[np.int64], Booleans]]:
    """Overall and progression-free survival with independent uniform censoring.

    With x the linear predictor, progression and death have the hazards
    ``(k / b) (u / b)^(k-1) exp(x)`` in u = t - delay >= 0, each with its own scale b and one shape k. Their minimum has
    a hazard of the same form, so both endpoints are log-linear in x with the same coefficients.

    Returns
    -------
    dict
        ``os`` and ``pfs``: whole days (rounded up) and whether the event was seen; PFS is never longer than OS.
    """
    x = linear_predictor(p.coefficients, covariates)
    exponential = rng.standard_exponential((2, len(x)))
    censored = p.censoring_days[0] + (p.censoring_days[1] - p.censoring_days[0]) * rng.random(len(x))
    scales = np.array([p.death_scale_days, p.progression_scale_days])[:, None]
    death, progression = p.delay_days + scales * (exponential * np.exp(-x)) ** (1 / p.shape)
    times = {"os": death, "pfs": np.minimum(death, progression)}
    return {
        name: (np.ceil(np.minimum(time, censored)).astype(np.int64), time <= censored) for name, time in times.items()
    }
