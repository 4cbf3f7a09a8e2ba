"""VGG-16, VGG-19 and AlexNet as feature trunks: every layer has a name and can be read.

A trunk is built up to the layer that is asked for and no further, its ReLUs write to new
tensors, and its layers are called one after the other: there are no hooks.

Source: Simonyan and Zisserman, ICLR 2015; Krizhevsky, 2014. The layers' indices are those of
torchvision's ``features``, which the notes count by.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from limner.errors import ShapeError, UnknownNameError

Architecture = Literal["vgg16", "vgg19", "alexnet"]
Kind = Literal["conv", "relu", "pool"]
Pooling = Literal["max", "average"]
Border = Literal["zero", "replicate", "replicate_all"]

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


class _Rectified(torch.autograd.Function):
    """Convolution and ReLU in one step, for frozen weights with stride 1.

    Forward, the ReLU writes over the convolution's fresh result, which nobody else reads. Back,
    the slope is convolved with the turned kernel, which is what oneDNN does quickest.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, turned: Tensor, padding: int
    ) -> Tensor:
        y = functional.conv2d(x, weight, bias, padding=padding).relu_()
        ctx.save_for_backward(y, turned)
        ctx.padding = padding
        return y

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None, None, None, None]:
        y, turned = ctx.saved_tensors
        slope = torch.ops.aten.threshold_backward(slope, y, 0)
        padding = turned.shape[-1] - 1 - ctx.padding
        back = functional.conv2d(slope, turned.to(slope.dtype), padding=padding)
        return back, None, None, None, None


def _turned(weight: Tensor) -> Tensor:
    """Return the kernel that sends a convolution's slope back."""
    turned = weight.detach().flip(2, 3).transpose(0, 1)
    return turned.contiguous(memory_format=torch.channels_last)


class FeatureTrunk(nn.Module):
    """The convolutions of a classifier, read at named layers.

    Args:
        architecture: `vgg16`, `vgg19` or `alexnet`.
        deepest: Name of the last layer that is built; None for all of them.
        pooling: `max`, or `average` times 2.
        border: What surrounds the picture for the first convolution: `zero`, or `replicate`
            (its own border pixels again), deeper ones seeing zeros; `replicate_all` for every
            convolution: zeros that deep layers see are what burns the edges of a picture.

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
        self._turned: dict[str, Tensor] = {}  # kernels for the way back, made when needed
        width = 3
        for layer in self.layers:
            if layer.kind == "conv":
                self.convolutions[layer.name] = nn.Conv2d(
                    width, layer.width, layer.kernel, layer.stride, layer.padding
                )
            width = layer.width

    def load(self, parameters: dict[str, Tensor]) -> None:
        """Take weights and biases by the names of `parameter_shapes`; deeper ones are ignored."""
        self._turned.clear()
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
        done = ""  # the ReLU that came with its convolution
        for i, layer in enumerate(self.layers):
            if len(found) == len(wanted):
                break
            if min(x.shape[-2:]) + 2 * layer.padding < layer.kernel:
                raise ShapeError(
                    f"The picture is too small: at {layer.name} only {x.shape[-1]} x "
                    f"{x.shape[-2]} positions are left, {layer.kernel} x {layer.kernel} are read."
                )
            if layer.name != done:
                both = self._with_relu(i, wanted)
                x = self._run_layer(layer, x, first=i == 0, rectified=both)
                done = self.layers[i + 1].name if both else ""
            if layer.name in wanted:
                found[layer.name] = x
        return found

    def _with_relu(self, index: int, wanted: set[str]) -> bool:
        """Whether a layer is a convolution that can be computed together with its ReLU."""
        layer, after = self.layers[index], self.layers[index + 1 : index + 2]
        if layer.kind != "conv" or layer.stride != 1 or layer.name in wanted or not after:
            return False
        weight = self.convolutions[layer.name].weight
        return after[0].kind == "relu" and not weight.requires_grad

    def _run_layer(self, layer: Layer, x: Tensor, *, first: bool, rectified: bool) -> Tensor:
        if layer.kind == "relu":
            return functional.relu(x)
        if layer.kind == "pool":
            if self.pooling == "average":
                return functional.avg_pool2d(x, layer.kernel, layer.stride) * 2
            return functional.max_pool2d(x, layer.kernel, layer.stride)
        convolution = self.convolutions[layer.name]
        padding = layer.padding
        if self.border == "replicate_all" or (first and self.border == "replicate"):
            x = functional.pad(x, (padding,) * 4, mode="replicate")
            padding = 0
        weight, bias = convolution.weight, convolution.bias
        if rectified:
            if layer.name not in self._turned:
                self._turned[layer.name] = _turned(weight)  # type: ignore[arg-type]
            kernel = self._turned[layer.name]
            together: Tensor = _Rectified.apply(x, weight, bias, kernel, padding)
            return together
        return functional.conv2d(x, weight, bias, stride=layer.stride, padding=padding)  # type: ignore[arg-type]
