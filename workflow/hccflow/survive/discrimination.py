"""How well a score orders and predicts: concordance, AUC(t), Brier(t), calibration, paired comparisons."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from hccflow.metrics.brier_t import auc_t, auc_t_difference, brier_t, calibration_t, integrated_brier
from hccflow.metrics.competing import cumulative_incidence
from hccflow.metrics.concordance import Concordance, concordance_difference, concordance_within
from hccflow.metrics.estimate import Estimate, undefined
from hccflow.survive.samples import Sample, outcome
from hccflow.survive.settings import Settings

Row = dict[str, Any]
Array = np.ndarray[Any, Any]
NOBODY = "no subject has a score and follow-up"
NO_ENTRY = "not defined here with delayed entry"
NO_PROBABILITY = "the score is not a probability of the event by this time"
#: Points of a curve over time.
POINTS = 60


def discrimination_rows(sample: Sample, settings: Settings) -> tuple[list[Row], dict[str, pd.DataFrame]]:
    """Rows of the metrics table and the curves ``auc_t`` and ``brier_t`` of a sample."""
    scored = sample.scored
    time, event, entry = outcome(scored)
    rows = ranking_rows(sample, settings)
    if not len(scored) or entry is not None:
        none = undefined(NO_ENTRY if len(scored) else NOBODY, n=len(scored), n_events=int(event.sum()))
        rows.append(none.row("ibs", **sample.where))
        return rows + [none.row("brier_t", at=t, **sample.where) for t in settings.times], {}
    rows += _error_rows(sample, settings)
    code, score = scored["event"].to_numpy(int), scored["score"].to_numpy(float)
    return rows, {"auc_t": _auc_curve(sample, time, code, score, settings), "brier_t": _brier_curve(sample)}


def ranking_rows(sample: Sample, settings: Settings) -> list[Row]:
    """Concordance and AUC(t) of a sample: what asks of a score its order alone."""
    scored = sample.scored
    time, event, entry = outcome(scored)
    code, score = scored["event"].to_numpy(int), scored["score"].to_numpy(float)
    where = sample.where
    if not len(scored):
        none = undefined(NOBODY, n=0, n_events=0)
        rows = [none.row(name, **where) for name in ("c_harrell", "c_uno")]
        return rows + [none.row("auc_t", at=t, **where) for t in settings.times]
    rows = [Concordance(time, event, score, entry=entry).estimate(settings.level).row("c_harrell", **where)]
    rows += _within_folds(sample, settings)
    if entry is not None:
        none = undefined(NO_ENTRY, n=len(scored), n_events=int(event.sum()))
        return [*rows, none.row("c_uno", **where), *(none.row("auc_t", at=t, **where) for t in settings.times)]
    rows.append(Concordance(time, event, score, uno=True).estimate(settings.level).row("c_uno", **where))
    if settings.tau is not None:
        cut_off = Concordance(time, event, score, uno=True, tau=settings.tau).estimate(settings.level)
        rows.append(cut_off.row("c_uno_tau", at=settings.tau, **where))
    return rows + [auc_t(time, code, score, t, settings.level).row("auc_t", at=t, **where) for t in settings.times]


def _within_folds(sample: Sample, settings: Settings) -> list[Row]:
    """C of pairs that one fold has judged, where there are several: scores of two folds come from two trainings."""
    found: list[list[Concordance]] = []
    for _, repeat in sample.folds.groupby("repeat", dropna=False):
        if repeat["fold"].nunique() < 2:
            continue
        strata = []
        for _, part in repeat.groupby("fold"):
            time, event, entry = outcome(sample.frame.loc[part["subject"]])
            strata.append(Concordance(time, event, part["score"].to_numpy(float), entry=entry))
        found.append(strata)
    if not found:
        return []
    return [concordance_within(found, settings.level).row("c_harrell_within_folds", **sample.where)]


def predicted(sample: Sample, t: float) -> pd.Series | None:
    """Predicted probabilities of the event by `t`: those for this horizon, or those that name no horizon."""
    risks = sample.risks.get(t, sample.risks.get(None))
    return None if risks is None else risks.dropna()


def _error_rows(sample: Sample, settings: Settings) -> list[Row]:
    rows: list[Row] = []
    frame, where = sample.frame, sample.where
    times = sorted({*settings.times, *(t for t in sample.risks if t is not None)})
    used: dict[float, pd.Series] = {}
    for t in times:
        risk = predicted(sample, t)
        if risk is None or risk.empty:
            none = undefined(NO_PROBABILITY, n=len(frame), n_events=int((frame["event"] == 1).sum()))
            rows += [none.row(m, at=t, **where) for m in ("brier_t", "oe_ratio_t", "calibration_slope_t")]
            continue
        used[t] = risk
        part = frame.loc[risk.index]
        time, code, p = part["time"].to_numpy(float), part["event"].to_numpy(int), risk.to_numpy(float)
        score = brier_t(time, code, p, t, settings.level)
        null = brier_t(time, code, np.full(p.size, cumulative_incidence(time, code).at(t)[0]), t, settings.level)
        rows += [score.row("brier_t", at=t, **where), null.row("brier_t_null", at=t, **where)]
        rows.append(_accuracy(score, null).row("brier_t_scaled", at=t, **where))
        for name, value in calibration_t(time, code, p, t, settings.level).items():
            rows.append(value.row(name, at=t, **where))
    rows.append(_integrated(sample, used).row("ibs", **where))
    return rows


def _integrated(sample: Sample, used: dict[float, pd.Series]) -> Estimate:
    frame = sample.frame
    if not used:
        return undefined(NO_PROBABILITY, n=len(frame), n_events=int((frame["event"] == 1).sum()))
    common = frame.index
    for risk in used.values():
        common = common.intersection(risk.index)
    part = frame.loc[common]
    risks = {t: risk.loc[common].to_numpy(float) for t, risk in used.items()}
    return integrated_brier(part["time"].to_numpy(float), part["event"].to_numpy(int), risks)


def _accuracy(score: Estimate, null: Estimate) -> Estimate:
    if score.value is None or not null.value:
        return undefined(
            score.reason or null.reason or "the null model makes no error", n=score.n, n_events=score.n_events
        )
    return Estimate(1 - score.value / null.value, n=score.n, n_events=score.n_events)


def _grid(time: Array, code: Array) -> Array:
    """Event times between the 5th and the 95th percentile of the event times, thinned."""
    at = np.unique(time[code == 1])
    if at.size == 0:
        return at
    low, high = np.quantile(time[code == 1], [0.05, 0.95])
    at = at[(at >= low) & (at <= high)]
    return at[np.unique(np.linspace(0, at.size - 1, min(at.size, POINTS)).round().astype(int))] if at.size else at


def _auc_curve(sample: Sample, time: Array, code: Array, score: Array, settings: Settings) -> pd.DataFrame:
    at = _grid(time, code)
    values = [auc_t(time, code, score, t, settings.level) for t in at]
    table = pd.DataFrame(
        {
            "time_days": at,
            "auc": np.array([v.value for v in values], float),
            "ci_low": np.array([v.ci_low for v in values], float),
            "ci_high": np.array([v.ci_high for v in values], float),
        }
    )
    return table.dropna(subset=["auc"]).assign(**sample.where)


def _brier_curve(sample: Sample) -> pd.DataFrame:
    rows = []
    everywhere = predicted(sample, np.nan) if None in sample.risks else None
    if everywhere is not None:
        part = sample.frame.loc[everywhere.index]
        at = _grid(part["time"].to_numpy(float), part["event"].to_numpy(int))
    else:
        at = np.array(sorted(t for t in sample.risks if t is not None))
    for t in at:
        risk = everywhere if everywhere is not None else predicted(sample, float(t))
        if risk is None or risk.empty:
            continue
        part = sample.frame.loc[risk.index]
        time, code, p = part["time"].to_numpy(float), part["event"].to_numpy(int), risk.to_numpy(float)
        null = np.full(p.size, cumulative_incidence(time, code).at(t)[0])
        values = brier_t(time, code, p, t).value, brier_t(time, code, null, t).value
        rows.append({"time_days": float(t), "brier": values[0], "brier_null": values[1]})
    table = pd.DataFrame(rows, columns=["time_days", "brier", "brier_null"])
    return table.dropna(subset=["brier"]).assign(**sample.where)


def comparison_rows(samples: Sequence[Sample], settings: Settings) -> list[Row]:
    """Paired differences between the models of one cohort and endpoint, on the subjects that both scored."""
    rows: list[Row] = []
    for first, second in combinations(samples, 2):
        common = first.scored.index.intersection(second.scored.index)
        where = {**first.where, "comparator": second.model}
        time, event, entry = outcome(first.frame.loc[common])
        a, b = (s.frame.loc[common, "score"].to_numpy(float) for s in (first, second))
        if not len(common):
            none = undefined("no subject has both scores", n=0, n_events=0)
            rows.append(none.row("c_difference", **where))
            continue
        one, two = (Concordance(time, event, score, entry=entry) for score in (a, b))
        rows.append(concordance_difference(one, two, settings.level).row("c_difference", **where))
        code = first.frame.loc[common, "event"].to_numpy(int)
        for t in settings.times if entry is None else []:
            difference = auc_t_difference(time, code, a, b, t, settings.level)
            rows.append(difference.row("auc_t_difference", at=t, **where))
        for sample, other in ((first, second), (second, first)):
            if len(common) < len(sample.scored):
                rows += _on_common(sample, common, {**sample.where, "comparator": other.model}, settings)
    return rows


def _on_common(sample: Sample, common: pd.Index, where: Row, settings: Settings) -> list[Row]:
    """Measures of one model on the subjects that another model scored too, where these are fewer than its own."""
    frame = sample.frame.loc[common]
    time, event, entry = outcome(frame)
    code, score = frame["event"].to_numpy(int), frame["score"].to_numpy(float)
    rows = [Concordance(time, event, score, entry=entry).estimate(settings.level).row("c_harrell", **where)]
    for t in settings.times if entry is None else []:
        rows.append(auc_t(time, code, score, t, settings.level).row("auc_t", at=t, **where))
        risk = predicted(sample, t)
        if risk is not None and common.isin(risk.index).all():
            error = brier_t(time, code, risk.loc[common].to_numpy(float), t, settings.level)
            rows.append(error.row("brier_t", at=t, **where))
    return rows
