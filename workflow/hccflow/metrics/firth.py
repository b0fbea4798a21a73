"""Likelihoods with Firth's penalty (half the logarithm of the determinant of the information), and their maximum.

Written here because libraries cap steps and iterations (R's ``coxphf``: 50 steps of at most 0.5) and so stop short of a
maximum that lies far out, where a covariate nearly separates the events; here the steps may grow.

References
----------
Firth D. Biometrika 1993;80:27-38. Heinze G, Schemper M. Stat Med 2002;21:2409-2419.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import linalg
from scipy.special import expit

from hccflow.errors import HccflowError

Array = np.ndarray[Any, Any]
#: Fewer events than this per coefficient, or on one side of a yes-or-no covariate, ask for the penalty.
EVENTS_PER_COEFFICIENT, EVENTS_PER_SIDE = 10, 5
#: Smallest eigenvalue of the information, scaled to a diagonal of ones, that can be inverted.
SINGULAR = 1e-13
#: Half the squared Newton decrement at which a maximum is reached, and that which rounding may leave.
REACHED, ROUNDING = 1e-16, 1e-7


def sparse(X: pd.DataFrame, event: Array) -> dict[str, str]:
    """Yes-or-no covariates (complete columns) with few events on one side, and the words that say so."""
    notes = {}
    for name in X:
        values = X[name].to_numpy()
        for side, word in ((1, "with"), (0, "without")):
            if np.isin(values, (0, 1)).all() and event[values == side].sum() < EVENTS_PER_SIDE:
                counts = f"{int((values == side).sum())} subjects, {int(event[values == side].sum())} events"
                notes[str(name)] = f"sparse: {counts} {word} {name}"
    return notes


@dataclass(frozen=True)
class Point:
    """Coefficients with the penalised log likelihood, its gradient, and the information."""

    beta: Array
    value: float
    gradient: Array
    information: Array


def penalised(
    beta: Array, loglik: float, gradient: Array, information: Array, slope: Callable[[Array], Array]
) -> Point | None:
    """Add the penalty; None where the information cannot be inverted.

    Parameters
    ----------
    beta, gradient : numpy.ndarray, shape (p,)
    loglik : float
    information : numpy.ndarray, shape (p, p)
    slope : callable
        Inverse of the information -> trace of its product with the derivative of the information, shape (p,).
    """
    size = np.diag(information)
    if not np.isfinite(information).all() or np.any(size <= 0):
        return None
    unit = np.sqrt(size)
    values, vectors = linalg.eigh(information / np.outer(unit, unit))
    if values[0] < SINGULAR:
        return None
    inverse = (vectors / values) @ vectors.T / np.outer(unit, unit)
    value = loglik + np.log(values).sum() / 2 + np.log(unit).sum()
    return Point(beta, float(value), gradient + slope(inverse) / 2, information)


def maximise(at: Callable[[Array], Point | None], beta: Array, free: Array) -> Point | None:
    """Newton steps of the coefficients `free`, halved when they fail, longer while they succeed; None: no maximum."""
    now, reach = at(beta), 5.0
    if now is None or not free.any():
        return now
    for _ in range(500):
        step = np.zeros(beta.size)
        step[free] = np.linalg.solve(now.information[np.ix_(free, free)], now.gradient[free])
        gain = float(now.gradient @ step) / 2
        if gain < REACHED:
            return now
        step *= min(1.0, reach / np.abs(step).max())
        new = _ascend(at, now, step)
        if new is None:
            break
        new = _refined(at, now, new)
        if gain < ROUNDING and new.value <= now.value + 1e-13 * max(1.0, abs(now.value)):
            return new  # what is left to gain is lost in rounding
        reach = max(5.0, 2 * np.abs(new.beta - now.beta).max())
        now = new
    return now if gain < ROUNDING else None


def _ascend(at: Callable[[Array], Point | None], now: Point, step: Array) -> Point | None:
    for _ in range(60):
        new = at(now.beta + step)
        if new is not None and new.value >= now.value - 1e-13 * max(1.0, abs(now.value)):
            return new
        step = step / 2
    return None


def _refined(at: Callable[[Array], Point | None], now: Point, new: Point) -> Point:
    """Point of the same line where its slope vanishes, if it is higher.

    The step takes the information for the curvature, but the penalty has its own: a step may be twice too long, and the
    next one would only go back.
    """
    moved = new.beta - now.beta
    first, last = float(now.gradient @ moved), float(new.gradient @ moved)
    if first <= last or abs(last) < 0.1 * first:
        return new
    other = at(now.beta + min(first / (first - last), 4.0) * moved)
    return new if other is None or other.value <= new.value else other


def logistic_likelihood(design: Array, y: Array) -> Callable[[Array], Point | None]:
    """Penalised likelihood of a logistic model, for `maximise`; the intercept is a column of `design`."""

    def at(beta: Array) -> Point | None:
        eta = design @ beta
        p, rest = expit(eta), expit(-eta)
        weight = p * rest
        loglik = -np.logaddexp(0.0, np.where(y == 1, -eta, eta)).sum()

        def slope(inverse: Array) -> Array:
            hat = weight * ((design @ inverse) * design).sum(1)
            return design.T @ (hat * (rest - p))

        gradient = design.T @ np.where(y == 1, rest, -p)
        return penalised(beta, float(loglik), gradient, (design.T * weight) @ design, slope)

    return at


def firth_logistic(X: Array, y: Array) -> Array:
    """Coefficients of a penalised logistic model, the intercept first (not penalised differently), shape (p + 1,).

    Parameters
    ----------
    X : array_like, shape (n, p)
        Predictors on about one scale.
    y : array_like of 0 and 1, shape (n,)

    Raises
    ------
    HccflowError
        A predictor is constant or a combination of others, or the maximum is beyond the precision of numbers.
    """
    design = np.column_stack([np.ones(len(X)), np.asarray(X, float)])
    at = logistic_likelihood(design, np.asarray(y, float))
    best = maximise(at, np.zeros(design.shape[1]), np.ones(design.shape[1], bool))
    if best is None:
        raise HccflowError(
            "Firth's logistic regression has no maximum that can be computed",
            expected="predictors that are not constant and no combinations of others", todo="use fewer, or ridge",
        )  # fmt: skip
    return best.beta
