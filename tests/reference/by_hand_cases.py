"""The same numbers by hand: tables written as any other tool would, the two commands run, ``metrics.tsv`` compared.

All cohorts and both models stand in one file with the required columns only (and a column that no schema knows);
identifiers stay as the case gives them; missing cells are empty; scores that are not probabilities stand in ``risk``.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from scipy import stats

from hccflow.cli import main
from hccflow.tables import read_table, write_table

from .common import Case, Row, cases
from .survival_cases import Cohort, listed, plain

Z = float(stats.norm.ppf(0.975))


def rows(stats_folder: Path) -> list[Row]:
    """Run both commands on every case below `stats_folder` and compare every number that their tables hold."""
    out: list[Row] = []
    for case in cases(stats_folder):
        if not (case.folder / "input.csv").is_file():
            continue
        with tempfile.TemporaryDirectory() as folder:
            out += _binary(case, Path(folder))
            out += _survival(case, Path(folder))
    return out


def long_table(case: Case) -> pd.DataFrame:
    """A case's input as a table of scores: one row per subject and model."""
    table = case.table
    column = "y_prob" if case.config.get("probabilities") else "risk"
    others = [name for name in table if not name.startswith("score_model_") and name not in ("case_id", "y_true")]
    parts = []
    for model in "ab":
        if f"score_model_{model}" not in table:
            continue
        part = pd.DataFrame({"model": model, "cohort": table["cohort"], "subject": table["case_id"], "kind": "frozen"})
        if "y_true" in table:
            part["y_true"] = table["y_true"].astype("Int64")
        part[column] = table[f"score_model_{model}"]
        renamed = {"time": "time_days"}
        parts.append(part.assign(**{renamed.get(name, name): table[name] for name in others if name != "cohort"}))
    out = pd.concat(parts, ignore_index=True)
    return out.assign(event=out["event"].astype("Int64")) if "event" in out else out


def _binary(case: Case, folder: Path) -> Iterator[Row]:
    cohorts = {name: one["binary"] for name, one in case.expected["cohorts"].items() if "binary" in one}
    if not cohorts:
        return
    write_table(long_table(case), folder / "P.tsv")
    (folder / "T.json").write_text(json.dumps(case.config.get("threshold", {})), encoding="utf-8")
    settings = {"validate": {"bootstrap": 0}}
    if "nb_thresholds" in case.config:
        settings["validate"]["net_benefit_at"] = listed(case.config["nb_thresholds"])
    given = ["--thresholds", str(folder / "T.json"), "--settings", json.dumps(settings), "--out", str(folder / "V")]
    assert main(["validate", "--predictions", str(folder / "P.tsv"), *given]) == 0
    metrics = read_table(folder / "V" / "metrics.tsv", "metrics")
    for cohort, r in cohorts.items():
        own = metrics[(metrics["cohort"] == cohort) & (metrics["group"] == "")]
        for model in "ab":
            if f"model_{model}" in r:
                mine = own[(own["model"] == model)]
                yield from _model(case, f"by hand {cohort} {model}", mine, model, r[f"model_{model}"])
        if "paired_delong" in r:
            yield from _paired(case, f"by hand {cohort}", own, r)


def _one(table: pd.DataFrame, metric: str, at: float | None = None, comparator: str = "") -> pd.Series:
    found = table[(table["metric"] == metric) & (table["comparator"] == comparator)]
    found = found if at is None else found[found["at"] == at]
    assert len(found) == 1, f"{metric} {at} {comparator}: {len(found)} rows"
    return found.iloc[0]


def _model(case: Case, prefix: str, own: pd.DataFrame, model: str, r: dict[str, Any]) -> Iterator[Row]:
    def row(name: str, ours: Any, theirs: Any, tolerance: float) -> Row:
        return Row(case.name, f"{prefix} {name}", plain(ours), plain(theirs), tolerance)

    def value(name: str, metric: str, theirs: Any, tolerance: float, at: float | None = None) -> Row:
        ours = _one(own, metric, at)
        assert pd.notna(ours["value"]) or ours["reason"], f"{prefix} {metric}: empty without a reason"
        return row(name, ours["value"], theirs, tolerance)

    area = r.get("roc", {})
    yield value("auc", "auc", area.get("auc"), 1e-9)
    yield value("auc_pr", "auc_pr", r.get("average_precision"), 1e-9)
    if area and 0 < area["auc"] < 1:
        ours = _one(own, "auc")
        yield row("auc low", ours["ci_low"], area["ci95_wald_truncated"][0], 1e-7)
        yield row("auc high", ours["ci_high"], area["ci95_wald_truncated"][1], 1e-7)
    if (frozen := r.get("at_frozen_threshold")) is not None:
        for name in ("sensitivity", "specificity", "ppv", "npv", "accuracy"):
            yield value(name, name, frozen[name].get("est"), 1e-9, float(frozen["threshold"]))
            ours = _one(own, name)
            yield row(f"{name} low", ours["ci_low"], (frozen[name].get("wilson") or [None])[0], 1e-7)
        for name in ("f1", "mcc", "balanced_accuracy"):
            yield value(name, name, frozen[name], 1e-9, float(frozen["threshold"]))
    if (fit := r.get("calibration")) is None:
        assert not case.config.get("probabilities")
        yield value("brier", "brier", None, 0)
        yield value("calibration_slope", "calibration_slope", None, 0)
        return
    yield value("brier", "brier", fit["brier"], 1e-9)
    yield value("brier_scaled", "brier_scaled", fit["brier_scaled"], 1e-9)
    if "separated" in fit:
        yield value("calibration_slope", "calibration_slope", fit.get("slope"), 1e-5)
        yield value("calibration_intercept", "calibration_intercept", fit.get("intercept_joint"), 1e-5)
        yield value("in the large", "calibration_in_the_large", fit.get("intercept_in_large"), 1e-5)
    else:
        yield value("calibration_slope", "calibration_slope", None, 0)
    # Below 50 rows ours is empty with the reason; R's smoother gives numbers that nobody should report.
    smooth = fit.get("loess", {}) if r["n_used"] >= 50 else {}
    for name, theirs in (("ici", "ICI"), ("e50", "E50"), ("e90", "E90")):
        if "separated" in fit:
            yield value(name, name, smooth.get(theirs), 1e-4)
    for groups in (5, 10):
        if (test := fit.get(f"hl_g{groups}")) is not None:
            yield value(f"hosmer_lemeshow {groups}", "hosmer_lemeshow", test["chisq"], 1e-6, groups)
            if plain(test["chisq"]) is not None:
                ours = _one(own, "hosmer_lemeshow", groups)
                yield row(f"hosmer_lemeshow {groups} p", ours["p"], test.get("p_ext"), 1e-6)
    for entry in r.get("net_benefit", []):
        at = float(entry["threshold"])
        yield value(f"net_benefit {at}", "net_benefit", entry["model"], 1e-9, at)
        yield value(f"net_benefit all {at}", "net_benefit_treat_all", entry["treat_all"], 1e-9, at)


def _paired(case: Case, prefix: str, own: pd.DataFrame, r: dict[str, Any]) -> Iterator[Row]:
    ours, test = _one(own, "auc_difference", comparator="b"), r["paired_delong"]
    for name, mine, theirs, tolerance in (
        ("auc_difference", ours["value"], test["diff"], 1e-9), ("p", ours["p"], test["p"], 1e-7),
        ("low", ours["ci_low"], test["ci_diff"][0] if isinstance(test["ci_diff"], list) else None, 1e-7),
        ("n", ours["n"], test["n"], 0),
    ):  # fmt: skip
        yield Row(case.name, f"{prefix} paired {name}", plain(mine), plain(theirs), tolerance)
    if "mcnemar" in r:
        mine = _one(own, "accuracy_difference", comparator="b")["p"]
        yield Row(case.name, f"{prefix} mcnemar p", plain(mine), plain(r["mcnemar"]["p_exact"]), 1e-9)


def _survival(case: Case, folder: Path) -> Iterator[Row]:
    cohorts = {name: one["survival"] for name, one in case.expected["cohorts"].items() if one.get("survival")}
    if not cohorts:
        return
    write_table(long_table(case), folder / "S.tsv")
    config = case.config
    times = sorted({float(t) for key in ("km_times", "score_times") for t in listed(config.get(key))})
    chosen: dict[str, Any] = {"covariates": listed(config.get("cox_multi")), "times": times}
    if "rmst_tau" in config:
        chosen["tau"] = config["rmst_tau"]
    if "km_cut" in config:
        chosen["cut"] = {"a": config["km_cut"]}
    metrics = {}
    for kind, ties in (("log", "efron"), ("log-log", "efron"), ("plain", "breslow")):
        path = folder / f"{kind}.yaml"
        path.write_text(yaml.safe_dump({**chosen, "conf_type": kind, "ties": ties}), encoding="utf-8")
        given = ["--table", str(folder / "S.tsv"), "--config", str(path), "--out", str(folder / kind)]
        assert main(["survive", *given]) == 0
        metrics[kind] = read_table(folder / kind / "metrics.tsv", "metrics")
        empty = metrics[kind][metrics[kind]["value"].isna()]
        assert (empty["reason"] != "").all(), f"{case.name}: empty without a reason"
    for cohort, r in cohorts.items():
        own = {kind: table[table["cohort"] == cohort] for kind, table in metrics.items()}
        for row in Cohort(case, cohort, r, own).rows():
            yield Row(row.case, f"by hand {row.number}", row.ours, row.r, row.tolerance, row.relative)
