"""The survive stage: by hand on a table, in a study from its tables, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from lifelines.utils import concordance_index
from statsmodels.duration.hazard_regression import PHReg

from hccflow.cli import main
from hccflow.errors import ConfigError, FreezeError, LeakageError, TableError
from hccflow.freeze import freeze
from hccflow.survive import Settings, analyse, read_settings
from hccflow.survive.assemble import assemble, study_settings
from hccflow.survive.frozen_cox import frozen_clinical
from hccflow.tables import read_table

N = 90


def make_table(seed: int = 0, *, competing: bool = False, n: int = N) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    x, age = rng.normal(size=n), rng.normal(60, 10, n).round()
    time, other = rng.exponential(700 * np.exp(-0.9 * x)), rng.exponential(1200, n)
    censored = rng.uniform(200, 1500, n)
    last = np.minimum(time, censored)
    event = (time <= censored).astype(int)
    if competing:
        event = np.where(other < last, 2, event)
        last = np.minimum(last, other)
    base = {
        "cohort": "ext", "subject": [f"P{k:03d}" for k in range(n)], "kind": "frozen", "endpoint": "os",
        "time_days": np.ceil(last), "event": event, "age": age, "stage": rng.choice(["A", "B", "C"], n),
    }  # fmt: skip
    good, noise = 1 / (1 + np.exp(-x)), rng.random(n)
    return pd.concat([pd.DataFrame({"model": m, **base, "y_prob": s}) for m, s in (("good", good), ("noise", noise))])


SETTINGS = Settings(covariates=["age", "stage"], cut={"good": 0.5, "noise": 0.5}, times=[180.0, 365.0], tau=365.0)


def one(metrics: pd.DataFrame, metric: str, **where: object) -> pd.Series:
    keep = metrics["metric"] == metric
    for name, value in where.items():
        keep &= metrics[name] == value
    assert keep.sum() == 1, (metric, where, int(keep.sum()))
    return metrics[keep].iloc[0]


def by_hand(tmp_path: Path, table: pd.DataFrame, **config: object) -> Path:
    table.to_csv(tmp_path / "s.tsv", sep="\t", index=False)
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
    args = ["--table", tmp_path / "s.tsv", "--config", tmp_path / "c.yaml", "--out", tmp_path / "out"]
    assert main(["survive", *map(str, args)]) == 0
    return tmp_path / "out"


def test_by_hand_writes_metrics_curves_and_figures(tmp_path: Path) -> None:
    out = by_hand(
        tmp_path, make_table(competing=True), covariates=["age", "stage"], cut={"good": 0.5}, times=[180, 365], tau=365,
        ties="efron", conf_type="log", strata=["stage"], ridge=1,
    )  # fmt: skip
    metrics = read_table(out / "metrics.tsv", "metrics")
    wanted = {
        "km_survival", "n_at_risk", "km_median", "logrank_chi2", "logrank_stratified_chi2", "rmst", "rmst_difference",
        "cox_coef", "cox_hr", "cox_hr_sd", "zph_chi2", "c_harrell", "c_uno", "c_uno_tau", "auc_t", "brier_t", "ibs",
        "cif", "fine_gray_coef", "gray_chi2", "c_difference", "cox_ridge_coef", "follow_up_median", "cox_added_chi2",
        "cox_hr_before", "cox_hr_after", "cox_log_time_coef", "cox_hr_t", "oe_ratio_t",
        "calibration_slope_t", "spline_chi2",
    }  # fmt: skip
    assert wanted <= set(metrics["metric"])
    keys = ["endpoint", "cohort", "group", "model", "comparator", "metric", "at"]
    assert not metrics.duplicated(keys).any()
    undefined = metrics["value"].isna()
    assert (metrics.loc[undefined, "reason"] != "").all()
    assert one(metrics, "km_survival", model="good", group="high", at=365)["ci_method"] == "log"
    assert one(metrics, "logrank_chi2", model="noise")["reason"] == "no cut is given for this model"
    assert one(metrics, "c_harrell", model="good")["value"] > 0.65 > one(metrics, "c_harrell", model="noise")["value"]
    assert one(metrics, "c_difference", model="good", comparator="noise")["p"] < 0.05
    km = read_table(out / "curves" / "km.tsv")
    assert {"time_days", "group", "survival", "ci_low", "ci_high", "at_risk", "events", "censored"} <= set(km.columns)
    first = km[(km["model"] == "good") & (km["group"] == "all")].iloc[0]
    assert (first["time_days"], first["survival"], first["at_risk"]) == (0, 1, N)
    for name in ("km", "cif", "auc_t", "brier_t", "spline"):
        assert (out / "curves" / f"{name}.tsv").is_file()
    for name in ("km_os_ext_good", "cif_os_ext_good", "forest_os_ext", "auc_t_os_ext", "spline_os_ext_good"):
        assert (out / "figures" / f"{name}.svg").read_text().lstrip().startswith("<?xml")
        assert (out / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_the_same_table_gives_the_same_bytes_in_any_order(tmp_path: Path) -> None:
    table = make_table(n=40)
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder, rows in zip(folders, (table, table.sample(frac=1, random_state=1)), strict=True):
        folder.mkdir()
        by_hand(folder, rows, cut={"good": 0.5}, times=[180])
    files = sorted(p.relative_to(folders[0]) for p in folders[0].rglob("*") if p.is_file() and p.name != "s.tsv")
    for name in files:
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes(), name


def test_training_scores_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = make_table()
    table.loc[table.index[:3], "kind"] = "apparent"
    with pytest.raises(LeakageError, match="fitted on"):
        analyse(table, SETTINGS)
    table.to_csv(tmp_path / "s.tsv", sep="\t", index=False)
    assert main(["survive", "--table", str(tmp_path / "s.tsv"), "--out", str(tmp_path / "out")]) == 2
    assert "LeakageError" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        (lambda t: pd.concat([t, t.iloc[:1]]), TableError, "stands twice"),
        (lambda t: t.drop(columns="time_days"), TableError, "time_days"),
        (lambda t: t.drop(columns="age"), ConfigError, "age"),
        (lambda t: t.assign(entry_days=t["time_days"]), TableError, "entry"),
        (lambda t: t.drop(columns="y_prob"), TableError, "no scores"),
    ],
)
def test_bad_tables_are_refused(change, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        analyse(change(make_table()), SETTINGS)


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"covariate": []}, "covariates"),
        ({"ties": "exact"}, "efron"),
        ({"times": 5}, "list"),
        ({"cut": 0.5}, "each model"),
    ],
)
def test_bad_settings_are_refused(config: dict, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        read_settings(config, where="c.yaml")


def test_a_cut_of_an_unknown_model_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown model 'god'"):
        analyse(make_table(), Settings(cut={"god": 0.5}))


def test_everyone_is_counted() -> None:
    table = make_table()
    table.loc[table["subject"].isin(["P000", "P001"]), "event"] = np.nan
    table.loc[(table["subject"] == "P002") & (table["model"] == "good"), "y_prob"] = np.nan
    metrics = analyse(table, SETTINGS).metrics
    assert one(metrics, "n_subjects", model="good")["value"] == N
    assert one(metrics, "n_missing_outcome", model="good")["value"] == 2
    assert one(metrics, "n_missing_score", model="good")["value"] == 1
    assert one(metrics, "c_harrell", model="good")["n"] == N - 3
    assert one(metrics, "c_difference", model="good")["n"] == N - 3
    assert one(metrics, "km_median", model="good", group="all")["n"] == N - 2
    sizes = [one(metrics, "km_median", model="good", group=g)["n"] for g in ("low", "high")]
    assert sum(sizes) == N - 3


def test_cox_models_are_told_apart() -> None:
    metrics = analyse(make_table(), SETTINGS).metrics
    rows = metrics[(metrics["metric"] == "cox_coef") & (metrics["model"] == "good")]
    assert set(zip(rows["group"], rows["comparator"], strict=True)) == {
        ("score", "univariable"), ("score", "multivariable"), ("high", "low"),
        *(("age", c) for c in ("clinical", "multivariable", "univariable")),
        *((f"stage={v}", c) for v in "BC" for c in ("clinical", "multivariable", "univariable")),
    }  # fmt: skip
    clinical = metrics[(metrics["metric"] == "cox_coef") & (metrics["comparator"] == "clinical")]
    for _, part in clinical.groupby("group"):
        assert part["value"].nunique() == 1
    hr = one(metrics, "cox_hr", model="good", group="score", comparator="multivariable")
    coef = one(metrics, "cox_coef", model="good", group="score", comparator="multivariable")
    assert hr["value"] == pytest.approx(np.exp(coef["value"]))
    zph = metrics[(metrics["metric"] == "zph_chi2") & (metrics["comparator"] == "clinical, rank")]
    assert set(zph["group"]) == {"age", "stage", "GLOBAL"}
    assert one(metrics, "cox_added_chi2", model="good")["p"] < 0.001
    factors = metrics[(metrics["metric"] == "vif") & (metrics["model"] == "good")].set_index(["comparator", "group"])
    assert set(factors.index) == {
        *(("clinical", term) for term in ("age", "stage")),
        *(("multivariable", term) for term in ("age", "score", "stage")),
    }
    assert (factors["value"] >= 1).all()


def test_few_events_bring_firth() -> None:
    table = make_table(n=40)
    table["event"] = (table["subject"].str[1:].astype(int) % 5 == 0).astype(int)
    metrics = analyse(table, SETTINGS).metrics
    firth = one(metrics, "firth_coef", model="good", group="score", comparator="multivariable")
    assert np.isfinite(firth["value"])
    assert firth["ci_low"] < firth["value"] < firth["ci_high"]
    many = analyse(make_table(n=300), Settings(times=[100.0])).metrics
    assert "firth_coef" not in set(many["metric"])


def test_no_events_and_an_empty_group_are_reasons_not_numbers() -> None:
    table = make_table(n=30).assign(event=0)
    metrics = analyse(table, SETTINGS).metrics
    for metric in ("logrank_chi2", "c_harrell", "c_uno", "auc_t", "cox_coef", "zph_chi2", "ibs", "c_difference"):
        rows = metrics[metrics["metric"] == metric]
        assert len(rows)
        assert rows["value"].isna().all(), metric
        assert (rows["reason"] != "").all(), metric
    empty = analyse(make_table(n=30), Settings(cut={"good": 2.0}, times=[100.0], tau=100.0)).metrics
    assert one(empty, "km_median", model="good", group="high")["reason"] == "the group has no subjects"
    assert one(empty, "logrank_chi2", model="good")["reason"] == "one group has no subjects"
    assert np.isnan(one(empty, "rmst_difference", model="good")["value"])
    beyond = analyse(make_table(n=30), Settings(tau=1e5)).metrics
    assert one(beyond, "rmst", model="good", group="all")["reason"] == "tau is beyond follow-up"


def test_a_score_that_is_no_probability_has_no_brier() -> None:
    table = make_table().assign(risk=lambda t: t["y_prob"] * 10).drop(columns="y_prob")
    metrics = analyse(table, Settings(times=[180.0])).metrics
    assert one(metrics, "brier_t", model="good")["reason"] == "the score is not a probability of the event by this time"
    assert one(metrics, "auc_t", model="good")["value"] > 0.6
    assert np.isnan(one(metrics, "ibs", model="good")["value"])


def test_probabilities_count_at_their_horizon_only() -> None:
    table = make_table()
    horizons = pd.concat(
        [table.assign(horizon_days=t, y_prob=table["y_prob"] * s) for t, s in ((180, 0.5), (365, 0.8))]
    )
    metrics = analyse(horizons, Settings(times=[180.0, 365.0, 500.0])).metrics
    first, second, third = (one(metrics, "brier_t", model="good", at=t) for t in (180, 365, 500))
    assert first["value"] != second["value"]
    assert np.isnan(third["value"])
    assert np.isfinite(one(metrics, "ibs", model="good")["value"])
    assert one(metrics, "n_subjects", model="good")["value"] == N


def test_a_frozen_cox_model_is_judged_by_its_linear_predictor_and_its_probability() -> None:
    rng = np.random.default_rng(3)
    n = 3000
    lp = rng.normal(size=n)
    time, censored = rng.exponential(1000 * np.exp(-lp)), rng.uniform(100, 3000, n)
    table = pd.DataFrame(
        {
            "model": "cox", "cohort": "ext", "subject": [f"S{k}" for k in range(n)], "kind": "frozen", "risk": lp,
            "y_prob": 1 - np.exp(-0.5 * np.exp(lp)), "horizon_days": 500,
            "time_days": np.minimum(time, censored), "event": (time <= censored).astype(int),
        }
    )  # fmt: skip
    metrics = analyse(table, Settings(cut={"cox": 0.0}, times=[500.0])).metrics
    slope = one(metrics, "cox_coef", group="score", comparator="univariable")
    assert slope["ci_low"] < 1 < slope["ci_high"]
    assert one(metrics, "calibration_slope_t", at=500)["value"] == pytest.approx(slope["value"], abs=1e-6)
    assert one(metrics, "oe_ratio_t", at=500)["value"] == pytest.approx(1, abs=0.06)
    assert one(metrics, "brier_t_scaled", at=500)["value"] > 0.1


def test_repeats_are_averaged() -> None:
    table = make_table().assign(kind="oof")
    two = pd.concat([table.assign(repeat=0, y_prob=table["y_prob"] - 0.0), table.assign(repeat=1)])
    one_repeat, both = (analyse(t, Settings(cut={"good": 0.5})).metrics for t in (table, two))
    pd.testing.assert_frame_equal(one_repeat, both)


def test_delayed_entry_reaches_every_model_or_is_refused_with_a_reason() -> None:
    table = make_table()
    table["entry_days"] = (table["time_days"] * 0.4).round()
    late = analyse(table, SETTINGS).metrics
    plain = analyse(table.drop(columns="entry_days"), SETTINGS).metrics
    for metric, where in (
        ("c_harrell", {}), ("logrank_chi2", {}), ("cox_coef", {"group": "score", "comparator": "univariable"}),
        ("km_survival", {"group": "all", "at": 365}),
    ):  # fmt: skip
        a, b = (one(m, metric, model="good", **where)["value"] for m in (late, plain))
        assert np.isfinite(a)
        assert a != b, metric
    for metric in ("c_uno", "ibs"):
        assert "delayed entry" in one(late, metric, model="good")["reason"]


def study(tmp_path: Path) -> tuple[list[Path], Path, list[Path], dict]:
    table = make_table()
    subjects = table[table["model"] == "good"].rename(columns={"time_days": "os_time_days", "event": "os_event"})
    subjects = subjects.assign(session="", site="s1", batch="01", role="external", os_entry_days="", response=0)
    subjects["pfs_time_days"], subjects["pfs_event"] = subjects["os_time_days"], subjects["os_event"]
    keep = ["cohort", "subject", "session", "site", "batch", "role", "age", "stage", "response"]
    times = ["os_time_days", "os_event", "os_entry_days", "pfs_time_days", "pfs_event"]
    subjects[keep + times].to_csv(tmp_path / "subjects.tsv", sep="\t", index=False)
    predictions, freezes = [], []
    for model, part in table.groupby("model"):
        path = tmp_path / f"{model}.predictions.tsv"
        part[["model", "cohort", "subject", "kind", "y_prob"]].assign(endpoint="response").to_csv(
            path, sep="\t", index=False
        )
        predictions.append(path)
        freeze(tmp_path / str(model), {"model": model, "survival_cut": {"value": 0.5, "rule": "median", "reason": ""}})
        freezes.append(tmp_path / str(model) / "freeze.json")
    settings = {
        "study": "s", "seed": 1,
        "columns": {
            "age": {"kind": "number", "label": "Age"}, "stage": {"kind": "category", "levels": ["B", "A", "C"]},
        },
        "endpoints": {
            "response": {"kind": "binary", "source": "column"},
            "os": {"kind": "survival", "label": "Overall survival"}, "pfs": {"kind": "survival"},
        },
        "models": {"good": {"endpoint": "response", "label": "Good model"}, "noise": {"endpoint": "response"}},
        "survive": {
            "endpoints": ["os", "pfs"], "models": ["good", "noise"], "covariates": ["age", "stage"],
            "times_days": [180, 365], "conf_type": "log-log",
        },
    }  # fmt: skip
    return predictions, tmp_path / "subjects.tsv", freezes, settings


def test_in_a_study_the_cut_comes_from_the_freeze(tmp_path: Path) -> None:
    predictions, subjects, freezes, settings = study(tmp_path)
    args = ["--predictions", *predictions, "--subjects", subjects, "--freeze", *freezes]
    args += ["--settings", json.dumps(settings), "--out", tmp_path / "out"]
    assert main(["survive", *map(str, args)]) == 0
    metrics = read_table(tmp_path / "out" / "metrics.tsv", "metrics")
    assert set(metrics["endpoint"]) == {"os", "pfs"}
    expected = analyse(make_table(), SETTINGS).metrics
    for metric in ("logrank_chi2", "c_harrell"):
        ours = one(metrics, metric, model="good", endpoint="os")["value"]
        assert ours == pytest.approx(one(expected, metric, model="good")["value"])
    assert {"stage=A", "stage=C"} <= set(metrics["group"])
    assert "not a probability" in one(metrics, "brier_t", model="good", endpoint="os", at=365)["reason"]
    assert (tmp_path / "out" / "figures" / "km_pfs_ext_good.svg").is_file()


def test_the_clinical_cox_model_is_that_of_the_training_rows(tmp_path: Path) -> None:
    predictions, subjects, freezes, settings = study(tmp_path)
    external = read_table(subjects)
    rng = np.random.default_rng(4)
    development = external.assign(cohort="dev", role="development", subject="D" + external["subject"])
    for name in ("os", "pfs"):
        hazard = np.exp(0.05 * development["age"] + (development["stage"] == "C"))
        development[f"{name}_time_days"] = np.ceil(rng.exponential(20000 / hazard)).clip(1, 2000)
        development[f"{name}_event"] = (development[f"{name}_time_days"] < 2000).astype(int)
    split = development[["cohort", "subject"]].assign(role="train", repeat=0, fold=np.arange(len(development)) % 5)
    development.to_csv(tmp_path / "dev.tsv", sep="\t", index=False)
    split.to_csv(tmp_path / "split.tsv", sep="\t", index=False)

    def survive(cohort: Path, out: str) -> tuple[pd.DataFrame, Path]:
        folder = tmp_path / out
        for path in predictions:
            table = read_table(path, "predictions")
            own = set(read_table(cohort)["subject"])
            kept = table.assign(subject=[s if s in own else f"D{s}" for s in table["subject"]])
            kept["cohort"] = read_table(cohort)["cohort"].iloc[0]
            kept.to_csv(folder.with_suffix(f".{path.name}"), sep="\t", index=False)
        args = ["--predictions", *(folder.with_suffix(f".{path.name}") for path in predictions), "--subjects", cohort]
        args += ["--freeze", *freezes, "--development", tmp_path / "dev.tsv", "--split", tmp_path / "split.tsv"]
        args += ["--settings", json.dumps(settings), "--out", folder]
        assert main(["survive", *map(str, args)]) == 0
        return read_table(folder / "metrics.tsv", "metrics"), folder

    judged, there = survive(subjects, "external")
    assert not (there / "curves" / "nomogram.tsv").exists()
    taught, here = survive(tmp_path / "dev.tsv", "development")
    formula = read_table(here / "curves" / "formula.tsv").query("endpoint == 'os'")
    assert (here / "figures" / "nomogram_os_dev.svg").is_file()
    # By hand: fitted on the development rows alone, applied to the external ones, ranked by all pairs.
    fit = statsmodels_cox(development, ["age", "A", "C"])
    coefficients = formula[formula["part"] == "coefficient"].set_index("name")["value"]
    assert coefficients["age"] == pytest.approx(fit[0], rel=1e-4)
    predictor = external["age"] * coefficients["age"]
    for level in "AC":
        predictor += (external["stage"] == level) * coefficients[f"stage={level}"]
    found = one(judged, "c_harrell", model="clinical_cox", endpoint="os")
    expected = concordance_index(external["os_time_days"], -predictor, external["os_event"])
    assert found["value"] == pytest.approx(expected, abs=1e-9)
    slope = one(judged, "cox_coef", model="clinical_cox", endpoint="os", group="score", comparator="univariable")
    assert np.isfinite(slope["value"])
    assert one(judged, "brier_t", model="clinical_cox", endpoint="os", at=365)["value"] > 0
    own = one(taught, "c_harrell", model="clinical_cox", endpoint="os")
    seen = development["age"] * coefficients["age"]
    seen += sum((development["stage"] == v) * coefficients[f"stage={v}"] for v in "AC")
    apparent = concordance_index(development["os_time_days"], -seen, development["os_event"])
    assert own["value"] != pytest.approx(apparent, abs=1e-9)
    assert own["value"] == pytest.approx(apparent, abs=0.1)


def statsmodels_cox(table: pd.DataFrame, names: list[str]) -> np.ndarray:
    columns = [table["age"], *((table["stage"] == v).astype(float) for v in names[1:])]
    return PHReg(table["os_time_days"], np.column_stack(columns), table["os_event"], ties="efron").fit().params


def test_a_clinical_cox_model_that_cannot_be_fitted_is_a_reason(tmp_path: Path) -> None:
    _, subjects, _, settings = study(tmp_path)
    external = read_table(subjects)
    development = external.assign(cohort="dev", role="development", subject="D" + external["subject"], os_event=0)
    split = development[["cohort", "subject"]].assign(role="train", repeat=0, fold=0)
    found = frozen_clinical(external, development, split, "os", settings, study_settings(settings, {}, "os"))
    reason = "no clinical Cox model of the training rows: 0 events for 3 coefficients"
    assert one(found.metrics, "c_harrell")["reason"] == reason


def test_a_model_without_its_freeze_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predictions, subjects, freezes, settings = study(tmp_path)
    args = ["--predictions", *predictions, "--subjects", subjects, "--freeze", freezes[0]]
    args += ["--settings", json.dumps(settings), "--out", tmp_path / "out"]
    assert main(["survive", *map(str, args)]) == 2
    assert "no freeze.json for model 'noise'" in capsys.readouterr().err
    freezes[1].write_text(freezes[1].read_text().replace("0.5", "0.4"))
    args[args.index("--freeze") + 1 :] = [*freezes, "--settings", json.dumps(settings), "--out", tmp_path / "out"]
    assert main(["survive", *map(str, args)]) == 2
    assert "freeze.json was changed" in capsys.readouterr().err
    with pytest.raises(FreezeError, match="survival cut"):
        study_settings(settings, {"good": {}}, "os")


def test_a_horizon_model_keeps_its_probability(tmp_path: Path) -> None:
    predictions, subjects, _, settings = study(tmp_path)
    settings["endpoints"]["response"] = {"kind": "binary", "source": "horizon", "of": "os", "horizon_days": 365}
    scores, cases = read_table(predictions[0], "predictions"), read_table(subjects)
    os = assemble(scores, cases, "os", settings)
    pfs = assemble(scores, cases, "pfs", settings)
    assert os["y_prob"].notna().all()
    assert (os["horizon_days"] == 365).all()
    assert pfs["y_prob"].isna().all()
    assert pfs["risk"].notna().all()
    few = assemble(scores, cases.iloc[:-2], "os", settings)
    assert len(few) == len(scores)
    assert few["time_days"].isna().sum() == 2


def test_nothing_to_analyse_is_one_clear_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["survive", "--out", str(tmp_path)]) == 2
    assert "--table" in capsys.readouterr().err


def test_ten_thousand_subjects_in_seconds() -> None:
    import time

    table = make_table(n=10_000)
    start = time.process_time()
    analyse(table[table["model"] == "good"], Settings(cut={"good": 0.5}, times=[180.0, 365.0], tau=365.0))
    assert time.process_time() - start < 30


def test_a_response_is_good_news_and_read_the_other_way_round(tmp_path: Path) -> None:
    predictions, subjects, _, settings = study(tmp_path)
    scores, cases = read_table(predictions[0], "predictions"), read_table(subjects)
    plain = assemble(scores, cases, "os", settings)
    freezes = {"good": {"survival_cut": {"value": 0.3}}}
    assert study_settings(settings, freezes, "os").cut == {"good": 0.3}
    settings["endpoints"]["response"]["favourable"] = True
    turned = assemble(scores, cases, "os", settings)
    np.testing.assert_allclose(turned["risk"], 1 - plain["risk"])
    assert study_settings(settings, freezes, "os").cut == {"good": 0.7}
    values = [one(analyse(t, Settings()).metrics, "c_harrell", model="good")["value"] for t in (plain, turned)]
    assert sum(values) == pytest.approx(1)


def test_a_covariate_may_be_transformed_and_is_named_so(tmp_path: Path) -> None:
    table = make_table(n=120)
    table["afp"] = table["subject"].str[1:].astype(int) * 7.0 + 1
    by_log = analyse(table.assign(afp=np.log1p(table["afp"])), Settings(covariates=["afp", "age"])).metrics
    out = by_hand(tmp_path, table, covariates=["afp", "age"], transforms={"afp": "log1p"}, times=[365])
    ours = read_table(out / "metrics.tsv", "metrics")
    where = {"model": "good", "comparator": "clinical"}
    value = one(ours, "cox_coef", group="afp (log1p)", **where)["value"]
    assert value == pytest.approx(one(by_log, "cox_coef", group="afp", **where)["value"], abs=1e-12)
    with pytest.raises(TableError, match="log of 'afp' is not defined"):
        analyse(table.assign(afp=0.0), Settings(covariates=["afp"], transforms={"afp": "log"}))
    with pytest.raises(ConfigError, match="numeric"):
        analyse(table, Settings(covariates=["stage"], transforms={"stage": "log"}))
    for bad in ({"bmi": "log"}, {"afp": "cube"}):
        with pytest.raises(ConfigError, match="transform of"):
            read_settings({"covariates": ["afp"], "transforms": bad}, where="c")


def test_a_level_of_one_patient_is_said_and_brings_firth() -> None:
    table = make_table(n=200)
    worst = table.loc[(table["event"] == 1), "subject"].iloc[0]
    table["child"] = np.where(table["subject"] == worst, "C", np.where(table["age"] > 60, "B", "A"))
    metrics = analyse(table, Settings(covariates=["child"])).metrics
    where = {"model": "good", "comparator": "clinical"}
    row = one(metrics, "cox_hr", group="child=C", **where)
    assert np.isfinite(row["value"])
    assert row["reason"].startswith("sparse: 1 subjects, 1 events with child=C")
    assert one(metrics, "cox_hr", group="child=B", **where)["reason"] == ""
    assert np.isfinite(one(metrics, "firth_coef", group="child=C", **where)["value"])
    assert metrics[(metrics["metric"] == "firth_coef") & (metrics["group"] == "age")].empty


def test_the_clinical_model_stands_in_plain_numbers(tmp_path: Path) -> None:
    table = make_table(n=150)
    out = by_hand(tmp_path, table, covariates=["age", "stage"], cut={"good": 0.5}, times=[180, 365])
    formula, points = (read_table(out / "curves" / f"{name}.tsv") for name in ("formula", "nomogram"))
    metrics = read_table(out / "metrics.tsv", "metrics")
    for _, row in formula[formula["part"] == "coefficient"].iterrows():
        given = one(metrics, "cox_coef", model="good", comparator="clinical", group=row["name"])["value"]
        assert row["value"] == pytest.approx(given, abs=1e-12)
    assert set(points.loc[points["part"] == "points", "name"]) == {"age", "stage"}
    assert {"A", "B", "C"} <= set(points["label"])
    risk = points[points["part"] == "risk"]
    assert risk["risk"].between(0, 1).all()
    assert (risk.groupby("time_days")["risk"].diff().dropna() >= 0).all()
    assert (out / "figures" / "nomogram_os_ext.svg").is_file()


def test_a_tiny_cohort_with_ties_and_events_at_time_zero_gets_through(tmp_path: Path) -> None:
    # Eight patients; R's coxph and concordance on them gave the two numbers below, coxph warned about the rest.
    table = pd.DataFrame(
        {
            "model": "a", "cohort": "tiny", "subject": [f"00{k}" for k in range(1, 9)], "kind": "frozen",
            "y_prob": [0.1, 0.9, 0.3, 0.3, 0.8, 0.2, 0.5, 0.3], "time_days": [0, 0, 1, 1, 2, 3, 3, 5],
            "event": [0, 1, 1, 0, 1, 1, 0, 0], "age": [50, 60, 55, 70, 65, 58, 61, 59],
        }
    )  # fmt: skip
    out = by_hand(tmp_path, table, covariates=["age"], cut={"a": 0.3}, times=[0, 1, 2, 4], tau=4)
    metrics = read_table(out / "metrics.tsv", "metrics")
    assert set(metrics["cohort"]) == {"tiny"}
    empty = metrics[metrics["value"].isna()]
    assert (empty["reason"] != "").all()
    assert one(metrics, "km_survival", group="all", at=0)["value"] == pytest.approx(7 / 8)
    firth = one(metrics, "firth_coef", comparator="multivariable", group="score")
    assert firth["ci_low"] < firth["value"] < firth["ci_high"]
    assert 0 < firth["p"] < 1


def test_scores_of_half_the_cohort_are_also_compared_on_the_common_half() -> None:
    table = make_table(n=120)
    half = table["subject"].str[1:].astype(int) % 2 == 0
    table.loc[(table["model"] == "noise") & half, "y_prob"] = np.nan
    metrics = analyse(table, SETTINGS).metrics
    on_common = one(metrics, "auc_t", model="good", comparator="noise", at=365)
    alone = analyse(table[~half], SETTINGS).metrics
    assert on_common["value"] == pytest.approx(one(alone, "auc_t", model="good", comparator="", at=365)["value"])
    assert on_common["n"] == 60
    assert one(metrics, "auc_t", model="good", comparator="", at=365)["n"] == 120


@pytest.mark.parametrize(
    ("change", "metric", "reason"),
    [
        (lambda t: t.assign(y_prob=1 - t["time_days"] / 3000, event=1), "cox_hr", "monotone likelihood"),
        (lambda t: t.assign(entry_days=t["time_days"] - 0.5), "cox_coef", "constant, or a combination"),
        (lambda t: t.assign(event=0), "rmst", "variance is zero"),
        (lambda t: t.assign(time_days=0.0), "cox_log_time_coef", "time 0 has no logarithm"),
    ],
)
def test_what_has_no_number_has_a_reason_and_no_warning(
    tmp_path: Path, change: Callable[[pd.DataFrame], pd.DataFrame], metric: str, reason: str
) -> None:
    out = by_hand(tmp_path, change(make_table(n=40)), covariates=["age"], cut={"good": 0.5}, times=[0, 180], tau=180)
    table = read_table(out / "metrics.tsv", "metrics")  # refuses infinite numbers
    rows = table[(table["metric"] == metric) & (table["model"] == "good")]
    assert rows["reason"].str.contains(reason).any()
    assert (table.loc[table["value"].isna(), "reason"] != "").all()


def test_an_incidence_without_limits_or_beyond_follow_up_says_why() -> None:
    table = make_table(competing=True)
    table["event"] = table["event"].replace(1, 2)
    metrics = analyse(table, Settings(times=[180.0, 5000.0])).metrics
    inside, beyond = (one(metrics, "cif", model="good", group="all", at=t) for t in (180, 5000))
    assert inside["value"] == 0
    assert inside["reason"] == "no event by then: no interval"
    assert beyond["reason"].startswith("carried on from the last follow-up, day ")
    other = one(metrics, "cif_competing", model="good", group="all", at=180)
    assert other["ci_low"] < other["value"] < other["ci_high"]
    assert other["reason"] == ""


def test_events_at_one_time_only_make_no_nomogram_and_hide_no_curve(tmp_path: Path) -> None:
    out = by_hand(
        tmp_path, make_table(n=40).assign(time_days=100, event=1), covariates=["age"], cut={"good": 0.5}, times=[50]
    )
    assert {path.stem for path in (out / "curves").iterdir()} == {"brier_t", "km", "spline"}
    assert not list((out / "figures").glob("nomogram*"))
    assert (out / "figures" / "km_os_ext_good.svg").is_file()


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"covariates": ["time_days"]}, "cannot be a covariate"),
        ({"covariates": ["score"]}, "cannot be a covariate"),
        ({"covariates": ["age", "age"]}, "stands twice"),
        ({"level": 95}, "'level' is out of range"),
        ({"ridge": -1}, "'ridge' is out of range"),
        ({"tau": 0}, "'tau' is out of range"),
        ({"times": [-5]}, "'times' is a number"),
        ({"cut": {"good": float("nan")}}, "'cut.good' is a number"),
    ],
)
def test_settings_out_of_their_range_are_refused(config: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read_settings(config, where="--config")


def test_a_category_that_is_no_level_is_refused_and_one_alone_is_constant() -> None:
    with pytest.raises(ConfigError, match="not among its levels"):
        analyse(make_table(), Settings(covariates=["stage"], levels={"stage": ["A", "B"]}))
    metrics = analyse(make_table().assign(stage="A"), Settings(covariates=["stage"])).metrics
    assert "constant" in one(metrics, "cox_hr", model="good", group="stage=A", comparator="clinical")["reason"]


def test_a_hazard_ratio_too_small_for_a_number_is_empty() -> None:
    table = make_table(n=40).assign(event=1)
    table["risk"] = table["time_days"] * 1e-4
    row = one(analyse(table, Settings()).metrics, "firth_hr", model="good", group="score", comparator="univariable")
    assert pd.isna(row["value"])
    assert "beyond the range of numbers" in row["reason"]


def test_an_absurd_score_is_refused() -> None:
    table = make_table()
    with pytest.raises(TableError, match="absurd number"):
        analyse(table.assign(risk=np.where(table["subject"] == "P001", 1e300, 0.5)), SETTINGS)
