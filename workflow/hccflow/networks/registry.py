"""Networks by name. A further one is a builder of a few lines over the parts and its name in `options.ARCHITECTURES`.

A network maps ``(image, clinical)`` to a dictionary: the logits of each head of its `Shape`, by the head's name, shape
(n,) or, of a head of several logits, (n, logits); ``features``, the deep features, shape (n, m); and, where it has such
a path, ``segmentation``, shape (n, 1, k, j, i). It has an attribute ``encoder`` whose last output is what Grad-CAM
looks at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from hccflow.networks.options import stages
from hccflow.networks.parts import AttentivePooling, Decoder, Encoder, Heads


@dataclass(frozen=True)
class Shape:
    """What a network must fit.

    Attributes
    ----------
    channels : int
        Image channels.
    size : tuple of int
        Crop ``(i, j, k)``.
    clinical : int
        Clinical predictors.
    heads : mapping
        Number of logits of each head, by its name.
    """

    channels: int
    size: tuple[int, ...]
    clinical: int
    heads: Mapping[str, int]


class MultiTask(nn.Module):
    """Shared encoder, segmentation path, and heads on features pooled where the segmentation looks."""

    def __init__(self, encoder: Encoder, hidden: int, dropout: float, shape: Shape) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = Decoder(encoder.widths)
        self.pooling = AttentivePooling(encoder.widths)
        self.heads = Heads(self.pooling.size, shape.clinical, hidden, dropout, shape.heads)

    def forward(self, image: Tensor, clinical: Tensor) -> dict[str, Tensor]:
        """Logits of the heads and of the segmentation, and the deep features."""
        maps = self.encoder(image)
        segmentation = self.decoder(maps)
        logits, features = self.heads(self.pooling(maps, segmentation), clinical)
        return {**logits, "segmentation": segmentation, "features": features}


def multitask_encoder(shape: Shape, spec: Mapping[str, Any]) -> MultiTask:
    """Residual encoder whose width doubles at each of the resolutions that the crop allows."""
    widths = [spec["width"] * 2**i for i in range(stages(shape.size))]
    return MultiTask(Encoder(shape.channels, widths), 4 * spec["width"], spec["dropout"], shape)


NETWORKS: Mapping[str, Callable[[Shape, Mapping[str, Any]], nn.Module]] = {"multitask_encoder": multitask_encoder}


def build(shape: Shape, spec: Mapping[str, Any]) -> nn.Module:
    """Untrained network of an entry of the configuration; seed torch before."""
    return NETWORKS[spec["architecture"]](shape, spec)
