"""Test of proportional hazards: the score test of R's ``cox.zph`` (survival 3 and later)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from hccflow.metrics.cox import MONOTONE, CoxFit, RiskSets
from hccflow.metrics.estimate import Estimate, undefined
from hccflow.metrics.km import kaplan_meier

Array = np.ndarray[Any, Any]
TRANSFORMS = ("km", "rank", "identity", "log")


def zph(fit: CoxFit, transform: str = "km", terms: Mapping[str, Sequence[str]] | None = None) -> dict[str, Estimate]:
    """Score test that a coefficient does not change with g(t), per term and for all together (``GLOBAL``).

    Covariates x g(t) are added to the fitted model and tested at zero (Grambsch and Therneau 1994, without the
    approximation of the variance).

    Parameters
    ----------
    fit : CoxFit
    transform : {"km", "rank", "identity", "log"}
        g(t): 1 - S(t-), the rank among all times (the censored ones too), the time, its logarithm.
    terms : mapping, optional
        Term -> its covariates (dummy variables of a category); each covariate is a term when absent.
    """
    terms = dict(terms) if terms is not None else {name: [name] for name in fit.names}
    count: dict[str, Any] = {"n": fit.n, "n_events": fit.events}
    if MONOTONE in fit.reasons.values():
        return {t: undefined(MONOTONE, **count) for t in [*terms, "GLOBAL"]}
    names = [name for name in fit.names if name not in fit.reasons]
    out = {t: undefined(fit.reasons[c[0]], **count) for t, c in terms.items() if not set(c) & set(names)}
    terms = {t: [c for c in columns if c in names] for t, columns in terms.items() if t not in out}
    sets = fit.sets
    g = _time_scale(sets, transform)
    if not np.isfinite(g).all() or not names:
        reason = "an event at time 0 has no logarithm" if names else "no covariate can be estimated"
        return out | {t: undefined(reason, **count) for t in [*terms, "GLOBAL"]}
    g = g - g.mean()
    k = np.flatnonzero(fit.usable)
    _, mean, spread = sets.moments(np.where(fit.usable, fit.coef, 0.0))
    mean, spread = mean[:, k], spread[:, k][:, :, k]
    p = len(names)
    gradient = g @ sets.X[np.ix_(sets.dead, k)] - g @ mean
    blocks = [np.tensordot(g**power, spread, 1) for power in (0, 1, 2)]
    information = np.block([[blocks[0], blocks[1]], [blocks[1], blocks[2]]])
    for term, columns in [*terms.items(), ("GLOBAL", names)]:
        j = np.array([names.index(name) for name in columns])
        rows = np.concatenate([np.arange(p), p + j])
        part = information[np.ix_(rows, rows)]
        if np.linalg.matrix_rank(part, hermitian=True) < len(rows):
            out[term] = undefined("too few distinct event times", **count)
            continue
        u = np.concatenate([np.zeros(p), gradient[j]])
        chi2 = float(u @ np.linalg.solve(part, u))
        out[term] = Estimate(chi2, p=float(stats.chi2.sf(chi2, j.size)), **count)
    return out


def _time_scale(sets: RiskSets, transform: str) -> Array:
    """g(t) at each event, in the order of the events."""
    at = sets.time[sets.dead]
    if transform == "identity":
        return at
    if transform == "log":
        with np.errstate(divide="ignore"):
            return np.log(at)
    if transform == "rank":
        return stats.rankdata(sets.time)[sets.dead]
    return 1 - kaplan_meier(sets.time, sets.event, sets.entry).at(at, before=True)
