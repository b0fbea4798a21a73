"""What a network's entry in the configuration may say: light, so that a mistake is found before any compute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hccflow.errors import ConfigError
from hccflow.networks.architectures import ARCHITECTURES, OWN, Architecture, option, reductions, seen, stages
from hccflow.networks.heads import SEGMENTATION, check_tasks, tasks_of


def check_crop(box: Mapping[str, Any], where: str) -> None:
    """Refuse a crop whose grid is not given once."""
    if ("spacing_mm" in box) == ("margin_mm" in box):
        raise ConfigError(
            "the grid of a crop is given once", where=where, expected="spacing_mm (a fixed grid) or margin_mm (fitted)",
            found=[key for key in ("spacing_mm", "margin_mm") if key in box],
        )  # fmt: skip


def check_size(spec: Mapping[str, Any], size: Sequence[int], where: str) -> None:
    """Refuse a crop ``(i, j, k)`` on which the network cannot be built.

    Raises
    ------
    ConfigError
        An axis is too short, or cannot be halved as often as a decoder needs, or there are fewer slices than it sees.
    """
    name, mine = spec["architecture"], seen(spec, size)
    depth = option(spec, "slices") if option(spec, "dims") != 3 else 0
    if depth > size[2]:
        raise ConfigError("more slices than the crop has", where=where, expected=f"at most {size[2]}", found=depth)
    if ARCHITECTURES[name].reductions == (0, 0):
        if stages(mine) < 2:
            raise ConfigError(
                "a crop must be halved at least once", where=where, expected="even numbers from 8", found=list(size)
            )
        return
    halvings = reductions(spec, size)
    if min(mine) < 2 ** (halvings + 1):
        raise ConfigError(
            f"the crop is too small for {name}", where=where, found=list(size),
            expected=f"at least {2 ** (halvings + 1)} voxels along every axis that it sees",
            todo="make the crop finer, or set dims: 2",
        )  # fmt: skip
    if ARCHITECTURES[name].segments and any(n % 2**halvings for n in mine):
        raise ConfigError(
            f"the crop cannot be halved {halvings} times", where=where, expected=f"multiples of {2**halvings}",
            found=list(size),
        )  # fmt: skip


def check_network(model: Mapping[str, Any], endpoints: Mapping[str, Any], where: str) -> None:
    """Refuse tasks that cannot be learnt, and what the architecture does not have."""
    check_tasks(model, endpoints, where)
    check_architecture(model["network"], tasks_of(model, endpoints).weights, f"{where}.network")


def check_architecture(spec: Mapping[str, Any], weights: Mapping[str, float], where: str) -> None:
    """Refuse what an architecture does not have.

    Parameters
    ----------
    spec : mapping
        Entry ``network`` of the configuration.
    weights : mapping
        Weight of each task.
    where : str
        Its place in the configuration.

    Raises
    ------
    ConfigError
        A segmentation task without a segmentation path, an option or a dimension of another architecture.
    """
    entry = ARCHITECTURES[spec["architecture"]]
    if weights.get(SEGMENTATION) and not entry.segments:
        raise ConfigError(
            f"{spec['architecture']} has no segmentation path", where=f"{where}.tasks", found=dict(weights),
            expected="no weight of segmentation, or one of "
            + ", ".join(name for name, other in ARCHITECTURES.items() if other.segments),
        )  # fmt: skip
    for name in OWN:
        if name in spec and name not in entry.options:
            raise ConfigError(
                f"{spec['architecture']} has no option '{name}'", where=f"{where}.{name}",
                expected=", ".join(entry.options),
            )  # fmt: skip
    _check_dims(spec, entry, where)
    if spec["architecture"] == "swin" and len(option(spec, "blocks")) != 4:
        raise ConfigError("swin has four stages", where=f"{where}.blocks", found=spec["blocks"])


def _check_dims(spec: Mapping[str, Any], entry: Architecture, where: str) -> None:
    dims = option(spec, "dims")
    if dims not in entry.dims:
        raise ConfigError(
            f"{spec['architecture']} does not take {dims} dimensions", where=f"{where}.dims",
            expected=" or ".join(f"{n:g}" for n in sorted(entry.dims)),
        )  # fmt: skip
    if "slices" in spec and dims == 3:
        raise ConfigError("a network in 3D sees the whole crop", where=f"{where}.slices", todo="leave slices out")
    if dims == 2.5 and (option(spec, "slices") < 3 or option(spec, "slices") % 2 == 0):
        raise ConfigError(
            "neighbours lie on both sides of the largest slice", where=f"{where}.slices", expected="3, 5, 7, ...",
            found=spec["slices"],
        )  # fmt: skip
