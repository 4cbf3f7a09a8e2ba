"""One picture of an answer: the face that was asked about, and the people it may be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from limner.cli.lettering import Line
from limner.types import ImageArray

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

_INK = (34, 48, 60)
_QUIET = (105, 118, 130)
_PAPER = (255, 255, 255)
_TRACK = (223, 228, 232)
_BAR = (15, 107, 99)
_FACE, _GAP, _MARGIN = 168, 22, 28
_NAME, _SMALL = 15, 13


def draw_answer(
    chip: ImageArray, guesses: Sequence[tuple[str, float, ImageArray]], *, title: str
) -> ImageArray:
    """Draw a face beside the people that it is likeliest to be.

    Args:
        chip: Shape (S, S, 3), uint8 RGB: the face.
        guesses: Name, probability in [0, 1] and face (T, T, 3) of each, likeliest first.
        title: Above the asked face.

    Returns:
        Shape (H, W, 3), uint8 RGB.
    """
    from PIL import Image, ImageDraw

    columns = 1 + len(guesses)
    width = 2 * _MARGIN + columns * _FACE + (columns - 1) * _GAP + _GAP
    height = 2 * _MARGIN + 28 + _FACE + 62
    canvas = Image.new("RGB", (width, height), _PAPER)
    pen = ImageDraw.Draw(canvas)
    top = _MARGIN + 28
    Line.of(title, _SMALL, bold=False).write(pen, _MARGIN, _MARGIN, _QUIET)
    _paste(canvas, chip, _MARGIN, top)
    left = _MARGIN + _FACE + 2 * _GAP
    rule = _MARGIN + _FACE + _GAP
    pen.line([(rule, _MARGIN), (rule, height - _MARGIN)], fill=_TRACK, width=2)
    Line.of("looks most like", _SMALL, bold=False).write(pen, left, _MARGIN, _QUIET)
    for name, probability, face in guesses:
        _paste(canvas, face, left, top)
        _write_name(pen, name, left, top + _FACE + 8)
        _write_share(pen, probability, left, top + _FACE + 32)
        left += _FACE + _GAP
    return np.asarray(canvas, np.uint8)


def _paste(canvas: object, face: ImageArray, x: int, y: int) -> None:
    from PIL import Image

    picture = Image.fromarray(face).resize((_FACE, _FACE), Image.Resampling.LANCZOS)
    canvas.paste(picture, (x, y))  # type: ignore[attr-defined]


def _write_name(pen: ImageDraw, name: str, x: int, y: int) -> None:
    text = name.replace("_", " ")
    line = Line.of(text, _NAME, bold=True)
    while line.width > _FACE and len(text) > 1:
        text = text[:-1].rstrip()
        line = Line.of(f"{text}…", _NAME, bold=True)
    line.write(pen, x, y, _INK)


def _write_share(pen: ImageDraw, probability: float, x: int, y: int) -> None:
    label = Line.of(f"{100 * probability:.1f} %", _SMALL, bold=False)
    track = _FACE - 62
    pen.rounded_rectangle((x, y + 5, x + track, y + 12), 3, fill=_TRACK)
    if probability > 0.01:
        pen.rounded_rectangle((x, y + 5, x + track * probability, y + 12), 3, fill=_BAR)
    label.write(pen, x + _FACE - label.width, y, _INK)
