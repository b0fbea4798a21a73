"""Pooling: of one estimate over cohorts or sites (random effects), and over imputations (Rubin).

References
----------
DerSimonian R, Laird N. Control Clin Trials 1986;7:177-188. Hartung J, Knapp G. Stat Med 2001;20:3875-3889. Sidik K,
Jonkman JN. Stat Med 2002;21:3153-3159. Viechtbauer W. J Educ Behav Stat 2005;30:261-293 (REML). Riley RD et al. BMJ
2011;342:d549 (prediction interval). Snell KIE et al. Stat Methods Med Res 2018;27:3505-3522 (AUC on the logit scale).
Rubin DB. 1987; Barnard J, Rubin DB. Biometrika 1999;86:948-955 (degrees of freedom).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import chi2, t

from hccflow.metrics.inputs import Floats


@dataclass(frozen=True)
class Pooled:
    """Random-effects mean with Hartung-Knapp-Sidik-Jonkman interval, and how much the units differ.

    Attributes
    ----------
    estimate, low, high : float
        On the scale that was pooled.
    tau2, i2 : float
        Variance between units (REML), and the share of the total variance that it makes (0 to 1).
    q, p_q : float
        Cochran's Q and its p-value (k - 1 degrees of freedom).
    prediction : tuple of float or None
        Interval in which a new unit's true value is expected; needs three units.
    """

    estimate: float
    low: float
    high: float
    tau2: float
    i2: float
    q: float
    p_q: float
    prediction: tuple[float, float] | None


def random_effects(estimates: ArrayLike, variances: ArrayLike, *, level: float = 0.95) -> Pooled:
    """Pool independent estimates of two or more units.

    Parameters
    ----------
    estimates, variances : array-like, shape (k,), k >= 2
        On a scale where normality is fair (AUC: its logit). Variances > 0.
    """
    values, within = np.asarray(estimates, dtype=np.float64), np.asarray(variances, dtype=np.float64)
    k = len(values)
    fixed = 1 / within
    q = float(fixed @ (values - fixed @ values / fixed.sum()) ** 2)
    tau2 = reml(values, within)
    weights = 1 / (within + tau2)
    mean = float(weights @ values / weights.sum())
    # The Knapp-Hartung factor is held at 1 or above: few alike units would give less than fixed effects.
    scale = max(1.0, float(weights @ (values - mean) ** 2) / (k - 1))
    error = np.sqrt(scale / weights.sum())
    side = (1 + level) / 2
    half = float(t.ppf(side, k - 1) * error)
    typical = (k - 1) * fixed.sum() / (fixed.sum() ** 2 - (fixed**2).sum())
    reach = float(t.ppf(side, k - 2) * np.sqrt(tau2 + error**2)) if k > 2 else None
    return Pooled(
        mean, mean - half, mean + half, tau2, float(tau2 / (tau2 + typical)), q, float(chi2.sf(q, k - 1)),
        None if reach is None else (mean - reach, mean + reach),
    )  # fmt: skip


def reml(values: Floats, within: Floats) -> float:
    """Restricted maximum likelihood estimate of the variance between units, by Fisher scoring; never below 0."""
    tau2 = max(0.0, float(values.var(ddof=1) - within.mean()))
    for _ in range(500):
        w = 1 / (within + tau2)
        mean = w @ values / w.sum()
        # P = W - W 1 1' W / sum(W): score (y'PPy - tr P) / 2, information tr(PP) / 2 (Viechtbauer 2005, section 3).
        trace_p = w.sum() - (w**2).sum() / w.sum()
        trace_pp = (w**2).sum() - 2 * (w**3).sum() / w.sum() + ((w**2).sum() / w.sum()) ** 2
        new = max(0.0, tau2 + float(((w * (values - mean)) ** 2).sum() - trace_p) / trace_pp)
        if abs(new - tau2) < 1e-12 * (1 + tau2):
            return float(new)
        tau2 = new
    return float(tau2)


def heterogeneity(estimates: ArrayLike, variances: ArrayLike) -> tuple[float, float]:
    """Cochran's Q of independent estimates and its p-value: the interaction test of a subgroup analysis."""
    values, within = np.asarray(estimates, dtype=np.float64), np.asarray(variances, dtype=np.float64)
    w = 1 / within
    q = float(w @ (values - w @ values / w.sum()) ** 2)
    return q, float(chi2.sf(q, len(values) - 1))


@dataclass(frozen=True)
class RubinPooled:
    """One estimate pooled over imputations: variances within, between and total, and what the missing data cost."""

    estimate: float
    within: float
    between: float
    variance: float
    df: float
    fmi: float
    riv: float

    def interval(self, *, level: float = 0.95) -> tuple[float, float]:
        """Interval by the t distribution with the adjusted degrees of freedom."""
        half = float(t.ppf((1 + level) / 2, self.df) * np.sqrt(self.variance))
        return self.estimate - half, self.estimate + half


def rubin(estimates: ArrayLike, variances: ArrayLike, *, n: int, parameters: int) -> RubinPooled:
    """Pool the estimates of m imputed data sets of n rows and a model with that many parameters (Rubin's rules)."""
    q, u = np.asarray(estimates, dtype=np.float64), np.asarray(variances, dtype=np.float64)
    m, complete = len(q), n - parameters
    within, between = float(u.mean()), float(q.var(ddof=1))
    variance = within + (1 + 1 / m) * between
    share = (1 + 1 / m) * between / variance
    observed = (complete + 1) / (complete + 3) * complete * (1 - share)
    df = observed if share == 0 else 1 / (share**2 / (m - 1) + 1 / observed)
    riv = (1 + 1 / m) * between / within
    fmi = (riv + 2 / (df + 3)) / (riv + 1)
    return RubinPooled(float(q.mean()), within, between, variance, float(df), float(fmi), float(riv))
