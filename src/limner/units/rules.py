"""The rules by which extents pass through torch's operations, and the mode that applies them.

The mode sits below Python: it sees every operation that a network runs, in modules or in plain
functions, through loops and branches, and carries the extents along. An operation that it
does not know is taken to read the whole picture, and is named in `Follower.unknown`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from limner.units import extent as ex
from limner.units import windows
from limner.units.extent import Axis, Extent

_SAME = {"clone", "alias", "detach", "detach_", "_to_copy", "contiguous", "dropout",
         "native_dropout", "hardswish", "prelu", "_prelu_kernel", "rrelu", "lift_fresh",
         "lift_fresh_copy", "fill_", "zero_"}  # fmt: skip
_BATCH_NORM = {"native_batch_norm", "_native_batch_norm_legit", "cudnn_batch_norm",
               "_native_batch_norm_legit_no_training", "_batch_norm_no_update",
               "_batch_norm_with_update"}  # fmt: skip
_MOVES = {"view", "_unsafe_view", "reshape", "_reshape_copy", "permute", "transpose", "t",
          "expand", "unsqueeze", "squeeze", "slice", "select", "split", "split_with_sizes",
          "unbind", "roll", "flip", "index_select", "repeat", "pixel_shuffle",
          "pixel_unshuffle", "channel_shuffle", "narrow", "unfold", "rot90", "diagonal",
          "reflection_pad1d", "reflection_pad2d", "reflection_pad3d",
          "replication_pad1d", "replication_pad2d", "replication_pad3d"}  # fmt: skip
_OVER_DIMS = {"mean", "sum", "amax", "amin", "var", "std", "var_mean", "std_mean", "prod",
              "logsumexp", "max", "min", "argmax", "argmin", "linalg_vector_norm", "norm",
              "topk", "sort", "any", "all"}  # fmt: skip
_ALONG_DIM = {"_softmax", "_log_softmax", "_safe_softmax", "softmax", "log_softmax", "cumsum"}
_PRODUCTS = {"mm", "addmm", "bmm", "baddbmm", "mv", "addmv", "dot", "linear"}
_ATTENTION = {"_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_attention_math",
              "_scaled_dot_product_efficient_attention", "_scaled_dot_product_flash_attention",
              "scaled_dot_product_attention", "_scaled_dot_product_cudnn_attention"}  # fmt: skip
_UPSAMPLING = ("upsample_", "_upsample_")


class Follower(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows the extents of tensors through everything that runs inside it.

    Attributes:
        unknown: Names of operations that had no rule, in the order of their first call.
    """

    def __init__(self, picture: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.sides = tuple(picture.shape[2:])
        self.unknown: list[str] = []
        self._known: dict[int, tuple[Tensor, Extent]] = {}
        self.put(picture, ex.of_picture(picture.shape))

    def put(self, tensor: Tensor, extent: Extent) -> None:
        """Remember a tensor's extent, for as long as the mode lives."""
        self._known[id(tensor)] = (tensor, extent)

    def of(self, tensor: object) -> Extent | None:
        """Return a tensor's extent; None if it does not depend on the picture."""
        entry = self._known.get(id(tensor))
        return None if entry is None else entry[1]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and find out what its result sees."""
        kwargs = kwargs or {}
        shape = _shape(args[0]) if args and isinstance(args[0], Tensor) else ()
        result = func(*args, **kwargs)
        read = [t for t in _tensors((args, tuple(kwargs.values()))) if self.of(t) is not None]
        if read:
            self._follow(func, args, kwargs, result, shape)
        return result

    def _follow(
        self, func: Any, args: Any, kwargs: Any, result: Any, shape: tuple[int, ...]
    ) -> None:
        outputs = [t for t in _tensors((result,)) if t.is_floating_point() or t.dim()]
        if not outputs:
            return
        name = func.overloadpacket.__name__
        in_place = name.endswith("_") and not name.endswith("__") and name not in _SAME
        extents = self._apply(
            name.rstrip("_") if in_place else name, func, args, kwargs, outputs, shape
        )
        if extents is None:
            if name not in self.unknown:
                self.unknown.append(name)
            extents = [ex.whole(self.sides, t.dim()) for t in outputs]
        for tensor, extent in zip(outputs, extents, strict=False):
            self.put(tensor, extent)

    def _apply(
        self,
        name: str,
        func: Any,
        args: Any,
        kwargs: Any,
        outputs: list[Tensor],
        shape: tuple[int, ...],
    ) -> list[Extent] | None:
        first = self.of(args[0]) if args else None
        out = outputs[0]
        if name == "copy" and self.of(args[1]) is not None:
            return [_fit(self.of(args[1]), out)]
        if torch.Tag.pointwise in func.tags or name in _SAME:
            return [self._pointwise(args, kwargs, out)]
        if name in _BATCH_NORM and first is not None:
            return [self._batch_norm(name, args, first, out)]
        if name in ("cat", "stack"):
            return self._join(name, args, out)
        if name in _PRODUCTS or name in _ATTENTION:
            return [self._product(name, args, out)]
        if first is None:
            return None
        if name in ("convolution", "_convolution", "convolution_overrideable"):
            return [windows.convolution(first, args, shape, out)]
        if "pool" in name:
            found = windows.pool(name, first, args, shape, out)
            return None if found is None else [found] * len(outputs)
        if name in _MOVES:
            return _move(name, func, args, kwargs, first, shape)
        if name == "constant_pad_nd":
            return [windows.pad(first, args[1], shape)]
        if name.startswith(_UPSAMPLING):
            return [windows.upsample(func, args, kwargs, first, shape, out)]
        return _reduction(name, args, kwargs, first, out, len(outputs))

    def _pointwise(self, args: Any, kwargs: Any, out: Tensor) -> Extent:
        parts = [
            _fit(e, out) for t in _tensors((args, tuple(kwargs.values()))) if (e := self.of(t))
        ]
        return ex.unite(parts)

    def _batch_norm(self, name: str, args: Any, first: Extent, out: Tensor) -> Extent:
        if name == "_native_batch_norm_legit_no_training" or name == "_batch_norm_no_update":
            return first
        if name == "_native_batch_norm_legit" and len(args) == 6:  # without running statistics
            training = args[3]
        else:
            training = args[5] if len(args) > 5 else True
        if not training:
            return first
        dims = [d for d in range(out.dim()) if d != 1]
        return ex.unite([first, ex.reduce(first, dims, keepdim=True)])

    def _join(self, name: str, args: Any, out: Tensor) -> list[Extent] | None:
        tensors = [t for t in args[0] if t.dim() > 1 or t.numel() or len(args[0]) == 1]
        dim = args[1] if len(args) > 1 else 0
        extents = [self.of(t) for t in tensors]
        shapes = [tuple(t.shape) for t in tensors]
        if name == "stack":
            place = dim % out.dim()
            extents = [e and _unsqueezed(e, place) for e in extents]
            shapes = [(*s[:place], 1, *s[place:]) for s in shapes]
        return [ex.join(extents, shapes, dim)]

    def _product(self, name: str, args: Any, out: Tensor) -> Extent:
        """Return what a matrix product or attention sees: whole rows and columns."""
        parts: list[Extent] = []
        if name in _ATTENTION:
            for tensor, dims in zip(args[:3], ((-1,), (-2, -1), (-2,)), strict=True):
                if e := self.of(tensor):
                    parts.append(ex.reduce(e, dims, keepdim=True))
            return ex.unite(parts)
        if name.startswith(("add", "badd")):
            if e := self.of(args[0]):
                parts.append(_fit(e, out))
            left, right = args[1], args[2]
        else:
            left, right = args[0], args[1]
        if e := self.of(left):
            e = ex.reduce(e, [-1], keepdim=True)
            parts.append(
                _fit(e, out) if e[0].low.dim() <= out.dim() else ex.reduce(e, [-1], keepdim=False)
            )
        if e := self.of(right):
            vector = right.dim() == 1
            parts.append(_fit(ex.reduce(e, [-1 if vector else -2], keepdim=True), out))
        return ex.unite(parts)


def _shape(tensor: Tensor) -> tuple[int, ...]:
    return tuple(tensor.shape)


def _tensors(values: Sequence[Any]) -> list[Tensor]:
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += _tensors(value)
    return found


def _fit(extent: Extent | None, out: Tensor) -> Extent:
    """Return an extent with as many dimensions as `out`; dims are counted from the end."""
    assert extent is not None
    missing = out.dim() - extent[0].low.dim()
    if missing <= 0:
        return extent
    index = (None,) * missing
    return tuple(Axis(a.low[index], a.high[index], a.dim, a.first, a.last, a.step) for a in extent)


def _unsqueezed(extent: Extent, place: int) -> Extent:
    return tuple(
        Axis(a.low.unsqueeze(place), a.high.unsqueeze(place), a.dim, a.first, a.last, a.step)
        for a in extent
    )


def _move(
    name: str, func: Any, args: Any, kwargs: Any, extent: Extent, shape: tuple[int, ...]
) -> list[Extent] | None:
    if any(isinstance(a, Tensor) and a.is_meta for a in args[1:]):
        return None  # an index whose values are not there

    def run(line: Tensor) -> list[Tensor]:
        result = func(line, *args[1:], **kwargs)
        return [result] if isinstance(result, Tensor) else list(result)

    moved = ex.restructure(extent, shape, run)
    return [ex.with_rule(e, extent, _mover(name, args, shape, e)) for e in moved]


def _mover(name: str, args: Any, shape: tuple[int, ...], result: Extent) -> Callable[[Axis], Axis]:
    """Return what becomes of the dim and the rule of an axis in an operation that moves."""
    before, after = len(shape), result[0].low.dim()

    def moved(axis: Axis) -> Axis:
        if axis.dim is None:
            return axis
        dim, step, first, last = axis.dim % before, axis.step, axis.first, axis.last
        if name == "permute":
            dim = [d % before for d in args[1]].index(dim)
        elif name in ("transpose", "t"):
            a, b = (args[1] % before, args[2] % before) if name == "transpose" else (0, before - 1)
            dim = {a: b, b: a}.get(dim, dim)
        elif name == "slice" and (args[1] if len(args) > 1 else 0) % before == dim:
            start = args[2] if len(args) > 2 and args[2] is not None else 0
            start = start + shape[dim] if start < 0 else min(start, shape[dim])
            every = args[4] if len(args) > 4 else 1
            if step is not None:
                first, last, step = first + start * step, last + start * step, step * every
        elif name == "slice" or (name in ("expand", "repeat") and before == after):
            pass
        elif name == "unsqueeze":
            dim += (args[1] % after) <= dim
        elif "pad" in name:
            pads = args[1]
            place = 2 * (before - 1 - dim)
            if step is not None and place < len(pads):
                first, last = first - pads[place] * step, last - pads[place] * step
        elif name in ("split", "split_with_sizes", "channel_shuffle") and dim > 1:
            pass
        else:
            return Axis(axis.low, axis.high)
        return Axis(axis.low, axis.high, dim - after, first, last, step)

    return moved


def _reduction(
    name: str, args: Any, kwargs: Any, extent: Extent, out: Tensor, count: int
) -> list[Extent] | None:
    ndim = extent[0].low.dim()
    if name == "native_layer_norm":
        dims = list(range(ndim - len(args[1]), ndim))
        return [ex.unite([extent, ex.reduce(extent, dims, keepdim=True)])]
    if name == "native_group_norm":
        return [ex.unite([extent, ex.reduce(extent, range(1, ndim), keepdim=True)])]
    if name in _ALONG_DIM:
        return [ex.unite([extent, ex.reduce(extent, [args[1]], keepdim=True)])]
    if name not in _OVER_DIMS:
        return None
    if out.dim() == ndim and name in ("topk", "sort"):
        found = ex.reduce(extent, [args[2 if name == "topk" else 1]], keepdim=True)
        return [found] * count
    place = 2 if name in ("linalg_vector_norm", "norm") else 1
    dims = args[place] if len(args) > place else kwargs.get("dim")
    if dims is None or (isinstance(dims, list | tuple) and not dims):
        dims = list(range(ndim))
    found = ex.reduce(extent, windows.whole_numbers(dims, 1), keepdim=out.dim() == ndim)
    return [found] * count
