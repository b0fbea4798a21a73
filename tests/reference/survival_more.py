"""Competing risks, delayed entry, strata, weights, ridge, Firth, time-varying: data and R's numbers in the JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from hccflow.metrics.competing import cumulative_incidence, gray_test
from hccflow.metrics.concordance import Concordance
from hccflow.metrics.cox import fit_cox
from hccflow.metrics.finegray import fit_fine_gray
from hccflow.metrics.firth_cox import firth_cox
from hccflow.metrics.km import kaplan_meier
from hccflow.metrics.logrank import log_rank
from hccflow.metrics.time_varying import fit_log_time
from hccflow.metrics.zph import zph
from hccflow.survive.hazards import before_and_after

from .common import Row


def more_rows() -> list[Row]:
    """Compare every number of survival_more.json."""
    cases = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
    out: list[Row] = []
    for name, case in cases.items():
        case = {key: np.array(value) if isinstance(value, list) else value for key, value in case.items()}
        compare = next(function for start, function in COMPARE.items() if name.startswith(start))
        for number, ours, r, tolerance in compare(case):
            pairs = zip(np.atleast_1d(ours), np.atleast_1d(r), strict=True)
            out += [Row(name, f"{number} {k}", float(a), float(b), tolerance) for k, (a, b) in enumerate(pairs, 1)]
    return out


def _competing(c: dict[str, Any]) -> Iterator[tuple[str, Any, Any, float]]:
    time, event = c["time"], c["event"]
    fit = fit_fine_gray(np.c_[c["x"], c["z"]], time, event, ["x", "z"])
    yield "Fine-Gray coef", fit.coef, c["fine_gray_coef"], 1e-5
    yield "Fine-Gray SE", np.sqrt(np.diag(fit.covariance)), c["fine_gray_se"], 5e-4
    yield "Gray chi2, 2 groups", gray_test(time, event, c["z"]).chi2, c["gray2"], 1e-8
    yield "Gray chi2, 3 groups", gray_test(time, event, c["g3"]).chi2, c["gray3"], 1e-8
    curve, other = cumulative_incidence(time, event), cumulative_incidence(time, event, 2)
    where = np.searchsorted(curve.time, c["at"], "right") - 1
    low, high = curve.interval("log")
    yield "CIF", curve.at(c["at"]), c["cif"], 1e-8
    yield "CIF competing", other.at(c["at"]), c["cif_competing"], 1e-8
    yield "CIF SE", curve.error_at(c["at"]), c["cif_se"], 1e-8
    yield "CIF low", low[where], c["cif_low"], 1e-7
    yield "CIF high", high[where], c["cif_high"], 1e-7
    cause = fit_cox(np.c_[c["x"], c["z"]], time, event == 2, ["x", "z"])
    yield "cause-specific Cox coef", cause.coef, c["cause_coef"], 1e-5


def _delayed(c: dict[str, Any]) -> Iterator[tuple[str, Any, Any, float]]:
    start, time, event = c["start"].astype(float), c["time"].astype(float), c["event"] == 1
    curve = kaplan_meier(time, event, start)
    low, high = curve.interval_at(c["at"], "log-log")
    yield "KM S", curve.at(c["at"]), c["surv"], 1e-8
    yield "KM low", low, c["low"], 1e-7
    yield "KM high", high, c["high"], 1e-7
    yield "KM at risk", curve.at_risk_at(c["at"]), c["at_risk"], 1e-8
    yield "KM median", curve.median().value, c["median"], 1e-8
    fit = fit_cox(np.c_[c["x"], c["z"]], time, event, ["x", "z"], entry=start)
    yield "Cox coef", fit.coef, c["coef"], 1e-5
    yield "Cox SE", fit.error, c["se"], 1e-5
    yield "Cox log likelihood", fit.loglik, c["loglik"], 1e-8
    for transform, r in c["zph"].items():
        ours = zph(fit, transform)
        yield f"zph {transform} chi2", [ours[term].value for term in ("x", "z", "GLOBAL")], r, 1e-5
    found = Concordance(time, event, c["x"], entry=start)
    yield "Harrell C", found.value, c["c"], 1e-9
    yield "Harrell C SE", np.sqrt(np.sum(found.influence**2)), c["c_se"], 1e-8


def _strata(c: dict[str, Any]) -> Iterator[tuple[str, Any, Any, float]]:
    time, event = c["time"].astype(float), c["event"] == 1
    yield "stratified log-rank chi2", log_rank(time, event, c["trt"], strata=c["celltype"]).chi2, c["logrank"], 1e-8
    yield "log-rank chi2, 4 groups", log_rank(time, event, c["celltype"]).chi2, c["logrank4"], 1e-8
    X = np.c_[c["karno"], c["trt"]]
    # R scales by the standard deviation with n - 1, we by that with n.
    theta = 20 * time.size / (time.size - 1)
    yield "ridge Cox coef", fit_cox(X, time, event, ["karno", "trt"], ridge=theta).coef, c["ridge"], 1e-5
    weighted = fit_cox(X, time, event, ["karno", "trt"], weights=c["weights"])
    yield "weighted Cox coef", weighted.coef, c["weighted_coef"], 1e-5
    yield "weighted Cox SE", weighted.error, c["weighted_se"], 1e-5
    uno = Concordance(time, event, -c["karno"], uno=True, tau=200)
    yield "Uno C to tau", uno.value, c["uno_tau"], 1e-7


def _firth(c: dict[str, Any]) -> Iterator[tuple[str, Any, Any, float]]:
    time, event = c["time"].astype(float), c["event"] == 1
    names = [str(j) for j in range(c["X"].shape[1])]
    found = [firth_cox(c["X"].astype(float), time, event, names)[name] for name in names]
    # R's optimiser stops there: its coefficients are good to about 1e-6.
    yield "Firth Cox coef", [e.value for e in found], c["coef"], 1e-5
    yield "Firth Cox profile low", [e.ci_low for e in found], c["low"], 1e-4
    yield "Firth Cox profile high", [e.ci_high for e in found], c["high"], 1e-4
    yield "Firth Cox penalised LR p", [e.p for e in found], c["p"], 1e-5


def _varying(c: dict[str, Any]) -> Iterator[tuple[str, Any, Any, float]]:
    time, event = c["time"].astype(float), c["event"] == 1
    entry = c["start"].astype(float) if np.any(c["start"]) else None
    fit = fit_log_time(c["x"], time, event, entry=entry)
    yield "coxph(tt = x log t) coef", fit.coef, c["coef"], 1e-5
    yield "coxph(tt = x log t) covariance", fit.covariance.ravel(), c["cov"], 1e-6
    split, parts = before_and_after(c["x"], time, event, entry)
    yield "survSplit at", split, c["split"], 1e-9
    yield "survSplit coef", [part.value for part in parts], c["step"], 1e-5
    width = [(part.ci_high - part.ci_low) / (2 * stats.norm.ppf(0.975)) for part in parts]
    yield "survSplit SE", width, c["step_se"], 1e-5


COMPARE = {
    "delayed_entry": _delayed, "strata": _strata, "competing": _competing, "firth": _firth, "time_varying": _varying,
}  # fmt: skip
