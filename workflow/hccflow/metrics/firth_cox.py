"""Cox regression with Firth's penalty: finite estimates where events are few or a covariate separates them.

References
----------
Heinze G, Schemper M. Biometrics 2001;57:114-119.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats
from scipy.optimize import brentq, minimize

from hccflow.errors import HccflowError
from hccflow.metrics.cox import RiskSets
from hccflow.metrics.estimate import Estimate, undefined

Array = np.ndarray[Any, Any]
METHOD = "profile penalised likelihood"
NO_FIT = "the penalised likelihood did not converge"
#: Standardised coefficient at which the search for a limit gives up.
FURTHEST = 200.0


def firth_cox(X: Array, time: Array, event: Array, names: Sequence[str], level: float = 0.95) -> dict[str, Estimate]:
    """Penalised log hazard ratios with profile-likelihood intervals and penalised likelihood-ratio p.

    Parameters
    ----------
    X : array_like, shape (n, p)
        Covariates, complete and not collinear.
    time, event : array_like, shape (n,)
    names : sequence of str

    Returns
    -------
    dict
        Covariate -> estimate. Ties are handled as by Breslow.
    """
    X, time, event = np.asarray(X, float), np.asarray(time, float), np.asarray(event, bool)
    count: dict[str, Any] = {"n": time.size, "n_events": int(event.sum())}
    if not event.any():
        raise HccflowError("a Cox model needs events", found="none")
    centre, scale = X.mean(0), X.std(0)
    if np.any(scale == 0) or np.linalg.matrix_rank(X - centre) < X.shape[1]:
        return {name: undefined("a covariate is constant, or a combination of others", **count) for name in names}
    Z = (X - centre) / scale
    # The library wants positive times; only their order matters to a Cox model.
    rank = np.unique(time, return_inverse=True)[1] + 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = _fit(Z, event, rank)
        if model is None:
            return {name: undefined(NO_FIT, **count) for name in names}
        sets = RiskSets(Z, rank, event, ties="breslow")
        limits = [_limits(model, j, level, sets) for j in range(len(names))]
    out = {}
    for j, name in enumerate(names):
        low, high = (float(v / scale[j]) if np.isfinite(v) else None for v in limits[j])
        p = float(model.lrt_pvalues_[j])
        if not np.isfinite(p):
            p = float(stats.chi2.sf(2 * (model.loglik_ - _profile(sets, model.coef_, j, 0.0)), 1))
        value = float(model.coef_[j] / scale[j])
        reason = "" if low is not None and high is not None else "the profile likelihood gives no limit on one side"
        out[name] = Estimate(value, low, high, METHOD, p, **count, reason=reason)
    return out


def _fit(Z: Array, event: Array, rank: Array) -> Any:
    """Fit of the library, or None when no tolerance is reached.

    Steps that are too small are lost in rounding, and the library then says that it did not converge: where the
    likelihood is monotone and the estimate far from zero, coarser tolerances find the same maximum (the covariates
    are standardised, and a Newton step of 1e-5 leaves an error of its square).
    """
    from firthmodels import FirthCoxPH

    for gtol, xtol in ((1e-6, 1e-8), (1e-4, 1e-6), (1e-3, 1e-5)):
        model = FirthCoxPH(backend="numpy", max_iter=100, max_halfstep=50, gtol=gtol, xtol=xtol)
        try:
            model.fit(Z, (event, rank))
            model.lrt()
        except np.linalg.LinAlgError:
            return None
        if model.converged_:
            return model
    return None


def _limits(model: Any, j: int, level: float, sets: RiskSets) -> list[float]:
    """Profile limits of one coefficient; NaN where there is none.

    The library's Newton steps leave the region where the information can be inverted when there are few events;
    a limit that they do not reach is found by halving instead.
    """
    try:
        limits = model.conf_int(1 - level, features=[j], method="pl", max_iter=200, tol=1e-6)[j]
    except np.linalg.LinAlgError:
        limits = np.full(2, np.nan)
    target = float(model.loglik_ - stats.chi2.ppf(level, 1) / 2)
    return [
        v if np.isfinite(v) else _crossing(sets, model.coef_, j, target, side)
        for v, side in zip(limits, (-1, 1), strict=True)
    ]


def _crossing(sets: RiskSets, best: Array, j: int, target: float, side: int) -> float:
    """Where the profile of coefficient `j` falls to `target`, going to one side of the maximum."""
    near, far = float(best[j]), float(best[j]) + side
    while _profile(sets, best, j, far) > target:
        near, far = far, far + (far - near) * 2
        if abs(far) > FURTHEST:
            return np.nan
    return float(brentq(lambda value: _profile(sets, best, j, value) - target, near, far, xtol=1e-8))


def _profile(sets: RiskSets, best: Array, j: int, value: float) -> float:
    """Largest penalised log likelihood with coefficient `j` held at `value`."""
    others = np.arange(best.size) != j
    beta = best.copy()
    beta[j] = value

    def minus(rest: Array) -> float:
        beta[others] = rest
        loglik, _, information = sets.evaluate(beta)
        sign, logarithm = np.linalg.slogdet(information)
        # Where the information vanishes the penalty has no bound; a large number keeps the search going.
        return -(loglik + logarithm / 2) if sign > 0 and np.isfinite(logarithm) else 1e10

    if best.size == 1:
        return -minus(np.empty(0))
    return -float(minimize(minus, best[others], method="Nelder-Mead", options={"fatol": 1e-10, "xatol": 1e-7}).fun)
