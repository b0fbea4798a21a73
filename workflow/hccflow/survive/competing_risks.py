"""Competing risks of a sample: cumulative incidence, Gray's test, cause-specific Cox, Fine-Gray."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from hccflow.metrics.competing import cumulative_incidence, gray_test
from hccflow.metrics.cox import fit_cox
from hccflow.metrics.estimate import Estimate, undefined
from hccflow.metrics.finegray import fit_fine_gray
from hccflow.survive.groups import carried_on, chi2_estimate
from hccflow.survive.samples import Sample, design
from hccflow.survive.settings import Settings

Row = dict[str, Any]
CAUSES = {1: "cif", 2: "cif_competing"}
NO_ENTRY = "not defined here with delayed entry"


def competing_rows(sample: Sample, settings: Settings) -> tuple[list[Row], pd.DataFrame]:
    """Rows of the metrics table and the curves of a sample (``cif.tsv``); nothing without a competing event.

    The Cox rows of the other modules are cause-specific: there a competing event censors.
    """
    if not sample.competing:
        return [], pd.DataFrame()
    frame, where = sample.frame, sample.where
    if "entry" in frame:
        none = undefined(NO_ENTRY, n=len(frame), n_events=int((frame["event"] == 1).sum()))
        return [none.row(metric, **where) for metric in ("cif", "gray_chi2", "fine_gray_coef")], pd.DataFrame()
    cut = settings.cut.get(sample.model)
    rows, tables = _incidence(sample, settings, cut)
    scored = sample.scored
    n, events = len(scored), int((scored["event"] == 1).sum())
    if cut is None:
        test = undefined("no cut is given for this model", n=n, n_events=events)
    else:
        high = (scored["score"] >= cut).to_numpy()
        test = chi2_estimate(gray_test(scored["time"].to_numpy(float), scored["event"].to_numpy(int), high), n, events)
    rows.append(test.row("gray_chi2", **where))
    X, terms = design(frame, settings)
    X = X.assign(score=frame["score"])
    clinical = [name for columns in terms.values() for name in columns]
    if clinical:
        rows += _models(sample, settings, X[clinical], "clinical")
        rows += _models(sample, settings, X[["score", *clinical]], "multivariable")
    for columns in [["score"], *terms.values()]:
        rows += _models(sample, settings, X[columns], "univariable")
    return rows, pd.concat(tables, ignore_index=True)


def _incidence(sample: Sample, settings: Settings, cut: float | None) -> tuple[list[Row], list[pd.DataFrame]]:
    rows: list[Row] = []
    tables: list[pd.DataFrame] = []
    for group, part in sample.groups(cut).items():
        where = {"group": group, **sample.where}
        for cause, metric in CAUSES.items():
            events = int((part["event"] == cause).sum())
            if part.empty:
                none = undefined("the group has no subjects", n=0, n_events=0)
                rows += [none.row(metric, at=t, **where) for t in settings.times]
                continue
            curve = cumulative_incidence(part["time"].to_numpy(float), part["event"].to_numpy(int), cause)
            low, high = curve.interval(settings.conf_type, settings.level)
            at = np.searchsorted(curve.time, settings.times, "right")
            for k, t in enumerate(settings.times):
                limits = [float(v[at[k] - 1]) if at[k] > 0 and np.isfinite(v[at[k] - 1]) else None for v in (low, high)]
                incidence = float(curve.at(t)[0])
                reason = _without_width(incidence, t, float(curve.time[-1]))
                value = Estimate(incidence, limits[0], limits[1], settings.conf_type, None, len(part), events, reason)
                rows.append(value.row(metric, at=t, **where))
            table = pd.DataFrame(
                {
                    "time_days": curve.time, "cause": cause, "incidence": curve.incidence, "ci_low": low,
                    "ci_high": high, "at_risk": curve.at_risk,
                }
            )  # fmt: skip
            tables.append(table.assign(ci_method=settings.conf_type, **where))
    return rows, tables


def _without_width(incidence: float, t: float, last: float) -> str:
    """Why an incidence has no limits, or is older than its time."""
    reasons = [carried_on(last)] if t > last else []
    if incidence == 0:
        reasons.append("no event by then: no interval")
    if incidence == 1:
        reasons.append("everybody has had the event: no interval")
    return "; ".join(reasons)


def _models(sample: Sample, settings: Settings, X: pd.DataFrame, comparator: str) -> list[Row]:
    complete = X.notna().all(axis=1)
    part, X = sample.frame[complete], X[complete]
    where = {"comparator": comparator, **sample.where}
    names = list(X.columns)
    time, code = part["time"].to_numpy(float), part["event"].to_numpy(int)
    rows: list[Row] = []
    if (code == 1).any():
        fit = fit_fine_gray(X.to_numpy(), time, code, names)
        values = {name: fit.coefficient(name, settings.level) for name in names}
    else:
        values = dict.fromkeys(names, undefined("no events of interest", n=len(part), n_events=0))
    rows += [value.row("fine_gray_coef", group=name, **where) for name, value in values.items()]
    if (code == 2).any():
        other = fit_cox(X.to_numpy(), time, code == 2, names, ties=settings.ties)
        rows += [other.coefficient(n, settings.level).row("cox_competing_coef", group=n, **where) for n in names]
    return rows
