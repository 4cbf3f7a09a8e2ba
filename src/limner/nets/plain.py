"""Plain and residual networks: the same convolutions, without and with shortcuts.

What the shortcuts do is seen in the gradients: `gradient_norms` gives them layer by layer. Where
gradients vanish or explode is seen with other activations: a sigmoid's slope is 1/4 at most, and
the chain rule multiplies one for each layer between a weight and the answer.

Source: He, Zhang, Ren and Sun, Deep Residual Learning for Image Recognition (2016), figure 3.
Differs: where width or size changes the shortcut is a 1x1 convolution with normalisation (their
option B), as in torchvision's network; the plain network leaves those out.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from limner.errors import InputError
from limner.nets.nd import ConvBlock, ResidualBlock

Activation = Literal["relu", "sigmoid", "tanh"]

STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))
_WIDE = 4.0  # of tanh's weights: beyond 1, differences grow from layer to layer


class Net34(nn.Module):
    """34 layers: a 7x7 convolution, 16 pairs of 3x3 convolutions, and a linear layer.

    Args:
        classes: Width of the logits.
        shortcuts: Whether each pair is added to what came in.
        batch_norm: Whether convolutions are normalised and their weights drawn as He et al. do;
            without it they are drawn as PyTorch does, smaller by a factor of 2.4.
        activation: `relu`; or, without shortcuts and normalisation, `sigmoid` with weights of
            deviation 1/sqrt(n) (n values in), or `tanh` with 4 times that.
    """

    def __init__(
        self,
        *,
        classes: int = 1000,
        shortcuts: bool = True,
        batch_norm: bool = True,
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        parts["stem"] = ConvBlock(2, 3, 64, 7, stride=2)
        parts["pool"] = nn.MaxPool2d(3, stride=2, padding=1)
        inputs = 64
        for stage, (width, pairs) in enumerate(STAGES, 1):
            for i in range(pairs):
                stride = 2 if stage > 1 and i == 0 else 1
                parts[f"stage{stage}_{i + 1}"] = _pair(inputs, width, stride, shortcuts)
                inputs = width
        self.trunk = nn.Sequential(parts)
        self.head = nn.Linear(inputs, classes)
        for module in self.trunk.modules():
            if isinstance(module, ConvBlock) and not batch_norm:
                module.norm = nn.Identity()
            if isinstance(module, nn.Conv2d) and batch_norm:
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

        if activation != "relu":
            self._activate(activation)

    def _activate(self, activation: Activation) -> None:
        """Put another activation for every ReLU, and weights that suit it."""
        for module in self.trunk.modules():
            if isinstance(module, ConvBlock):
                module.relu = nn.Sigmoid() if activation == "sigmoid" else nn.Tanh()
            if isinstance(module, nn.Conv2d):
                fan = module.weight[0].numel()
                gain = _WIDE if activation == "tanh" else 1.0
                nn.init.normal_(module.weight, std=gain / fan**0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, 3, H, W) to logits (N, classes)."""
        y: Tensor = self.head(self.trunk(x).mean(dim=(2, 3)))
        return y


@dataclass(frozen=True)
class LayerGradient:
    """The gradient of one layer's weights.

    Attributes:
        layer: 1 for the 7x7 convolution, 33 for the last 3x3.
        name: Where it lies in the network.
        norm: ||dL/dW||, Euclidean.
        relative: ||dL/dW|| / ||W||.
    """

    layer: int
    name: str
    norm: float
    relative: float


def gradient_norms(net: Net34, x: Tensor, labels: Tensor) -> list[LayerGradient]:
    """Return the gradient norms of the 33 convolutions of the main path, from the picture on.

    Args:
        net: In training mode, so that normalisations use the batch.
        x: Pictures (N, 3, H, W).
        labels: Shape (N,).
    """
    net.train()
    net.zero_grad(set_to_none=True)
    functional.cross_entropy(net(x), labels).backward()  # type: ignore[no-untyped-call]
    rows: list[LayerGradient] = []
    for name, module in net.trunk.named_modules():
        if isinstance(module, nn.Conv2d) and "shortcut" not in name:
            gradient = module.weight.grad
            assert gradient is not None
            size = float(gradient.double().norm())
            own = float(module.weight.detach().norm())
            rows.append(LayerGradient(len(rows) + 1, name, size, size / own))
    return rows


VARIANTS: dict[str, dict[str, Any]] = {
    "plain-34, not normalised": {"shortcuts": False, "batch_norm": False},
    "ResNet-34, not normalised": {"shortcuts": True, "batch_norm": False},
    "plain-34": {"shortcuts": False, "batch_norm": True},
    "ResNet-34": {"shortcuts": True, "batch_norm": True},
    "sigmoid": {"shortcuts": False, "batch_norm": False, "activation": "sigmoid"},
    "tanh": {"shortcuts": False, "batch_norm": False, "activation": "tanh"},
}


def compare(
    x: Tensor, labels: Tensor, *, classes: int = 10, seeds: int = 3
) -> dict[str, list[LayerGradient]]:
    """Return the mean gradient norms of each variant over freshly drawn weights.

    Args:
        x: Pictures (N, 3, H, W), normalised.
        labels: Shape (N,), in 0..classes-1.
        classes: Width of the logits.
        seeds: How many times the weights are drawn; the same seeds for every variant.
    """
    found: dict[str, list[LayerGradient]] = {}
    for name, options in VARIANTS.items():
        runs = []
        for seed in range(seeds):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                net = Net34(classes=classes, **options)
            runs.append(gradient_norms(net, x, labels))
        found[name] = [
            LayerGradient(
                rows[0].layer,
                rows[0].name,
                sum(r.norm for r in rows) / seeds,
                sum(r.relative for r in rows) / seeds,
            )
            for rows in zip(*runs, strict=True)
        ]
    return found


class SmallNet(nn.Module):
    """A network of 6 n + 2 layers for small pictures, with or without shortcuts.

    A 3x3 convolution of 16 channels, three stages of n pairs with 16, 32 and 64 channels, the
    second and third at half of the size before, an average over all places, a linear layer.

    Args:
        layers: 8, 14, 20, ... 56, ...: 6 n + 2.
        shortcuts: Whether each pair is added to what came in.
        in_channels: Colours of a picture.
        classes: Width of the logits.

    Raises:
        InputError: If `layers` is another number.

    Source: He et al. (2016), section 4.2: the CIFAR-10 networks of figure 6.
    Differs: their shortcuts pad with zeros where the width changes (option A); here a
    1x1 convolution takes their place (B).
    """

    def __init__(
        self, *, layers: int, shortcuts: bool, in_channels: int = 3, classes: int = 10
    ) -> None:
        super().__init__()
        if layers < 8 or (layers - 2) % 6:
            raise InputError(f"layers must be 6 n + 2, such as 20 or 56, got {layers}.")
        parts: OrderedDict[str, nn.Module] = OrderedDict(stem=ConvBlock(2, in_channels, 16, 3))
        before = 16
        for stage, width in enumerate((16, 32, 64), 1):
            for i in range((layers - 2) // 6):
                stride = 2 if stage > 1 and i == 0 else 1
                pair = _pair(before, width, stride, shortcuts)
                parts[f"stage{stage}_{i + 1}"] = pair
                before = width
        self.trunk = nn.Sequential(parts)
        self.head = nn.Linear(before, classes)
        for module in self.trunk.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to logits (N, classes)."""
        y: Tensor = self.head(self.trunk(x).mean(dim=(2, 3)))
        return y


def _pair(inputs: int, width: int, stride: int, shortcuts: bool) -> nn.Module:
    """Return two 3x3 convolutions, added to what came in or not."""
    if shortcuts:
        return ResidualBlock(2, inputs, width, stride=stride)
    first = ConvBlock(2, inputs, width, 3, stride=stride)
    return nn.Sequential(OrderedDict(first=first, second=ConvBlock(2, width, width, 3)))


def plain_resnet(layers: Literal[18, 34]) -> nn.Module:
    """Return torchvision's ResNet of 18 or 34 layers without its shortcuts.

    Source: He et al. (2016), figure 3, middle: the plain network.
    """
    from torchvision.models.resnet import BasicBlock, ResNet

    class PlainBlock(BasicBlock):  # type: ignore[misc]
        """Two convolutions in a row."""

        def forward(self, x: Tensor) -> Tensor:
            """Map (N, C, H, W) to the block's maps, with nothing added."""
            y = self.relu(self.bn1(self.conv1(x)))
            found: Tensor = self.relu(self.bn2(self.conv2(y)))
            return found

    depths = {18: [2, 2, 2, 2], 34: [3, 4, 6, 3]}
    net: nn.Module = ResNet(PlainBlock, depths[layers])
    for module in net.modules():
        if isinstance(module, PlainBlock):
            module.downsample = None
    return net
