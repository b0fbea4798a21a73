"""Augmentation of a batch of crops, on the fly: one affine map for image and mask, then intensities, then channels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from hccflow.networks.architectures import option


@dataclass(frozen=True)
class Strength:
    """How far a crop may be changed.

    Attributes
    ----------
    flip : float
        Probability of a flip of each axis.
    rotate_deg : float
        Largest rotation about the head-foot axis.
    shift : float
        Largest translation along each axis, as a fraction of the crop.
    zoom : float
        Largest change of size, as a fraction; kept small where size carries information.
    scale, offset, noise : float
        Largest change of contrast as a fraction, largest offset and SD of noise, in SD of the channel.
    """

    flip: float
    rotate_deg: float
    shift: float
    zoom: float
    scale: float
    offset: float
    noise: float


STRENGTHS = {
    "none": None,
    "basic": Strength(0.5, 10, 0.04, 0.03, 0.05, 0.05, 0.05),
    "strong": Strength(0.5, 30, 0.10, 0.15, 0.15, 0.15, 0.15),
}


def vary(images: Tensor, masks: Tensor, spec: Mapping[str, Any], rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Augment a batch as a network's entry in the configuration says, and drop channels.

    In 2D and 2.5D nothing is moved, turned or zoomed across slices. A channel that a case does not have (0 throughout)
    stays 0; one that is dropped becomes so.

    Parameters
    ----------
    images, masks
        As for `augment`.
    spec : mapping
        Entry ``network`` of the configuration: ``augment``, ``channel_dropout``.
    rng : numpy.random.Generator
    """
    there = ~(images == 0).flatten(2).all(dim=2)
    images, masks = augment(images, masks, STRENGTHS[spec["augment"]], rng, planes=option(spec, "dims") != 3)
    kept = keep_channels(there.cpu().numpy(), spec.get("channel_dropout", 0.0), rng)
    return images * torch.from_numpy(kept).to(images)[:, :, None, None, None], masks


def keep_channels(there: np.ndarray, probability: float, rng: np.random.Generator) -> np.ndarray:
    """Draw which channels stay, shape (n, channels): each goes with `probability`, but never a case's last one.

    Parameters
    ----------
    there : array of bool, shape (n, channels)
        Channels that each case has.
    """
    if probability == 0:
        return there
    kept = there & (rng.random(there.shape) >= probability)
    return np.where(kept.any(axis=1, keepdims=True), kept, there)


def augment(
    images: Tensor, masks: Tensor, strength: Strength | None, rng: np.random.Generator, *, planes: bool = False
) -> tuple[Tensor, Tensor]:
    """Change every crop of a batch at random.

    Parameters
    ----------
    images : Tensor, shape (n, channels, k, j, i)
        Z-scores.
    masks : Tensor, shape (n, 1, k, j, i)
        0, 1 or NaN (no mask); NaN stays NaN.
    rng : numpy.random.Generator
        Draws everything but the noise, which comes from torch's own seeded stream.
    planes : bool
        Whether the slices are planes of their own: they may change their order, but are not mixed.
    """
    if strength is None:
        return images, masks
    n = len(images)
    theta = torch.tensor(
        np.stack([_affine(strength, rng, images.shape[2:], planes) for _ in range(n)]), dtype=images.dtype
    )
    grid = functional.affine_grid(theta.to(images.device), [n, 1, *images.shape[2:]], align_corners=False)
    images = functional.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    masks = functional.grid_sample(masks, grid, mode="nearest", padding_mode="zeros", align_corners=False)
    contrast = 1 + strength.scale * rng.uniform(-1, 1, (n, images.shape[1]))
    offset = strength.offset * rng.uniform(-1, 1, (n, images.shape[1]))
    level = strength.noise * rng.uniform(0, 1, n)
    by = [torch.tensor(v, dtype=images.dtype, device=images.device) for v in (contrast, offset, level)]
    images = images * by[0][:, :, None, None, None] + by[1][:, :, None, None, None]
    return images + by[2][:, None, None, None, None] * torch.randn_like(images), masks


def _affine(strength: Strength, rng: np.random.Generator, size: tuple[int, ...], planes: bool) -> np.ndarray:
    """Map from places in the new crop to places in the old one, in coordinates -1 to 1 along (i, j, k); 3 x 4."""
    flips = np.where(rng.random(3) < strength.flip, -1.0, 1.0)
    zoom = 1 + strength.zoom * rng.uniform(-1, 1)
    angle = math.radians(strength.rotate_deg) * rng.uniform(-1, 1)
    stretch = size[1] / size[2]  # rows over columns: a rotation must not shear a crop that is not square
    turn = np.array([
        [math.cos(angle), -math.sin(angle) * stretch, 0], [math.sin(angle) / stretch, math.cos(angle), 0], [0, 0, 1],
    ])  # fmt: skip
    scale, shift = np.full(3, 1 / zoom), 2 * strength.shift * rng.uniform(-1, 1, 3)
    if planes:
        scale[2], shift[2] = 1, 0
    return np.column_stack([turn * flips * scale, shift])
