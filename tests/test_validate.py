"""`hccflow validate` on tables as users bring them: what it writes, what it refuses, what stays the same."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hccflow.cli import main
from hccflow.cli.validate import make_options
from hccflow.errors import ConfigError, LeakageError, TableError
from hccflow.figures.style import wrapped
from hccflow.ledger import primary_words
from hccflow.metrics.auc import auc, paired_auc, stratified_auc, stratified_difference
from hccflow.metrics.exchange import exchanged
from hccflow.metrics.multiplicity import adjust
from hccflow.metrics.pooling import random_effects
from hccflow.tables import read_table, write_table
from hccflow.validate import Options, validate
from hccflow.validate.options import predictors_of
from reference.common import VARIABLE, cases, cases_folder

FAST = Options(draws=50)


def predictions(
    n=120, seed=0, models=("clinical", "radiomics"), cohort="ext", kind="frozen", **columns
) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    lp = rng.normal(-0.2, 1.2, n)
    y = (rng.uniform(size=n) < 1 / (1 + np.exp(-lp))).astype(int)
    parts = []
    for k, model in enumerate(models):
        p = 1 / (1 + np.exp(-(lp + rng.normal(0, 0.5 + k, n))))
        part = {"model": model, "cohort": cohort, "subject": [f"S{i:03d}" for i in range(n)], "kind": kind}
        parts.append(pd.DataFrame({**part, "y_true": pd.array(y, dtype="Int64"), "y_prob": p, **columns}))
    return pd.concat(parts, ignore_index=True)


def people(cohort="ext", role="external", n=120, seed=5) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    table = {
        "cohort": cohort, "subject": [f"S{i:03d}" for i in range(n)], "session": "", "role": role, "batch": "01",
        "site": rng.choice(["A", "B", "C"], n), "sex": rng.choice(["F", "M"], n),
        "age": rng.normal(60 if role == "development" else 70, 8, n).round(),
    }  # fmt: skip
    return pd.DataFrame(table)


def one(metrics: pd.DataFrame, metric: str, **where: object) -> pd.Series:
    """The one row of a metric; unnamed places are empty."""
    where = {"group": "", "comparator": "", **where}
    rows = metrics[metrics["metric"] == metric]
    for name, value in where.items():
        rows = rows[rows[name] == value]
    if "repeat" not in where:
        rows = rows[rows["repeat"].isna()]
    assert len(rows) == 1, f"{metric} {where}: {len(rows)} rows"
    return rows.iloc[0]


def run(tmp_path: Path, table: pd.DataFrame, *more: str) -> pd.DataFrame:
    write_table(table, tmp_path / "p.tsv")
    arguments = ["validate", "--predictions", str(tmp_path / "p.tsv"), "--out", str(tmp_path / "out"), *more]
    assert main([str(a) for a in arguments]) == 0
    return read_table(tmp_path / "out" / "metrics.tsv", "metrics")


# --- by hand, on the reference cases ---------------------------------------------------------------------------------

NAMES = {
    "auc": ("roc", "auc"), "auc_pr": ("average_precision",), "brier": ("calibration", "brier"),
    "brier_scaled": ("calibration", "brier_scaled"), "calibration_slope": ("calibration", "slope"),
    "calibration_in_the_large": ("calibration", "intercept_in_large"),
    "calibration_intercept": ("calibration", "intercept_joint"),
    "sensitivity": ("at_frozen_threshold", "sensitivity", "est"), "npv": ("at_frozen_threshold", "npv", "est"),
    "specificity": ("at_frozen_threshold", "specificity", "est"), "ppv": ("at_frozen_threshold", "ppv", "est"),
    "f1": ("at_frozen_threshold", "f1"), "mcc": ("at_frozen_threshold", "mcc"),
    **{name: ("at_frozen_threshold", name.upper()) for name in ("tp", "fp", "fn", "tn")},
}  # fmt: skip


def test_the_command_gives_the_numbers_of_r(tmp_path):
    stats = cases_folder()
    if stats is None:
        pytest.skip(f"{VARIABLE} is not set: the folder of the reference cases")
    compared = 0
    for case in cases(stats):
        if "y_true" not in (case.table.columns if (case.folder / "input.csv").is_file() else ()):
            continue
        table, config = case.table, case.config
        parts = []
        for model in "ab":
            column = "y_prob" if config["probabilities"] else "risk"
            part = {"model": model, "cohort": table["cohort"], "subject": table["case_id"], "kind": "frozen"}
            scores = {"y_true": table["y_true"].astype("Int64"), column: table[f"score_model_{model}"]}
            parts.append(pd.DataFrame({**part, **scores}))
        folder = tmp_path / case.name
        folder.mkdir()
        (folder / "t.json").write_text(json.dumps(config["threshold"]), encoding="utf-8")
        options = ["--thresholds", folder / "t.json", "--settings", '{"validate": {"bootstrap": 0}}']
        metrics = run(folder, pd.concat(parts), *options)
        for cohort, numbers in case.expected["cohorts"].items():
            for model in "ab":
                expected = numbers["binary"].get(f"model_{model}", {})
                for metric, path in NAMES.items():
                    value = expected
                    for key in path:
                        value = value.get(key) if isinstance(value, dict) else None
                    row = one(metrics, metric, cohort=cohort, model=model)
                    if value is None:
                        assert pd.isna(row["value"]), (case.name, cohort, model, metric)
                        assert row["reason"]
                    else:
                        assert row["value"] == pytest.approx(value, abs=1e-5 if "calibration" in metric else 1e-9)
                    compared += 1
            if (paired := numbers["binary"].get("paired_delong")) is not None:
                row = one(metrics, "auc_difference", cohort=cohort, model="a", comparator="b")
                assert (row["value"], row["p"]) == pytest.approx((paired["diff"], paired["p"]), abs=1e-7)
                assert row["n"] == paired["n"]
    assert compared > 100


def test_four_columns_and_a_score_are_enough(tmp_path):
    table = predictions().rename(columns={"y_prob": "risk"})
    metrics = run(tmp_path, table, "--settings", '{"validate": {"bootstrap": 100}}')
    assert one(metrics, "auc", model="clinical")["ci_method"].startswith("DeLong")
    for metric in ("brier", "calibration_slope", "ici"):
        assert one(metrics, metric, model="clinical")["reason"] == "scores are not probabilities"
    benefit = one(metrics, "net_benefit", model="clinical", at=0.2)
    assert np.isnan(benefit["value"])
    assert benefit["reason"] == "scores are not probabilities"
    assert one(metrics, "sensitivity", model="clinical")["reason"] == "no frozen threshold"


def test_curves_and_figures_lie_beside_the_table(tmp_path):
    run(tmp_path, predictions(threshold=0.5), "--settings", '{"validate": {"bootstrap": 60}}')
    out = tmp_path / "out"
    assert {p.name for p in (out / "figures").iterdir()} == {
        f"{k}.{e}" for k in ("roc", "pr", "calibration", "decision") for e in ("svg", "png")
    }
    roc = read_table(out / "curves" / "roc.tsv")
    for model, part in roc.groupby("model"):
        area = np.trapezoid(part["tpr"], part["fpr"])
        metrics = read_table(out / "metrics.tsv", "metrics")
        assert area == pytest.approx(one(metrics, "auc", model=model)["value"], abs=1e-12)
    decision = read_table(out / "curves" / "decision.tsv")
    assert set(decision["strategy"]) == {"model", "treat_all", "treat_none"}
    calibration = read_table(out / "curves" / "calibration.tsv")
    assert calibration[calibration["kind"] == "group"]["n"].sum() == 2 * 120


def test_the_same_input_gives_the_same_bytes_in_any_order(tmp_path):
    table = predictions(threshold=0.5)
    first, second = tmp_path / "1", tmp_path / "2"
    for folder, rows in ((first, table), (second, table.sample(frac=1, random_state=1))):
        folder.mkdir()
        run(folder, rows, "--settings", '{"validate": {"bootstrap": 60}}')
    files = sorted(p.relative_to(first / "out") for p in (first / "out").rglob("*") if p.is_file())
    assert len(files) == 15
    for name in files:
        assert (first / "out" / name).read_bytes() == (second / "out" / name).read_bytes(), name


# --- what is refused -------------------------------------------------------------------------------------------------


def test_apparent_scores_are_refused():
    table = predictions()
    table.loc[7, "kind"] = "apparent"
    with pytest.raises(LeakageError, match="S007"):
        validate(table, {}, [], FAST)


def test_a_case_twice_is_refused():
    with pytest.raises(TableError, match="stands twice"):
        validate(pd.concat([predictions(), predictions().iloc[:1]]), {}, [], FAST)


def test_two_labels_of_one_case_are_refused():
    table = predictions()
    table.loc[0, "y_true"] = 1 - table.loc[0, "y_true"]
    with pytest.raises(TableError, match="disagree"):
        validate(table, {}, [], FAST)


def test_an_empty_table_is_refused():
    with pytest.raises(TableError, match="no rows"):
        validate(predictions().iloc[:0], {}, [], FAST)


@pytest.mark.parametrize("text", ["[]", "{", '{"clinical": "high"}', '{"clinical": true}', '{"clinicl": 0.5}'])
def test_bad_thresholds_stop_with_one_line(tmp_path, capsys, text):
    (tmp_path / "t.json").write_text(text, encoding="utf-8")
    write_table(predictions(), tmp_path / "p.tsv")
    arguments = ["--predictions", tmp_path / "p.tsv", "--thresholds", tmp_path / "t.json", "--out", tmp_path / "out"]
    assert main(["validate", *map(str, arguments)]) == 2
    assert "ConfigError" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_unknown_setting_or_column_stops(tmp_path, capsys):
    write_table(predictions(), tmp_path / "p.tsv")
    arguments = ["validate", "--predictions", str(tmp_path / "p.tsv"), "--out", str(tmp_path / "out")]
    assert main([*arguments, "--settings", '{"validate": {"bootstrp": 5}}']) == 2
    assert "bootstrap" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="colour"):
        validate(predictions(), {}, [people()], Options(draws=0, subgroups=("colour",)))


# --- what is evaluated -----------------------------------------------------------------------------------------------


def test_pairs_are_compared_on_common_rows_only():
    table = predictions()
    missing = (table["model"] == "radiomics") & (table.index % 3 == 0)
    table.loc[missing, "y_prob"] = np.nan
    metrics = validate(table, {}, [], FAST).metrics
    wide = table.pivot(index="subject", columns="model", values="y_prob").dropna()
    y = table.drop_duplicates("subject").set_index("subject")["y_true"].reindex(wide.index).to_numpy(float)
    expected = paired_auc(y, wide["clinical"], wide["radiomics"]).difference
    row = one(metrics, "auc_difference", model="clinical", comparator="radiomics")
    assert (row["value"], row["p"], row["n"]) == pytest.approx((expected.value, expected.p, expected.n))
    assert one(metrics, "auc", model="clinical")["n"] == 120
    assert one(metrics, "rows_without_score", model="radiomics")["value"] == missing.sum()


def test_the_prespecified_comparison_fixes_the_sign():
    metrics = validate(predictions(), {}, [], Options(draws=0, primary=("radiomics", "clinical"))).metrics
    one(metrics, "auc_difference", model="radiomics", comparator="clinical")


def test_holm_is_over_all_pairs_of_the_cohort():
    metrics = validate(predictions(models=("a", "b", "c")), {}, [], Options(draws=0)).metrics
    raw = metrics[metrics["metric"] == "auc_difference"]["p"].to_numpy()
    holm = metrics[metrics["metric"] == "auc_difference_holm"]["p"].to_numpy()
    order = np.argsort(raw)
    assert holm[order] == pytest.approx(np.minimum(1, np.maximum.accumulate(raw[order] * [3, 2, 1])))


def test_a_threshold_of_the_file_goes_before_the_column():
    table = predictions(threshold=0.5)
    assert one(validate(table, {}, [], FAST).metrics, "sensitivity", model="clinical")["at"] == 0.5
    assert one(validate(table, {"clinical": 0.3}, [], FAST).metrics, "sensitivity", model="clinical")["at"] == 0.3


def test_the_four_counts_make_the_rates():
    metrics = validate(predictions(), {"clinical": 0.3}, [], FAST).metrics
    rows = {name: one(metrics, name, model="clinical") for name in ("tp", "fp", "fn", "tn", "sensitivity", "ppv")}
    tp, fp, fn, tn = (rows[name]["value"] for name in ("tp", "fp", "fn", "tn"))
    assert tp + fp + fn + tn == rows["tp"]["n"] and tp + fn == rows["tp"]["n_events"]
    assert (tp / (tp + fn), tp / (tp + fp)) == (rows["sensitivity"]["value"], rows["ppv"]["value"])
    assert rows["tp"]["at"] == 0.3 and pd.isna(rows["tp"]["ci_low"])
    unset = one(validate(predictions(), {}, [], FAST).metrics, "fn", model="clinical")
    assert pd.isna(unset["value"]) and unset["reason"] == one(metrics, "fn", model="radiomics")["reason"] != ""


def test_repeats_are_averaged_and_shown_apart():
    parts = [predictions(seed=0, kind="oof", repeat=k) for k in range(2)]
    rng = np.random.default_rng(1)
    parts[1]["y_prob"] = np.clip(parts[1]["y_prob"] + rng.normal(0, 0.1, len(parts[1])), 0, 1)
    metrics = validate(pd.concat(parts), {}, [], FAST).metrics
    own = [p[p["model"] == "clinical"] for p in parts]
    mean = (own[0]["y_prob"].to_numpy() + own[1]["y_prob"].to_numpy()) / 2
    y = own[0]["y_true"].to_numpy(float)
    assert one(metrics, "auc", model="clinical")["value"] == pytest.approx(auc(y, mean).value)
    for k in range(2):
        row = one(metrics, "auc", model="clinical", repeat=k)
        assert row["value"] == pytest.approx(auc(y, own[k]["y_prob"]).value)
        assert np.isnan(row["ci_low"])


def test_out_of_fold_and_frozen_rows_of_one_cohort_are_also_shown_apart():
    table = predictions()
    table.loc[table["subject"] < "S060", "kind"] = "oof"
    metrics = validate(table, {}, [], FAST).metrics
    sizes = [one(metrics, "auc", model="clinical", group=f"kind={k}")["n"] for k in ("oof", "frozen")]
    assert sizes == [60, 60]


def test_each_kind_of_score_has_all_measures_its_intervals_and_its_curves():
    table = predictions(threshold=0.5)
    table.loc[table["subject"] < "S060", "kind"] = "oof"
    results = validate(table, {}, [], FAST)
    for kind in ("oof", "frozen"):
        alone = validate(table[table["kind"] == kind], {}, [], FAST).metrics
        for metric in ("brier", "calibration_slope", "calibration_intercept", "f1", "sensitivity", "auc_ci_width"):
            found = one(results.metrics, metric, model="clinical", group=f"kind={kind}")
            assert found["value"] == pytest.approx(one(alone, metric, model="clinical")["value"]), metric
            assert metric == "auc_ci_width" or found["ci_low"] < found["value"] < found["ci_high"]
        gap = one(results.metrics, "auc_difference", comparator="radiomics", group=f"kind={kind}")
        assert gap["p"] == one(alone, "auc_difference", comparator="radiomics")["p"]
    for name, curve in results.curves.items():
        assert set(curve["group"]) == {"kind=oof", "kind=frozen"}, f"{name}: a curve of both is of no model"


def offset_folds(repeats=1, folds=4, models=("clinical", "radiomics")) -> pd.DataFrame:
    """Out-of-fold scores whose folds have offsets of their own, which differ between repeats and models."""
    rng = np.random.default_rng(7)
    table, parts = predictions(kind="oof", models=models), []
    for k in range(repeats):
        fold = dict(zip(table["subject"].unique(), rng.permutation(120) % folds, strict=True))
        part = table.assign(repeat=k, fold=table["subject"].map(fold))
        shift = {(m, f): s for m in models for f, s in enumerate(rng.normal(0, 4, folds))}
        lp = np.log(part["y_prob"] / (1 - part["y_prob"]))
        lp += [shift[key] for key in zip(part["model"], part["fold"], strict=True)]
        parts.append(part.assign(y_prob=1 / (1 + np.exp(-lp))))
    return pd.concat(parts, ignore_index=True)


def test_offsets_of_folds_hurt_the_pooled_auc_and_not_the_one_within_folds():
    plain, table = predictions(kind="oof"), offset_folds()
    metrics = validate(table, {}, [], FAST).metrics
    for model in ("clinical", "radiomics"):
        own = plain[plain["model"] == model]
        truth = auc(own["y_true"], own["y_prob"]).value
        within = one(metrics, "auc_within_folds", model=model)
        assert one(metrics, "auc", model=model)["value"] < truth - 0.05
        assert within["value"] == pytest.approx(truth, abs=0.04)
        rows = table[table["model"] == model]
        assert within["value"] == pytest.approx(stratified_auc(rows["y_true"], rows["y_prob"], rows["fold"]).value)
    wide = table.pivot(index=["subject", "fold", "y_true"], columns="model", values="y_prob").reset_index()
    expected = stratified_difference(wide["y_true"].astype(float), wide["clinical"], wide["radiomics"], wide["fold"])
    gap = one(metrics, "auc_difference_within_folds", model="clinical", comparator="radiomics")
    assert (gap["value"], gap["ci_low"]) == pytest.approx((expected.value, expected.ci_low))
    given = wide.rename(columns={"clinical": "score", "radiomics": "other", "y_true": "y"}).assign(repeat=0)
    assert gap["p"] == exchanged(expected, given).p and gap["ci_method"].endswith("p by 9,999 exchanges")


def test_within_folds_several_repeats_and_models_are_adjusted_and_count_nobody_twice():
    table = offset_folds(repeats=3, models=("a", "b", "c"))
    metrics = validate(table, {}, [], FAST).metrics
    row = one(metrics, "auc_within_folds", model="a")
    assert row["n"] == 120 and row["ci_method"].endswith("mean of 3 repeats")
    raw, holm = (metrics[metrics["metric"] == f"auc_difference_within_folds{end}"] for end in ("", "_holm"))
    assert len(raw) == len(holm) == 3
    assert holm["p"].to_numpy() == pytest.approx(adjust(list(raw["p"])))
    assert (holm["ci_method"] == "Holm, 3 comparisons").all()


def test_within_folds_is_of_out_of_fold_scores_alone():
    assert not validate(predictions(kind="oof"), {}, [], FAST).metrics["metric"].str.contains("within").any()
    assert not validate(predictions(fold=1), {}, [], FAST).metrics["metric"].str.contains("within").any()
    table = offset_folds()
    late = table["subject"] >= "S080"
    table.loc[late, ["kind", "fold", "repeat"]] = ["frozen", np.nan, np.nan]
    metrics = validate(table, {}, [], FAST).metrics
    rows = metrics[metrics["metric"].str.contains("within")]
    assert set(rows["group"]) == {"kind=oof"} and (rows["n"] == 80).all()


def test_a_cohort_of_one_class_is_empty_with_reasons_beside_one_that_is_not():
    other = predictions(cohort="single", seed=4)
    other["y_true"] = 1
    results = validate(pd.concat([predictions(), other]), {}, [], FAST)
    rows = results.metrics[results.metrics["cohort"] == "single"]
    for metric in ("auc", "auc_pr", "brier_scaled", "calibration_slope", "ici", "auc_bootstrap"):
        row = one(rows, metric, model="clinical")
        assert np.isnan(row["value"])
        assert "single class" in row["reason"]
    assert one(rows, "brier", model="clinical")["value"] > 0
    for curve in ("roc", "pr"):
        assert set(results.curves[curve]["cohort"]) == {"ext"}


def test_every_empty_value_has_a_reason_and_every_number_is_finite():
    rng = np.random.default_rng(8)
    for n in (1, 2, 3, 7, 30):
        table = predictions(n=n, seed=n, models=("a", "b", "c"))
        table.loc[table["model"] == "b", "y_prob"] = 0.4
        table.loc[(table["model"] == "c") & (rng.uniform(size=len(table)) < 0.5), "y_prob"] = np.nan
        metrics = validate(table, {"a": 0.5}, [], FAST).metrics
        assert (metrics["reason"][metrics["value"].isna()] != "").all()
        assert np.isfinite(metrics[["value", "ci_low", "ci_high", "p"]].fillna(0)).all(axis=None)


def test_small_validations_are_stamped():
    assert one(validate(predictions(), {}, [], FAST).metrics, "auc_ci_width", model="clinical")["reason"].startswith(
        "underpowered: "
    )
    large = validate(predictions(n=3000, models=("a",)), {}, [], Options(draws=0)).metrics
    row = one(large, "auc_ci_width", model="a")
    assert row["value"] < 0.1
    assert row["reason"] == ""


# --- subjects --------------------------------------------------------------------------------------------------------


def test_subgroups_partition_the_cohort_and_numbers_are_split_at_the_development_median():
    development = people("dev", "development")
    options = Options(draws=0, subgroups=("sex", "age"))
    metrics = validate(predictions(), {}, [people(), development], options).metrics
    sexes = [one(metrics, "auc", model="clinical", group=f"sex={s}")["n"] for s in "FM"]
    assert sum(sexes) == 120
    median = development["age"].median()
    assert one(metrics, "auc", model="clinical", group=f"age>={median:g}")["n"] == (people()["age"] >= median).sum()
    test = one(metrics, "auc_interaction", model="clinical", group="sex")
    assert 0 <= test["p"] <= 1


def test_without_a_word_every_baseline_column_makes_subgroups():
    columns = {
        "age": {"kind": "number", "available_at": "baseline"}, "sex": {"kind": "category", "available_at": "baseline"},
        "crp": {"kind": "number", "available_at": "baseline"}, "afp": {"kind": "number", "available_at": "baseline"},
        "week": {"kind": "number"}, "late": {"kind": "number", "available_at": 30},
    }  # fmt: skip
    assert make_options({"validate": {"subgroups": []}}).subgroups == ()
    options = make_options({"columns": columns, "validate": {"bootstrap": 0}})
    development = people("dev", "development").assign(site="A", crp=np.nan, week=1.0, late=1.0)
    table = people().assign(site="A", crp=np.arange(120.0), week=1.0, late=np.arange(120.0))
    metrics = validate(predictions(), {}, [table, development], options).metrics
    assert set(metrics[metrics["metric"] == "auc_interaction"]["group"]) == {"age", "sex"}, (
        "one site and nothing to split crp at divide nobody; no table has afp"
    )


def test_complete_cases_stand_beside_the_cohort_where_predictors_are_missing():
    subjects, table = people(), predictions(models=("clinical", "fused", "radiomics", "size"))
    subjects.loc[:9, "age"] = np.nan
    subjects.loc[5:14, "sex"] = ""
    models = {
        "clinical": {"columns": ["age", "sex"]}, "size": {"columns": ["age"]}, "radiomics": {},
        "fused": {"inputs": ["radiomics", "size"]},
        "best": {"kind": "choice"}, "blind": {"inputs": ["size", "best"]},
    }  # fmt: skip
    assert not predictors_of(models)["blind"], "the choice may have filled in what nobody tells"
    options = Options(draws=0, predictors=predictors_of(models))
    metrics = validate(table, {}, [subjects], options).metrics
    group = {"group": "complete=yes"}
    for model, n in (("clinical", 105), ("size", 110), ("fused", 110)):
        own = table[table["model"] == model].iloc[120 - n :]
        row = one(metrics, "auc", model=model, **group)
        assert (row["n"], row["value"]) == (n, pytest.approx(auc(own["y_true"], own["y_prob"]).value))
    assert one(metrics, "brier", model="clinical", **group)["n"] == 105
    assert not ((metrics["model"] == "radiomics") & (metrics["group"] == "complete=yes")).any()
    whole = validate(table, {}, [people()], options).metrics
    assert not (whole["group"] == "complete=yes").any(), "nobody misses a predictor"
    nobody = validate(table, {}, [subjects.assign(age=np.nan)], options).metrics
    assert one(nobody, "auc", model="size", **group)["reason"]


def test_the_primary_comparison_of_the_first_look_is_on_record(tmp_path, capsys):
    ledger = tmp_path / "ledger" / "toy.primary.tsv"
    write_table(people().astype(str), tmp_path / "ext.tsv")
    write_table(people("dev", "development").astype(str), tmp_path / "dev.tsv")
    given = {"validate": {"bootstrap": 0}, "columns": {}}
    more = ["--subjects", tmp_path / "ext.tsv", tmp_path / "dev.tsv", "--ledger", ledger, "--settings"]
    first, then = (
        {"endpoint": "y", "model": model, "comparator": None, "cohort": "ext", "metric": "auc"}
        for model in ("clinical", "radiomics")
    )
    for primary in (first, first, then, dict(reversed(first.items()))):
        run(tmp_path, predictions(), *more, json.dumps({**given, "primary": primary}))
    told = read_table(tmp_path / "out" / "primary.tsv")
    assert told.to_numpy().tolist() == [["ext", primary_words(first)], ["ext", primary_words(then)]]
    assert list(read_table(ledger).columns) == ["date", "cohort", "primary", "user"]
    own = predictions(cohort="dev", kind="oof")
    run(tmp_path, own, "--subjects", tmp_path / "dev.tsv", *more[3:], json.dumps({**given, "primary": then}))
    assert read_table(tmp_path / "out" / "primary.tsv").empty and len(read_table(ledger)) == 2
    with pytest.raises(AssertionError):
        run(tmp_path, predictions(), *more, json.dumps(given))
    assert "no primary comparison to write down" in capsys.readouterr().err


def test_sites_are_pooled_and_a_site_without_auc_is_named():
    subjects = people()
    subjects.loc[:1, "site"] = "TINY"
    metrics = validate(predictions(), {}, [subjects], Options(draws=0)).metrics
    pooled = one(metrics, "auc_pooled", model="clinical", group="site")
    assert pooled["ci_low"] < pooled["value"] < pooled["ci_high"]
    assert "1 of 4 units" in pooled["reason"]


def test_folds_that_are_sites_are_internal_external_validation():
    subjects = people(role="development")
    table = predictions(kind="oof")
    table["fold"] = pd.Categorical(subjects.set_index("subject")["site"].reindex(table["subject"])).codes
    metrics = validate(table, {}, [subjects], Options(draws=0)).metrics
    one(metrics, "auc_pooled", model="clinical", group="internal-external")
    table.loc[0, "fold"] = (table.loc[0, "fold"] + 1) % 3
    metrics = validate(table, {}, [subjects], Options(draws=0)).metrics
    one(metrics, "auc_pooled", model="clinical", group="site")


def test_a_score_that_follows_the_site_and_not_only_the_outcome_is_told():
    rng = np.random.default_rng(4)
    subjects, table = people(), predictions(models=("honest", "shortcut"))
    site = table["subject"].map(subjects.set_index("subject")["site"]) == subjects["site"].iloc[0]
    taken = table["model"] == "shortcut"
    table.loc[taken, "y_prob"] = 1 / (1 + np.exp(-(2 * site[taken] + rng.normal(size=taken.sum()))))
    table.loc[~taken, "y_prob"] = (0.3 + 0.3 * table["y_true"] + 0.4 * rng.random(len(table))).clip(0, 1)[~taken]
    metrics = validate(table, {}, [subjects], Options(draws=0)).metrics
    group = f"site={subjects['site'].iloc[0]}"
    found = {name: one(metrics, "site_auc", model=name, group=group) for name in ("honest", "shortcut")}
    assert found["shortcut"]["ci_low"] > 0.7
    assert found["honest"]["ci_low"] < 0.5 < found["honest"]["ci_high"], (
        "a score of the outcome is no score of the site"
    )
    alone = table.assign(fold=pd.Categorical(table["subject"].map(subjects.set_index("subject")["site"])).codes)
    metrics = validate(alone.assign(kind="oof"), {}, [people(role="development")], Options(draws=0)).metrics
    assert (
        one(metrics, "site_auc", model="honest", group=group)["reason"] == "each site was scored by a model of its own"
    )


def test_frozen_cohorts_are_pooled():
    table = pd.concat([predictions(cohort=c, seed=k) for k, c in enumerate(("one", "two", "three"))])
    metrics = validate(table, {}, [], Options(draws=0)).metrics
    row = one(metrics, "auc_pooled", model="clinical", group="cohorts", cohort="")
    assert row["n"] == 360
    assert one(metrics, "auc_prediction", model="clinical", group="cohorts")["ci_low"] < row["ci_low"]


def test_readers_labels_and_the_ceiling_of_their_disagreement():
    table, subjects = predictions(models=("clinical",), endpoint="response"), people()
    y = table["y_true"].to_numpy(float)
    rng = np.random.default_rng(2)
    for reader in ("R1", "R2", "R3"):
        subjects[f"response_reader_{reader}"] = np.where(rng.uniform(size=120) < 0.15, 1 - y, y)
    metrics = validate(table, {}, [subjects], Options(draws=0)).metrics
    row = one(metrics, "auc", model="clinical", group="reader=R2")
    assert row["value"] == pytest.approx(auc(subjects["response_reader_R2"], table["y_prob"]).value)
    others = subjects[["response_reader_R1", "response_reader_R3"]].mean(axis=1)
    ceiling = one(metrics, "auc_ceiling", group="reader=R2")
    assert ceiling["value"] == pytest.approx(auc(subjects["response_reader_R2"], others).value)


def test_case_mix_stands_beside_an_external_cohort():
    age, sex = ({"kind": kind, "available_at": "baseline"} for kind in ("number", "category"))
    columns = {"age": age, "sex": sex}
    options = Options(draws=0, columns=columns)
    tables = [people(), people("dev", "development", seed=6)]
    metrics = validate(predictions(), {}, tables, options).metrics
    assert one(metrics, "standardised_difference", group="age", cohort="ext")["value"] > 0.8
    assert one(metrics, "membership_auc", cohort="ext")["ci_low"] > 0.6
    assert one(metrics, "missing_share", group="sex", cohort="ext")["value"] == 0


# --- other models ----------------------------------------------------------------------------------------------------


def test_recalibration_is_apart_and_repairs_a_shift():
    table = predictions(n=600, models=("a",))
    odds = np.log(table["y_prob"] / (1 - table["y_prob"])) * 2 + 1.5
    table["y_prob"] = 1 / (1 + np.exp(-odds))
    metrics = validate(table, {}, [], Options(draws=0)).metrics
    before, after = (
        one(metrics, "calibration_in_the_large", model="a", group=g)["value"] for g in ("", "recalibrated")
    )
    assert abs(before) > 0.5
    assert abs(after) < 0.1
    assert one(metrics, "brier", model="a", group="recalibrated")["value"] < one(metrics, "brier", model="a")["value"]


def test_reclassification_stays_in_the_supplement():
    results = validate(predictions(), {}, [], Options(draws=0))
    assert set(results.supplement["metric"]) == {"nri", "nri_events", "nri_nonevents", "idi"}
    assert results.supplement["reason"].str.startswith("supplement only").all()
    assert not results.metrics["metric"].isin({"nri", "idi"}).any()


def test_net_benefit_differences_are_paired():
    metrics = validate(predictions(), {}, [], Options(draws=200)).metrics
    at = 0.4
    clinical, radiomics = (one(metrics, "net_benefit", model=m, at=at) for m in ("clinical", "radiomics"))
    row = one(metrics, "net_benefit_difference", model="clinical", comparator="radiomics", at=at)
    assert row["value"] == pytest.approx(clinical["value"] - radiomics["value"])
    apart = (clinical["ci_high"] - clinical["ci_low"]) + (radiomics["ci_high"] - radiomics["ci_low"])
    assert row["ci_high"] - row["ci_low"] < apart


def test_cohorts_are_pooled_by_a_command_of_their_own(tmp_path):
    paths = []
    for k, cohort in enumerate(("one", "two", "three")):
        paths.append(tmp_path / f"{cohort}.tsv")
        write_table(predictions(n=200, cohort=cohort, seed=k), paths[-1])
    shared = predictions(cohort="shared", seed=9, kind="oof")
    write_table(shared, tmp_path / "shared.tsv")
    given = [str(path) for path in [*paths, tmp_path / "shared.tsv"]]
    assert main(["pool", "--predictions", *given, "--out", str(tmp_path / "out" / "pooled.tsv")]) == 0
    rows = read_table(tmp_path / "out" / "pooled.tsv", "metrics")
    assert one(rows, "auc_pooled", model="clinical", group="cohorts")["n"] == 600, "not the one that shares subjects"
    slopes = rows[
        (rows["metric"] == "calibration_slope") & (rows["model"] == "clinical") & (rows["cohort"] != "shared")
    ]
    mean = one(rows, "calibration_slope_pooled", model="clinical", group="cohorts")
    assert slopes["value"].min() <= mean["value"] <= slopes["value"].max()
    errors = (slopes["ci_high"] - slopes["ci_low"]) / (2 * 1.959963984540054)
    expected = random_effects(slopes["value"], errors**2)
    assert (mean["value"], mean["ci_low"]) == pytest.approx((expected.estimate, expected.low), abs=1e-8)
    for metric in ("auc_heterogeneity", "calibration_in_the_large_heterogeneity"):
        assert 0 <= one(rows, metric, model="clinical", group="cohorts")["value"] <= 1
    assert (tmp_path / "out" / "pooled.svg").is_file()


def test_long_names_are_broken_and_nothing_is_lost():
    for text in ("a_model_with_a_very_long_name_indeed, big-hospital", "short", "x" * 60, ""):
        broken = wrapped(text, 20)
        assert broken.replace("\n", "").replace(" ", "") == text.replace(" ", "")
        assert all(len(line) <= 21 for line in broken.split("\n")) or " " not in text


@pytest.mark.parametrize("threshold", [-0.1, 1.5, 50])
def test_a_threshold_that_is_no_probability_is_refused_where_scores_are(threshold: float) -> None:
    table = predictions()
    with pytest.raises(ConfigError, match="is no probability, but its scores are"):
        validate(table, {"clinical": threshold}, [], FAST)
    risks = table.rename(columns={"y_prob": "risk"})
    assert not validate(risks, {"clinical": threshold}, [], FAST).metrics.empty
