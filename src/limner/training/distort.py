"""Random changes of signals and volumes that keep their class.

All work on a batch at once and draw from a given generator, so that a run is repeatable.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from limner.errors import InputError

AXES = "dhw"


@dataclass(frozen=True)
class SeriesDistortion:
    """What happens to a series in training.

    Attributes:
        shift: Largest shift in samples, left or right; the ends are repeated.
        gain: Deviation of a random factor around 1.
        noise: Deviation of noise added to each (scaled) sample.
    """

    shift: int = 4
    gain: float = 0.1
    noise: float = 0.05

    def __post_init__(self) -> None:
        if self.shift < 0 or self.gain < 0 or self.noise < 0:
            raise InputError(
                f"shift, gain and noise must be 0 or larger, got {self.shift}, {self.gain} "
                f"and {self.noise}."
            )

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Map (N, C, L) to the same shape."""
        if self.shift:
            length = x.shape[-1]
            steps = torch.randint(-self.shift, self.shift + 1, (len(x), 1), generator=generator)
            places = (torch.arange(length) + steps).clamp(0, length - 1)
            x = torch.gather(x, 2, places[:, None].expand_as(x))
        factor = 1 + self.gain * torch.randn(len(x), 1, 1, generator=generator)
        return x * factor + self.noise * torch.randn(x.shape, generator=generator)


@dataclass(frozen=True)
class VolumeDistortion:
    """What happens to a volume in training.

    Attributes:
        flips: Axes that may be mirrored, letters of ``dhw``; two axes of equal length among
            them may also be turned by quarters. Leave out ``w`` where left and right differ,
            and ``d`` for videos, whose depth is time.
        degrees: Largest angle of a free rotation around a random axis.
        shift: Largest shift in voxels along each axis; the smallest value comes in.
    """

    flips: str = "dhw"
    degrees: float = 0.0
    shift: int = 2

    def __post_init__(self) -> None:
        if set(self.flips) - set(AXES) or len(set(self.flips)) != len(self.flips):
            raise InputError(
                f"flips must be letters of 'dhw' (depth, height, width), each once, "
                f"got {self.flips!r}."
            )
        if not 0 <= self.degrees <= 180 or self.shift < 0:
            raise InputError(
                "degrees must lie in 0..180 and shift be 0 or larger, got "
                f"{self.degrees} and {self.shift}."
            )

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Map (N, C, D, H, W) to the same shape."""
        axes = [2 + AXES.index(letter) for letter in self.flips]
        turned = torch.stack([_turned(item, axes, generator) for item in x.unbind()])
        if not self.degrees and not self.shift:
            return turned
        return _moved(turned, self.degrees, self.shift, generator)


def _turned(item: Tensor, axes: list[int], generator: torch.Generator) -> Tensor:
    """Mirror and turn one volume (C, D, H, W) at random; `axes` count the batch axis."""
    own = [axis - 1 for axis in axes]
    coins = torch.randint(0, 2, (len(own),), generator=generator)
    item = item.flip([axis for axis, coin in zip(own, coins.tolist(), strict=True) if coin])
    pairs = [
        (a, b) for i, a in enumerate(own) for b in own[i + 1 :] if item.shape[a] == item.shape[b]
    ]
    if pairs:
        pick = int(torch.randint(0, len(pairs), (1,), generator=generator))
        quarters = int(torch.randint(0, 4, (1,), generator=generator))
        item = torch.rot90(item, quarters, dims=pairs[pick])
    return item


def _moved(x: Tensor, degrees: float, shift: int, generator: torch.Generator) -> Tensor:
    """Rotate by up to `degrees` around a random axis and shift by up to `shift` voxels."""
    floor = x.amin(dim=(2, 3, 4), keepdim=True)  # what comes in is background
    return _placed(x - floor, degrees, shift, generator) + floor


def _placed(x: Tensor, degrees: float, shift: int, generator: torch.Generator) -> Tensor:
    n, sides = len(x), torch.tensor(x.shape[:1:-1], dtype=x.dtype)  # W, H, D
    steps = torch.randint(-shift, shift + 1, (n, 3), generator=generator).to(x.dtype)
    if not degrees:
        return torch.stack([_slid(v, s) for v, s in zip(x.unbind(), steps.tolist(), strict=True)])
    axis = functional.normalize(torch.randn(n, 3, generator=generator), dim=1)
    angle = math.radians(degrees) * (2 * torch.rand(n, 1, 1, generator=generator) - 1)
    zero = torch.zeros(n)
    a, b, c = axis.unbind(1)
    cross = torch.stack([zero, -c, b, c, zero, -a, -b, a, zero], dim=1).reshape(n, 3, 3)
    turn = torch.eye(3) + torch.sin(angle) * cross + (1 - torch.cos(angle)) * (cross @ cross)
    # Normalised coordinates run over each side: undo that, or an unequal side would shear.
    turn = turn * sides[None, None, :] / sides[None, :, None]
    slide = 2 * steps / sides
    grid = functional.affine_grid(
        torch.cat([turn, slide[:, :, None]], dim=2), list(x.shape), align_corners=False
    )
    return functional.grid_sample(x, grid, align_corners=False)


def _slid(volume: Tensor, steps: list[float]) -> Tensor:
    """Shift one volume (C, D, H, W) by whole voxels (w, h, d); zeros come in."""
    pads: list[int] = []
    for step in steps:
        amount = int(step)
        pads += [amount, -amount]
    return functional.pad(volume, pads)
