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
#: Range of a map, as a share of its largest value, up to which it is called constant: rounding of the interpolation.
CONSTANT = 1e-5


def class_activation(network: nn.Module, rows: Rows, head: str, sign: float, method: str) -> tuple[Map, str]:
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
    cam : array, shape (n, k, j, i)
        Not negative; linear interpolation to the crop's grid. In 2D each slice has its own map, in 2.5D all slices
        share one. All 0 where nothing speaks for the answer.
    reason : str
        Why there is no map; empty where there is.
    """
    kept: list[torch.Tensor] = []

    def keep(_: nn.Module, __: object, maps: Sequence[torch.Tensor]) -> None:
        kept.append(maps[-1])
        if maps[-1].requires_grad:
            maps[-1].retain_grad()

    network = network.float().eval()
    encoder: nn.Module = network.encoder  # type: ignore[assignment]
    hook = encoder.register_forward_hook(keep)
    try:
        with torch.enable_grad():
            score = (sign * network(rows.images, rows.clinical)[head]).sum()
            if score.requires_grad:
                score.backward()
    finally:
        hook.remove()
    maps, gradient = kept[0], kept[0].grad
    network.zero_grad(set_to_none=True)
    n, _, k, j, i = rows.images.shape
    if gradient is None or not bool(gradient.abs().sum() > 0):
        return np.zeros((n, k, j, i), dtype=np.float32), "no gradient reaches the last maps"
    weight = gradient.mean(dim=tuple(range(2, gradient.ndim)), keepdim=True) if method == "gradcam" else gradient
    cam = functional.relu((weight * maps).sum(dim=1, keepdim=True)).detach()
    size, mode = ((k, j, i), "trilinear") if cam.ndim == 5 else ((j, i), "bilinear")
    cam = functional.interpolate(cam, size=size, mode=mode, align_corners=False)
    cam = cam[:, 0] if cam.ndim == 5 else cam.reshape(n, -1, j, i).expand(n, k, j, i)
    reason = "" if bool(cam.sum() > 0) else "nothing in the last maps speaks for the answer"
    return cam.contiguous().cpu().numpy(), reason


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
    """Explain an ensemble's answer for one case (`row` of length 1); see `class_activation`.

    A map that cannot be made, or that says nothing, comes back with its reason.
    """
    found = [class_activation(network, row, head, sign, method) for network in networks]
    cam = np.mean([one[0] for one in found], axis=0)
    redraws = [class_activation(redrawn(n, seed + i), row, head, sign, method) for i, n in enumerate(networks)]
    random = np.mean([one[0][0] for one in redraws], axis=0)
    cam, mask = cam[0], row.masks[0, 0].cpu().numpy() > 0.5
    total, fraction = float(cam.sum()), float(mask.mean())
    if not total > 0:
        return Explanation(cam, None, fraction, None, next(reason for _, reason in found if reason))
    energy = float(cam[mask].sum() / total)
    if np.ptp(cam) <= CONSTANT * cam.max():
        return Explanation(cam, energy, fraction, None, "the map is the same everywhere: it points at nothing")
    if np.ptp(random) <= CONSTANT * random.max():
        why = "the map of random weights is the same everywhere: there is nothing to compare with"
        return Explanation(cam, energy, fraction, None, why)
    return Explanation(cam, energy, fraction, float(spearmanr(cam.ravel(), random.ravel()).statistic), "")


def redrawn(network: nn.Module, seed: int) -> nn.Module:
    """Copy of a network whose weights are drawn anew; statistics of batch normalisation go back to their start.

    A weight that belongs to no module with a rule of its own (a table of positions) is drawn from a normal
    distribution with the spread that it has.
    """
    torch.manual_seed(seed)
    copied = copy.deepcopy(network)
    done: set[int] = set()
    for module in copied.modules():
        reset = getattr(module, "reset_parameters", None)
        if callable(reset):
            reset()
            done |= {id(p) for p in module.parameters(recurse=False)}
    with torch.no_grad():
        for parameter in copied.parameters():
            if id(parameter) not in done:
                spread = float(parameter.std()) if parameter.numel() > 1 else 1.0
                parameter.normal_(0.0, spread)
    return copied
