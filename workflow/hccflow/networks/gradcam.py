"""Class activation maps: which parts of a crop drive a network's answer, and whether the map says anything about it.

References
----------
Grad-CAM: Selvaraju et al., ICCV 2017, 618. HiResCAM: Draelos and Carin, arXiv 2011.08891. The check with randomised
weights: Adebayo et al., NeurIPS 2018, 9505.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import nn
from torch.nn import functional

from hccflow.networks.loop import Rows

Map = NDArray[np.float32]


#: Grad-CAM weighs each map by its mean gradient: exact where plain average pooling follows. HiResCAM multiplies by the
#: gradient in place: exact too where pooling looks at some places more than at others, as ours does.
METHODS = ("gradcam", "hirescam")


def class_activation(network: nn.Module, rows: Rows, head: str, sign: float, method: str) -> Map:
    """Class activation map of a head on the encoder's last maps.

    Parameters
    ----------
    network : torch.nn.Module
        Of the registry: its ``encoder`` gives the maps.
    rows : Rows
    head : str
        Name of the head; of several logits (hazards of intervals) their sum is explained.
    sign : float
        1 explains the event (a high risk), -1 its absence.
    method : str
        One of `METHODS`.

    Returns
    -------
    array, shape (n, k, j, i)
        Not negative; linear interpolation to the crop's grid. All 0 where nothing speaks for the answer.
    """
    kept: list[torch.Tensor] = []

    def keep(_: nn.Module, __: object, maps: Sequence[torch.Tensor]) -> None:
        maps[-1].retain_grad()
        kept.append(maps[-1])

    network = network.float().eval()
    encoder: nn.Module = network.encoder  # type: ignore[assignment]
    hook = encoder.register_forward_hook(keep)
    try:
        with torch.enable_grad():
            (sign * network(rows.images, rows.clinical)[head]).sum().backward()
    finally:
        hook.remove()
    maps = kept[0]
    assert maps.grad is not None
    weight = maps.grad.mean(dim=(2, 3, 4), keepdim=True) if method == "gradcam" else maps.grad
    cam = functional.relu((weight * maps).sum(dim=1, keepdim=True)).detach()
    network.zero_grad(set_to_none=True)
    size = rows.images.shape[2:]
    return functional.interpolate(cam, size=size, mode="trilinear", align_corners=False)[:, 0].cpu().numpy()


@dataclass(frozen=True)
class Explanation:
    """Mean map of an ensemble for one case, and how far it can be trusted.

    Attributes
    ----------
    cam : array, shape (k, j, i)
    energy_in_mask : float or None
        Share of the map's sum inside the region of interest; None where the map is 0 everywhere.
    mask_fraction : float
        The same share for a map that is equal everywhere: what chance gives.
    randomised_correlation : float or None
        Spearman correlation of the map with that of the same networks after a new draw of all weights. Near 1 the map
        shows the image and not what was learnt.
    reason : str
        Why something is None.
    """

    cam: Map
    energy_in_mask: float | None
    mask_fraction: float
    randomised_correlation: float | None
    reason: str


def explain(networks: Sequence[nn.Module], row: Rows, head: str, sign: float, seed: int, method: str) -> Explanation:
    """Explain an ensemble's answer for one case (`row` of length 1); see `class_activation`."""
    cam = np.mean([class_activation(network, row, head, sign, method)[0] for network in networks], axis=0)
    random = np.mean(
        [class_activation(redrawn(n, seed + i), row, head, sign, method)[0] for i, n in enumerate(networks)], axis=0
    )
    mask = row.masks[0, 0].cpu().numpy() > 0.5
    total, fraction = float(cam.sum()), float(mask.mean())
    if total == 0:
        return Explanation(cam, None, fraction, None, "nothing in the last maps speaks for the answer")
    energy = float(cam[mask].sum() / total)
    if np.ptp(random) == 0 or np.ptp(cam) == 0:
        return Explanation(cam, energy, fraction, None, "a map without variation has no rank correlation")
    return Explanation(cam, energy, fraction, float(spearmanr(cam.ravel(), random.ravel()).statistic), "")


def redrawn(network: nn.Module, seed: int) -> nn.Module:
    """Copy of a network whose weights are drawn anew; statistics of batch normalisation go back to their start."""
    torch.manual_seed(seed)
    copied = copy.deepcopy(network)
    for module in copied.modules():
        reset = getattr(module, "reset_parameters", None)
        if callable(reset):
            reset()
    return copied
