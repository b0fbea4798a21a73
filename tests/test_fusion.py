"""Fusion: equal to a computation by hand, and deaf to scores that have seen their own rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy.special import expit, logit

from hccflow.errors import ConfigError, FreezeError, LeakageError, TableError
from hccflow.ids import CohortRole, ScoreKind
from hccflow.models.fusion import check_inputs, logit_table
from hccflow.models.opening import load_model
from hccflow.predict import contribution_table, open_frozen, predict
from hccflow.study import check_config
from hccflow.tables import read_table
from hccflow.train.stacking import train_fusion
from hccflow.train.training import train, write_training
from mockstudy import default_config
from tabular_study import CLINICAL, RADIOMICS, cohort, settings, split

LASSO: dict[str, Any] = {**RADIOMICS, "learner": "ridge", "select": {}, "grid": {}, "parameters": {"C": 1.0}}
FUSED: dict[str, Any] = {
    "kind": "fusion", "endpoint": "response", "inputs": ["clinical", "radiomics"], "columns": [], "learner": "logistic",
    "parameters": {"C": 1e6}, "grid": {}, "threshold": "youden",
}  # fmt: skip


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Two trained models and a fusion of them."""
    root = tmp_path_factory.mktemp("fusion")
    config = settings(clinical=CLINICAL, radiomics=LASSO, fused=FUSED)
    subjects, features = cohort("dev", 60, 3, signal=1.0)
    folds = split(subjects, repeats=2)
    for name in ("clinical", "radiomics"):
        write_training(train(name, config, subjects, folds, features), root / name)
    inputs = {name: root / name for name in ("clinical", "radiomics")}
    fused = train_fusion("fused", config, subjects, folds, inputs)
    write_training(fused, root / "fused")
    return {"root": root, "settings": config, "subjects": subjects, "split": folds, "inputs": inputs, "fused": fused}


def by_hand(train_x: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Maximum-likelihood logistic regression by statsmodels."""
    fit = sm.Logit(y, sm.add_constant(train_x)).fit(disp=0, method="newton", tol=1e-10)
    return expit(sm.add_constant(x, has_constant="add") @ fit.params)


def test_stacking_is_a_logistic_regression_on_the_other_folds_logits(study: dict[str, Any]) -> None:
    tables = [read_table(folder / "predictions.tsv", "predictions") for folder in study["inputs"].values()]
    merged = tables[0].merge(tables[1], on=["subject", "repeat", "fold", "y_true"])
    x, y = logit(merged[["y_prob_x", "y_prob_y"]].to_numpy(float)), merged["y_true"].to_numpy(float)
    mine = study["fused"].predictions.set_index(["subject", "repeat"])["y_prob"]
    for repeat in (0, 1):
        for fold in range(4):
            here = (merged["repeat"] == repeat).to_numpy()
            held = here & (merged["fold"] == fold).to_numpy()
            wanted = by_hand(x[here & ~held], y[here & ~held], x[held])
            found = [mine[subject, repeat] for subject in merged.loc[held, "subject"]]
            np.testing.assert_allclose(found, wanted, rtol=1e-3)
    mean = merged.assign(a=x[:, 0], b=x[:, 1]).groupby("subject")[["a", "b", "y_true"]].mean()
    new = pd.DataFrame({"cohort": "ext", "subject": ["X1"], "session": "", "clinical": [0.4], "radiomics": [-1.2]})
    p, _ = study["fused"].model.predict(new, new)
    np.testing.assert_allclose(
        p, by_hand(mean[["a", "b"]].to_numpy(), mean["y_true"], np.array([[0.4, -1.2]])), rtol=1e-3
    )


def test_the_order_of_a_mean_learns_nothing_from_the_labels(study: dict[str, Any]) -> None:
    """Ordinary stacking does: the labels of a fold have taught the models behind its stacker's training scores."""
    found = []
    for labels in (study["subjects"]["response"], 1 - study["subjects"]["response"]):
        config = settings(clinical=CLINICAL, radiomics=LASSO, fused={**FUSED, "learner": "mean", "parameters": {}})
        subjects = study["subjects"].assign(response=labels)
        made = train_fusion("fused", config, subjects, study["split"], study["inputs"])
        assert made.model.selected == ["clinical", "radiomics"]
        coef = made.model.stacker.learner.coef
        assert coef.nunique() == 1 and coef.iloc[0] > 0
        scores = made.predictions.sort_values(["repeat", "fold", "subject"])
        found.append(scores.groupby(["repeat", "fold"])["y_prob"].rank().to_numpy())
    np.testing.assert_array_equal(*found)
    tabular = {**CLINICAL, "learner": "mean"}
    with pytest.raises(ConfigError, match="only a fusion can take the mean"):
        train("clinical", settings(clinical=tabular), study["subjects"], study["split"], None)


def test_every_fit_of_a_fold_saw_the_other_folds_only(study: dict[str, Any]) -> None:
    fits = study["fused"].fits
    assert set(fits.loc[fits["fold"].notna(), "n"]) == {45}
    assert set(fits.loc[fits["fold"].isna(), "n"]) == {60}


def test_a_fusion_scores_unseen_rows_from_frozen_scores(study: dict[str, Any], tmp_path: Path) -> None:
    external, features = cohort("ext", 20, 9, role="external", signal=1.0)
    features = features.drop(index=3)
    frozen = {name: open_frozen(folder) for name, folder in study["inputs"].items()}
    scores = [predict(one, "ext", CohortRole.EXTERNAL, external, features) for one in frozen.values()]
    fused = open_frozen(study["root"] / "fused")
    check_inputs(fused.facts, list(study["inputs"].values()))
    found = predict(
        fused,
        "ext",
        CohortRole.EXTERNAL,
        external,
        logit_table(scores, ["clinical", "radiomics"], "response", ScoreKind.FROZEN),
    )
    assert found["y_prob"].notna().sum() == 19
    assert found.loc[found["subject"] == "EXT003", "reason"].tolist() == ["no score of radiomics"]
    assert set(found["kind"]) == {"frozen"}
    with pytest.raises(FreezeError, match="not the model from which the fusion has learnt; where: --inputs, radiomics"):
        check_inputs(fused.facts, [study["inputs"]["clinical"]])


def test_apparent_scores_are_refused(study: dict[str, Any]) -> None:
    tables = [read_table(folder / "predictions.tsv", "predictions") for folder in study["inputs"].values()]
    tables[1].loc[5, "kind"] = "apparent"
    with pytest.raises(LeakageError, match="learns from unseen scores only; where: model radiomics"):
        logit_table(tables, ["clinical", "radiomics"], "response", ScoreKind.OOF)


def test_inputs_of_another_split_are_refused(study: dict[str, Any]) -> None:
    tables = [read_table(folder / "predictions.tsv", "predictions") for folder in study["inputs"].values()]
    tables[1]["fold"] = (tables[1]["fold"] + 1) % 4
    with pytest.raises(LeakageError, match="do not share one split"):
        logit_table(tables, ["clinical", "radiomics"], "response", ScoreKind.OOF)
    other = split(study["subjects"], folds=3, repeats=2)
    with pytest.raises(LeakageError, match="input 'clinical' was trained on another split"):
        train_fusion("fused", study["settings"], study["subjects"], other, study["inputs"])


def test_a_case_that_one_input_lacks_is_not_scored_and_teaches_nothing(study: dict[str, Any]) -> None:
    tables = [read_table(folder / "predictions.tsv", "predictions") for folder in study["inputs"].values()]
    found = logit_table([tables[0], tables[1].iloc[4:]], ["clinical", "radiomics"], "response", ScoreKind.OOF)
    assert found["radiomics"].isna().sum() == 4
    assert found["clinical"].notna().all()
    with pytest.raises(TableError, match="not those of the inputs"):
        logit_table(tables[:1], ["clinical", "radiomics"], "response", ScoreKind.OOF)


def test_a_frozen_fusion_opens_to_the_same_numbers(study: dict[str, Any]) -> None:
    again = load_model("fusion", study["root"] / "fused" / "model")
    new = pd.DataFrame(
        {"cohort": "e", "subject": ["A", "B"], "session": "", "clinical": [0.1, 2], "radiomics": [1, -1.0]}
    )
    assert again.predict(new, new)[0].tolist() == study["fused"].model.predict(new, new)[0].tolist()


def test_contributions_of_the_inputs_add_up_to_the_logit(study: dict[str, Any]) -> None:
    external, features = cohort("ext", 20, 9, role="external", signal=1.0)
    frozen = {name: open_frozen(folder) for name, folder in study["inputs"].items()}
    given = features.drop(index=3)  # its radiomics score is missing
    scores = [predict(one, "ext", CohortRole.EXTERNAL, external, given) for one in frozen.values()]
    logits = logit_table(scores, ["clinical", "radiomics"], "response", ScoreKind.FROZEN)
    fused = open_frozen(study["root"] / "fused")
    found = predict(fused, "ext", CohortRole.EXTERNAL, external, logits)
    table = contribution_table(fused, found, external, logits)
    told = table[table["reason"] == ""]
    assert told["feature"].tolist() == ["(base)", "clinical", "radiomics"] * 19
    assert table.loc[table["reason"] != "", ["subject", "reason"]].values.tolist() == [
        ["EXT003", "no score of radiomics"]
    ]
    wanted = logit(found.set_index("subject")["y_prob"]).drop("EXT003")
    assert np.abs(told.groupby("subject")["contribution"].sum() - wanted).max() < 1e-9


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"inputs": ["clinical", "nobody"]}, "unknown model 'nobody'"),
        ({"columns": ["age"]}, "a fusion sees scores only"),
        ({"network": {"architecture": "multitask_encoder", "crop": "x"}}, "'network' belongs to kind network"),
        ({"inputs": ["clinical", "fused"]}, "a fusion of fusions"),
    ],
)
def test_the_configuration_refuses_a_fusion_that_cannot_be(change: dict[str, Any], words: str) -> None:
    config = default_config()
    config["models"]["fused"] = {"kind": "fusion", "endpoint": "response", "inputs": ["clinical", "radiomics"]}
    filled = check_config(config)
    assert filled["models"]["fused"]["learner"] == "mean", "learnt weights are optimistic out of fold: only where asked"
    assert filled["models"]["size"]["learner"] == "logistic"
    config["models"]["fused"] |= change
    with pytest.raises(ConfigError, match=words):
        check_config(config)
