"""A small feed-forward network that paints in one style.

Source: Johnson, Alahi and Fei-Fei, Perceptual Losses for Real-Time Style Transfer, ECCV 2016;
Ulyanov, Vedaldi and Lempitsky, Instance Normalization, 2016. Differs: instance instead of batch
normalisation; nearest-neighbour enlargement and a convolution instead of transposed ones,
which leave a checkerboard; reflected borders; half of the channels; a sigmoid at the end.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CHANNELS = 16
BLOCKS = 5


class Step(nn.Module):
    """Reflected border, convolution and instance normalisation."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, stride: int = 1) -> None:
        super().__init__()
        self.border = kernel // 2
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride)
        self.norm = nn.InstanceNorm2d(outputs, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised convolution, without an activation."""
        x = F.pad(x, (self.border,) * 4, mode="reflect")
        normed: Tensor = self.norm(self.conv(x))
        return normed


class Block(nn.Module):
    """Two steps whose result is added to what came in."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = Step(channels, channels, 3)
        self.second = Step(channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Return x plus what the two steps make of it."""
        y: Tensor = self.second(torch.relu(self.first(x)))
        return x + y


class Painter(nn.Module):
    """Photo in, painting out.

    Args:
        channels: Of the first layer; the inner ones have two and four times as many.
        blocks: Residual blocks in the middle.
    """

    def __init__(self, channels: int = CHANNELS, blocks: int = BLOCKS) -> None:
        super().__init__()
        c = channels
        self.down = nn.ModuleList(
            [Step(3, c, 9), Step(c, 2 * c, 3, stride=2), Step(2 * c, 4 * c, 3, stride=2)]
        )
        self.blocks = nn.ModuleList([Block(4 * c) for _ in range(blocks)])
        self.up = nn.ModuleList([Step(4 * c, 2 * c, 3), Step(2 * c, c, 3)])
        self.last = nn.Conv2d(c, 3, 9)

    def forward(self, image: Tensor) -> Tensor:
        """Paint.

        Args:
            image: Shape (N, 3, H, W), RGB in [0, 1]; H and W multiples of 4.

        Returns:
            Same shape, in (0, 1).
        """
        x = image
        for step in self.down:
            x = torch.relu(step(x))
        for block in self.blocks:
            x = block(x)
        for step in self.up:
            x = torch.relu(step(F.interpolate(x, scale_factor=2.0, mode="nearest")))
        return torch.sigmoid(self.last(F.pad(x, (4, 4, 4, 4), mode="reflect")))
