"""What in a patch excites a unit: its gradient, guided backpropagation and the deconvnet.

All three run the network forwards and a signal backwards from one unit; they differ in what a
ReLU lets through on the way back: the gradient passes where the input was positive, the
deconvnet passes what is itself positive, guided backpropagation asks for both. Poolings send
the signal to the place that won.

Source: Simonyan, Vedaldi and Zisserman (2014); Zeiler and Fergus (2014), section 2.1;
Springenberg, Dosovitskiy, Brox and Riedmiller, "Striving for Simplicity" (2015), figure 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from limner.errors import InputError, UnknownNameError
from limner.types import ImageArray

if TYPE_CHECKING:
    from torch import Tensor

    from limner.units.network import Network
    from limner.units.receptive import Field

Method = Literal["gradient", "guided", "deconvnet"]
METHODS: tuple[Method, ...] = get_args(Method)
_LOUDEST = 99.5  # percentile that becomes full black or white


def explain(
    net: Network,
    pixels: ImageArray | Sequence[ImageArray],
    layer: str,
    unit: int,
    places: Sequence[tuple[int, ...]],
    *,
    method: Method = "guided",
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return what the pixels of several pictures add to one unit.

    Where the layer's units are evenly spaced, only the part of each picture that the unit
    sees is run; the numbers are those of the whole picture.

    Args:
        net: The network.
        pixels: N pictures of shape (S, S, 3), uint8 RGB, as the network reads them.
        layer: Name of a layer.
        unit: Channel in it.
        places: N places in the layer, one a picture.
        method: `gradient`, `guided` or `deconvnet`.

    Returns:
        The signal at the pixels, shape (N, S, S, 3), RGB, zero where the unit does not see;
        and the unit's activations, shape (N,).

    Raises:
        UnknownNameError: If the method or the layer does not exist.
        InputError: If there is no such unit or place, the numbers of pictures and places
            differ, or the network has no ReLU that a method other than `gradient` could change.
    """
    import torch

    if method not in METHODS:
        raise UnknownNameError(f"method must be one of {', '.join(METHODS)}, got {method!r}.")
    batch = np.stack(list(pixels))
    if len(batch) != len(places):
        raise InputError(f"{len(batch)} pictures came with {len(places)} places.")
    entry = net.fields()[layer]
    for place in places:
        entry._check(tuple(place), unit)
    starts, side, moved = _windows(entry, places, net.size_px)
    x = net.prepare(batch)
    parts = torch.stack(
        [x[i, :, y : y + side[0], c : c + side[1]] for i, (y, c) in enumerate(starts)]
    ).requires_grad_()
    with torch.enable_grad(), _relus(method) as seen:
        values = net.read(parts, [layer], size_px=net.size_px)[layer]
        rows = torch.arange(len(batch))
        picked = values[
            (rows, torch.full_like(rows, unit), *torch.tensor(moved).reshape(len(batch), -1).T)
        ]
        (signal,) = torch.autograd.grad(picked.sum(), parts)
    if method != "gradient" and not seen.count:
        raise InputError(
            f"{net.name} has no ReLU before {layer}, so {method} is the gradient; ask for that."
        )
    result = np.zeros(batch.shape, np.float32)
    rgb = net.to_rgb(signal).movedim(1, -1).cpu().numpy()
    for i, (y, c) in enumerate(starts):
        result[i, y : y + side[0], c : c + side[1]] = rgb[i]
    return result, picked.detach().cpu().numpy()


def _windows(
    entry: Field, places: Sequence[tuple[int, ...]], size: int
) -> tuple[list[tuple[int, int]], tuple[int, int], list[tuple[int, ...]]]:
    """Return windows of one size that hold all the units see, and the places within them.

    They begin at multiples of the layer's stride, so that every pooling falls as it does in the
    whole picture, and they end where the picture ends or beyond what the unit sees.
    """
    even = not entry.whole and len(entry.positions) == 2 and None not in entry.stride
    if not even or any(s != int(s) for s in entry.stride if s is not None):
        return [(0, 0)] * len(places), (size, size), [tuple(p) for p in places]
    starts: list[list[int]] = [[] for _ in places]
    moved: list[list[int]] = [[] for _ in places]
    sides = []
    for axis in range(2):
        step = int(entry.stride[axis] or 1)
        room = max(0, (size - entry.size[axis] - step) // step)
        side = size - step * room
        sides.append(side)
        for i, place in enumerate(places):
            first = int((entry.offset[axis] or 0) + place[axis] * step)
            start = min(max(first // step * step, 0), size - side)
            starts[i].append(start)
            moved[i].append(place[axis] - start // step)
    return [(a, b) for a, b in starts], (sides[0], sides[1]), [tuple(m) for m in moved]


def _relus(method: Method) -> Any:
    """Return a context in which ReLUs send back what the method lets through."""
    import torch
    from torch.nn import functional
    from torch.overrides import TorchFunctionMode

    class Rectify(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            ctx.save_for_backward(x)
            return x.clamp(min=0)

        @staticmethod
        def backward(ctx: Any, signal: Tensor) -> Tensor:
            (x,) = ctx.saved_tensors
            kept = signal.clamp(min=0)
            return kept * (x > 0) if method == "guided" else kept

    names = {functional.relu, torch.relu, torch.relu_, torch.Tensor.relu, torch.Tensor.relu_}

    class Rectifying(TorchFunctionMode):
        def __init__(self) -> None:
            super().__init__()
            self.count = 0

        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            if func in names:
                self.count += 1
                if method != "gradient":
                    return Rectify.apply(args[0])
            return func(*args, **(kwargs or {}))

    return Rectifying()


def draw_signal(signal: NDArray[np.float32]) -> ImageArray:
    """Return a signal as a picture: grey is nothing, light adds, dark takes away.

    Args:
        signal: Shape (H, W, 3).
    """
    loudest = float(np.percentile(np.abs(signal), _LOUDEST)) or float(np.abs(signal).max()) or 1.0
    scaled = np.clip(signal / loudest, -1, 1)
    picture: ImageArray = np.rint(127.5 + 127.5 * scaled).astype(np.uint8)
    return picture
