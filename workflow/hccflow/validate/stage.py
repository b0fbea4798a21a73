"""The stage: from unseen scores to the table of metrics, the supplement and the curves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from hccflow.metrics.auc import paired_auc
from hccflow.metrics.decision import check_thresholds
from hccflow.metrics.estimate import Estimate, metrics_table, undefined
from hccflow.metrics.inputs import EMPTY, NOT_PROBABILITIES, Floats, single_class
from hccflow.metrics.multiplicity import Test, holm_rows
from hccflow.metrics.reclassification import WARNING, reclassification
from hccflow.metrics.samplesize import detectable
from hccflow.metrics.threshold import mcnemar
from hccflow.validate import curves, groups, measures
from hccflow.validate.options import Options
from hccflow.validate.resampling import TREAT_ALL, Key, Scored, auc_bootstrap, bootstrap_cohort, with_interval
from hccflow.validate.scores import ScoreSet, collect
from hccflow.validate.subjects import Subjects
from hccflow.validate.within import auc_within_folds, difference_within_folds, several_folds

Row = dict[str, Any]
#: Metrics that the bootstrap gives beside their value or on its own, and so stand empty where it cannot.
BENEFITS = (("net_benefit", ""), ("net_benefit_treat_all", ""), ("net_benefit_difference", TREAT_ALL))
SLOPES = ("calibration_intercept_bootstrap", "calibration_slope_bootstrap")


@dataclass
class Results:
    """What the stage makes: two tables of metrics and the curves by name."""

    metrics: pd.DataFrame
    supplement: pd.DataFrame
    curves: dict[str, pd.DataFrame]


@dataclass
class _Gathered:
    rows: list[Row] = field(default_factory=list)
    supplement: list[Row] = field(default_factory=list)
    curves: dict[str, list[Row]] = field(default_factory=lambda: {name: [] for name in curves.COLUMNS})


def validate(
    predictions: pd.DataFrame,
    thresholds: Mapping[str, float],
    subjects: Sequence[pd.DataFrame],
    options: Options,
) -> Results:
    """Evaluate every model in every cohort of a predictions table.

    Parameters
    ----------
    predictions : pandas.DataFrame
        Schema ``predictions``. Each cohort and model is evaluated on its rows with label and score; two models are
        compared on the rows that have both.
    thresholds : mapping
        Frozen operating points by model; a model not named here takes its column ``threshold``.
    subjects : sequence of pandas.DataFrame
        Enrolled cases (schema ``subjects``) of these cohorts and, for case mix and medians, of the development cohorts.
    options : Options

    Raises
    ------
    LeakageError, TableError, ConfigError
        See `hccflow.validate.scores.collect`.
    """
    check_thresholds(options.net_benefit_at)
    sets = collect(predictions, thresholds, options.survival)
    people = Subjects(subjects, options) if subjects else None
    out = _Gathered()
    cohorts = sorted({(s.endpoint, s.cohort) for s in sets})
    for endpoint, cohort in cohorts:
        _cohort([s for s in sets if (s.endpoint, s.cohort) == (endpoint, cohort)], people, options, out)
    out.rows += groups.by_cohort(sets, options)
    if people is not None:
        for cohort in sorted({cohort for _, cohort in cohorts}):
            for metric, column, estimate in people.case_mix(cohort, options.level):
                out.rows.append(estimate.row(metric, cohort=cohort, group=column, study=sets[0].study))
    tables = {name: curves.curve_table(name, rows) for name, rows in out.curves.items()}
    return Results(metrics_table(out.rows), metrics_table(out.supplement), tables)


def pool(predictions: pd.DataFrame, options: Options) -> pd.DataFrame:
    """Each cohort's AUC and calibration, and their random-effects means over the cohorts of frozen scores.

    Parameters
    ----------
    predictions : pandas.DataFrame
        Schema ``predictions``, several cohorts.
    options : Options

    Returns
    -------
    pandas.DataFrame
        Tidy metrics; the rows over cohorts have the group ``cohorts`` and an empty cohort.

    Raises
    ------
    LeakageError, TableError
        See `hccflow.validate.scores.collect`.
    """
    sets = collect(predictions, {}, options.survival)
    rows = list(groups.by_cohort(sets, options))
    shown = ("auc", "calibration_in_the_large", "calibration_slope")
    for s in sets:
        found = _measures(s, *s.arrays, options.level)
        rows += [estimate.row(metric, at=at, **s.where()) for metric, at, estimate in found if metric in shown]
    return metrics_table(rows)


def _cohort(sets: list[ScoreSet], people: Subjects | None, options: Options, out: _Gathered) -> None:
    _judge(sets, people, options, out)
    if any(s.mixed for s in sets):
        kinds = [part for s in sets for part in s.kinds]
        for group in sorted({part.group for part in kinds}):
            _judge([part for part in kinds if part.group == group], None, options, out)
    if people is not None:
        where = {**sets[0].where(), "model": ""}
        out.rows += groups.ceilings(people.readers(sets[0].cohort, sets[0].endpoint), where, options)


def _judge(sets: list[ScoreSet], people: Subjects | None, options: Options, out: _Gathered) -> None:
    """Every model of a cohort, or of one kind of its scores, alone and in pairs."""
    pairs = [_ordered(a, b, options) for a, b in combinations(sets, 2)]
    labels = pd.concat([s.rows["y"] for s in sets]).dropna()
    labels = labels[~labels.index.duplicated()].sort_index()
    scored = [
        Scored(s.model, s.used["score"].reindex(labels.index).to_numpy(float), s.probability, s.threshold) for s in sets
    ]
    seed = options.seed_of("bootstrap", sets[0].endpoint, sets[0].cohort)
    names = [(a.model, b.model) for a, b in pairs]
    drawn = bootstrap_cohort(labels.to_numpy(float), scored, names, options, seed)
    for s in sets:
        _model(s, drawn, people, options, seed, out)
    _compare(pairs, drawn, options, out)


def _ordered(a: ScoreSet, b: ScoreSet, options: Options) -> tuple[ScoreSet, ScoreSet]:
    """A pair in alphabetical order, but the prespecified comparison in its own."""
    return (b, a) if options.primary == (b.model, a.model) else (a, b)


def _model(
    scores: ScoreSet, drawn: dict[Key, Estimate], people: Subjects | None, options: Options, seed: int, out: _Gathered
) -> None:
    y, s = scores.arrays
    where = scores.where()
    n, events = len(y), int(y.sum())
    out.rows += _missing(scores)
    curve_draws = _curves(scores, y, s, options, seed, out)
    for metric, at, estimate in _measures(scores, y, s, options.level):
        if (found := drawn.get((scores.model, "", metric, at))) is not None and estimate.ci_low is None:
            estimate = _take_interval(estimate, found)
        if metric in curve_draws and estimate.value is not None:
            estimate = with_interval(estimate, curve_draws[metric], options)
        out.rows.append(estimate.row(metric, at=at, **where))
        if metric == "auc":
            out.rows += [e.row(m, at=t, **where) for m, t, e in measures.precision(estimate, options.level)]
    if options.draws:
        boot = auc_bootstrap(y, s, options, seed)
        out.rows.append(boot.row("auc_bootstrap", **where))
        slope = next(row for row in out.rows[::-1] if row["metric"] == "calibration_slope")
        for metric in SLOPES:
            fallback = undefined(slope["reason"], n=n, n_events=events)
            out.rows.append(drawn.get((scores.model, "", metric, None), fallback).row(metric, **where))
    refused = undefined(EMPTY if scores.probability else NOT_PROBABILITIES, n=n, n_events=events)
    for metric, comparator in BENEFITS:
        for at in options.net_benefit_at:
            estimate = drawn.get((scores.model, comparator, metric, at), refused)
            out.rows.append(estimate.row(metric, at=at, comparator=comparator, **where))
    if several_folds(scores):
        out.rows.append(auc_within_folds(scores, options.level).row("auc_within_folds", **where))
    if scores.group:
        return  # the parts of a cohort by subject, site and reader are made once
    out.rows += groups.by_repeat(scores)
    out.rows += groups.by_session(scores, options)
    out.rows += groups.recalibrated(scores, options)
    if people is not None:
        for part in (groups.by_subgroup, groups.complete_cases, groups.by_site, groups.by_reader):
            out.rows += part(scores, people, options)


def _measures(scores: ScoreSet, y: Floats, s: Floats, level: float) -> Iterator[measures.Measure]:
    yield from measures.discrimination(y, s, level)
    yield from measures.at_threshold(y, s, scores.threshold, scores.no_threshold, level)
    yield from measures.calibration(y, s, scores.probability, level)


def _take_interval(estimate: Estimate, drawn: Estimate) -> Estimate:
    if estimate.value is None:
        return estimate
    return replace(
        estimate,
        ci_low=drawn.ci_low,
        ci_high=drawn.ci_high,
        ci_method=drawn.ci_method,
        reason=estimate.reason or drawn.reason,
    )


def _missing(scores: ScoreSet) -> Iterator[Row]:
    """How many rows there were, and how many lack a label or a score."""
    rows = scores.rows
    for metric, value in (
        ("rows", len(rows)),
        ("rows_without_label", rows["y"].isna().sum()),
        ("rows_without_score", rows["score"].isna().sum()),
    ):
        yield Estimate(float(value), n=len(rows)).row(metric, **scores.where())


def _curves(scores: ScoreSet, y: Floats, s: Floats, options: Options, seed: int, out: _Gathered) -> dict[str, Floats]:
    """Add the curves of one model, and return the draws of the measures that come from the flexible curve.

    A curve of out-of-fold and frozen scores together would be of no model at all: of those there is one for each kind.
    """
    name = {key: value for key, value in scores.where().items() if key in curves.KEYS}
    made: dict[str, list[Row]] = {
        "roc": list(curves.roc(y, s)),
        "pr": list(curves.precision_recall(y, s)),
    }
    draws: dict[str, Floats] = {}
    if scores.probability and len(y):
        flexible, draws = curves.calibration_curve(y, s, options, seed)
        made["calibration"] = flexible + list(curves.calibration_groups(y, s, options))
        made["decision"] = list(curves.decision(y, s, options, seed))
        made["scores"] = list(curves.histogram(y, s))
    for kind, rows in () if scores.mixed else made.items():
        out.curves[kind] += [{**name, **row} for row in rows]
    return draws


def _compare(
    pairs: list[tuple[ScoreSet, ScoreSet]], drawn: dict[Key, Estimate], options: Options, out: _Gathered
) -> None:
    """Compare the models of one cohort pairwise on their common rows; Holm over all pairs."""
    tests: list[Test] = []
    inside: list[Test] = []
    for a, b in pairs:
        where = a.where(comparator=b.model)
        both = a.used[["y", "score"]].join(b.used["score"].rename("other"), how="inner")
        y, first, second = both["y"].to_numpy(float), both["score"].to_numpy(float), both["other"].to_numpy(float)
        paired = paired_auc(y, first, second, level=options.level) if len(both) else None
        test = paired.difference if paired else undefined(EMPTY, n=0)
        tests.append(("auc_difference", test, where))
        if several_folds(a) and several_folds(b):
            inside.append(("auc_difference_within_folds", difference_within_folds(a, b, options.level), where))
        if paired and paired.error is not None:
            smallest = Estimate(detectable(paired.error, level=options.level), n=test.n, n_events=test.n_events)
            out.rows.append(smallest.row("auc_difference_detectable", **where))
        out.rows.append(_decisions(a, b, y, first, second).row("accuracy_difference", **where))
        for (model, comparator, metric, at), estimate in drawn.items():
            if (model, comparator) == (a.model, b.model):
                out.rows.append(estimate.row(metric, at=at, **where))
        if a.probability and b.probability and not single_class(y):
            out.supplement += [
                Estimate(value, n=len(y), n_events=int(y.sum()), reason=WARNING).row(metric, **where)
                for metric, value in reclassification(y, first, second).items()
            ]
    for family in (tests, inside):
        out.rows += [test.row(metric, **where) for metric, test, where in family] + holm_rows(family, of="comparison")


def _decisions(a: ScoreSet, b: ScoreSet, y: Floats, first: Floats, second: Floats) -> Estimate:
    """Difference of the accuracies at the frozen thresholds, with the exact McNemar p."""
    n, events = len(y), int(y.sum())
    if a.threshold is None or b.threshold is None or n == 0:
        return undefined(a.no_threshold or b.no_threshold or EMPTY, n=n, n_events=events)
    right_a, right_b = (first >= a.threshold) == (y == 1), (second >= b.threshold) == (y == 1)
    difference = float(np.mean(right_a) - np.mean(right_b))
    return Estimate(difference, p=mcnemar(right_a, right_b).p, n=n, n_events=events, ci_method="McNemar, exact")
