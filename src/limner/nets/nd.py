"""Convolutional building blocks for signals (1-D), pictures (2-D) and volumes (3-D).

Everything here takes ``dims``: 1 reads (N, C, L), 2 reads (N, C, H, W), 3 reads
(N, C, D, H, W). The layers are PyTorch's own, chosen by an index as MONAI does; the blocks
are written once. `limner.nets.inception` builds the notes' FRModel from them, and
`limner.nets.inflate` carries 2-D weights into 3-D.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from limner.errors import InputError

Dims = Literal[1, 2, 3]
Pool = Literal["max", "average"]

_CONVS: dict[int, type[nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_NORMS: dict[int, type[nn.Module]] = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_POOLS: dict[str, dict[int, type[nn.Module]]] = {
    "max": {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d},
    "average": {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d},
}
_GLOBAL: dict[int, type[nn.Module]] = {
    1: nn.AdaptiveAvgPool1d,
    2: nn.AdaptiveAvgPool2d,
    3: nn.AdaptiveAvgPool3d,
}


def check_dims(dims: int) -> None:
    """Refuse a number of dimensions other than 1, 2 and 3.

    Raises:
        InputError: If `dims` is another number.
    """
    if dims not in get_args(Dims):
        raise InputError(
            f"dims must be 1 (signals), 2 (pictures) or 3 (volumes), got {dims!r}; "
            "choose the one that fits the data."
        )


def conv(dims: Dims, inputs: int, outputs: int, kernel: int, **options: Any) -> nn.Module:
    """Return PyTorch's convolution in `dims` dimensions.

    Args:
        dims: 1, 2 or 3.
        inputs: Channels in.
        outputs: Channels out.
        kernel: Side of the kernel.
        **options: `stride`, `padding`, `dilation`, `groups`, `bias`, as PyTorch has them.
    """
    check_dims(dims)
    return _CONVS[dims](inputs, outputs, kernel, **options)


def norm(dims: Dims, channels: int, *, epsilon: float = 1e-5) -> nn.Module:
    """Return a batch normalisation in `dims` dimensions."""
    check_dims(dims)
    return _NORMS[dims](channels, eps=epsilon)


def pool(
    dims: Dims, kind: Pool, kernel: int, *, stride: int | None = None, padding: int = 0
) -> nn.Module:
    """Return a max or average pool in `dims` dimensions.

    Raises:
        InputError: If `kind` is neither `max` nor `average`.
    """
    check_dims(dims)
    if kind not in _POOLS:
        raise InputError(f"pool must be 'max' or 'average', got {kind!r}.")
    return _POOLS[kind][dims](kernel, stride=stride or kernel, padding=padding)


def global_pool(dims: Dims) -> nn.Module:
    """Return the pool that averages each channel over all places, leaving one value."""
    check_dims(dims)
    return _GLOBAL[dims](1)


def convolve(x: Tensor, kernels: Tensor) -> Tensor:
    """Convolve one array as the notes write it: channels last, no padding, stride 1.

    Args:
        x: Shape (S1, ..., Sd, C) with d of 1, 2 or 3: a signal, a picture or a volume.
        kernels: Shape (k1, ..., kd, C, K).

    Returns:
        Shape (S1 - k1 + 1, ..., Sd - kd + 1, K), so that 14x14x3 * 5x5x3x16 -> 10x10x16.
        The kernel is not flipped, as in every network.

    Raises:
        InputError: If the numbers of dimensions or channels differ, or a kernel is larger
            than the array.

    Source: the notes, "1-D and 3-D generalisations".
    """
    dims = x.ndim - 1
    check_dims(dims)
    if kernels.ndim != dims + 2 or kernels.shape[-2] != x.shape[-1]:
        raise InputError(
            f"a kernel for an array of shape {tuple(x.shape)} has {dims} sides, "
            f"{x.shape[-1]} channels in and its channels out, got {tuple(kernels.shape)}."
        )
    if any(k > s for k, s in zip(kernels.shape[:dims], x.shape[:dims], strict=True)):
        raise InputError(
            f"the kernel {tuple(kernels.shape[:dims])} is larger than the array "
            f"{tuple(x.shape[:dims])}; without padding nothing is left."
        )
    weights = kernels.permute(dims + 1, dims, *range(dims))
    channels_first = x.permute(dims, *range(dims)).unsqueeze(0)
    functions = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
    y = functions[dims](channels_first, weights).squeeze(0)
    return y.permute(*range(1, dims + 1), 0)


class ConvBlock(nn.Sequential):
    """Convolution, batch normalisation and, unless told otherwise, ReLU.

    Args:
        dims: 1, 2 or 3.
        inputs: Channels in.
        outputs: Channels out.
        kernel: Side of the kernel, odd; the padding keeps the size at stride 1.
        stride: Step in every direction.
        dilation: Distance between the kernel's samples.
        groups: Groups of channels that do not see each other.
        relu: Whether a ReLU follows.
        epsilon: Added to the variance by the normalisation.
    """

    def __init__(
        self,
        dims: Dims,
        inputs: int,
        outputs: int,
        kernel: int = 3,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        relu: bool = True,
        epsilon: float = 1e-5,
    ) -> None:
        options = {
            "stride": stride,
            "padding": dilation * (kernel // 2),
            "dilation": dilation,
            "groups": groups,
            "bias": False,
        }
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        parts["conv"] = conv(dims, inputs, outputs, kernel, **options)
        parts["norm"] = norm(dims, outputs, epsilon=epsilon)
        if relu:
            parts["relu"] = nn.ReLU()
        super().__init__(parts)


class ResidualBlock(nn.Module):
    """Two convolutions and a shortcut: relu(x + F(x)).

    The shortcut is a 1-convolution where the width or the size changes.

    Source: He, Zhang, Ren and Sun, "Deep Residual Learning" (2015), figure 2.
    """

    def __init__(
        self, dims: Dims, inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1
    ) -> None:
        super().__init__()
        self.first = ConvBlock(dims, inputs, outputs, kernel, stride=stride)
        self.second = ConvBlock(dims, outputs, outputs, kernel, relu=False)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = ConvBlock(dims, inputs, outputs, 1, stride=stride, relu=False)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, ...) to (N, outputs, ...), each side over the stride, rounded up."""
        y: Tensor = self.relu(self.second(self.first(x)) + self.shortcut(x))
        return y


class DenseBlock(nn.Module):
    """Layers that each read everything before them and add `growth` channels.

    Source: Huang, Liu, van der Maaten and Weinberger, "Densely Connected Convolutional
    Networks" (2016). Differs: convolution, normalisation, ReLU in this order.
    """

    def __init__(self, dims: Dims, inputs: int, *, growth: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            ConvBlock(dims, inputs + i * growth, growth) for i in range(layers)
        )
        self.outputs = inputs + layers * growth

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, ...) to (N, inputs + layers * growth, ...) of the same size."""
        for layer in self.layers:
            x = torch.cat([x, layer(x)], dim=1)
        return x


class DepthwiseBlock(nn.Sequential):
    """A convolution of each channel by itself, then a 1-convolution that mixes channels.

    Source: Howard et al., "MobileNets" (2017), figure 3.
    """

    def __init__(
        self, dims: Dims, inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1
    ) -> None:
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        parts["depthwise"] = ConvBlock(dims, inputs, inputs, kernel, stride=stride, groups=inputs)
        parts["pointwise"] = ConvBlock(dims, inputs, outputs, 1)
        super().__init__(parts)


class TrunkAndHead(nn.Module):
    """A trunk that makes maps, an average over all places, and one linear layer.

    Because only an average stands between the maps and the linear layer, the class maps
    of `class_maps` are exact: their average plus the bias is the class's score.

    Args:
        dims: 1, 2 or 3.
        trunk: Maps (N, in_channels, ...) to (N, width, ...).
        width: Channels that the trunk returns.
        embedding: Width of a unit-length embedding, or
        classes: number of classes for scores; exactly one of the two.
        dropout: Share of the averaged features that training drops.

    Raises:
        InputError: If both or neither of `embedding` and `classes` are given.
    """

    def __init__(
        self,
        dims: Dims,
        trunk: nn.Module,
        width: int,
        *,
        embedding: int | None = None,
        classes: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if (embedding is None) == (classes is None):
            raise InputError(
                "a head is either an embedding or a classifier: give exactly one of "
                f"embedding= and classes=, got {embedding!r} and {classes!r}."
            )
        self.dims = dims
        self.unit_length = classes is None
        self.trunk = trunk
        self.pool = global_pool(dims)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, classes if embedding is None else embedding)  # type: ignore[arg-type]

    def features(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, ...) to (N, width): each map's average."""
        return torch.flatten(self.pool(self.trunk(x)), 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, ...) to (N, classes) scores or (N, embedding) of unit length."""
        y = self.outputs(x)
        return functional.normalize(y, dim=1) if self.unit_length else y

    def outputs(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, ...) to the linear layer's own values, of any length."""
        y: Tensor = self.head(self.dropout(self.features(x)))
        return y

    def class_maps(self, x: Tensor) -> Tensor:
        """Return what each place of the last maps adds to each score, (N, outputs, ...).

        The average over places plus the head's bias is what `outputs` returns.

        Source: Zhou et al., "Learning Deep Features for Discriminative Localization"
        (2016), equation 2.
        """
        maps = self.trunk(x)
        return torch.einsum("kc,nc...->nk...", self.head.weight, maps)


class SmallResNet(TrunkAndHead):
    """A residual network small enough to train on a CPU: a stem and three stages.

    Args:
        dims: 1, 2 or 3.
        in_channels: Leads of a signal, colours of a picture, channels of a volume.
        classes: Number of classes, or
        embedding: width of a unit-length embedding; exactly one of the two.
        width: Channels of the stem and first stage; the others have two and four times it.
        blocks: Residual blocks per stage.
        kernel: Side of the blocks' kernels. Default: 7 for signals, else 3.
        stem_stride: Step of the first convolution.
        dropout: Share of the averaged features that training drops.
    """

    def __init__(
        self,
        dims: Dims,
        in_channels: int,
        *,
        classes: int | None = None,
        embedding: int | None = None,
        width: int = 32,
        blocks: int = 1,
        kernel: int | None = None,
        stem_stride: int = 1,
        dropout: float = 0.0,
    ) -> None:
        check_dims(dims)
        side = kernel or (7 if dims == 1 else 3)
        stem = ConvBlock(dims, in_channels, width, side, stride=stem_stride)
        parts: OrderedDict[str, nn.Module] = OrderedDict(stem=stem)
        before = width
        for stage in range(3):
            wide = width * 2**stage
            for i in range(blocks):
                stride = 2 if stage and not i else 1
                block = ResidualBlock(dims, before, wide, kernel=side, stride=stride)
                parts[f"stage{stage + 1}_{i + 1}"] = block
                before = wide
        super().__init__(
            dims,
            nn.Sequential(parts),
            before,
            embedding=embedding,
            classes=classes,
            dropout=dropout,
        )
