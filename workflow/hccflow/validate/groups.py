"""Results by subgroup, site and reader, and pooled over sites and cohorts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit, logit
from scipy.stats import norm

from hccflow.metrics import calibration as cal
from hccflow.metrics.auc import auc, logit_error, placements, stratified_auc
from hccflow.metrics.estimate import Estimate, undefined
from hccflow.metrics.inputs import Floats, single_class
from hccflow.metrics.pooling import heterogeneity, random_effects
from hccflow.validate.measures import at_threshold, discrimination
from hccflow.validate.options import Options
from hccflow.validate.scores import ScoreSet
from hccflow.validate.subjects import MISSING, Subjects

Row = dict[str, Any]
#: Subgroup of the subjects who miss none of a model's clinical columns.
COMPLETE = "complete"


def small_rows(scores: ScoreSet, used: pd.DataFrame, group: str, options: Options) -> Iterator[Row]:
    """Measures of a part of the cases: AUC, average precision, operating point, Brier, calibration in the large."""
    y, s = used["y"].to_numpy(float), used["score"].to_numpy(float)
    where = scores.where(group=group)
    for measures in (
        discrimination(y, s, options.level),
        at_threshold(y, s, scores.threshold, scores.no_threshold, options.level),
    ):
        yield from (estimate.row(metric, at=at, **where) for metric, at, estimate in measures)
    if scores.probability:
        yield cal.brier(y, s)[0].row("brier", **where)
        yield cal.in_the_large(y, s, level=options.level).row("calibration_in_the_large", **where)


def by_repeat(scores: ScoreSet) -> Iterator[Row]:
    """AUC of each repeat of the cross-validation, without intervals; the main rows average the scores over repeats."""
    known = scores.judged.dropna(subset=["y", "score", "repeat"])
    for repeat, part in known.groupby("repeat") if len(known["repeat"].unique()) > 1 else ():
        for metric, at, estimate in discrimination(part["y"].to_numpy(float), part["score"].to_numpy(float), 0.95):
            point = replace(estimate, ci_low=None, ci_high=None, ci_method="")
            yield point.row(metric, at=at, **scores.where(repeat=int(float(str(repeat)))))


def by_session(scores: ScoreSet, options: Options) -> Iterator[Row]:
    """Measures at each session alone, where subjects have several; the main rows average a subject's scores."""
    for session, part in scores.sessions.dropna(subset=["y", "score"]).groupby(level="session"):
        yield from small_rows(scores, part, f"session={session}", options)


def by_subgroup(scores: ScoreSet, subjects: Subjects, options: Options) -> Iterator[Row]:
    """Measures in each subgroup, and per column the test that AUC is the same in all; a lone value divides nobody."""
    used = scores.used
    for name in subjects.subgroups:
        group = subjects.groups(scores.cohort, name).reindex(used.index, fill_value=f"{name}={MISSING}")
        parts = {str(key): part for key, part in used.groupby(group.to_numpy())}
        if len(parts) < 2:
            continue
        for key, part in parts.items():
            yield from small_rows(scores, part, key, options)
        known = [part for key, part in parts.items() if key != f"{name}={MISSING}"]
        yield interaction(known, len(used)).row("auc_interaction", **scores.where(group=name))


def complete_cases(scores: ScoreSet, subjects: Subjects, options: Options) -> Iterator[Row]:
    """Measures without the subjects who miss a clinical predictor of the model; none where nobody misses one.

    The main rows fill such values in as training learnt to, so the two together tell what that does to the result.
    """
    used = scores.used
    columns = options.predictors.get(scores.model, ())
    missing = subjects.incomplete(scores.cohort, columns)
    whole = ~missing.reindex(used.index.get_level_values("subject"), fill_value=bool(columns)).to_numpy(bool)
    if not whole.all():
        yield from small_rows(scores, used[whole], f"{COMPLETE}=yes", options)


def interaction(parts: Sequence[pd.DataFrame], n: int) -> Estimate:
    """Cochran's Q over the logit AUCs of disjoint subgroups; p of the hypothesis that all are equal."""
    values, variances = logit_aucs(parts)
    if len(values) < max(2, len(parts)):
        return undefined("AUC has no interval in every subgroup, or there is one subgroup", n=n)
    q, p = heterogeneity(values, variances)
    return Estimate(q, p=p, n=n)


def logit_aucs(parts: Sequence[pd.DataFrame]) -> tuple[list[float], list[float]]:
    """Logit of AUC and its variance for those parts where both exist."""
    values, variances = [], []
    for part in parts:
        y, s = part["y"].to_numpy(float), part["score"].to_numpy(float)
        if single_class(y):
            continue
        placed = placements(y, s)
        error = logit_error(placed)
        if error is not None:
            values.append(float(logit(placed.auc)))
            variances.append(error**2)
    return values, variances


def by_site(scores: ScoreSet, subjects: Subjects, options: Options) -> Iterator[Row]:
    """Measures at each site, their random-effects mean, and whether scores tell sites apart, where there are several.

    When the folds of the cross-validation are the sites, each site was left out once, and the pooled rows are named
    ``internal-external``.
    """
    used = scores.used
    site = subjects.of(scores.cohort)["site"].reindex(used.index)
    if site.nunique() < 2:
        return
    parts = {str(key): part for key, part in used.groupby(site.to_numpy())}
    if "site" not in subjects.subgroups:
        for key, part in parts.items():
            yield from small_rows(scores, part, f"site={key}", options)
    fold = scores.judged["fold"].groupby(level=[0, 1]).first().reindex(used.index)
    pairs = pd.DataFrame({"site": site, "fold": fold}).drop_duplicates()
    left_out = fold.notna().all() and pairs["site"].is_unique and pairs["fold"].is_unique
    yield from pooled(list(parts.values()), scores.where(group="internal-external" if left_out else "site"), options)
    y, s = scores.arrays
    for key in parts:
        here = (site == key).to_numpy(float)
        told = undefined("each site was scored by a model of its own", n=len(y), n_events=int(here.sum()))
        if not left_out:
            told = stratified_auc(here, s, y, level=options.level)
        yield told.row("site_auc", **scores.where(group=f"site={key}"))


def by_cohort(sets: Sequence[ScoreSet], options: Options) -> Iterator[Row]:
    """Random-effects means over the cohorts in which all of a model's scores are frozen, where there are several.

    A cohort that also has out-of-fold scores shares subjects with development and is not another study.
    """
    keys = sorted({(s.endpoint, s.model) for s in sets})
    for endpoint, model in keys:
        own = [s for s in sets if (s.endpoint, s.model) == (endpoint, model) and (s.rows["kind"] == "frozen").all()]
        if len(own) > 1:
            where = {**own[0].where(group="cohorts"), "cohort": ""}
            yield from pooled([s.used for s in own], where, options)
            if own[0].probability:
                yield from _pooled_calibration([s.arrays for s in own], where, options)


def pooled(parts: Sequence[pd.DataFrame], where: Row, options: Options) -> Iterator[Row]:
    """AUC pooled on the logit scale, the interval for a new unit, and the heterogeneity (I2 with Cochran's p)."""
    values, variances = logit_aucs(parts)
    n, events = sum(map(len, parts)), int(sum(part["y"].sum() for part in parts))
    yield from _pool("auc", values, variances, len(parts), n, events, where, options)


def _pooled_calibration(parts: Sequence[tuple[Floats, Floats]], where: Row, options: Options) -> Iterator[Row]:
    """Calibration in the large and slope over cohorts, each on its own scale, weighted by their Wald errors."""
    n, events = sum(len(y) for y, _ in parts), int(sum(y.sum() for y, _ in parts))
    for name, measure in (
        ("calibration_in_the_large", cal.in_the_large),
        ("calibration_slope", lambda y, p: cal.intercept_and_slope(y, p)[1]),
    ):
        values, variances = [], []
        for estimate in (measure(y, p) for y, p in parts):
            if estimate.value is not None and estimate.ci_low is not None and estimate.ci_high is not None:
                values.append(estimate.value)
                variances.append(((estimate.ci_high - estimate.ci_low) / (2 * norm.ppf(0.975))) ** 2)
        yield from _pool(name, values, variances, len(parts), n, events, where, options)


def _pool(
    name: str, values: Sequence[float], variances: Sequence[float], k: int, n: int, events: int, where: Row,
    options: Options,
) -> Iterator[Row]:  # fmt: skip
    names = (f"{name}_pooled", f"{name}_prediction", f"{name}_heterogeneity")
    left_out = k - len(values)
    note = f"{left_out} of {k} units have no {'AUC' if name == 'auc' else name} with an interval" if left_out else ""
    if len(values) < 2:
        yield from (undefined(note or "fewer than two units", n=n, n_events=events).row(m, **where) for m in names)
        return
    back = expit if name == "auc" else float
    result = random_effects(values, variances, level=options.level)
    mean, low, high = (float(back(x)) for x in (result.estimate, result.low, result.high))
    common: dict[str, Any] = {"n": n, "n_events": events, "reason": note}
    method = "random effects (REML, HKSJ)" + (" of logit AUC" if name == "auc" else "")
    yield Estimate(mean, low, high, method, **common).row(names[0], **where)
    if result.prediction is None:
        yield undefined("a prediction interval needs three units", n=n, n_events=events).row(names[1], **where)
    else:
        low, high = (float(back(x)) for x in result.prediction)
        yield Estimate(mean, low, high, "prediction interval", **common).row(names[1], **where)
    yield Estimate(result.i2, p=result.p_q, **common).row(names[2], **where)


def by_reader(scores: ScoreSet, subjects: Subjects, options: Options) -> Iterator[Row]:
    """Measures under each reader's own labels."""
    labels = subjects.readers(scores.cohort, scores.endpoint)
    for reader in labels.columns:
        used = scores.rows.assign(y=labels[reader].reindex(scores.rows.index)).dropna(subset=["y", "score"])
        yield from small_rows(scores, used, f"reader={reader}", options)


def ceilings(labels: pd.DataFrame, where: Row, options: Options) -> Iterator[Row]:
    """Ceiling that the readers' disagreement sets: AUC of the mean label of the others against each reader's label.

    A score that knew exactly what the other readers saw would reach no more.
    """
    for reader in labels.columns if labels.shape[1] > 1 else ():
        others = labels.drop(columns=reader).mean(axis=1)
        both = labels[reader].notna() & others.notna()
        ceiling = auc(labels.loc[both, reader], others[both], level=options.level)
        yield ceiling.row("auc_ceiling", **{**where, "group": f"reader={reader}"})


def recalibrated(scores: ScoreSet, options: Options, folds: int = 10) -> Iterator[Row]:
    """Measures after logistic recalibration in this cohort, cross-fitted: a row's intercept and slope come from others.

    A separate, labelled model (group ``recalibrated``): it has seen this cohort's outcomes.
    """
    y, p = scores.arrays
    if not scores.probability:
        return
    where = scores.where(group="recalibrated")
    n, events = len(y), int(y.sum())
    reason = single_class(y) or ("" if min(events, n - events) >= folds else f"fewer than {folds} events or non-events")
    lp = cal.safe_logit(p)
    reason = reason or cal.no_logistic_fit(y, lp, slope=True)
    new = np.full(n, np.nan)
    if not reason:
        rng = np.random.default_rng(options.seed_of("recalibrate", scores.endpoint, scores.cohort))
        fold = np.empty(n, dtype=int)
        for value in (0.0, 1.0):
            rows = rng.permutation(np.flatnonzero(y == value))
            fold[rows] = np.arange(len(rows)) % folds
        for k in range(folds):
            train, test = fold != k, fold == k
            if reason := cal.no_logistic_fit(y[train], lp[train], slope=True):
                break
            fit = cal.fit_logistic(y[train], lp[train])
            new[test] = expit(fit.intercept + fit.slope * lp[test])
    if reason:
        for name in ("brier", "brier_scaled", "calibration_in_the_large", "calibration_slope"):
            yield undefined(reason, n=n, n_events=events).row(name, **where)
        return
    plain, scaled = cal.brier(y, new)
    yield plain.row("brier", **where)
    yield scaled.row("brier_scaled", **where)
    yield cal.in_the_large(y, new, level=options.level).row("calibration_in_the_large", **where)
    yield cal.intercept_and_slope(y, new, level=options.level)[1].row("calibration_slope", **where)
