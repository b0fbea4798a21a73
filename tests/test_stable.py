"""select.stable: features that come out otherwise inside another outline go, by the training rows and no label."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from hccflow.cli import main
from hccflow.errors import ConfigError, FitError, TableError
from hccflow.metrics.agreement import icc
from hccflow.metrics.intraclass import mean_squares
from hccflow.models.opening import load_model
from hccflow.models.preparation import prepare
from hccflow.orchestration.stages import dvc_text
from hccflow.study import check_config, expand_variants, load_study
from hccflow.tables import subjects_digest, write_table
from hccflow.train.training import train, write_training
from mockstudy import changed, default_config, write_mock
from tabular_study import CLINICAL, COLUMNS, RADIOMICS, cohort, settings, split
from test_rules import snakemake
from test_train import fold_of, noise

SPEC: dict[str, Any] = {
    **RADIOMICS, "learner": "ridge", "grid": {}, "parameters": {"C": 1.0},
    "select": {"stable": {"rois": ["wider", "closer"], "icc": 0.75}},
}  # fmt: skip


def redrawn(features: pd.DataFrame, seed: int, unstable: tuple[str, ...] = ("art__f00",)) -> pd.DataFrame:
    """The same features inside another outline: nearly equal, those of `unstable` drawn anew."""
    rng, out = np.random.default_rng(seed), features.copy()
    names = [name for name in out.columns if name.startswith("art__")]
    out[names] += 0.1 * rng.normal(size=(len(out), len(names)))
    for name in unstable:
        out[name] = rng.normal(size=len(out))
    return out


def study(n: int = 48) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, pd.DataFrame]]:
    """Subjects, features, and their outlines: feature 0, which carries the signal, is unstable in the closer one."""
    subjects, features = cohort("dev", n, 5)
    return subjects, features, {"wider": redrawn(features, 1, ()), "closer": redrawn(features, 2)}


@pytest.mark.parametrize("kind", ["agreement", "consistency"])
@pytest.mark.parametrize("readers", [2, 4])
def test_all_measurements_at_once_have_the_icc_of_each(kind: Any, readers: int) -> None:
    rng = np.random.default_rng(readers)
    table = rng.normal(size=(30, 9, 1)) * 10.0 ** np.arange(-4, 5)[:, None] + rng.normal(size=(30, 9, readers))
    table[:, 1] += np.arange(readers)
    table[rng.random(table.shape) < 0.1] = np.nan
    table[:, 2] = table[:, 2, :1]
    expected = [icc(table[:, place], kind).value for place in range(9)]
    np.testing.assert_allclose(mean_squares(table).icc(kind), expected, rtol=1e-9)
    assert mean_squares(table).icc(kind)[2] == 1
    table[:, 3], table[1:, 4] = 0.1, np.nan
    undefined = mean_squares(table).icc(kind)
    assert np.isnan(undefined[[3, 4]]).all() and not np.isnan(np.delete(undefined, [3, 4])).any()


def test_the_smallest_icc_decides_and_a_constant_shift_counts() -> None:
    x, y = noise(40, 5)
    fold = fold_of(x, y).through(lambda x: x.assign(age=60.0 + np.arange(40)))
    others = {roi: fold.x.drop(columns="age").copy() for roi in ("wider", "closer")}
    others["closer"]["x0"] += 3.0
    others["wider"]["x2"] = np.random.default_rng(9).normal(size=40)
    others["closer"].iloc[:4] = np.nan
    others["closer"]["x3"] = np.nan
    told = {roi: [icc(np.column_stack([fold.x[f], other[f]]), "agreement").value for f in other]
            for roi, other in others.items()}  # fmt: skip
    assert told["closer"][0] < 0.75 < told["wider"][0] and told["wider"][2] < 0.75 < told["closer"][2]
    fold = replace(fold, outlines=others)
    preparation, _ = prepare(fold, {"stable": {"rois": ["wider", "closer"], "icc": 0.75}})
    assert preparation.names == ["x1", "x4", "age"], "x3 has no value to compare: not shown to be stable"
    first = fold.log[0]
    assert first["step"] == "stable"
    assert first["detail"] == (
        "kept 3 of 6, 1 not judged: ICC(2,1) at least 0.75 with wider (40 of 40 rows), closer (36 of 40 rows)"
    )
    flipped = replace(fold, y=1 - fold.y)
    assert prepare(flipped, {"stable": {"rois": ["wider", "closer"], "icc": 0.75}})[0].names == preparation.names
    other = {"wider": fold.x.drop(columns="age").sample(frac=1, random_state=0).set_axis(fold.x.index)}
    nothing, rows = prepare(replace(fold, outlines=other), {"stable": {"icc": 0.75}})
    assert nothing.names == ["age"] and rows.x.shape == (40, 1)
    alone = replace(fold_of(x, y), outlines=other)
    nothing, rows = prepare(alone, {"stable": {"icc": 0.75}, "correlation": 0.9, "lasso": True})
    assert nothing.names == [] and rows.x.shape == (40, 0)


def test_an_unstable_feature_goes_however_strong_it_is_and_the_frozen_model_needs_no_outline(tmp_path: Path) -> None:
    subjects, features, outlines = study()
    result = train("m", settings(m=SPEC), subjects, split(subjects), features, outlines)
    plain = train("m", settings(m={**SPEC, "select": {}}), subjects, split(subjects), features)
    frequency = result.selection.set_index("feature")
    assert frequency.loc["art__f00"].tolist() == [0, 0]
    assert plain.selection.set_index("feature").loc["art__f00"].tolist() == [1, 1]
    assert frequency.loc["art__f01"].tolist() == [1, 1]
    steps = result.fits[result.fits["step"] == "stable"]
    assert len(steps) == 5
    assert steps["detail"].str.startswith("kept 19 of 20: ICC(2,1) at least 0.75 with wider (").all()
    write_training(result, tmp_path)
    model = load_model("tabular", tmp_path / "model")
    scores, _ = model.predict(subjects, features.drop(columns="art__f00"))
    assert scores.tolist() == result.model.predict(subjects, features)[0].tolist()


def test_only_training_rows_of_the_other_outlines_are_seen() -> None:
    subjects, features, outlines = study()
    folds = split(subjects, test=10)
    one = train("m", settings(m=SPEC), subjects, folds, features, outlines)
    rows = folds.drop_duplicates("subject").set_index("subject")
    test, fold0 = set(rows.index[rows["role"] == "test"]), set(rows.index[rows["fold"] == 0])
    # Outlines of the internal test set may say what they like.
    other = {roi: table.copy() for roi, table in outlines.items()}
    held = other["wider"]["subject"].isin(test).to_numpy()
    other["wider"].loc[held, "art__f05"] = 1e6
    two = train("m", settings(m=SPEC), subjects, folds, features, other)
    pd.testing.assert_frame_equal(one.predictions, two.predictions)
    pd.testing.assert_frame_equal(one.fits, two.fits)
    # Those of a judged fold do not reach its own model, and reach all others.
    held = other["wider"]["subject"].isin(fold0).to_numpy()
    other["wider"].loc[held, "art__f01"] = np.random.default_rng(0).normal(size=held.sum()) * 1e3
    three = train("m", settings(m=SPEC), subjects, folds, features, other)
    inside = one.predictions["fold"] == 0
    assert one.predictions.loc[inside, "y_prob"].tolist() == three.predictions.loc[inside, "y_prob"].tolist()
    assert (one.predictions.loc[~inside, "y_prob"] != three.predictions.loc[~inside, "y_prob"]).all()
    # The subjects on record are those of the other steps; the order of the outline's rows means nothing.
    taught = {f"dev/{s}" for s in rows.index if s not in test}
    final = one.fits[one.fits["fold"].isna() & (one.fits["step"] == "stable")]
    assert set(final["subjects_digest"]) == {subjects_digest(sorted(taught))}
    four = train("m", settings(m=SPEC), subjects, folds, features, {r: t.iloc[::-1] for r, t in outlines.items()})
    pd.testing.assert_frame_equal(one.predictions, four.predictions)


def test_inner_folds_judge_by_their_own_rows() -> None:
    subjects, features, outlines = study()
    spec = {**SPEC, "parameters": {}, "grid": {"C": [0.1, 1.0]}}
    fits = train("m", settings(m=spec), subjects, split(subjects), features, outlines).fits
    inner = fits[fits["step"].str.fullmatch(r"tune\.\d\.stable")]
    assert len(inner) == 25 and (inner["n"] < 48).all()
    told = inner["detail"].str.extract(r"\((\d+) of (\d+) rows\)").astype(int)
    assert (told[1] == inner["n"].astype(int)).all()


def test_failed_outlines_are_counted_and_all_of_them_is_an_error() -> None:
    subjects, features, outlines = study()
    outlines["closer"] = outlines["closer"].iloc[8:]
    fits = train("m", settings(m=SPEC), subjects, split(subjects), features, outlines).fits
    final = fits[fits["fold"].isna() & (fits["step"] == "stable")].iloc[0]
    assert final["detail"].endswith("wider (48 of 48 rows), closer (40 of 48 rows)")
    with pytest.raises(FitError, match=r"no training rows to judge by .* ROI closer; .* found: 1 of 36; do: read why"):
        train("m", settings(m=SPEC), subjects, split(subjects), features, outlines | {"closer": features.iloc[:1]})
    with pytest.raises(TableError, match=r"needs features of another outline; where: models.m.select.stable.rois: clo"):
        train("m", settings(m=SPEC), subjects, split(subjects), features, {"wider": features})
    foreign = features.rename(columns=lambda name: name.replace("art__", "pv__"))
    with pytest.raises(TableError, match="another outline shares no feature"):
        train("m", settings(m=SPEC), subjects, split(subjects), features, outlines | {"closer": foreign})


def test_the_command_takes_the_regions_from_the_folders_of_the_tables(tmp_path: Path) -> None:
    subjects, features, outlines = study()
    for name, table in {"manual": features, **outlines}.items():
        (tmp_path / f"roi-{name}").mkdir()
        write_table(table, tmp_path / f"roi-{name}" / "features.tsv")
    write_table(subjects, tmp_path / "subjects.tsv")
    write_table(split(subjects), tmp_path / "split.tsv")
    given = settings(m=SPEC) | {"columns": COLUMNS}
    arguments = [
        "train", "--model", "m", "--subjects", str(tmp_path / "subjects.tsv"), "--split", str(tmp_path / "split.tsv"),
        "--features", str(tmp_path / "roi-manual" / "features.tsv"),
        "--outlines", *(str(tmp_path / f"roi-{roi}" / "features.tsv") for roi in outlines),
        "--settings", json.dumps(given), "--out", str(tmp_path / "out"),
    ]  # fmt: skip
    assert main(arguments) == 0
    assert "art__f00" not in (tmp_path / "out" / "model" / "model.json").read_text(encoding="utf-8")


# --- the configuration -------------------------------------------------------------------------------------------
def configured(stable: dict[str, Any], model: str = "radiomics") -> dict[str, Any]:
    """The default study, two more outlines of its tumour, and a model that selects by them."""
    config = default_config()
    for name, grow in (("wider", 2), ("closer", -2)):
        config["extract"]["rois"][name] = {**config["extract"]["rois"]["manual"], "grow_mm": grow}
    config["models"][model]["select"] = {**config["models"][model].get("select", {}), "stable": stable}
    return config


@pytest.mark.parametrize(
    ("model", "stable", "words"),
    [
        ("radiomics", {"rois": ["widr"], "icc": 0.8}, r"unknown ROI 'widr'; where: .*select.stable.rois; .*'wider'"),
        ("radiomics", {"rois": ["wider", "manual"], "icc": 0.8}, "a region always agrees with itself.*found: manual"),
        ("clinical", {"rois": ["wider"], "icc": 0.8}, "'stable' judges the features of a region"),
        ("radiomics", {"rois": ["wider"]}, "'icc' is missing"),
        ("radiomics", {"rois": [], "icc": 0.8}, "select.stable.rois"),
        ("fused", {"rois": ["wider"], "icc": 0.8}, "'select' belongs to kind tabular"),
    ],
)
def test_a_mistake_is_told_at_parse_time(model: str, stable: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        check_config(configured(stable, model))


def test_a_variant_of_another_outline_is_judged_by_that_of_its_base() -> None:
    stable = {"rois": ["wider", "closer"], "icc": 0.75}
    config = configured(stable)
    config["experiment"] = {
        "masks": {"of": "radiomics", "vary": {"roi": ["wider", "closer", "nnunet"], "select.stable": [None]}}
    }
    made = expand_variants(check_config(config))
    rois = {name: variant.spec["select"].get("stable", {}).get("rois") for name, variant in made.items()}
    assert rois == {
        "radiomics__roi_wider": ["manual", "closer"], "radiomics__roi_closer": ["wider", "manual"],
        "radiomics__roi_nnunet": ["wider", "closer"], "radiomics__stable_none": None,
    }  # fmt: skip
    told = {name: variant.changes.get("select.stable.rois") for name, variant in made.items()}
    assert told == {**rois, "radiomics__roi_nnunet": None}, "what has changed is on record"
    fewer = {"roi": "wider", "select.max_features": 5}
    config["experiment"] = {"masks": {"of": "radiomics", "variants": {"fewer": fewer}}}
    (spec,) = (variant.spec for variant in expand_variants(check_config(config)).values())
    assert spec["select"] == {**config["models"]["radiomics"]["select"], "max_features": 5,
                              "stable": {"rois": ["manual", "closer"], "icc": 0.75}}  # fmt: skip
    both = {"roi": "wider", "select.stable": stable}
    with pytest.raises(ConfigError, match="a region always agrees with itself"):
        check_config(config | {"experiment": {"masks": {"of": "radiomics", "variants": {"x": both}}}})


def test_training_waits_for_the_other_outlines_of_development_and_prediction_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Snakemake by files; DVC by the folder of the cohort's extraction, which holds every region."""
    raw = configured({"rois": ["wider"], "icc": 0.75})
    path = tmp_path / "config.json"
    path.write_text(json.dumps(raw), encoding="utf-8")
    data = write_mock(tmp_path / "data")
    plan = snakemake(data, "--configfile", str(path), "--dry-run", "--forceall", "--printshellcmds")
    trained = next(line for line in plan.splitlines() if "hccflow train --model radiomics " in line)
    outlines = trained.split("--outlines")[1].split("--settings")[0].split()
    assert [name.split("/extract/")[1] for name in outlines] == ["phantom-dev/roi-wider/features.tsv"]
    assert "roi-manual" in trained.split("--outlines")[0]
    predicted = [line for line in plan.splitlines() if "hccflow predict" in line]
    assert predicted and not [line for line in predicted if "roi-wider" in line]
    monkeypatch.setenv("HCCFLOW_DATA", str(data))
    stages = yaml.safe_load(dvc_text(load_study(raw), raw, Path("config.yaml")))["stages"]
    assert "results/${study}/extract/phantom-dev" in stages["train"]["do"]["deps"]
    assert "roi-wider/features.tsv" in stages["extract"]["do"]["cmd"]
    assert stages["extract"]["do"]["outs"] == [{"results/${study}/extract/${key}": {"persist": True}}]


def test_a_model_without_the_step_is_as_before() -> None:
    subjects, features, _ = study()
    filled = check_config(changed(default_config(), "models.radiomics.select", {"lasso": True}))
    assert filled["models"]["radiomics"]["select"] == {"lasso": True}
    fits = train("c", settings(c=CLINICAL), subjects, split(subjects)).fits
    assert "stable" not in set(fits["step"])
