"""Lettering: names in any script, in fonts that have their letters."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont


@cache
def bundled(bold: bool) -> Path:
    """Return DejaVu Sans, which matplotlib ships, without importing matplotlib."""
    found = importlib.util.find_spec("matplotlib")
    root = Path(found.origin).parent if found and found.origin else Path()
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return root / "mpl-data" / "fonts" / "ttf" / name


@cache
def _letters(path: Path) -> frozenset[int]:
    """Return the code points that a font file can draw; none if it cannot be read."""
    from fontTools.ttLib import TTFont, TTLibError

    try:
        with TTFont(path, fontNumber=0, lazy=True) as font:
            return frozenset(font.getBestCmap() or ())
    except (OSError, TTLibError, KeyError, AssertionError):
        return frozenset()


@cache
def runs_of(text: str, *, bold: bool = True) -> tuple[tuple[Path, str], ...] | None:
    """Split a text into runs that one font each can draw.

    Args:
        text: Any script, or several.
        bold: Prefer the bold face of DejaVu Sans.

    Returns:
        (font file, run) pairs, in the order of the text: DejaVu Sans where it has the letters,
        elsewhere the first installed font that has all the others; None where none has.
    """
    own = bundled(bold)
    if text.isascii():
        return ((own, text),)
    letters = _letters(own)
    strange = {ord(c) for c in text if not c.isspace()} - letters
    if not strange:
        return ((own, text),)
    from matplotlib import font_manager

    installed = (Path(name) for name in sorted(font_manager.findSystemFonts()))
    other = next((path for path in installed if strange <= _letters(path)), None)
    if other is None:
        return None
    runs: list[tuple[Path, str]] = []
    for letter in text:
        font = other if ord(letter) in strange else own
        if runs and runs[-1][0] == font:
            runs[-1] = (font, runs[-1][1] + letter)
        else:
            runs.append((font, letter))
    return tuple(runs)


@cache
def _font(path: Path, size: int) -> FreeTypeFont:
    from PIL import ImageFont

    return ImageFont.truetype(str(path), size)


@dataclass(frozen=True)
class Line:
    """A line of text in one or several fonts of one size."""

    runs: tuple[tuple[Path, str], ...]
    size: int

    @classmethod
    def of(cls, text: str, size: int, *, bold: bool) -> Line:
        """Find the fonts for a text; letters that none has come out as boxes."""
        return cls(runs_of(text, bold=bold) or ((bundled(bold), text),), size)

    @property
    def width(self) -> float:
        """Width in pixels."""
        return sum(_font(path, self.size).getlength(run) for path, run in self.runs)

    @property
    def ascent(self) -> int:
        """Pixels above the base line."""
        return max(_font(path, self.size).getmetrics()[0] for path, _ in self.runs)

    @property
    def height(self) -> int:
        """Height in pixels."""
        return self.ascent + max(_font(p, self.size).getmetrics()[1] for p, _ in self.runs)

    def write(self, pen: ImageDraw, x: float, y: float, colour: tuple[int, int, int]) -> None:
        """Draw it with its upper left corner at (x, y)."""
        for path, run in self.runs:
            font = _font(path, self.size)
            pen.text((x, y + self.ascent), run, font=font, fill=colour, anchor="ls")
            x += font.getlength(run)
