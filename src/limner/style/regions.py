"""Style region by region: each style answers for its own part of the picture.

A tap's units are weighted by how much of each lies in a region, so a region has a mean and
second moments of its own, and a cost of its own; the costs are added by the regions' areas.
One region over the whole picture is the plain style cost, exactly.

Source: Gatys et al., Controlling Perceptual Factors in Neural Style Transfer, CVPR 2017,
guided Gram matrices. Differs: each region's statistics are divided by its own area, so that a
small region is painted as strongly, pixel for pixel, as a large one; the whole of a style
picture is read for its region.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from limner.style.kinds import StyleCost
from limner.style.losses import Statistics, style_cost

if TYPE_CHECKING:
    from limner.style.encoder import Encoder
    from limner.style.masks import Masks


@dataclass(frozen=True, eq=False)
class Regional:
    """The statistics of one layer, one entry a region.

    Attributes:
        parts: Of each region; `positions` is its area in units of the layer.
    """

    parts: tuple[Statistics, ...]


Known = Statistics | Regional


def parts_of(known: Known) -> tuple[Statistics, ...]:
    """Return the regions' statistics; of a layer without regions, the one it has."""
    return known.parts if isinstance(known, Regional) else (known,)


def layer_cost(found: Known, target: Known, *, kind: StyleCost = "target") -> Tensor:
    """Return a layer's style cost: `style_cost`, or its mean over regions by their areas."""
    if isinstance(found, Statistics) and isinstance(target, Statistics):
        return style_cost(found, target, kind=kind)
    here, there = parts_of(found), parts_of(target)
    area = sum(p.positions for p in here)
    costs = [
        style_cost(f, t, kind=kind) * (f.positions / area) for f, t in zip(here, there, strict=True)
    ]
    return torch.stack(costs).sum()


class Areas:
    """Which units of each tap lie in which region.

    Args:
        masks: The regions.
        encoder: Whose taps.
        size_hw: Of the picture that is painted.
    """

    def __init__(self, masks: Masks, encoder: Encoder, size_hw: tuple[int, int]) -> None:
        self._masks = masks
        self._device = encoder.device
        self._sizes = tap_sizes(encoder, size_hw)
        self._known: dict[str, Tensor] = {}

    def at(self, tap: str) -> Tensor:
        """Return the share of each unit in each region, shape (K, h, w), which sum to 1."""
        if tap not in self._known:
            shares = self._masks.at(*self._sizes[tap])
            self._known[tap] = torch.from_numpy(shares.copy()).to(self._device)
        return self._known[tap]


def tap_sizes(encoder: Encoder, size_hw: tuple[int, int]) -> dict[str, tuple[int, int]]:
    """Return height and width of every layer's activations for a picture of this size."""
    found: dict[str, tuple[int, int]] = {}
    height, width = size_hw
    for layer in encoder.trunk.layers:
        height, width = (
            (side + 2 * layer.padding - layer.kernel) // layer.stride + 1
            for side in (height, width)
        )
        found[layer.name] = (height, width)
    return found


def sums(features: Tensor, shares: Tensor | None) -> list[tuple[Tensor, Tensor, float]]:
    """Return the weighted sums over positions of each region: of F, of F F^T, and of 1.

    Args:
        features: Shape (1, C, h, w).
        shares: Shape (K, h, w), or None for one region that is everything.
    """
    flat = features.squeeze(0).permute(1, 2, 0).reshape(-1, features.shape[1])
    if shares is None:
        return [(flat.sum(dim=0), flat.T @ flat, flat.shape[0])]
    found = []
    for share in shares.reshape(len(shares), -1, 1).to(flat.dtype):
        weighted = flat * share
        found.append((weighted.sum(dim=0), flat.T @ weighted, float(share.double().sum())))
    return found


def regional(features: Tensor, shares: Tensor) -> Regional:
    """Return the statistics of each region.

    Args:
        features: Shape (1, C, h, w).
        shares: Shape (K, h, w), in [0, 1].
    """
    return gathered(sums(features, shares))


def gathered(totals: list[tuple[Tensor, Tensor, float]]) -> Regional:
    """Return the statistics that belong to `sums`."""
    # A region may be so small that none of a tile's units, or of a deep tap's, is in it.
    return Regional(
        tuple(Statistics(m / max(n, 1e-6), mm / max(n, 1e-6), n) for m, mm, n in totals)
    )
