"""A first idea of a picture, in a second: the feed-forward network's, for the same options."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from limner.images import read_float
from limner.style.colour import keep_colour, recolour_style
from limner.style.fast_paint import resized
from limner.style.presets import StyleOptions
from limner.types import FloatArray

if TYPE_CHECKING:
    from limner.images.sources import Source
    from limner.style.fast import Progress
    from limner.style.masks import Masks

LONGEST_PX = 1024
_LEAST_PX = 32


def preview(
    content: Source,
    styles: Sequence[Source],
    *,
    options: StyleOptions,
    style_weights: Sequence[float] | None = None,
    masks: Masks | None = None,
    offline: bool = False,
    progress: Progress | None = None,
) -> FloatArray:
    """Paint quickly what `stylize` paints well.

    Args:
        content: A picture, as for `limner.images.read`.
        styles: Paintings.
        options: Of the run: size, strength and colours are heeded; strength 0.5 and above is
            all that the network can give.
        style_weights: One for each style.
        masks: Which style goes where; then there are no weights.
        offline: Use weights from the cache only.
        progress: Told of the weights' download.

    Returns:
        Shape (H, W, 3), RGB in [0, 1], of the proportions of the content; its longer side is
        that of the run, but 1,024 px at most.

    Raises:
        ImageError: If a picture cannot be read.
        WeightsError: If the networks cannot be had.
    """
    whole = read_float(content)
    pictures = [_recoloured(read_float(s), whole, options) for s in styles]
    small = resized(whole, _longer(whole, options))
    painted = paint(
        small,
        pictures,
        strength=min(1.0, 2 * options.strength),
        shares=style_weights,
        masks=masks,
        offline=offline,
        progress=progress,
    )
    return keep_colour(painted, small) if options.colour == "content" else painted


def paint(
    content: FloatArray,
    styles: Sequence[FloatArray],
    *,
    strength: float = 1.0,
    shares: Sequence[float] | None = None,
    masks: Masks | None = None,
    offline: bool = False,
    progress: Progress | None = None,
) -> FloatArray:
    """Return the feed-forward network's picture of a content in one or several styles.

    Args:
        content: Shape (H, W, 3), RGB in [0, 1].
        styles: Each of such a shape.
        strength: From 0 to 1.
        shares: How much of each style, without masks.
        masks: Which style goes where.
        offline: Use weights from the cache only.
        progress: Told of the weights' download.
    """
    from limner.style import fast

    kept = {"offline": offline, "progress": progress}
    if masks is None:
        painter = fast.painting(styles, shares=shares, **kept)  # type: ignore[arg-type]
        return painter(content, strength=strength)
    painters = [fast.painting([s], **kept) for s in styles]  # type: ignore[arg-type]
    return masks.soft(*content.shape[:2]).blend([p(content, strength=strength) for p in painters])


def _recoloured(style: FloatArray, content: FloatArray, options: StyleOptions) -> FloatArray:
    return np.clip(recolour_style(style, content, options.colour), 0, 1)


def _longer(content: FloatArray, options: StyleOptions) -> int:
    height, width = content.shape[:2]
    longer = float(options.size)
    if options.side == "shorter":
        longer *= max(height, width) / min(height, width)
    return max(_LEAST_PX, min(LONGEST_PX, round(longer)))
