"""The picture that a run starts from, where making it is work: strokes, or a network's picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from limner.style.level import as_pixels, size_of, tensor_of
from limner.style.presets import StyleOptions

if TYPE_CHECKING:
    from torch import Tensor

    from limner.style.encoder import Encoder
    from limner.style.masks import Masks


class Begun(Protocol):
    """What is needed of the run that begins."""

    options: StyleOptions
    photo: Tensor
    content: Tensor
    styles: list[Tensor]
    weights: list[float]
    masks: Masks | None
    size: tuple[int, int]
    offline: bool
    whole_encoder: Encoder


def beginnings(run: Begun) -> Iterator[Tensor]:
    """Yield the starting picture, at several sizes where it grows; nothing where none is made."""
    if run.options.start == "fast":
        yield _by_network(run)
    elif run.options.start == "strokes":
        yield from _in_strokes(run)


def _in_strokes(run: Begun) -> Iterator[Tensor]:
    """Yield the picture as it is laid in; below strength 0.5 the strokes are thinner."""
    from limner.style.pyramid import resize
    from limner.style.strokes import Order, lay_in

    options = run.options
    order = Order(
        run.content,
        run.styles,
        run.weights,
        run.masks,
        options.size,
        options.side,
        options.style_scale,
        options.stroke_guidance,
    )
    cover = options.thickness
    for picture in lay_in(order, run.whole_encoder):
        yield picture * cover + resize(run.content, size_of(picture)) * (1 - cover)


def _by_network(run: Begun) -> Tensor:
    """Return what the feed-forward network makes of it, at the run's size."""
    from limner.style.preview import LONGEST_PX, paint
    from limner.style.pyramid import fit, resize

    size = run.size
    if max(size) > LONGEST_PX:
        size = fit(size, size=LONGEST_PX, side="longer")
    styles: Sequence[Tensor] = run.styles
    pixels = paint(
        as_pixels(resize(run.photo, size)),
        [as_pixels(s) for s in styles],
        shares=None if run.masks is not None else run.weights,
        masks=run.masks,
        offline=run.offline,
    )
    return tensor_of(pixels).to(run.content.device)
