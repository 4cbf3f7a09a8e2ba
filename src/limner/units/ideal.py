"""The picture that a unit likes best, made from nothing: activation maximisation.

The picture is a spectrum: its waves are scaled by one over their frequency and its colours are
mixed as those of photographs are, so that smooth pictures are as easy to find as noise. While
the unit's activation is climbed, the picture is moved a few pixels each step, which no pattern
of single pixels survives.

Source: Erhan et al. (2009); Olah, Mordvintsev and Schubert, "Feature Visualization", Distill
(2017), sections on preconditioning and on transformation robustness.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from limner.errors import InputError
from limner.types import ImageArray

if TYPE_CHECKING:
    from torch import Tensor

    from limner.units.network import Network

# Square root of the covariance of colours in natural photographs, over its norm (lucid).
_COLOURS = ((0.26, 0.09, 0.02), (0.27, 0.00, -0.05), (0.27, -0.09, 0.03))
_SMALLEST = 12


@dataclass(frozen=True)
class Ideal:
    """The picture that climbing ended at.

    Attributes:
        image: Shape (h, w, 3), uint8 RGB: what the unit sees of it.
        value: The unit's activation on it, unmoved.
        start: Its activation on the picture that the climb began with.
    """

    image: ImageArray
    value: float
    start: float


def ideal(
    net: Network,
    layer: str,
    unit: int,
    *,
    steps: int = 128,
    jitter: int = 4,
    rate: float = 0.05,
    seed: int = 0,
) -> Ideal:
    """Return the picture that excites a unit most, as far as climbing finds it.

    Args:
        net: The network.
        layer: Name of a layer.
        unit: Channel in it.
        steps: How often the picture is bettered.
        jitter: By how many pixels it is moved at most, each step; never by more than an eighth
            of what the unit sees.
        rate: Of Adam, in the spectrum's units.
        seed: Of the first picture and of the moves.

    Raises:
        UnknownNameError: If there is no such layer.
        InputError: If there is no such unit or a number is out of range.
    """
    import torch

    entry = net.fields()[layer]
    if isinstance(unit, bool) or not 0 <= unit < entry.channels:
        raise InputError(f"{layer} has units 0 to {entry.channels - 1}, got {unit!r}.")
    for what, number, lowest in (("steps", steps, 1), ("jitter", jitter, 0)):
        if isinstance(number, bool) or not isinstance(number, int) or number < lowest:
            raise InputError(f"{what} must be a whole number of at least {lowest}, got {number!r}.")
    if not (math.isfinite(rate) and rate > 0):
        raise InputError(f"rate must be positive, got {rate!r}.")
    jitter = min(jitter, max(entry.size, default=0) // 8)
    side = _side(net, layer, jitter)
    generator = torch.Generator().manual_seed(seed)
    shape = (1, 3, side, side // 2 + 1, 2)
    spectrum = (torch.randn(shape, generator=generator) * 0.01).to(net.device).requires_grad_()
    climb = torch.optim.Adam([spectrum], lr=rate)
    place = _middle(net, layer, side)
    values = []
    with torch.enable_grad():
        for _ in range(steps):
            picture = _picture(spectrum, side)
            moves = torch.randint(-jitter, jitter + 1, (2,), generator=generator).tolist()
            value = _activation(net, picture.roll(moves, (2, 3)), layer, unit, place)
            climb.zero_grad()
            (-value).backward()  # type: ignore[no-untyped-call]
            climb.step()
            values.append(float(value.detach()))
    with torch.no_grad():
        picture = _picture(spectrum, side)
        final = float(_activation(net, picture, layer, unit, place))
    image = np.rint(picture[0].movedim(0, -1).cpu().numpy() * 255).astype(np.uint8)
    return Ideal(_seen(image, net, layer, side, place), final, values[0])


def _side(net: Network, layer: str, jitter: int) -> int:
    """Return the side of a picture that is just large enough for the unit and its moves."""
    entry = net.fields()[layer]
    if entry.whole or not entry.positions or None in entry.stride:
        return net.size_px
    reach = max(entry.size) + 2 * jitter + 2 * int(max(s or 1 for s in entry.stride))
    return int(min(net.size_px, max(reach, _SMALLEST)))


def _middle(net: Network, layer: str, side: int) -> tuple[int, ...]:
    """Return the place whose unit looks at the middle of a picture of that side."""
    entry = net.fields()[layer]
    place = []
    for axis, count in enumerate(entry.positions):
        step, offset = entry.stride[axis], entry.offset[axis]
        if step is None or offset is None or side == net.size_px:
            place.append(count // 2)
        else:
            place.append(max(0, round((side / 2 - offset - entry.size[axis] / 2) / step)))
    return tuple(place)


def _activation(
    net: Network, picture: Tensor, layer: str, unit: int, place: tuple[int, ...]
) -> Tensor:
    x = net.prepare(picture.movedim(1, -1) * 255)
    values = net.read(x, [layer], size_px=net.size_px)[layer]
    return values[(0, unit, *place)]


def _picture(spectrum: Tensor, side: int) -> Tensor:
    """Return the picture of a spectrum, shape (1, 3, side, side), RGB in [0, 1]."""
    import torch

    down = torch.fft.fftfreq(side, device=spectrum.device)[:, None]
    along = torch.fft.rfftfreq(side, device=spectrum.device)
    frequency = torch.sqrt(down**2 + along**2).clamp(min=1 / side)
    scaled = torch.view_as_complex(spectrum) * (side / frequency / 4)
    waves = torch.fft.irfft2(scaled, s=(side, side))
    colours = torch.tensor(_COLOURS, device=spectrum.device)
    colours = colours / colours.norm(dim=0).max()
    return torch.sigmoid(torch.einsum("ij,njhw->nihw", colours, waves))


def _seen(
    image: ImageArray, net: Network, layer: str, side: int, place: tuple[int, ...]
) -> ImageArray:
    """Return the part of the picture that the unit sees."""
    entry = net.fields()[layer]
    for axis, position in enumerate(place):
        step, offset = entry.stride[axis], entry.offset[axis]
        if step is None or offset is None:
            return image
        first = int(offset + position * step)
        start, end = max(0, first), min(side, first + entry.size[axis])
        image = image[start:end] if axis == 0 else image[:, start:end]
    return np.ascontiguousarray(image)
