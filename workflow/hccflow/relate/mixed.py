"""Repeated measures: a linear model with a random intercept per patient."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy import stats

from hccflow.metrics.estimate import Estimate, undefined
from hccflow.relate.correlation import Array


def fit_mixed(
    design: pd.DataFrame,
    y: Array,
    subjects: Array,
    *,
    contrasts: Mapping[str, Array] | None = None,
    level: float = 0.95,
) -> dict[str, Estimate]:
    """Fixed effects of a linear mixed model by REML, a random intercept per subject.

    Parameters
    ----------
    design : pandas.DataFrame, shape (n, k)
        Columns of the fixed effects, the constant (or one indicator for each group) among them.
    y : numpy.ndarray, shape (n,)
    subjects : numpy.ndarray of str, shape (n,)
    contrasts : mapping, optional
        Name -> weights of the k coefficients; by default each coefficient by itself, under the name of its column.

    Returns
    -------
    dict
        Name -> estimate. Intervals and p by t with (subjects - k) degrees of freedom, as in the analysis of subjects'
        means for effects between subjects; the normal quantiles of a Wald test are too short for a dozen animals. For
        effects within subjects that is conservative as long as the effect is the same in every subject; where it
        differs, it is not, since the model has no variance for that. Undefined with the reason where no subject was
        measured twice, the design is not of full rank, or REML fails or does not converge.
    """
    n_subjects, k = len(set(subjects)), design.shape[1]
    chosen = dict(zip(map(str, design), np.eye(k), strict=True)) if contrasts is None else contrasts
    why = ""
    if n_subjects == len(y):
        why = "no patient was measured twice; least squares answers this"
    elif n_subjects - k < 2:
        why = f"{n_subjects} patients for {k} coefficients"
    elif np.linalg.matrix_rank(design.to_numpy(float)) < k:
        why = "the design is not of full rank"
    elif np.ptp(y) == 0:
        why = "no variation"
    if why:
        return {name: undefined(why, n=n_subjects) for name in chosen}
    from statsmodels.regression.mixed_linear_model import MixedLM

    scale = float(np.std(y))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a variance at its boundary is told below, a failure to converge too
        try:  # not lbfgs: its first step goes to a variance of zero, and crashes or calls that the answer
            fit = MixedLM(y / scale, design, groups=subjects).fit(reml=True, method=["bfgs", "powell"])
        except np.linalg.LinAlgError as singular:
            return {name: undefined(f"REML failed: {singular}", n=n_subjects) for name in chosen}
    effects, covariance = np.asarray(fit.fe_params), np.asarray(fit.cov_params())[:k, :k]
    if not fit.converged or not np.isfinite(covariance).all():
        return {name: undefined("REML did not converge", n=n_subjects) for name in chosen}
    df = n_subjects - k
    half = stats.t.ppf(0.5 + level / 2, df)
    note = "no variance between patients" if float(fit.cov_re.iloc[0, 0]) < 1e-8 else ""
    found = {}
    for name, weights in chosen.items():
        value, error = float(weights @ effects), float(np.sqrt(weights @ covariance @ weights))
        p = float(2 * stats.t.sf(abs(value / error), df))
        low, high = (scale * (value - half * error), scale * (value + half * error))
        found[name] = Estimate(scale * value, low, high, f"REML, t({df})", p, n_subjects, reason=note)
    return found
