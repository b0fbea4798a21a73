"""Masks: which network may judge whom, the same bytes again, frozen and measured as others measure."""

from __future__ import annotations

import copy
import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
import yaml

from hccflow.batch import Case, case_digest
from hccflow.cli import main
from hccflow.errors import ConfigError, FreezeError, GeometryError, HccflowError, LeakageError, RoiError, TableError
from hccflow.images import write_image
from hccflow.metrics.dice import dice
from hccflow.metrics.overlap import detection, hd95, surface_dice, surface_distances
from hccflow.paths import case_file
from hccflow.segment import dataset
from hccflow.segment.labels import Labels, containment, label_map, shares
from hccflow.segment.prediction import CaseSegmenter, Judges, entropy_of, measure
from hccflow.segment.summary import shortfalls, summarise
from hccflow.segment.volumes import make_volume, mask_array, read_mask
from hccflow.study import check_config
from hccflow.tables import read_table, write_table
from mockstudy import ROOT, changed, default_config, write_mock
from segmentdata import SETTINGS, SHAPE, SPACING, ball, image_of, write_batch, write_case, write_split

SPEC = dataset.Spec.of(SETTINGS)
LABELS = Labels(("liver", "tumour"), {"liver": ("tumour",)})


def settings_of(base: dict, **segment: object) -> dict:
    changed_settings = copy.deepcopy(base)
    changed_settings["segment"] |= segment
    return changed_settings


def inline(study: SimpleNamespace, **segment: object) -> str:
    return json.dumps(settings_of(study.settings, **segment))


# --- Dice and HD95 against other implementations


def masks_for_comparison() -> Iterator[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(1)
    yield ball((6, 12, 12), (3, 5, 6)), ball((7, 13, 11), (3, 6, 5))
    yield ball((6, 12, 12), (4, 8, 8)), ball((6, 12, 12), (1.5, 2, 2))
    yield ball((2, 4, 4), (3, 4, 4)), ball((10, 20, 21), (2, 3, 3))  # at the border, apart
    for _ in range(3):
        yield rng.random(SHAPE) > 0.9, rng.random(SHAPE) > 0.95


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")  # MONAI about itself
def test_dice_equals_simpleitk_and_hd95_equals_monai() -> None:
    import torch
    from monai.metrics import compute_hausdorff_distance, compute_surface_dice

    spacing = SPACING[::-1]
    for a, b in masks_for_comparison():
        overlap = sitk.LabelOverlapMeasuresImageFilter()
        overlap.Execute(image_of(a.astype(np.uint8)), image_of(b.astype(np.uint8)))
        assert dice(a, b).value == pytest.approx(overlap.GetDiceCoefficient(), abs=1e-12)
        theirs = compute_hausdorff_distance(
            a[None, None].astype(float), b[None, None].astype(float), include_background=True, percentile=95,
            spacing=list(spacing),
        )  # fmt: skip
        one, two = surface_distances(a, b, spacing), surface_distances(b, a, spacing)
        assert hd95(one).value == pytest.approx(float(theirs[0, 0]), rel=1e-6)
        assert hd95(one).value == hd95(two).value
        for tolerance in (1.0, 2.5, 5.0):
            theirs = compute_surface_dice(
                torch.tensor(a[None, None]).float(), torch.tensor(b[None, None]).float(), [tolerance],
                include_background=True, spacing=list(spacing),
            )  # fmt: skip
            assert surface_dice(one, tolerance).value == pytest.approx(float(theirs[0, 0]), rel=1e-6)
            assert surface_dice(one, tolerance).value == surface_dice(two, tolerance).value


def test_hd95_and_surface_dice_by_brute_force() -> None:
    spacing = np.array(SPACING[::-1])
    for a, b in masks_for_comparison():
        points = []
        for mask in (a, b):
            padded = np.pad(mask, 1)
            inner = np.ones_like(mask)
            for axis in range(3):
                for step in (-1, 1):
                    inner &= np.roll(padded, step, axis)[1:-1, 1:-1, 1:-1]
            points.append(np.argwhere(mask & ~inner) * spacing)
        distances = np.linalg.norm(points[0][:, None] - points[1][None], axis=-1)
        nearest = distances.min(axis=1), distances.min(axis=0)
        found = surface_distances(a, b, tuple(spacing))
        assert hd95(found).value == pytest.approx(max(np.percentile(side, 95) for side in nearest), rel=1e-12)
        for tolerance in (1.0, 2.5, 4.0):
            share = float((np.concatenate(nearest) <= tolerance + 1e-9).mean())
            assert surface_dice(found, tolerance).value == pytest.approx(share, rel=1e-12)


def test_a_lesion_is_found_by_one_voxel_and_a_component_without_any_is_false() -> None:
    two = ball((3, 6, 6), (1.5, 2, 2)), ball((8, 17, 17), (1.5, 2, 2))
    bridge = np.zeros(SHAPE, bool)
    bridge[3:9, 6, 6] = bridge[8, 6:18, 6] = bridge[8, 17, 6:18] = True
    speck = np.zeros(SHAPE, bool)
    speck[0, 22, 1] = True
    reference, empty = two[0] | two[1], np.zeros(SHAPE, bool)
    touching = np.zeros(SHAPE, bool)
    touching[3, 6, 6:13] = True
    assert detection(reference, reference) == (2, 2, 0)
    assert detection(reference, two[0] | speck) == (2, 1, 1)
    assert detection(reference, touching | speck) == (2, 1, 1), "one voxel is enough"
    assert detection(reference, bridge) == (2, 2, 0), "one component may find several"
    assert detection(bridge, reference) == (1, 1, 0), "several may find one"
    assert detection(reference, empty) == (2, 0, 0)
    assert detection(empty, reference) == (0, 0, 2)
    assert detection(empty, empty) == (0, 0, 0)


def test_undefined_is_empty_with_a_reason() -> None:
    full, empty = ball((6, 12, 12), (3, 5, 5)), np.zeros(SHAPE, bool)
    assert dice(full, empty).value == 0
    assert (dice(empty, empty).value, dice(empty, empty).reason) == (None, "both masks are empty")
    one, none = surface_distances(full, empty, SPACING), surface_distances(empty, empty, SPACING)
    assert (hd95(one).value, hd95(one).reason) == (None, "one mask is empty")
    assert (hd95(none).value, hd95(none).reason) == (None, "both masks are empty")
    assert surface_dice(one, 2.0).value == 0 and len(one.there) > 0 == len(one.back)
    assert (surface_dice(none, 2.0).value, surface_dice(none, 2.0).reason) == (None, "both masks are empty")
    notes: list[str] = []
    row = measure("tumour", empty, full, SPACING, 2.0, np.zeros(SHAPE, np.float32), notes)
    assert row["dice_tumour"] == 0 and row["hd95_tumour_mm"] is None and row["entropy_tumour_bits"] is None
    assert row["surface_dice_tumour"] == 0
    assert [row[f"{what}_tumour"] for what in ("n_lesions", "n_found", "n_false")] == [1, 0, 0]
    assert notes == ["tumour: the mask is empty", "tumour: no HD95, one mask is empty"]
    unknown = measure("tumour", full, None, SPACING, 2.0, None, notes)
    assert unknown["surface_dice_tumour"] is unknown["n_lesions_tumour"] is None


def test_entropy() -> None:
    even = np.full((4, 1, 1, 1), 0.25, np.float32)
    certain = np.array([0, 1, 0, 0], np.float32).reshape(4, 1, 1, 1)
    assert entropy_of(even).item() == pytest.approx(2.0)
    assert entropy_of(certain).item() == pytest.approx(0.0, abs=1e-9)


# --- Label tables and orientation


def test_a_liver_gets_its_tumour_back() -> None:
    liver, tumour = ball((6, 12, 12), (5, 9, 9)), ball((6, 12, 12), (2, 3, 3))
    masks = {"liver": liver, "tumour": tumour}
    names = ["liver", "tumour"]
    table = containment([shares(masks, names)], names)
    assert table == LABELS
    made = label_map(masks, names)
    assert set(np.unique(made)) == {0, 1, 2}
    back = table.masks(made)
    assert all((back[name] == masks[name]).all() for name in names)
    apart = containment([shares({"liver": liver & ~tumour, "tumour": tumour}, names)], names)
    assert not apart.contains
    with pytest.raises(RoiError, match="nothing is left of 'tumour'.*largest structure first"):
        label_map(masks, ["tumour", "liver"])


@pytest.mark.parametrize("code", ["LPS", "RAS", "PIR", "SAL"])
def test_masks_return_to_the_grid_of_the_image(code: str) -> None:
    lps = image_of(np.random.default_rng(0).normal(size=SHAPE).astype(np.float32))
    tilted = sitk.Euler3DTransform((0, 0, 0), 0.1, 0.05, 0.02).GetMatrix()
    lps.SetDirection(tilted)
    reference = sitk.DICOMOrient(lps, code)
    volume = make_volume([reference], reference)
    assert volume.array.shape == (1, *SHAPE)
    np.testing.assert_array_equal(volume.array[0], sitk.GetArrayFromImage(lps))
    truth = sitk.Cast(reference > 0, sitk.sitkUInt8)
    back = volume.mask_image(mask_array(truth))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(back), sitk.GetArrayFromImage(truth))
    assert back.GetDirection() == reference.GetDirection() and back.GetOrigin() == reference.GetOrigin()


def test_a_channel_on_another_grid_is_brought_over() -> None:
    reference = image_of(np.zeros(SHAPE, np.float32))
    finer = sitk.Expand(image_of(np.full(SHAPE, 3, np.float32)), [2, 2, 1])
    volume = make_volume([reference, finer], reference)
    assert volume.array.shape == (2, *SHAPE)
    assert volume.array[1, 6, 12, 12] == 3
    with pytest.raises(GeometryError, match="values that are not numbers"):
        make_volume([image_of(np.full(SHAPE, np.nan, np.float32))], reference)


# --- The data set


def frame(**columns: object) -> pd.DataFrame:
    base = {"cohort": "dev", "session": "", "status": "ok", "reason": "", "digest": "d", "channels": "arterial,portal"}
    return pd.DataFrame({**base, "masks": "liver,tumour", **columns})


def test_only_enrolled_training_cases_with_all_they_need_teach() -> None:
    subjects = ["A", "B", "C", "D", "E", "F"]
    converted = frame(subject=subjects)
    converted.loc[2, "channels"] = "arterial"
    converted.loc[3, "masks"] = "liver"
    converted.loc[4, ["status", "reason"]] = ["failed", "no slices"]
    enrolled = converted[converted["subject"] != "F"]
    split = pd.DataFrame({
        "cohort": "dev", "subject": [*"ABCDE"] * 2, "role": ["train", "test", *["train"] * 3] * 2,
        "repeat": [0] * 5 + [1] * 5, "fold": [0, None, 1, 1, 0, 1, None, 0, 0, 1],
    })  # fmt: skip
    table, cases = dataset.select(converted, enrolled, split, SPEC)
    assert [case.subject for case in cases] == ["A"]
    assert table["reason"].tolist() == [
        "", "not in the training set", "no image of 'portal': a network needs every channel",
        "no reference mask of 'tumour'", "not converted: no slices", "not enrolled",
    ]  # fmt: skip
    assert table["fold"].tolist()[0] == 0, "the first repeat"
    with pytest.raises(TableError, match="fold 0 has no usable training case.*fold 0: 1, fold 1: 0"):
        dataset.make_splits(table, 2)


def test_a_fold_without_cases_is_named() -> None:
    table = frame(subject=["A", "B"]).assign(fold=pd.array([0, 1], "Int64"))
    with pytest.raises(TableError, match="fold 2 has no usable case"):
        dataset.make_splits(table, 3)
    assert dataset.make_splits(table, 2)[1] == {"train": ["dev_sub-A"], "val": ["dev_sub-B"]}


def test_unusable_cases_are_rows_and_twins_stop(tmp_path: Path) -> None:
    cases = [Case("dev", name) for name in ("A", "B", "C")]
    for case in cases:
        write_case(tmp_path, case.subject)
    two = image_of((ball((6, 12, 12), (2, 3, 3)) * 2).astype(np.uint8))
    write_image(two, tmp_path / case_file("B", "", "mask", desc="tumour"))
    write_image(image_of(np.zeros(SHAPE, np.uint8)), tmp_path / case_file("C", "", "mask", desc="tumour"))
    folders = dict.fromkeys(cases, tmp_path)
    labels, problems = dataset.write_raw(cases, folders, SPEC, tmp_path / "raw")
    assert labels == LABELS
    assert re.search("labels outside the table; expected: 0 and 1; found: .*2.0", problems[cases[1]])
    assert problems[cases[2]] == "the mask of 'tumour' is empty"
    assert sorted(p.name for p in (tmp_path / "raw").rglob("*.nii")) == [
        "dev_sub-A.nii", "dev_sub-A_0000.nii", "dev_sub-A_0001.nii",
    ]  # fmt: skip
    table = dataset.with_problems(frame(subject=["A", "B", "C"]).assign(fold=pd.array([0, 1, 0], "Int64")), problems)
    assert table["status"].tolist() == ["ok", "failed", "failed"] and table["fold"].isna().tolist() == [
        False,
        True,
        True,
    ]
    shutil.copytree(tmp_path / "sub-A", tmp_path / "sub-Z")
    for path in (tmp_path / "sub-Z").iterdir():
        path.rename(path.with_name(path.name.replace("sub-A", "sub-Z")))
    twin = Case("dev", "Z")
    with pytest.raises(LeakageError, match="two subjects have the same image.*dev_sub-A and dev_sub-Z"):
        dataset.write_raw([cases[0], twin], {**folders, twin: tmp_path}, SPEC, tmp_path / "raw2")


def test_a_mask_must_lie_on_its_image(tmp_path: Path) -> None:
    write_case(tmp_path, "A")
    other = sitk.Expand(image_of(np.zeros(SHAPE, np.float32)), [2, 1, 1])
    with pytest.raises(GeometryError, match="not on the grid"):
        read_mask(tmp_path, Case("dev", "A"), "tumour", other)


# --- Who may judge whom

SPLITS = [
    {"train": ["dev_sub-P1", "dev_sub-P1_ses-w2"], "val": ["dev_sub-P10"]},
    {"train": ["dev_sub-P10"], "val": ["dev_sub-P1", "dev_sub-P1_ses-w2"]},
]


def test_a_network_never_judges_whom_it_has_seen() -> None:
    judges = Judges({("dev", "P1"): 1, ("dev", "P10"): 0}, SPLITS)
    assert judges.of_case(Case("dev", "P1", "w2")) == ("oof", [1])
    assert judges.of_case(Case("dev", "P10")) == ("oof", [0])
    assert judges.of_case(Case("fup", "P1", "y1"), "dev") == ("oof", [1]), "followed-up patients keep their network"
    assert judges.of_case(Case("ext", "E1")) == ("frozen", [0, 1])
    with pytest.raises(LeakageError, match="network of fold 0 has seen this subject"):
        Judges({("dev", "P1"): 0}, SPLITS).of_case(Case("dev", "P1"))
    with pytest.raises(LeakageError):
        Judges({}, SPLITS).of_case(Case("dev", "P1"))  # dropped from the split after training
    with pytest.raises(LeakageError):
        judges.of_case(Case("fup", "P1"))  # shared subjects, not declared


# --- Summary and criterion


def test_the_criterion_counts_empty_masks() -> None:
    rows = frame(subject=[*"ABCD"], kind=["oof"] * 3 + ["frozen"], fold=0).assign(
        dice_tumour=[0.9, 0.8, 0.0, None], hd95_tumour_mm=[2, 4, None, None], volume_tumour_ml=[2, 3, 0, 1],
        reference_volume_tumour_ml=[2, 2, 2, None], surface_dice_tumour=[0.95, 0.85, 0.0, None],
        n_lesions_tumour=[1, 3, 2, None], n_found_tumour=[1, 2, 0, None], n_false_tumour=[0, 2, 0, None],
    )  # fmt: skip
    table = summarise(rows, ["tumour"]).set_index("kind")
    assert table.loc["oof", ["n", "n_measured", "n_empty", "n_hd95"]].tolist() == [3, 3, 1, 2]
    assert table.loc["oof", ["dice_median", "hd95_median_mm", "volume_error_median_percent"]].tolist() == [0.8, 3, 0]
    counts = ["surface_dice_median", "n_lesions", "n_found", "n_false", "lesion_sensitivity", "false_per_case"]
    assert table.loc["oof", counts].tolist() == [0.85, 6, 3, 2, 0.5, pytest.approx(2 / 3)]
    assert table.loc["frozen", ["lesion_sensitivity", "false_per_case"]].isna().all()
    assert table.loc["frozen", "reason"] == "no reference masks" and pd.isna(table.loc["frozen", "dice_median"])
    assert shortfalls(summarise(rows, ["tumour"]), {"tumour": 0.85}) == [
        "median out-of-fold Dice of 'tumour' in dev is 0.800, below 0.85",
        "1 of 3 out-of-fold masks of 'tumour' in dev are empty",
    ]
    assert shortfalls(summarise(rows[rows["kind"] == "frozen"], ["tumour"]), {"tumour": 0.5}) == [
        "no out-of-fold Dice of 'tumour'"
    ]


# --- nnU-Net itself

#: What nnU-Net and batchgenerators say when a worker is gone.
KILLED = (
    "Some background worker is 6 feet under. Yuck.",
    "Some background workers are no longer alive",
    "One or more background workers are no longer alive. Exiting.",
)


def raising(words: str) -> Callable[[], None]:
    def call() -> None:
        raise RuntimeError(words)

    return call


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A development cohort of ten subjects (one with two sessions, one for testing), trained in two folds."""
    root = tmp_path_factory.mktemp("study")
    subjects = [f"P{i}" for i in range(10)]
    folds = {s: i % 2 for i, s in enumerate(subjects[:-1])} | {"P9": None}
    cases = [*((s, "") for s in subjects), ("P1", "w2")]
    write_batch(root, "dev", sorted(cases), P3={"masks": "liver"})
    write_batch(root, "ext", [("E1", ""), ("E2", ""), ("E3", "")], E2={"channels": "arterial"}, E3={"masks": ""})
    write_split(root / "split.tsv", folds)
    return learn(root, SETTINGS)


def learn(root: Path, settings: dict) -> SimpleNamespace:
    """Export cohort dev with its split, train every fold, freeze."""
    made = SimpleNamespace(
        root=root, frozen=root / "segment", data=root / "dataset", split=root / "split.tsv", settings=settings
    )
    assert export(root, settings, made.data, made.frozen / "model") == 0
    for fold in sorted(set(dataset.folds_of(read_table(made.split)).values())):
        assert train(made, fold, made.frozen / "model" / f"fold-{fold}") == 0
    assert (
        run("segment_freeze", "--folder", made.frozen, "--split", made.split, "--settings", json.dumps(settings)) == 0
    )
    return made


def export(root: Path, settings: dict, work: Path, out: Path) -> int:
    folder = root / "convert" / "dev" / "batch-01"
    cases = read_table(folder.with_suffix(".tsv"))[["cohort", "subject", "session"]]
    cases.to_csv(root / "subjects.tsv", sep="\t", index=False)
    return run(
        "segment_export", "--folders", folder, "--manifests", folder.with_suffix(".tsv"), "--subjects",
        root / "subjects.tsv", "--split", root / "split.tsv", "--settings", json.dumps(settings), "--work", work,
        "--out", out,
    )  # fmt: skip


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def train(study: SimpleNamespace, fold: int, out: Path, **segment: object) -> int:
    return run(
        "segment_train", "--dataset", study.data, "--fold", fold, "--settings", inline(study, **segment), "--out", out,
        "--work", study.root / "checkpoints",
    )  # fmt: skip


def predict(study: SimpleNamespace, cohort: str, out: Path, *more: object, **segment: object) -> pd.DataFrame:
    folder = study.root / "convert" / cohort / "batch-01"
    code = run(
        "segment_predict", "--cohort", cohort, "--folder-in", folder, "--manifest-in", folder.with_suffix(".tsv"),
        "--frozen", study.frozen, "--split", study.split, "--settings", inline(study, **segment), "--folder", out,
        "--manifest", out.with_suffix(".tsv"), *more,
    )  # fmt: skip
    assert code == 0
    return read_table(out.with_suffix(".tsv"), "segment")


def test_the_frozen_model_holds_no_code(study: SimpleNamespace) -> None:
    names = {path.relative_to(study.frozen).as_posix() for path in study.frozen.rglob("*") if path.is_file()}
    model = {"plans", "dataset", "dataset_fingerprint", "splits_final", "model"}
    assert names == {
        "freeze.json", "model/cases.tsv", *(f"model/{name}.json" for name in model),
        *(f"model/fold-{k}/{file}" for k in (0, 1) for file in ("weights.safetensors", "log.tsv", "fold.json")),
    }  # fmt: skip
    for path in study.frozen.rglob("*.json"):
        assert str(study.root) not in path.read_text(encoding="utf-8")
    log = read_table(study.frozen / "model" / "fold-0" / "log.tsv")
    assert log["epoch"].tolist() == [0, 1] and log["train_loss"].notna().all()
    cases = read_table(study.frozen / "model" / "cases.tsv", "manifest").set_index("subject")
    assert cases.loc["P3", "reason"] == "no reference mask of 'tumour'"
    assert cases.loc["P9", "reason"] == "not in the training set"


def test_the_freeze_knows_only_the_folds_of_its_split(tmp_path: Path) -> None:
    """A study that went from three folds to two has the third's folder still."""
    for fold, device in enumerate(("CPU", "NVIDIA H100", "NVIDIA A100")):
        path = tmp_path / f"model/fold-{fold}/fold.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"device": device}), encoding="utf-8")
    splits = [{"train": ["dev_sub-B_x"], "val": ["dev_sub-A_x"]}, {"train": ["dev_sub-A_x"], "val": ["dev_sub-B_x"]}]
    (tmp_path / "model/splits_final.json").write_text(json.dumps(splits), encoding="utf-8")
    write_split(tmp_path / "split.tsv", {"A": 0, "B": 1})
    freeze = ["--folder", tmp_path, "--split", tmp_path / "split.tsv", "--settings", json.dumps(SETTINGS)]
    assert run("segment_freeze", *freeze) == 0
    facts = json.loads((tmp_path / "freeze.json").read_text(encoding="utf-8"))
    assert (facts["folds"], facts["devices"]) == (2, ["CPU", "NVIDIA H100"])


def test_the_field_of_view_does_not_move_a_border(study: SimpleNamespace) -> None:
    """Prediction sees whole volumes, training patches: what a network says of a voxel must not depend on that."""
    import torch

    from hccflow.segment.nnunet.predictor import Ensemble

    predictor = Ensemble(study.frozen / "model", device="cpu")._predictor
    network = predictor.network.eval()
    network.load_state_dict(Ensemble(study.frozen / "model", device="cpu")._weights(0))
    patch = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 2, 24, 48, 48)).astype(np.float32))
    wider = torch.nn.functional.pad(patch, (0, 48, 0, 0, 0, 0), value=3.0)
    with torch.no_grad():
        alone, among = network(patch), network(wider)
    assert torch.allclose(alone[..., :8], among[..., :8], atol=1e-4), "far from the seam nothing changes"


def test_folds_are_the_study_s_own(study: SimpleNamespace) -> None:
    splits = json.loads((study.frozen / "model" / "splits_final.json").read_text(encoding="utf-8"))
    folds = dataset.folds_of(read_table(study.split))
    for number, split in enumerate(splits):
        assert {folds["dev", dataset.subject_of(name)] for name in split["val"]} == {number}
        assert number not in {folds["dev", dataset.subject_of(name)] for name in split["train"]}
        assert not {dataset.subject_of(n) for n in split["train"]} & {dataset.subject_of(n) for n in split["val"]}
    assert {"dev_sub-P1", "dev_sub-P1_ses-w2"} <= set(splits[1]["val"]), "sessions stay together"


def test_masks_are_out_of_fold_or_frozen(study: SimpleNamespace, tmp_path: Path) -> None:
    dev = predict(study, "dev", tmp_path / "dev" / "batch-01")
    splits = json.loads((study.frozen / "model" / "splits_final.json").read_text(encoding="utf-8"))
    assert dev["status"].eq("ok").all()
    for row in dev.itertuples():
        assert (row.kind == "frozen") == (row.subject == "P9")
        seen_by = [k for k, s in enumerate(splits) if row.subject in {dataset.subject_of(n) for n in s["train"]}]
        assert row.kind == "frozen" or row.fold not in seen_by
    without = dev.set_index("subject").loc["P3"]
    assert (
        without["kind"] == "oof" and pd.isna(without["dice_tumour"]) and "tumour: no reference mask" in without["notes"]
    )
    ext = predict(study, "ext", tmp_path / "ext" / "batch-01").set_index("subject")
    assert ext.loc["E1", "kind"] == "frozen" and pd.isna(ext.loc["E1", "fold"])
    assert ext.loc["E2", "status"] == "failed" and "no image of 'portal'" in ext.loc["E2", "reason"]
    assert pd.isna(ext.loc["E3", "dice_liver"]) and ext.loc["E3", "volume_liver_ml"] > 0
    made = sitk.ReadImage(str(tmp_path / "ext" / "batch-01" / case_file("E1", "", "mask", desc="liver")))
    source = sitk.ReadImage(str(study.root / "convert" / "ext" / "batch-01" / case_file("E1", "", "arterial")))
    assert made.GetPixelID() == sitk.sitkUInt8
    assert made.GetSize() == source.GetSize() and made.GetSpacing() == source.GetSpacing()
    assert ext.loc["E1", "volume_liver_ml"] == pytest.approx(
        sitk.GetArrayFromImage(made).sum() * np.prod(SPACING) / 1000
    )
    assert 0 <= ext.loc["E1", "entropy_liver_bits"] <= np.log2(3)
    assert ext.loc["E1", "dice_liver"] > 0.5, "twenty steps are enough for a liver"
    again = predict(study, "ext", tmp_path / "again" / "batch-01").set_index("subject")
    assert again["digest"].tolist() == ext["digest"].tolist()
    hand = tmp_path / "hand"
    images = [f"{c}={study.root / 'convert/ext/batch-01' / case_file('E1', '', c)}" for c in ("arterial", "portal")]
    options = ["--image", images[0], "--image", images[1], "--device", "cpu", "--out", hand]
    assert run("segment_predict", "--frozen", study.frozen, *options) == 0
    assert (hand / "liver.nii.gz").read_bytes() == (
        tmp_path / "ext" / "batch-01" / case_file("E1", "", "mask", desc="liver")
    ).read_bytes()


def test_imported_masks_stand_in_for_a_network(study: SimpleNamespace, tmp_path: Path) -> None:
    structures = {"liver": "liver", "tumour": "tumour"}
    table = predict(study, "ext", tmp_path / "batch-01", imported={"ext": structures}).set_index("subject")
    assert table.loc["E1", "kind"] == "imported" and table.loc["E1", "dice_tumour"] == 1
    counts = ["surface_dice_tumour", "n_lesions_tumour", "n_found_tumour", "n_false_tumour"]
    assert table.loc["E1", counts].tolist() == [1, 1, 1, 0]
    assert "no imported mask of 'liver'" in table.loc["E3", "reason"]


def test_a_killed_fold_ends_with_the_same_bytes(
    study: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hccflow.segment.nnunet.trainer import TinyTrainer

    step, done = TinyTrainer.train_step, []

    def killed(self: TinyTrainer, batch: dict) -> dict:
        done.append(1)
        if len(done) > 7:
            raise KeyboardInterrupt
        return step(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(TinyTrainer, "train_step", killed)
        with pytest.raises(KeyboardInterrupt):
            train(study, 0, tmp_path / "fold-0")
    assert not (tmp_path / "fold-0").exists(), "outputs appear whole"
    assert train(study, 0, tmp_path / "fold-0") == 0
    for name in ("weights.safetensors", "log.tsv", "fold.json"):
        assert (tmp_path / "fold-0" / name).read_bytes() == (study.frozen / "model" / "fold-0" / name).read_bytes()
    assert not list((study.root / "checkpoints").glob("*-fold-0"))


def test_a_loss_that_is_not_a_number_stops(
    study: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from hccflow.segment.nnunet.trainer import TinyTrainer

    monkeypatch.setattr(TinyTrainer, "train_step", lambda self, batch: {"loss": np.array(np.nan)})
    assert train(study, 0, tmp_path / "fold-0") == 2
    assert "the loss is not a number; where: fold 0, epoch 0; found: 10 of 10 iterations" in capsys.readouterr().err
    assert not (tmp_path / "fold-0").exists()


def test_a_changed_model_is_refused(study: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from hccflow.segment.nnunet.predictor import Ensemble

    copied = SimpleNamespace(**{**vars(study), "frozen": tmp_path / "segment"})
    shutil.copytree(study.frozen, copied.frozen)
    weights = copied.frozen / "model" / "fold-1" / "weights.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(AssertionError):
        predict(copied, "ext", tmp_path / "batch-01")
    assert "'model/fold-1/weights.safetensors' is not what was frozen" in capsys.readouterr().err
    weights.write_bytes(whole[: len(whole) // 2])
    volume = make_volume([image_of(np.zeros(SHAPE, np.float32))] * 2, image_of(np.zeros(SHAPE, np.float32)))
    with pytest.raises(FreezeError, match="the weights cannot be read"):
        Ensemble(copied.frozen / "model", device="cpu").probabilities(volume, [1])


@pytest.mark.parametrize("damage", ["cut", "code"])
def test_a_checkpoint_that_is_damaged_or_runs_code_is_refused_before_nnunet_opens_it(
    damage: str, tmp_path: Path
) -> None:
    import torch

    from hccflow.segment.nnunet.training import resume

    path = tmp_path / "checkpoint_latest.pth"
    torch.save({"run": (tmp_path / "ran").touch} if damage == "code" else {"network_weights": torch.ones(9)}, path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-200])
    opened: list[str] = []
    trainer = SimpleNamespace(output_folder=str(tmp_path), load_checkpoint=opened.append)
    with pytest.raises(FreezeError, match=r"the checkpoint cannot be resumed; where: .*latest.*do: delete it"):
        resume(trainer)  # type: ignore[arg-type]
    assert not opened and not (tmp_path / "ran").exists()
    path.unlink()
    resume(trainer)  # type: ignore[arg-type]
    assert not opened, "nothing to resume: the fold begins again"


def test_a_demanded_gpu_stops_the_command_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    nobody = SimpleNamespace(data=tmp_path, root=tmp_path, settings=SETTINGS)
    assert train(nobody, 0, tmp_path / "fold-0", device="cuda") == 2
    assert "demands a GPU and this machine shows none; where: segment.device" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_corrected_outline_never_meets_the_checkpoints_of_the_old_one(
    study: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tumour redrawn inside its liver changes no file by which nnU-Net describes its data."""
    from hccflow.segment.nnunet import training

    def place(made: SimpleNamespace) -> str:
        assert train(made, 0, tmp_path / "fold-0") == 2
        return Path(places.pop()).name

    def killed(*_: object) -> SimpleNamespace:
        places.append(os.environ["nnUNet_results"])  # noqa: SIM112 - nnU-Net's name
        return SimpleNamespace(run_training=raising(KILLED[-1]))

    places: list[str] = []
    monkeypatch.setattr(training, "build_trainer", killed)
    made = SimpleNamespace(root=tmp_path, data=tmp_path / "dataset", settings=study.settings)
    shutil.copytree(study.root / "convert", tmp_path / "convert")
    shutil.copy(study.split, tmp_path / "split.tsv")
    folder = tmp_path / "convert" / "dev" / "batch-01"
    path = folder / case_file("P1", "", "mask", desc="tumour")
    mask = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    mask[SHAPE[0] // 2 :] = 0
    write_image(image_of(mask), path)
    table = read_table(folder.with_suffix(".tsv"))
    table.loc[(table["subject"] == "P1") & table["session"].eq(""), "digest"] = case_digest(path.parent)
    write_table(table, folder.with_suffix(".tsv"))
    assert export(tmp_path, made.settings, made.data, tmp_path / "model") == 0
    for file in (study.frozen / "model").glob("*.json"):
        assert (tmp_path / "model" / file.name).read_bytes() == file.read_bytes(), "none knows of the outline"
    assert place(study) == place(study) != place(made), "the same cases go on, others begin again"


@pytest.mark.slow
def test_a_worker_killed_for_memory_is_told_and_the_same_command_goes_on(
    study: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = (study.root, study.settings, tmp_path / "dataset", tmp_path / "model")
    stop, killed = threading.Event(), threading.Event()

    def kill_first_worker() -> None:
        while not stop.wait(0.02):
            for worker in multiprocessing.active_children():
                if worker.name.startswith("SpawnPoolWorker") and worker.pid:
                    # nnU-Net notes its workers once all are started, and misses one that dies before; none is done
                    # after a second, the imports alone take longer.
                    stop.wait(1)
                    os.kill(worker.pid, signal.SIGKILL)  # what the kernel does to a process that takes too much
                    killed.set()
                    return

    killer = threading.Thread(target=kill_first_worker)
    killer.start()
    try:
        assert export(*command) == 2
    finally:
        stop.set()
        killer.join()
    assert killed.is_set()
    assert "a worker process was killed during the fingerprint" in capsys.readouterr().err
    assert not (tmp_path / "model").exists()
    assert export(*command) == 0
    assert (tmp_path / "model" / "plans.json").read_bytes() == (study.frozen / "model" / "plans.json").read_bytes()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # the thread that finds it missing
@pytest.mark.parametrize("victim", ["training", "worker"])
def test_real_training_resumes_from_its_checkpoint(
    victim: str, study: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    from hccflow.segment.nnunet import training

    epochs: list[int] = []
    killed: list[nnUNetTrainer] = []

    class Short(nnUNetTrainer):
        def __init__(self, plans: dict, configuration: str, fold: int, dataset_json: dict, device: object) -> None:
            super().__init__(plans, configuration, fold, dataset_json, device)
            self.num_epochs, self.num_iterations_per_epoch, self.num_val_iterations_per_epoch = 4, 2, 1
            self.save_every = 1

        def on_epoch_start(self) -> None:
            if self.current_epoch == 2 and not killed:
                killed.append(self)
                if victim == "worker":
                    for worker in self.dataloader_train._processes:
                        os.kill(worker.pid, signal.SIGKILL)
                    self.num_iterations_per_epoch = 100  # more than what lies ready
                    return
                self.dataloader_train._finish()
                self.dataloader_val._finish()
                raise KeyboardInterrupt
            epochs.append(self.current_epoch)
            super().on_epoch_start()

    monkeypatch.setattr(training, "find_trainer", lambda name: Short)
    stock = {"trainer": "nnUNetTrainer", "configuration": "tiny"}
    if victim == "worker":
        assert train(study, 0, tmp_path / "fold-0", **stock) == 2
        assert "a worker process was killed during training" in capsys.readouterr().err
        killed[0].dataloader_val._finish()
    else:
        with pytest.raises(KeyboardInterrupt):
            train(study, 0, tmp_path / "fold-0", **stock)
    [latest] = (study.root / "checkpoints").rglob("checkpoint_latest.pth")
    good = latest.read_bytes()
    latest.write_bytes(good[: len(good) // 2])
    assert train(study, 0, tmp_path / "fold-0", **stock) == 2, "a damaged checkpoint is named, not trained over"
    latest.write_bytes(good)
    assert train(study, 0, tmp_path / "fold-0", **stock) == 0
    assert epochs == [0, 1, 2, 3]
    assert len(read_table(tmp_path / "fold-0" / "log.tsv")) == 4
    assert json.loads((tmp_path / "fold-0" / "fold.json").read_text())["mirror_axes"] == [0, 1, 2]


def test_trainers_and_planners_by_name() -> None:
    from hccflow.segment.nnunet.planning import find_planner
    from hccflow.segment.nnunet.trainer import find_trainer

    assert find_trainer("nnUNetTrainer_5epochs").__name__ == "nnUNetTrainer_5epochs", (
        "torchvision does not stand in the way"
    )
    assert find_planner("nnUNetPlannerResEncM").__name__ == "nnUNetPlannerResEncM"
    with pytest.raises(ConfigError, match="nnU-Net has no trainer 'nnUNetTrainr'"):
        find_trainer("nnUNetTrainr")
    with pytest.raises(ConfigError, match="nnU-Net has no planner 'Planer'"):
        find_planner("Planer")


@pytest.mark.parametrize("words", KILLED)
def test_a_killed_worker_is_told_while_planning(words: str) -> None:
    from hccflow.segment.nnunet.planning import guarded

    with pytest.raises(HccflowError, match="a worker process was killed during preprocessing.*more memory"):
        guarded(raising(words), "preprocessing")


@pytest.mark.parametrize("words", [*KILLED, "CUDA error: out of memory"])
def test_a_killed_worker_is_told_while_training(
    words: str, study: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    from hccflow.segment.nnunet import training

    monkeypatch.setattr(training, "build_trainer", lambda *_: SimpleNamespace(run_training=raising(words)))
    if words in KILLED:
        assert train(study, 0, tmp_path / "fold-0") == 2
        assert "killed during training" in (said := capsys.readouterr().err)
        assert "run the same command again with more memory; it goes on from its last checkpoint" in said
    else:
        with pytest.raises(RuntimeError, match=words):
            train(study, 0, tmp_path / "fold-0")
    assert not (tmp_path / "fold-0").exists()


def test_a_demanded_gpu_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from hccflow.networks.device import choose_device

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"demands a GPU and this machine shows none; where: segment\.device"):
        choose_device("cuda", "segment.device")


# --- Real bytes: tiny trainings, so low Dice is expected and none is demanded


def real_settings(channel: str, modality: str, label: str) -> dict:
    imaging = {"modality": modality, "channels": [channel], "reference": channel, "masks": [label]}
    return settings_of({**SETTINGS, "imaging": imaging}, labels=[label], iterations=60)


def write_real(root: Path, images: dict[str, tuple[sitk.Image, sitk.Image]], channel: str, label: str) -> None:
    folder = root / "convert" / "dev" / "batch-01"
    for subject, (image, mask) in images.items():
        write_image(image, folder / case_file(subject, "", channel))
        write_image(sitk.Cast(mask != 0, sitk.sitkUInt8), folder / case_file(subject, "", "mask", desc=label))
    rows = {"cohort": "dev", "subject": list(images), "session": "", "status": "ok", "reason": "", "digest": "x"}
    write_table(pd.DataFrame({**rows, "channels": channel, "masks": label}), folder.with_suffix(".tsv"))
    write_split(root / "split.tsv", {subject: i % 2 for i, subject in enumerate(images)})


@pytest.mark.slow
@pytest.mark.realdata
def test_sarcomas_in_real_pet(
    realdata: Callable[[str], Path], tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    source = realdata("sts_nifti")
    folders = sorted(path.parent for path in source.rglob("PET_image.nii.gz"))[:12]
    images = {
        folder.name.replace("_", ""): (
            sitk.ReadImage(str(folder / "PET_image.nii.gz")), sitk.ReadImage(str(folder / "PET_mask.nii.gz"))
        )
        for folder in folders
    }  # fmt: skip
    write_real(tmp_path, images, "pet", "tumour")
    table = predict(learn(tmp_path, real_settings("pet", "PT", "tumour")), "dev", tmp_path / "out" / "batch-01")
    assert len(table) == 12 and table["status"].eq("ok").all() and table["kind"].eq("oof").all()
    assert table["dice_tumour"].between(0, 1).all()
    record_property("dice", table["dice_tumour"].round(2).tolist())


@pytest.mark.slow
@pytest.mark.realdata
def test_the_livers_of_two_real_cts(
    realdata: Callable[[str], Path], tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    source = next(realdata("totalseg_ct").rglob("example_seg.nii.gz")).parent
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(source / "example_ct_dicom")))
    pairs = {
        "T1": (
            sitk.ReadImage(str(source / "example_ct_sm.nii.gz")),
            sitk.ReadImage(str(source / "example_seg.nii.gz")),
        ),
        "T2": (reader.Execute(), sitk.ReadImage(str(source / "example_seg_dicom.nii.gz"))),
    }
    images = {}
    for subject, (image, labels) in pairs.items():
        mask = sitk.Resample(labels == 5, image, sitk.Transform(), sitk.sitkNearestNeighbor)
        images[subject] = image, mask
    write_real(tmp_path, images, "venous", "liver")
    study = learn(tmp_path, real_settings("venous", "CT", "liver"))
    plans = json.loads((study.frozen / "model" / "plans.json").read_text(encoding="utf-8"))
    assert plans["configurations"]["tiny"]["normalization_schemes"] == ["CTNormalization"]
    table = predict(study, "dev", tmp_path / "out" / "batch-01").set_index("subject")
    assert table["status"].eq("ok").all() and sorted(table["fold"]) == [0, 1]
    assert table["dice_liver"].between(0, 1).all()
    record_property("dice", table["dice_liver"].round(2).tolist())


# --- The configuration and the graph of jobs


def segmenting() -> dict:
    """The default study without models on predicted masks."""
    config, kept = default_config(), ("clinical", "radiomics")
    config = changed(config, "models", {name: config["models"][name] for name in kept})
    return changed(config, "survive.models", list(kept))


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("segment.labels", ["liver", "tumor"], "unknown mask 'tumor'.*did you mean 'tumour'"),
        ("segment.channels", ["venous"], "unknown channel 'venous'"),
        ("segment.require_dice", {"spleen": 0.8}, "unknown label 'spleen'"),
        ("segment.trainer", "resnet", "does not match"),
        ("segment.surface_tolerance_mm", 0, "less than or equal to the minimum"),
        ("segment.imported", {"phantom-ext": {"tumour": "tumour"}}, "unknown label 'liver'"),
        ("segment.imported", {"nobody": {}}, "unknown cohort 'nobody'"),
        ("segment", ..., "unknown mask 'tumour'.*extract.rois.nnunet"),
    ],
)
def test_mistakes_in_the_configuration(key: str, value: object, words: str) -> None:
    check_config(segmenting())
    with pytest.raises(ConfigError, match=words):
        check_config(changed(segmenting(), key, value))


def test_jobs_of_a_study_that_segments(tmp_path: Path) -> None:
    data = write_mock(tmp_path / "data")
    config = tmp_path / "config.yaml"

    def plan(config_of_study: dict, *more: str) -> str:
        config.write_text(yaml.safe_dump(config_of_study), encoding="utf-8")
        command = [sys.executable, "-m", "snakemake", "--cores", "1", "--nolock", "--forceall", *more]
        env = {**os.environ, "HCCFLOW_DATA": str(data)}
        done = subprocess.run(
            [*command, "--configfile", str(config)], cwd=ROOT, env=env, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    text = plan(segmenting(), "--dry-run", "--quiet", "rules")
    counts = dict(re.findall(r"^(segment\w*|extract)\s+(\d+)$", text, flags=re.M))
    assert counts == {
        "segment": "1", "segment_export": "1", "segment_train": "5", "segment_freeze": "1", "segment_predict": "6",
        "segment_gather": "3", "extract": "12",
    }  # fmt: skip
    dot = plan(segmenting(), "--dag", "dot")
    labels = dict(re.findall(r'(\d+)\[label = "([^"]+)"', dot))
    edges = re.findall(r"(\d+) -> (\d+)", dot)
    assert ("segment_freeze", "report") in {(labels[a], labels[b]) for a, b in edges}, "it tells the hardware"
    reached: set[str] = set()
    todo = [node for node, label in labels.items() if label.startswith("segment_train")]
    while todo:
        job = todo.pop()
        reached.add(job)
        todo += [producer for producer, consumer in edges if consumer == job and producer not in reached]
    assert {labels[job] for job in reached if "cohort" in labels[job]} == {
        label for label in map(labels.get, reached) if label and "phantom-dev" in label
    }, "only the development cohort teaches"
    imported = changed(
        segmenting(),
        "segment.imported",
        {c: {"liver": "liver", "tumour": "tumour"} for c in default_config()["cohorts"]},
    )
    assert "segment_train" not in plan(imported, "--dry-run", "--quiet", "rules"), "nothing to train for imported masks"
    alone = changed(changed(segmenting(), "segment", ...), "extract.rois.nnunet", ...)
    assert "segment" not in re.findall(r"^(\w+)\s+\d+$", plan(alone, "--dry-run", "--quiet", "rules"), re.M)


def test_a_predicted_mask_is_never_replaced_by_the_reference(tmp_path: Path) -> None:
    from hccflow.extract.cases import CaseExtractor

    write_case(tmp_path / "convert", "A")
    row = {"status": "ok", "reason": "", "channels": "arterial,portal", "masks": "liver,tumour"}
    extract = {
        "rois": {"net": {"source": "nnunet", "mask": "tumour"}}, "intensity": {"kind": "none"},
        "radiomics": {"setting": {"binWidth": 25}, "imageType": {"Original": {}}, "featureClass": {"shape": []}},
    }  # fmt: skip
    case = Case("dev", "A")

    def extractor(made: dict[str, str]) -> CaseExtractor:
        return CaseExtractor(
            tmp_path / "convert", {case.stem: row}, SETTINGS["imaging"], extract, "net", {case.stem: made},
            tmp_path / "masks",
        )  # fmt: skip

    with pytest.raises(RoiError, match="no mask of 'tumour'"):
        extractor({"status": "ok", "masks": "liver"})(case, tmp_path / "out")
    with pytest.raises(HccflowError, match="not segmented: no image"):
        extractor({"status": "failed", "reason": "no image", "masks": ""})(case, tmp_path / "out")
    bigger = ball((6, 12, 12), (3, 6, 6)).astype(np.uint8)
    write_image(image_of(bigger), tmp_path / "masks" / case_file("A", "", "mask", desc="tumour"))
    assert extractor({"status": "ok", "masks": "tumour"})(case, tmp_path / "out")["n_voxels"] == bigger.sum()
    no_liver = extractor({"status": "ok", "masks": "tumour", "dice_liver": "", "dice_tumour": "0.5"})
    by_organ = {**extract, "intensity": {"kind": "organ", "organ": "liver", "scale": 1}}
    with pytest.raises(RoiError, match="no organ mask"):
        replace(no_liver, extract=by_organ)(case, tmp_path / "out")


def test_a_case_that_was_not_converted_is_a_failed_row() -> None:
    segmenter = CaseSegmenter(Path(), {"sub-A": {"status": "failed", "reason": "no slices"}}, SPEC, LABELS, 2.0)
    with pytest.raises(HccflowError, match="not converted: no slices"):
        segmenter(Case("dev", "A"), Path())
