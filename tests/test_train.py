"""train: only training rows teach, everything is written down, and the same input gives the same bytes."""

from __future__ import annotations

import importlib.util
import json
import logging
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from hccflow.cli import main
from hccflow.errors import ConfigError, FitError, FreezeError, LeakageError, TableError
from hccflow.freeze import verify
from hccflow.metrics.threshold import youden
from hccflow.models.fold import Fold
from hccflow.models.lasso import fit_lasso, largest_penalty, lasso_path
from hccflow.models.learners import fit_learner
from hccflow.models.opening import load_model
from hccflow.models.parameters import PARAMETERS
from hccflow.models.preparation import prepare
from hccflow.tables import read_table, subjects_digest, write_table
from hccflow.train.cuts import learn_survival_cut, learn_threshold
from hccflow.train.training import train, write_training
from tabular_study import CLINICAL, RADIOMICS, cohort, settings, split

ROOT = Path(__file__).resolve().parents[1]


def fold_of(x: np.ndarray, y: np.ndarray) -> Fold:
    names = [f"x{i}" for i in range(x.shape[1])]
    subjects = np.array([f"dev/P{i}" for i in range(len(y))], dtype=object)
    return Fold(pd.DataFrame(x, columns=names), y.astype(float), subjects, (1, 0, 0))


def noise(n: int = 60, p: int = 8, seed: int = 0, signal: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, p))
    return x, (rng.random(n) < 1 / (1 + np.exp(-signal * x[:, 0]))).astype(float)


# --- who may teach -----------------------------------------------------------------------------------------------
def test_only_training_rows_are_seen_by_any_fitted_step():
    subjects, features = cohort("dev", 40, 1)
    subjects.loc[7, "response"] = np.nan
    folds = split(subjects, repeats=2, test=6)
    result = train("radiomics", settings(), subjects, folds, features)
    key = subjects["cohort"] + "/" + subjects["subject"]
    known = set(key[subjects["response"].notna()])
    keyed = folds.assign(key=folds["cohort"] + "/" + folds["subject"])
    outer = result.fits[~result.fits["step"].str.contains(".", regex=False)]
    for (repeat, fold), rows in outer.dropna(subset="fold").groupby(["repeat", "fold"]):
        teach = keyed[(keyed["repeat"] == repeat) & (keyed["role"] == "train") & (keyed["fold"] != fold)]
        expected = sorted(set(teach["key"]) & known)
        assert set(rows["subjects_digest"]) == {subjects_digest(expected)}
        assert set(rows["n"]) == {len(expected)}
    final = outer[outer["fold"].isna()]
    taught = sorted(set(keyed.loc[keyed["role"] == "train", "key"]) & known)
    assert set(final["subjects_digest"]) == {subjects_digest(taught)} == {result.facts["training"]["subjects_digest"]}
    assert {
        "impute",
        "variance",
        "correlation",
        "standardise",
        "lasso",
        "learner",
        "tune",
        "threshold",
        "survival_cut",
    } == set(final["step"])
    # every row of an inner fold is one of its outer fold's training rows
    assert (result.fits["n"].fillna(0) <= len(taught)).all()
    test = set(folds.loc[folds["role"] == "test", "subject"])
    assert not test & set(result.predictions["subject"])
    status = result.manifest.set_index("subject")
    assert set(status.loc[sorted(test), "reason"]) == {"internal test set"}
    assert status.loc[subjects["subject"][7], "status"] == "excluded"
    assert subjects["subject"][7] in set(result.predictions["subject"])  # scored, teaches nothing
    assert len(result.manifest) == 40


def test_an_outcome_among_the_features_is_refused():
    subjects, features = cohort("dev", 40, 2)
    for name in ("response", "age"):
        with pytest.raises(LeakageError, match=f"feature '{name}' has the name of a column or endpoint"):
            train("radiomics", settings(), subjects, split(subjects), features.assign(**{name: 1.0}))


def test_a_canary_in_the_judged_rows_cannot_help():
    """A feature that equals the label in the judged rows and is noise in the training rows changes no score."""
    subjects, features = cohort("dev", 40, 2, signal=0.0)
    folds = split(subjects, test=10)
    held = folds.loc[(folds["role"] == "test"), "subject"]
    canary = features.copy()
    rows = canary["subject"].isin(held).to_numpy()
    canary.loc[rows, "art__f03"] = 1000 * subjects.loc[rows, "response"].to_numpy()
    one = train("radiomics", settings(), subjects, folds, features)
    two = train("radiomics", settings(), subjects, folds, canary)
    pd.testing.assert_frame_equal(one.predictions, two.predictions)
    assert one.model.learner.to_json() == two.model.learner.to_json()
    # and the label of a judged fold does not reach its own scores
    flipped = subjects.copy()
    fold0 = set(folds.loc[folds["fold"] == 0, "subject"])
    mine = subjects["subject"].isin(fold0)
    flipped.loc[mine, "response"] = 1 - flipped.loc[mine, "response"]
    three = train("radiomics", settings(), flipped, folds, features)
    inside = one.predictions["fold"] == 0
    assert one.predictions.loc[inside, "y_prob"].tolist() == three.predictions.loc[inside, "y_prob"].tolist()
    assert one.predictions.loc[~inside, "y_prob"].tolist() != three.predictions.loc[~inside, "y_prob"].tolist()


@pytest.mark.parametrize("role", ["external", "followup"])
def test_other_roles_are_refused_at_the_door(role):
    dev, features = cohort("dev", 30, 1)
    other, more = cohort("ext", 10, 2, role=role)
    both = pd.concat([dev, other], ignore_index=True)
    with pytest.raises(LeakageError, match="'ext' may not teach"):
        train("radiomics", settings(), both, split(both), pd.concat([features, more]))


def test_a_predictor_after_the_landmark_is_refused():
    subjects, _ = cohort("dev", 30, 1)
    with pytest.raises(LeakageError, match="'late' is available only 30 days after"):
        train("clinical", settings(clinical={**CLINICAL, "columns": ["age", "late"]}), subjects, split(subjects))


def test_sessions_of_one_subject_stay_together():
    subjects, features = cohort("dev", 40, 3)
    subjects["subject"] = [f"R{i // 2:02d}" for i in range(40)]
    subjects["session"] = [f"w{i % 2}" for i in range(40)]
    subjects["response"] = np.repeat(np.arange(20) % 2, 2).astype(float)
    features[["subject", "session"]] = subjects[["subject", "session"]]
    folds = split(subjects.drop_duplicates("subject").reset_index(drop=True))
    result = train("radiomics", settings(), subjects, folds, features)
    assert result.predictions.groupby("subject")["fold"].nunique().max() == 1
    assert len(result.predictions) == 40
    x, y = noise(40)
    pairs = np.array([f"dev/R{i // 2:02d}" for i in range(40)], dtype=object)
    for inner, held_x, _ in Fold(pd.DataFrame(x), y, pairs, (1,)).inner("t"):
        assert not set(inner.subjects) & set(pairs[held_x.index])


# --- bad input ---------------------------------------------------------------------------------------------------
def test_a_fold_without_positives_says_so():
    subjects, _ = cohort("dev", 30, 1)
    subjects["response"] = 0.0
    subjects.loc[:2, "response"] = 1.0
    folds = split(subjects)
    folds["fold"] = pd.array(
        np.where(folds["subject"].isin(subjects["subject"][:3]), 0, 1 + np.arange(30) % 3), dtype="Int64"
    )
    with pytest.raises(FitError, match="no positive training row; where: repeat 0, fold 0"):
        train("clinical", settings(), subjects, folds)


def test_labels_outside_the_domain_and_unknown_subjects():
    subjects, _ = cohort("dev", 30, 1)
    bad = subjects.assign(response=subjects["response"].replace(1.0, 2.0))
    with pytest.raises(TableError, match="outside its domain.*expected: 0, 1 or empty; found: 2"):
        train("clinical", settings(), bad, split(subjects))
    with pytest.raises(TableError, match="outside its domain"):
        train("clinical", settings(), subjects.assign(response="yes"), split(subjects))
    with pytest.raises(TableError, match="not in the split"):
        train("clinical", settings(), subjects, split(subjects.iloc[1:]))
    with pytest.raises(ConfigError, match="has no parameter 'max_dept'.*did you mean 'max_depth'"):
        train(
            "r",
            settings(r={**RADIOMICS, "grid": {"max_dept": [1]}}),
            subjects,
            split(subjects),
            cohort("dev", 30, 1)[1],
        )
    with pytest.raises(TableError, match="log of 'afp' is not defined"):
        bad = subjects.assign(afp=subjects["afp"].where(subjects.index > 0, 0.0))
        train("c", settings(c={**CLINICAL, "transforms": {"afp": "log"}}), bad, split(subjects))


def test_missing_values_constant_features_and_rows_without_features():
    subjects, features = cohort("dev", 48, 4)
    rng = np.random.default_rng(0)
    subjects.loc[rng.random(48) < 0.3, "afp"] = np.nan
    subjects.loc[5, "stage"] = ""
    features["art__f10"] = 3.0
    features["art__f11"] = np.nan
    features.loc[rng.random(48) < 0.3, ["art__f12", "art__f13"]] = np.nan
    lacking = features["subject"][2]
    features = features[features["subject"] != lacking]
    both = {**CLINICAL, "roi": "manual", "features": ["art__*"]}
    result = train("both", settings(both=both), subjects, split(subjects), features)
    used = result.model.selected
    assert "art__f10" not in used
    assert "art__f11" not in used
    assert "afp (log1p) is missing" in used
    assert "art__f12 is missing" in used  # f13 is absent in the same rows: one indicator for both
    assert "art__f13 is missing" not in used
    assert result.predictions["y_prob"].notna().all()
    assert lacking not in set(result.predictions["subject"])
    assert result.manifest.set_index("subject").loc[lacking, ["status", "reason"]].tolist() == ["failed", "no features"]


def test_nothing_selected_is_prevalence_only_and_says_so():
    x, y = noise(40, 5)
    subjects, features = cohort("dev", 40, 5, features=3)
    features[["art__f00", "art__f01", "art__f02"]] = 1.0
    result = train("radiomics", settings(), subjects, split(subjects), features)
    learner = result.fits[(result.fits["step"] == "learner") & result.fits["fold"].isna()].iloc[0]
    assert learner["detail"] == "prevalence only: no predictor was selected"
    assert result.model.score(pd.DataFrame(index=range(3))).tolist() == [subjects["response"].mean()] * 3
    assert result.threshold.value is not None or result.threshold.reason
    with pytest.raises(FitError, match="at least 2 of each class"):
        fit_lasso(fold_of(x[:9], np.array([1.0] + [0.0] * 8)))


# --- against other people's numbers ------------------------------------------------------------------------------
def test_lasso_equals_scikit_learn():
    x, y = noise(80, 12, seed=3)
    x[:, 4] += x[:, 0]
    x = (x - x.mean(0)) / x.std(0)
    penalties = largest_penalty(x, y) * np.array([1.0, 0.5, 0.2, 0.05])
    ours = lasso_path(x, y, penalties)
    assert (ours[1:, 0] == 0).all()
    assert ours[0, 0] == pytest.approx(np.log(y.mean() / (1 - y.mean())), abs=1e-7)
    for column, penalty in enumerate(penalties[1:], start=1):
        saga = LogisticRegression(l1_ratio=1, solver="saga", C=1 / (len(y) * penalty), tol=1e-12, max_iter=200_000)
        saga.fit(x, y)
        np.testing.assert_allclose(ours[1:, column], saga.coef_[0], atol=1e-6)
        np.testing.assert_allclose(ours[0, column], saga.intercept_[0], atol=1e-6)
        assert ((ours[1:, column] == 0) == (np.abs(saga.coef_[0]) < 1e-8)).all()


def test_logistic_and_firth_agree_with_statsmodels():
    import statsmodels.api as sm

    x, y = noise(200, 3, seed=5)
    theirs = sm.Logit(y, sm.add_constant(x)).fit(disp=0).params
    ours = fit_learner(fold_of(x, y), "logistic", {"C": 1e9})
    np.testing.assert_allclose([ours.intercept, *ours.coef], theirs, atol=1e-5)
    weak = fit_learner(fold_of(x, y), "logistic", {})
    np.testing.assert_allclose([weak.intercept, *weak.coef], theirs, atol=0.02)
    firth = fit_learner(fold_of(x, y), "firth", {})
    assert np.all(np.abs(firth.coef) < np.abs(theirs[1:]) + 0.01)
    separated = fit_learner(fold_of(x, (x[:, 0] > 0).astype(float)), "firth", {})
    assert np.isfinite(separated.coef).all()


@pytest.mark.parametrize("learner", sorted(PARAMETERS.keys() - {"mean"}))
def test_every_learner_learns_saves_and_reads_back(learner, tmp_path):
    subjects, features = cohort("dev", 60, 6)
    spec = {
        **RADIOMICS,
        "learner": learner,
        "grid": {},
        "parameters": {},
        "select": {"correlation": 0.95, "max_features": 5},
    }
    result = train("m", settings(m=spec), subjects, split(subjects), features)
    assert roc_auc_score(subjects.sort_values("subject")["response"], result.predictions["y_prob"]) > 0.7
    write_training(result, tmp_path)
    loaded = load_model("tabular", tmp_path / "model")
    ours, _ = result.model.predict(subjects, features)
    theirs, _ = loaded.predict(subjects, features)
    assert ours.tolist() == theirs.tolist()
    assert all(path.suffix == ".json" for path in (tmp_path / "model").iterdir())


def test_selection_keeps_the_stronger_of_two_and_ties_by_name():
    x, y = noise(200, 4, seed=2, signal=3.0)
    x[:, 1] = x[:, 0] + 0.2 * np.random.default_rng(0).normal(size=200)
    x[:, 3] = x[:, 2]
    preparation, _ = prepare(fold_of(x, y), {"correlation": 0.9})
    assert preparation.names == ["x0", "x2"]
    preparation, _ = prepare(fold_of(x, y), {"max_features": 1})
    assert preparation.names == ["x0"]


# --- cut-offs ----------------------------------------------------------------------------------------------------
def test_threshold_and_cut():
    scores = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    fold = fold_of(scores[:, None], np.array([0, 0, 1, 0, 1, 1]))
    assert learn_threshold(fold, scores, "youden").value == 0.25  # of 0.25 and 0.45 the more sensitive
    assert learn_threshold(fold, scores, "prevalence").value == 0.5
    assert learn_threshold(fold, scores, 0.25).value == 0.25
    constant = learn_threshold(fold, np.full(6, 0.5), "youden")
    assert constant.value is None
    assert "same" in constant.reason
    assert learn_survival_cut(fold, scores, "median").value == pytest.approx(0.35)


def test_maximally_selected_cut_is_where_the_log_rank_statistic_is_largest():
    from scipy.stats import chi2 as chi2_distribution

    from hccflow.metrics.logrank import log_rank

    rng = np.random.default_rng(4)
    scores = rng.random(80)
    times = rng.exponential(np.where(scores >= 0.6, 100, 400)).round()
    events = (rng.random(80) < 0.8).astype(float)
    fold = fold_of(scores[:, None], (scores > 0.5).astype(float))
    cut = learn_survival_cut(fold, scores, "maxstat", times, events)
    assert 0.5 < cut.value < 0.7
    grid = np.sort(scores)[8:72]
    chi2 = {float(c): log_rank(times, events, scores >= c).chi2 for c in grid}
    assert chi2[cut.value] > 0.97 * max(chi2.values())
    assert cut.p_corrected > chi2_distribution.sf(chi2[cut.value], 1), "the search costs something"
    assert cut.to_json()["p_corrected"] == cut.p_corrected and "corrected for the search" in cut.detail
    assert learn_survival_cut(fold, scores, "maxstat").value is None


# --- the frozen folder -------------------------------------------------------------------------------------------
def command(tmp_path, subjects, features, folds, name="radiomics"):
    write_table(subjects, tmp_path / "subjects.tsv")
    write_table(features, tmp_path / "features.tsv")
    write_table(folds, tmp_path / "split.tsv")
    return [
        "train", "--model", name, "--subjects", str(tmp_path / "subjects.tsv"), "--split", str(tmp_path / "split.tsv"),
        "--features", str(tmp_path / "features.tsv"), "--settings", json.dumps(settings()),
    ]  # fmt: skip


def test_same_bytes_and_a_changed_file_is_refused(tmp_path):
    subjects, features = cohort("dev", 40, 8)
    arguments = command(tmp_path, subjects, features, split(subjects, repeats=2))
    for name in ("a", "b", "b"):
        assert main([*arguments, "--out", str(tmp_path / name)]) == 0
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*") if p.is_file())
    assert [str(f) for f in files] == [
        "fits.tsv", "freeze.json", "manifest.tsv", "model/booster.json", "model/model.json", "predictions.tsv",
        "selection.tsv",
    ]  # fmt: skip
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file
    frozen = verify(tmp_path / "a")
    scores = read_table(tmp_path / "a" / "predictions.tsv", "predictions")
    assert len(scores) == 80
    assert set(scores["kind"]) == {"oof"}
    assert scores["time_days"].isna().all()
    mean = scores.groupby("subject")["y_prob"].mean()
    assert frozen["survival_cut"]["value"] == pytest.approx(mean.median())
    truth = scores.groupby("subject")["y_true"].first().astype(float)
    assert frozen["threshold"]["value"] == youden(truth[truth.notna()], mean[truth.notna()])[0]
    assert (tmp_path / "a" / "freeze.json").read_text().find(str(tmp_path)) < 0
    for file in ("model/model.json", "model/booster.json", "predictions.tsv", "freeze.json"):
        path = tmp_path / "b" / file
        before = path.read_bytes()
        path.write_bytes(before.replace(b"1", b"2", 1))
        with pytest.raises(FreezeError, match=file.replace(".", r"\.")):
            verify(tmp_path / "b")
        path.write_bytes(before)
    (tmp_path / "b" / "model" / "extra.json").write_text("{}")
    with pytest.raises(FreezeError, match="extra.json"):
        verify(tmp_path / "b")


@pytest.mark.slow
def test_permuted_labels_give_chance_and_a_leak_is_seen():
    """A small null study through the whole chain; benchmarks/null_study.py runs the large one."""
    spec = importlib.util.spec_from_file_location("null_study", ROOT / "benchmarks" / "null_study.py")
    null_study = importlib.util.module_from_spec(spec)
    sys.modules["null_study"] = null_study  # dataclasses look their module up
    spec.loader.exec_module(null_study)
    try:
        table = null_study.verdict(null_study.study(null_study.synthetic(quick=True), 30))
    finally:
        logging.disable(logging.NOTSET)
    judged = table[table["verdict"] != "shown"]
    assert set(judged["model"]) == {"clinical", "radiomics", "lasso", "control"}
    assert set(judged["verdict"]) == {"pass", "leak seen"}, table.to_string()


def test_the_order_of_rows_does_not_matter():
    subjects, features = cohort("dev", 40, 9)
    one = train("radiomics", settings(), subjects, split(subjects), features)
    two = train("radiomics", settings(), subjects, split(subjects).iloc[::-1], features.sample(frac=1, random_state=1))
    pd.testing.assert_frame_equal(one.predictions, two.predictions)
    assert one.facts["split_digest"] == two.facts["split_digest"]
