"""Extents: for every position of a tensor, the interval of input pixels that it can see.

An extent travels beside a tensor. It holds, for each axis of the picture, two tensors `low` and
`high` that broadcast to the tensor's shape: the first and the last pixel. They are exact at the
border, because padding is no pixel: a window that hangs over is cut where it is read, layer by
layer. Where positions are evenly spaced, the extent knows the unclipped rule as well:
unit i sees the pixels first + i step .. last + i step.

Source: for the rule, Araujo, Norris and Sim, "Computing Receptive Fields of Convolutional
Neural Networks", Distill (2019). Differs: intervals of every position are carried along, so
that borders, branches and uneven poolings are exact too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

NOTHING = math.inf  # `low` of what sees no pixel; `high` is its negative


@dataclass(frozen=True)
class Axis:
    """What positions see along one axis of the picture.

    Attributes:
        low: First pixel; as many dimensions as the tensor, of size 1 where it does not matter.
        high: Last pixel.
        dim: The tensor's dimension that runs along this axis, counted from the end (-1, -2,
            ...); None if there is none.
        first: First pixel of unit 0 by the unclipped rule; may be negative.
        last: Last pixel of unit 0 by the unclipped rule.
        step: Pixels from unit to unit; None where there is no such rule.
    """

    low: Tensor
    high: Tensor
    dim: int | None = None
    first: float = 0.0
    last: float = 0.0
    step: float | None = None


Extent = tuple[Axis, ...]


def of_picture(shape: Sequence[int]) -> Extent:
    """Return the extent of the picture itself, shape (N, C, *sides): each pixel sees itself."""
    axes = []
    for i, side in enumerate(shape[2:]):
        dim = i - (len(shape) - 2)
        sizes = [1] * len(shape)
        sizes[dim] = side
        line = torch.arange(side, dtype=torch.float32).reshape(sizes)
        axes.append(Axis(line, line, dim, 0.0, 0.0, 1.0))
    return tuple(axes)


def unite(extents: Sequence[Extent]) -> Extent:
    """Return what a sum sees: the hull of its summands; shapes broadcast."""
    if len(extents) == 1:
        return extents[0]
    axes = []
    for parts in zip(*extents, strict=True):
        low, high = parts[0].low, parts[0].high
        for part in parts[1:]:
            low = torch.minimum(low, part.low)
            high = torch.maximum(high, part.high)
        axes.append(_rule_of_union(parts, low, high))
    return tuple(axes)


def _rule_of_union(parts: Sequence[Axis], low: Tensor, high: Tensor) -> Axis:
    dims = {p.dim for p in parts if p.dim is not None}
    dim = dims.pop() if len(dims) == 1 else None
    steps = {p.step for p in parts}
    step = steps.pop() if len(steps) == 1 and dim is not None else None
    first, last = min(p.first for p in parts), max(p.last for p in parts)
    return Axis(low, high, dim, first, last, step)


def join(extents: Sequence[Extent | None], shapes: Sequence[Sequence[int]], dim: int) -> Extent:
    """Return the extent of tensors concatenated along `dim`; None sees nothing."""
    known = [e for e in extents if e is not None]
    ndim = len(shapes[0])
    dim %= ndim
    axes = []
    for number in range(len(known[0])):
        parts = [e[number] for e in known]
        lines = [line for p in parts for line in (p.low, p.high)]
        sizes = [max(line.shape[d] for line in lines) for d in range(ndim)]
        lows, highs = [], []
        for extent, shape in zip(extents, shapes, strict=True):
            sizes[dim] = shape[dim]
            if extent is None:
                lows.append(torch.full(sizes, NOTHING))
                highs.append(torch.full(sizes, -NOTHING))
            else:
                lows.append(extent[number].low.expand(sizes))
                highs.append(extent[number].high.expand(sizes))
        low, high = _compress(torch.cat(lows, dim)), _compress(torch.cat(highs, dim))
        axis = _rule_of_union(parts, low, high)
        if axis.dim is not None and axis.dim % ndim == dim:
            axis = replace(axis, step=None)
        axes.append(axis)
    return tuple(axes)


def _compress(line: Tensor) -> Tensor:
    """Drop dimensions along which nothing changes to size 1."""
    for d in range(line.ndim):
        if line.shape[d] > 1 and bool((line == line.narrow(d, 0, 1)).all()):
            line = line.narrow(d, 0, 1)
    return line


def restructure(
    extent: Extent, shape: Sequence[int], operation: Callable[[Tensor], list[Tensor]]
) -> list[Extent]:
    """Return the extents after an operation that only moves values: view, slice, roll, ...

    Args:
        extent: Of the tensor that is read.
        shape: Its shape.
        operation: The same operation on a stand-in of that shape.
    """
    outputs: list[list[Axis]] = []
    for axis in extent:
        lows = operation(axis.low.expand(tuple(shape)).contiguous())
        highs = operation(axis.high.expand(tuple(shape)).contiguous())
        outputs = outputs or [[] for _ in lows]
        for out, low, high in zip(outputs, lows, highs, strict=True):
            out.append(Axis(_compress(low), _compress(high)))
    return [tuple(out) for out in outputs]


def with_rule(extent: Extent, old: Extent, moved: Callable[[Axis], Axis]) -> Extent:
    """Return `extent` with the dims and rules that `moved` makes of the old axes'."""
    axes = []
    for new, before in zip(extent, old, strict=True):
        rule = moved(before)
        axes.append(Axis(new.low, new.high, rule.dim, rule.first, rule.last, rule.step))
    return tuple(axes)


def reduce(extent: Extent, dims: Sequence[int], *, keepdim: bool) -> Extent:
    """Return what a mean, a maximum or a norm over `dims` sees."""
    axes = []
    for axis in extent:
        ndim = axis.low.ndim
        gone = sorted({d % ndim for d in dims})
        low, high = axis.low.amin(gone, keepdim=keepdim), axis.high.amax(gone, keepdim=keepdim)
        dim, step = axis.dim, axis.step
        if dim is not None and dim % ndim in gone:
            dim, step = None, None
        elif dim is not None and not keepdim:
            dim += sum(d > dim % ndim for d in gone)
        axes.append(Axis(low, high, dim, axis.first, axis.last, step))
    return tuple(axes)


def mix_channels(extent: Extent, groups: int, outputs: int, channel: int) -> Extent:
    """Return what each output channel sees that reads all input channels of its group.

    Args:
        extent: Of the input.
        groups: Of the convolution.
        outputs: Output channels.
        channel: The channels' dimension.
    """

    def mixed(line: Tensor, smallest: bool) -> Tensor:
        if line.shape[channel] == 1:
            return line
        before, after = line.shape[:channel], line.shape[channel + 1 :]
        grouped = line.reshape(*before, groups, -1, *after)
        best = grouped.amin(channel + 1) if smallest else grouped.amax(channel + 1)
        return _compress(best.repeat_interleave(outputs // groups, channel))

    return tuple(replace(a, low=mixed(a.low, True), high=mixed(a.high, False)) for a in extent)


def read_through(extent: Extent, dim: int, sources: Tensor, *, spread: bool = False) -> Extent:
    """Return what outputs see that read several input positions each.

    Args:
        extent: Of the input.
        dim: The dimension along which is read, counted from the start.
        sources: Shape (outputs, K), the positions that each output reads; those below 0 are
            padding and see nothing.
        spread: Whether a dimension of size 1 is one position, and not the same for all of them.
    """

    def gathered(line: Tensor, smallest: bool) -> Tensor:
        if line.shape[dim] == 1 and not spread:
            return line
        nothing = NOTHING if smallest else -NOTHING
        there = sources.reshape(-1).clamp(min=0)
        shape = (*line.shape[:dim], *sources.shape, *line.shape[dim + 1 :])
        picked = line.index_select(dim, there).reshape(shape)
        mask = (sources >= 0).reshape([1] * dim + list(sources.shape) + [1] * (line.ndim - dim - 1))
        picked = torch.where(mask, picked, torch.tensor(nothing))
        return picked.amin(dim + 1) if smallest else picked.amax(dim + 1)

    return tuple(
        replace(a, low=gathered(a.low, True), high=gathered(a.high, False)) for a in extent
    )


def slide(
    extent: Extent,
    dim: int,
    *,
    inputs: int,
    outputs: int,
    kernel: int,
    stride: int,
    padding: int,
    dilation: int = 1,
) -> Extent:
    """Return what a sliding window sees; all lengths in positions of its own input.

    Unit o reads the positions o stride - padding + dilation t, t = 0 .. kernel - 1; those
    outside of 0 .. inputs - 1 are padding.
    """
    taps = torch.arange(kernel) * dilation
    sources = torch.arange(outputs)[:, None] * stride - padding + taps
    sources[(sources < 0) | (sources >= inputs)] = -1
    moved = []
    for axis in read_through(extent, dim, sources):
        if axis.dim is not None and axis.dim % axis.low.ndim == dim and axis.step is not None:
            first = axis.first - padding * axis.step
            last = axis.last + (dilation * (kernel - 1) - padding) * axis.step
            axis = replace(axis, first=first, last=last, step=axis.step * stride)
        moved.append(axis)
    return tuple(moved)


def slide_transposed(
    extent: Extent,
    dim: int,
    *,
    inputs: int,
    outputs: int,
    kernel: int,
    stride: int,
    padding: int,
    dilation: int,
) -> Extent:
    """Return what a transposed convolution's outputs see.

    Output o reads the input i where o = i stride - padding + dilation t for some t.
    """
    reach = torch.arange(outputs)[:, None] + padding - torch.arange(kernel) * dilation
    sources = torch.div(reach, stride, rounding_mode="floor")
    sources[(reach % stride != 0) | (sources >= inputs) | (sources < 0)] = -1
    return lose_rule(read_through(extent, dim, sources), dim, ndim=extent[0].low.ndim)


def lose_rule(extent: Extent, dim: int | None = None, *, ndim: int = 0) -> Extent:
    """Return an extent without the even rule along `dim`; along all of them if None."""
    return tuple(
        replace(a, step=None) if dim is None or (a.dim is not None and a.dim % ndim == dim) else a
        for a in extent
    )


def shift(extent: Extent, dim: int, count: int, every: int = 1) -> Extent:
    """Return the rule of an extent whose position 0 is now the old position `count`."""
    moved = []
    for axis in extent:
        if axis.dim is not None and axis.dim % axis.low.ndim == dim and axis.step is not None:
            by = count * axis.step
            axis = replace(axis, first=axis.first + by, last=axis.last + by, step=axis.step * every)
        moved.append(axis)
    return tuple(moved)


def whole(sides: Sequence[int], ndim: int) -> Extent:
    """Return the extent of a tensor whose every value may depend on the whole picture."""
    return tuple(
        Axis(torch.zeros([1] * ndim), torch.full([1] * ndim, float(side - 1))) for side in sides
    )
