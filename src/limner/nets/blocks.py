"""The blocks that networks are made of, side by side: the same width in and out.

`BLOCKS` is the table of docs/networks.md; `measure` counts each block's parameters and
multiply-adds, so that the table cannot disagree with the code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from limner.errors import InputError
from limner.nets.counting import count_flops, count_parameters
from limner.nets.nd import ConvBlock, DenseBlock, DepthwiseBlock, ResidualBlock


class Bottleneck(nn.Module):
    """1x1 to a quarter of the width, 3x3, 1x1 back, added to the input.

    Args:
        width: Channels in and out.
        inner: Channels of the 3x3 convolution.
        groups: Groups of the 3x3 convolution; more than 1 is ResNeXt's block.

    Source: He et al. 2016, figure 5; Xie et al. 2017, figure 3c.
    """

    def __init__(self, width: int, *, inner: int, groups: int = 1) -> None:
        super().__init__()
        self.narrow = ConvBlock(2, width, inner, 1)
        self.middle = ConvBlock(2, inner, inner, 3, groups=groups)
        self.widen = ConvBlock(2, inner, width, 1, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, width, H, W) to the same shape."""
        return torch.relu(x + self.widen(self.middle(self.narrow(x))))


class InvertedResidual(nn.Module):
    """1x1 to a multiple of the width, depth-wise 3x3, 1x1 back without ReLU, added to the input.

    Args:
        width: Channels in and out.
        expansion: The multiple.

    Source: Sandler et al., MobileNetV2 (2018), figure 3.
    """

    def __init__(self, width: int, *, expansion: int = 6) -> None:
        super().__init__()
        inner = width * expansion
        self.widen = ConvBlock(2, width, inner, 1)
        self.depthwise = ConvBlock(2, inner, inner, 3, groups=inner)
        self.narrow = ConvBlock(2, inner, width, 1, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, width, H, W) to the same shape."""
        y: Tensor = x + self.narrow(self.depthwise(self.widen(x)))
        return y


class SqueezeExcite(nn.Module):
    """Weigh each channel by a number in (0, 1) that is computed from all channels' means.

    Args:
        width: Channels in and out.
        reduction: How much narrower the layer between is.

    Source: Hu et al., Squeeze-and-Excitation Networks (2018), figure 2.
    """

    def __init__(self, width: int, *, reduction: int = 16) -> None:
        super().__init__()
        self.weights = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(width, width // reduction, 1),
            nn.ReLU(),
            nn.Conv2d(width // reduction, width, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, width, H, W) to the same shape."""
        y: Tensor = x * self.weights(x)
        return y


class DenseToWidth(nn.Sequential):
    """A dense block, and the 1x1 convolution after it that brings the width back."""

    def __init__(self, width: int, *, growth: int, layers: int) -> None:
        dense = DenseBlock(2, width, growth=growth, layers=layers)
        super().__init__(dense, ConvBlock(2, dense.outputs, width, 1))


@dataclass(frozen=True)
class Block:
    """One row of the table.

    Attributes:
        name: Of the block.
        form: What it computes; C is the width.
        found_in: Networks that are made of it.
        make: Builds it for a width.
    """

    name: str
    form: str
    found_in: str
    make: Callable[[int], nn.Module]


BLOCKS = (
    Block(
        "convolution",
        "3x3, every output channel reads every input channel",
        "VGG",
        lambda c: ConvBlock(2, c, c, 3),
    ),
    Block(
        "grouped convolution",
        "3x3 in 32 groups: a channel reads the C/32 of its own group",
        "AlexNet (2), ResNeXt, RegNet",
        lambda c: ConvBlock(2, c, c, 3, groups=32),
    ),
    Block(
        "depth-wise convolution",
        "3x3 in C groups: a channel reads itself",
        "inside MobileNet",
        lambda c: ConvBlock(2, c, c, 3, groups=c),
    ),
    Block(
        "depth-wise separable",
        "depth-wise 3x3, then 1x1 that mixes the channels",
        "MobileNet v1",
        lambda c: DepthwiseBlock(2, c, c),
    ),
    Block(
        "plain pair",
        "relu(3x3(relu(3x3(x))))",
        "VGG, plain-34",
        lambda c: nn.Sequential(ConvBlock(2, c, c, 3), ConvBlock(2, c, c, 3)),
    ),
    Block(
        "residual",
        "relu(x + 3x3(relu(3x3(x))))",
        "ResNet-18, 34",
        lambda c: ResidualBlock(2, c, c),
    ),
    Block(
        "bottleneck",
        "relu(x + 1x1(3x3(1x1(x)))), inside C/4",
        "ResNet-50, 101, 152",
        lambda c: Bottleneck(c, inner=c // 4),
    ),
    Block(
        "grouped bottleneck",
        "the same, inside C/2, its 3x3 in 32 groups",
        "ResNeXt-50, RegNet",
        lambda c: Bottleneck(c, inner=c // 2, groups=32),
    ),
    Block(
        "inverted residual",
        "x + 1x1(depth-wise 3x3(1x1(x))), inside 6 C",
        "MobileNet v2, v3, EfficientNet",
        lambda c: InvertedResidual(c),
    ),
    Block(
        "squeeze and excitation",
        "x * sigmoid(W2 relu(W1 mean(x))), between C/16",
        "SE-ResNet, EfficientNet",
        lambda c: SqueezeExcite(c),
    ),
    Block(
        "dense",
        "4 layers of 32 channels, each reads all before it; then 1x1 to C",
        "DenseNet",
        lambda c: DenseToWidth(c, growth=32, layers=4),
    ),
)


class BlockCost(NamedTuple):
    """A block and what it costs.

    Attributes:
        block: The row of the table.
        parameters: Numbers that it learns.
        flops: Multiply-adds for one picture.
    """

    block: Block
    parameters: int
    flops: int


def measure(*, width: int = 256, side: int = 14) -> list[BlockCost]:
    """Count every block at one width and size.

    Args:
        width: C, channels in and out; a multiple of 64.
        side: Height and width of the maps.

    Raises:
        InputError: If the width or the side does not fit.
    """
    if width < 64 or width % 64:
        raise InputError(f"width must be a multiple of 64, got {width}.")
    if side < 1:
        raise InputError(f"side must be 1 or more, got {side}.")
    rows = []
    for block in BLOCKS:
        with torch.device("meta"):
            net = block.make(width)
        rows.append(BlockCost(block, count_parameters(net), count_flops(net, (width, side, side))))
    return rows
