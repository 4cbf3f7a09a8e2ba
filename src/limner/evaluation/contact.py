"""A contact sheet of the pairs that were judged wrongly, the worst first."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from limner import images
from limner.errors import ImageError
from limner.evaluation.plots import DIFFERENT, INK, QUIET, SAME, font_path
from limner.types import ImageArray

if TYPE_CHECKING:
    from limner.evaluation.drivers import PairsReport

MOST = 120
_CHIP = 132
_GAP = 6
_CELL = 2 * _CHIP + _GAP
_TEXT = 54
_MARGIN = 28
_GUTTER = 26
_HEAD = 92
_COLUMNS = 5
_CONTEXT = 1.7  # side of the crop, over the longer side of the face's box


@dataclass(frozen=True)
class WrongPair:
    """One pair that was judged wrongly.

    Attributes:
        index: Its place in the pairs file, from 0.
        names: What the two photos are called.
        paths: Their files.
        boxes_xyxy: The faces' boxes; None where no face was found.
        same: Whether it is one person in truth.
        distance: As measured.
        tau: The threshold that it was held against.
    """

    index: int
    names: tuple[str, str]
    paths: tuple[Path, Path]
    boxes_xyxy: tuple[tuple[float, ...] | None, tuple[float, ...] | None]
    same: bool
    distance: float
    tau: float

    @property
    def error(self) -> float:
        """How far on the wrong side of the threshold it lies."""
        return abs(self.distance - self.tau)

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return {
            "pair": self.index + 1,
            "photos": [str(p) for p in self.paths],
            "same": self.same,
            "distance": self.distance,
            "threshold": self.tau,
            "no_face": [box is None for box in self.boxes_xyxy],
        }


def wrong_pairs(report: PairsReport) -> list[WrongPair]:
    """Return the pairs that a report judged wrongly, the worst first."""
    pairs, photos = report.pairs, report.photos

    def box(photo: int) -> tuple[float, ...] | None:
        return tuple(photos.boxes_xyxy[photo].tolist()) if photos.found[photo] else None

    found = []
    for k in np.flatnonzero(~report.scores.right):
        a, b = int(pairs.left[k]), int(pairs.right[k])
        found.append(
            WrongPair(
                index=int(k),
                names=(pairs.photos[a].name, pairs.photos[b].name),
                paths=(report.paths[a], report.paths[b]),
                boxes_xyxy=(box(a), box(b)),
                same=bool(pairs.same[k]),
                distance=float(report.distances[k]),
                tau=float(report.scores.tau[k]),
            )
        )
    return sorted(found, key=lambda pair: (-pair.error, pair.index))


def draw_sheet(wrong: list[WrongPair], *, title: str, total: int) -> ImageArray:
    """Draw pairs side by side with their names and distances.

    Args:
        wrong: The pairs, worst first; at most `MOST` are drawn.
        title: First line.
        total: How many pairs were judged.

    Returns:
        The sheet, shape (H, W, 3), uint8 RGB.
    """
    from PIL import Image, ImageDraw, ImageFont

    shown = wrong[:MOST]
    columns = max(min(_COLUMNS, len(shown)), 3)
    rows = -(-len(shown) // columns)
    width = 2 * _MARGIN + columns * _CELL + (columns - 1) * _GUTTER
    height = _HEAD + max(rows * (_CHIP + _TEXT + _GUTTER), 20) + _MARGIN - _GUTTER
    sheet = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(sheet)
    small = ImageFont.truetype(str(font_path()), 12)
    strong = ImageFont.truetype(str(font_path(bold=True)), 12)
    large = ImageFont.truetype(str(font_path(bold=True)), 20)
    pen.text((_MARGIN, 22), title, fill=INK, font=large)
    rest = f", the {len(shown)} worst are shown" if len(shown) < len(wrong) else ""
    pen.text((_MARGIN, 54), f"{len(wrong):,} of {total:,} wrong{rest}", fill=QUIET, font=small)
    for place, pair in enumerate(shown):
        x = _MARGIN + (place % columns) * (_CELL + _GUTTER)
        y = _HEAD + (place // columns) * (_CHIP + _TEXT + _GUTTER)
        for side in (0, 1):
            chip = _chip(pair.paths[side], pair.boxes_xyxy[side])
            sheet.paste(Image.fromarray(chip), (x + side * (_CHIP + _GAP), y))
        colour = SAME if pair.same else DIFFERENT
        truth = "one person, judged different" if pair.same else "two people, judged the same"
        if None in pair.boxes_xyxy:
            truth = f"{'one person' if pair.same else 'two people'}, no face found"
        pen.text((x, y + _CHIP + 5), truth, fill=colour, font=strong)
        for left, text, room in _captions(pair):
            pen.text((x + left, y + _CHIP + 21), _fit(pen, text, small, room), INK, font=small)
        sign = ">" if pair.distance > pair.tau else "≤"
        figures = f"distance {pair.distance:.3f} {sign} {pair.tau:.3f}"
        pen.text((x, y + _CHIP + 37), figures, fill=QUIET, font=small)
    return np.array(sheet)


def _captions(pair: WrongPair) -> list[tuple[int, str, int]]:
    """Return offset, words and room of the names: one below each photo, or one for both."""
    a, b = (_spoken(name) for name in pair.names)
    head, _, tail = b.rpartition(" ")
    if pair.same and head and a.startswith(f"{head} "):
        return [(0, f"{a} and {tail}", _CELL)]
    return [(0, a, _CHIP), (_CHIP + _GAP, b, _CHIP)]


def _spoken(name: str) -> str:
    """Turn ``Ann_Lee_0001`` into ``Ann Lee 1``."""
    head, _, tail = name.replace("_", " ").rpartition(" ")
    return f"{head} {int(tail)}" if head and tail.isascii() and tail.isdigit() else name


def _fit(pen: Any, text: str, font: Any, width: int) -> str:
    if pen.textlength(text, font=font) <= width:
        return text
    while text and pen.textlength(text + "…", font=font) > width:
        text = text[:-1]
    return text + "…"


def _chip(path: Path, box_xyxy: tuple[float, ...] | None) -> ImageArray:
    """Cut the face with some room around it; the whole photo where no face was found."""
    from PIL import Image

    try:
        photo = images.read(path)
    except ImageError:
        return np.full((_CHIP, _CHIP, 3), 235, np.uint8)
    height, width = photo.shape[:2]
    if box_xyxy is None:
        side, cx, cy = float(min(height, width)), width / 2, height / 2
    else:
        x0, y0, x1, y1 = box_xyxy
        side = max(_CONTEXT * max(x1 - x0, y1 - y0), 8.0)
        cx, cy = (x0 + x1) / 2, (y0 + y1) / 2
    left, top = round(cx - side / 2), round(cy - side / 2)
    crop = Image.fromarray(photo).crop((left, top, left + round(side), top + round(side)))
    return np.array(crop.resize((_CHIP, _CHIP), Image.Resampling.LANCZOS))
