"""Discrimination and error at a time t: AUC(t), Brier(t), integrated Brier score, calibration at t.

Censoring is handled by weights: a case (event of interest by t) and a subject with a competing event by t count
1/G(T-), a subject still under observation after t counts 1/G(t), a subject censored by t counts nothing; G is the
Kaplan-Meier estimate of being uncensored, at ties events come first. Intervals use the influence function, the
estimation of G included, as riskRegression does.

References
----------
Blanche P, Dartigues JF, Jacqmin-Gadda H. Stat Med 2013;32:5381-5397. Gerds TA, Schumacher M. Biom J 2006;48:1029-1040.
Blanche P et al. Biometrics 2015;71:102-113 (competing risks). McLernon DJ et al. Ann Intern Med 2023;176:105-114.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import stats

from hccflow.metrics.competing import cumulative_incidence
from hccflow.metrics.concordance import censoring_survival
from hccflow.metrics.cox import fit_cox
from hccflow.metrics.estimate import Estimate, undefined

Array = np.ndarray[Any, Any]
METHOD = "influence function"


class Weights:
    """Weights of the subjects at a time t by the inverse probability of being uncensored.

    Parameters
    ----------
    time : array_like, shape (n,)
    event : array_like of int, shape (n,)
        0 censored, 1 event of interest, 2 competing event.
    t : float
    """

    def __init__(self, time: Array, event: Array, t: float) -> None:
        self.time, self.event, self.t = np.asarray(time, float), np.asarray(event, int), float(t)
        known = (self.time <= t) & (self.event > 0)
        self.case = known & (self.event == 1)
        after = self.time > t
        any_event = self.event > 0
        self.weight = np.zeros(self.time.size)
        self.weight[known] = 1 / censoring_survival(self.time, any_event, self.time[known], before=True)
        if after.any():
            self.weight[after] = 1 / censoring_survival(self.time, any_event, t)
        self.control = (known & ~self.case) | after
        self._until = np.where(after, t, self.time)
        self._before = known

    def problem(self) -> str:
        """Why nothing can be said at this time, or an empty string."""
        if not self.case.any():
            return "no event by this time"
        if not (self.time > self.t).any():
            return "time beyond follow-up: nobody is under observation after it"
        return ""

    def with_censoring(self, influence: Array) -> Array:
        """Add to the influence of each subject what it contributes through the estimate of G.

        Parameters
        ----------
        influence : numpy.ndarray, shape (n,)
            Derivative of the statistic to the logarithm of each subject's weight.
        """
        values, where = np.unique(self.time, return_inverse=True)
        lost = np.bincount(where, self.event == 0, values.size)
        risk = np.cumsum(np.bincount(where, minlength=values.size)[::-1])[::-1]
        # A subject's weight depends on the censorings at times <= t (controls) or < T (events).
        last = np.searchsorted(values, self._until, "right") - 1 - self._before
        reach = np.bincount(last[last >= 0], influence[last >= 0], values.size)
        reach = np.cumsum(reach[::-1])[::-1] * (values <= self.t)
        jump = reach / risk
        return (self.event == 0) * jump[where] - np.cumsum(jump * lost / risk)[where]


def auc_t(time: Array, event: Array, score: Array, t: float, level: float = 0.95) -> Estimate:
    """AUC(t): the chance that a case by `t` has a higher score than a subject without the event by `t`."""
    value, influence, problem, count = _auc(time, event, score, t)
    if problem:
        return undefined(problem, **count)
    return _estimate(value, influence, level, count, METHOD)


def auc_t_difference(time: Array, event: Array, first: Array, second: Array, t: float, level: float = 0.95) -> Estimate:
    """Difference of two AUC(t) of the same subjects, first minus second (paired)."""
    a, influence_a, problem_a, count = _auc(time, event, first, t)
    b, influence_b, problem_b, _ = _auc(time, event, second, t)
    if problem_a or problem_b:
        return undefined(problem_a or problem_b, **count)
    return _estimate(a - b, influence_a - influence_b, level, count, METHOD, null=0.0)


def _auc(time: Array, event: Array, score: Array, t: float) -> tuple[float, Array, str, dict[str, Any]]:
    w = Weights(time, event, t)
    count: dict[str, Any] = {"n": w.time.size, "n_events": int(w.case.sum())}
    score = np.asarray(score, float)
    problem = w.problem() or ("all scores are equal" if np.unique(score).size == 1 else "")
    if problem:
        return np.nan, np.zeros(0), problem, count
    order = np.argsort(score, kind="stable")
    ranked = score[order]
    case, control = w.weight * w.case, w.weight * w.control
    won = np.zeros(score.size)
    for mass, factor, own in ((control, 1.0, case), (case, -1.0, control)):
        total = np.concatenate([[0.0], np.cumsum(mass[order])])
        below = total[np.searchsorted(ranked, score, "left")]
        upto = total[np.searchsorted(ranked, score, "right")]
        won += own * ((below + upto) / 2 if factor > 0 else total[-1] - (below + upto) / 2)
    pairs = case * control.sum() + control * case.sum()
    everything = case.sum() * control.sum()
    value = float(won[w.case].sum() / everything)
    influence = (won - value * pairs) / everything
    return value, influence + w.with_censoring(influence), "", count


def brier_t(time: Array, event: Array, probability: Array, t: float, level: float = 0.95) -> Estimate:
    """Brier(t): weighted mean squared distance between the event by `t` and its predicted probability."""
    w = Weights(time, event, t)
    count: dict[str, Any] = {"n": w.time.size, "n_events": int(w.case.sum())}
    if not (w.time >= t).any():
        return undefined("time beyond follow-up: nobody is under observation at it", **count)
    part = w.weight * (w.case - np.asarray(probability, float)) ** 2 / w.time.size
    value = float(part.sum())
    influence = part - value / w.time.size + w.with_censoring(part)
    return _estimate(value, influence, level, count, METHOD, null=None)


def integrated_brier(time: Array, event: Array, probabilities: Mapping[float, Array]) -> Estimate:
    """Integrated Brier score: area under Brier(t) by the trapezoid rule, divided by the span of times.

    Parameters
    ----------
    time, event : array_like, shape (n,)
    probabilities : mapping
        Time -> predicted probabilities of the event by it, shape (n,). Times after the last event are left out:
        beyond it Brier(t) measures the censoring, not the prediction.
    """
    time, event = np.asarray(time, float), np.asarray(event, int)
    count: dict[str, Any] = {"n": time.size, "n_events": int((event == 1).sum())}
    last = time[event == 1].max(initial=-np.inf)
    used = sorted(t for t in probabilities if t <= last)
    if len(used) < 2:
        return undefined("fewer than two times with a prediction up to the last event", **count)
    scores = [brier_t(time, event, probabilities[t], t).value for t in used]
    return Estimate(float(np.trapezoid(np.array(scores, float), used) / (used[-1] - used[0])), **count)


def calibration_t(time: Array, event: Array, probability: Array, t: float, level: float = 0.95) -> dict[str, Estimate]:
    """Calibration at `t`: observed over expected risk, and the slope of the predictions on the hazard.

    Returns
    -------
    dict
        ``oe_ratio_t``: observed risk (one minus Kaplan-Meier, or Aalen-Johansen with competing events) over the mean
        prediction, interval on the log scale; ``calibration_slope_t``: coefficient of log(-log(1 - p)) in a Cox model,
        1 when the spread of the predictions is right (cause-specific with competing events).
    """
    time, event, p = np.asarray(time, float), np.asarray(event, int), np.asarray(probability, float)
    count: dict[str, Any] = {"n": time.size, "n_events": int((event == 1).sum())}
    out = {}
    expected = float(p.mean())
    curve = cumulative_incidence(time, event)
    risk, error = float(curve.at(t)[0]), float(curve.error_at(t)[0])
    if t > time.max() or risk <= 0 or expected <= 0:
        reason = "time beyond follow-up" if t > time.max() else "no event by this time, or no risk predicted"
        out["oe_ratio_t"] = undefined(reason, **count)
    else:
        half = stats.norm.ppf(0.5 + level / 2) * error / risk
        ratio = risk / expected
        out["oe_ratio_t"] = Estimate(ratio, float(ratio * np.exp(-half)), float(ratio * np.exp(half)), "log", **count)
    if np.any((p <= 0) | (p >= 1)):
        out["calibration_slope_t"] = undefined("a predicted probability is 0 or 1", **count)
    elif not (event == 1).any():
        out["calibration_slope_t"] = undefined("no events", **count)
    else:
        fit = fit_cox(np.log(-np.log1p(-p))[:, None], time, event == 1, ["score"])
        out["calibration_slope_t"] = fit.coefficient("score", level)
    return out


def _estimate(
    value: float, influence: Array, level: float, count: dict[str, Any], method: str, null: float | None = 0.5
) -> Estimate:
    error = float(np.std(influence, ddof=1) * np.sqrt(influence.size)) if influence.size > 1 else 0.0
    if error < 1e-12:
        return Estimate(value, reason="no interval: no variation", **count)
    half = float(stats.norm.ppf(0.5 + level / 2) * error)
    p = None if null is None else float(2 * stats.norm.sf(abs(value - null) / error))
    return Estimate(value, value - half, value + half, method, p, **count)
