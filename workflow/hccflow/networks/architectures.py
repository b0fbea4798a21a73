"""What the registry's networks are called and can do: light, for whoever must know before any compute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: Fewest voxels along an axis of the encoder's last map where the crop allows it, and the most resolutions of ours.
LAST_MAP, MOST_STAGES = 4, 5


@dataclass(frozen=True)
class Architecture:
    """What an entry of the registry can do.

    Attributes
    ----------
    dims : tuple of float
        Dimensions that it takes, its default first: 2 (slices), 2.5 (neighbouring slices as channels), 3.
    segments : bool
        Whether it has a segmentation path.
    options : mapping
        Its own options with their defaults.
    reductions : tuple of 2 int
        Fewest and most halvings of the crop; (0, 0) for one that fits itself to any crop.
    """

    dims: tuple[float, ...]
    segments: bool
    options: Mapping[str, Any]
    reductions: tuple[int, int] = (0, 0)


#: Entries of the registry (`hccflow.networks.registry.NETWORKS` holds their builders).
ARCHITECTURES: Mapping[str, Architecture] = {
    "multitask_encoder": Architecture((3, 2, 2.5), True, {"width": 16}),
    "unetpp_efficientnet": Architecture((2, 2.5), True, {"width": 16, "size": "b0"}, (3, 5)),
    "resnet": Architecture((3, 2, 2.5), False, {"width": 64, "depth": 18}, (3, 5)),
    "densenet": Architecture(
        (3, 2, 2.5), False, {"width": 64, "blocks": (6, 12, 24, 16), "activation": "relu", "attention": False}, (3, 5)
    ),
    "efficientnet": Architecture((3, 2, 2.5), False, {"size": "b0"}, (3, 5)),
    "swin": Architecture((3, 2, 2.5), False, {"width": 96, "blocks": (2, 2, 6, 2)}, (3, 5)),
}
#: Options that belong to some architectures only.
OWN = ("width", "depth", "size", "blocks", "activation", "attention")
#: Options of all architectures that have a default of their own.
SLICES = {2: 1, 2.5: 3}


def option(spec: Mapping[str, Any], name: str) -> Any:
    """Value of an option of a network's entry, or the default of its architecture.

    ``dims`` is the dimension, ``slices`` the number of slices that a network of planes sees.
    """
    entry = ARCHITECTURES[spec["architecture"]]
    if name == "dims":
        return spec.get("dims", entry.dims[0])
    if name == "slices":
        return spec.get("slices", SLICES.get(option(spec, "dims"), 0))
    return spec.get(name, entry.options.get(name))


def seen(spec: Mapping[str, Any], size: Sequence[int]) -> tuple[int, ...]:
    """Size of what the network's first layer sees of a crop ``(i, j, k)``."""
    return tuple(size) if option(spec, "dims") == 3 else tuple(size[:2])


def stages(size: Sequence[int]) -> int:
    """Resolutions of our own encoder: halved while every axis is even and its half is not below `LAST_MAP`."""
    count, now = 1, tuple(size)
    while count < MOST_STAGES and all(n % 2 == 0 and n // 2 >= LAST_MAP for n in now):
        now, count = tuple(n // 2 for n in now), count + 1
    return count


def reductions(spec: Mapping[str, Any], size: Sequence[int]) -> int:
    """Halvings of a published encoder on crops of `size`: the most that leave `LAST_MAP` voxels along every axis."""
    fewest, most = ARCHITECTURES[spec["architecture"]].reductions
    if "blocks" in spec and spec["architecture"] == "densenet":
        fewest, most = len(spec["blocks"]) - 1, len(spec["blocks"]) + 1
    small = min(seen(spec, size))
    return max([n for n in range(fewest, most + 1) if small // 2**n >= LAST_MAP], default=fewest)
