"""Parts that networks are made of: encoder, decoder, pooling and heads, from MONAI's blocks.

Batch normalisation everywhere: instance and group normalisation would divide each case by its own contrast, and the
amplitude of a tumour's texture is something to learn from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from monai.networks.blocks import Convolution, ResidualUnit, UpSample
from torch import Tensor, nn
from torch.nn import functional

#: Activation and normalisation of all blocks.
BLOCK: dict[str, Any] = {"norm": "BATCH", "act": ("LEAKYRELU", {"negative_slope": 0.01, "inplace": True})}


class Encoder(nn.Module):
    """Shared encoder: a residual unit per resolution, each half of the one before.

    Parameters
    ----------
    channels : int
        Image channels.
    widths : sequence of int
        Feature maps at each resolution, the full one first.
    """

    def __init__(self, channels: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.widths = list(widths)
        first = Convolution(3, channels, widths[0], **BLOCK)
        deeper = [
            ResidualUnit(3, before, after, strides=2, subunits=2, **BLOCK)
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
    """U-Net decoder: from the encoder's maps to one logit a voxel."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        pairs = list(zip(widths[::-1][:-1], widths[::-1][1:], strict=True))
        self.up = nn.ModuleList(UpSample(3, deep, fine, scale_factor=2, mode="deconv") for deep, fine in pairs)
        self.merge = nn.ModuleList(Convolution(3, 2 * fine, fine, **BLOCK) for _, fine in pairs)
        self.last = nn.Conv3d(widths[0], 1, kernel_size=1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Logits, shape (n, 1, k, j, i)."""
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
        """Pooled features, shape (n, size)."""
        weight, pooled = torch.sigmoid(logits.float()), []
        for place, features in enumerate(maps):
            if place:
                weight = functional.avg_pool3d(weight, 2)
            share = weight.flatten(2).transpose(1, 2) / (weight.sum(dim=(2, 3, 4))[:, :, None] + 1e-3)
            values = features.float().flatten(2)
            mean = torch.bmm(values, share)[:, :, 0]
            variance = torch.bmm(values**2, share)[:, :, 0] - mean**2
            pooled += [mean, (variance.clamp(min=0) + 1e-6).sqrt()]
        return torch.cat([*pooled, maps[-1].float().mean(dim=(2, 3, 4))], dim=1)


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
        """Logits of each head, shape (n,) or, of several, (n, logits); and deep features, shape (n, hidden)."""
        features = functional.leaky_relu(self.hidden(torch.cat([self.norm(pooled), clinical], dim=1)), 0.01)
        parts = self.out(self.dropout(features)).split(list(self.heads.values()), dim=1)
        return {n: x[:, 0] if x.shape[1] == 1 else x for n, x in zip(self.heads, parts, strict=True)}, features
