"""Networks: what they learn from, what they may not see, and that a killed training ends the same."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
import torch
from safetensors.numpy import load_file, save_file

from hccflow.batch import Case, run_batch
from hccflow.cli import main
from hccflow.errors import ConfigError, DataAbsentError, FitError, FreezeError, LeakageError, RoiError, TableError
from hccflow.extract.crops import CaseCropper, make_crop
from hccflow.ids import CohortRole
from hccflow.images import write_image
from hccflow.models.opening import load_model
from hccflow.networks import augment, loop, overlays
from hccflow.networks.architectures import ARCHITECTURES, stages
from hccflow.networks.crops import Crops, learn_scaling, read_crops, view
from hccflow.networks.croptable import crop_table
from hccflow.networks.device import choose_device, describe_device
from hccflow.networks.gradcam import METHODS, class_activation, explain
from hccflow.networks.heads import Tasks, tasks_of
from hccflow.networks.losses import TaskLoss, response_loss, segmentation_loss
from hccflow.networks.model import NetworkModel, load_network
from hccflow.networks.options import check_crop
from hccflow.networks.overlap import COLUMNS, frozen_dice
from hccflow.networks.overlays import choose_cases, deep_features, explain_cohort
from hccflow.networks.registry import NETWORKS, Shape, build
from hccflow.paths import case_file
from hccflow.predict import open_frozen, predict
from hccflow.tables import load_schema, read_table, subjects_digest, write_table
from hccflow.train import networks
from hccflow.train.networks import fold_dice, train_fold, train_network
from hccflow.train.training import write_training
from tabular_study import split

SIZE = (8, 8, 8)
CPU = torch.device("cpu")
SPEC: dict[str, Any] = {
    "architecture": "multitask_encoder", "crop": "box", "tasks": {"response": 1.0, "segmentation": 0.5},
    "augment": "basic", "epochs": 4, "patience": 4, "batch_size": 8, "learning_rate": 0.01, "weight_decay": 0.01,
    "dropout": 0.1, "width": 4, "seeds": 2, "device": "cpu",
}  # fmt: skip
HEADS = {"response": 1}
ENDPOINTS = {"response": {"kind": "binary", "landmark_days": 0}, "os": {"kind": "survival", "landmark_days": 0}}
SHAPE = Shape(2, SIZE, 0, HEADS)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)


def blobs(n: int, seed: int, size: int = 8, missing: bool = False) -> loop.Rows:
    """Cases with a blob; it is bright where the label is 1."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    grid = np.stack(np.meshgrid(*[np.arange(size)] * 3, indexing="ij"))
    centre = rng.uniform(size * 0.35, size * 0.65, (n, 3, 1, 1, 1))
    masks = (((grid[None] - centre) ** 2).sum(axis=1) < (size / 4) ** 2)[:, None]
    images = 0.1 * rng.normal(size=(n, 2, size, size, size)) + masks * (0.3 + 2.0 * y[:, None, None, None, None])
    labels = np.where(np.arange(n) < 2, np.nan, y) if missing else y
    parts = [torch.tensor(np.asarray(v), dtype=torch.float32) for v in (images, masks, np.zeros((n, 0)))]
    return loop.Rows(*parts, {"response": torch.tensor(labels, dtype=torch.float32)})


def tasks(**given: Any) -> Tasks:
    """Tasks of a network whose own endpoint is the first one."""
    return tasks_of({"endpoint": next(iter(given)), "network": {"tasks": given}}, ENDPOINTS)


def fit(rows: loop.Rows, stop: loop.Rows | None = None, **options: Any) -> loop.Trained:
    spec = {**SPEC, **options}
    size = tuple(rows.images.shape[:1:-1])
    learnt = tasks(**spec["tasks"])
    return loop.train_network(Shape(2, size, 0, learnt.logits), spec, learnt, rows, stop, seed=5, device=CPU)


# The network


def test_the_registry_holds_what_the_configuration_may_name() -> None:
    models = load_schema("config")["properties"]["models"]["additionalProperties"]["properties"]
    assert models["network"]["properties"]["architecture"]["enum"] == list(ARCHITECTURES)
    assert set(NETWORKS) == set(ARCHITECTURES)


@pytest.mark.parametrize("given", [{"response": 1.0, "segmentation": 0.5}, {"response": 1.0}])
@pytest.mark.parametrize("clinical", [0, 3])
def test_every_trainable_parameter_gets_a_gradient_and_is_in_the_optimiser(
    given: dict[str, float], clinical: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.nn.Parameter] = []
    made: list[torch.nn.Module] = []
    original, builder = torch.optim.AdamW, loop.build

    def spy(parameters: list[dict[str, Any]], **options: Any) -> torch.optim.Optimizer:
        seen.extend(p for group in parameters for p in group["params"])
        return original(parameters, **options)

    def keep(shape: Shape, spec: dict[str, Any]) -> torch.nn.Module:
        made.append(builder(shape, spec))
        return made[0]

    monkeypatch.setattr(torch.optim, "AdamW", spy)
    monkeypatch.setattr(loop, "build", keep)
    rows = blobs(8, 0)
    rows = loop.Rows(rows.images, rows.masks, torch.randn(8, clinical), rows.labels)
    spec = {**SPEC, "dropout": 0.0}
    shape, learnt = Shape(2, SIZE, clinical, HEADS), tasks(**given)
    loop.train_network(shape, spec, learnt, rows, None, seed=0, device=CPU, epochs=1)
    network = made[0]
    network.zero_grad()
    total, _ = TaskLoss(learnt)(
        network.train()(rows.images, rows.clinical), {**rows.labels, "segmentation": rows.masks}
    )
    total.backward()
    with_gradient = {name for name, p in network.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    # a bias before batch normalisation has a gradient of exactly 0 by construction, up to rounding
    assert {n for n, p in network.named_parameters() if p.grad is not None} == set(dict(network.named_parameters()))
    assert not {n for n, _ in network.named_parameters() if n.endswith("weight")} - with_gradient
    assert {id(p) for p in network.parameters()} == {id(p) for p in seen}


def test_a_batch_can_be_overfitted() -> None:
    rows = blobs(8, 1)
    trained = fit(rows, epochs=60, augment="none", dropout=0.0, learning_rate=0.02)
    out = loop.outputs_of(trained.network, rows, 8)
    assert ((out["response"] > 0).float() == rows.labels["response"]).all()
    assert float(response_loss(out["response"], rows.labels["response"])) < 0.05
    overlap = ((out["segmentation"] > 0) & (rows.masks > 0)).sum() / (
        (out["segmentation"] > 0) | (rows.masks > 0)
    ).sum()
    assert overlap > 0.8


# Losses


def test_losses_take_logits_and_ignore_missing_labels_exactly() -> None:
    logits, y = torch.tensor([2.0, -1.0, 30.0, 0.5]), torch.tensor([1.0, 0.0, float("nan"), 0.0])
    hand = np.mean([np.log1p(np.exp(-2.0)), np.log1p(np.exp(-1.0)), np.log1p(np.exp(0.5))])
    assert float(response_loss(logits, y)) == pytest.approx(hand, rel=1e-6)
    logits.requires_grad_()
    response_loss(logits, y).backward()
    assert logits.grad is not None and logits.grad[2] == 0 and (logits.grad[[0, 1, 3]] != 0).all()
    nothing = response_loss(logits, torch.full((4,), float("nan")))
    assert nothing.item() == 0

    masks = (torch.rand(3, 1, 4, 4, 4, generator=torch.Generator().manual_seed(0)) > 0.7).float()
    voxels = torch.randn(3, 1, 4, 4, 4, generator=torch.Generator().manual_seed(1)).requires_grad_()
    partly = masks.clone()
    partly[1] = float("nan")
    two = torch.cat([voxels[:1], voxels[2:]])
    assert segmentation_loss(voxels, partly).item() == pytest.approx(segmentation_loss(two, masks[[0, 2]]).item())
    segmentation_loss(voxels, partly).backward()
    assert voxels.grad is not None and (voxels.grad[1] == 0).all()
    p = torch.sigmoid(voxels[0]).detach().numpy()
    t = masks[0].numpy()
    entropy = -(t * np.log(p) + (1 - t) * np.log(1 - p)).mean()
    dice = 1 - (2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1)
    assert segmentation_loss(voxels[:1], masks[:1]).item() == pytest.approx(entropy + dice, rel=1e-5)


def test_a_task_of_weight_zero_is_the_ablation() -> None:
    rows = blobs(8, 2)
    with_zero = fit(rows, tasks={"response": 1.0, "segmentation": 0.0})
    without = fit(rows, tasks={"response": 1.0})
    for a, b in zip(with_zero.network.parameters(), without.network.parameters(), strict=True):
        assert torch.equal(a, b)
    assert set(without.history[0]) == {"epoch", "train_response"}


# The loop


def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    rows, stop = blobs(10, 3), blobs(6, 4)
    one, two = fit(rows, stop), fit(rows, stop)
    assert one.history == two.history
    assert all(torch.equal(a, b) for a, b in zip(one.network.parameters(), two.network.parameters(), strict=True))
    other = loop.train_network(SHAPE, SPEC, tasks(**SPEC["tasks"]), rows, stop, seed=6, device=CPU)
    assert other.history != one.history


def test_a_killed_training_ends_with_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, stop = blobs(10, 3), blobs(6, 4)
    whole = fit(rows, stop)
    file, epoch = tmp_path / "seed-0.safetensors", loop._epoch

    def killed(*args: Any) -> dict[str, float]:
        if args[7] == 2:
            raise KeyboardInterrupt
        return epoch(*args)

    monkeypatch.setattr(loop, "_epoch", killed)
    again = {"seed": 5, "device": CPU, "checkpoint": file}
    with pytest.raises(KeyboardInterrupt):
        loop.train_network(SHAPE, SPEC, tasks(**SPEC["tasks"]), rows, stop, **again)
    monkeypatch.setattr(loop, "_epoch", epoch)
    resumed = loop.train_network(SHAPE, SPEC, tasks(**SPEC["tasks"]), rows, stop, **again)
    assert resumed.history == whole.history
    assert resumed.best_epoch == whole.best_epoch
    for a, b in zip(whole.network.state_dict().values(), resumed.network.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_a_damaged_checkpoint_is_named_and_without_it_training_begins_again(tmp_path: Path) -> None:
    rows, stop = blobs(10, 3), blobs(6, 4)
    file = tmp_path / "seed-0.safetensors"
    again = {"seed": 5, "device": CPU, "checkpoint": file}
    whole = loop.train_network(SHAPE, SPEC, tasks(**SPEC["tasks"]), rows, stop, **again)
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(FreezeError, match=r"the checkpoint cannot be resumed; where: .*seed-0.*do: delete it"):
        loop.train_network(SHAPE, SPEC, tasks(**SPEC["tasks"]), rows, stop, **again)
    file.unlink()
    repeated = loop.train_network(SHAPE, SPEC, tasks(**SPEC["tasks"]), rows, stop, **again)
    assert repeated.history == whole.history


@pytest.mark.parametrize("inside", [b"history", b"train_response", b'"digest"', b"__metadata__", b"network.", None])
def test_a_flipped_bit_of_a_checkpoint_is_noticed(inside: bytes | None, tmp_path: Path) -> None:
    file = tmp_path / "seed-0.safetensors"
    again = {"seed": 5, "device": CPU, "checkpoint": file, "epochs": 1}
    spec, learnt, rows = {**SPEC, "epochs": 1}, tasks(**SPEC["tasks"]), blobs(6, 3)
    loop.train_network(SHAPE, spec, learnt, rows, None, **again)
    content = bytearray(file.read_bytes())
    content[-5 if inside is None else content.index(inside) + 3] ^= 1  # -5: among the tensors
    file.write_bytes(content)
    with pytest.raises(FreezeError, match=r"the checkpoint cannot be resumed; where: .*seed-0.*do: delete it"):
        loop.train_network(SHAPE, spec, learnt, rows, None, **again)


def test_a_loss_that_is_no_number_says_where() -> None:
    rows = blobs(8, 0)
    rows.images[3, 0, 0, 0, 0] = float("inf")
    with pytest.raises(FitError, match=r"the loss is not a number; where: .*epoch 1, batch 1"):
        fit(rows)


def test_early_stopping_keeps_the_best_epoch() -> None:
    history = [{"stop_loss": v} for v in (1.0, 0.5, 0.4, 0.6, 0.9, 1.0)]
    assert loop.best_epoch(history) == 4  # mean of 0.5, 0.4, 0.6 is the smallest of three
    rows = blobs(12, 0)
    flipped = loop.Rows(rows.images, rows.masks, rows.clinical, {"response": 1 - rows.labels["response"]})
    trained = fit(rows, flipped, epochs=30, patience=3, learning_rate=0.02)
    assert len(trained.history) == trained.best_epoch + 3


def test_batches_cover_every_row_once_and_none_is_single() -> None:
    for n in (2, 3, 9, 17, 33):
        parts = loop.batches(n, 8, np.random.default_rng(0))
        assert sorted(np.concatenate(parts).tolist()) == list(range(n))
        assert min(len(part) for part in parts) >= 2


def test_augmentation_moves_image_and_mask_together() -> None:
    rows = blobs(6, 5)
    strength = augment.Strength(0.5, 20, 0.1, 0.1, 0, 0, 0)
    images, masks = augment.augment(rows.images, rows.masks, strength, np.random.default_rng(0))
    assert not torch.equal(images, rows.images)
    assert set(masks.unique().tolist()) == {0.0, 1.0}
    for image, mask, label in zip(images, masks, rows.labels["response"], strict=True):
        inside, outside = image[0][mask[0] > 0].mean(), image[0][mask[0] == 0].mean()
        assert inside - outside > 0.5 * (0.3 + 2 * float(label))
    still, same = augment.augment(rows.images, rows.masks, None, np.random.default_rng(0))
    assert torch.equal(still, rows.images) and torch.equal(same, rows.masks)


# Grad-CAM


@pytest.mark.parametrize("method", METHODS)
def test_a_map_finds_the_blob_and_the_check_with_new_weights_notices_what_was_learnt(method: str) -> None:
    rows = blobs(24, 6, size=16)
    trained = fit(rows, epochs=12, augment="none", learning_rate=0.01, width=6)
    fractions, energies = [], []
    for place in range(1, 9, 2):
        found = explain([trained.network], rows.take([place]), "response", 1.0, 1, method)
        assert found.cam.shape == (16, 16, 16)
        assert found.energy_in_mask is not None and found.randomised_correlation is not None
        assert found.randomised_correlation < 0.9
        fractions.append(found.mask_fraction)
        energies.append(found.energy_in_mask)
    assert np.mean(energies) > 2 * np.mean(fractions)
    assert (class_activation(trained.network, rows.take([1]), "response", 1.0, method)[0] >= 0).all()
    assert all(p.grad is None for p in trained.network.parameters())


def test_cases_to_show_are_the_worst_the_median_and_the_best() -> None:
    scores = pd.DataFrame({
        "cohort": "e", "subject": [f"S{i}" for i in range(9)], "session": "", "y_true": 1.0,
        "y_prob": [0.9, 0.1, 0.5, np.nan, 0.8, 0.2, 0.6, 0.7, 0.3], "endpoint": "response",
        "risk": np.nan, "time_days": np.nan, "event": np.nan,
    })  # fmt: skip
    other = scores.assign(endpoint="mvi", y_prob=0.5)
    chosen = choose_cases(pd.concat([other, scores]), "response", 1).set_index("chosen")["subject"].to_dict()
    assert chosen == {"worst": "S1", "median": "S6", "best": "S0"}


def test_cases_of_a_survival_endpoint_are_chosen_by_their_pairs_in_the_wrong_order() -> None:
    scores = pd.DataFrame({
        "cohort": "e", "subject": ["A", "B", "C", "D", "E"], "session": "", "endpoint": "os", "y_true": np.nan,
        "y_prob": np.nan, "time_days": [10.0, 20, 30, 40, 5], "event": [1.0, 1, 0, 1, 0], "risk": [0.0, 3, 1, 1, 9],
    })  # fmt: skip
    chosen = choose_cases(scores, "os", 1).set_index("chosen")
    # pairs: A-B, A-C, A-D wrong; B-C, B-D right; C and D are not comparable, and E's time is censored first
    assert chosen["subject"].to_dict() == {"worst": "A", "median": "C", "best": "B"}
    assert chosen["error"].tolist() == pytest.approx([1.0, 0.5, 1 / 3])


# Crops


def volume(array: np.ndarray, spacing: tuple[float, float, float] = (2.0, 2.0, 4.0)) -> sitk.Image:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    return image


def test_a_network_sees_the_channels_that_it_names(tmp_path: Path) -> None:
    image = np.stack([np.full((8, 8, 8), value, np.float32) for value in (1, 2, 3)])
    rows = []
    for subject in ("A", "B"):
        path = tmp_path / f"{subject}.safetensors"
        save_file({"image": image, "mask": np.ones((8, 8, 8), np.uint8)}, path, metadata={"channels": "pre,art,por"})
        rows.append({"cohort": "dev", "subject": subject, "session": "", "crop": str(path)})
    table = pd.DataFrame(rows)
    crops = read_crops(table, table)
    assert crops.channels == ("pre", "art", "por")
    spec = {**SPEC, "crop": "box"}
    assert view(crops, spec).images.shape[1] == 3
    seen = view(crops, {**spec, "channels": ["por", "art"]})
    assert seen.images[:, :, 0, 0, 0].tolist() == [[3, 2], [3, 2]], "in the order in which they are named"
    with pytest.raises(TableError, match="no channel 'late'.*pre, art, por"):
        view(crops, {**spec, "channels": ["late"]})


def test_a_crop_meets_all_channels_on_the_same_millimetres() -> None:
    mask = np.zeros((12, 30, 30), dtype=np.uint8)
    mask[4:8, 10:18, 12:20] = 1
    fine = sitk.Resample(
        volume(mask.astype(np.float32)), (60, 60, 24), sitk.Transform(), sitk.sitkNearestNeighbor,
        (-0.5, -0.5, -1.0), (1.0, 1.0, 2.0),
    )  # fmt: skip
    crop = make_crop(
        [volume(mask.astype(np.float32)), fine], volume(mask), {"size": [16, 16, 8], "spacing_mm": [2, 2, 4]}
    )
    assert crop.image.shape == (2, 8, 16, 16)
    assert crop.mask.sum() == mask.sum()
    np.testing.assert_array_equal(crop.image[0] > 0.5, crop.mask == 1)
    assert ((crop.image[1] > 0.5) == (crop.mask == 1)).mean() > 0.99
    assert crop.inside == 1.0 and crop.padding == 0.0
    edge = np.zeros_like(mask)
    edge[:3, :4, :4] = 1
    padded = make_crop([volume(edge.astype(np.float32))], volume(edge), {"size": [16, 16, 8], "spacing_mm": [2, 2, 4]})
    assert padded.padding == pytest.approx(1 - (10 * 10 * 5.5) / (16 * 16 * 8), abs=0.12)
    fitted = make_crop([volume(mask.astype(np.float32))], volume(mask), {"size": [8, 8, 8], "margin_mm": 4.0})
    assert fitted.spacing_mm == pytest.approx(((16 + 8) / 8, (16 + 8) / 8, (16 + 8) / 8))


def test_a_region_that_is_lost_on_the_crop_says_so() -> None:
    mask = np.zeros((12, 30, 30), dtype=np.uint8)
    mask[2:4, 2:4, 2:4] = 1
    mask[9:11, 27:29, 27:29] = 1  # two pieces: the centre between them is empty
    with pytest.raises(RoiError, match="empty after cropping"):
        make_crop([volume(mask.astype(np.float32))], volume(mask), {"size": [8, 8, 8], "spacing_mm": [2, 2, 2]})


def test_a_case_without_a_usable_region_is_a_failed_row(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    mask = np.zeros((10, 20, 20), dtype=np.uint8)
    mask[3:7, 6:12, 6:12] = 1
    rows: dict[str, dict[str, Any]] = {}
    cases = [Case("dev", name) for name in ("A1", "A2", "A3")]
    for case in cases:
        roi = mask if case.subject == "A1" else np.zeros_like(mask)
        write_image(
            volume(rng.normal(size=mask.shape).astype(np.float32)), tmp_path / case_file(case.subject, "", "art")
        )
        write_image(volume(roi), tmp_path / case_file(case.subject, "", "mask", desc="tumour"))
        rows[case.stem] = {"status": "ok", "reason": "", "channels": "art", "masks": "tumour"}
    rows[cases[2].stem] = {"status": "failed", "reason": "slice missing", "channels": "", "masks": ""}
    extract = {"rois": {"m": {"source": "reference", "mask": "tumour"}}, "intensity": {"kind": "zscore"}}
    box = {"roi": "m", "size": [8, 8, 8], "spacing_mm": [2, 2, 4]}
    work = CaseCropper(tmp_path, rows, {"channels": ["art"], "reference": "art"}, extract, "box", box)
    table = run_batch(cases, work, folder=tmp_path / "out", manifest=tmp_path / "out.tsv", key={})
    assert table["status"].tolist() == ["ok", "failed", "failed"]
    assert "the mask is empty" in table["reason"].iloc[1]
    assert "not converted: slice missing" in table["reason"].iloc[2]


def test_a_missing_channel_is_a_crop_that_says_so_and_a_box_may_lie_around_the_organ(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    tumour, liver = np.zeros((10, 40, 40), dtype=np.uint8), np.zeros((10, 40, 40), dtype=np.uint8)
    tumour[3:7, 26:30, 26:30] = 1
    liver[2:8, 4:32, 4:32] = 1
    cases = [Case("dev", name) for name in ("A1", "A2", "A3")]
    rows: dict[str, dict[str, Any]] = {}
    for case, channels in zip(cases, (["pre", "art"], ["art"], ["pre"]), strict=True):
        for channel in channels:
            image = volume(rng.normal(size=tumour.shape).astype(np.float32))
            write_image(image, tmp_path / case_file(case.subject, "", channel))
        for name, array in (("tumour", tumour), ("liver", liver)):
            write_image(volume(array), tmp_path / case_file(case.subject, "", "mask", desc=name))
        rows[case.stem] = {"status": "ok", "reason": "", "channels": ",".join(channels), "masks": "liver,tumour"}
    extract = {"rois": {"m": {"source": "reference", "mask": "tumour"}}, "intensity": {"kind": "zscore"}}
    imaging = {"channels": ["pre", "art"], "reference": "art"}
    box = {"roi": "m", "around": "liver", "size": [16, 16, 8], "spacing_mm": [4, 4, 4]}
    work = CaseCropper(tmp_path, rows, imaging, extract, "box", box)
    table = run_batch(cases, work, folder=tmp_path / "b", manifest=tmp_path / "b.tsv", key={})
    assert table["status"].tolist() == ["ok", "ok", "failed"]
    assert table["missing_channels"].fillna("").tolist()[:2] == ["", "pre"]
    assert table["notes"].iloc[1] == "no image of 'pre'"
    assert "no image of 'art', on whose grid" in table["reason"].iloc[2]
    found = load_file(tmp_path / "b" / case_file("A2", "", "crop", desc="box", ext=".safetensors"))
    image, mask = found["image"], found["mask"]
    assert np.isnan(image[0]).all() and np.isfinite(image[1]).all()
    middle = np.argwhere(mask).mean(axis=0)
    assert (middle[1:] > 10).all(), "the box is centred on the liver, the tumour lies in its corner"
    lost = CaseCropper(tmp_path, rows, imaging, extract, "box", {**box, "around": "spleen"})
    table = run_batch(cases[:1], lost, folder=tmp_path / "c", manifest=tmp_path / "c.tsv", key={})
    assert "the case has no mask of 'spleen'" in table["reason"].iloc[0]


@pytest.mark.parametrize(
    ("check", "given", "words"),
    [
        (check_crop, {"size": [8, 8, 8]}, "the grid of a crop is given once"),
        (check_crop, {"size": [8, 8, 8], "spacing_mm": [1, 1, 1], "margin_mm": 3}, "the grid of a crop is given once"),
    ],
)
def test_options_that_cannot_work_are_refused(
    check: Callable[[dict[str, Any], str], None], given: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        check(given, "here")


def test_an_encoder_is_as_deep_as_the_crop_allows() -> None:
    assert [stages(size) for size in ((8, 8, 8), (24, 24, 16), (32, 32, 32), (96, 96, 96), (30, 32, 32))] == [
        2,
        3,
        4,
        5,
        2,
    ]


def test_a_gpu_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto").type == "cpu"
    with pytest.raises(ConfigError, match="demands a GPU"):
        choose_device("cuda")


@pytest.mark.parametrize(
    ("module", "driver"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19 2023\nGCC: 11.4", "535.129.03"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86  Release Build\n", "570.86"),
        (None, "unknown"),
    ],
)  # fmt: skip
def test_the_hardware_is_written_down(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, module: str | None, driver: str
) -> None:
    if module is not None:
        (tmp_path / "version").write_text(module, encoding="utf-8")
    monkeypatch.setattr("hccflow.networks.device.DRIVER", tmp_path / "version")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA H200")
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 90100)
    monkeypatch.setattr(torch.version, "cuda", "12.4")
    told = describe_device(torch.device("cuda"))
    assert told == f"NVIDIA H200, CUDA 12.4, cuDNN 90100, driver {driver}"
    assert describe_device(torch.device("cpu")) == "CPU"


# The stage


def study(root: Path, n: int = 24, name: str = "dev", seed: int = 0, role: str = "development") -> pd.DataFrame:
    """A cohort of blobs on disk: crops with a manifest, and its subjects; one case has no crop."""
    rows, folder = blobs(n, seed), root / name / "crop-box"
    subjects = pd.DataFrame({
        "cohort": name, "subject": [f"{name.upper()}{i:03d}" for i in range(n)], "session": "", "site": "S",
        "batch": "01", "role": role, "response": rows.labels["response"].numpy().astype(float),
        "age": 60.0 + np.arange(n) % 7,
    })  # fmt: skip
    manifest = subjects[["cohort", "subject", "session"]].assign(status="ok", reason="", digest="d")
    manifest.loc[0, ["status", "reason"]] = ["failed", "the region is empty after cropping"]
    for i, subject in enumerate(subjects["subject"][1:], start=1):
        path = folder / "batch-01" / case_file(subject, "", "crop", desc="box", ext=".safetensors")
        path.parent.mkdir(parents=True)
        save_file({"image": rows.images[i].numpy(), "mask": rows.masks[i, 0].numpy().astype(np.uint8)}, path)
    write_table(manifest, folder / "manifest.tsv")
    return subjects


def config(**network: Any) -> dict[str, Any]:
    """Settings of the commands."""
    model = {"kind": "network", "endpoint": "response", "columns": ["age"], "network": {**SPEC, **network}}
    return {
        "study": "toy", "seed": 7, "columns": {"age": {"kind": "number", "available_at": "baseline"}},
        "endpoints": {"response": {"kind": "binary", "landmark_days": 0}}, "models": {"deep": model},
        "survive": {"cut": "median"},
    }  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A network trained on two folds and frozen."""
    root = tmp_path_factory.mktemp("networks")
    subjects, settings = study(root), config(epochs=8)
    folds, crops = split(subjects, folds=2), crop_table([root / "dev" / "crop-box"])
    args = ("deep", settings, subjects, folds, crops)
    places = [root / "deep" / f"fold-0-{fold}" for fold in (0, 1)]
    for fold, out in enumerate(places):
        train_fold(*args, repeat=0, fold=fold, out=out, work=root / "work")
    training, history = train_network(*args, places, work=root / "work")
    write_training(training, root / "deep")
    return {"root": root, "args": args, "folds": places, "training": training, "history": history}


def test_a_network_is_frozen_with_out_of_fold_scores_of_every_case_with_a_crop(trained: dict[str, Any]) -> None:
    _, _, subjects, folds, _ = trained["args"]
    scores = trained["training"].predictions
    assert set(scores["subject"]) == set(subjects["subject"][1:])
    fold = folds.set_index("subject")["fold"]
    assert (scores["fold"].to_numpy() == fold.loc[scores["subject"]].to_numpy()).all()
    manifest = trained["training"].manifest.set_index("subject")
    assert manifest.loc[subjects["subject"][0], "status"] == "failed"
    facts = json.loads((trained["root"] / "deep" / "freeze.json").read_text(encoding="utf-8"))
    assert facts["kind"] == "network" and facts["epochs"] >= 1 and facts["training"]["n"] == 23
    assert {"model/seed-0.safetensors", "model/seed-1.safetensors", "model/model.json"} <= set(facts["files"])
    assert not list((trained["root"] / "work").glob("*")), "checkpoints are removed when they have served"
    assert {"train_response", "train_segmentation", "stop_response", "seed", "fold"} <= set(trained["history"])


def test_early_stopping_sees_training_subjects_only(trained: dict[str, Any]) -> None:
    _, _, subjects, folds, _ = trained["args"]
    fits = trained["training"].fits
    keys = dict(zip(subjects["subject"], subjects["cohort"] + "/" + subjects["subject"], strict=True))
    for fold in (0, 1):
        mine = fits[fits["fold"] == fold].set_index("step")
        train = [keys[s] for s in folds.loc[folds["fold"] != fold, "subject"] if s != "DEV000"]
        assert mine.loc["intensity", "subjects_digest"] == subjects_digest(train)
        for seed in (0, 1):
            taught, stopped = mine.loc[f"network.{seed}"], mine.loc[f"network.{seed}.stop"]
            assert taught["n"] + stopped["n"] == len(train)
            assert taught["subjects_digest"] != stopped["subjects_digest"]
        assert mine.loc["network.0", "subjects_digest"] != mine.loc["network.1", "subjects_digest"]
    final = fits[fits["fold"].isna()].set_index("step")
    assert final.loc["network.0", "n"] == 23 and "network.0.stop" not in final.index


def test_the_level_of_every_training_is_the_share_of_events_of_its_rows(trained: dict[str, Any]) -> None:
    _, _, subjects, folds, crops = trained["args"]
    fits, given = trained["training"].fits, folds.set_index("subject")["fold"]
    for place in (*trained["folds"], trained["root"] / "deep"):
        model = load_network(place / "model")
        held = int(place.name[-1]) if place.name.startswith("fold") else -1
        rows = subjects[(subjects["subject"].map(given) != held) & (subjects["subject"] != "DEV000")]
        x, found = model.inputs(rows.reset_index(drop=True), crops)
        for out in model.outputs(model.rows(x, found)):
            assert out["response"].mean() == pytest.approx(rows["response"].mean(), abs=1e-6)
        mine = fits[fits["fold"].isna() if held < 0 else fits["fold"] == held].set_index("step")
        assert mine.loc["network.1.level.response", "n"] == len(rows), "who was seen is written down"


def test_judged_labels_and_images_change_nothing_in_their_own_fold(trained: dict[str, Any], tmp_path: Path) -> None:
    name, settings, subjects, folds, crops = trained["args"]
    held = subjects["subject"].isin(folds.loc[folds["fold"] == 0, "subject"])
    flipped = subjects.assign(response=subjects["response"].where(~held, 1 - subjects["response"]))
    train_fold(name, settings, flipped, folds, crops, repeat=0, fold=0, out=tmp_path / "f", work=tmp_path / "w")
    for seed in (0, 1):
        one, two = (p / "model" / f"seed-{seed}.safetensors" for p in (trained["folds"][0], tmp_path / "f"))
        assert one.read_bytes() == two.read_bytes()
    with pytest.raises(LeakageError, match="a fold was trained on something else"):
        train_network(*trained["args"], [tmp_path / "f", trained["folds"][1]], work=tmp_path / "w")


def test_a_corrected_clinical_value_is_never_resumed_on_the_old_one(
    trained: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, settings, subjects, folds, crops = trained["args"]
    used: list[Path] = []

    def killed(*_: Any, work: Path, **__: Any) -> None:
        used.append(work)
        raise KeyboardInterrupt

    monkeypatch.setattr(networks, "fit_network", killed)
    others = [subjects.assign(age=subjects["age"].where(subjects["subject"] != "DEV003", v)) for v in (70.5, np.nan)]
    for rows in (subjects, subjects.copy(), *others, others[1].copy()):
        with pytest.raises(KeyboardInterrupt):
            train_fold(name, settings, rows, folds, crops, repeat=0, fold=0, out=tmp_path / "f", work=tmp_path)
    old, same, corrected, missing, again = used
    assert old == same and missing == again and len({old, corrected, missing}) == 3
    for rows in others:
        with pytest.raises(LeakageError, match="trained on something else.*the same predictors_digest"):
            train_network(name, settings, rows, folds, crops, trained["folds"], work=tmp_path)


def test_unseen_cases_are_scored_from_the_frozen_folder(trained: dict[str, Any], tmp_path: Path) -> None:
    external = study(tmp_path, 12, "ext", seed=9, role="external")
    frozen = open_frozen(trained["root"] / "deep")
    scores = predict(frozen, "ext", CohortRole.EXTERNAL, external, crop_table([tmp_path / "ext" / "crop-box"]))
    assert scores.loc[scores["subject"] == "EXT000", "reason"].tolist() == ["no crop"]
    known = scores[scores["y_prob"].notna()]
    assert len(known) == 11
    assert known.loc[known["y_true"] == 1, "y_prob"].mean() > known.loc[known["y_true"] == 0, "y_prob"].mean()
    x, crops = frozen.model.inputs(external, crop_table([tmp_path / "ext" / "crop-box"]))
    seeds = [out["response"] for out in frozen.model.outputs(frozen.model.rows(x[crops.present], crops))]
    np.testing.assert_allclose(known["y_prob"], np.mean(seeds, axis=0), rtol=1e-12)


def test_the_command_explains_seen_cases_by_the_fold_that_has_not_seen_them(
    trained: dict[str, Any], tmp_path: Path
) -> None:
    _, settings, subjects, _, _ = trained["args"]
    write_table(subjects, tmp_path / "subjects.tsv")
    write_table(trained["training"].predictions, tmp_path / "scores.tsv")
    given = json.dumps(settings)
    code = main([
        "explain", "--train", str(trained["root"] / "deep"), "--crops", str(trained["root"] / "dev" / "crop-box"),
        "--subjects", str(tmp_path / "subjects.tsv"), "--predictions", str(tmp_path / "scores.tsv"),
        "--settings", given, "--cases", "1", "--out", str(tmp_path / "cam"),
        "--features", str(tmp_path / "features.tsv"), "--dice", str(tmp_path / "dice.tsv"),
    ])  # fmt: skip
    assert code == 0
    assert read_table(tmp_path / "dice.tsv", "dice").empty, "nobody here is unseen by the final networks"
    table = read_table(tmp_path / "cam" / "cam.tsv")
    assert len(table) == 6
    assert set(table["chosen"]) == {"worst", "median", "best"}
    assert len(list((tmp_path / "cam").glob("*_cam.png"))) == 3
    deep = read_table(tmp_path / "features.tsv")
    assert len(deep) == len(trained["training"].predictions)
    assert set(deep["kind"]) == {"apparent"}, "all of them have taught the final networks"


def test_a_choice_is_explained_by_the_candidate_that_judged_the_fold(
    trained: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, subjects, _, crops = trained["args"]
    scores = trained["training"].predictions
    for name, source in (("best/model", "deep/model"), ("plain/fold-0-0", "deep/fold-0-0"), ("dense", "deep")):
        shutil.copytree(trained["root"] / source, tmp_path / name)
    opened: list[Path] = []

    def recording(folder: Path) -> NetworkModel:
        opened.append(folder.relative_to(tmp_path))
        return load_network(folder)

    monkeypatch.setattr(overlays, "load_network", recording)
    frozen = {"chosen": "dense", "in_folds": {"0-0": "plain", "0-1": "dense"}}
    table = explain_cohort(tmp_path / "best", frozen, subjects, crops, scores, tmp_path / "cam", each=3, seed=0)
    assert set(table["fold"]) == {0, 1}
    judges = {Path("plain/fold-0-0/model"), Path("dense/fold-0-1/model")}
    assert set(opened) == {*judges, Path("best/model")}, "the last one only tells the endpoint"


def overlap(model: NetworkModel, subjects: pd.DataFrame, crops: pd.DataFrame, subject: str) -> list[float]:
    """Dice of one case by hand, from the logits of each network, and the voxels of both masks."""
    x, found = model.inputs(subjects[subjects["subject"] == subject], crops)
    row = model.rows(x, found)
    with torch.no_grad():
        logits = [network(row.images, row.clinical)["segmentation"][0, 0].numpy() for network in model.networks]
    inside = np.mean([1 / (1 + np.exp(-one.astype(float))) for one in logits], axis=0) >= 0.5
    drawn = {tuple(voxel) for voxel in np.argwhere(inside)}
    real = {tuple(voxel) for voxel in np.argwhere(row.masks[0, 0].numpy() == 1)}
    return [2 * len(drawn & real) / (len(drawn) + len(real)), len(real), len(drawn)]


NUMBERS = ["dice", "n_reference", "n_predicted"]


def test_a_fold_measures_its_segmentation_on_the_cases_that_it_has_not_seen(trained: dict[str, Any]) -> None:
    _, _, subjects, folds, crops = trained["args"]
    table = fold_dice(trained["folds"])
    assert table.columns.tolist() == COLUMNS
    assert sorted(table["subject"]) == sorted(subjects["subject"][1:]), "every case with a crop, once"
    held = folds.set_index("subject")["fold"]
    assert (table["fold"].to_numpy(int) == held.loc[table["subject"]].to_numpy(int)).all()
    assert set(table["kind"]) == {"oof"}
    models = [load_network(folder / "model") for folder in trained["folds"]]
    for case in table.itertuples():
        hand = overlap(models[case.fold], subjects, crops, case.subject)
        assert [case.dice, case.n_reference, case.n_predicted] == hand
    assert table["dice"].median() > 0.3 and table["dice"].nunique() > 5


def test_final_networks_are_measured_on_unseen_cases_alone(trained: dict[str, Any], tmp_path: Path) -> None:
    model = load_network(trained["root"] / "deep" / "model")
    external = study(tmp_path, 10, "ext", seed=9, role="external")
    crops = crop_table([tmp_path / "ext" / "crop-box"])
    table = frozen_dice(model, external, crops, external[external["subject"] < "EXT006"])
    assert table["subject"].tolist() == [f"EXT{i:03d}" for i in range(1, 6)], "the first case has no crop"
    assert set(table["kind"]) == {"frozen"} and table[["repeat", "fold"]].isna().all(axis=None)
    for _, case in table.iterrows():
        assert case[NUMBERS].tolist() == overlap(model, external, crops, case["subject"])
    for network in model.networks:
        bias = list(network.decoder.parameters())[-1]
        bias.data.fill_(-100.0)
    nothing = frozen_dice(model, external, crops, external)
    assert len(nothing) == 9 and (nothing["dice"] == 0).all() and (nothing["n_predicted"] == 0).all()
    assert frozen_dice(model, external, crops, external[:1]).empty, "no crop, no Dice"
    write_table(frozen_dice(model, external, crops, external[:0]), tmp_path / "dice.tsv")
    assert read_table(tmp_path / "dice.tsv", "dice").empty


def test_a_network_that_does_not_learn_to_segment_has_no_dice(tmp_path: Path) -> None:
    subjects, crops = study(tmp_path, 12), crop_table([tmp_path / "dev" / "crop-box"])
    settings = config(tasks={"response": 1.0, "segmentation": 0.0}, epochs=1, seeds=1)
    out = tmp_path / "f"
    train_fold(
        "deep", settings, subjects, split(subjects, folds=2), crops, repeat=0, fold=0, out=out, work=tmp_path / "w"
    )
    assert fold_dice([out]).empty
    assert frozen_dice(load_network(out / "model"), subjects, crops, subjects).empty


def test_corrupted_weights_and_lost_crops_are_refused(trained: dict[str, Any], tmp_path: Path) -> None:
    model = trained["root"] / "deep" / "model"
    copied = tmp_path / "model"
    copied.mkdir()
    for file in model.iterdir():
        (copied / file.name).write_bytes(file.read_bytes())
    weights = copied / "seed-1.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(FreezeError, match="the weights cannot be read; where: seed-1"):
        load_model("network", copied)
    small = build(Shape(2, SIZE, 1, HEADS), {**SPEC, "width": 2})
    save_file({name: tensor.numpy() for name, tensor in small.state_dict().items()}, weights)
    with pytest.raises(FreezeError, match="belong to another network"):
        load_model("network", copied)
    subjects = study(tmp_path, 6)
    table = crop_table([tmp_path / "dev" / "crop-box"])
    Path(table["crop"].iloc[2]).write_bytes(b"no")
    with pytest.raises(DataAbsentError, match="a crop cannot be read"):
        read_crops(subjects, table)
    Path(table["crop"].iloc[2]).unlink()
    with pytest.raises(DataAbsentError, match="a crop is not there"):
        crop_table([tmp_path / "dev" / "crop-box"])


def test_a_fold_without_positives_is_said(trained: dict[str, Any], tmp_path: Path) -> None:
    name, settings, subjects, folds, crops = trained["args"]
    none = subjects.assign(response=0.0)
    with pytest.raises(FitError, match="no positive training row; where: repeat 0, fold 0"):
        train_fold(name, settings, none, folds, crops, repeat=0, fold=0, out=tmp_path / "f", work=tmp_path / "w")
    external = subjects.assign(role="external")
    with pytest.raises(LeakageError, match="may not teach"):
        train_fold(name, settings, external, folds, crops, repeat=0, fold=0, out=tmp_path / "f", work=tmp_path / "w")


def test_a_network_of_planes_with_missing_channels_goes_from_crops_to_maps(tmp_path: Path) -> None:
    subjects, external = study(tmp_path, 16), study(tmp_path, 6, "ext", seed=9, role="external")
    for name in ("DEV003", "EXT002"):
        (file,) = tmp_path.glob(f"*/crop-box/batch-01/**/*{name}*.safetensors")
        tensors = load_file(file)
        tensors["image"][1] = np.nan
        save_file(tensors, file)
    own = {"dims": 2, "slices": 2, "missing": "zero", "channel_dropout": 0.3, "epochs": 2, "seeds": 1}
    tables = {name: crop_table([tmp_path / name / "crop-box"]) for name in ("dev", "ext")}
    folds, scores, facts = split(subjects, folds=2), {}, {}
    for policy in ("zero", "refuse"):
        settings, out = config(**{**own, "missing": policy}), tmp_path / policy
        args = ("deep", settings, subjects, folds, tables["dev"])
        places = [out / f"fold-0-{fold}" for fold in (0, 1)]
        for fold, place in enumerate(places):
            train_fold(*args, repeat=0, fold=fold, out=place, work=tmp_path / "work")
        training, _ = train_network(*args, places, work=tmp_path / "work")
        facts[policy] = write_training(training, out)
        manifest = training.manifest.set_index("subject")
        assert manifest.loc["DEV003", "status"] == ("ok" if policy == "zero" else "failed")
        scores[policy] = predict(open_frozen(out), "ext", CohortRole.EXTERNAL, external, tables["ext"])
    assert manifest.loc["DEV003", "reason"] == "no image of channel 2"
    assert facts["zero"]["initial_weights"] == "from scratch"
    assert facts["zero"]["training"]["n"] == facts["refuse"]["training"]["n"] + 1
    one = {policy: table.set_index("subject").loc["EXT002"] for policy, table in scores.items()}
    assert np.isfinite(one["zero"]["y_prob"]) and np.isnan(one["refuse"]["y_prob"])
    assert one["refuse"]["reason"] == "no image of channel 2"
    table = explain_cohort(
        tmp_path / "zero", {}, external, tables["ext"], scores["zero"], tmp_path / "cam", each=1, seed=0
    )
    assert table["endpoint"].unique().tolist() == ["response"] and len(table) == 6
    assert (table["energy_in_mask"].notna() | table["reason"].ne("")).all()
    planes = load_network(tmp_path / "zero" / "model")
    found = frozen_dice(planes, external, tables["ext"], scores["zero"])
    assert found["subject"].tolist() == [f"EXT{i:03d}" for i in range(1, 6)]
    for _, case in found.iterrows():
        assert case[NUMBERS].tolist() == overlap(planes, external, tables["ext"], case["subject"])
    area = load_file(next(tmp_path.glob("ext/crop-box/batch-01/**/*EXT001*.safetensors")))["mask"].sum(axis=(1, 2))
    assert found["n_reference"].iloc[0] == area[np.flatnonzero(area)[[0, -1]]].sum(), "of the slices that it sees"
    refused = frozen_dice(load_network(tmp_path / "refuse" / "model"), external, tables["ext"], scores["refuse"])
    assert "EXT002" not in set(refused["subject"]), "a case without a channel is not scored and not segmented"
    deep = deep_features(
        load_model("network", tmp_path / "zero" / "model"), external, tables["ext"], scores["zero"].head(3)
    )
    assert deep["kind"].tolist() == ["frozen"] * 2 + ["apparent"] * 3
    assert deep["subject"].tolist() == [f"EXT{i:03d}" for i in range(1, 6)]
    assert np.isfinite(deep.filter(like="seed0_").to_numpy()).all() and deep.filter(like="seed0_").shape[1] == 16


def test_the_scaling_is_that_of_all_known_voxels_of_the_rows_and_makes_no_copy_of_all_crops(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(9)
    images = (1000 + 50 * rng.standard_normal((9, 3, 4, 5, 6))).astype(np.float32)
    images[2, 1] = np.nan  # a case without this channel
    rows = [7, 2, 0, 5, 4]
    crops = Crops(torch.from_numpy(images), torch.zeros((9, 1, 4, 5, 6)), ("",) * 9)
    fold: Any = SimpleNamespace(x=pd.DataFrame(index=rows), where="fold 0")
    sizes, double = [], torch.Tensor.double
    monkeypatch.setattr(torch.Tensor, "double", lambda self: sizes.append(self.numel()) or double(self))
    found = learn_scaling(fold, crops)
    exact = images[rows].astype(np.float64)
    assert found.mean == pytest.approx(np.nanmean(exact, axis=(0, 2, 3, 4)), rel=1e-14)
    assert found.sd == pytest.approx(np.nanstd(exact, axis=(0, 2, 3, 4)), rel=1e-13)
    assert max(sizes) == images[0].size, "one case at a time"
    images[:, 2] = 7.0
    with pytest.raises(TableError, match="does not vary"):
        learn_scaling(fold, crops)
