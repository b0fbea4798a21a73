"""Frozen networks where they are used: on machines with and without a GPU, and on cohorts of every kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import load_file, save_file

from hccflow.ids import CohortRole
from hccflow.models.encoding import Encoding
from hccflow.networks import overlays
from hccflow.networks.architectures import ARCHITECTURES
from hccflow.networks.crops import Scaling
from hccflow.networks.croptable import crop_table
from hccflow.networks.heads import tasks_of
from hccflow.networks.loop import Rows, outputs_of
from hccflow.networks.model import NetworkModel, load_network
from hccflow.networks.overlap import frozen_dice
from hccflow.networks.overlays import deep_features, explain_cohort
from hccflow.networks.registry import Shape, build
from hccflow.predict import Frozen, predict
from hccflow.tables import read_table, write_table
from hccflow.train.networks import fold_dice, train_fold, train_network
from tabular_study import split
from test_networks import ENDPOINTS, SHAPE, SPEC, config, study

HEADS = {"response": {"survival": False, "threshold": {"value": 0.5}}}
NOBODY = pd.DataFrame(columns=["cohort", "subject", "session", "endpoint", "repeat", "fold", "y_prob", "risk"])


def frozen(root: Path, shape: Shape = SHAPE, **options: Any) -> Frozen:
    """A frozen network with random weights, that has seen nobody."""
    spec = {**SPEC, **options}
    torch.manual_seed(3)
    networks = tuple(build(shape, spec).eval() for _ in range(spec["seeds"]))
    heads = tasks_of({"endpoint": "response", "network": spec}, ENDPOINTS).heads
    scaling = Scaling((0.0, 0.0), (1.0, 1.0))
    model = NetworkModel(spec, heads, shape, Encoding((), ()), None, scaling, networks, ({},) * len(networks))
    model.save(root / "deep" / "model")
    facts = {"kind": "network", "study": "toy", "model": "deep", "endpoint": "response", "heads": HEADS}
    return Frozen(root / "deep", facts, NOBODY)


@pytest.mark.parametrize(("device", "there"), [("auto", True), ("cuda", True), ("cuda", False)])
def test_frozen_networks_score_on_the_cpu_whatever_the_machine_has(
    device: str, there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = study(tmp_path, 8, "ext", seed=9, role="external")
    crops = crop_table([tmp_path / "ext" / "crop-box"])
    here = predict(frozen(tmp_path / "cpu"), "ext", CohortRole.EXTERNAL, cases, crops)
    model = frozen(tmp_path, device=device)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    scores = predict(model, "ext", CohortRole.EXTERNAL, cases, crops)
    pd.testing.assert_frame_equal(scores, here, check_exact=True)
    table = explain_cohort(tmp_path / "deep", {}, cases, crops, scores, tmp_path / "cam", each=1, seed=0)
    assert len(table) == 6 and len(list((tmp_path / "cam").glob("*.png"))) == 3
    opened = load_network(tmp_path / "deep" / "model")
    assert np.isfinite(deep_features(opened, cases, crops, scores).filter(like="seed")).all(axis=None)
    assert frozen_dice(opened, cases, crops, scores)["dice"].notna().all()


def without(root: Path, what: str) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """A cohort in which no case can be scored, its crops, and the reason of each case that has one."""
    cases, folder = study(root, 6, "ext", seed=9, role="external"), root / "ext" / "crop-box"
    if what == "crop":
        manifest = read_table(folder / "manifest.tsv", "manifest").assign(status="failed", reason="the scan is empty")
        write_table(manifest, folder / "manifest.tsv")
        return cases, crop_table([folder]), "no crop"
    for file in folder.glob("**/*.safetensors"):
        tensors = load_file(file)
        tensors["image"][1] = np.nan
        save_file(tensors, file)
    return cases, crop_table([folder]), "no image of channel 2"


@pytest.mark.parametrize("options", [{}, {"dims": 2, "slices": 2, "channels": ["ap", "pv"]}])
@pytest.mark.parametrize("what", ["channel", "crop"])
def test_a_cohort_that_no_network_can_score_is_rows_with_reasons_and_empty_tables(
    what: str, options: dict[str, Any], tmp_path: Path
) -> None:
    cases, crops, reason = without(tmp_path, what)
    size = (8, 8, 2) if options else SHAPE.size
    if what == "channel":
        options = {name: value for name, value in options.items() if name != "channels"}  # these crops name none
    model = frozen(tmp_path, Shape(2, size, 0, {"response": 1}), **options)
    scores = predict(model, "ext", CohortRole.EXTERNAL, cases, crops)
    assert scores["y_prob"].isna().all() and scores["reason"].tolist() == ["no crop", *[reason] * 5]
    write_table(cases, tmp_path / "subjects.tsv")
    write_table(scores, tmp_path / "scores.tsv")
    explain_cohort(tmp_path / "deep", {}, cases, crops, scores, tmp_path / "cam", each=2, seed=0)
    opened = load_network(tmp_path / "deep" / "model")
    deep = deep_features(opened, cases, crops, scores)
    write_table(frozen_dice(opened, cases, crops, scores), tmp_path / "dice.tsv")
    assert [path.name for path in (tmp_path / "cam").iterdir()] == ["cam.tsv"]
    cam = read_table(tmp_path / "cam" / "cam.tsv")
    assert cam.empty and cam.columns.tolist() == overlays.COLUMNS
    assert read_table(tmp_path / "dice.tsv", "dice").empty
    assert deep.empty and deep.columns[:4].tolist() == ["cohort", "subject", "session", "kind"]
    assert {"seed0_000", "seed1_000"} <= set(deep.columns), "the columns of a cohort that has cases"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_no_row_has_outputs_of_no_row(architecture: str) -> None:
    spec = {**SPEC, "architecture": architecture, "dims": 2, "slices": 1, "width": 12}
    network, row = build(Shape(1, (32, 32, 1), 2, {"response": 1, "os": 3}), spec), torch.zeros((1, 1, 1, 32, 32))
    one = outputs_of(network, Rows(row, row, torch.zeros((1, 2)), {}), 4)
    none = outputs_of(network, Rows(row[:0], row[:0], torch.zeros((0, 2)), {}), 4)
    assert {name: (0, *out.shape[1:]) for name, out in one.items()} == {name: out.shape for name, out in none.items()}


def test_a_fold_that_judges_nobody_is_trained_and_its_spread_is_unknown(tmp_path: Path) -> None:
    cases, settings = study(tmp_path, 13), config(epochs=1)
    folds = split(cases, folds=2)
    folds.loc[folds["subject"] == "DEV000", "fold"] = 2  # the only case of its fold, and it has no crop
    args = ("deep", settings, cases, folds, crop_table([tmp_path / "dev" / "crop-box"]))
    places = [tmp_path / "deep" / f"fold-0-{fold}" for fold in (0, 1, 2)]
    for fold, out in enumerate(places):
        train_fold(*args, repeat=0, fold=fold, out=out, work=tmp_path / "work")
    assert read_table(places[2] / "predictions.tsv").empty and read_table(places[2] / "dice.tsv", "dice").empty
    about = [json.loads((place / "fold.json").read_text(encoding="utf-8")) for place in places]
    assert about[2]["seed_sd"] == {"response": None}
    training, _ = train_network(*args, places, work=tmp_path / "work")
    assert about[0]["device"] == "CPU" and training.facts["devices"] == ["CPU"]
    assert set(training.predictions["subject"]) == set(cases["subject"][1:]) and len(fold_dice(places)) == 12
    mean = np.mean([fact["seed_sd"]["response"] for fact in about[:2]])
    assert training.facts["seed_sd"] == {"response": pytest.approx(mean, abs=1e-6)}
