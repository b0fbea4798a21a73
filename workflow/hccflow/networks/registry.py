"""Networks by name. A further one is a builder of a few lines over the parts and its name in `options.ARCHITECTURES`.

A network maps ``(image, clinical)`` to a dictionary: a tensor of logits for each task, and ``features``, the deep
features. It has an attribute ``encoder`` whose last output is what Grad-CAM looks at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from hccflow.networks.options import stages
from hccflow.networks.parts import AttentivePooling, Decoder, Encoder, Head


@dataclass(frozen=True)
class Shape:
    """What a network must fit: image channels, crop size ``(i, j, k)`` and number of clinical predictors."""

    channels: int
    size: tuple[int, ...]
    clinical: int


class MultiTask(nn.Module):
    """Shared encoder, segmentation path, and a response head on features pooled where the segmentation looks."""

    def __init__(self, encoder: Encoder, hidden: int, clinical: int, dropout: float) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = Decoder(encoder.widths)
        self.pooling = AttentivePooling(encoder.widths)
        self.response = Head(self.pooling.size, clinical, hidden, dropout)

    def forward(self, image: Tensor, clinical: Tensor) -> dict[str, Tensor]:
        """Logits of the tasks, and the deep features."""
        maps = self.encoder(image)
        segmentation = self.decoder(maps)
        response, features = self.response(self.pooling(maps, segmentation), clinical)
        return {"response": response, "segmentation": segmentation, "features": features}


def multitask_encoder(shape: Shape, spec: Mapping[str, Any]) -> MultiTask:
    """Residual encoder whose width doubles at each of the resolutions that the crop allows."""
    widths = [spec["width"] * 2**i for i in range(stages(shape.size))]
    return MultiTask(Encoder(shape.channels, widths), 4 * spec["width"], shape.clinical, spec["dropout"])


NETWORKS: Mapping[str, Callable[[Shape, Mapping[str, Any]], nn.Module]] = {"multitask_encoder": multitask_encoder}


def build(shape: Shape, spec: Mapping[str, Any]) -> nn.Module:
    """Untrained network of an entry of the configuration; seed torch before."""
    return NETWORKS[spec["architecture"]](shape, spec)
