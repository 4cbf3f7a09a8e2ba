"""Carry a network for pictures over to volumes: every k x k kernel becomes k x k x k.

A kernel is repeated along the depth and divided by its depth, and depth is padded by
repeating the first and last slices. A stack of equal slices then gives the 2-D network's
answer; with zeros in the depth it does not (the error is most of the output).

Source: Carreira and Zisserman, "Quo Vadis, Action Recognition?" (2017), section 2.2.
Differs: replicate padding in the depth.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from limner.errors import InputError
from limner.nets.nn4_small2 import PadAtLeast, PadLike

_Pair = tuple[int, int]


def _pair(value: object) -> _Pair:
    """Return a kernel, stride or dilation as two numbers."""
    if isinstance(value, int):
        return value, value
    assert isinstance(value, tuple)
    return value[0], value[1]


class DepthPadded(nn.Module):
    """Repeat the first and last slices, then run a 3-D layer.

    Args:
        layer: A 3-D convolution or pool without padding of its own in the depth.
        before: Slices to add in front.
        after: Slices to add behind.
    """

    def __init__(self, layer: nn.Module, before: int, after: int) -> None:
        super().__init__()
        self.layer = layer
        self.pads = (0, 0, 0, 0, before, after)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, D, H, W) through the layer."""
        y: Tensor = self.layer(functional.pad(x, self.pads, mode="replicate"))
        return y


class PadLikeSlices(PadLike):
    """Put zeros around every slice until it is as large as others'; the depth must agree."""

    def forward(self, x: Tensor, like: Tensor) -> Tensor:
        """Map (N, C, D, H, W) to (N, C, the places of `like`), repeating slices in depth."""
        missing = like.shape[2] - x.shape[2]
        before = missing // 2
        if missing:
            x = functional.pad(x, (0, 0, 0, 0, before, missing - before), mode="replicate")
        return super().forward(x, like)


class PadAtLeastSlices(PadAtLeast):
    """Append zeros to small slices, and repeat the last slice where there are few."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, D, H, W) to the same with every side at least `side`."""
        missing = max(0, self.side - x.shape[2])
        if missing:
            x = functional.pad(x, (0, 0, 0, 0, 0, missing), mode="replicate")
        return super().forward(x)


def inflate(module2d: nn.Module, *, depth_stride: int | None = None) -> nn.Module:
    """Return a 3-D copy of a 2-D network with the same answer on a stack of equal slices.

    Args:
        module2d: Built of torch modules; functions of two dimensions inside a `forward`
            (as in `x.mean([2, 3])`) cannot be seen and fail when the copy runs.
        depth_stride: Step in the depth of every layer. Default: that of the height.

    Returns:
        A network that reads (N, C, D, H, W). The input is not changed.

    Raises:
        InputError: If a layer has no 3-D form here, or `depth_stride` is below 1.
    """
    if depth_stride is not None and depth_stride < 1:
        raise InputError(f"depth_stride must be 1 or more, got {depth_stride}.")
    with torch.no_grad():
        return _inflated(copy.deepcopy(module2d), depth_stride, "the network")


def _inflated(module: nn.Module, stride: int | None, name: str) -> nn.Module:
    """Return the 3-D form of one module; containers are changed in place."""
    if isinstance(module, nn.Conv2d):
        return _conv(module, stride)
    if isinstance(module, nn.BatchNorm2d):
        return _norm(module)
    if isinstance(module, nn.MaxPool2d | nn.AvgPool2d):
        return _pool(module, stride)
    if isinstance(module, nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d):
        size = module.output_size
        height, width = size if isinstance(size, tuple) else (size, size)
        if isinstance(module, nn.AdaptiveAvgPool2d):
            return nn.AdaptiveAvgPool3d((1, height, width))
        return nn.AdaptiveMaxPool3d((1, height, width))
    if isinstance(module, nn.Dropout2d):
        return nn.Dropout3d(module.p)
    if type(module) is PadLike:
        return PadLikeSlices()
    if type(module) is PadAtLeast:
        return PadAtLeastSlices(module.side)
    if type(module).__name__.endswith("2d"):
        raise InputError(
            f"{name} is a {type(module).__name__}, which has no 3-D form here; allowed are "
            "convolution, batch normalisation, max, average and adaptive pools and dropout."
        )
    for child_name, child in module.named_children():
        setattr(module, child_name, _inflated(child, stride, f"{name}.{child_name}"))
    if getattr(module, "dims", None) == 2:
        module.dims = 3  # type: ignore[assignment]
    return module


def _conv(layer: nn.Conv2d, stride: int | None) -> nn.Module:
    if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        raise InputError(
            "a convolution is inflated only with zero padding given as numbers, got "
            f"padding={layer.padding!r}, padding_mode={layer.padding_mode!r}."
        )
    side, dilation = max(_pair(layer.kernel_size)), max(_pair(layer.dilation))
    if min(_pair(layer.kernel_size)) == 1:
        side = 1  # 1 x 7 and 7 x 1 act in one direction; the depth is not theirs
    made = nn.Conv3d(
        layer.in_channels,
        layer.out_channels,
        (side, *_pair(layer.kernel_size)),
        stride=(stride or _pair(layer.stride)[0], *_pair(layer.stride)),
        padding=(0, *_pair(layer.padding)),
        dilation=(dilation, *_pair(layer.dilation)),
        groups=layer.groups,
        bias=layer.bias is not None,
        device=layer.weight.device,
        dtype=layer.weight.dtype,
    )
    made.weight.copy_((layer.weight / side).unsqueeze(2).expand_as(made.weight))
    if layer.bias is not None and made.bias is not None:
        made.bias.copy_(layer.bias)
    reach = dilation * (side - 1)
    return DepthPadded(made, reach // 2, reach - reach // 2) if reach else made


def _norm(layer: nn.BatchNorm2d) -> nn.Module:
    made = nn.BatchNorm3d(
        layer.num_features,
        eps=layer.eps,
        momentum=layer.momentum,
        affine=layer.affine,
        track_running_stats=layer.track_running_stats,
    )
    first = next(iter(layer.state_dict().values()), None)
    if first is not None:
        made.to(device=first.device, dtype=first.dtype)
    made.load_state_dict(layer.state_dict())
    return made.train(layer.training)


def _pool(layer: nn.MaxPool2d | nn.AvgPool2d, stride: int | None) -> nn.Module:
    kernel, step = _pair(layer.kernel_size), _pair(layer.stride)
    padding = _pair(layer.padding)
    options: dict[str, Any] = {
        "kernel_size": (kernel[0], *kernel),
        "stride": (stride or step[0], *step),
        "padding": (0, *padding),
        "ceil_mode": layer.ceil_mode,
    }
    made: nn.Module
    if isinstance(layer, nn.MaxPool2d):
        made = nn.MaxPool3d(**options, dilation=layer.dilation)
    else:
        divisor = layer.divisor_override
        made = nn.AvgPool3d(
            **options,
            count_include_pad=layer.count_include_pad,
            divisor_override=None if divisor is None else divisor * kernel[0],
        )
    reach = kernel[0] - 1
    return DepthPadded(made, reach // 2, reach - reach // 2)
