"""Published encoders, from MONAI and segmentation-models-pytorch, behind one face: feature maps, from fine to coarse.

Each is as published for images of 128 pixels and more. A crop is often smaller, so the first reductions (stem, pooling,
patch) are left out as far as needed for a last map of at least 4 pixels along every axis
(`hccflow.networks.architectures.reductions`). Nothing is ever downloaded: weights come from a file that the
configuration names (`hccflow.networks.pretrained`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from monai.networks.nets import DenseNet, ResNet
from monai.networks.nets.efficientnet import EfficientNet, efficientnet_params
from monai.networks.nets.swin_unetr import SwinTransformer
from torch import Tensor, nn

from hccflow.networks.device import importable_torchvision
from hccflow.networks.parts import AttentionBlock, attention_heads

#: Blocks of ResNet: kind, and how many in each stage.
RESNETS: dict[int, tuple[str, list[int]]] = {
    10: ("basic", [1, 1, 1, 1]),
    18: ("basic", [2, 2, 2, 2]),
    34: ("basic", [3, 4, 6, 3]),
    50: ("bottleneck", [3, 4, 6, 3]),
}
#: Stages of EfficientNet-B0 (repeats, kernel, stride, expansion, channels); the others scale them.
EFFICIENTNET = [
    "r1_k3_s11_e1_i32_o16_se0.25", "r2_k3_s22_e6_i16_o24_se0.25", "r2_k5_s22_e6_i24_o40_se0.25",
    "r3_k3_s22_e6_i40_o80_se0.25", "r3_k5_s11_e6_i80_o112_se0.25", "r4_k5_s22_e6_i112_o192_se0.25",
    "r1_k3_s11_e6_i192_o320_se0.25",
]  # fmt: skip


class ResNetEncoder(nn.Module):
    """ResNet (He et al., CVPR 2016) with the blocks of MONAI.

    Parameters
    ----------
    dims, channels : int
    depth : int
        A key of `RESNETS`.
    width : int
        Feature maps of the first stage; 64 in the paper.
    reductions : int
        Halvings, 3 to 5.
    """

    def __init__(self, dims: int, channels: int, depth: int, width: int, reductions: int) -> None:
        super().__init__()
        kind, layers = RESNETS[depth]
        self.net = ResNet(
            kind, layers, [width * 2**i for i in range(4)], spatial_dims=dims, n_input_channels=channels,
            conv1_t_stride=2 if reductions > 3 else 1, no_max_pool=reductions < 5, feed_forward=False,
            bias_downsample=False,
        )  # fmt: skip
        self.widths = [width * 2**i * (4 if kind == "bottleneck" else 1) for i in range(4)]

    def forward(self, image: Tensor) -> list[Tensor]:
        """Maps of the four stages."""
        net: Any = self.net
        x = net.act(net.bn1(net.conv1(image)))
        x = x if net.no_max_pool else net.maxpool(x)
        return _each(x, [net.layer1, net.layer2, net.layer3, net.layer4])


class DenseNetEncoder(nn.Module):
    """DenseNet (Huang et al., CVPR 2017) with the blocks of MONAI, and an attention block on the last map if wished.

    Parameters
    ----------
    dims, channels : int
    blocks : sequence of int
        Layers of each dense block; DenseNet-121 has 6, 12, 24, 16.
    width : int
        Feature maps of the stem, twice the growth of a layer; 64 in the paper.
    activation : str
        ``relu`` or ``elu``.
    attention : bool
        Whether `AttentionBlock` follows.
    reductions : int
        Halvings, the transitions' and up to 2 of the stem.
    """

    def __init__(
        self,
        dims: int,
        channels: int,
        blocks: Sequence[int],
        width: int,
        activation: str,
        attention: bool,
        reductions: int,
    ) -> None:
        super().__init__()
        act: Any = (activation, {"inplace": True})
        net: Any = DenseNet(dims, channels, 1, width, max(1, width // 2), tuple(blocks), act=act)
        self.features: Any = net.features
        self.act: Any = net.class_layers.relu
        stem = reductions - (len(blocks) - 1)
        if stem < 2:
            self.features.pool0 = nn.Identity()
        if stem < 1:
            self.features.conv0.stride = (1,) * dims
        self.widths = [self.features.norm5.num_features]
        self.attention = AttentionBlock(dims, self.widths[-1]) if attention else nn.Identity()

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the last map alone."""
        return [self.attention(self.act(self.features(image)))]


class EfficientNetEncoder(nn.Module):
    """EfficientNet (Tan and Le, ICML 2019) with the blocks of MONAI.

    Parameters
    ----------
    dims, channels : int
    size : str
        ``b0`` to ``b4``.
    reductions : int
        Halvings, 1 to 5; the first stages lose theirs.
    """

    def __init__(self, dims: int, channels: int, size: str, reductions: int) -> None:
        super().__init__()
        width, depth, image_size, _, connect = efficientnet_params[f"efficientnet-{size}"]
        left, stages = 5 - reductions, []
        for stage in EFFICIENTNET:
            stages.append(stage.replace("_s22_", "_s11_") if left > 0 else stage)
            left -= "_s22_" in stage
        net: Any = EfficientNet(
            stages, dims, channels, width_coefficient=width, depth_coefficient=depth, image_size=image_size,
            drop_connect_rate=connect,
        )  # fmt: skip
        self.widths = [net._fc.in_features]
        del net._fc
        self.net = _settling(net)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the last map alone."""
        net: Any = self.net
        x = net._blocks(net._swish(net._bn0(net._conv_stem(net._conv_stem_padding(image)))))
        return [net._swish(net._bn1(net._conv_head(net._conv_head_padding(x))))]


class SwinEncoder(nn.Module):
    """Swin transformer (Liu et al., ICCV 2021) with the blocks of MONAI; no merging after its last stage, as published.

    Parameters
    ----------
    dims, channels : int
    blocks : sequence of int
        Transformer blocks of each of the four stages; Swin-T has 2, 2, 6, 2.
    width : int
        Channels of the first stage; 96 in Swin-T.
    reductions : int
        Halvings, 3 to 5: three mergings, and patches of 1, 2 or 4 pixels.
    """

    def __init__(self, dims: int, channels: int, blocks: Sequence[int], width: int, reductions: int) -> None:
        super().__init__()
        widths = [width * 2**i for i in range(4)]
        net: Any = SwinTransformer(
            channels, width, (7 if dims == 2 else 4,) * dims, (2 ** (reductions - 3),) * dims, blocks,
            [attention_heads(n) for n in widths], spatial_dims=dims,
        )  # fmt: skip
        net.layers4[0].downsample = None
        self.net = net
        self.widths = [*widths[1:], widths[-1]]

    def forward(self, image: Tensor) -> list[Tensor]:
        """Maps of the four stages, the last one normalised."""
        net: Any = self.net
        stages = [net.layers1[0], net.layers2[0], net.layers3[0], net.layers4[0]]
        maps = _each(net.patch_embed(image), stages)
        return [*maps[:-1], net.proj_out(maps[-1], normalize=True)]


class PlaneEfficientNet(nn.Module):
    """EfficientNet encoder of segmentation-models-pytorch (2D), whose maps a U-Net++ decoder takes; the image is first.

    Parameters
    ----------
    channels : int
    size : str
        ``b0`` to ``b4``.
    reductions : int
        Halvings, 3 to 5; deeper stages are left away.
    """

    def __init__(self, channels: int, size: str, reductions: int) -> None:
        super().__init__()
        importable_torchvision()
        from segmentation_models_pytorch.encoders import get_encoder

        net: Any = get_encoder(f"efficientnet-{size}", in_channels=channels, depth=reductions, weights=None)
        net._blocks = net._blocks[: net._out_indexes[reductions - 2] + 1]
        del net._conv_head, net._bn1  # of the classifier: without a gradient here
        self.widths = list(net.out_channels)
        self.net = _settling(net)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Image and maps, each half of the one before."""
        return list(self.net(image))


class PlusPlusDecoder(nn.Module):
    """Decoder of U-Net++ (Zhou et al., DLMIA 2018) of segmentation-models-pytorch, with its last convolution.

    Parameters
    ----------
    widths : sequence of int
        Feature maps of `PlaneEfficientNet`, the image's channels first.
    width : int
        Feature maps of the decoder at full resolution; they double at each halving. 16 is that library's.
    classes : int
        Logits a pixel.
    """

    def __init__(self, widths: Sequence[int], width: int, classes: int) -> None:
        super().__init__()
        from segmentation_models_pytorch.decoders.unetplusplus.decoder import UnetPlusPlusDecoder

        n = len(widths) - 1
        self.net = UnetPlusPlusDecoder(tuple(widths), [width * 2**i for i in range(n)][::-1], n)
        self.last = nn.Conv2d(width, classes, kernel_size=3, padding=1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Logits, shape (n, classes, j, i)."""
        return self.last(self.net(list(maps)))


def _each(x: Tensor, stages: Sequence[nn.Module]) -> list[Tensor]:
    """Outputs of stages that follow each other."""
    maps = []
    for stage in stages:
        x = stage(x)
        maps.append(x)
    return maps


def _settling(net: nn.Module) -> nn.Module:
    """Let batch normalisation follow in tens of steps: EfficientNet's own 0.01 is for many thousands of steps."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            module.momentum = 0.1
    return net
