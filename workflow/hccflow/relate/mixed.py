"""Repeated measures: a linear model with a random intercept per patient."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
from scipy import stats

from hccflow.metrics.estimate import Estimate, undefined
from hccflow.relate.correlation import Array


def fit_mixed(design: pd.DataFrame, y: Array, subjects: Array, *, level: float = 0.95) -> dict[str, Estimate]:
    """Fixed effects of a linear mixed model by REML, a random intercept per subject.

    Parameters
    ----------
    design : pandas.DataFrame, shape (n, k)
        Columns of the fixed effects, the constant among them.
    y : numpy.ndarray, shape (n,)
    subjects : numpy.ndarray of str, shape (n,)

    Returns
    -------
    dict
        Column -> estimate. Intervals and p by t with (subjects - k) degrees of freedom: for effects between subjects as
        in the analysis of their means, for effects within conservative; the normal quantiles of a Wald test are too
        short for a dozen animals. Undefined with the reason where no subject was measured twice, the design is not of
        full rank, or REML fails or does not converge.
    """
    n_subjects, k = len(set(subjects)), design.shape[1]
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
        return {str(name): undefined(why, n=n_subjects) for name in design}
    from statsmodels.regression.mixed_linear_model import MixedLM

    scale = float(np.std(y))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a variance at its boundary is told below, a failure to converge too
        try:  # not lbfgs: its first step goes to a variance of zero, and crashes or calls that the answer
            fit = MixedLM(y / scale, design, groups=subjects).fit(reml=True, method=["bfgs", "powell"])
        except np.linalg.LinAlgError as error:
            return {str(name): undefined(f"REML failed: {error}", n=n_subjects) for name in design}
    errors = np.sqrt(np.diag(fit.cov_params())[:k])
    if not fit.converged or not np.isfinite(errors).all():
        return {str(name): undefined("REML did not converge", n=n_subjects) for name in design}
    df = n_subjects - k
    half = stats.t.ppf(0.5 + level / 2, df)
    note = "no variance between patients" if float(fit.cov_re.iloc[0, 0]) < 1e-8 else ""
    found = {}
    for name, value, error in zip(design, np.asarray(fit.fe_params), errors, strict=True):
        p = float(2 * stats.t.sf(abs(value / error), df))
        low, high = (scale * (value - half * error), scale * (value + half * error))
        found[str(name)] = Estimate(scale * value, low, high, f"REML, t({df})", p, n_subjects, reason=note)
    return found
