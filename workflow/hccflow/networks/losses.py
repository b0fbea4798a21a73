"""Losses on logits, one per task, masked where a label is missing; and how tasks are weighed."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from hccflow.networks.options import SEGMENTATION


def response_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Mean binary cross-entropy of logits over the rows whose label is known (not NaN); 0 when none is.

    Parameters
    ----------
    logits, target : Tensor, shape (n,)
    """
    known = torch.isfinite(target)
    terms = functional.binary_cross_entropy_with_logits(
        logits.float(), torch.where(known, target, torch.zeros_like(target)), reduction="none"
    )
    return (terms * known).sum() / known.sum().clamp(min=1)


def segmentation_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy plus soft Dice loss of logits over the cases whose mask is known; 0 when none is.

    Parameters
    ----------
    logits, target : Tensor, shape (n, 1, k, j, i)
        A case without a mask is NaN throughout.

    References
    ----------
    Milletari et al., 3DV 2016, 565 (soft Dice), summed with cross-entropy as in nnU-Net.
    """
    known = torch.isfinite(target).flatten(1).all(dim=1)
    target = torch.where(known[:, None, None, None, None], target, torch.zeros_like(target)).float()
    logits = logits.float()
    axes = (1, 2, 3, 4)
    entropy = functional.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(dim=axes)
    p = torch.sigmoid(logits)
    overlap = 2 * (p * target).sum(dim=axes) + 1
    dice = 1 - overlap / (p.sum(dim=axes) + target.sum(dim=axes) + 1)
    return ((entropy + dice) * known).sum() / known.sum().clamp(min=1)


class FixedWeights(nn.Module):
    """Weighted sum of task losses with the weights of the configuration; a task of weight 0 is not computed.

    A module, so that weights which are learnt themselves can take its place: the optimiser gets its parameters too.
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        super().__init__()
        self.weights = {task: float(weight) for task, weight in weights.items() if weight > 0}

    def forward(self, outputs: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Total loss, and the loss of each task."""
        parts = {
            task: (segmentation_loss if task == SEGMENTATION else response_loss)(outputs[task], targets[task])
            for task in self.weights
        }
        total = torch.stack([self.weights[task] * loss for task, loss in parts.items()]).sum()
        return total, {task: loss.detach() for task, loss in parts.items()}
