"""Everything that ``--fast`` can do with a content: styles, masks, colours, size, provenance."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from limner.errors import InputError
from limner.images import PHOTO_SUFFIXES, read_float
from limner.style import fast, provenance
from limner.style.colour import Colour, recolour_result
from limner.style.fast import FastStylizer, Progress
from limner.style.masks import read_masks
from limner.style.provenance import known_input
from limner.types import FloatArray

MODE = "fast"
_SIZES = (32, 16384)


@dataclass(frozen=True)
class FastOptions:
    """What a fast picture should look like.

    Attributes:
        strength: From 0, the content itself, to 1; even in between.
        colour: `style`, `content` (its colours under the new luminance), `moments` or
            `histogram` (a painting's are matched to the content's before it is imitated; of
            other networks the result's).
        size_px: Longer side of the result; None keeps the content's size.
        mask: Picture that says which style goes where, one colour for each style.
        mask_colours: Its colours in the order of the styles; dark to light if empty.
    """

    strength: float = 1.0
    colour: Colour = "style"
    size_px: int | None = None
    mask: str | None = None
    mask_colours: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0.0 <= self.strength <= 1.0:
            raise InputError(
                f"strength must lie in [0, 1] for a fast picture, got {self.strength}."
            )
        low, high = _SIZES
        if self.size_px is not None and not low <= self.size_px <= high:
            raise InputError(f"size must lie between {low} and {high} pixels, got {self.size_px}.")
        if self.mask_colours and self.mask is None:
            raise InputError("Colours of a mask were given, but no mask.")

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return asdict(self)


class FastPainter:
    """Paints contents, one after another, in the manner of one or several styles.

    Args:
        styles: Paintings, built-in styles or an .onnx file, as for `fast.load_fast`. Several
            are blended (paintings only), or go where the mask says.
        shares: How much of each; only without a mask.
        options: The look.
        offline: Use weights from the cache only.
        progress: Told of the weights' download.
        threads: Threads to compute with.

    Raises:
        InputError: If styles, shares and mask do not fit together.
        UnknownNameError: If a style is neither a file nor built in.
        ImageError: If a picture cannot be read.
        WeightsError: If a network cannot be had.
    """

    def __init__(
        self,
        styles: Sequence[str | os.PathLike[str]],
        *,
        shares: Sequence[float] | None = None,
        options: FastOptions | None = None,
        offline: bool = False,
        progress: Progress | None = None,
        threads: int | None = None,
    ) -> None:
        self.options = options or FastOptions()
        self.styles = [str(s) for s in styles]
        self.shares = None if shares is None else [float(s) for s in shares]
        if not self.styles:
            raise InputError("A style is needed: a painting, a built-in style or an .onnx file.")
        self._masks = None
        if self.options.mask is not None:
            if shares is not None:
                raise InputError("Weights of styles and a mask cannot be used together.")
            colours = self.options.mask_colours or None
            self._masks = read_masks(self.options.mask, count=len(self.styles), colours=colours)
        settings: dict[str, Any] = {"offline": offline, "progress": progress, "threads": threads}
        if self._masks is not None or len(self.styles) == 1:
            colour = self.options.colour
            self._stylizers = [fast.load_fast(s, colour=colour, **settings) for s in self.styles]
        else:
            self._stylizers = [self._blended(settings)]

    def _blended(self, settings: dict[str, Any]) -> FastStylizer:
        others = [s for s in self.styles if Path(s).suffix.lower() not in PHOTO_SUFFIXES]
        if others:
            raise InputError(
                f"Only paintings are blended by naming several, and {others[0]} is none. Built-in "
                "styles are blended like this: starry:0.7,weave:0.3."
            )
        pictures = [read_float(s) for s in self.styles]
        name = ", ".join(Path(s).name for s in self.styles)
        return fast.painting(
            pictures, shares=self.shares, name=name, colour=self.options.colour, **settings
        )

    def __call__(self, content: FloatArray) -> FloatArray:
        """Paint one content.

        Args:
            content: Shape (H, W, 3), RGB in [0, 1].

        Returns:
            Shape (H', W', 3) in [0, 1]: the content's size, or that of the options.
        """
        chosen = self.options
        if self._masks is not None:
            self._masks.check(*content.shape[:2])
        content = resized(content, chosen.size_px)
        painted = [self._coloured(s, content) for s in self._stylizers]
        result = painted[0]
        if self._masks is not None:
            result = self._masks.soft(*content.shape[:2]).blend(painted)
        if chosen.colour == "content":
            result = recolour_result(result, content, "content")
        return np.clip(result, 0, 1)

    def _coloured(self, stylizer: FastStylizer, content: FloatArray) -> FloatArray:
        """Return one stylizer's picture; `moments` and `histogram` are matched if it does not."""
        painted = stylizer(content, strength=self.options.strength)
        if stylizer.matches or self.options.colour == "content":
            return painted
        return recolour_result(painted, content, self.options.colour)

    def describe(self, content: str, result: FloatArray, seconds: float) -> dict[str, Any]:
        """Return what provenance records of a picture, as plain JSON values.

        Args:
            content: Its file.
            result: What was painted.
            seconds: What that took.
        """
        files = [content, *(s for s in self.styles if Path(s).is_file())]
        if self.options.mask is not None:
            files.append(self.options.mask)
        digests: dict[str, str] = {}
        for stylizer in self._stylizers:
            digests |= stylizer.digests
        return {
            "kind": provenance.KIND,
            "version": provenance.VERSION,
            "mode": MODE,
            "inputs": [known_input(f) for f in files],
            "styles": [{"name": s, "file": Path(s).is_file()} for s in self.styles],
            "style_weights": self.shares,
            "options": self.options.to_json(),
            "networks": digests,
            "seconds": round(seconds, 3),
            "pixels_sha256": provenance.pixels_digest(result),
            "versions": {
                name: metadata.version(name) for name in ("limner", "onnxruntime", "numpy")
            }
            | {"python": platform.python_version()},
        }


def recorded(document: dict[str, Any]) -> tuple[Path, list[str], FastOptions]:
    """Return content, styles and options of a fast picture from its provenance.

    Raises:
        InputError: If a file is gone or has changed.
    """
    content, *files = provenance.inputs_of(document)
    values = dict(document["options"])
    if values["mask"] is not None:
        values["mask"] = str(files.pop())
    values["mask_colours"] = tuple(values["mask_colours"])
    left = iter(files)
    styles = [str(next(left)) if s["file"] else str(s["name"]) for s in document["styles"]]
    return content, styles, FastOptions(**values)


def resized(content: FloatArray, longer_px: int | None) -> FloatArray:
    """Return a picture with the wanted longer side, its proportions kept."""
    height, width = content.shape[:2]
    if longer_px is None or max(height, width) == longer_px:
        return content
    import cv2

    factor = longer_px / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    way = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return np.clip(np.asarray(cv2.resize(content, size, interpolation=way), np.float32), 0, 1)
