"""Plain-34 and ResNet-34: the same convolutions, without and with shortcuts.

What the shortcuts do is seen in the gradients: `gradient_norms` gives them layer by layer.

Source: He, Zhang, Ren and Sun, Deep Residual Learning for Image Recognition (2016), figure 3.
Differs: where width or size changes the shortcut is a 1x1 convolution with normalisation (their
option B), as in torchvision's network; the plain network leaves those out.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from limner.nets.nd import ConvBlock, ResidualBlock

STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))


class Net34(nn.Module):
    """34 layers: a 7x7 convolution, 16 pairs of 3x3 convolutions, and a linear layer.

    Args:
        classes: Width of the logits.
        shortcuts: Whether each pair is added to what came in.
        batch_norm: Whether convolutions are normalised and their weights drawn as He et al. do;
            without it they are drawn as PyTorch does, smaller by a factor of 2.4.
    """

    def __init__(
        self, *, classes: int = 1000, shortcuts: bool = True, batch_norm: bool = True
    ) -> None:
        super().__init__()
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        parts["stem"] = ConvBlock(2, 3, 64, 7, stride=2)
        parts["pool"] = nn.MaxPool2d(3, stride=2, padding=1)
        inputs = 64
        for stage, (width, pairs) in enumerate(STAGES, 1):
            for i in range(pairs):
                stride = 2 if stage > 1 and i == 0 else 1
                pair: nn.Module = ResidualBlock(2, inputs, width, stride=stride)
                if not shortcuts:
                    pair = nn.Sequential(
                        OrderedDict(
                            first=ConvBlock(2, inputs, width, 3, stride=stride),
                            second=ConvBlock(2, width, width, 3),
                        )
                    )
                parts[f"stage{stage}_{i + 1}"] = pair
                inputs = width
        self.trunk = nn.Sequential(parts)
        self.head = nn.Linear(inputs, classes)
        for module in self.trunk.modules():
            if isinstance(module, ConvBlock) and not batch_norm:
                module.norm = nn.Identity()
            if isinstance(module, nn.Conv2d) and batch_norm:
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

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
            size = float(gradient.norm())
            own = float(module.weight.detach().norm())
            rows.append(LayerGradient(len(rows) + 1, name, size, size / own))
    return rows


VARIANTS: dict[str, dict[str, bool]] = {
    "plain-34, not normalised": {"shortcuts": False, "batch_norm": False},
    "ResNet-34, not normalised": {"shortcuts": True, "batch_norm": False},
    "plain-34": {"shortcuts": False, "batch_norm": True},
    "ResNet-34": {"shortcuts": True, "batch_norm": True},
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
