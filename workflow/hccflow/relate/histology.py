"""Histology against imaging signatures: rank correlation, linear regression, and how well a line predicts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from hccflow.metrics.estimate import Estimate, undefined
from hccflow.metrics.multiplicity import holm_rows
from hccflow.relate.correlation import ENOUGH, Array, correlation, spearman_interval
from hccflow.relate.matching import by_subject, varying
from hccflow.relate.mixed import fit_mixed

LEVEL = 0.95
#: Metrics of one target and signature, in the order in which they are reported.
METRICS = ("spearman", "slope", "intercept", "r2", "rmse", "r2_unseen", "rmse_unseen")
#: The slope with the covariates as further columns, told beside the plain one where there are covariates.
PARTIAL = "slope_partial"
EXPLAINED = "the covariates explain the signature or the target entirely"


@dataclass(frozen=True)
class Line:
    """A least-squares line of a target on a signature in units of its development standard deviation."""

    intercept: float
    slope: float
    n: int

    def predict(self, x: Array) -> Array:
        """Predicted target."""
        return self.intercept + self.slope * x


def pairs(signature: pd.Series, target: pd.Series) -> pd.DataFrame:
    """Rows with both: ``x, y``, index ``subject, session``.

    A target measured by session meets the signature of the same session; one measured once per patient (empty
    session) meets the mean of the patient's sessions. Several samples of a patient and session are averaged first.
    """
    target = target.dropna().groupby(level=["subject", "session"]).mean()
    signature = signature.dropna()
    if (target.index.get_level_values("session") == "").all():
        signature = by_subject(signature.to_frame("x"))["x"]
        signature.index = pd.MultiIndex.from_product([signature.index, [""]], names=["subject", "session"])
    return pd.DataFrame({"x": signature, "y": target}).dropna()


def fit_line(rows: pd.DataFrame) -> Line | None:
    """Least squares; None with fewer than `ENOUGH` patients or without variation of the signature."""
    if rows.index.get_level_values("subject").nunique() < ENOUGH or rows["x"].nunique() < 2:
        return None
    return _line(rows["x"].to_numpy(), rows["y"].to_numpy())


def _line(x: Array, y: Array) -> Line:
    slope, intercept = np.polyfit(x, y, 1)
    return Line(float(intercept), float(slope), len(x))


def histology_rows(
    signatures: pd.DataFrame,
    targets: pd.DataFrame,
    regression: str,
    lines: Mapping[str, Line] | None,
    taught: frozenset[str],
    covariates: pd.DataFrame | None = None,
) -> list[dict[str, Any]]:
    """Metrics of every target and signature of a cohort.

    Parameters
    ----------
    signatures : pandas.DataFrame
        Index ``subject, session``; in units of the development standard deviation.
    targets : pandas.DataFrame
        Same index levels; only the targets.
    regression : {"ols", "mixed"}
        mixed: a random intercept per patient, for targets measured in several sessions.
    lines : mapping, optional
        ``target|signature`` -> line frozen in development, by which patients outside `taught` are predicted. Without
        it every patient is predicted by the line of the others (a development cohort).
    taught : frozenset of str
        Subjects on whom the lines were fitted.
    covariates : pandas.DataFrame, optional
        Index ``subject, session``; of those who have them all the rank correlation is then partial, and `PARTIAL` is
        the slope with them as further columns. ``slope`` and the lines that are drawn or predict are not adjusted.
        Patients' means have no one value of a covariate that varies with the session, so what rests on means is
        then undefined with that reason; the mixed model takes it by session.

    Returns
    -------
    list of dict
        Rows of the metrics table: ``endpoint`` the target, ``model`` the signature. ``spearman_holm``,
        ``slope_holm`` and ``slope_partial_holm`` hold p adjusted by Holm over targets and signatures, each a family.
    """
    tested = ("spearman", "slope", *([] if covariates is None else [PARTIAL]))
    rows, tests = [], []
    for target in targets:
        for name in signatures:
            where = {"endpoint": target, "model": name}
            both = pairs(signatures[name], targets[target])
            found = dict(_estimates(both, regression, covariates))
            line = None if lines is None else lines.get(f"{target}|{name}")
            unseen = both[~both.index.get_level_values("subject").isin(taught)]
            if lines is None:
                found |= _left_out(both)
            elif line is None:
                found |= _unknown("development could not fit a line", len(unseen))
            else:
                found |= _scored(unseen["y"].to_numpy(), line.predict(unseen["x"].to_numpy()), "line of development")
            rows += [found[metric].row(metric, **where) for metric in dict.fromkeys([*METRICS, *tested])]
            tests += [(metric, found[metric], where) for metric in tested]
    return rows + [row for metric in tested for row in holm_rows([test for test in tests if test[0] == metric])]


def _estimates(both: pd.DataFrame, regression: str, covariates: pd.DataFrame | None) -> Iterator[tuple[str, Estimate]]:
    means = by_subject(both)
    rows = both if regression == "mixed" and len(means) < len(both) else means  # nobody twice: one row per patient
    why = ""
    if len(means) < ENOUGH:
        why = f"{len(means)} matched patients; at least {ENOUGH} are needed"
    elif means["x"].nunique() < 2 or means["y"].nunique() < 2:
        why = "no variation"
    if why:
        yield from ((metric, undefined(why, n=len(means))) for metric in (*METRICS, PARTIAL))
        return
    yield "spearman", _spearman(means, covariates)
    yield from (_mixed(both) if regression == "mixed" else _least_squares(means))
    if covariates is not None:
        yield PARTIAL, _slope_given(rows, covariates, regression)


def _complete(rows: pd.DataFrame, covariates: pd.DataFrame | None) -> tuple[pd.DataFrame, Array, Estimate | None]:
    """Rows that have all covariates (cases their session's, patients' means the patient's), these, and a refusal."""
    subjects = rows.index.get_level_values("subject")
    if covariates is None:
        given = np.empty((len(rows), 0))
    elif rows.index.nlevels == 2:
        given = covariates.reindex(rows.index).to_numpy(float)
    elif several := varying(covariates):
        why = f"not the same in all sessions of a patient, whose mean is compared: {', '.join(several)}"
        return rows, np.empty((len(rows), 0)), undefined(why, n=subjects.nunique())
    else:
        given = covariates.groupby(level="subject").first().reindex(subjects).to_numpy(float)
    known = np.flatnonzero(~np.isnan(given).any(axis=1))
    n, needed = subjects[known].nunique(), ENOUGH + given.shape[1]
    why = f"{n} matched patients with all covariates; at least {needed} are needed"
    return rows.iloc[known], given[known], undefined(why, n=n) if n < needed else None


def _spearman(means: pd.DataFrame, covariates: pd.DataFrame | None) -> Estimate:
    """Rank correlation of patients' means, partial where there are covariates."""
    means, given, refused = _complete(means, covariates)
    if refused:
        return refused
    link = correlation(means[["x"]].to_numpy(), means["y"].to_numpy(), given)
    rho, n = float(link.r[0]), len(means)
    if np.isnan(rho):
        return undefined(EXPLAINED, n=n)
    low, high = spearman_interval(rho, link.df + 2, LEVEL)  # each covariate costs a patient
    how = "Fisher z, Bonett-Wright" + (", partial" if given.shape[1] else "")
    return Estimate(rho, low, high, how, float(link.p(link.r)[0]), n)


def _slope_given(rows: pd.DataFrame, covariates: pd.DataFrame, regression: str) -> Estimate:
    """Slope of the signature in a model that has the covariates too; redundant covariates do no harm."""
    rows, given, refused = _complete(rows, covariates)
    if refused:
        return refused
    x, y, subjects = rows["x"].to_numpy(), rows["y"].to_numpy(), rows.index.get_level_values("subject").to_numpy()
    link = correlation(x[:, None], y, given, method="pearson")
    if np.isnan(link.r[0]):
        return undefined(EXPLAINED, n=len(set(subjects)))
    if regression == "mixed":
        design = pd.DataFrame(np.column_stack([link.basis, x]))  # an orthonormal basis spans constant and covariates
        weights = np.eye(design.shape[1])[-1]
        found = fit_mixed(design, y, subjects, contrasts={PARTIAL: weights}, level=LEVEL)[PARTIAL]
        return replace(found, ci_method=f"{found.ci_method}, partial") if found.ci_method else found
    left_x, left_y = (v - link.basis @ (link.basis.T @ v) for v in (x, y))
    value = float(left_x @ left_y / (left_x @ left_x))
    error = np.sqrt(np.sum((left_y - value * left_x) ** 2) / link.df / (left_x @ left_x))
    half = float(stats.t.ppf(0.5 + LEVEL / 2, link.df) * error)
    return Estimate(value, value - half, value + half, "t, partial", float(link.p(link.r)[0]), len(y))


def _least_squares(means: pd.DataFrame) -> Iterator[tuple[str, Estimate]]:
    x, y, n = means["x"].to_numpy(), means["y"].to_numpy(), len(means)
    fit = stats.linregress(x, y)
    half = stats.t.ppf(0.5 + LEVEL / 2, n - 2)
    for metric, value, error in (
        ("slope", fit.slope, fit.stderr),
        ("intercept", fit.intercept, fit.intercept_stderr),
    ):
        p = float(fit.pvalue) if metric == "slope" else None
        yield metric, Estimate(float(value), float(value - half * error), float(value + half * error), "t", p, n)
    left = y - fit.intercept - fit.slope * x
    yield "r2", Estimate(float(fit.rvalue**2), n=n)
    yield "rmse", Estimate(float(np.sqrt(np.mean(left**2))), n=n)


def _mixed(both: pd.DataFrame) -> Iterator[tuple[str, Estimate]]:
    subjects = both.index.get_level_values("subject").to_numpy()
    design = pd.DataFrame({"intercept": 1.0, "slope": both["x"].to_numpy()})
    found = fit_mixed(design, both["y"].to_numpy(), subjects, level=LEVEL)
    yield "slope", found["slope"]
    yield "intercept", replace(found["intercept"], p=None)
    why = "R² and RMSE on the fitted rows are given for least squares only"
    yield from ((metric, undefined(why, n=found["slope"].n)) for metric in ("r2", "rmse"))


def _left_out(both: pd.DataFrame) -> dict[str, Estimate]:
    """Every patient predicted by the line of all others."""
    subjects = both.index.get_level_values("subject")
    if subjects.nunique() < ENOUGH:
        return _unknown(f"{subjects.nunique()} matched patients; at least {ENOUGH} are needed", subjects.nunique())
    if both["x"].nunique() < 2 or both["y"].nunique() < 2:
        return _unknown("no variation", subjects.nunique())
    x, y, predicted = both["x"].to_numpy(), both["y"].to_numpy(), np.empty(len(both))
    for subject in subjects.unique():
        own = np.asarray(subjects == subject)
        if len(np.unique(x[~own])) < 2:
            return _unknown("no variation without one patient", subjects.nunique())
        predicted[own] = _line(x[~own], y[~own]).predict(x[own])
    return _scored(y, predicted, "leave one patient out")


def _scored(y: Array, predicted: Array, how: str) -> dict[str, Estimate]:
    """R² about the cohort's own mean (negative: worse than that mean) and RMSE in units of the target."""
    if len(y) < 2 or np.ptp(y) == 0:
        return _unknown("fewer than two unseen patients, or no variation among them", len(y))
    error = float(np.mean((y - predicted) ** 2))
    return {
        "r2_unseen": Estimate(1.0 - error / float(np.var(y)), ci_method=how, n=len(y)),
        "rmse_unseen": Estimate(float(np.sqrt(error)), ci_method=how, n=len(y)),
    }


def _unknown(why: str, n: int) -> dict[str, Estimate]:
    return {metric: undefined(why, n=n) for metric in ("r2_unseen", "rmse_unseen")}
