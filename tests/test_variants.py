"""An experiment in the configuration: which variants it makes, and which mistakes it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from hccflow.errors import ConfigError
from hccflow.study import check_config, expand_variants
from hccflow.variants import Variant, candidates
from mockstudy import default_config


def variants(models: dict[str, Any] | None = None, **sweeps: Any) -> dict[str, Variant]:
    """Variants of the default study with these sweeps and further models."""
    config = default_config()
    config["models"] |= models or {}
    return expand_variants(check_config(config | {"experiment": sweeps}))


def test_vary_changes_one_key_at_a_time_and_leaves_out_the_value_of_the_base() -> None:
    found = variants(
        learners={"of": "radiomics", "vary": {"roi": ["manual", "nnunet"], "select.max_features": [5, 20]}}
    )
    assert list(found) == ["radiomics__roi_nnunet", "radiomics__max_features_5", "radiomics__max_features_20"]
    base = check_config(default_config())["models"]["radiomics"]
    one = found["radiomics__max_features_5"]
    assert one.spec["select"] == {**base["select"], "max_features": 5}
    assert {key: value for key, value in one.spec.items() if key not in ("select", "label")} == {
        key: value for key, value in base.items() if key not in ("select", "label")
    }
    assert one.spec["label"] == "Radiomics (LASSO, XGBoost): max_features 5"
    assert base["select"]["max_features"] == 10, "the base stays as it was"


def test_named_variants_change_several_keys_and_null_removes_one() -> None:
    plain = {"learner": "ridge", "grid": None, "parameters": None, "select": {}}
    found = variants(learners={"of": "radiomics", "variants": {"plain": plain}})
    spec = found["radiomics__plain"].spec
    assert (spec["learner"], spec["select"], spec["grid"], spec["parameters"]) == ("ridge", {}, {}, {})


def test_single_channels_and_single_tasks_are_made_by_themselves() -> None:
    found = variants(
        channels={"of": "radiomics", "auto": ["channels"]},
        tasks={"of": "deep", "auto": ["tasks", "channels"], "vary": {"network.augment": ["none", "strong"]}},
    )
    assert found["radiomics__only_portal"].spec["features"] == ["portal__*", "shape__*"]
    assert found["deep__without_segmentation"].spec["network"]["tasks"] == {"response": 1.0}
    assert found["deep__augment_none"].spec["network"]["augment"] == "none"
    assert [v.base for v in found.values()] == ["radiomics"] * 2 + ["deep"] * 5
    assert found["deep__only_arterial"].spec["network"]["channels"] == ["arterial"]


def test_a_variant_is_told_from_others_by_what_it_is_and_not_by_its_label() -> None:
    one = variants(a={"of": "radiomics", "variants": {"x": {"select": {}}}})["radiomics__x"].about
    other = variants(a={"of": "radiomics", "variants": {"y": {"select": {}, "label": "Y"}}})["radiomics__y"].about
    third = variants(a={"of": "radiomics", "variants": {"x": {"select.variance": 0.1}}})["radiomics__x"].about
    assert one["digest"] == other["digest"] != third["digest"]


@pytest.mark.parametrize(
    ("sweep", "words"),
    [
        ({"of": "nobody", "vary": {"learner": ["ridge"]}}, "unknown model 'nobody'"),
        ({"of": "radiomics"}, "a sweep without variants"),
        ({"of": "radiomics", "vary": {"learner": ["xgboost"]}}, "a sweep without variants"),
        ({"of": "radiomics", "vary": {"lerner": ["ridge"]}}, "unknown key 'lerner'"),
        ({"of": "radiomics", "vary": {"network.augment": ["none"]}}, "the base has no 'network'"),
        ({"of": "radiomics", "vary": {"learner": ["ridge"]}}, "learner ridge has no parameter"),
        ({"of": "radiomics", "vary": {"roi": ["nobody"]}}, "unknown ROI 'nobody'"),
        ({"of": "clinical", "vary": {"columns": [["os_days"]]}}, "available only with the outcome"),
        ({"of": "radiomics", "variants": {"x": {"endpoint": "os"}}}, "keeps the endpoint"),
        ({"of": "clinical", "auto": ["channels"]}, "single channels are made of a model that sees them all"),
        ({"of": "deep", "vary": {"network.channels": [["nobody"]]}}, "unknown channel 'nobody'"),
        ({"of": "clinical", "auto": ["tasks"]}, "one task has no ablation"),
        ({"of": "radiomics", "vary": {"roi": ["nnunet"]}, "cohorts": ["phantom-dev"]}, "unknown external or follow-up"),
        ({"of": "deep", "vary": {"learner": ["ridge"]}}, "'learner' belongs to kind tabular or fusion"),
        ({"of": "fused", "vary": {"select": [{"lasso": True}]}}, "'select' belongs to kind tabular"),
        ({"of": "radiomics", "vary": {"select.variance": [0.1, "0,1"]}}, "two models are called"),
    ],
)
def test_a_mistake_in_a_sweep_is_told_at_parse_time(sweep: dict[str, Any], words: str) -> None:
    with pytest.raises(Exception, match=words) as caught:
        variants(sweep=sweep)
    assert type(caught.value).__module__ == "hccflow.errors"


CHOICE = {"kind": "choice", "endpoint": "response", "choose": {"among": "learners"}}


def test_a_choice_is_an_ordinary_model_over_the_candidates_of_a_sweep() -> None:
    config = default_config()
    config["models"]["best"] = CHOICE
    config["experiment"] = {"learners": {"of": "clinical", "vary": {"learner": ["ridge", "lasso"]}}}
    filled = check_config(config)
    assert candidates(filled, "learners") == ["clinical", "clinical__learner_ridge", "clinical__learner_lasso"]
    assert filled["models"]["best"]["choose"] == {"among": "learners", "by": "auc"}


@pytest.mark.parametrize(
    ("choice", "sweep", "words"),
    [
        ({**CHOICE, "choose": {"among": "nothing"}}, {}, "unknown sweep"),
        (CHOICE, {"of": "radiomics", "vary": {"roi": ["nnunet"]}}, "one region and one crop"),
        (CHOICE, {"of": "fused", "vary": {"inputs": [["clinical", "deep"]]}}, "only tabular models and networks"),
        ({key: CHOICE[key] for key in ("kind", "endpoint")}, {}, "'choose' is missing"),
        (CHOICE, {"of": "best", "vary": {"label": ["x"]}}, "only tabular models and networks"),
    ],
)
def test_a_choice_that_cannot_be_made_is_refused(choice: Any, sweep: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        variants({"best": choice}, learners=sweep or {"of": "clinical", "vary": {"learner": ["ridge"]}})


def test_the_primary_comparison_cannot_name_a_variant_and_names_keep_two_underscores_for_them() -> None:
    config = default_config() | {"experiment": {"a": {"of": "clinical", "vary": {"learner": ["ridge"]}}}}
    config["primary"] = {**config["primary"], "model": "clinical__learner_ridge"}
    with pytest.raises(ConfigError, match="unknown model 'clinical__learner_ridge'"):
        check_config(config)
    with pytest.raises(ConfigError, match="two underscores are kept"):
        variants({"my__model": default_config()["models"]["clinical"]})
