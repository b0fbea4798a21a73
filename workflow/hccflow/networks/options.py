"""What a network's entry in the configuration may say: light, so that a mistake is found before any compute."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hccflow.errors import ConfigError
from hccflow.networks.heads import check_tasks

#: Names of the registry (`hccflow.networks.registry.NETWORKS` holds their builders).
ARCHITECTURES = ("multitask_encoder",)
#: Fewest voxels along an axis of the encoder's last map, and the most stages.
LAST_MAP, MOST_STAGES = 4, 5


def stages(size: tuple[int, ...]) -> int:
    """Resolutions of an encoder for crops of `size`: halved while every axis is even and its half is not below 4."""
    count = 1
    while count < MOST_STAGES and all(n % 2 == 0 and n // 2 >= LAST_MAP for n in size):
        size, count = tuple(n // 2 for n in size), count + 1
    return count


def check_crop(box: Mapping[str, Any], where: str) -> None:
    """Refuse a crop on which no encoder can be built, or whose grid is not given once."""
    if ("spacing_mm" in box) == ("margin_mm" in box):
        raise ConfigError(
            "the grid of a crop is given once", where=where, expected="spacing_mm (a fixed grid) or margin_mm (fitted)",
            found=[key for key in ("spacing_mm", "margin_mm") if key in box],
        )  # fmt: skip
    if stages(tuple(box["size"])) < 2:
        raise ConfigError(
            "a crop must be halved at least once", where=f"{where}.size", expected="even numbers from 8",
            found=box["size"],
        )  # fmt: skip


def check_network(model: Mapping[str, Any], endpoints: Mapping[str, Any], where: str) -> None:
    """Refuse tasks that cannot be learnt; see `hccflow.networks.heads.check_tasks`."""
    check_tasks(model, endpoints, where)
