"""J and its gradient in tiles, equal to the untiled ones but for rounding.

A style cost looks at the whole picture at once through sums over positions. So: pass 1 adds
the sums up tile by tile, without gradients; the cost and its slope with respect to the sums
are computed; pass 2 runs each tile again and sends that fixed slope back through it. Each
tile is read with a halo as wide as its units can see, and counts only the units it owns;
tiles begin at multiples of the deepest layer's stride, so pooling falls into step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from limner.errors import InputError
from limner.style.encoder import Encoder
from limner.style.losses import Statistics, total_variation
from limner.style.objective import (
    Goal,
    Terms,
    added,
    features,
    style_sum,
    terms_of,
    together,
)
from limner.style.regions import Areas, Known, Regional, gathered, parts_of, sums

Slope = tuple[Tensor | None, Tensor | None, float]  # of a region's mean and moments; its area


@dataclass(frozen=True)
class Tile:
    """One tile of a picture.

    Attributes:
        owned: Rows from, to, columns from, to, in pixels: the tiles' owned parts cover the
            picture once.
        seen: The same with the halo, cut at the picture's border.
        last: Whether it ends the picture: down, across.
    """

    owned: tuple[int, int, int, int]
    seen: tuple[int, int, int, int]
    last: tuple[bool, bool]

    def crop(self, image: Tensor) -> Tensor:
        """Return the seen part of a picture (1, 3, H, W), a view."""
        y0, y1, x0, x1 = self.seen
        return image[:, :, y0:y1, x0:x1]

    def own(self, values: Tensor, stride: int) -> Tensor:
        """Return the owned part of a layer's activations of the crop."""
        y0, y1, x0, x1 = self.owned
        top, left = (y0 - self.seen[0]) // stride, (x0 - self.seen[2]) // stride
        bottom = None if self.last[0] else top + (y1 - y0) // stride
        right = None if self.last[1] else left + (x1 - x0) // stride
        return values[:, :, top:bottom, left:right]


def tiles_of(height: int, width: int, *, size: int, halo: int, stride: int) -> list[Tile]:
    """Cut a picture into tiles.

    Args:
        height: Of the picture.
        width: Of the picture.
        size: Side of a tile without its halo, rounded up to a multiple of `stride`.
        halo: Multiple of `stride`.
        stride: Of the deepest layer.

    Raises:
        InputError: If the size is not positive.
    """
    if size < 1:
        raise InputError(f"tile must be at least 1 pixel, got {size}.")
    size = -(-size // stride) * stride

    def spans(length: int) -> Iterator[tuple[int, int, int, int, bool]]:
        # A rest shorter than the stride would own no unit: it goes to the tile before.
        count = max(1, (length + size - stride) // size)
        for i in range(count):
            start, last = i * size, i == count - 1
            end = length if last else start + size
            yield start, end, max(0, start - halo), min(length, end + halo), last

    return [
        Tile((y0, y1, x0, x1), (sy0, sy1, sx0, sx1), (ly, lx))
        for y0, y1, sy0, sy1, ly in spans(height)
        for x0, x1, sx0, sx1, lx in spans(width)
    ]


def _strides(encoder: Encoder) -> dict[str, int]:
    step, found = 1, {}
    for layer in encoder.trunk.layers:
        step *= layer.stride
        found[layer.name] = step
    return found


def _tiled_statistics(
    encoder: Encoder,
    image: Tensor,
    tiles: Sequence[Tile],
    goal: Goal,
    areas: Areas | None = None,
) -> dict[str, Regional]:
    """Pass 1: sums over all tiles, without gradients; one region where there are no areas."""
    strides = _strides(encoder)
    totals: dict[str, list[tuple[Tensor, Tensor, float]]] = {}
    with torch.no_grad():
        for tile in tiles:
            values = features(encoder, tile.crop(image), goal)
            for tap, _ in goal.style_layers:
                own = tile.own(values[tap], strides[tap])
                new = sums(own, _shares(areas, tap, tile, own, strides[tap]))
                totals[tap] = (
                    [
                        (m + a, mm + b, n + c)
                        for (m, mm, n), (a, b, c) in zip(totals[tap], new, strict=True)
                    ]
                    if tap in totals
                    else new
                )
    return {tap: gathered(total) for tap, total in totals.items()}


def _shares(areas: Areas | None, tap: str, tile: Tile, own: Tensor, stride: int) -> Tensor | None:
    """Return the regions' shares of the units that a tile owns."""
    if areas is None:
        return None
    top, left = tile.owned[0] // stride, tile.owned[2] // stride
    return areas.at(tap)[:, top : top + own.shape[2], left : left + own.shape[3]]


def tiled_style_targets(
    encoder: Encoder,
    styles: Sequence[Tensor],
    weights: Sequence[float],
    goal: Goal,
    *,
    tile: int,
    apart: bool = False,
) -> dict[str, Known]:
    """Do what `style_targets` does, in tiles."""
    found: list[dict[str, Statistics]] = []
    for style in styles:
        tiles = _cut(encoder, style, tile)
        known = _tiled_statistics(encoder, style, tiles, goal)
        found.append({tap: one.parts[0] for tap, one in known.items()})
    return together(found, weights, goal, apart=apart)


def _cut(encoder: Encoder, image: Tensor, tile: int) -> list[Tile]:
    height, width = image.shape[-2:]
    return tiles_of(height, width, size=tile, halo=encoder.halo, stride=encoder.stride)


class TiledObjective:
    """J of a picture that does not fit into memory in one piece.

    Args:
        encoder: Reads pictures.
        content: Shape (1, 3, H, W), RGB in [0, 1].
        styles: Statistics to reach, by layer.
        goal: Layers and weights.
        tile: Side of a tile in pixels, without its halo.
        areas: Which style goes where; None: all of them everywhere.
    """

    def __init__(
        self,
        encoder: Encoder,
        content: Tensor,
        styles: Mapping[str, Known],
        goal: Goal,
        *,
        tile: int,
        areas: Areas | None = None,
    ) -> None:
        self.encoder = encoder
        self.goal = goal
        self.styles = {tap: Regional(parts_of(known)) for tap, known in styles.items()}
        self.areas = areas
        self.tiles = _cut(encoder, content, tile)
        self.strides = _strides(encoder)
        self.contents: list[dict[str, Tensor]] = []
        taps = [tap for tap, _ in goal.content_layers]
        self._positions = dict.fromkeys(taps, 0)
        self._squares = dict.fromkeys(taps, 0.0)
        with torch.no_grad():
            for one in self.tiles:
                values = features(encoder, one.crop(content), goal)
                own = {tap: one.own(values[tap], self.strides[tap]).clone() for tap in taps}
                for tap, value in own.items():
                    self._positions[tap] += value.numel()
                    self._squares[tap] += float(value.double().square().sum())
                self.contents.append(own)

    def evaluate(self, image: Tensor) -> tuple[Terms, Tensor]:
        """Return J with its parts, and dJ/dimage; image has shape (1, 3, H, W)."""
        goal = self.goal
        image = image.detach()
        found = _tiled_statistics(self.encoder, image, self.tiles, goal, self.areas)
        style, styles, slopes = self._slopes(found)
        smooth = image.clone().requires_grad_(True)
        variation = total_variation(smooth)
        (gradient,) = torch.autograd.grad(goal.smoothness * variation, smooth)
        contents = {tap: torch.zeros((), dtype=torch.float64) for tap, _ in goal.content_layers}
        for tile, wanted in zip(self.tiles, self.contents, strict=True):
            self._send_back(tile, wanted, image, slopes, contents, gradient)
        content = added([contents[tap] * w for tap, w in goal.content_layers])
        return terms_of(goal, content, style, variation, contents, styles), gradient

    def _slopes(
        self, found: dict[str, Regional]
    ) -> tuple[Tensor, dict[str, Tensor], dict[str, list[Slope]]]:
        """Return J_style, its layers, and how beta J_style changes with each region's sums."""
        parts = [part for known in found.values() for part in known.parts]
        leaves = [t.requires_grad_(True) for part in parts for t in (part.mean, part.moments)]
        style, styles = style_sum(found, self.styles, self.goal)
        slopes: dict[str, list[Slope]] = {}
        if not leaves:
            return style, styles, slopes
        flat = iter(torch.autograd.grad(self.goal.beta * style, leaves, allow_unused=True))
        slopes |= {
            tap: [(next(flat), next(flat), max(part.positions, 1e-6)) for part in known.parts]
            for tap, known in found.items()
        }
        return style, styles, slopes

    def _send_back(
        self,
        tile: Tile,
        wanted: dict[str, Tensor],
        image: Tensor,
        slopes: dict[str, list[Slope]],
        contents: dict[str, Tensor],
        gradient: Tensor,
    ) -> None:
        """Pass 2 of one tile: add its part of dJ/dimage and of J_content to what is there."""
        goal = self.goal
        crop = tile.crop(image).clone().requires_grad_(True)
        values = features(self.encoder, crop, goal)
        surrogate = crop.new_zeros(())
        for tap, _ in goal.style_layers:
            own = tile.own(values[tap], self.strides[tap])
            found = sums(own, _shares(self.areas, tap, tile, own, self.strides[tap]))
            for (mean, moments, positions), (total, products, _) in zip(
                slopes[tap], found, strict=True
            ):
                if mean is not None:
                    surrogate = surrogate + (mean * total).sum() / positions
                if moments is not None:
                    surrogate = surrogate + (moments * products).sum() / positions
        for tap, weight in goal.content_layers:
            own = tile.own(values[tap], self.strides[tap])
            part = (own - wanted[tap]).square().sum() * self._content_scale(tap)
            contents[tap] += part.detach().double()
            surrogate = surrogate + goal.alpha * weight * part
        (slope,) = torch.autograd.grad(surrogate, crop)
        y0, y1, x0, x1 = tile.seen
        gradient[:, :, y0:y1, x0:x1] += slope

    def _content_scale(self, tap: str) -> float:
        if self.goal.content_kind == "half_sum":
            return 0.5
        if self.goal.content_kind == "mean":
            return 1 / self._positions[tap]
        return 1 / max(self._squares[tap], 1e-12 * self._positions[tap])
