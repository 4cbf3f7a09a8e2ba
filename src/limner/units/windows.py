"""What convolutions, poolings, padding and interpolation read, as extents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from limner.units import extent as ex
from limner.units.extent import Axis, Extent


def whole_numbers(value: Any, count: int) -> list[int]:
    """Return an option as one number an axis."""
    values = list(value) if isinstance(value, list | tuple) else [value]
    return [int(v) for v in (values * count if len(values) == 1 else values)]


def _slide_all(
    extent: Extent,
    shape: Sequence[int],
    out: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Extent:
    lead = len(shape) - len(kernel)
    for i, size in enumerate(kernel):
        extent = ex.slide(
            extent, lead + i, inputs=shape[lead + i], outputs=out.shape[lead + i], kernel=size,
            stride=stride[i], padding=padding[i], dilation=dilation[i],
        )  # fmt: skip
    return extent


def convolution(extent: Extent, args: Any, shape: Sequence[int], out: Tensor) -> Extent:
    """Return what a convolution sees, transposed or not."""
    weight, stride, padding, dilation, transposed = (args[i] for i in (1, 3, 4, 5, 6))
    groups = int(args[8])
    kernel = list(weight.shape[2:])
    axes = len(kernel)
    lead = len(shape) - axes
    extent = ex.mix_channels(extent, groups, int(out.shape[lead - 1]), lead - 1)
    stride, padding, dilation = (whole_numbers(v, axes) for v in (stride, padding, dilation))
    if not transposed:
        return _slide_all(extent, shape, out, kernel, stride, padding, dilation)
    for i, size in enumerate(kernel):
        extent = ex.slide_transposed(
            extent, lead + i, inputs=shape[lead + i], outputs=out.shape[lead + i], kernel=size,
            stride=stride[i], padding=padding[i], dilation=dilation[i],
        )  # fmt: skip
    return extent


def pool(name: str, extent: Extent, args: Any, shape: Sequence[int], out: Tensor) -> Extent | None:
    """Return what a pooling sees; None for a kind without a rule."""
    axes = int(name[name.index("pool") + 4])
    lead = len(shape) - axes
    if "adaptive" in name:
        for d in range(lead, len(shape)):
            extent = _adaptive(extent, d, shape[d], int(out.shape[d]))
        return extent
    if not name.startswith(("max_pool", "avg_pool")):
        return None
    kernel = whole_numbers(args[1], axes)
    stride = whole_numbers(args[2], axes) if len(args) > 2 and args[2] else kernel
    padding = whole_numbers(args[3], axes) if len(args) > 3 else [0] * axes
    dilation = whole_numbers(args[4], axes) if len(args) > 4 and name[0] == "m" else [1] * axes
    return _slide_all(extent, shape, out, kernel, stride, padding, dilation)


def _adaptive(extent: Extent, dim: int, inputs: int, outputs: int) -> Extent:
    if inputs % outputs == 0:
        size = inputs // outputs
        return ex.slide(
            extent, dim, inputs=inputs, outputs=outputs, kernel=size, stride=size, padding=0
        )
    rows = [range(o * inputs // outputs, -(-(o + 1) * inputs // outputs)) for o in range(outputs)]
    width = max(map(len, rows))
    sources = torch.tensor([[*row] + [-1] * (width - len(row)) for row in rows])
    return ex.lose_rule(ex.read_through(extent, dim, sources), dim, ndim=extent[0].low.dim())


def pad(extent: Extent, pads: Sequence[int], shape: Sequence[int]) -> Extent:
    """Return the extent after zeros (which see nothing) were put around, or rows cut off."""
    for i in range(len(pads) // 2):
        dim = len(shape) - 1 - i
        before, after = int(pads[2 * i]), int(pads[2 * i + 1])
        if before == after == 0:
            continue
        size = shape[dim]
        sources = torch.arange(-before, size + after)[:, None]
        sources[(sources < 0) | (sources >= size)] = -1
        widened = tuple(
            Axis(
                _spread(a.low, dim, size),
                _spread(a.high, dim, size),
                a.dim,
                a.first,
                a.last,
                a.step,
            )
            for a in extent
        )
        extent = ex.shift(ex.read_through(widened, dim, sources, spread=True), dim, -before)
    return extent


def _spread(line: Tensor, dim: int, size: int) -> Tensor:
    """Expand along one dimension, so that what is put beside it can differ."""
    if line.shape[dim] != 1:
        return line
    sizes = list(line.shape)
    sizes[dim] = size
    return line.expand(sizes)


def upsample(
    func: Any, args: Any, kwargs: Any, extent: Extent, shape: Sequence[int], out: Tensor
) -> Extent:
    """Return what interpolated positions see: the operation is asked about one line at a time."""
    axes = len(shape) - 2
    for i in range(axes):
        dim = 2 + i
        inputs, outputs = shape[dim], int(out.shape[dim])
        sizes = [inputs, 1, *([1] * axes)]
        sizes[dim] = inputs
        sides = [1] * axes
        sides[i] = outputs
        line = func(torch.eye(inputs).reshape(sizes), sides, *args[2:], **kwargs)
        reads = line.reshape(inputs, outputs).T != 0
        width = int(reads.sum(1).max())
        order = torch.argsort(reads.int(), dim=1, descending=True, stable=True)[:, :width]
        sources = torch.where(reads.gather(1, order), order, -1)
        extent = ex.lose_rule(ex.read_through(extent, dim, sources), dim, ndim=len(shape))
    return extent
