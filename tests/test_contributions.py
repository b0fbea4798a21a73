"""Contributions of predictors: exact, against sums over all subsets; told for frozen scores alone."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import logit

from hccflow.cli import main
from hccflow.ids import CohortRole
from hccflow.models.contributions import BASE, COLUMNS, contributions
from hccflow.models.learners import Trees
from hccflow.models.tabular import TabularModel
from hccflow.predict import NO_TABLE, TAUGHT, Frozen, contribution_table, open_frozen, predict
from hccflow.tables import read_table, write_table
from hccflow.train.training import train, write_training
from tabular_study import CLINICAL, RADIOMICS, cohort, settings, split

EXTERNAL = CohortRole.EXTERNAL
THREE = {**RADIOMICS, "features": ["art__f0[234]"], "select": {}, "grid": {}}
MODELS = {
    "clinical": CLINICAL,
    "firth": {**CLINICAL, "learner": "firth"},
    "lasso": {**RADIOMICS, "learner": "lasso", "select": {}, "grid": {}, "parameters": {}},
    "boosted": RADIOMICS,
    "three": {**THREE, "parameters": {"n_estimators": 3, "max_depth": 3}},
    "forest": {**THREE, "learner": "forest", "parameters": {"n_estimators": 20, "max_depth": 3}},
}  # fmt: skip
#: Largest difference from the logit of the score: XGBoost computes in 32 bits.
CLOSE = {"clinical": 1e-9, "firth": 1e-9, "lasso": 1e-9, "boosted": 1e-5, "three": 1e-5, "forest": 1e-5}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Frozen], pd.DataFrame, pd.DataFrame]:
    """Frozen models of every kind of learner, and their development tables; some values are missing."""
    folder = tmp_path_factory.mktemp("study")
    subjects, features = cohort("dev", 80, 1)
    subjects.loc[10:19, "afp"] = np.nan
    features.loc[30:39, "art__f02"] = np.nan
    for name in MODELS:
        given = features if "roi" in MODELS[name] else None
        write_training(train(name, settings(**MODELS), subjects, split(subjects, test=6), given), folder / name)
    return {name: open_frozen(folder / name) for name in MODELS}, subjects, features


@pytest.mark.parametrize("name", MODELS)
def test_contributions_and_base_add_up_to_the_logit(study, name):
    subjects, features = cohort("ext", 60, 2, role="external")
    subjects.loc[3:6, "afp"] = np.nan
    subjects.loc[5, "stage"] = ""
    features.loc[8:11, "art__f02"] = np.nan
    frozen = study[0][name]
    scores = predict(frozen, "ext", EXTERNAL, subjects, features)
    table = contribution_table(frozen, scores, subjects.sample(frac=1, random_state=0), features)
    assert list(table.columns) == COLUMNS and set(table["reason"]) == {""}
    total = table.groupby("subject")["contribution"].sum()
    assert np.abs(total - logit(scores.set_index("subject")["y_prob"])).max() < CLOSE[name]
    base = table[table["feature"] == BASE]
    assert len(base) == 60 and base["contribution"].nunique() == 1 and base["value"].isna().all()
    named = set(table["feature"]) - {BASE}
    assert named and named <= set(frozen.model.selected)
    assert named == set(frozen.model.selected) or name in ("boosted", "three", "forest")


def test_a_value_is_what_was_given_and_a_missing_one_stays_empty(study):
    subjects, _ = cohort("ext", 20, 2, role="external")
    subjects.loc[3, "afp"] = np.nan
    frozen = study[0]["clinical"]
    table = contribution_table(frozen, predict(frozen, "ext", EXTERNAL, subjects), subjects)
    wide = table.pivot(index="subject", columns="feature", values="value")
    assert wide["age"].tolist() == subjects["age"].tolist()
    assert wide["stage = C"].tolist() == (subjects["stage"] == "C").astype(float).tolist()
    np.testing.assert_array_equal(wide["afp (log1p)"], np.log1p(subjects["afp"]))
    assert wide["afp (log1p) is missing"].tolist() == [float(i == 3) for i in range(20)]


def test_a_linear_contribution_is_the_coefficient_times_the_distance_from_the_training_mean(study):
    """By hand, and the base is the mean logit of the training rows."""
    model, subjects = study[0]["clinical"].model, study[1].iloc[:-6]
    found = contributions(model, subjects, None)
    age = subjects["age"].to_numpy()
    expected = model.learner.coef["age"] * (age - age.mean()) / age.std()
    np.testing.assert_allclose(found.parts[:, list(found.values).index("age")], expected, atol=1e-12)
    assert found.base == pytest.approx(logit(model.predict(subjects, None)[0]).mean(), abs=1e-12)
    np.testing.assert_allclose(found.parts.mean(axis=0), 0, atol=1e-12)


@pytest.mark.parametrize("name", ["three", "forest"])
def test_trees_give_the_shapley_values_over_all_subsets(study, name):
    """Of the game in which a predictor that is left out follows each split in the shares of the training rows."""
    model = study[0][name].model
    subjects, table = cohort("ext", 25, 2, role="external")
    table.loc[4:7, "art__f02"] = np.nan
    found = contributions(model, subjects, table)
    z = model.preparation.apply(model.encoding.encode(subjects, table)[0])
    trees, offset = _trees(model)
    players = range(len(model.learner.names))
    assert 3 <= len(players) <= 4  # three features, and whether the third is missing
    for row, x in enumerate(z[list(model.learner.names)].to_numpy(np.float32)):
        worth = {
            known: offset + sum(_expected(tree, x, known) for tree in trees)
            for size in range(len(players) + 1)
            for known in itertools.combinations(players, size)
        }
        assert found.base == pytest.approx(worth[()], abs=1e-5)
        for player in players:
            exact = sum(
                (worth[tuple(sorted((*known, player)))] - value)
                / (len(players) * math.comb(len(players) - 1, len(known)))
                for known, value in worth.items()
                if player not in known
            )
            feature = model.learner.names[player]
            told = found.parts[row, list(found.values).index(feature)] if feature in found.values else 0.0
            assert told == pytest.approx(exact, abs=1e-5)


def _trees(model: TabularModel) -> tuple[list[dict[str, list]], float]:
    """The trees of a booster, and the logit from which they start."""
    assert isinstance(model.learner, Trees)
    learner = json.loads(model.learner.booster)["learner"]
    start = float(str(learner["learner_model_param"]["base_score"]).strip("[]"))
    return learner["gradient_booster"]["model"]["trees"], logit(start)


def _expected(tree: dict[str, list], x: np.ndarray, known: tuple[int, ...], node: int = 0) -> float:
    """Output of a tree for a row of which only some predictors are known."""
    children = tree["left_children"][node], tree["right_children"][node]
    if children[0] == -1:
        return tree["split_conditions"][node]
    if tree["split_indices"][node] in known:
        left = x[tree["split_indices"][node]] < np.float32(tree["split_conditions"][node])
        return _expected(tree, x, known, children[0] if left else children[1])
    weights = [tree["sum_hessian"][child] for child in children]
    return sum(w * _expected(tree, x, known, c) for w, c in zip(weights, children, strict=True)) / sum(weights)


def test_a_model_that_selected_nothing_is_its_base(study):
    labels = study[1].assign(response=np.tile([0.0, 1.0], 40))
    entry = {"noise": {**RADIOMICS, "features": ["art__f0[5-9]"]}}
    noise = study[2].assign(**{f"art__f{i:02d}": np.repeat(np.arange(40.0), 2) % (i + 2) for i in range(5, 10)})
    made = train("noise", settings(**entry), labels, split(labels), noise)
    found = contributions(made.model, labels, noise)
    assert found.parts.shape == (80, 0)
    assert found.base == pytest.approx(0.0, abs=1e-12)


def test_scores_that_the_frozen_model_did_not_give_have_a_reason(study, tmp_path):
    models, subjects, features = study
    frozen, folds = models["boosted"], split(subjects, test=6)
    scores = predict(frozen, "dev", CohortRole.DEVELOPMENT, subjects, features, split=folds)
    table = contribution_table(frozen, scores, subjects, features)
    assert set(table["subject"]) == set(subjects["subject"])
    oof = table[table["reason"] == TAUGHT]
    assert oof["subject"].tolist() == subjects["subject"][:-6].tolist() and oof["contribution"].isna().all()
    assert set(table.loc[table["reason"] == "", "subject"]) == set(subjects["subject"][-6:])

    fresh, more = cohort("ext", 12, 3, role="external")
    more = more[more["subject"] != "EXT004"]
    scores = predict(frozen, "ext", EXTERNAL, fresh, more)
    table = contribution_table(frozen, scores, fresh, more)
    assert table.loc[table["subject"] == "EXT004", "reason"].tolist() == ["no features"]
    assert (table["reason"] != "").sum() == 1

    class Network:
        selected: list[str] = []

    network = Frozen(frozen.folder, frozen.facts, frozen.oof)
    network.__dict__["model"] = Network()
    told = contribution_table(network, scores, fresh, more)
    assert told["reason"].tolist() == [NO_TABLE] * 4 + ["no features"] + [NO_TABLE] * 7
    assert contribution_table(frozen, scores.iloc[:0], fresh.iloc[:0], more).empty


def test_the_command_writes_them_beside_the_scores(study, tmp_path: Path):
    frozen = study[0]["lasso"]
    subjects, features = cohort("ext", 12, 3, role="external")
    write_table(subjects, tmp_path / "subjects.tsv")
    write_table(features, tmp_path / "features.tsv")
    (tmp_path / "settings.json").write_text(json.dumps(settings(**MODELS)))
    code = main([
        "predict", "--train", str(frozen.folder), "--cohort", "ext", "--role", "external", "--subjects",
        str(tmp_path / "subjects.tsv"), "--features", str(tmp_path / "features.tsv"), "--ledger",
        str(tmp_path / "ledger.tsv"), "--settings", str(tmp_path / "settings.json"), "--contributions",
        str(tmp_path / "lasso.contributions.tsv"), "--out", str(tmp_path / "lasso.predictions.tsv"),
    ])  # fmt: skip
    assert code == 0
    scores = read_table(tmp_path / "lasso.predictions.tsv", "predictions").set_index("subject")
    table = read_table(tmp_path / "lasso.contributions.tsv")
    assert list(table.columns) == COLUMNS
    total = table.groupby("subject")["contribution"].sum()
    assert np.abs(total - logit(scores["y_prob"])).max() < 1e-9
