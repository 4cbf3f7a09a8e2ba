"""Inception-ResNet-v1: the trunk of the `facenet` embedder.

Source: Szegedy, Ioffe, Vanhoucke and Alemi, "Inception-v4, Inception-ResNet and the
Impact of Residual Connections on Learning" (2016), figures 9 to 15; the 128-wide head is
FaceNet's (Schroff, Kalenichenko and Philbin, 2015).
Differs: the graph is the one of the Keras file whose weights we use. The stem has a
seventh convolution of stride 2 in place of a pool, `Mixed_7a` has four branches, block 8
has 192 filters, and residuals are scaled by 0.17, 0.10 and 0.20 (the last one by 1).

Module names are the Keras layer names in lower case with dots between the parts, so a
state dictionary can be filled from the Keras file without a table of names.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

_EPSILON = 1e-3
_MOMENTUM = 1.0 - 0.995  # Keras keeps 0.995 of the old average; torch adds this share of the new.

_Kernel = tuple[int, int]


class ConvUnit(nn.Module):
    """Convolution, batch normalisation, ReLU.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        kernel: Height and width of the kernel.
        stride: Step in both directions.
        padding: `same` keeps the size at stride 1; `valid` adds nothing.
        batch_norm: With False the normalisation is taken to be folded into the convolution.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: _Kernel,
        *,
        stride: int = 1,
        padding: Literal["same", "valid"] = "same",
        batch_norm: bool = True,
    ) -> None:
        super().__init__()
        pad = (kernel[0] // 2, kernel[1] // 2) if padding == "same" else (0, 0)
        self.conv = nn.Conv2d(
            inputs, outputs, kernel, stride=stride, padding=pad, bias=not batch_norm
        )
        self.norm: nn.Module = nn.Identity()
        if batch_norm:
            norm = nn.BatchNorm2d(outputs, eps=_EPSILON, momentum=_MOMENTUM)
            norm.weight.requires_grad_(False)  # Keras' scale=False: gamma stays 1
            self.norm = norm
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H', W')."""
        y: Tensor = self.relu(self.norm(self.conv(x)))
        return y


_Layer = tuple[str, int, _Kernel]  # name, filters, kernel; all of stride 1 and 'same'


def _chain(inputs: int, layers: Sequence[_Layer], batch_norm: bool) -> nn.Sequential:
    units: OrderedDict[str, nn.Module] = OrderedDict()
    for name, filters, kernel in layers:
        units[name] = ConvUnit(inputs, filters, kernel, batch_norm=batch_norm)
        inputs = filters
    return nn.Sequential(units)


class ResidualBlock(nn.Module):
    """Branches, concatenated, projected by a 1x1 convolution, scaled and added to the input.

    With `batch_norm=False` the scale is taken to be folded into the projection.
    """

    def __init__(
        self,
        width: int,
        branches: Sequence[Sequence[_Layer]],
        *,
        scale: float,
        activation: bool = True,
        batch_norm: bool = True,
    ) -> None:
        super().__init__()
        self.branches = len(branches)
        for i, layers in enumerate(branches):
            self.add_module(f"branch_{i}", _chain(width, layers, batch_norm))
        joined = sum(layers[-1][1] for layers in branches)
        self.conv2d_1x1 = nn.Conv2d(joined, width, 1)
        self.scale = scale if batch_norm else 1.0
        self.relu: nn.Module = nn.ReLU() if activation else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, width, H, W) to the same shape."""
        parts = [self.get_submodule(f"branch_{i}")(x) for i in range(self.branches)]
        y = self.conv2d_1x1(torch.cat(parts, dim=1))
        if self.scale != 1.0:
            y = y * self.scale
        z: Tensor = self.relu(x + y)
        return z


class Reduction(nn.Module):
    """Branches that each end with stride 2, beside a 3x3/2 max-pool, concatenated."""

    def __init__(
        self,
        inputs: int,
        branches: Sequence[Sequence[_Layer]],
        *,
        batch_norm: bool = True,
    ) -> None:
        super().__init__()
        self.branches = len(branches)
        for i, layers in enumerate(branches):
            chain = _chain(inputs, layers[:-1], batch_norm)
            before = layers[-2][1] if len(layers) > 1 else inputs
            name, filters, kernel = layers[-1]
            last = ConvUnit(
                before, filters, kernel, stride=2, padding="valid", batch_norm=batch_norm
            )
            chain.add_module(name, last)
            self.add_module(f"branch_{i}", chain)
        self.pool = nn.MaxPool2d(3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C + filters, (H - 3) // 2 + 1, (W - 3) // 2 + 1)."""
        parts = [self.get_submodule(f"branch_{i}")(x) for i in range(self.branches)]
        return torch.cat([*parts, self.pool(x)], dim=1)


_BLOCK35: list[list[_Layer]] = [
    [("conv2d_1x1", 32, (1, 1))],
    [("conv2d_0a_1x1", 32, (1, 1)), ("conv2d_0b_3x3", 32, (3, 3))],
    [
        ("conv2d_0a_1x1", 32, (1, 1)),
        ("conv2d_0b_3x3", 32, (3, 3)),
        ("conv2d_0c_3x3", 32, (3, 3)),
    ],
]
_MIXED_6A: list[list[_Layer]] = [
    [("conv2d_1a_3x3", 384, (3, 3))],
    [
        ("conv2d_0a_1x1", 192, (1, 1)),
        ("conv2d_0b_3x3", 192, (3, 3)),
        ("conv2d_1a_3x3", 256, (3, 3)),
    ],
]
_BLOCK17: list[list[_Layer]] = [
    [("conv2d_1x1", 128, (1, 1))],
    [
        ("conv2d_0a_1x1", 128, (1, 1)),
        ("conv2d_0b_1x7", 128, (1, 7)),
        ("conv2d_0c_7x1", 128, (7, 1)),
    ],
]
_MIXED_7A: list[list[_Layer]] = [
    [("conv2d_0a_1x1", 256, (1, 1)), ("conv2d_1a_3x3", 384, (3, 3))],
    [("conv2d_0a_1x1", 256, (1, 1)), ("conv2d_1a_3x3", 256, (3, 3))],
    [
        ("conv2d_0a_1x1", 256, (1, 1)),
        ("conv2d_0b_3x3", 256, (3, 3)),
        ("conv2d_1a_3x3", 256, (3, 3)),
    ],
]
_BLOCK8: list[list[_Layer]] = [
    [("conv2d_1x1", 192, (1, 1))],
    [
        ("conv2d_0a_1x1", 192, (1, 1)),
        ("conv2d_0b_1x3", 192, (1, 3)),
        ("conv2d_0c_3x1", 192, (3, 1)),
    ],
]


class InceptionResNetV1(nn.Module):
    """The facenet embedder's network, 22.8 million parameters.

    Args:
        dim: Width of the embedding.
        dropout: Share of the pooled features that training drops.
        batch_norm: With False every batch normalisation and residual scale is taken to be
            folded into its convolution; `folded` makes such a copy.
    """

    def __init__(self, *, dim: int = 128, dropout: float = 0.2, batch_norm: bool = True) -> None:
        super().__init__()
        self.dim = dim
        self.batch_norm = batch_norm
        bn = batch_norm
        self.conv2d_1a_3x3 = ConvUnit(3, 32, (3, 3), stride=2, padding="valid", batch_norm=bn)
        self.conv2d_2a_3x3 = ConvUnit(32, 32, (3, 3), padding="valid", batch_norm=bn)
        self.conv2d_2b_3x3 = ConvUnit(32, 64, (3, 3), batch_norm=bn)
        self.maxpool_3a_3x3 = nn.MaxPool2d(3, stride=2)
        self.conv2d_3b_1x1 = ConvUnit(64, 80, (1, 1), padding="valid", batch_norm=bn)
        self.conv2d_4a_3x3 = ConvUnit(80, 192, (3, 3), padding="valid", batch_norm=bn)
        self.conv2d_4b_3x3 = ConvUnit(192, 256, (3, 3), stride=2, padding="valid", batch_norm=bn)
        for i in range(1, 6):
            block = ResidualBlock(256, _BLOCK35, scale=0.17, batch_norm=bn)
            self.add_module(f"block35_{i}", block)
        self.mixed_6a = Reduction(256, _MIXED_6A, batch_norm=bn)
        for i in range(1, 11):
            block = ResidualBlock(896, _BLOCK17, scale=0.1, batch_norm=bn)
            self.add_module(f"block17_{i}", block)
        self.mixed_7a = Reduction(896, _MIXED_7A, batch_norm=bn)
        for i in range(1, 7):
            last = i == 6
            block = ResidualBlock(
                1792,
                _BLOCK8,
                scale=1.0 if last else 0.2,
                activation=not last,
                batch_norm=bn,
            )
            self.add_module(f"block8_{i}", block)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.dropout = nn.Dropout(dropout)
        self.bottleneck = nn.Linear(1792, dim, bias=not bn)
        self.bottleneck_norm: nn.Module = nn.Identity()
        if bn:
            norm = nn.BatchNorm1d(dim, eps=_EPSILON, momentum=_MOMENTUM)
            norm.weight.requires_grad_(False)
            self.bottleneck_norm = norm

    def forward(self, x: Tensor) -> Tensor:
        """Embed chips.

        Args:
            x: Shape (N, 3, H, W), float, RGB, each chip standardised by its own mean and
                deviation; made for 160 x 160 pixels.

        Returns:
            Shape (N, dim), not normalised to unit length.
        """
        x = self.conv2d_2b_3x3(self.conv2d_2a_3x3(self.conv2d_1a_3x3(x)))
        x = self.conv2d_3b_1x1(self.maxpool_3a_3x3(x))
        x = self.conv2d_4b_3x3(self.conv2d_4a_3x3(x))
        for i in range(1, 6):
            x = self.get_submodule(f"block35_{i}")(x)
        x = self.mixed_6a(x)
        for i in range(1, 11):
            x = self.get_submodule(f"block17_{i}")(x)
        x = self.mixed_7a(x)
        for i in range(1, 7):
            x = self.get_submodule(f"block8_{i}")(x)
        x = self.dropout(self.flatten(self.avgpool(x)))
        y: Tensor = self.bottleneck_norm(self.bottleneck(x))
        return y

    @torch.no_grad()
    def folded(self) -> InceptionResNetV1:
        """Return a copy for inference: normalisations and scales folded into convolutions.

        The arithmetic is done in float64 and rounded once. A folded network returns itself.
        """
        if not self.batch_norm:
            return self
        copy = InceptionResNetV1(dim=self.dim, dropout=self.dropout.p, batch_norm=False)
        for name, module in self.named_modules():
            if isinstance(module, ConvUnit) and isinstance(module.norm, nn.BatchNorm2d):
                target = copy.get_submodule(name)
                assert isinstance(target, ConvUnit)
                _fold(module.conv, module.norm, target.conv)
            elif isinstance(module, ResidualBlock):
                target = copy.get_submodule(name)
                assert isinstance(target, ResidualBlock)
                source, projection = module.conv2d_1x1, target.conv2d_1x1
                assert source.bias is not None
                assert projection.bias is not None
                projection.weight.copy_(source.weight.double() * module.scale)
                projection.bias.copy_(source.bias.double() * module.scale)
        assert isinstance(self.bottleneck_norm, nn.BatchNorm1d)
        _fold(self.bottleneck, self.bottleneck_norm, copy.bottleneck)
        return copy.eval()


def _fold(
    source: nn.Conv2d | nn.Linear,
    norm: nn.BatchNorm1d | nn.BatchNorm2d,
    target: nn.Conv2d | nn.Linear,
) -> None:
    """Write source followed by norm, as one layer, into target."""
    assert norm.running_var is not None
    assert norm.running_mean is not None
    assert target.bias is not None
    gain = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
    shape = (-1,) + (1,) * (source.weight.ndim - 1)
    target.weight.copy_(source.weight.double() * gain.reshape(shape))
    target.bias.copy_(norm.bias.double() - norm.running_mean.double() * gain)
