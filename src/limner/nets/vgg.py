"""VGG-16, VGG-19 and AlexNet as feature trunks: every layer has a name and can be read.

A trunk is built up to the layer that is asked for and no further, its ReLUs write to new
tensors, and its layers are called one after the other: there are no hooks.

Source: Simonyan and Zisserman, ICLR 2015; Krizhevsky, 2014. The layers' indices are those of
torchvision's ``features``, which the notes count by.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from limner.errors import ShapeError, UnknownNameError

Architecture = Literal["vgg16", "vgg19", "alexnet"]
Kind = Literal["conv", "relu", "pool"]
Pooling = Literal["max", "average"]
Border = Literal["zero", "replicate"]

_BLOCKS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
_WIDTHS = (64, 128, 256, 512, 512)


@dataclass(frozen=True)
class Layer:
    """One layer of a trunk.

    Attributes:
        name: Such as `conv4_2`, `relu4_2`, `pool4`; of AlexNet `conv2`, `relu2`, `pool2`.
        kind: `conv`, `relu` or `pool`.
        width: Channels that come out.
        kernel: Side of its window, in positions of its own input.
        stride: Step of the window.
        padding: Border of zeros that is put around its input.
    """

    name: str
    kind: Kind
    width: int
    kernel: int = 1
    stride: int = 1
    padding: int = 0


def layers_of(architecture: Architecture) -> tuple[Layer, ...]:
    """Return the layers in order; a layer's place in it is its index in the notes.

    Raises:
        UnknownNameError: If there is no such architecture.
    """
    if architecture not in get_args(Architecture):
        words = ", ".join(get_args(Architecture))
        raise UnknownNameError(f"architecture must be one of {words}, got {architecture!r}.")
    if architecture == "alexnet":
        return _alexnet()
    layers: list[Layer] = []
    for block, (count, width) in enumerate(zip(_BLOCKS[architecture], _WIDTHS, strict=True), 1):
        for i in range(1, count + 1):
            layers.append(Layer(f"conv{block}_{i}", "conv", width, 3, 1, 1))
            layers.append(Layer(f"relu{block}_{i}", "relu", width))
        layers.append(Layer(f"pool{block}", "pool", width, 2, 2))
    return tuple(layers)


def _alexnet() -> tuple[Layer, ...]:
    convolutions = ((64, 11, 4, 2), (192, 5, 1, 2), (384, 3, 1, 1), (256, 3, 1, 1), (256, 3, 1, 1))
    layers: list[Layer] = []
    for i, (width, kernel, stride, padding) in enumerate(convolutions, 1):
        layers.append(Layer(f"conv{i}", "conv", width, kernel, stride, padding))
        layers.append(Layer(f"relu{i}", "relu", width))
        if i in (1, 2, 5):
            layers.append(Layer(f"pool{i}", "pool", width, 3, 2))
    return tuple(layers)


def parameter_shapes(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """Return the shape of every weight and bias, such as ``conv1_1.weight``: (64, 3, 3, 3)."""
    shapes: dict[str, tuple[int, ...]] = {}
    width = 3
    for layer in layers_of(architecture):
        if layer.kind == "conv":
            shapes[f"{layer.name}.weight"] = (layer.width, width, layer.kernel, layer.kernel)
            shapes[f"{layer.name}.bias"] = (layer.width,)
        width = layer.width
    return shapes


class FeatureTrunk(nn.Module):
    """The convolutions of a classifier, read at named layers.

    Args:
        architecture: `vgg16`, `vgg19` or `alexnet`.
        deepest: Name of the last layer that is built; None for all of them.
        pooling: `max`, or `average` times 2.
        border: What surrounds the picture for the first convolution: `zero`, or `replicate`
            (its own border pixels again). Deeper layers always see zeros.

    Differs: average pooling is multiplied by 2, so that activations keep about the size that
    the following layer's bias was trained with (max pooling of a ReLU is larger than its mean).
    """

    def __init__(
        self,
        architecture: Architecture,
        *,
        deepest: str | None = None,
        pooling: Pooling = "max",
        border: Border = "zero",
    ) -> None:
        super().__init__()
        for what, value, allowed in (("pooling", pooling, Pooling), ("border", border, Border)):
            if value not in get_args(allowed):
                words = " or ".join(repr(v) for v in get_args(allowed))
                raise UnknownNameError(f"{what} must be {words}, got {value!r}.")
        layers = layers_of(architecture)
        names = [layer.name for layer in layers]
        if deepest is not None and deepest not in names:
            raise UnknownNameError(f"{architecture} has no layer {deepest!r}.")
        end = len(names) if deepest is None else names.index(deepest) + 1
        self.architecture: Architecture = architecture
        self.layers = layers[:end]
        self.pooling: Pooling = pooling
        self.border: Border = border
        self.convolutions = nn.ModuleDict()
        width = 3
        for layer in self.layers:
            if layer.kind == "conv":
                self.convolutions[layer.name] = nn.Conv2d(
                    width, layer.width, layer.kernel, layer.stride, layer.padding
                )
            width = layer.width

    def load(self, parameters: dict[str, Tensor]) -> None:
        """Take weights and biases by the names of `parameter_shapes`; deeper ones are ignored."""
        for name, convolution in self.convolutions.items():
            with torch.no_grad():
                convolution.weight.copy_(parameters[f"{name}.weight"])  # type: ignore[operator]
                convolution.bias.copy_(parameters[f"{name}.bias"])  # type: ignore[operator]

    def forward(self, x: Tensor, taps: Iterable[str]) -> dict[str, Tensor]:
        """Return the activations of the layers named in `taps`.

        Args:
            x: Shape (N, 3, H, W), normalised as the weights want it.
            taps: Names of layers, none deeper than the trunk.

        Returns:
            By name, each of shape (N, C, H', W').

        Raises:
            UnknownNameError: If the trunk has no layer of that name.
            ShapeError: If the picture is too small for the deepest tap.
        """
        wanted = set(taps)
        missing = wanted - {layer.name for layer in self.layers}
        if missing:
            raise UnknownNameError(
                f"This trunk has no layer {', '.join(sorted(missing))}; it ends at "
                f"{self.layers[-1].name}."
            )
        found: dict[str, Tensor] = {}
        for i, layer in enumerate(self.layers):
            if len(found) == len(wanted):
                break
            if min(x.shape[-2:]) + 2 * layer.padding < layer.kernel:
                raise ShapeError(
                    f"The picture is too small: at {layer.name} only {x.shape[-1]} x "
                    f"{x.shape[-2]} positions are left, {layer.kernel} x {layer.kernel} are read."
                )
            x = self._run_layer(layer, x, first=i == 0)
            if layer.name in wanted:
                found[layer.name] = x
        return found

    def _run_layer(self, layer: Layer, x: Tensor, *, first: bool) -> Tensor:
        if layer.kind == "relu":
            return functional.relu(x)
        if layer.kind == "pool":
            if self.pooling == "average":
                return functional.avg_pool2d(x, layer.kernel, layer.stride) * 2
            return functional.max_pool2d(x, layer.kernel, layer.stride)
        convolution = self.convolutions[layer.name]
        if first and self.border == "replicate":
            padded = functional.pad(x, (layer.padding,) * 4, mode="replicate")
            return functional.conv2d(
                padded,
                convolution.weight,  # type: ignore[arg-type]
                convolution.bias,  # type: ignore[arg-type]
                stride=layer.stride,
            )
        y: Tensor = convolution(x)
        return y
