"""Draw boxes, names and distances on a photo, so that they can be read.

Sizes follow the photo, plates stay inside it, do not cover each other and avoid faces.
Recognised faces have a solid frame, faces that are not recognised a dashed one, so the
two can be told apart without colour.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from limner.cli.lettering import Line, runs_of
from limner.types import BoxXYXY, ImageArray

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

MarkKind = Literal["recognised", "not_recognised", "found"]
_Rectangle: TypeAlias = tuple[int, int, int, int]

# Teal, rust and slate: white text on each has a contrast of at least 5 to 1.
COLOURS: dict[MarkKind, tuple[int, int, int]] = {
    "recognised": (15, 107, 99),
    "not_recognised": (166, 76, 20),
    "found": (51, 75, 107),
}
SMALLEST_SIDE = 480
_SMALLEST_FONT = 11
_LIGHT = (255, 255, 255)
_PALE = (235, 240, 240)
_CROWD = 30
_CROWD_FACE = 40
_CROWD_SIDE = 2600
_PANEL_SIDE = 1200


@dataclass(frozen=True)
class Mark:
    """What is drawn for one face.

    Attributes:
        box_xyxy: The face, pixels of the photo.
        title: First line of the plate: a name, a number or a few words.
        detail: Second, smaller line; empty for none.
        kind: Colour and style of the frame.
    """

    box_xyxy: BoxXYXY
    title: str
    detail: str = ""
    kind: MarkKind = "found"


@dataclass(frozen=True)
class Drawn:
    """A drawn photo.

    Attributes:
        image: Shape (H, W, 3), uint8 RGB; a small photo comes back enlarged.
        replaced: Titles that no installed font can draw, by the number drawn instead.
    """

    image: ImageArray
    replaced: dict[int, str]


@dataclass(frozen=True)
class _Plate:
    rectangle: _Rectangle
    mark: Mark
    size: int


def draw_marks(image: ImageArray, marks: Sequence[Mark]) -> Drawn:
    """Draw frames and plates on a copy of a photo.

    Args:
        image: Shape (H, W, 3), uint8 RGB. A photo whose shorter side is below
            `SMALLEST_SIDE` pixels is enlarged first, since no text fits on it.
        marks: One a face, in any order.

    Returns:
        The drawn photo (a crowd of tiny faces is enlarged as well), and the titles that
        had to be replaced by numbers because no installed font has their letters.
    """
    from PIL import Image

    canvas = Image.fromarray(image)
    factor = _enlargement(canvas.size, marks)
    if factor > 1:
        size = (round(canvas.width * factor), round(canvas.height * factor))
        canvas = canvas.resize(size, Image.Resampling.LANCZOS)
    scaled, replaced = [], {}
    for number, mark in enumerate(marks, start=1):
        if runs_of(mark.title) is None:
            replaced[number] = mark.title
            mark = replace(mark, title=f"#{number}")
        box = tuple(factor * v for v in mark.box_xyxy)
        scaled.append(replace(mark, box_xyxy=(box[0], box[1], box[2], box[3])))
    return Drawn(_draw(canvas, scaled), replaced)


def _draw(canvas: Image, marks: list[Mark]) -> ImageArray:
    """Draw marks whose boxes are in pixels of `canvas`."""
    from PIL import ImageDraw

    pen = ImageDraw.Draw(canvas)
    width = max(3, round(min(canvas.size) / 240))
    for mark in marks:
        _frame(pen, mark, width)
    plates = _layout(marks, canvas.size, width)
    for plate in plates:
        _leader(pen, plate, width)
    for plate in plates:
        _plate(pen, plate)
    return np.asarray(canvas)


def draw_side_by_side(pictures: Sequence[ImageArray], marks: Sequence[Mark]) -> ImageArray:
    """Draw one mark on each picture and join them, all at the same height.

    Args:
        pictures: Shape (H, W, 3), uint8 RGB.
        marks: One a picture.

    Returns:
        One picture, with a white gap between the parts.
    """
    from PIL import Image

    height = min(_PANEL_SIDE, max(SMALLEST_SIDE, *(p.shape[0] for p in pictures)))
    parts: list[ImageArray] = []
    for picture, mark in zip(pictures, marks, strict=True):
        factor = height / picture.shape[0]
        size = (max(1, round(picture.shape[1] * factor)), height)
        resized = Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS)
        box = tuple(factor * v for v in mark.box_xyxy)
        moved = replace(mark, box_xyxy=(box[0], box[1], box[2], box[3]))
        drawn = _draw(resized, [moved])
        parts += [drawn, np.full((height, max(4, height // 60), 3), 255, np.uint8)]
    return np.concatenate(parts[:-1], axis=1)


def _enlargement(size: tuple[int, int], marks: Sequence[Mark]) -> float:
    """Return how much larger the photo must be for the text to find room."""
    factor = max(1.0, SMALLEST_SIDE / min(size))
    if len(marks) >= _CROWD:
        face = float(np.median([mark.box_xyxy[2] - mark.box_xyxy[0] for mark in marks]))
        factor = max(factor, min(_CROWD_FACE / face, _CROWD_SIDE / max(size)))
    return factor


# --- layout ----------------------------------------------------------------------------


def _layout(marks: list[Mark], canvas: tuple[int, int], width: int) -> list[_Plate]:
    """Place the plates with the largest font at which none covers another one."""
    largest = max(_SMALLEST_FONT + 2, round((canvas[0] * canvas[1]) ** 0.5 / 40))
    sizes: list[int] = []
    size = float(largest)
    while size > _SMALLEST_FONT:
        sizes.append(round(size))
        size *= 0.85
    attempts = [(s, marks) for s in (*sizes, _SMALLEST_FONT)]
    # In a crowd the second line goes first, then the plates of unknown faces (their frames
    # are dashed), and in the end plates may cover each other.
    attempts.append((_SMALLEST_FONT, [replace(m, detail="") for m in marks]))
    known = [replace(m, detail="") for m in marks if m.kind != "not_recognised"]
    attempts.append((_SMALLEST_FONT, known))
    for font_size, tried in attempts:
        plates = _place_all(tried, canvas, width, font_size, crowded=False)
        if plates is not None:
            return plates
    return _place_all(attempts[-1][1], canvas, width, _SMALLEST_FONT, crowded=True) or []


def _place_all(
    marks: list[Mark], canvas: tuple[int, int], width: int, size: int, *, crowded: bool
) -> list[_Plate] | None:
    """Place a plate for each mark, small faces first; None if one finds no room."""
    placed: list[_Plate] = []
    faces = [_whole(mark.box_xyxy) for mark in marks]
    for index in sorted(range(len(marks)), key=lambda i: _area(faces[i])):
        mark = marks[index]
        plate_size = _plate_size(mark, size)
        if not crowded and plate_size[0] > canvas[0]:
            return None
        best: tuple[float, _Rectangle] | None = None
        for rank, corner in enumerate(_corners(faces[index], plate_size, width)):
            rectangle = _inside(corner, plate_size, canvas)
            covered = sum(_overlap(rectangle, other.rectangle) for other in placed)
            if covered and not crowded:
                continue
            hidden = sum(
                _overlap(rectangle, face) * (1.0 if i == index else 2.0)
                for i, face in enumerate(faces)
            )
            area = float(_area(rectangle))
            away = abs(rectangle[0] - corner[0]) + abs(rectangle[1] - corner[1])
            cost = 5 * covered / area + hidden / area + 0.02 * rank + away / (10 * size)
            if best is None or cost < best[0]:
                best = (cost, rectangle)
        if best is None:
            return None
        placed.append(_Plate(best[1], mark, size))
    return placed


def _corners(face: _Rectangle, size: tuple[int, int], width: int) -> Iterator[tuple[int, int]]:
    """Yield upper left corners for a plate around a face, the most natural first."""
    x0, y0, x1, y1 = face
    w, h = size
    middle_x, middle_y = (x0 + x1 - w) // 2, (y0 + y1 - h) // 2
    edge = width // 2
    for x in (x0 - edge, middle_x, x1 + edge - w):
        yield x, y1 + edge
        yield x, y0 - edge - h
    for y in (y0 - edge, middle_y, y1 + edge - h):
        yield x1 + edge, y
        yield x0 - edge - w, y
    yield middle_x, y1 - h
    yield middle_x, y0
    for step in (1, 2, 3):
        yield middle_x, y1 + step * h
        yield middle_x, y0 - (step + 1) * h


def _lines(mark: Mark, size: int) -> list[Line]:
    lines = [Line.of(mark.title, size, bold=True)]
    if mark.detail:
        small = max(_SMALLEST_FONT - 1, round(size * 0.78))
        lines.append(Line.of(mark.detail, small, bold=False))
    return lines


def _plate_size(mark: Mark, size: int) -> tuple[int, int]:
    lines, pad = _lines(mark, size), _pad(size)
    wide = max(line.width for line in lines)
    return round(wide) + 2 * pad, sum(line.height for line in lines) + pad


def _pad(size: int) -> int:
    return max(3, round(size * 0.35))


def _inside(corner: tuple[int, int], size: tuple[int, int], canvas: tuple[int, int]) -> _Rectangle:
    x = max(0, min(corner[0], canvas[0] - size[0]))
    y = max(0, min(corner[1], canvas[1] - size[1]))
    return x, y, x + size[0], y + size[1]


def _whole(box: BoxXYXY) -> _Rectangle:
    return round(box[0]), round(box[1]), round(box[2]), round(box[3])


def _area(r: _Rectangle) -> int:
    return max(0, r[2] - r[0]) * max(0, r[3] - r[1])


def _overlap(a: _Rectangle, b: _Rectangle) -> int:
    return _area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))


# --- ink -------------------------------------------------------------------------------


def _frame(pen: ImageDraw, mark: Mark, width: int) -> None:
    """Draw the frame on a slightly wider light one, so that it shows on any background."""
    x0, y0, x1, y1 = _whole(mark.box_xyxy)
    corners = [(x0, y0), (x1 - 1, y0), (x1 - 1, y1 - 1), (x0, y1 - 1)]
    dash = max(3 * width, (x1 - x0 + y1 - y0) // 20) if mark.kind == "not_recognised" else None
    seam = max(1, width // 3)
    for colour, wide in ((_LIGHT, width + 2 * seam), (COLOURS[mark.kind], width)):
        for start, end in zip(corners, corners[1:] + corners[:1], strict=True):
            for line in _dashes(start, end, dash):
                pen.line(line, fill=colour, width=wide)


def _leader(pen: ImageDraw, plate: _Plate, width: int) -> None:
    """Join a plate to its face by a line where the two do not stand together."""
    x0, y0, x1, y1 = plate.rectangle
    fx0, fy0, fx1, fy1 = _whole(plate.mark.box_xyxy)
    apart_x, apart_y = max(fx0 - x1, x0 - fx1, 0), max(fy0 - y1, y0 - fy1, 0)
    if max(apart_x, apart_y) < (y1 - y0) / 2:
        return
    if apart_y:  # above or below
        x, y = (x0 + x1) / 2, float(y0 if y0 > fy1 else y1)
        to_x, to_y = min(max(x, fx0), fx1), float(fy1 if y0 > fy1 else fy0)
    else:
        x, y = float(x0 if x0 > fx1 else x1), (y0 + y1) / 2
        to_x, to_y = float(fx1 if x0 > fx1 else fx0), min(max(y, fy0), fy1)
    for colour, wide in ((_LIGHT, width), (COLOURS[plate.mark.kind], max(1, width - 2))):
        pen.line([(x, y), (to_x, to_y)], fill=colour, width=wide)


def _dashes(
    start: tuple[int, int], end: tuple[int, int], dash: int | None
) -> Iterator[tuple[tuple[float, float], tuple[float, float]]]:
    """Yield the pieces of a line: itself, or dashes that begin and end at its corners."""
    if dash is None:
        yield start, end
        return
    length = abs(end[0] - start[0]) + abs(end[1] - start[1])
    pieces = 2 * max(1, round(length / dash / 2)) + 1
    at: Callable[[int], tuple[float, float]] = lambda i: (  # noqa: E731
        start[0] + (end[0] - start[0]) * i / pieces,
        start[1] + (end[1] - start[1]) * i / pieces,
    )
    for index in range(0, pieces, 2):
        yield at(index), at(index + 1)


def _plate(pen: ImageDraw, plate: _Plate) -> None:
    x0, y0, x1, y1 = plate.rectangle
    pad = _pad(plate.size)
    colour = COLOURS[plate.mark.kind]
    pen.rounded_rectangle((x0, y0, x1 - 1, y1 - 1), radius=pad // 2, fill=colour)
    y = y0 + pad // 2
    for line, ink in zip(_lines(plate.mark, plate.size), (_LIGHT, _PALE), strict=False):
        line.write(pen, x0 + pad, y, ink)
        y += line.height
