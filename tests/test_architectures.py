"""Every entry of the registry: what goes in and out, that it learns, repeats and comes back; slices, channels, maps."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.networks.nets import DenseNet
from torch import Tensor

from hccflow.errors import ConfigError, DataAbsentError, FreezeError
from hccflow.models.encoding import Encoding
from hccflow.networks import augment, loop
from hccflow.networks.architectures import ARCHITECTURES, option, reductions
from hccflow.networks.crops import Crops, Scaling, view
from hccflow.networks.device import on_device, prepare
from hccflow.networks.gradcam import METHODS, class_activation, explain, redrawn
from hccflow.networks.heads import Tasks, tasks_of
from hccflow.networks.losses import response_loss
from hccflow.networks.model import NetworkModel, load_network
from hccflow.networks.options import check_network, check_size
from hccflow.networks.parts import AttentivePooling
from hccflow.networks.pretrained import origin, start_from
from hccflow.networks.registry import NETWORKS, Network, Shape, build
from hccflow.networks.state import write_tensors
from hccflow.provenance import file_digest

BASE: dict[str, Any] = {
    "crop": "box", "augment": "none", "epochs": 15, "patience": 15, "batch_size": 8, "learning_rate": 0.01,
    "weight_decay": 0.01, "dropout": 0.0, "seeds": 1, "device": "cpu", "missing": "refuse",
}  # fmt: skip
ENDPOINTS = {"response": {"kind": "binary"}}
CUBE, SLAB = (16, 16, 16), (32, 32, 4)
#: Small ones of every entry and dimension, with the crop that they see.
CASES: list[tuple[dict[str, Any], tuple[int, int, int]]] = [
    ({"architecture": "multitask_encoder", "width": 4}, CUBE),
    ({"architecture": "multitask_encoder", "width": 4, "dims": 2, "slices": 2}, SLAB),
    ({"architecture": "multitask_encoder", "width": 4, "dims": 2.5}, SLAB),
    ({"architecture": "unetpp_efficientnet", "width": 4}, SLAB),
    ({"architecture": "unetpp_efficientnet", "width": 4, "dims": 2.5}, SLAB),
    ({"architecture": "resnet", "width": 4, "depth": 10}, CUBE),
    ({"architecture": "resnet", "width": 4, "depth": 18, "dims": 2, "slices": 2}, SLAB),
    ({"architecture": "resnet", "width": 4, "depth": 50, "dims": 2}, SLAB),
    ({"architecture": "resnet", "width": 4, "depth": 34, "dims": 2.5}, SLAB),
    ({"architecture": "densenet", "width": 8, "blocks": [2, 2, 2], "activation": "elu", "attention": True}, CUBE),
    ({"architecture": "densenet", "width": 8, "blocks": [2, 2, 2], "dims": 2}, SLAB),
    ({"architecture": "densenet", "width": 8, "blocks": [1, 1, 1, 1], "dims": 2.5, "slices": 5}, (32, 32, 6)),
    ({"architecture": "efficientnet"}, CUBE),
    ({"architecture": "efficientnet", "dims": 2}, (16, 16, 4)),
    ({"architecture": "swin", "width": 8, "blocks": [1, 1, 1, 1]}, CUBE),
    ({"architecture": "swin", "width": 8, "blocks": [2, 2, 2, 2], "dims": 2}, SLAB),
]
NAMES = [f"{spec['architecture']}-{option(spec, 'dims'):g}d-{option(spec, 'slices')}" for spec, _ in CASES]
every = pytest.mark.parametrize(("own", "size"), CASES, ids=NAMES)
#: Training one on the CPU: a depthwise convolution in 3D takes a second a step.
trained = pytest.mark.parametrize(
    ("own", "size"),
    [
        pytest.param(*case, marks=[pytest.mark.slow] if name.startswith("efficientnet-3d") else [])
        for case, name in zip(CASES, NAMES, strict=True)
    ],
    ids=NAMES,
)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)


def complete(own: Mapping[str, Any]) -> dict[str, Any]:
    """Entry of the configuration of one case."""
    segments = ARCHITECTURES[own["architecture"]].segments
    tasks = {"response": 1.0, **({"segmentation": 0.5} if segments else {})}
    return {**BASE, "tasks": tasks, **own}


def learnt(spec: Mapping[str, Any]) -> Tasks:
    return tasks_of({"endpoint": "response", "network": spec}, ENDPOINTS)


def crops(n: int, size: tuple[int, int, int], seed: int = 0) -> tuple[Crops, np.ndarray]:
    """Cases with a ball, bright where the label is 1; its largest slice is the second one."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    i, j, k = size
    z, yy, x = np.meshgrid(np.arange(k), np.arange(j), np.arange(i), indexing="ij")
    distance = ((x - i / 2) / (i / 3)) ** 2 + ((yy - j / 2) / (j / 3)) ** 2 + ((z - 1) / max(k / 2, 2)) ** 2
    mask = np.broadcast_to(distance < 1, (n, 1, k, j, i))
    images = 0.3 * rng.normal(size=(n, 2, k, j, i)) + mask * (1.5 * y[:, None, None, None, None] - 0.5)
    tensors = [torch.tensor(np.array(v), dtype=torch.float32) for v in (images, mask)]
    return Crops(tensors[0], tensors[1], ("",) * n), y.astype(float)


def rows_of(own: Mapping[str, Any], size: tuple[int, int, int], n: int = 8) -> tuple[loop.Rows, Shape]:
    """What a network of one case sees of some crops."""
    found, y = crops(n, size)
    looked = view(found, complete(own))
    rows = loop.Rows(looked.images, looked.masks, torch.zeros(n, 1), {"response": torch.tensor(y, dtype=torch.float32)})
    return rows, Shape(2, tuple(looked.images.shape[:1:-1]), 1, {"response": 1})


def train(own: Mapping[str, Any], size: tuple[int, int, int], **more: Any) -> tuple[Network, loop.Rows, Shape]:
    rows, shape = rows_of(own, size)
    spec = {**complete(own), **more}
    result = loop.train_network(shape, spec, learnt(spec), rows, None, seed=3, device=torch.device("cpu"))
    assert isinstance(result.network, Network)
    return result.network, rows, shape


def test_there_is_a_small_one_of_every_entry_and_dimension() -> None:
    there = {(spec["architecture"], option(spec, "dims")) for spec, _ in CASES}
    wanted = {(name, dims) for name, entry in ARCHITECTURES.items() for dims in entry.dims}
    assert set(NETWORKS) == set(ARCHITECTURES)
    assert wanted - there == {("efficientnet", 2.5), ("swin", 2.5)}  # the same code as their 2D with more channels


@every
def test_what_goes_in_and_out_and_every_weight_gets_a_gradient(own: dict[str, Any], size: tuple[int, int, int]) -> None:
    rows, shape = rows_of(own, size, 4)
    torch.manual_seed(0)
    spec = complete(own)
    network = build(Shape(2, shape.size, 1, {"response": 1, "os": 3}), spec).train()
    out = network(rows.images, rows.clinical)
    assert out["response"].shape == (4,) and out["os"].shape == (4, 3)
    assert out["features"].ndim == 2 and len(out["features"]) == 4
    segments = ARCHITECTURES[spec["architecture"]].segments
    assert ("segmentation" in out) == segments
    if segments:
        assert out["segmentation"].shape == rows.masks.shape
    loss = response_loss(out["response"], rows.labels["response"]) + out["os"].square().mean()
    loss.backward()
    parameters = dict(network.named_parameters())
    assert all(p.requires_grad for p in parameters.values())
    assert not [name for name, p in parameters.items() if p.grad is None]
    # a bias before batch normalisation has a gradient of 0 by construction; a weight may not
    assert not [name for name, p in parameters.items() if name.endswith("weight") and not p.grad.abs().sum() > 0]
    maps = network.encoder(_as_seen(rows.images, spec))
    assert [m.shape[1] for m in maps] == network.encoder.widths
    assert min(maps[-1].shape[2:]) >= 2


def _as_seen(images: Tensor, spec: Mapping[str, Any]) -> Tensor:
    dims = option(spec, "dims")
    return images if dims == 3 else images.flatten(1, 2) if dims == 2.5 else images.transpose(1, 2).flatten(0, 1)


@trained
def test_the_optimiser_has_exactly_the_weights_with_a_gradient(
    own: dict[str, Any], size: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[int] = set()
    original = torch.optim.AdamW

    def spy(groups: Any, **options: Any) -> torch.optim.Optimizer:
        optimiser = original(groups, **options)
        seen.update(id(p) for group in optimiser.param_groups for p in group["params"])
        return optimiser

    monkeypatch.setattr(torch.optim, "AdamW", spy)
    network, _, _ = train(own, size, epochs=1)
    assert {id(p) for p in network.parameters() if p.requires_grad} <= seen
    assert len(seen) == len(list(network.parameters()))


@trained
def test_a_batch_can_be_overfitted_and_comes_back_from_disk(
    own: dict[str, Any], size: tuple[int, int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def quick(shape: Shape, spec: dict[str, Any]) -> Network:
        network = build(shape, spec)
        for module in network.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                module.momentum = 0.5  # 15 steps are few for running means
        return network

    monkeypatch.setattr(loop, "build", quick)
    network, rows, shape = train(own, size)
    out = loop.outputs_of(network, rows, 8)
    assert ((out["response"] > 0).float() == rows.labels["response"]).all()
    assert float(response_loss(out["response"], rows.labels["response"])) < 0.3
    scaling, heads = Scaling((0.0, 0.0), (1.0, 1.0)), learnt(complete(own)).heads
    model = NetworkModel(complete(own), heads, shape, Encoding((), ()), None, scaling, (network,), ({},))
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
    model.save(tmp_path / "a")
    again = load_network(tmp_path / "a")
    again.save(tmp_path / "b")
    for name in ("model.json", "seed-0.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    back = loop.outputs_of(on_device(again.networks[0], torch.device("cpu")), rows, 8)
    assert all(torch.equal(out[name], back[name]) for name in out)


@trained
def test_a_seed_names_a_network(own: dict[str, Any], size: tuple[int, int, int]) -> None:
    one, _, _ = train(own, size, epochs=2, augment="strong", channel_dropout=0.3)
    two, _, _ = train(own, size, epochs=2, augment="strong", channel_dropout=0.3)
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))


@every
def test_every_network_has_a_map_on_the_grid_of_its_crop(own: dict[str, Any], size: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    rows, shape = rows_of(own, size, 4)
    network = build(shape, complete(own)).eval()
    row = rows.take([1])
    for method in METHODS:
        cam, reason = class_activation(network, row, "response", 1.0, method)
        assert cam.shape == (1, *row.images.shape[2:])
        assert (cam >= 0).all() and np.isfinite(cam).all()
        assert bool(reason) == (cam.sum() == 0)
    new = redrawn(network, 1)
    for (name, old), fresh in zip(network.named_parameters(), new.parameters(), strict=True):
        if name.endswith("weight") and old.numel() > 1 and float(old.detach().std()) > 0:
            assert not torch.equal(old, fresh), f"{name} was not drawn anew"


def test_pooling_keeps_its_digits_where_a_gpu_multiplies_in_bfloat16() -> None:
    maps = [10 + torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))]
    pooling, logits = AttentivePooling([3]), torch.zeros(2, 1, 8, 8)
    exact = torch.cat([maps[0].mean(dim=(2, 3)), maps[0].std(dim=(2, 3), correction=0)], dim=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = pooling(maps, logits)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found[:, :6], exact, rtol=0.02, atol=0.02)


@every
def test_heads_keep_their_digits_where_a_gpu_multiplies_in_bfloat16(
    own: dict[str, Any], size: tuple[int, int, int]
) -> None:
    """Logits in bfloat16 tie: between 0.25 and 0.5 it has 128 numbers."""
    rows, shape = rows_of(own, size, 24)
    torch.manual_seed(0)
    network = build(Shape(2, shape.size, 1, {"response": 1, "os": 3}), complete(own)).train()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        out = network(rows.images, rows.clinical)
    for name in ("response", "os", "features"):
        assert out[name].dtype == torch.float32, name
    assert len(out["response"].unique()) == 24 and len(out["os"].unique()) == 72


@pytest.mark.parametrize("place", [0, 3, 6, 9, 13, 15], ids=lambda place: NAMES[place])
def test_scores_have_the_arithmetic_of_the_frozen_network_where_training_has_bfloat16(
    place: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "autocast", lambda device: torch.autocast(device.type, dtype=torch.bfloat16))
    prepare(torch.device("cpu"), 1)
    assert not (torch.backends.cudnn.allow_tf32 or torch.backends.cuda.matmul.allow_tf32)
    network, rows, _ = train(*CASES[place], epochs=1)
    found = loop.outputs_of(network, rows, 8)
    with torch.no_grad():
        frozen = network.eval()(rows.images, rows.clinical)
    assert all(torch.equal(found[name], frozen[name]) for name in frozen)


# What a network sees


def test_a_network_of_planes_sees_the_largest_slice_its_neighbours_or_several() -> None:
    images = torch.arange(6.0)[None, None, :, None, None].expand(1, 2, 6, 32, 32).clone()
    masks = torch.zeros(1, 1, 6, 32, 32)
    for k, width in {2: 4, 3: 8, 4: 6, 5: 2}.items():
        masks[0, 0, k, :width, :width] = 1
    whole = Crops(images, masks, ("",))

    def slices(**own: Any) -> list[float]:
        seen = view(whole, {**BASE, "architecture": "resnet", **own})
        assert torch.equal(seen.masks[0, 0, :, 0, 0] > 0, seen.images[0, 0, :, 0, 0] >= 2)
        return seen.images[0, 1, :, 0, 0].tolist()

    assert slices(dims=2) == [3]
    assert slices(dims=2.5) == [2, 3, 4]
    assert slices(dims=2.5, slices=5) == [1, 2, 3, 4, 5]
    assert slices(dims=2, slices=4) == [2, 3, 4, 5]
    assert slices(dims=2, slices=2) == [2, 5]
    assert slices(dims=2, slices=6) == [2, 3, 3, 4, 4, 5]
    masks[0, 0, 0, :20, :20] = 1
    edge = view(whole, {**BASE, "architecture": "resnet", "dims": 2.5})
    assert edge.images[0, 0, :, 0, 0].tolist() == [0, 0, 1]


def test_a_case_has_the_mean_score_of_its_slices_whatever_their_order() -> None:
    rows, shape = rows_of(CASES[6][0], SLAB)
    torch.manual_seed(0)
    network = build(shape, complete(CASES[6][0])).eval()
    with torch.no_grad():
        both = network(rows.images, rows.clinical)
        turned = network(rows.images.flip(2), rows.clinical)
        alone = [network(rows.images[:, :, k : k + 1], rows.clinical) for k in range(2)]
    for name in ("response", "features"):
        torch.testing.assert_close(both[name], turned[name])
        torch.testing.assert_close(both[name], (alone[0][name] + alone[1][name]) / 2)


def test_planes_are_not_mixed_by_augmentation() -> None:
    images = torch.arange(1.0, 4.0)[None, None, :, None, None].expand(4, 1, 3, 16, 16).clone()
    strength = augment.Strength(0.5, 30, 0.1, 0.15, 0, 0, 0)
    moved, _ = augment.augment(images, (images > 0).float(), strength, np.random.default_rng(0), planes=True)
    for case in moved:
        orders = [sorted(set(np.round(plane.unique().tolist(), 4))) for plane in case[0]]
        assert orders in ([[1.0], [2.0], [3.0]], [[3.0], [2.0], [1.0]])
    mixed, _ = augment.augment(images, (images > 0).float(), strength, np.random.default_rng(0))
    assert len(mixed.unique()) > 3


# Channels


def test_a_missing_channel_is_refused_or_said_to_the_heads() -> None:
    found, _ = crops(4, CUBE)
    found.images[1, 1] = float("nan")
    own = {"architecture": "multitask_encoder", "width": 4}
    refusing = view(found, complete(own))
    assert refusing.reasons == ("", "no image of channel 2", "", "")
    assert refusing.present.tolist() == [True, False, True, True]
    accepting = complete({**own, "missing": "zero"})
    assert view(found, accepting).present.all()
    images = Scaling((0.5, 0.5), (2.0, 2.0)).apply(found.images)
    assert (images[1, 1] == 0).all() and torch.isfinite(images).all()
    shape = Shape(2, CUBE, 1, {"response": 1})
    torch.manual_seed(0)
    network = build(shape, accepting).eval()
    plain = build(shape, complete(own))
    assert network.heads.hidden.in_features == plain.heads.hidden.in_features + 2
    with torch.no_grad():
        told = network(images, torch.zeros(4, 1))["features"][1]
        network.heads.hidden.weight[:, -1] = 0  # what the head reads of the second channel's absence
        untold = network(images, torch.zeros(4, 1))["features"][1]
    assert not torch.allclose(told, untold)


def test_dropped_channels_are_absent_and_a_case_keeps_one() -> None:
    found, _ = crops(40, (8, 8, 8))
    images = found.images.clone()
    images[:10, 1] = 0
    spec = {**complete(CASES[0][0]), "augment": "strong", "channel_dropout": 0.7}
    out, _ = augment.vary(images, found.masks, spec, np.random.default_rng(0))
    there = ~(out == 0).flatten(2).all(dim=2)
    assert not there[:10, 1].any() and there[:10, 0].all()
    assert there.any(dim=1).all()
    assert 5 < int((~there[10:]).sum()) < 40
    same, _ = augment.vary(
        images, found.masks, {**spec, "augment": "none", "channel_dropout": 0.0}, np.random.default_rng(0)
    )
    assert torch.equal(same, images)


# Options


@pytest.mark.parametrize(
    ("own", "words"),
    [
        (
            {"architecture": "resnet", "tasks": {"response": 1.0, "segmentation": 0.5}},
            "resnet has no segmentation path",
        ),
        ({"architecture": "resnet", "blocks": [1, 1]}, "resnet has no option 'blocks'"),
        ({"architecture": "unetpp_efficientnet", "dims": 3}, "does not take 3 dimensions"),
        ({"architecture": "resnet", "dims": 3, "slices": 2}, "sees the whole crop"),
        ({"architecture": "resnet", "dims": 2.5, "slices": 4}, "neighbours lie on both sides"),
        ({"architecture": "swin", "blocks": [2, 2]}, "swin has four stages"),
    ],
)
def test_an_option_that_an_architecture_does_not_have_is_said(own: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        check_network({"endpoint": "response", "network": complete(own)}, ENDPOINTS, "config.models.deep")


@pytest.mark.parametrize(
    ("own", "size", "words"),
    [
        ({"architecture": "multitask_encoder"}, (9, 8, 8), "must be halved at least once"),
        ({"architecture": "resnet"}, (32, 32, 8), "too small for resnet.*at least 16 voxels"),
        ({"architecture": "unetpp_efficientnet"}, (36, 32, 4), "cannot be halved 3 times"),
        ({"architecture": "resnet", "dims": 2, "slices": 9}, (32, 32, 8), "more slices than the crop has"),
        ({"architecture": "multitask_encoder", "dims": 2.5, "slices": 7}, (32, 32, 5), "more slices.*at most 5"),
        ({"architecture": "multitask_encoder", "dims": 2, "slices": 6}, (32, 32, 5), "more slices than the crop has"),
    ],
)
def test_a_crop_that_does_not_fit_is_said(own: dict[str, Any], size: tuple[int, int, int], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        check_size(complete(own), size, "config.crops.box.size")


def test_encoders_are_as_published_from_128_pixels_and_halve_less_below() -> None:
    spec = {"architecture": "resnet", "dims": 2}
    assert [reductions(spec, (n, n, 1)) for n in (16, 32, 48, 64, 127, 128, 256)] == [3, 3, 3, 4, 4, 5, 5]
    assert reductions({"architecture": "densenet", "blocks": [2, 2], "dims": 2}, (64, 64, 1)) == 3


# Pretrained weights


def pretrained(path: Path, own: Mapping[str, Any]) -> dict[str, Any]:
    return {**complete(own), "pretrained": {"path": str(path), "licence": "MIT", "sha256": file_digest(path)}}


@pytest.mark.parametrize("place", [0, 3, 5, 9, 13, 15], ids=lambda place: NAMES[place])
def test_pretrained_weights_come_from_a_file_whose_digest_is_named(place: int, tmp_path: Path) -> None:
    own, size = CASES[place]
    _, shape = rows_of(own, size, 2)
    torch.manual_seed(1)
    source = build(shape, complete(own))
    file = tmp_path / "weights.safetensors"
    write_tensors({f"module.{name}": tensor for name, tensor in source.state_dict().items()}, file)
    spec = pretrained(file, own)
    torch.manual_seed(2)
    network = build(shape, spec)
    head = network.heads.out.weight.clone()
    start_from(network, spec)
    for name, tensor in network.encoder.state_dict().items():
        if not name.endswith("num_batches_tracked") and not name.startswith("attention."):
            assert torch.equal(tensor, source.encoder.state_dict()[name]), name
    assert torch.equal(network.heads.out.weight, head), "heads start from random numbers"
    assert origin(spec) == {"file": "weights.safetensors", "licence": "MIT", "sha256": file_digest(file)}
    assert origin(complete(own)) == "from scratch"


def test_pretrained_weights_fill_a_densenet_below_its_attention_block_which_starts_at_random(tmp_path: Path) -> None:
    own, size = CASES[9]
    _, shape = rows_of(own, size, 2)
    published = DenseNet(3, 2, 2, 8, 4, (2, 2, 2))
    torch.save(published.state_dict(), tmp_path / "weights.pth")
    spec = pretrained(tmp_path / "weights.pth", own)
    assert option(spec, "attention")
    torch.manual_seed(2)
    network = build(shape, spec)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    start_from(network, spec)
    theirs, ours = published.features.state_dict(), network.encoder.features.state_dict()
    weights = {name for name in ours if not name.endswith("num_batches_tracked")}
    assert weights <= set(theirs) and all(torch.equal(ours[name], theirs[name]) for name in weights)
    untouched = [name for name in before if not name.startswith("encoder.features")]
    assert {name.split(".")[1] for name in untouched if name.startswith("encoder")} == {"attention"}
    assert all(torch.equal(network.state_dict()[name], before[name]) for name in untouched)


def test_pretrained_weights_of_another_number_of_channels_are_spread(tmp_path: Path) -> None:
    own = {"architecture": "resnet", "width": 4, "depth": 10, "dims": 2}
    three = build(Shape(3, (32, 32, 1), 0, {"response": 1}), complete(own))
    torch.save({"state_dict": three.encoder.net.state_dict()}, tmp_path / "weights.pth")
    spec = pretrained(tmp_path / "weights.pth", own)
    two = build(Shape(2, (32, 32, 1), 0, {"response": 1}), spec)
    start_from(two, spec)
    torch.testing.assert_close(two.encoder.net.conv1.weight, three.encoder.net.conv1.weight[:, :2] * 1.5)


def test_pretrained_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    own = {"architecture": "resnet", "width": 4, "depth": 10, "dims": 2}
    shape = Shape(2, (32, 32, 1), 0, {"response": 1})
    file = tmp_path / "weights.safetensors"
    write_tensors(build(shape, complete(own)).state_dict(), file)
    spec = pretrained(file, own)
    deeper = {**spec, "depth": 18}
    with pytest.raises(FreezeError, match="belong to another network.*layer1"):
        start_from(build(shape, deeper), deeper)
    wider = {**spec, "width": 8}
    with pytest.raises(FreezeError, match="belong to another network; where: weights"):
        start_from(build(shape, wider), wider)
    other = {**spec, "pretrained": {**spec["pretrained"], "sha256": "0" * 64}}
    with pytest.raises(ConfigError, match="are another file"):
        start_from(build(shape, other), other)
    lost = {**spec, "pretrained": {**spec["pretrained"], "path": "nowhere.safetensors"}}
    with pytest.raises(DataAbsentError, match="are not there"):
        start_from(build(shape, lost), lost)
    (tmp_path / "code.pth").write_bytes(pickle.dumps({"a": Path("x")}, protocol=2))
    with pytest.raises(FreezeError, match="without running code"):
        start_from(build(shape, spec), pretrained(tmp_path / "code.pth", own))


# Maps


def test_maps_that_say_nothing_have_a_reason() -> None:
    own = {"architecture": "resnet", "width": 4, "depth": 10}
    rows, shape = rows_of(own, CUBE, 2)
    torch.manual_seed(0)
    network = build(shape, complete(own)).eval()
    with torch.no_grad():
        network.heads.out.weight.zero_()
    found = explain([network], rows.take([1]), "response", 1.0, 0, "gradcam")
    assert found.energy_in_mask is None and found.reason == "no gradient reaches the last maps"

    class Flat(torch.nn.Module):
        widths = (1,)

        def forward(self, image: Tensor) -> list[Tensor]:
            return [torch.ones(len(image), 1, 2, 2, 2) + 0 * image.mean()]

    flat = Network(Flat(), None, shape, complete(own)).eval()
    with torch.no_grad():
        flat.heads.hidden.weight.fill_(1.0)
        flat.heads.hidden.bias.fill_(1.0)
        flat.heads.out.weight.fill_(1.0)
    images = rows.images.requires_grad_()
    case = loop.Rows(images[1:], rows.masks[1:], rows.clinical[1:], {})
    found = explain([flat], case, "response", 1.0, 0, "gradcam")
    assert found.reason == "the map is the same everywhere: it points at nothing"
    assert found.energy_in_mask == pytest.approx(found.mask_fraction, rel=1e-5)
    against = explain([flat], case, "response", -1.0, 0, "gradcam")
    assert against.reason == "nothing in the last maps speaks for the answer"
