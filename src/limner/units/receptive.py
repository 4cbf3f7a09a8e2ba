"""Receptive fields: which pixels each unit of each layer can see, exactly.

The network runs once without numbers, on torch's meta device, while every operation hands on
which pixels it reads (`limner.units.rules`); hooks on its modules note the layers. A network
whose graph depends on the picture runs once on a grey one instead, and the table says so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from limner.errors import InputError, ShapeError, UnknownNameError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from limner.units.extent import Extent
    from limner.units.network import Network
    from limner.units.recorder import Record, Recorder

Layout = Literal["channels_first", "channels_last", "vector"]


@dataclass(frozen=True)
class Field:
    """What the units of one layer see.

    Attributes:
        layer: Name of the module; `:2` is its second call.
        kind: Class of the module, such as `Conv2d`.
        channels: Units in the layer.
        positions: Positions of each unit, by axis: rows and columns of a picture; empty for
            a layer without places.
        layout: Where the channels are in what the module returns.
        size: Pixels that a unit sees by axis (rows, columns), away from the border. Where
            `stride` is None, the most that any unit sees of this picture.
        stride: Pixels from a unit to the next by axis; None where units are not evenly spaced.
        offset: First pixel that unit 0 would see if the picture went on; negative where
            padding is read.
        whole: Whether each unit sees the whole of this picture.
        overwritten: Whether a later operation writes into what the module returned.
    """

    layer: str
    kind: str
    channels: int
    positions: tuple[int, ...]
    layout: Layout
    size: tuple[int, ...]
    stride: tuple[float | None, ...]
    offset: tuple[float | None, ...]
    whole: bool
    overwritten: bool = False
    extent: Extent = field(default=(), repr=False, compare=False)
    sides: tuple[int, ...] = field(default=(), repr=False)

    def seen(
        self, position: tuple[int, ...], channel: int = 0
    ) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
        """Return the first and the last pixel, by axis, that a unit sees of this picture.

        Args:
            position: Place of the unit, one index an axis.
            channel: Its channel; branches that meet in a layer may see unlike much.

        Returns:
            Two tuples, rows first; None for a unit that sees padding alone.

        Raises:
            InputError: If there is no such place.
        """
        self._check(position, channel)
        first = [_at(a.low, self._index(position, channel)) for a in self.extent]
        last = [_at(a.high, self._index(position, channel)) for a in self.extent]
        if not all(math.isfinite(v) for v in (*first, *last)):
            return None
        return tuple(int(v) for v in first), tuple(int(v) for v in last)

    def box(self, position: tuple[int, ...], channel: int = 0) -> tuple[int, ...] | None:
        """Return (x0, y0, x1, y1) in pixels, cut at the border; x1 and y1 are exclusive.

        None for a unit that sees padding alone.

        Raises:
            InputError: If there is no such place.
        """
        seen = self.seen(position, channel)
        return None if seen is None else (*seen[0][::-1], *(v + 1 for v in seen[1][::-1]))

    def frame(self, position: tuple[int, ...], channel: int = 0) -> tuple[int, ...]:
        """Return the box of a unit as if the picture went on; cut where there is no even rule.

        All frames of an even layer have one size, so patches lie in them as the unit sees them.
        Where branches meet, it is the frame of the widest.

        Raises:
            InputError: If there is no such place.
        """
        seen = self.seen(position, channel) or ((0,) * len(self.sides), (0,) * len(self.sides))
        low, high = list(seen[0]), list(seen[1])
        for i, (step, offset) in enumerate(zip(self.stride, self.offset, strict=True)):
            if step is not None and offset is not None and self.positions:
                low[i] = int(offset + position[i] * step)
                high[i] = low[i] + self.size[i] - 1
        return (*low[::-1], *(v + 1 for v in high[::-1]))

    def _check(self, position: tuple[int, ...], channel: int) -> None:
        inside = len(position) == len(self.positions) and all(
            0 <= p < n for p, n in zip(position, self.positions, strict=True)
        )
        if not inside or not 0 <= channel < self.channels:
            raise InputError(
                f"{self.layer} has {self.channels} units at {self.positions} places, got unit "
                f"{channel} at {position}."
            )

    def _index(self, position: tuple[int, ...], channel: int) -> tuple[int, ...]:
        if self.layout == "channels_last":
            return (0, *position, channel)
        return (0, channel, *position)

    def to_json(self) -> dict[str, Any]:
        """Return the row of the table as plain JSON values."""
        return {
            "layer": self.layer,
            "kind": self.kind,
            "channels": self.channels,
            "positions": list(self.positions),
            "size": list(self.size),
            "stride": list(self.stride),
            "offset": list(self.offset),
            "whole": self.whole,
        }


def _at(line: Tensor, index: tuple[int, ...]) -> float:
    """Return one entry of a tensor that broadcasts."""
    return float(line[tuple(0 if n == 1 else i for i, n in zip(index, line.shape, strict=True))])


@dataclass(frozen=True)
class FieldTable:
    """The receptive fields of a network's layers, in the order in which they run.

    Attributes:
        layers: One entry a layer.
        aliases: Modules whose result is that of another: a block and its last layer.
        sides: Sides of the picture that was followed (height, width), in pixels.
        notes: What to know about the run, one sentence each; usually none.
    """

    layers: tuple[Field, ...]
    aliases: dict[str, str]
    sides: tuple[int, ...]
    notes: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Field:
        """Return a layer by its name or a block's.

        Raises:
            UnknownNameError: If there is no such layer; the message lists some that exist.
        """
        wanted = self.aliases.get(name, name)
        for entry in self.layers:
            if entry.layer == wanted:
                return entry
        raise UnknownNameError(f"there is no layer {name!r}; there are {self._some(name)}.")

    def _some(self, name: str) -> str:
        import difflib

        names = [entry.layer for entry in self.layers] + list(self.aliases)
        if len(names) <= 24:
            return ", ".join(names)
        near = difflib.get_close_matches(name, names, n=6, cutoff=0.3)
        rest = [n for n in names if n not in near][: 12 - len(near)]
        return ", ".join([*near, *rest]) + f" and {len(names) - len(near) - len(rest)} more"

    def to_json(self) -> dict[str, Any]:
        """Return the table as plain JSON values."""
        return {
            "sides": list(self.sides),
            "layers": [entry.to_json() for entry in self.layers],
            "notes": list(self.notes),
        }


def fields(net: Network | nn.Module, size: int | tuple[int, ...] | None = None) -> FieldTable:
    """Return the receptive field of every layer.

    Args:
        net: A network of `load_network`, or any module that takes (N, C, *sides).
        size: Side of the picture in pixels, or (height, width); None for the network's own.
            A plain module needs one.

    Raises:
        InputError: If a plain module comes without a size.
        ShapeError: If the network cannot read a picture of that size.
    """
    from torch import nn

    module = net if isinstance(net, nn.Module) else net.module
    channels = _input_channels(module)
    if size is None:
        if isinstance(net, nn.Module):
            raise InputError("a plain module does not know its picture; give size in pixels.")
        size = net.size_px
    axes = _input_axes(module)
    sides = (size,) * axes if isinstance(size, int) else tuple(size)
    if any(side < 1 for side in sides):
        raise InputError(f"size must be at least 1 pixel, got {sides}.")
    return trace(module, (1, channels, *sides))


def _first_convolution(module: nn.Module) -> Any:
    from torch.nn.modules.conv import _ConvNd

    return next((m for m in module.modules() if isinstance(m, _ConvNd)), None)


def _input_channels(module: nn.Module) -> int:
    first = _first_convolution(module)
    return 3 if first is None else int(first.in_channels)


def _input_axes(module: nn.Module) -> int:
    first = _first_convolution(module)
    return 2 if first is None else len(first.kernel_size)


def trace(module: nn.Module, shape: tuple[int, ...]) -> FieldTable:
    """Follow a picture of one shape through a module and return its layers' fields.

    Raises:
        ShapeError: If the module cannot read that shape.
    """
    notes = []
    static, reason = _is_static(module)
    if not static:
        notes.append(
            f"torch.fx cannot trace this network ({reason}); its layers were followed with hooks "
            "in one run. Where the graph depends on the picture, another picture may give others."
        )
    try:
        follower, recorder = _follow(module, shape, meta=True)
    except Exception:  # numbers are needed on the way
        try:
            follower, recorder = _follow(module, shape, meta=False)
        except Exception as error:
            words = " x ".join(map(str, shape[2:]))
            line = (str(error).splitlines() or [""])[0]
            raise ShapeError(f"this network cannot read a picture of {words}: {line}") from error
        if static:
            notes.append("the network needs numbers on its way; a grey picture was followed.")
    if follower.unknown:
        notes.append(f"no rule for {', '.join(follower.unknown)}: taken to read the whole picture.")
    layers = tuple(_describe(r, follower.sides) for r in recorder.records)
    return FieldTable(layers, recorder.aliases, shape[2:], tuple(notes))


def _is_static(module: nn.Module) -> tuple[bool, str]:
    from torch import fx

    try:
        fx.Tracer().trace(module)
    except Exception as error:
        return False, (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")[:120]
    return True, ""


def _follow(module: nn.Module, shape: tuple[int, ...], *, meta: bool) -> tuple[Any, Recorder]:
    import torch
    from torch.func import functional_call

    from limner.units.recorder import Recorder
    from limner.units.rules import Follower

    device = torch.device("meta" if meta else "cpu")
    picture = torch.zeros(shape, device=device)
    held: dict[str, Tensor] = {}
    if meta:
        named = [*module.named_parameters(), *module.named_buffers()]
        held = {name: torch.empty_like(value, device="meta") for name, value in named}
    follower = Follower(picture)
    recorder = Recorder(follower)
    was_training = module.training
    module.eval()
    try:
        with torch.no_grad(), recorder.hooked(module), follower:
            if meta:
                functional_call(module, held, (picture,))
            else:
                module(picture)
    finally:
        module.train(was_training)
    recorder.look_back()
    return follower, recorder


def _describe(record: Record, sides: tuple[int, ...]) -> Field:
    shape = tuple(record.output.shape)
    layout, channels, positions = _layout(record, shape, len(sides))
    size: list[int] = []
    stride: list[float | None] = []
    offset: list[float | None] = []
    whole = True
    for axis, side in zip(record.extent, sides, strict=True):
        spread = axis.high - axis.low + 1
        covers = bool((axis.low <= 0).all() and (axis.high >= side - 1).all())
        whole &= covers
        if axis.step is not None and axis.dim is not None:
            size.append(int(axis.last - axis.first + 1))
            stride.append(axis.step)
            offset.append(axis.first)
        else:
            most = float(spread.max())
            size.append(int(most) if math.isfinite(most) else 0)
            stride.append(None)
            offset.append(None)
    return Field(
        record.layer, record.kind, channels, positions, layout, tuple(size), tuple(stride),
        tuple(offset), whole, record.overwritten, record.extent, sides,
    )  # fmt: skip


def _layout(
    record: Record, shape: tuple[int, ...], axes: int
) -> tuple[Layout, int, tuple[int, ...]]:
    """Tell channels from places: by the dimensions that run along the picture, or by custom."""
    ndim = len(shape)
    if ndim == 2:
        return "vector", shape[1], ()
    dims = [a.dim for a in record.extent]
    last = ndim == axes + 2 and dims == [-axes - 1 + i for i in range(axes)]
    tokens = ndim != axes + 2 or (
        dims.count(None) == axes and record.kind in ("Linear", "LayerNorm", "Mlp", "GELU")
    )
    if last or tokens:
        return "channels_last", shape[-1], shape[1:-1]
    return "channels_first", shape[1], shape[2:]
