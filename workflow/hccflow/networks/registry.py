"""Networks by name. A further one is a builder of a few lines over encoders and parts, and its entry in
`architectures`.

A network maps ``(image, clinical)`` to a dictionary: the logits of each head of its `Shape`, by the head's name, shape
(n,) or, of a head of several logits, (n, logits); ``features``, the deep features, shape (n, m); and, where it has such
a path, ``segmentation``, shape (n, 1, k, j, i). Its attribute ``encoder`` gives a list of maps, from fine to coarse;
the last one is what Grad-CAM looks at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hccflow.networks import encoders
from hccflow.networks.architectures import option, reductions, seen, stages
from hccflow.networks.parts import AttentivePooling, Decoder, Encoder, Heads


@dataclass(frozen=True)
class Shape:
    """What a network must fit.

    Attributes
    ----------
    channels : int
        Image channels.
    size : tuple of int
        What it sees of a crop, ``(i, j, k)``; k is the number of slices for a network of planes.
    clinical : int
        Clinical predictors.
    heads : mapping
        Number of logits of each head, by its name.
    """

    channels: int
    size: tuple[int, ...]
    clinical: int
    heads: Mapping[str, int]


class Network(nn.Module):
    """Encoder, segmentation path where there is one, pooling, and heads.

    In 2D every slice is judged alone and a case has the mean of its slices' logits and deep features; in 2.5D slices
    are channels.

    Parameters
    ----------
    encoder, decoder : torch.nn.Module
        The decoder is None for a network without a segmentation path. With one, features are pooled where the
        segmentation looks; without, the last map is averaged.
    shape : Shape
    spec : mapping
        Entry ``network`` of the configuration.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module | None, shape: Shape, spec: Mapping[str, Any]) -> None:
        super().__init__()
        self.dims, self.tells_absence = option(spec, "dims"), spec.get("missing") == "zero"
        self.encoder, self.decoder = encoder, decoder
        widths: list[int] = encoder.widths  # type: ignore[assignment]
        self.pooling = AttentivePooling(widths) if decoder is not None else None
        pooled = self.pooling.size if self.pooling is not None else widths[-1]
        clinical = shape.clinical + (shape.channels if self.tells_absence else 0)
        self.heads = Heads(pooled, clinical, HIDDEN * (option(spec, "width") or 32), spec["dropout"], shape.heads)

    def forward(self, image: Tensor, clinical: Tensor) -> dict[str, Tensor]:
        """Logits of the heads and of the segmentation, and the deep features.

        Parameters
        ----------
        image : Tensor, shape (n, channels, k, j, i)
            Z-scores; a channel that is 0 throughout is absent.
        clinical : Tensor, shape (n, predictors)
        """
        n, _, k = image.shape[:3]
        if self.tells_absence:
            clinical = torch.cat([clinical, (image == 0).flatten(2).all(dim=2).to(clinical.dtype)], dim=1)
        if self.dims == 2:
            image, clinical = image.transpose(1, 2).flatten(0, 1), clinical.repeat_interleave(k, dim=0)
        elif self.dims == 2.5:
            image = image.flatten(1, 2)
        if image.ndim == 4:
            image = image.contiguous(memory_format=torch.channels_last)
        maps, found = self.encoder(image), {}
        if self.decoder is not None and self.pooling is not None:
            logits = self.decoder(maps)
            found["segmentation"] = logits.reshape(n, 1, k, *logits.shape[-2:])
            pooled = self.pooling(maps, logits)
        else:
            pooled = maps[-1].float().flatten(2).mean(dim=2)
        heads, features = self.heads(pooled, clinical)
        outputs = {**heads, "features": features}
        if self.dims == 2:
            outputs = {name: values.unflatten(0, (n, k)).mean(dim=1) for name, values in outputs.items()}
        return {**outputs, **found}


#: Deep features for each feature map of an encoder's first stage.
HIDDEN = 4


def _planes(shape: Shape, spec: Mapping[str, Any]) -> tuple[int, int, int]:
    """Spatial dimensions and channels of the first layer, and logits a pixel of the last."""
    dims = option(spec, "dims")
    slices = shape.size[2] if dims == 2.5 else 1
    return 3 if dims == 3 else 2, shape.channels * slices, slices


def multitask_encoder(shape: Shape, spec: Mapping[str, Any]) -> Network:
    """Residual encoder whose width doubles at each of the resolutions that the crop allows, with a U-Net decoder."""
    dims, channels, classes = _planes(shape, spec)
    widths = [option(spec, "width") * 2**i for i in range(stages(seen(spec, shape.size)))]
    return Network(Encoder(dims, channels, widths), Decoder(dims, widths, classes), shape, spec)


def unetpp_efficientnet(shape: Shape, spec: Mapping[str, Any]) -> Network:
    """U-Net++ on an EfficientNet encoder."""
    _, channels, classes = _planes(shape, spec)
    encoder = encoders.PlaneEfficientNet(channels, option(spec, "size"), reductions(spec, shape.size))
    return Network(encoder, encoders.PlusPlusDecoder(encoder.widths, option(spec, "width"), classes), shape, spec)


def resnet(shape: Shape, spec: Mapping[str, Any]) -> Network:
    """ResNet."""
    dims, channels, _ = _planes(shape, spec)
    halvings = reductions(spec, shape.size)
    encoder = encoders.ResNetEncoder(dims, channels, option(spec, "depth"), option(spec, "width"), halvings)
    return Network(encoder, None, shape, spec)


def densenet(shape: Shape, spec: Mapping[str, Any]) -> Network:
    """DenseNet, with an attention block on its last map if wished."""
    dims, channels, _ = _planes(shape, spec)
    own = {name: option(spec, name) for name in ("blocks", "width", "activation", "attention")}
    encoder = encoders.DenseNetEncoder(dims, channels, **own, reductions=reductions(spec, shape.size))
    return Network(encoder, None, shape, spec)


def efficientnet(shape: Shape, spec: Mapping[str, Any]) -> Network:
    """EfficientNet."""
    dims, channels, _ = _planes(shape, spec)
    encoder = encoders.EfficientNetEncoder(dims, channels, option(spec, "size"), reductions(spec, shape.size))
    return Network(encoder, None, shape, spec)


def swin(shape: Shape, spec: Mapping[str, Any]) -> Network:
    """Swin transformer."""
    dims, channels, _ = _planes(shape, spec)
    blocks, width = option(spec, "blocks"), option(spec, "width")
    return Network(encoders.SwinEncoder(dims, channels, blocks, width, reductions(spec, shape.size)), None, shape, spec)


NETWORKS: Mapping[str, Callable[[Shape, Mapping[str, Any]], Network]] = {
    "multitask_encoder": multitask_encoder, "unetpp_efficientnet": unetpp_efficientnet, "resnet": resnet,
    "densenet": densenet, "efficientnet": efficientnet, "swin": swin,
}  # fmt: skip


def build(shape: Shape, spec: Mapping[str, Any]) -> Network:
    """Network of an entry of the configuration with random weights; seed torch before."""
    return NETWORKS[spec["architecture"]](shape, spec)
