"""Logistic regression without penalty where it has a maximum, with Firth's where it has none or events are few.

References
----------
Albert A, Anderson JA. Biometrika 1984;71:1-10 (when there is a maximum). Konis K. Computational algorithms for
detecting separation in logistic regression. Thesis, Oxford 2007 (by a linear program).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import linprog
from scipy.special import expit
from scipy.stats import norm

from hccflow.metrics.collinearity import NOT_OWN, independent, standardised
from hccflow.metrics.estimate import Estimate, ratio, undefined
from hccflow.metrics.firth import EVENTS_PER_COEFFICIENT, logistic_likelihood, maximise, sparse
from hccflow.metrics.inputs import Floats, single_class
from hccflow.metrics.profile import NO_FIT, profiled

#: What a direction that separates the classes gains in the linear program, per row; less is rounding.
SEPARATES = 1e-6


def newton(X: Floats, y: Floats, offset: Floats, theta: Floats) -> tuple[Floats, Floats]:
    """Coefficients of maximum likelihood, from the start `theta`, and their covariance.

    There must be a maximum; the likelihood is concave, and steps that lower it are halved.
    """

    def loglik(at: Floats) -> float:
        eta = offset + X @ at
        return float(y @ eta - np.logaddexp(0, eta).sum())

    current = loglik(theta)
    for _ in range(100):
        mu = expit(offset + X @ theta)
        information = (X * (mu * (1 - mu))[:, None]).T @ X
        step = np.linalg.solve(information, X.T @ (y - mu))
        while (new := loglik(theta + step)) < current - 1e-9 * abs(current):
            step /= 2
        theta, current = theta + step, new
        if np.abs(step).max() < 1e-12 * max(1.0, np.abs(theta).max()):
            break
    mu = expit(offset + X @ theta)
    return theta, np.linalg.inv((X * (mu * (1 - mu))[:, None]).T @ X)


def separated(X: Floats, y: Floats) -> bool:
    """Whether a combination of the columns and a constant has no event on the side of the others, and no maximum."""
    signed = np.where(y == 1, 1.0, -1.0)[:, None] * np.column_stack([np.ones(len(X)), standardised(X)[0]])
    found = linprog(-signed.sum(0), A_ub=-signed, b_ub=np.zeros(len(X)), bounds=(-1, 1))
    return bool(-found.fun > SEPARATES * len(X))


def needs_firth(X: pd.DataFrame, y: Floats) -> str:
    """Why maximum likelihood is not to be trusted on these complete rows, or an empty string.

    Fewer than 10 events, or non-events, per coefficient; fewer than 5 of either on one side of a yes-or-no covariate;
    or separation.
    """
    if single_class(y):
        return ""
    X = X.loc[:, np.ptp(X.to_numpy(float), axis=0) > 0]
    fewer, word = min((int(y.sum()), "events"), (int(len(y) - y.sum()), "non-events"))
    if fewer < EVENTS_PER_COEFFICIENT * X.shape[1]:
        return f"{fewer} {word} for {X.shape[1]} coefficient{'s' * (X.shape[1] > 1)}"
    others = {name: text.replace(" events ", " non-events ") for name, text in sparse(X, y == 0).items()}
    notes = sparse(X, y == 1) | others
    return next(iter(notes.values()), "separation" if separated(X.to_numpy(float), y) else "")


def odds_ratios(X: pd.DataFrame, y: Floats, *, firth: bool, level: float = 0.95) -> dict[str, Estimate]:
    """Odds ratio of each column per unit, given the others.

    Columns that are constant or combinations of earlier ones are left out and say so.

    Parameters
    ----------
    X : pandas.DataFrame
        Complete columns, without intercept.
    y : numpy.ndarray of 0 and 1
    firth : bool
        Firth's penalty with profile-likelihood intervals and penalised likelihood-ratio p, instead of maximum
        likelihood with Wald intervals and p. Without it ask `needs_firth` first: there must be a maximum.
    level : float
    """
    names = [str(name) for name in X]
    count: dict[str, Any] = {"n": len(y), "n_events": int(y.sum())}
    if reason := single_class(y):
        return {name: undefined(reason, **count) for name in names}
    Z, _, scale = standardised(X.to_numpy(float))
    keep = independent(Z.T @ Z / len(Z))
    out = {name: undefined(NOT_OWN, **count) for name in names}
    kept = [name for name, ok in zip(names, keep, strict=True) if ok]
    design, units = np.column_stack([np.ones(len(Z)), Z[:, keep]]), scale[keep]
    if firth:
        at = logistic_likelihood(design, y)
        best = maximise(at, np.zeros(design.shape[1]), np.ones(design.shape[1], bool))
        for j, name in enumerate(kept):
            found = undefined(NO_FIT, **count) if best is None else profiled(at, best, j + 1, units[j], level, count)
            out[name] = ratio(found)
        return out
    theta, covariance = newton(design, y, np.zeros(len(y)), np.zeros(design.shape[1]))
    errors, quantile = np.sqrt(np.diag(covariance)), float(norm.ppf(0.5 + level / 2))
    for j, name in enumerate(kept):
        value, half = float(theta[j + 1] / units[j]), float(quantile * errors[j + 1] / units[j])
        p = float(2 * norm.sf(abs(theta[j + 1] / errors[j + 1])))
        out[name] = ratio(Estimate(value, value - half, value + half, "Wald", p, **count))
    return out
