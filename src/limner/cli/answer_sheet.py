"""One picture of an answer: the face that was asked about, and the people it is like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
_ABREAST = 5
_NAME, _SMALL = 15, 13


@dataclass(frozen=True, eq=False)
class Likeness:
    """Somebody that a face is like.

    Attributes:
        name: The person.
        share: How far the bar goes, in [0, 1].
        label: What is written beside the bar.
        face: Shape (H, W, 3), uint8 RGB; None: the name's first letter stands for it.
    """

    name: str
    share: float
    label: str
    face: ImageArray | None


def draw_answer(chip: ImageArray, likenesses: Sequence[Likeness], *, title: str) -> ImageArray:
    """Draw a face beside the people that it is like, five in a row.

    Args:
        chip: Shape (H, W, 3), uint8 RGB: the face.
        likenesses: The likest first.
        title: Above the asked face.

    Returns:
        Shape (H, W, 3), uint8 RGB.
    """
    from PIL import Image, ImageDraw

    columns = 1 + min(len(likenesses), _ABREAST)
    rows = max(1, -(-len(likenesses) // _ABREAST))
    step = _FACE + 62 + _GAP
    width = 2 * _MARGIN + columns * _FACE + (columns - 1) * _GAP + _GAP
    height = 2 * _MARGIN + 28 + rows * step - _GAP
    canvas = Image.new("RGB", (width, height), _PAPER)
    pen = ImageDraw.Draw(canvas)
    top = _MARGIN + 28
    Line.of(title, _SMALL, bold=False).write(pen, _MARGIN, _MARGIN, _QUIET)
    _paste(canvas, chip, _MARGIN, top)
    left = _MARGIN + _FACE + 2 * _GAP
    rule = _MARGIN + _FACE + _GAP
    pen.line([(rule, _MARGIN), (rule, height - _MARGIN)], fill=_TRACK, width=2)
    Line.of("looks most like", _SMALL, bold=False).write(pen, left, _MARGIN, _QUIET)
    for number, one in enumerate(likenesses):
        x = left + number % _ABREAST * (_FACE + _GAP)
        y = top + number // _ABREAST * step
        if one.face is None:
            _write_initial(pen, one.name, x, y)
        else:
            _paste(canvas, one.face, x, y)
        _write_name(pen, one.name, x, y + _FACE + 8)
        _write_share(pen, one, x, y + _FACE + 32)
    return np.asarray(canvas, np.uint8)


def _paste(canvas: object, face: ImageArray, x: int, y: int) -> None:
    """Paste the largest square in the middle of a face's picture."""
    from PIL import Image

    height, width = face.shape[:2]
    side = min(height, width)
    left, top = (width - side) // 2, (height - side) // 2
    picture = Image.fromarray(face).resize(
        (_FACE, _FACE), Image.Resampling.LANCZOS, box=(left, top, left + side, top + side)
    )
    canvas.paste(picture, (x, y))  # type: ignore[attr-defined]


def _write_initial(pen: ImageDraw, name: str, x: int, y: int) -> None:
    pen.rectangle((x, y, x + _FACE - 1, y + _FACE - 1), fill=_TRACK)
    line = Line.of(name[:1].upper(), 56, bold=True)
    line.write(pen, x + (_FACE - line.width) // 2, y + _FACE // 2 - 34, _QUIET)


def _write_name(pen: ImageDraw, name: str, x: int, y: int) -> None:
    text = name.replace("_", " ")
    line = Line.of(text, _NAME, bold=True)
    while line.width > _FACE and len(text) > 1:
        text = text[:-1].rstrip()
        line = Line.of(f"{text}…", _NAME, bold=True)
    line.write(pen, x, y, _INK)


def _write_share(pen: ImageDraw, one: Likeness, x: int, y: int) -> None:
    label = Line.of(one.label, _SMALL, bold=False)
    track = _FACE - 62
    pen.rounded_rectangle((x, y + 5, x + track, y + 12), 3, fill=_TRACK)
    if one.share > 0.01:
        pen.rounded_rectangle((x, y + 5, x + track * one.share, y + 12), 3, fill=_BAR)
    label.write(pen, x + _FACE - label.width, y, _INK)
