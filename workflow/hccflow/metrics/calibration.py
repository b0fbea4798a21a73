"""Calibration of predicted probabilities: in the large, slope, flexible curve, Hosmer-Lemeshow, Brier score.

References
----------
Van Calster B et al. BMC Med 2019;17:230. Austin PC, Steyerberg EW. Stat Med 2019;38:4051-4065 (ICI, E50, E90).
Hosmer DW, Lemeshow S. Commun Stat 1980;A9:1043-1069. Brier GW. Mon Weather Rev 1950;78:1-3.
Naeini MP, Cooper GF, Hauskrecht M. AAAI 2015:2901-2907 (ECE). Nixon J et al. CVPR Workshops 2019 (equal counts).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import expit, logit
from scipy.stats import chi2, norm

from hccflow.errors import FitError, TableError
from hccflow.metrics.estimate import Estimate, undefined
from hccflow.metrics.inputs import (
    CONSTANT,
    EMPTY,
    NOT_PROBABILITIES,
    Floats,
    are_probabilities,
    check_binary,
    single_class,
)
from hccflow.metrics.logistic import newton

#: Sum of exp(-|linear predictor|), nearly the information on an intercept, below which it has no finite error.
NO_INFORMATION = 1e-10
#: Fewest rows, and fewest different scores, from which a flexible calibration curve is drawn.
CURVE_ROWS, CURVE_SCORES = 50, 10
#: Quantile groups of the expected calibration error, and fewest rows of a group on the average of groups.
ECE_GROUPS, GROUP_ROWS = 10, 4
TOO_ALIKE = "the scores are too alike to form two groups"


def check_probabilities(y: ArrayLike, p: ArrayLike) -> tuple[Floats, Floats]:
    """Check labels and probabilities; raises `TableError` when a score lies outside [0, 1]."""
    labels, scores = check_binary(y, p)
    if not are_probabilities(scores):
        raise TableError(NOT_PROBABILITIES, expected="values in [0, 1]", found=f"{scores.min():g} to {scores.max():g}")
    return labels, scores


def brier(y: ArrayLike, p: ArrayLike) -> tuple[Estimate, Estimate]:
    """Brier score mean((p - y)^2), and scaled by that of the prevalence: 1 - Brier / (prevalence (1 - prevalence))."""
    labels, scores = check_probabilities(y, p)
    n, events = len(labels), int(labels.sum())
    if n == 0:
        return undefined(EMPTY, n=0, n_events=0), undefined(EMPTY, n=0, n_events=0)
    value, prevalence = float(np.mean((scores - labels) ** 2)), events / n
    plain = Estimate(value, n=n, n_events=events)
    if reason := single_class(labels):
        return plain, undefined(reason, n=n, n_events=events)
    return plain, Estimate(1 - value / (prevalence * (1 - prevalence)), n=n, n_events=events)


def observed_expected(y: ArrayLike, p: ArrayLike) -> Estimate:
    """Ratio of the observed to the expected number of events."""
    labels, scores = check_probabilities(y, p)
    n, events = len(labels), int(labels.sum())
    if n == 0 or scores.sum() == 0:
        return undefined(EMPTY if n == 0 else "no event is expected", n=n, n_events=events)
    return Estimate(float(labels.mean() / scores.mean()), n=n, n_events=events)


def no_logistic_fit(y: Floats, lp: Floats, *, slope: bool) -> str:
    """Reason why logit(P(y)) = a [+ b lp] has no finite maximum likelihood estimate, or an empty string.

    With one covariate the estimate exists exactly when the classes overlap in both directions (Albert A, Anderson JA.
    Biometrika 1984;71:1-10), so separation is detected and not guessed from a large standard error.
    """
    if reason := single_class(y):
        return reason
    if not np.isfinite(lp).all():
        return f"{int((~np.isfinite(lp)).sum())} scores are exactly 0 or 1, so their logit is infinite"
    if not slope:
        return ""
    if np.ptp(lp) == 0:
        return CONSTANT
    events, others = lp[y == 1], lp[y == 0]
    if events.min() >= others.max() or events.max() <= others.min():
        return "perfect separation"
    return ""


@dataclass(frozen=True)
class LogisticFit:
    """Intercept and slope of a logistic model with one covariate, and the covariance of the two."""

    intercept: float
    slope: float
    covariance: Floats


def fit_logistic(y: Floats, lp: Floats, *, slope: bool = True) -> LogisticFit:
    """Fit logit(P(y)) = a + b lp by Newton's method; with ``slope=False`` b is 1 (lp enters as an offset).

    Call `no_logistic_fit` first.
    """
    X = np.column_stack([np.ones_like(lp), lp]) if slope else np.ones((len(lp), 1))
    offset = np.zeros_like(lp) if slope else lp
    theta = np.zeros(X.shape[1]) if slope else np.array([_offset_root(y, lp)])
    theta, covariance = newton(X, y, offset, theta)
    return LogisticFit(float(theta[0]), float(theta[1]) if slope else 1.0, covariance)


def _offset_root(y: Floats, lp: Floats) -> float:
    """Intercept at which the expected events are those observed; a bracketed root, since Newton's steps overshoot."""
    low, high = -float(lp.max()) - 40, -float(lp.min()) + 40
    return float(brentq(lambda a: float((y - expit(lp + a)).sum()), low, high))


def in_the_large(y: ArrayLike, p: ArrayLike, *, level: float = 0.95) -> Estimate:
    """Calibration in the large: intercept of a logistic model with logit(p) as offset; 0 = right on average.

    Positive: more events than predicted. Wald interval; p of the test against 0.
    """
    labels, scores = check_probabilities(y, p)
    n, events, lp = len(labels), int(labels.sum()), safe_logit(scores)
    if reason := no_logistic_fit(labels, lp, slope=False):
        return undefined(reason, n=n, n_events=events)
    if float((np.exp(-np.abs(lp + _offset_root(labels, lp)))).sum()) < NO_INFORMATION:
        return undefined("the scores are so extreme that the intercept has no finite error", n=n, n_events=events)
    fit = fit_logistic(labels, lp, slope=False)
    return _wald(fit.intercept, fit.covariance[0, 0], 0.0, n, events, level)


def intercept_and_slope(y: ArrayLike, p: ArrayLike, *, level: float = 0.95) -> tuple[Estimate, Estimate]:
    """Intercept and slope of logit(P(y)) = a + b logit(p); a = 0 and b = 1 when calibrated, b < 1 when too extreme.

    Wald intervals; p of the tests against 0 and 1.
    """
    labels, scores = check_probabilities(y, p)
    n, events, lp = len(labels), int(labels.sum()), safe_logit(scores)
    if reason := no_logistic_fit(labels, lp, slope=True):
        return undefined(reason, n=n, n_events=events), undefined(reason, n=n, n_events=events)
    fit = fit_logistic(labels, lp)
    return (
        _wald(fit.intercept, fit.covariance[0, 0], 0.0, n, events, level),
        _wald(fit.slope, fit.covariance[1, 1], 1.0, n, events, level),
    )


def _wald(value: float, variance: float, null: float, n: int, events: int, level: float) -> Estimate:
    error = float(np.sqrt(variance))
    half = float(norm.ppf((1 + level) / 2)) * error
    p = float(2 * norm.sf(abs(value - null) / error))
    return Estimate(value, value - half, value + half, "Wald", p, n, events)


def safe_logit(p: Floats) -> Floats:
    """Logit with infinities for 0 and 1, without warnings."""
    with np.errstate(divide="ignore"):
        return logit(p)


@dataclass(frozen=True)
class Curve:
    """Flexible calibration curve at the rows' own scores (in the order of the rows)."""

    predicted: Floats
    observed: Floats

    def errors(self) -> dict[str, float]:
        """Mean (ICI), median (E50), 90th percentile (E90) and maximum of the distance between curve and diagonal."""
        gap = np.abs(self.observed - self.predicted)
        return {
            "ici": float(gap.mean()), "e50": float(np.median(gap)),
            "e90": float(np.quantile(gap, 0.9)), "emax": float(gap.max()),
        }  # fmt: skip


def no_curve(y: Floats, p: Floats, *, rows: int = CURVE_ROWS) -> str:
    """Reason why no flexible curve is drawn, or an empty string."""
    if reason := single_class(y):
        return reason
    if len(y) < rows:
        return f"too few rows for a flexible curve: {len(y)} of {rows}"
    if (different := len(np.unique(p))) < CURVE_SCORES:
        return f"too few different scores for a flexible curve: {different} of {CURVE_SCORES}"
    if p[y == 1].min() >= p[y == 0].max() or p[y == 1].max() <= p[y == 0].min():
        return "perfect separation"
    return ""


def flexible_curve(y: Floats, p: Floats) -> Loess | str:
    """The flexible curve, or the reason why there is none: `no_curve`, or scores too close together for it."""
    if reason := no_curve(y, p):
        return reason
    try:
        return Loess(y, p)
    except FitError as singular:
        return str(singular)


class Loess:
    """Local quadratic regression of label on score with R's ``loess`` defaults (span 0.75, degree 2), by R's own code.

    Parameters
    ----------
    y, p : array-like, shape (n,)
        Labels and probabilities.

    Attributes
    ----------
    curve : Curve
        The fit at the rows.

    Raises
    ------
    FitError
        A neighbourhood holds too few different scores for a quadratic.
    """

    def __init__(self, y: ArrayLike, p: ArrayLike) -> None:
        from skmisc.loess import loess

        labels, scores = check_probabilities(y, p)
        self._fit = loess(scores, labels)
        try:
            self._fit.fit()
        except ValueError:  # R warns of near singularities and goes on; the library stops
            raise FitError("scores too close together for a flexible curve") from None
        self.curve = Curve(scores, np.asarray(self._fit.outputs.fitted_values))

    def at(self, grid: Floats) -> Floats:
        """Fit at other scores; NaN outside the range of the rows."""
        scores = self.curve.predicted
        inside = (grid >= scores.min()) & (grid <= scores.max())
        observed = np.full(len(grid), np.nan)
        if inside.any():
            observed[inside] = self._fit.predict(grid[inside], stderror=False).values
        return observed


def lowess_curve(y: ArrayLike, p: ArrayLike) -> Curve:
    """Curve of R's ``lowess(p, y, iter = 0)``: local linear, span 2/3; the smoother of ``rms::val.prob`` (Eavg)."""
    from statsmodels.nonparametric.smoothers_lowess import lowess

    labels, scores = check_probabilities(y, p)
    order = np.argsort(scores, kind="stable")
    smooth = lowess(labels[order], scores[order], frac=2 / 3, it=0, delta=0.01 * np.ptp(scores), return_sorted=True)
    values, first = np.unique(smooth[:, 0], return_inverse=True)
    means = np.bincount(first, smooth[:, 1]) / np.bincount(first)
    return Curve(scores, np.interp(scores, values, means))


def grouped(y: ArrayLike, p: ArrayLike, groups: int) -> Floats | None:
    """Rows in quantile groups of the score (type 7, right-closed): columns n, events, sum of scores.

    None where fewer than two groups remain after equal quantiles are joined.
    """
    labels, scores = check_probabilities(y, p)
    breaks = np.unique(np.quantile(scores, np.linspace(0, 1, groups + 1))) if len(scores) else np.empty(0)
    if len(breaks) < 3:
        return None
    which = np.clip(np.searchsorted(breaks, scores, side="left") - 1, 0, len(breaks) - 2)
    size = len(breaks) - 1
    columns = [np.bincount(which, w, size).astype(np.float64) for w in (np.ones_like(labels), labels, scores)]
    table: Floats = np.column_stack(columns)
    return table[table[:, 0] > 0]


def expected_calibration_error(y: ArrayLike, p: ArrayLike) -> Estimate:
    """Mean distance between the share of events and the mean score of quantile groups, weighted by rows (ECE).

    Biased upwards, the more the fewer rows: a group's share of events misses the truth by chance in either direction,
    and each miss counts as an error. Hence at least `GROUP_ROWS` rows for each of the `ECE_GROUPS`.
    """
    labels, scores = check_probabilities(y, p)
    n, events = len(labels), int(labels.sum())
    if n < GROUP_ROWS * ECE_GROUPS:
        why = f"too few rows for {ECE_GROUPS} groups: {n} of {GROUP_ROWS * ECE_GROUPS}"
        return undefined(why, n=n, n_events=events)
    table = grouped(labels, scores, ECE_GROUPS)
    if table is None:
        return undefined(TOO_ALIKE, n=n, n_events=events)
    return Estimate(float(np.abs(table[:, 1] - table[:, 2]).sum() / n), n=n, n_events=events)


@dataclass(frozen=True)
class HosmerLemeshow:
    """Chi-squared of Hosmer and Lemeshow, with p for both degrees of freedom.

    `p_development` counts g - 2 (the model was fitted on these rows), `p_external` counts g (it was not).
    """

    chi2: float | None
    groups: int
    p_development: float | None = None
    p_external: float | None = None
    reason: str = ""


def hosmer_lemeshow(y: ArrayLike, p: ArrayLike, groups: int) -> HosmerLemeshow:
    """Hosmer-Lemeshow test in quantile groups; secondary, because it depends on the grouping and on n."""
    labels, scores = check_probabilities(y, p)
    if len(labels) < (needed := GROUP_ROWS * groups):
        return HosmerLemeshow(None, 0, reason=f"too few rows for {groups} groups: {len(labels)} of {needed}")
    table = grouped(labels, scores, groups)
    if table is None:
        return HosmerLemeshow(None, 1, reason=TOO_ALIKE)
    n, events, expected = table.T
    g = len(table)
    if ((expected <= 0) | (expected >= n)).any():
        return HosmerLemeshow(None, g, reason="a group's scores are all 0 or all 1")
    value = float(((events - expected) ** 2 / expected + (expected - events) ** 2 / (n - expected)).sum())
    development = float(chi2.sf(value, g - 2)) if g > 2 else None
    return HosmerLemeshow(value, g, development, float(chi2.sf(value, g)))
