"""All cells of the styles that strokes are copied from, and what is known of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from limner.style.taps import WeightedTaps

if TYPE_CHECKING:
    from limner.style.encoder import Encoder

CELL_PX = 4
PATCH_PX = 3 * CELL_PX
_COMPONENTS = 64
_FLAT = 1e-3  # of a layer's mean: less spread than that is rounding, as in a style of one colour


def _cells(image: Tensor) -> Tensor:
    """Return the mean colour of each cell, shape (n, 3)."""
    return functional.avg_pool2d(image, CELL_PX)[0].flatten(1).T


def _columns(encoder: Encoder, layers: WeightedTaps, image: Tensor) -> list[Tensor]:
    """Return each layer's activations at every cell, shapes (n, C)."""
    size = (int(image.shape[-2]) // CELL_PX, int(image.shape[-1]) // CELL_PX)
    found = encoder.features(image, [layer for layer, _ in layers])
    columns = []
    for layer, _ in layers:
        values = found[layer].float()
        if values.shape[-1] >= size[1] and values.shape[-2] >= size[0]:
            values = functional.adaptive_avg_pool2d(values, size)
        else:
            values = functional.interpolate(values, size=size, mode="bilinear", align_corners=False)
        columns.append(values[0].flatten(1).T)
    return columns


class Bank:
    """All cells of the styles and of their mirror images at one size.

    Args:
        encoder: Reads them.
        layers: Its layers, and how much each counts.
        styles: Each of shape (1, 3, H, W), sides multiples of 8.
    """

    def __init__(self, encoder: Encoder, layers: WeightedTaps, styles: Sequence[Tensor]) -> None:
        self._encoder, self._layers = encoder, layers
        raw = [_columns(encoder, layers, style) for style in styles]
        together = [torch.cat([r[k] for r in raw]) for k in range(len(layers))]
        self._means = [t.mean(0) for t in together]
        self._scales = [
            weight / torch.maximum((t - mean).square().sum(1).mean().sqrt(), _FLAT * mean.norm())
            for (_, weight), t, mean in zip(layers, together, self._means, strict=True)
        ]
        self._basis = principal(self._joined(together))
        sheets = [sheet for style in styles for sheet in (style, style.flip(-1))]
        rows = [
            self.features(sheet) if k % 2 else self._compressed(raw[k // 2])
            for k, sheet in enumerate(sheets)
        ]
        self.rows = torch.cat(rows)
        colours = torch.cat([_cells(sheet) for sheet in sheets])
        self.colour_mean = colours.mean(0)
        spread = (colours - self.colour_mean).square().sum(1).mean().sqrt()
        self.colour_scale = 1 / spread.clamp_min(0.02)
        self.colours = (colours - self.colour_mean) * self.colour_scale
        self.sheets = [(int(s.shape[-2]) // CELL_PX, int(s.shape[-1]) // CELL_PX) for s in sheets]
        self._place(styles[0].device)
        self.patches = torch.cat([_patches(sheet) for sheet in sheets])

    def _place(self, device: torch.device) -> None:
        """Note where each cell lies: its sheet, row and column, and each sheet's first cell."""
        counts = torch.tensor([h * w for h, w in self.sheets], device=device)
        self.first = torch.cumsum(counts, 0) - counts
        self.height = torch.tensor([h for h, _ in self.sheets], device=device)
        self.width = torch.tensor([w for _, w in self.sheets], device=device)
        self.sheet = torch.repeat_interleave(torch.arange(len(counts), device=device), counts)
        within = torch.arange(int(counts.sum()), device=device) - self.first[self.sheet]
        self.row, self.column = within // self.width[self.sheet], within % self.width[self.sheet]
        self.style = self.sheet // 2

    def _joined(self, columns: Sequence[Tensor]) -> Tensor:
        parts = zip(columns, self._means, self._scales, strict=True)
        return torch.cat([(c - mean) * scale for c, mean, scale in parts], 1)

    def _compressed(self, columns: Sequence[Tensor]) -> Tensor:
        return functional.normalize(self._joined(columns) @ self._basis, dim=1)

    def features(self, image: Tensor) -> Tensor:
        """Return a picture's cells as unit rows in the styles' principal components."""
        return self._compressed(_columns(self._encoder, self._layers, image))

    def colours_of(self, image: Tensor) -> Tensor:
        """Return the colours of a picture's cells on the styles' scale."""
        return (_cells(image) - self.colour_mean) * self.colour_scale

    def moved(self, cells: Tensor, down: Tensor | int, right: Tensor | int) -> Tensor:
        """Return the cells so far away on the same sheet; -1 where the sheet ends."""
        sheet = self.sheet[cells]
        row, column = self.row[cells] + down, self.column[cells] + right
        inside = (row >= 0) & (row < self.height[sheet])
        inside &= (column >= 0) & (column < self.width[sheet])
        there = self.first[sheet] + row * self.width[sheet] + column
        return torch.where(inside, there, -1)


def principal(rows: Tensor) -> Tensor:
    """Return the directions in which rows (n, D) vary most, shape (D, 64 at most), orthonormal.

    Args:
        rows: With a mean of nought.
    """
    together = (rows.T @ rows).double()
    ridge = together.diagonal().mean().clamp_min(1e-12) * 1e-9
    _, vectors = torch.linalg.eigh(together + ridge * torch.eye(len(together)).to(together))
    basis: Tensor = vectors[:, -_COMPONENTS:].to(rows.dtype)
    return basis


def _patches(sheet: Tensor) -> Tensor:
    """Return the pixels around each cell, shape (n, 3 * side * side)."""
    margin = (PATCH_PX - CELL_PX) // 2
    padded = functional.pad(sheet, (margin,) * 4, mode="replicate")
    return functional.unfold(padded, PATCH_PX, stride=CELL_PX)[0].T
