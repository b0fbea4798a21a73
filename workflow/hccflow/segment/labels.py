"""One label map for several structures, and back.

A network gives every voxel one label, but a tumour lies inside its liver. The table keeps both conventions: labels are
listed from the outside in, a later one overrides an earlier one in the map, and a structure that contains another in
the reference masks gets the other's voxels back when masks are written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from hccflow.errors import ConfigError, RoiError


@dataclass(frozen=True)
class Labels:
    """Structures from the outside in (label 1 first), and which of them contain others."""

    names: tuple[str, ...]
    contains: Mapping[str, tuple[str, ...]]

    def masks(self, label_map: NDArray[np.integer]) -> dict[str, NDArray[np.bool_]]:
        """Mask of each structure, with the voxels of the structures that it contains."""
        value = {name: i + 1 for i, name in enumerate(self.names)}
        inner = {name: [value[name], *(value[n] for n in self.contains.get(name, ()))] for name in self.names}
        return {name: np.isin(label_map, values) for name, values in inner.items()}


def label_map(masks: Mapping[str, NDArray[np.bool_]], names: Sequence[str]) -> NDArray[np.uint8]:
    """Label map of a case: 0 background, then one label per name; a later name overrides an earlier one."""
    out = np.zeros(masks[names[0]].shape, np.uint8)
    for value, name in enumerate(names, start=1):
        out[masks[name]] = value
    missing = [name for value, name in enumerate(names, start=1) if not (out == value).any()]
    if missing:
        raise RoiError(
            f"nothing is left of '{missing[0]}' under the labels that come after it", expected="labels from outside in",
            found=", ".join(names), todo="reorder segment.labels, the largest structure first",
        )  # fmt: skip
    return out


def shares(masks: Mapping[str, NDArray[np.bool_]], names: Sequence[str]) -> dict[tuple[str, str], float]:
    """Share of each later structure that lies inside each earlier one, by (earlier, later)."""
    return {(a, b): float((masks[a] & masks[b]).sum() / masks[b].sum()) for a, b in combinations(names, 2)}


def containment(cases: Sequence[Mapping[tuple[str, str], float]], names: Sequence[str]) -> Labels:
    """Decide from the training cases which structure contains which: most of the inner one, in the median case.

    Parameters
    ----------
    cases : sequence of mapping
        Result of `shares` for every training case.
    names : sequence of str
        Labels from the outside in.
    """
    if not cases:
        raise ConfigError("no training case has all reference masks", expected=", ".join(names))
    inside = [pair for pair in cases[0] if float(np.median([case[pair] for case in cases])) > 0.5]
    return Labels(tuple(names), {a: tuple(b for x, b in inside if x == a) for a in names if a in dict(inside)})
