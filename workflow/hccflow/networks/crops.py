"""Crops of a cohort in memory: one tensor, rows as in a table of subjects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from hccflow.errors import DataAbsentError, TableError
from hccflow.models.encoding import KEYS
from hccflow.models.fold import Fold
from hccflow.networks.architectures import option
from hccflow.networks.croptable import PATH
from hccflow.networks.options import check_size
from hccflow.paths import CHANNELS

#: Why a row without a crop cannot be used; the manifest of the crops says why there is none.
NO_CROP = "no crop"


@dataclass(frozen=True)
class Crops:
    """Crops of the rows of a table, in its order.

    Attributes
    ----------
    images : Tensor of float32, shape (n, channels, k, j, i)
        A channel that the case does not have is NaN.
    masks : Tensor of float32, shape (n, 1, k, j, i)
        NaN throughout for a row without a crop, whose image is 0.
    reasons : tuple of str
        Why a row cannot be used; empty where it can.
    channels : tuple of str
        Names of the channels, as the files give them; empty where they give none.
    """

    images: torch.Tensor
    masks: torch.Tensor
    reasons: tuple[str, ...]
    channels: tuple[str, ...] = ()

    @property
    def present(self) -> np.ndarray:
        """Whether each row can be used, shape (n,)."""
        return np.array([not reason for reason in self.reasons], dtype=bool)


def read_crops(subjects: pd.DataFrame, table: pd.DataFrame) -> Crops:
    """Read the crops of rows of `subjects`, joined by cohort, subject and session.

    Raises
    ------
    TableError
        No row has a crop, or crops differ in size or channels.
    DataAbsentError
        A file cannot be read.
    """
    keyed = table.set_index(KEYS)[PATH].reindex(pd.MultiIndex.from_frame(subjects[KEYS]))
    paths = [path if isinstance(path, str) else "" for path in keyed]
    loaded = {place: _load(Path(path)) for place, path in enumerate(paths) if path}
    if not loaded:
        raise TableError("no case has a crop", where="--crops", todo="look at the manifest of the rule crop")
    shapes = {tuple(one["image"].shape): paths[place] for place, one in loaded.items()}
    if len(shapes) > 1:
        raise TableError("crops differ in size or channels", where="--crops", found=sorted(shapes))
    shape = next(iter(shapes))
    images = torch.zeros((len(paths), *shape), dtype=torch.float32)
    masks = torch.full((len(paths), 1, *shape[1:]), float("nan"))
    for place, one in loaded.items():
        images[place], masks[place, 0] = one["image"].float(), one["mask"].float()
    names = {_channels(Path(path)) for path in paths if path}
    if len(names) > 1:
        raise TableError("crops differ in size or channels", where="--crops", found=sorted(names))
    return Crops(images, masks, tuple("" if path else NO_CROP for path in paths), next(iter(names)))


def no_crops(n: int, shape: tuple[int, ...]) -> Crops:
    """Rows of which none has a crop, for a network that sees images of a shape (channels, k, j, i)."""
    masks = torch.full((n, 1, *shape[1:]), float("nan"))
    return Crops(torch.zeros((n, *shape)), masks, (NO_CROP,) * n)


def view(crops: Crops, spec: Mapping[str, Any]) -> Crops:
    """What a network sees of crops: its channels and slices, and only cases that its policy on missing ones lets in.

    In 3D the whole crop; in 2.5D the slice with the largest area of the region and its neighbours (the crop's last
    slice again where it ends); in 2D the largest slice, or, of several, slices spread evenly from the first to the last
    one of the region (some twice where it has fewer). All slices of a case stay in its one row.

    Parameters
    ----------
    crops : Crops
    spec : mapping
        Entry ``network`` of the configuration.

    Raises
    ------
    ConfigError
        The crop is too small for the network.
    TableError
        The crops do not have a channel that the network names.
    """
    if "channels" in spec:
        unknown = [name for name in spec["channels"] if name not in crops.channels]
        if unknown:
            raise TableError(
                f"the crops have no channel '{unknown[0]}'", where=f"crop-{spec['crop']}",
                found=", ".join(crops.channels) or "no names of channels", todo="run the rule crop again",
            )  # fmt: skip
        taken = [crops.channels.index(name) for name in spec["channels"]]
        crops = replace(crops, images=crops.images[:, taken], channels=tuple(spec["channels"]))
    size = tuple(crops.images.shape[:1:-1])
    check_size(spec, size, f"the crop '{spec['crop']}'")
    if spec.get("missing", "refuse") == "refuse":
        absent = torch.isnan(crops.images).flatten(2).all(dim=2)
        lost = [", ".join(str(int(c) + 1) for c in torch.nonzero(row)[:, 0]) for row in absent]
        reasons = tuple(
            why or (f"no image of channel {c}" if c else "") for why, c in zip(crops.reasons, lost, strict=True)
        )
        crops = replace(crops, reasons=reasons)
    if option(spec, "dims") == 3:
        return crops
    area = torch.nan_to_num(crops.masks[:, 0]).gt(0.5).sum(dim=(2, 3)).numpy()
    places = torch.from_numpy(np.stack([_slices(row, option(spec, "slices"), option(spec, "dims")) for row in area]))
    where = places[:, None, :, None, None]
    return replace(crops, images=_take(crops.images, where), masks=_take(crops.masks, where))


def _slices(area: np.ndarray, count: int, dims: float) -> np.ndarray:
    """Slices of one case by the region's area in each."""
    largest = int(area.argmax())
    if dims == 2 and count > 1 and area.any():
        own = np.flatnonzero(area)
        return own[np.round(np.linspace(0, len(own) - 1, count)).astype(int)]
    return np.clip(np.arange(count) - count // 2 + largest, 0, len(area) - 1)


def _take(volumes: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    shape = (*volumes.shape[:2], where.shape[2], *volumes.shape[3:])
    return torch.gather(volumes, 2, where.expand(shape))


def _channels(path: Path) -> tuple[str, ...]:
    """Names of the channels of a crop."""
    with safe_open(path, framework="pt") as file:
        text = (file.metadata() or {}).get(CHANNELS, "")
    return tuple(text.split(",")) if text else ()


def _load(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise DataAbsentError("a crop cannot be read", where=path.name, todo="run the rule crop again") from error


@dataclass(frozen=True)
class Scaling:
    """Mean and SD of each channel over the crops of training rows."""

    mean: tuple[float, ...]
    sd: tuple[float, ...]

    @property
    def detail(self) -> str:
        """What came out."""
        return ", ".join(f"{mean:.4g} +- {sd:.4g}" for mean, sd in zip(self.mean, self.sd, strict=True))

    def apply(self, images: torch.Tensor) -> torch.Tensor:
        """Channels as z-scores; a channel that a case does not have is 0 throughout."""
        mean, sd = (torch.tensor(v, dtype=images.dtype)[None, :, None, None, None] for v in (self.mean, self.sd))
        return torch.nan_to_num((images - mean) / sd)


def learn_scaling(fold: Fold, crops: Crops) -> Scaling:
    """Mean and SD of each channel over the crops of a fold's rows (`fold.x` is indexed by rows of the crops).

    One case at a time in double precision: a copy of all of them would need several times the memory of the crops.
    """
    rows = fold.x.index.tolist()
    count, total, squares = (torch.zeros(crops.images.shape[1], dtype=torch.float64) for _ in range(3))
    for row in rows:
        image = crops.images[row].double()
        count += image.isnan().logical_not().sum(dim=(1, 2, 3))
        total += image.nansum(dim=(1, 2, 3))
    mean = total / count
    for row in rows:
        squares += (crops.images[row].double() - mean[:, None, None, None]).square().nansum(dim=(1, 2, 3))
    sd = (squares / count).sqrt()
    constant = [i + 1 for i, value in enumerate(sd.tolist()) if not value > 0]
    if constant:
        raise TableError("a channel does not vary over the training crops", where=fold.where, found=constant[0])
    return Scaling(tuple(mean.tolist()), tuple(sd.tolist()))
