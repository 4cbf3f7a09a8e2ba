"""The first coat: the content in the style's colours, before anything is painted over it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from limner.style.colour import luminance, match_moments
from limner.types import FloatArray

if TYPE_CHECKING:
    from limner.style.masks import Masks


def underpainted(
    content: FloatArray,
    styles: Sequence[FloatArray],
    *,
    weights: Sequence[float],
    strength: float = 0.5,
    masks: Masks | None = None,
) -> FloatArray:
    """Return the content with the mean and covariance of the styles' colours.

    Args:
        content: Shape (H, W, 3), RGB in [0, 1].
        styles: Of any sizes.
        weights: One for each style, positive: their coats are mixed so.
        strength: Below 0.5 the coat is thinner; at 0 the content keeps its colours.
        masks: Each style's coat goes where its mask is, instead of being mixed.

    Returns:
        The shape of `content`, in [0, 1]. A style of less than half the content's contrast
        gives a thinner coat, so that one of a single colour does not wipe the content out.
    """
    coats = []
    for style in styles:
        coat = match_moments(content, style)
        share = min(1.0, 2 * strength, 2 * _contrast(coat) / _contrast(content))
        coats.append(coat * share + content * (1 - share))
    if masks is not None:
        return masks.blend(coats)
    total = float(sum(weights))
    mixed = sum(coat * (w / total) for coat, w in zip(coats, weights, strict=True))
    return np.asarray(mixed, np.float32).clip(0, 1)


def _contrast(pixels: FloatArray) -> float:
    """Return the deviation of the luminance: of a flat picture a little, never nought."""
    return float(luminance(pixels).std()) + 1e-3
