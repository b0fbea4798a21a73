"""Parts that networks are made of: encoder, decoder, pooling and heads, from MONAI's blocks, in 2D or 3D.

Batch normalisation in our own parts: instance and group normalisation would divide each case by its own contrast, and
the amplitude of a tumour's texture is something to learn from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from monai.networks.blocks import Convolution, ResidualUnit, UpSample
from monai.networks.layers import Conv
from torch import Tensor, nn
from torch.nn import functional

#: Activation and normalisation of all blocks.
BLOCK: dict[str, Any] = {"norm": "BATCH", "act": ("LEAKYRELU", {"negative_slope": 0.01, "inplace": True})}


class Encoder(nn.Module):
    """Shared encoder: a residual unit per resolution, each half of the one before.

    Parameters
    ----------
    dims : int
        2 or 3 spatial dimensions.
    channels : int
        Image channels.
    widths : sequence of int
        Feature maps at each resolution, the full one first.
    """

    def __init__(self, dims: int, channels: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.widths = list(widths)
        first = Convolution(dims, channels, widths[0], **BLOCK)
        deeper = [
            ResidualUnit(dims, before, after, strides=2, subunits=2, **BLOCK)
            for before, after in zip(widths[:-1], widths[1:], strict=True)
        ]
        self.stages = nn.ModuleList([first, *deeper])

    def forward(self, image: Tensor) -> list[Tensor]:
        """Feature maps at every resolution, the full one first."""
        maps = []
        for stage in self.stages:
            image = stage(image)
            maps.append(image)
        return maps


class Decoder(nn.Module):
    """U-Net decoder: from the encoder's maps to logits on the full grid.

    Parameters
    ----------
    dims : int
    widths : sequence of int
        Feature maps of the encoder at each resolution, the full one first.
    classes : int
        Logits a voxel (or pixel).
    """

    def __init__(self, dims: int, widths: Sequence[int], classes: int) -> None:
        super().__init__()
        pairs = list(zip(widths[::-1][:-1], widths[::-1][1:], strict=True))
        self.up = nn.ModuleList(UpSample(dims, deep, fine, scale_factor=2, mode="deconv") for deep, fine in pairs)
        # The last block ends in its norm: behind an activation a class that happened to switch every channel off could
        # have no larger logit than the bias, whatever the others learn.
        ends = [BLOCK] * (len(pairs) - 1) + [{**BLOCK, "act": None}]
        self.merge = nn.ModuleList(
            Convolution(dims, 2 * fine, fine, **end) for (_, fine), end in zip(pairs, ends, strict=True)
        )
        self.last = Conv[Conv.CONV, dims](widths[0], classes, kernel_size=1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Logits, shape (n, classes, *size)."""
        x = maps[-1]
        for up, merge, skip in zip(self.up, self.merge, list(maps[:-1])[::-1], strict=True):
            x = merge(torch.cat([up(x), skip], dim=1))
        return self.last(x)


class AttentivePooling(nn.Module):
    """Mean and SD of every map where a segmentation sees the structure, and the plain mean of the last one.

    The weights are the segmentation's probabilities, averaged down to each resolution: what the segmentation path
    learns about where the tumour is decides what the other heads look at, and without that task it is learnt from them.
    The SD lets a head read texture, of which a mean knows nothing.

    References
    ----------
    Attentive statistics pooling: Okabe et al., Interspeech 2018, 2252.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.size = 2 * sum(widths) + widths[-1]

    def forward(self, maps: Sequence[Tensor], logits: Tensor) -> Tensor:
        """Pooled features, shape (n, size); of several logits a pixel (neighbouring slices) the mean probability.

        Computed in float32 on a GPU too: a variance as a difference of means has no digits left in bfloat16.
        """
        with torch.autocast(logits.device.type, enabled=False):
            return self._pool(maps, logits)

    def _pool(self, maps: Sequence[Tensor], logits: Tensor) -> Tensor:
        weight, pooled = torch.sigmoid(logits.float()).mean(dim=1, keepdim=True), []
        average = functional.avg_pool3d if weight.ndim == 5 else functional.avg_pool2d
        for features in maps:
            factor = weight.shape[-1] // features.shape[-1]
            if factor > 1:
                weight = average(weight, factor)
            flat = weight.flatten(2)
            share = flat.transpose(1, 2) / (flat.sum(dim=2)[:, :, None] + 1e-3)
            values = features.float().flatten(2)
            mean = torch.bmm(values, share)[:, :, 0]
            variance = torch.bmm(values**2, share)[:, :, 0] - mean**2
            pooled += [mean, (variance.clamp(min=0) + 1e-6).sqrt()]
        return torch.cat([*pooled, maps[-1].float().flatten(2).mean(dim=2)], dim=1)


class Heads(nn.Module):
    """One hidden layer over pooled features and clinical variables, and a linear head on it for each endpoint.

    Clinical variables join here: late, and trained with the rest.

    Parameters
    ----------
    pooled, clinical : int
        Number of pooled features and of clinical predictors (0 for none).
    hidden : int
        Size of the hidden layer, whose values are the deep features.
    dropout : float
        Dropout of the deep features.
    heads : mapping
        Number of logits of each head, by its name.
    """

    def __init__(self, pooled: int, clinical: int, hidden: int, dropout: float, heads: Mapping[str, int]) -> None:
        super().__init__()
        self.heads = dict(heads)
        self.norm = nn.BatchNorm1d(pooled)
        self.hidden = nn.Linear(pooled + clinical, hidden)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(hidden, sum(heads.values()))

    def forward(self, pooled: Tensor, clinical: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Logits of each head, shape (n,) or, of several, (n, logits); and deep features, shape (n, hidden).

        Computed in float32 on a GPU too: bfloat16 leaves a score two or three digits, and cases tie.
        """
        with torch.autocast(pooled.device.type, enabled=False):
            return self._judge(pooled.float(), clinical.float())

    def _judge(self, pooled: Tensor, clinical: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        features = functional.leaky_relu(self.hidden(torch.cat([self.norm(pooled), clinical], dim=1)), 0.01)
        parts = self.out(self.dropout(features)).split(list(self.heads.values()), dim=1)
        return {n: x[:, 0] if x.shape[1] == 1 else x for n, x in zip(self.heads, parts, strict=True)}, features


class AttentionBlock(nn.Module):
    """Self-attention between the places of a map, whose positions a depthwise convolution tells; residual.

    References
    ----------
    Conditional positional encoding: Chu et al., ICLR 2023 (arXiv 2102.10882). The block is MONAI's, as in ViT.
    """

    def __init__(self, dims: int, channels: int) -> None:
        super().__init__()
        from monai.networks.blocks import TransformerBlock

        self.position = Conv[Conv.CONV, dims](channels, channels, kernel_size=3, padding=1, groups=channels)
        block: Any = TransformerBlock(channels, 2 * channels, attention_heads(channels))
        # MONAI makes these for cross-attention, which is not used here: they would never get a gradient
        block.norm_cross_attn = nn.Identity()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """Map of the same shape."""
        tokens = (x + self.position(x)).flatten(2).transpose(1, 2)
        return self.block(tokens).transpose(1, 2).reshape(x.shape)


def attention_heads(channels: int) -> int:
    """Heads of 32 channels, as in Swin, or the next smaller number that divides the channels."""
    return next(n for n in range(max(1, channels // 32), 0, -1) if channels % n == 0)
