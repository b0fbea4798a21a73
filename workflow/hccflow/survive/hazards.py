"""Cox models of a sample: score alone, covariates alone, both; tests, Firth, ridge, proportional hazards, spline.

The column ``comparator`` of a row says which model a coefficient belongs to:

=================  ===================================================================================================
``clinical``       the covariates together, without the score, on every subject with follow-up and all covariates
``multivariable``  score and covariates together
``univariable``    one covariate, or the score, alone
``low``            the group ``high`` against the group ``low``, alone
=================  ===================================================================================================

A test of proportional hazards with another transformation of time than ``km`` adds its name: ``clinical, log``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from hccflow.metrics.collinearity import inflation
from hccflow.metrics.cox import CoxFit, fit_cox
from hccflow.metrics.estimate import Estimate, ratio, undefined
from hccflow.metrics.firth import EVENTS_PER_COEFFICIENT, sparse
from hccflow.metrics.firth_cox import firth_cox
from hccflow.metrics.spline import spline_hazard
from hccflow.metrics.time_varying import fit_log_time
from hccflow.metrics.zph import TRANSFORMS, zph
from hccflow.survive.samples import Sample, design, outcome
from hccflow.survive.settings import Settings

Row = dict[str, Any]
Array = np.ndarray[Any, Any]


def hazard_rows(sample: Sample, settings: Settings) -> tuple[list[Row], pd.DataFrame]:
    """Rows of the metrics table and the spline of the score (``spline.tsv``)."""
    frame = sample.frame
    X, terms = design(frame, settings)
    X = X.assign(score=frame["score"])
    clinical = [name for columns in terms.values() for name in columns]
    rows: list[Row] = []
    if clinical:
        rows += _model(sample, settings, X[clinical], "clinical", terms)
        rows += _model(sample, settings, X[["score", *clinical]], "multivariable", {"score": ["score"], **terms})
        rows.append(_added(sample, settings, X, clinical).row("cox_added_chi2", comparator="clinical", **sample.where))
    for term, columns in terms.items():
        rows += _model(sample, settings, X[columns], "univariable", {term: columns})
    rows += score_rows(sample, settings)
    rows += _changing(sample, settings)
    spline_rows, curve = _spline(sample, settings)
    return rows + spline_rows, curve


def score_rows(sample: Sample, settings: Settings) -> list[Row]:
    """Rows of the models of the score alone: as a number, and where there is a cut, high against low."""
    score = sample.frame["score"]
    rows = _model(sample, settings, score.to_frame(), "univariable", {"score": ["score"]})
    cut = settings.cut.get(sample.model)
    if cut is not None:
        high = (score >= cut).where(score.notna()).astype("float64").rename("high")
        rows += _model(sample, settings, high.to_frame(), "low", {"high": ["high"]})
    return rows


def _fit(sample: Sample, settings: Settings, X: pd.DataFrame, ridge: float = 0.0) -> CoxFit | Estimate:
    """Fit on the complete rows, or say why there is nothing to fit."""
    complete = X.notna().all(axis=1)
    frame, X = sample.frame[complete], X[complete]
    time, event, entry = outcome(frame)
    if not event.any():
        return undefined("no events", n=len(frame), n_events=0)
    return fit_cox(X.to_numpy(), time, event, list(X.columns), entry=entry, ties=settings.ties, ridge=ridge)


def _model(
    sample: Sample, settings: Settings, X: pd.DataFrame, comparator: str, terms: dict[str, list[str]]
) -> list[Row]:
    where = {"comparator": comparator, **sample.where}
    fit = _fit(sample, settings, X)
    names = list(X.columns)
    # A model of one covariate has no more to say together than alone; only the score's is told, so each row is unique.
    whole = comparator != "univariable" or names == ["score"]
    if isinstance(fit, Estimate):
        metrics = [(m, name) for name in names for m in ("cox_coef", "cox_hr", "firth_coef", "firth_hr")]
        metrics += [("zph_chi2", name) for name in terms]
        metrics += [("vif", name) for name in terms if len(terms) > 1]
        if whole:
            metrics += [(f"cox_{name}_chi2", "GLOBAL") for name in ("lr", "wald", "score")] + [("zph_chi2", "GLOBAL")]
        return [fit.row(metric, group=group, **where) for metric, group in metrics]
    rows = []
    few = _sparse(sample, X)
    for name in names:
        value = fit.coefficient(name, settings.level)
        value = replace(value, reason=value.reason or few.get(name, ""))
        rows += [value.row("cox_coef", group=name, **where), ratio(value).row("cox_hr", group=name, **where)]
    if "score" in X:
        sd = float(X.loc[X.notna().all(axis=1), "score"].std())
        rows.append(ratio(fit.coefficient("score", settings.level), sd).row("cox_hr_sd", group="score", **where))
    if whole:
        rows += [test.row(f"cox_{name}_chi2", group="GLOBAL", **where) for name, test in fit.tests().items()]
    for transform in TRANSFORMS:
        label = comparator if transform == "km" else f"{comparator}, {transform}"
        for term, test in zph(fit, transform, terms).items():
            if whole or term != "GLOBAL":
                rows.append(test.row("zph_chi2", group=term, **{**where, "comparator": label}))
    if len(terms) > 1:
        factors = inflation(X[X.notna().all(axis=1)], terms)
        rows += [factor.row("vif", group=term, **where) for term, factor in factors.items()]
    rows += _penalised(sample, settings, X, fit, bool(few), where)
    return rows


def _penalised(
    sample: Sample, settings: Settings, X: pd.DataFrame, fit: CoxFit, few: bool, where: dict[str, str]
) -> list[Row]:
    """Firth's estimates where the ordinary ones cannot be trusted, and ridge estimates where they were asked for."""
    rows = []
    separated = any(reason.startswith("monotone") for reason in fit.reasons.values())
    if few or separated or fit.events < EVENTS_PER_COEFFICIENT * len(fit.names):
        complete = X.notna().all(axis=1)
        time, event, entry = outcome(sample.frame[complete])
        count: dict[str, Any] = {"n": fit.n, "n_events": fit.events}
        if entry is not None:
            none = undefined("Firth's penalty is not defined here with delayed entry", **count)
            values = dict.fromkeys(fit.names, none)
        else:
            values = firth_cox(X[complete].to_numpy(), time, event, list(X.columns), settings.level)
        for name, value in values.items():
            rows += [value.row("firth_coef", group=name, **where), ratio(value).row("firth_hr", group=name, **where)]
    if settings.ridge is not None:
        shrunk = _fit(sample, settings, X, settings.ridge)
        assert isinstance(shrunk, CoxFit)
        for name in fit.names:
            point = shrunk.coefficient(name, settings.level)
            value = Estimate(point.value, n=point.n, n_events=point.n_events, reason=point.reason)
            rows.append(value.row("cox_ridge_coef", group=name, **where))
    return rows


def _sparse(sample: Sample, X: pd.DataFrame) -> dict[str, str]:
    """Yes-or-no covariates of a model with few events on one side, and the words that say so."""
    complete = X[X.notna().all(axis=1)]
    event = (sample.frame.loc[complete.index, "event"] == 1).to_numpy()
    return {name: f"{text}; see firth_coef" for name, text in sparse(complete, event).items()}


def _added(sample: Sample, settings: Settings, X: pd.DataFrame, clinical: list[str]) -> Estimate:
    """Likelihood-ratio test of what the score adds to the covariates, on the rows that have both."""
    both = X[["score", *clinical]].dropna()
    part = X.loc[both.index]
    full, base = _fit(sample, settings, X[["score", *clinical]]), None
    if isinstance(full, Estimate):
        return full
    time, event, entry = outcome(sample.frame.loc[part.index])
    base = fit_cox(part[clinical].to_numpy(), time, event, clinical, entry=entry, ties=settings.ties)
    if full.df == base.df:
        return undefined("the score is constant, or a combination of the covariates", n=full.n, n_events=full.events)
    chi2 = max(2 * (full.loglik[1] - base.loglik[1]), 0.0)
    return Estimate(chi2, p=float(stats.chi2.sf(chi2, 1)), n=full.n, n_events=full.events)


def _changing(sample: Sample, settings: Settings) -> list[Row]:
    """Hazard ratios of the score that change with time: what to report when hazards are not proportional.

    Two coefficients, before and after the median event time (R: ``survSplit``), and a coefficient of score x log(t)
    with the hazard ratios that it gives at the times asked for (R: ``tt``).
    """
    scored = sample.scored
    time, event, entry = outcome(scored)
    if event.sum() < 2:
        return []
    x = scored["score"].to_numpy(float)
    where = {"group": "score", "comparator": "univariable", **sample.where}
    split, parts = before_and_after(x, time, event, entry, settings.ties, settings.level)
    names = ("cox_hr_before", "cox_hr_after")
    rows = [ratio(part).row(name, at=split, **where) for name, part in zip(names, parts, strict=True)]
    fit = fit_log_time(x, time, event, entry=entry, ties=settings.ties)
    rows.append(fit.slope(settings.level).row("cox_log_time_coef", **where))
    last = float(time[event].max())
    for t in settings.times:
        value = fit.at(t, settings.level)
        if t > last and not fit.reason:
            value = undefined("after the last event", n=fit.n, n_events=fit.events)
        rows.append(ratio(value).row("cox_hr_t", at=t, **where))
    return rows


def before_and_after(
    x: Array, time: Array, event: Array, entry: Array | None, ties: str = "efron", level: float = 0.95
) -> tuple[float, list[Estimate]]:
    """Log hazard ratio of one covariate until the median event time, and after it.

    Returns
    -------
    float, list of Estimate
        The median event time (the lower one of two), and the two log hazard ratios with Wald intervals.
    """
    events = np.sort(time[event])
    split = float(events[(events.size - 1) // 2])
    late = time > split
    start = np.full(time.size, -np.inf) if entry is None else entry
    early = (x, np.minimum(time, split), event & ~late, entry)
    after = (x[late], time[late], event[late], np.maximum(start, split)[late])
    if entry is not None:
        there = entry < split
        early = (x[there], np.minimum(time, split)[there], (event & ~late)[there], entry[there])
    out = []
    for values, t, died, entered in (early, after):
        if not died.any():
            out.append(undefined("no events in this period", n=t.size, n_events=0))
            continue
        fit = fit_cox(values[:, None], t, died, ["score"], entry=entered, ties=ties)
        out.append(fit.coefficient("score", level))
    return split, out


def _spline(sample: Sample, settings: Settings) -> tuple[list[Row], pd.DataFrame]:
    time, event, entry = outcome(sample.scored)
    if not time.size:
        return [], pd.DataFrame()
    fit = spline_hazard(time, event, sample.scored["score"].to_numpy(float), entry=entry, level=settings.level)
    row = fit.nonlinearity.row("spline_chi2", group="score", comparator="univariable", **sample.where)
    curve = pd.DataFrame({"score": fit.grid, "hazard_ratio": fit.ratio, "ci_low": fit.low, "ci_high": fit.high})
    return [row], curve.assign(**sample.where)
