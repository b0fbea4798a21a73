"""Groups by the frozen cut: Kaplan-Meier, medians, restricted means, log-rank tests, follow-up."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from hccflow.metrics.estimate import Estimate, undefined
from hccflow.metrics.km import Curve, kaplan_meier, median_follow_up, restricted_mean_difference
from hccflow.metrics.logrank import LogRank, Weight, log_rank
from hccflow.survive.samples import Sample, outcome
from hccflow.survive.settings import Settings

Row = dict[str, Any]
#: Log-rank tests of high against low: metric, weight, rho, gamma. The first one is judged.
TESTS = (
    ("logrank_chi2", Weight.LOGRANK, 0.0, 0.0),
    ("logrank_gehan_chi2", Weight.GEHAN, 0.0, 0.0),
    ("logrank_tarone_ware_chi2", Weight.TARONE_WARE, 0.0, 0.0),
    ("logrank_peto_chi2", Weight.PETO, 0.0, 0.0),
    ("logrank_fleming_harrington_0_1_chi2", Weight.FLEMING_HARRINGTON, 0.0, 1.0),
)


def group_rows(sample: Sample, settings: Settings) -> tuple[list[Row], pd.DataFrame]:
    """Rows of the metrics table and the Kaplan-Meier curves of a sample (``km.tsv``)."""
    cut = settings.cut.get(sample.model)
    parts = sample.groups(cut)
    rows = _counts(sample)
    curves: dict[str, Curve] = {}
    for group, frame in parts.items():
        if frame.empty:
            rows += _empty(sample, group, settings)
            continue
        time, event, entry = outcome(frame)
        curves[group] = kaplan_meier(time, event, entry)
        rows += _curve_rows(sample, group, curves[group], settings)
    time, event, entry = outcome(sample.frame)
    if time.size:
        follow = median_follow_up(time, sample.frame["event"].to_numpy() > 0, settings.conf_type, settings.level)
        rows.append(follow.row("follow_up_median", group="all", **sample.where))
    rows += log_rank_rows(sample, settings) + _restricted_difference(sample, settings, curves)
    tables = [_table(sample, group, curve, settings) for group, curve in curves.items()]
    return rows, pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def _counts(sample: Sample) -> list[Row]:
    analysed, events = len(sample.frame), int((sample.frame["event"] == 1).sum())
    missing = int(sample.frame["score"].isna().sum())
    counts = {"n_subjects": sample.n_rows, "n_missing_outcome": sample.n_no_outcome, "n_missing_score": missing}
    return [
        Estimate(float(value), n=analysed, n_events=events).row(name, **sample.where) for name, value in counts.items()
    ]


def _empty(sample: Sample, group: str, settings: Settings) -> list[Row]:
    """No number for a group without subjects, for each number that it would have had."""
    none = undefined("the group has no subjects", n=0, n_events=0)
    rows = [
        none.row(m, group=group, at=t, **sample.where) for t in settings.times for m in ("km_survival", "n_at_risk")
    ]
    rows.append(none.row("km_median", group=group, **sample.where))
    if settings.tau is not None:
        rows.append(none.row("rmst", group=group, at=settings.tau, **sample.where))
    return rows


def _curve_rows(sample: Sample, group: str, curve: Curve, settings: Settings) -> list[Row]:
    where = {"group": group, **sample.where}
    n, events = curve.n, int(curve.events.sum())
    times = np.array(settings.times)
    survival, risk = curve.at(times), curve.at_risk_at(times)
    low, high = curve.interval_at(times, settings.conf_type, settings.level)
    rows = []
    for k, t in enumerate(settings.times):
        limits = [float(v) if np.isfinite(v) else None for v in (low[k], high[k])]
        reason = _without_width(float(survival[k]), float(t), float(curve.time[-1]))
        value = Estimate(
            float(survival[k]), limits[0], limits[1], settings.conf_type, n=n, n_events=events, reason=reason
        )
        rows.append(value.row("km_survival", at=t, **where))
        rows.append(Estimate(float(risk[k]), n=n, n_events=events).row("n_at_risk", at=t, **where))
    rows.append(curve.median(settings.conf_type, settings.level).row("km_median", **where))
    if settings.tau is not None:
        rows.append(_restricted(sample, curve, settings.tau, settings.level).row("rmst", at=settings.tau, **where))
    return rows


def carried_on(last: float) -> str:
    """Reason of a value that is read later than the last follow-up."""
    return f"carried on from the last follow-up, day {last:g}"


def _without_width(survival: float, t: float, last: float) -> str:
    """Why a survival has limits that say nothing, or none, or is older than its time."""
    reasons = [carried_on(last)] if t > last else []
    if survival == 1:
        reasons.append("no event by then: an interval without width says nothing")
    if survival == 0:
        reasons.append("nobody is left: no interval")
    return "; ".join(reasons)


def _restricted(sample: Sample, curve: Curve, tau: float, level: float) -> Estimate:
    if tau > sample.frame["time"].max():
        return undefined("tau is beyond follow-up", n=curve.n, n_events=int(curve.events.sum()))
    return curve.restricted_mean(tau, level)


def log_rank_rows(sample: Sample, settings: Settings) -> list[Row]:
    """Rows of the log-rank tests of high against low; empty with the reason where a group is missing."""
    scored, cut = sample.scored, settings.cut.get(sample.model)
    n, events = len(scored), int((scored["event"] == 1).sum())
    if reason := _ungrouped(sample, cut):
        none = undefined(reason, n=n, n_events=events)
        names = [name for name, *_ in TESTS] + ["logrank_stratified_chi2"] * bool(settings.strata)
        return [none.row(name, **sample.where) for name in names]
    time, event, entry = outcome(scored)
    high = (scored["score"] >= cut).to_numpy()
    tests = {
        name: log_rank(time, event, high, weight=weight, rho=rho, gamma=gamma, entry=entry)
        for name, weight, rho, gamma in TESTS
    }
    if settings.strata:
        strata = scored[settings.strata].astype(str).agg("\t".join, axis=1).to_numpy()
        tests["logrank_stratified_chi2"] = log_rank(time, event, high, strata=strata, entry=entry)
    return [chi2_estimate(test, n, events).row(name, **sample.where) for name, test in tests.items()]


def _ungrouped(sample: Sample, cut: float | None) -> str:
    """Why there is no high and low; empty where there are both."""
    if cut is None:
        return "no cut is given for this model"
    return "one group has no subjects" if (sample.scored["score"] >= cut).nunique() < 2 else ""


def _restricted_difference(sample: Sample, settings: Settings, curves: dict[str, Curve]) -> list[Row]:
    if settings.tau is None:
        return []
    scored, reason = sample.scored, _ungrouped(sample, settings.cut.get(sample.model))
    if not reason and settings.tau > sample.frame["time"].max():
        reason = "tau is beyond follow-up"
    if reason:
        difference = undefined(reason, n=len(scored), n_events=int((scored["event"] == 1).sum()))
    else:
        difference = restricted_mean_difference(curves["low"], curves["high"], settings.tau, settings.level)
    return [difference.row("rmst_difference", group="low", comparator="high", at=settings.tau, **sample.where)]


def chi2_estimate(test: LogRank, n: int, events: int) -> Estimate:
    """Result of a log-rank type test as an estimate."""
    return Estimate(test.chi2, p=test.p, n=n, n_events=events, reason=test.reason)


def _table(sample: Sample, group: str, curve: Curve, settings: Settings) -> pd.DataFrame:
    """Curve on the times at which somebody leaves or enters; with delayed entry the numbers at risk may rise."""
    low, high = curve.interval(settings.conf_type, settings.level)
    table = pd.DataFrame(
        {
            "time_days": curve.time, "survival": curve.survival, "ci_low": low, "ci_high": high,
            "at_risk": curve.at_risk.astype(int), "events": curve.events.astype(int),
            "censored": curve.censored.astype(int),
        }
    )  # fmt: skip
    entered = np.isfinite(curve.entries).all()
    starts = np.setdiff1d(curve.entries if entered else min(0.0, curve.time[0]), curve.time)
    low, high = curve.interval_at(starts, settings.conf_type, settings.level)
    more = pd.DataFrame(
        {
            "time_days": starts, "survival": curve.at(starts), "ci_low": low, "ci_high": high,
            "at_risk": curve.at_risk_at(starts), "events": 0, "censored": 0,
        }
    )  # fmt: skip
    table = pd.concat([more, table], ignore_index=True).sort_values("time_days", ignore_index=True)
    return table.assign(ci_method=settings.conf_type, group=group, **sample.where)
