"""predict: frozen models only, rows that have taught keep out-of-fold scores, each look is on the record."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from hccflow.cli import main
from hccflow.errors import FreezeError, LeakageError, TableError
from hccflow.ids import CohortRole
from hccflow.ledger import COLUMNS, record_look
from hccflow.predict import Frozen, open_frozen, predict
from hccflow.tables import read_table, write_table
from hccflow.train.training import train, write_training
from tabular_study import CLINICAL, cohort, settings, split

N_TEST = 6
EXTERNAL = CohortRole.EXTERNAL


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """A trained radiomics model, with its development tables and split."""
    folder = tmp_path_factory.mktemp("study")
    subjects, features = cohort("dev", 60, 1)
    folds = split(subjects, repeats=2, test=N_TEST)
    write_training(train("radiomics", settings(), subjects, folds, features), folder / "radiomics")
    write_training(train("clinical", settings(), subjects, folds), folder / "clinical")
    return folder, subjects, features, folds


@pytest.fixture(scope="module")
def frozen(study) -> Frozen:
    return open_frozen(study[0] / "radiomics")


def test_an_external_cohort_is_scored_by_the_frozen_model(study, frozen):
    subjects, features = cohort("ext", 50, 2, role="external")
    features = features[features["subject"] != "EXT003"].sample(frac=1, random_state=0)
    subjects.loc[9, "response"] = np.nan
    scores = predict(frozen, "ext", EXTERNAL, subjects, features)
    assert len(scores) == 50
    assert set(scores["kind"]) == {"frozen"}
    lacking = scores.set_index("subject").loc["EXT003"]
    assert np.isnan(lacking["y_prob"])
    assert lacking["reason"] == "no features"
    assert scores["y_true"].isna().sum() == 1
    assert scores["threshold"].nunique() == 1
    both = scores.dropna(subset=["y_true", "y_prob"])
    assert roc_auc_score(both["y_true"].astype(int), both["y_prob"]) > 0.7
    # a row's score does not depend on who else is scored
    alone = predict(frozen, "ext", EXTERNAL, subjects.iloc[[20]], features)
    assert alone["y_prob"].iloc[0] == scores.set_index("subject").loc[subjects["subject"][20], "y_prob"]


def test_development_rows_keep_oof_scores_and_test_rows_are_frozen(study, frozen):
    _, subjects, features, folds = study
    scores = predict(frozen, "dev", CohortRole.DEVELOPMENT, subjects, features, split=folds)
    test = set(folds.loc[folds["role"] == "test", "subject"])
    assert set(scores.loc[scores["kind"] == "frozen", "subject"]) == test
    oof = scores[scores["kind"] == "oof"]
    assert len(oof) == 2 * (60 - N_TEST)
    merged = oof.merge(frozen.oof, on=["subject", "repeat", "fold"], validate="1:1")
    assert (merged["y_prob_x"] == merged["y_prob_y"]).all()
    assert len(merged) == len(oof)
    with pytest.raises(TableError, match="needs the split"):
        predict(frozen, "dev", CohortRole.DEVELOPMENT, subjects, features)
    with pytest.raises(LeakageError, match="another split"):
        predict(frozen, "dev", CohortRole.DEVELOPMENT, subjects, features, split=split(subjects, repeats=2))


def test_shared_subjects_keep_their_oof_scores(study, frozen):
    _, subjects, features, _ = study
    fresh, more = cohort("fup", 10, 3, role="followup")
    shared = subjects.iloc[:5].assign(cohort="fup", role="followup", session="y1", response=1.0)
    theirs = features.iloc[:5].assign(cohort="fup", session="y1", art__f00=99.0)
    both, table = pd.concat([fresh, shared], ignore_index=True), pd.concat([more, theirs], ignore_index=True)
    scores = predict(frozen, "fup", CohortRole.FOLLOWUP, both, table, shared_with="dev")
    kept = scores[scores["kind"] == "oof"]
    assert set(kept["subject"]) == set(shared["subject"])
    expected = frozen.oof[frozen.oof["subject"].isin(shared["subject"])].sort_values(["subject", "repeat"])
    assert kept["y_prob"].tolist() == expected["y_prob"].tolist()
    assert set(kept["y_true"]) == {1}  # the label is this cohort's own
    assert set(kept["session"]) == {"y1"}
    assert scores["kind"].value_counts().to_dict() == {"oof": 10, "frozen": 10}
    with pytest.raises(LeakageError, match="5 subjects of 'fup' are in the training set"):
        predict(frozen, "fup", CohortRole.FOLLOWUP, both, table)


def test_bad_input_is_one_sentence(study, frozen):
    subjects, features = cohort("ext", 20, 2, role="external")
    used = frozen.model.selected[0]
    with pytest.raises(TableError, match=f"feature '{used}' is missing.*same settings and channels"):
        predict(frozen, "ext", EXTERNAL, subjects, features.drop(columns=used))
    unused = next(n for n in features if n.startswith("art") and n not in frozen.model.selected)
    predict(frozen, "ext", EXTERNAL, subjects, features.drop(columns=unused))
    with pytest.raises(TableError, match="outside its domain"):
        predict(frozen, "ext", EXTERNAL, subjects.assign(response=2.0), features)
    with pytest.raises(LeakageError, match="another role"):
        predict(frozen, "ext", EXTERNAL, subjects.assign(role="development"), features)
    with pytest.raises(TableError, match="rows of another cohort"):
        predict(frozen, "other", EXTERNAL, subjects, features)
    with pytest.raises(TableError, match="stands twice"):
        predict(frozen, "ext", EXTERNAL, subjects, pd.concat([features, features]))
    clinical = open_frozen(study[0] / "clinical")
    with pytest.raises(TableError, match="'stage' has a level that the model does not know.*found: D"):
        predict(clinical, "ext", EXTERNAL, subjects.assign(stage="D"))
    with pytest.raises(TableError, match="predictor 'age' is missing"):
        predict(clinical, "ext", EXTERNAL, subjects.drop(columns="age"))


def test_missing_clinical_values_are_filled_from_development_only(study):
    clinical = open_frozen(study[0] / "clinical")
    subjects, _ = cohort("ext", 20, 2, role="external")
    blank = subjects.assign(age=np.nan)
    median = (
        study[1].loc[~study[1]["subject"].isin(study[3].loc[study[3]["role"] == "test", "subject"]), "age"].median()
    )
    filled = subjects.assign(age=median)
    one, two = (predict(clinical, "ext", EXTERNAL, rows)["y_prob"].tolist() for rows in (blank, filled))
    assert one == two


def run(tmp_path: Path, folder: Path, subjects: pd.DataFrame, features: pd.DataFrame, *more: str) -> int:
    write_table(subjects, tmp_path / "subjects.tsv")
    write_table(features, tmp_path / "features.tsv")
    cohort_name, role = subjects["cohort"].iloc[0], subjects["role"].iloc[0]
    return main([
        "predict", "--train", str(folder / "radiomics"), "--cohort", cohort_name, "--role", role,
        "--subjects", str(tmp_path / "subjects.tsv"), "--features", str(tmp_path / "features.tsv"),
        "--ledger", str(tmp_path / "ledger" / "toy.tsv"), "--settings", json.dumps(settings()),
        "--out", str(tmp_path / "scores.tsv"), *more,
    ])  # fmt: skip


def test_the_ledger_counts_looks_and_not_calls(study, tmp_path, monkeypatch):
    monkeypatch.setenv("HCCFLOW_LOOK_REASON", "primary\tanalysis")
    subjects, features = cohort("ext", 20, 2, role="external")
    for _ in range(2):
        assert run(tmp_path, study[0], subjects, features, "--shared-with") == 0
    ledger = read_table(tmp_path / "ledger" / "toy.tsv")
    assert list(ledger.columns) == COLUMNS
    assert len(ledger) == 1
    assert ledger["reason"].tolist() == ["primary analysis"]
    first = (tmp_path / "scores.tsv").read_bytes()
    looks = read_table(tmp_path / "scores.looks.tsv")
    assert list(looks.columns) == ["cohort", "model", "freeze_digest", "cohort_digest", "reason"]
    subjects.loc[0, "age"] += 1  # another state of the cohort is another look
    assert run(tmp_path, study[0], subjects, features) == 0
    assert len(read_table(tmp_path / "scores.looks.tsv")) == 2
    assert (tmp_path / "scores.tsv").read_bytes() == first
    read_table(tmp_path / "scores.tsv", "predictions")
    _, dev, table, folds = study
    write_table(folds, tmp_path / "split.tsv")
    assert run(tmp_path, study[0], dev, table, "--split", str(tmp_path / "split.tsv")) == 0
    assert len(read_table(tmp_path / "ledger" / "toy.tsv")) == 2  # development is no look
    assert read_table(tmp_path / "scores.looks.tsv").empty


def test_a_model_of_other_code_or_settings_is_used_and_told(study, tmp_path, monkeypatch, caplog):
    subjects, features = cohort("ext", 20, 2, role="external")
    assert run(tmp_path, study[0], subjects, features) == 0
    assert "other code" not in caplog.text
    assert read_table(tmp_path / "scores.looks.tsv")["reason"].item() == ""
    scores = (tmp_path / "scores.tsv").read_bytes()
    monkeypatch.setattr("hccflow.freeze.code_digest", lambda command: f"other {command}")
    monkeypatch.setenv("HCCFLOW_LOOK_REASON", "revision")
    (tmp_path / "ledger" / "toy.tsv").unlink()
    changed = {**settings(), "seed": 99}
    assert run(tmp_path, study[0], subjects, features, "--settings", json.dumps(changed)) == 0
    told = read_table(tmp_path / "scores.looks.tsv")["reason"].item()
    assert told.startswith("revision [made by other code than the present")
    assert "other train" in told
    assert "other settings" in told
    assert "other code" in caplog.text
    assert (tmp_path / "scores.tsv").read_bytes() == scores


def test_looks_of_many_jobs_are_all_written(tmp_path):
    def look(number: int) -> None:
        keys = {"cohort": "ext", "model": f"m{number % 8}", "freeze_digest": "f", "cohort_digest": "c"}
        record_look(tmp_path / "toy.tsv", keys)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(look, range(32)))
    assert len(read_table(tmp_path / "toy.tsv")) == 8
    (tmp_path / "other.tsv").write_text("a\tb\n1\t2\n")
    with pytest.raises(TableError, match="not a ledger"):
        record_look(tmp_path / "other.tsv", {"cohort": "e", "model": "m", "freeze_digest": "f", "cohort_digest": "c"})


def test_external_data_cannot_alter_the_freeze(study, tmp_path):
    before = (study[0] / "radiomics" / "freeze.json").read_bytes()
    subjects, features = cohort("ext", 20, 2, role="external")
    rng = np.random.default_rng(0)
    for _ in range(2):
        subjects["response"] = rng.permutation(subjects["response"])
        assert run(tmp_path, study[0], subjects, features) == 0
        _, dev, table, folds = study
        write_training(train("radiomics", settings(), dev, folds, table), tmp_path / "again")
        assert (tmp_path / "again" / "freeze.json").read_bytes() == before


def test_a_changed_model_is_refused_before_any_score(study, tmp_path, capsys):
    import shutil

    shutil.copytree(study[0] / "radiomics", tmp_path / "radiomics")
    path = tmp_path / "radiomics" / "model" / "model.json"
    path.write_text(path.read_text().replace('"mean"', '"mean" '))
    subjects, features = cohort("ext", 20, 2, role="external")
    assert run(tmp_path, tmp_path, subjects, features) == 2
    assert "FreezeError: 'model/model.json' is not what was frozen" in capsys.readouterr().err
    assert not (tmp_path / "scores.tsv").exists()
    assert not (tmp_path / "ledger").exists()
    with pytest.raises(FreezeError):
        open_frozen(tmp_path / "radiomics")


def test_a_size_only_comparator_is_an_ordinary_model(tmp_path):
    subjects, _ = cohort("dev", 40, 4)
    only = {**CLINICAL, "columns": ["age"], "transforms": {}, "threshold": 0.5}
    result = train("size", settings(size=only), subjects, split(subjects))
    write_training(result, tmp_path / "size")
    frozen = open_frozen(tmp_path / "size")
    assert frozen.model.selected == ["age"]
    assert frozen.facts["threshold"] == {"value": 0.5, "rule": "prespecified", "reason": ""}
