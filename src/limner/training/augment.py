"""Augmentation of a batch of chips: crop, resize, turn, mirror, erase, and SamplePairing.

Crop, resize, turn and mirror are one affine map, so that a chip is interpolated once. All
choices come from the generator that is given, on whole batches: a batch of 64 chips of 96
pixels takes some ten milliseconds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from limner.errors import InputError

PAIRING_FROM, PAIRING_TO = 0.2, 0.8
"""SamplePairing is on while the epoch, counted from 1, is between these shares of all epochs."""

_LEAST_AREA = 0.02


@dataclass(frozen=True)
class Augment:
    """What happens to the chips of a batch.

    Attributes:
        crop: A square of a side between this share of the chip and all of it is cut out at
            random and enlarged again; 1 for none.
        rotation_deg: Largest turn, either way; 0 for none.
        mirror: Whether half of the chips are mirrored.
        erase: Share of chips in which a random rectangle is blanked; the notes have 0.5.
        erase_area: Largest rectangle, as a share of the chip; the smallest is 0.02.
        fill: Colour of the rectangle, RGB 0..255: what becomes 0 when the chip is normalised,
            as in the notes; None for the chip's own mean.
        light: Largest change of brightness and of contrast, as a share; 0 for none.

    Source: the notes: mirror, 10 degrees, torchvision's RandomErasing with its own area and shape
    (Zhong et al., 2017).
    Differs: the notes turn by the nearest pixel and leave black corners, here a chip is turned
    smoothly and continued by reflection; crop and light are ours, the notes have neither.

    Raises:
        InputError: If a value is out of range.
    """

    crop: float = 0.9
    rotation_deg: float = 10.0
    mirror: bool = True
    erase: float = 0.0
    erase_area: float = 0.33
    fill: tuple[float, ...] | None = None
    light: float = 0.0

    def __post_init__(self) -> None:
        ranges = {
            "crop": (self.crop, 0.3, 1.0),
            "rotation_deg": (self.rotation_deg, 0.0, 180.0),
            "erase": (self.erase, 0.0, 1.0),
            "erase_area": (self.erase_area, _LEAST_AREA, 1.0),
            "light": (self.light, 0.0, 0.9),
        }
        for name, (value, low, high) in ranges.items():
            if not low <= value <= high:
                raise InputError(f"{name} must lie between {low:g} and {high:g}, got {value!r}.")

    def __call__(self, chips: Tensor, generator: torch.Generator) -> Tensor:
        """Return the chips, each changed in its own way.

        Args:
            chips: Shape (N, 3, S, S), float, 0..255.
            generator: Where the choices come from.

        Returns:
            Same shape and range.
        """
        out = self._move(chips, generator)
        if self.light > 0:
            out = self._relight(out, generator)
        if self.erase > 0:
            out = self._blank(out, generator)
        return out

    def _draw(self, count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
        return torch.rand(count, generator=generator) * (high - low) + low

    def _move(self, chips: Tensor, generator: torch.Generator) -> Tensor:
        count = len(chips)
        scale = self._draw(count, self.crop, 1.0, generator)
        turn = self._draw(count, -self.rotation_deg, self.rotation_deg, generator)
        shift_x, shift_y = (self._draw(count, -1, 1, generator) * (1 - scale) for _ in range(2))
        flip = torch.ones(count)
        if self.mirror:
            flip = torch.where(torch.rand(count, generator=generator) < 0.5, -1.0, 1.0)
        if self.crop == 1 and self.rotation_deg == 0:
            return torch.where((flip < 0)[:, None, None, None], chips.flip(3), chips)
        cosine, sine = (f(turn * math.pi / 180) * scale for f in (torch.cos, torch.sin))
        theta = torch.stack(
            [
                torch.stack([cosine * flip, -sine, shift_x], dim=1),
                torch.stack([sine * flip, cosine, shift_y], dim=1),
            ],
            dim=1,
        )
        grid = functional.affine_grid(theta, list(chips.shape), align_corners=False)
        return functional.grid_sample(
            chips, grid, mode="bilinear", padding_mode="reflection", align_corners=False
        )

    def _relight(self, chips: Tensor, generator: torch.Generator) -> Tensor:
        gain, offset = (
            self._draw(len(chips), -self.light, self.light, generator)[:, None, None, None]
            for _ in range(2)
        )
        mean = chips.mean(dim=(1, 2, 3), keepdim=True)
        return ((chips - mean) * (1 + gain) + mean * (1 + offset)).clamp(0, 255)

    def _blank(self, chips: Tensor, generator: torch.Generator) -> Tensor:
        count, side = len(chips), chips.shape[-1]
        area = self._draw(count, _LEAST_AREA, self.erase_area, generator) * side * side
        ratio = torch.exp(self._draw(count, math.log(0.3), math.log(3.3), generator))
        height = (area * ratio).sqrt().clamp(1, side - 1)
        width = (area / ratio).sqrt().clamp(1, side - 1)
        top = torch.rand(count, generator=generator) * (side - height)
        left = torch.rand(count, generator=generator) * (side - width)
        chosen = torch.rand(count, generator=generator) < self.erase
        place = torch.arange(side) + 0.5
        rows = (place > top[:, None]) & (place < (top + height)[:, None])
        columns = (place > left[:, None]) & (place < (left + width)[:, None])
        mask = rows[:, :, None] & columns[:, None, :] & chosen[:, None, None]
        if self.fill is None:
            colour = chips.mean(dim=(2, 3), keepdim=True)
        else:
            colour = torch.tensor(self.fill, dtype=chips.dtype)[None, :, None, None]
        return torch.where(mask[:, None], colour, chips)


def pairing_is_on(epoch: int, epochs: int) -> bool:
    """Tell whether SamplePairing mixes in this epoch (0-based): between 20 % and 80 %.

    Source: the notes: ``e+1 >= epochs * 0.2 and e+1 < epochs * 0.8`` with e from 0, so that of
    100 epochs the 20th to the 79th mix.
    """
    return PAIRING_FROM * epochs <= epoch + 1 < PAIRING_TO * epochs


def pair_samples(chips: Tensor, generator: torch.Generator) -> Tensor:
    """Average each chip with another of the batch; the label stays that of the first.

    Args:
        chips: Shape (N, ...).
        generator: Draws the partners: a random circle through the batch, so that nobody is his
            own partner where there are two or more.

    Returns:
        Same shape.

    Source: H. Inoue, Data Augmentation by Pairing Samples for Images Classification (2018).
    Differs: the partner comes from the same batch, not from the whole training set.
    """
    order = torch.randperm(len(chips), generator=generator)
    partner = torch.empty_like(order)
    partner[order] = order.roll(1)
    return (chips + chips[partner]) / 2
