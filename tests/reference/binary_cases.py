"""The binary-endpoint numbers of the reference cases: discrimination, thresholds, calibration, decision, pooling."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hccflow.metrics import auc as roc
from hccflow.metrics import calibration as cal
from hccflow.metrics import decision, multiplicity, pooling, reclassification, samplesize, threshold
from hccflow.metrics.bootstrap import bca_interval, percentile_interval, resample
from hccflow.metrics.precision_recall import average_precision
from hccflow.metrics.weighted import Ranking

from .common import Case, Row, cases

Make = Callable[..., Row]


def rows(stats: Path) -> list[Row]:
    """Compare every binary number of every case below `stats`."""
    out: list[Row] = []
    for case in cases(stats):
        expected = case.expected
        for cohort, numbers in expected.get("cohorts", {}).items():
            if "binary" in numbers:
                out += _cohort(case, cohort, numbers["binary"])
        out += _tables(case, stats, expected)
    return out


def _maker(case: str, prefix: str) -> Make:
    def make(number: str, ours: Any, r: Any, tolerance: float, relative: bool = False) -> Row:
        return Row(case, f"{prefix}{number}", _plain(ours), _plain(r), tolerance, relative)

    return make


def _plain(value: Any) -> float | None:
    if value is None or (isinstance(value, (list, str)) and not value) or value == "NA":
        return None
    return None if np.isnan(float(value)) else float(value)


def _pair(make: Make, name: str, ours: tuple[Any, Any] | None, r: Any, tolerance: float) -> Iterator[Row]:
    ours = ours or (None, None)
    r = r if isinstance(r, list) and len(r) == 2 else [None, None]
    for side, mine, theirs in zip(("low", "high"), ours, r, strict=True):
        yield make(f"{name} {side}", mine, theirs, tolerance)


def _cohort(case: Case, cohort: str, expected: dict[str, Any]) -> Iterator[Row]:
    table = case.table
    table = table[table["cohort"] == cohort]
    labelled = table[table["y_true"].notna()]
    make = _maker(case.name, f"{cohort} ")
    yield make("n_total", len(table), expected["n_total"], 0)
    yield make("n_label", len(labelled), expected["n_label"], 0)
    yield make("n_pos", labelled["y_true"].sum(), expected["n_pos"], 0)
    for model in ("a", "b"):
        if (r := expected.get(f"model_{model}")) is not None:
            yield from _model(case, cohort, model, labelled, r)
    if "paired_delong" in expected or "mcnemar" in expected:
        yield from _pairs(case, cohort, labelled, expected)


def _model(case: Case, cohort: str, model: str, labelled: pd.DataFrame, r: dict[str, Any]) -> Iterator[Row]:
    make, config = _maker(case.name, f"{cohort} {model} "), case.config
    used = labelled[labelled[f"score_model_{model}"].notna()]
    y, s = used["y_true"].to_numpy(float), used[f"score_model_{model}"].to_numpy(float)
    yield make("n_used", len(used), r["n_used"], 0)
    result = roc.auc(y, s)
    if r.get("auc_undefined"):
        yield make("auc", result.value, None, 0)
    else:
        yield from _discrimination(make, y, s, r, result)
    if "at_frozen_threshold" in r:
        yield from _threshold(make, y, s, config["threshold"][model], r["at_frozen_threshold"])
    if "calibration" in r:
        yield from _calibration(make, y, s, r["calibration"])
    for entry in r.get("net_benefit", []):
        t = entry["threshold"]
        yield make(f"net_benefit {t}", decision.net_benefit(y, s, [t])[0], entry["model"], 1e-9)
        yield make(f"net_benefit all {t}", decision.net_benefit_treat_all(y, [t])[0], entry["treat_all"], 1e-9)


def _discrimination(make: Make, y: Any, s: Any, r: dict[str, Any], result: Any) -> Iterator[Row]:
    placed = roc.placements(y, s)
    yield make("auc", result.value, r["roc"]["auc"], 1e-9)
    yield make("delong_var", placed.variance, r["roc"]["delong_var"], 1e-7)
    # R gives [1, 1] for a perfect score; ours is empty with a reason.
    if placed.variance > 0:
        yield from _pair(make, "auc CI", (result.ci_low, result.ci_high), r["roc"]["ci95_wald_truncated"], 1e-7)
        yield from _pair(make, "auc CI logit", roc.logit_interval(placed), r["roc"]["ci95_logit"], 1e-7)
    yield make("average_precision", average_precision(y, s).value, r["average_precision"], 1e-9)
    best = threshold.youden(y, s)
    yield make("youden J", best[1] if best else None, r["youden"]["J"], 1e-9)


def _threshold(make: Make, y: Any, s: Any, at: float, r: dict[str, Any]) -> Iterator[Row]:
    counts = threshold.confusion(y, s, at)
    for name in ("tp", "fp", "tn", "fn"):
        yield make(name, getattr(counts, name), r[name.upper()], 0)
    ours = threshold.threshold_metrics(counts)
    sizes = {
        "sensitivity": (counts.tp, counts.tp + counts.fn), "specificity": (counts.tn, counts.tn + counts.fp),
        "ppv": (counts.tp, counts.tp + counts.fp), "npv": (counts.tn, counts.tn + counts.fn),
        "accuracy": (counts.tp + counts.tn, counts.n),
    }  # fmt: skip
    for name, (x, n) in sizes.items():
        yield make(name, ours[name].value, r[name].get("est"), 1e-9)
        yield from _pair(make, f"{name} Wilson", (ours[name].ci_low, ours[name].ci_high), r[name].get("wilson"), 1e-7)
        exact = threshold.proportion_interval(x, n, method="exact") if n else None
        yield from _pair(make, f"{name} Clopper-Pearson", exact, r[name].get("clopper_pearson"), 1e-7)
    for name in ("f1", "balanced_accuracy", "mcc"):
        yield make(name, ours[name].value, r[name], 1e-9)


def _calibration(make: Make, y: Any, s: Any, r: dict[str, Any]) -> Iterator[Row]:
    plain, scaled = cal.brier(y, s)
    yield make("brier", plain.value, r["brier"], 1e-9)
    yield make("brier_scaled", scaled.value, r["brier_scaled"], 1e-9)
    yield make("oe_ratio", cal.observed_expected(y, s).value, r["oe_ratio"], 1e-9)
    intercept, slope = cal.intercept_and_slope(y, s)
    large = cal.in_the_large(y, s)
    if "intercept_in_large" in r or large.value is not None:
        yield make("calibration_in_the_large", large.value, r.get("intercept_in_large"), 1e-5)
        yield make("in_the_large SE", _error(large), r.get("intercept_in_large_se"), 1e-5)
    if "separated" in r:
        yield make("calibration_slope", slope.value, r.get("slope"), 1e-5)
        yield make("slope SE", _error(slope), r.get("slope_se"), 1e-5)
        yield from _pair(make, "slope CI", (slope.ci_low, slope.ci_high), r.get("slope_ci_wald"), 1e-5)
        yield make("calibration_intercept", intercept.value, r.get("intercept_joint"), 1e-5)
    if "loess" in r:
        ours = cal.Loess(y, s).curve.errors()
        for name, theirs in (("ici", "ICI"), ("e50", "E50"), ("e90", "E90"), ("emax", "Emax")):
            yield make(f"{name} (loess)", ours[name], r["loess"][theirs], 1e-4)
    if "lowess_iter0" in r:
        ours = cal.lowess_curve(y, s).errors()
        for name, theirs in (("ici", "Eavg"), ("e90", "E90"), ("emax", "Emax")):
            yield make(f"{theirs} (lowess)", ours[name], r["lowess_iter0"][theirs], 1e-4)
    for groups in (5, 10):
        if f"hl_g{groups}" in r:
            hl, theirs = cal.hosmer_lemeshow(y, s, groups), r[f"hl_g{groups}"]
            yield make(f"hosmer_lemeshow {groups}", hl.chi2, theirs["chisq"], 1e-6)
            yield make(f"hosmer_lemeshow {groups} p (g-2)", hl.p_development, theirs.get("p_dev"), 1e-6)
            yield make(f"hosmer_lemeshow {groups} p (g)", hl.p_external, theirs.get("p_ext"), 1e-6)


def _error(estimate: Any) -> float | None:
    return None if estimate.value is None else (estimate.ci_high - estimate.ci_low) / (2 * 1.959963984540054)


def _pairs(case: Case, cohort: str, labelled: pd.DataFrame, expected: dict[str, Any]) -> Iterator[Row]:
    make = _maker(case.name, f"{cohort} ")
    both = labelled[labelled["score_model_a"].notna() & labelled["score_model_b"].notna()]
    y, a, b = (both[c].to_numpy(float) for c in ("y_true", "score_model_a", "score_model_b"))
    if (r := expected.get("paired_delong")) is not None:
        test = roc.paired_auc(y, a, b)
        yield make("paired n", len(both), r["n"], 0)
        yield make("auc_difference", test.difference.value, r["diff"], 1e-9)
        yield make("auc covariance", test.covariance, r["cov"], 1e-7)
        yield make("auc_difference z", test.z, r["z"], 1e-7)
        yield make("auc_difference p", test.difference.p, r["p"], 1e-7)
        ours = (test.difference.ci_low, test.difference.ci_high)
        yield from _pair(make, "auc_difference CI", ours, r["ci_diff"], 1e-7)
    if (r := expected.get("reclass_b_vs_a")) is not None:
        ours = reclassification.reclassification(y, b, a)
        pairs = (
            ("idi", "idi"),
            ("nri_events", "nri_cf_events"),
            ("nri_nonevents", "nri_cf_nonevents"),
            ("nri", "nri_cf"),
        )
        for name, theirs in pairs:
            yield make(name, ours[name], r[theirs], 1e-9)
    if (r := expected.get("mcnemar")) is not None:
        t = case.config["threshold"]
        test = threshold.mcnemar((a >= t["a"]) == (y == 1), (b >= t["b"]) == (y == 1))
        yield make("mcnemar b10", test.only_a, r["b10"], 0)
        yield make("mcnemar b01", test.only_b, r["b01"], 0)
        yield make("mcnemar p", test.p, r["p_exact"], 1e-9)


def _tables(case: Case, stats: Path, expected: dict[str, Any]) -> Iterator[Row]:
    make = _maker(case.name, "")
    if "p_adjust" in expected:
        lines = (case.folder / "pvalues.csv").read_text(encoding="utf-8").splitlines()[1:]
        p = [float(cell) if cell else None for cell in lines]
        for method in ("holm", "BH", "BY", "bonferroni"):
            for i, (mine, theirs) in enumerate(
                zip(multiplicity.adjust(p, method), expected["p_adjust"][method], strict=True)
            ):
                yield make(f"{method} {i + 1}", mine, theirs, 1e-9)
    if "rubin" in expected:
        r, given = expected["rubin"], pd.read_csv(case.folder / "rubin_input.csv")
        pooled = pooling.rubin(given["est"], given["se"] ** 2, n=r["n"], parameters=r["k"])
        for name, theirs in (
            ("estimate", "qbar"), ("within", "ubar"), ("between", "b"), ("variance", "total_var"), ("df", "df"),
            ("fmi", "fmi"), ("riv", "riv"),
        ):  # fmt: skip
            yield make(f"rubin {name}", getattr(pooled, name), r[theirs], 1e-9)
        yield from _pair(make, "rubin CI", pooled.interval(), r["ci"], 1e-9)
    for name, r in expected.get("riley_binary", {}).items():
        size = samplesize.development_size(r["R2cs"], r["P"], r["prevalence"])
        for mine, theirs in (("n", "n"), ("n_shrinkage", "n1"), ("n_optimism", "n2"), ("n_prevalence", "n3")):
            yield make(f"riley {name} {mine}", getattr(size, mine), r[theirs], 0)
    if (r := expected.get("bootstrap_auc_case02a")) is not None:
        table = pd.read_csv(stats / "02_asah_delong" / "input.csv")
        y, s = table["y_true"].to_numpy(float), table["score_model_a"].to_numpy(float)
        ranking, placed = Ranking(y, s), roc.placements(y, s)
        draws = resample(lambda w: ranking.auc(w)[:, None], len(y), 5000, 20, strata=y)[:, 0]
        yield make("bootstrap auc SE", draws.std(ddof=1), r["se"], 0.002)
        yield from _pair(make, "bootstrap auc percentile", percentile_interval(draws), r["percentile"], 0.015)
        bca = bca_interval(placed.auc, draws, roc.influence(placed))
        yield from _pair(make, "bootstrap auc BCa", bca, r["bca"], 0.015)
