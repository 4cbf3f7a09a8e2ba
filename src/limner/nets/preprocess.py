"""From uint8 chips to what a network reads, as torch modules.

A weight file travels with its normalisation; these modules put it in front of a network,
so that torch and ONNX take the same uint8 chips.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Standardise(nn.Module):
    """Subtract each chip's own mean and divide by its own deviation.

    Source: TensorFlow's `per_image_standardization`, which facenet was trained with. The
    deviation is not allowed below 1 / sqrt(number of values), so a flat chip gives zeros.
    """

    def forward(self, chips: Tensor) -> Tensor:
        """Map (N, S, S, 3) uint8 RGB to (N, 3, S, S) float32."""
        x = chips.permute(0, 3, 1, 2).to(torch.float32)
        x = x - x.mean(dim=(1, 2, 3), keepdim=True)
        floor = (x.shape[1] * x.shape[2] * x.shape[3]) ** -0.5
        deviation = torch.sqrt((x * x).mean(dim=(1, 2, 3), keepdim=True))
        return x / torch.clamp(deviation, min=floor)


class Normalise(nn.Module):
    """Subtract a fixed mean and divide by a fixed deviation, channel by channel.

    Args:
        mean: Per channel, on the scale 0..255, in the network's colour order.
        std: Same; every value positive.
        bgr: Whether the network wants BGR.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float], *, bgr: bool = False) -> None:
        super().__init__()
        self.bgr = bgr
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).reshape(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).reshape(1, -1, 1, 1))

    def forward(self, chips: Tensor) -> Tensor:
        """Map (N, S, S, 3) uint8 RGB to (N, 3, S, S) float32."""
        x = chips.permute(0, 3, 1, 2).to(torch.float32)
        if self.bgr:
            x = x.flip(1)
        return (x - self.mean) / self.std


class Preprocess(nn.Module):
    """A normalisation and the network behind it: uint8 chips in, embeddings out."""

    def __init__(self, normalisation: nn.Module, net: nn.Module) -> None:
        super().__init__()
        self.normalisation = normalisation
        self.net = net

    def forward(self, chips: Tensor) -> Tensor:
        """Map (N, S, S, 3) uint8 RGB to (N, D), not normalised to unit length."""
        y: Tensor = self.net(self.normalisation(chips))
        return y
