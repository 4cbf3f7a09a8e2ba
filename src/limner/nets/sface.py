"""SFace's network: a MobileNet of 27 convolutions for chips of 112 px.

Source: Zhong, Deng, Hu, Zhao, Li and Wen, "SFace: Sigmoid-Constrained Hypersphere Loss for Robust
Face Recognition", IEEE Transactions on Image Processing, 2021, for the training; Howard and
others, "MobileNets", 2017, table 1, for the layers. The numbers were read from the weight file.
Differs: MobileNet's first convolution has stride 1 here, its activations are parametric, and every
batch normalisation is folded into the convolution or the matrix beside it, so the file's 29
normalisations are gone.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

# Channels out of each separable block, and the stride of its depthwise convolution.
BLOCKS: tuple[tuple[int, int], ...] = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *(((512, 1),) * 5),
    (1024, 2),
    (1024, 1),
)
STEM = 32
"""Channels out of the first convolution."""


class MaxPReLU(nn.Module):
    """A parametric ReLU whose slopes are at most 1, as ``max(x, slope x)``.

    Inference libraries run the two plain operations many times as fast as PReLU's branch.

    Args:
        channels: How many slopes.

    Source: He, Zhang, Ren and Sun, "Delving Deep into Rectifiers", 2015, equation 1.
    Differs: a channel whose slope is above 1 has to be stored with its sign turned; see
    `limner.weights.read_sface`.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.full((channels, 1, 1), 0.25))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels, H, W) to the same shape."""
        return torch.maximum(x, self.slope * x)


class SeparableBlock(nn.Module):
    """A 3x3 convolution of each channel by itself, then a 1x1 convolution over the channels.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        stride: Of the 3x3 convolution.
    """

    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(inputs, inputs, 3, stride=stride, padding=1, groups=inputs)
        self.depthwise_act = MaxPReLU(inputs)
        self.pointwise = nn.Conv2d(inputs, outputs, 1)
        self.pointwise_act = MaxPReLU(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, ceil(H / stride), ceil(W / stride))."""
        x = self.depthwise_act(self.depthwise(x))
        y: Tensor = self.pointwise_act(self.pointwise(x))
        return y


class SFace(nn.Module):
    """SFace's embedder, 9.6 million parameters, for chips of 112 px."""

    def __init__(self) -> None:
        super().__init__()
        self.size, self.dim = 112, 128
        self.stem = nn.Conv2d(3, STEM, 3, padding=1)
        self.stem_act = MaxPReLU(STEM)
        inputs, side, blocks = STEM, self.size, []
        for outputs, stride in BLOCKS:
            blocks.append(SeparableBlock(inputs, outputs, stride=stride))
            inputs, side = outputs, side // stride
        self.blocks = nn.Sequential(*blocks)
        self.flatten = nn.Flatten()
        self.head = nn.Linear(inputs * side * side, self.dim)

    def forward(self, x: Tensor) -> Tensor:
        """Embed chips.

        Args:
            x: Shape (N, 3, 112, 112), float: RGB in 0..255 minus 127.5, over 128.

        Returns:
            Shape (N, 128), not normalised to unit length.
        """
        x = self.blocks(self.stem_act(self.stem(x)))
        y: Tensor = self.head(self.flatten(x))
        return y
