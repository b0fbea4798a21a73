"""Mistakes in configuration and tables stop the study at parse time, each with one clear line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hccflow.errors import ConfigError, DataAbsentError, HccflowError, LeakageError, TableError
from hccflow.study import check_config, load_study
from mockstudy import changed, default_config, write_mock

CONFIG = default_config()


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HCCFLOW_DATA", str(tmp_path))
    return write_mock(tmp_path)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_the_default_study_loads(data: Path) -> None:
    study = load_study(CONFIG)
    assert study.development == ["phantom-dev"]
    assert {name: len(c.participants) for name, c in study.cohorts.items()} == {
        "phantom-dev": 20,
        "phantom-ext": 10,
        "phantom-fup": 6,
    }
    assert study.cohorts["phantom-dev"].batches == ["01", "02"]
    assert study.config["convert"]["gap_tolerance"] == 0.05, "defaults are filled in from the schema"


@pytest.mark.parametrize(
    ("key", "value", "error", "words"),
    [
        ("splitt", {}, ConfigError, ["unknown key 'splitt'", "did you mean 'split'?"]),
        ("models.clinical.lerner", "ridge", ConfigError, ["unknown key 'lerner'", "did you mean 'learner'?"]),
        ("models.clinical.learner", "magic", ConfigError, ["magic", "config.models.clinical.learner"]),
        ("primary.cohort", "phantom-exd", ConfigError, ["unknown cohort 'phantom-exd'", "did you mean 'phantom-ext'?"]),
        ("extract.intensity", {"kind": "window"}, ConfigError, ["the window of intensities is not whole"]),
        ("extract.intensity", {"kind": "window", "window": [9, 9]}, ConfigError, ["low below high"]),
        (
            "extract.intensity",
            {"kind": "window", "window": [0, 9], "bias_field": "n4"},
            ConfigError,
            ["only MR has a bias field", "modality MR, kind window"],
        ),
        ("primary.model", "oracle", ConfigError, ["unknown model 'oracle'", "config.primary.model"]),
        ("cohorts.phantom-fup.subset_of", "nobody", ConfigError, ["unknown development cohort 'nobody'"]),
        ("cohorts.phantom-dev.role", "external", ConfigError, ["no development cohort"]),
        ("models.clinical.columns", ["age", "os_days"], LeakageError, ["predictor 'os_days'", "index date"]),
        ("survive.covariates", ["pfs_days"], LeakageError, ["predictor 'pfs_days'", "config.survive.covariates"]),
        ("models.clinical.endpoint", "os", ConfigError, ["a classifier learns a binary endpoint"]),
        ("endpoints.response.positive", ..., ConfigError, ["'positive' is missing", "config.endpoints.response"]),
        ("columns.sex.levels", ..., ConfigError, ["a category needs its levels", "config.columns.sex"]),
        ("extract.rois.manual.mask", "spleen", ConfigError, ["unknown mask 'spleen'"]),
        ("imaging.reference", "venous", ConfigError, ["unknown channel 'venous'"]),
        (
            "split",
            {"by": "site", "folds": 2, "repeats": 3},
            ConfigError,
            ["sites can be left out in one way only", "repeats"],
        ),
        ("split.folds", ..., ConfigError, ["'folds' is missing", "config.split"]),
        (
            "eligibility",
            [{"name": "x", "column": "bclc", "in": ["A", "Z"]}],
            ConfigError,
            ["unknown level 'Z'", "A, B, C"],
        ),
        ("eligibility", [{"name": "x", "column": "bclc", "at_least": 2}], ConfigError, ["'at_least' needs a number"]),
        ("seed", "many", ConfigError, ["'many' is not of type 'integer'", "config.seed"]),
        ("endpoints.os.readers_blinded", True, ConfigError, ["nobody reads this endpoint", "endpoints.os", "mrecist"]),
        ("endpoints.response.readers_blinded", "yes", ConfigError, ["'yes' is not of type", "readers_blinded"]),
    ],
)
def test_a_wrong_configuration_is_told_in_one_line(key: str, value: Any, error: type, words: list[str]) -> None:
    with pytest.raises(error) as caught:
        check_config(changed(CONFIG, key, value))
    text = str(caught.value)
    assert "\n" not in text
    for word in words:
        assert word in text


IDLE = {
    "columns": ["age"], "transforms": {"age": "log"}, "roi": "manual", "features": ["shape__*"],
    "select": {"lasso": True}, "learner": "ridge", "grid": {"C": [1, 2]}, "parameters": {"C": 1},
    "network": {"architecture": "resnet", "crop": "tumour"}, "inputs": ["size", "clinical"], "choose": {"among": "a"},
}  # fmt: skip
READ = {
    "size": ("columns", "transforms", "roi", "features", "select", "learner", "grid", "parameters"),
    "deep": ("columns", "transforms", "network"),
    "fused": ("inputs", "learner", "grid", "parameters"),
    "best": ("choose",),
}


@pytest.mark.parametrize(
    ("model", "key"), [(model, key) for model, read in READ.items() for key in IDLE if key not in read]
)
def test_a_key_that_would_do_nothing_is_refused(model: str, key: str) -> None:
    config = changed(CONFIG, "experiment", {"a": {"of": "clinical", "vary": {"learner": ["ridge"]}}})
    config = changed(config, "models.best", {"kind": "choice", "endpoint": "response", "choose": {"among": "a"}})
    check_config(config)
    kind = config["models"][model]["kind"]
    with pytest.raises(ConfigError, match=rf"'{key}' belongs to kind .*; where: config.models.{model};.* kind {kind}"):
        check_config(changed(config, f"models.{model}.{key}", IDLE[key]))


@pytest.mark.parametrize(
    ("trainer", "key", "value", "words"),
    [
        ("tiny", "configuration", "2d", "'configuration' is for the trainers of nnU-Net"),
        ("nnUNetTrainer", "iterations", 300, "'iterations' is for the trainer tiny"),
    ],
)
def test_a_key_of_another_trainer_is_refused(trainer: str, key: str, value: Any, words: str) -> None:
    check_config(changed(CONFIG, "segment.trainer", trainer))
    with pytest.raises(ConfigError, match=rf"{words}; where: config.segment.{key}; found: trainer {trainer}"):
        check_config(changed(changed(CONFIG, "segment.trainer", trainer), f"segment.{key}", value))


def test_features_are_chosen_of_a_region() -> None:
    with pytest.raises(ConfigError, match="'features' chooses among those of a region; where: config.models.size"):
        check_config(changed(CONFIG, "models.size.features", ["shape__*"]))


@pytest.mark.parametrize("modality", ["CT", "PT"])
def test_n4_is_for_mr(modality: str) -> None:
    asked = changed(CONFIG, "extract.intensity.bias_field", "n4")
    check_config(asked)
    with pytest.raises(ConfigError, match=rf"only MR has a bias field.*bias_field.*modality {modality}, kind organ"):
        check_config(changed(asked, "imaging.modality", modality))


def test_images_without_a_section_imaging_are_told_before_anything_runs(data: Path) -> None:
    config = CONFIG
    for key in ("imaging", "segment", "relate", "crops", "extract"):
        config = changed(config, key, ...)
    models = {name: CONFIG["models"][name] for name in ("size", "clinical")}
    for key, value in (
        ("models", models), ("eligibility", []), ("primary.model", "clinical"), ("primary.comparator", "size"),
        ("survive.models", ["clinical"]),
    ):  # fmt: skip
        config = changed(config, key, value)
    with pytest.raises(ConfigError, match=r"cohort 'phantom-dev' has images.*no section imaging"):
        load_study(config)


def test_a_predictor_known_after_the_index_date_needs_a_landmark() -> None:
    late = changed(CONFIG, "columns.afp_ng_ml.available_at", 28)
    with pytest.raises(LeakageError, match="28 days after the index date"):
        check_config(late)
    check_config(changed(changed(late, "endpoints.response.landmark_days", 28), "survive.covariates", ["child_pugh"]))


def test_an_absent_cohort_names_its_folder(data: Path) -> None:
    with pytest.raises(DataAbsentError, match="cohort 'nowhere' has no card"):
        load_study(changed(CONFIG, "cohorts.nowhere", {"role": "external"}))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("D00001\t", "D00000\t", ["a case stands twice", "D00000", "line"]),
        ("\tage\t", "\tyears\t", ["column 'age' is missing"]),
        ("\tF\t", "\tX\t", ["column 'sex'", "one of F, M", "'X'", "line 2"]),
        ("\t60\t", "\tsixty\t", ["column 'age'", "a number", "'sixty'"]),
        ("\t60\t", "\t600\t", ["column 'age'", "at most 100"]),
        ("D00000\t", "D0;rm -rf\t", ["column 'subject'", "pseudonym"]),
        ("D00000\t", "../D0\t", ["column 'subject'", "pseudonym"]),
    ],
)
def test_a_wrong_participants_table_is_told_in_one_line(data: Path, old: str, new: str, words: list[str]) -> None:
    edit(data / "phantom-dev" / "participants.tsv", old, new)
    with pytest.raises(TableError) as caught:
        load_study(CONFIG)
    assert "\n" not in str(caught.value)
    for word in [*words, "participants.tsv"]:
        assert word in str(caught.value)


LESION = "D00000\tR1\tbaseline\t0\tL1\t1\t20\t18\n"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text.replace("reader", "rdr"), ["column 'reader' is missing"]),
        (lambda text: text + LESION.replace("20", "-3"), ["column 'diameter_mm'", "at least 0", "'-3'", "line 2"]),
        (lambda text: text + LESION.replace("baseline", "before"), ["column 'timepoint'", "baseline, followup"]),
        (lambda text: text + LESION + LESION, ["a lesion was measured twice", "D00000"]),
        (lambda text: text + LESION.replace("D00000", "D99999"), ["is no participant", "D99999"]),
    ],
)
def test_a_wrong_lesions_table_is_told_before_any_image_is_converted(
    data: Path, change: Callable[[str], str], words: list[str]
) -> None:
    path = data / "phantom-ext" / "lesions.tsv"
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(TableError) as caught:
        load_study(CONFIG)
    assert "\n" not in str(caught.value)
    for word in [*words, "lesions.tsv"]:
        assert word in str(caught.value)


def test_absent_lesions_are_told_where_an_endpoint_needs_them(data: Path) -> None:
    (data / "phantom-ext" / "lesions.tsv").unlink()
    with pytest.raises(DataAbsentError, match=r"'response' is derived from lesions.*phantom-ext"):
        load_study(CONFIG)
    load_study(changed(CONFIG, "endpoints.response", {"kind": "binary", "label": "Death", "column": "os_event"}))


def test_a_subject_in_two_cohorts_stops_the_study(data: Path) -> None:
    edit(data / "phantom-ext" / "participants.tsv", "E00000\t", "D00000\t")
    with pytest.raises(LeakageError, match="subject 'D00000' is in two cohorts"):
        load_study(CONFIG)


def test_a_subset_may_share_subjects_only_with_its_parent(data: Path) -> None:
    load_study(CONFIG)
    with pytest.raises(LeakageError, match="phantom-dev and phantom-fup"):
        load_study(changed(CONFIG, "cohorts.phantom-fup.subset_of", ...))


def test_an_error_is_one_sentence_with_all_its_parts() -> None:
    error = HccflowError("it broke", where="a.tsv", expected="x\ny", found=3, todo="mend it")
    assert str(error) == "it broke; where: a.tsv; expected: x y; found: 3; do: mend it"


def test_one_image_under_two_subjects_stops_the_study(data: Path) -> None:
    head = "subject\tsession\tname\tkind\tformat\tpath\tseries_uid\tsegment\tvalue\tn_files\tsha256\n"
    for cohort, subject in (("phantom-dev", "D00003"), ("phantom-ext", "E00004")):
        edit(data / cohort / "cohort.yaml", "kind: phantom", "kind: dicom")
        edit(data / cohort / "cohort.yaml", "  parameters: {}\n", "")
        (data / cohort / "dicom").mkdir()
        row = f"{subject}\t\tarterial\timage\tdicom\ta\t1.2\t\t\t9\t{'ab' * 32}\n"
        (data / cohort / "dicom" / "series.tsv").write_text(head + row, encoding="utf-8")
    with pytest.raises(LeakageError, match="one image stands under two subjects.*D00003 and E00004"):
        load_study(CONFIG)
    edit(data / "phantom-ext" / "dicom" / "series.tsv", "ab" * 32, "cd" * 32)
    load_study(CONFIG)
