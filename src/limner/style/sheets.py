"""Contact sheets: one picture painted several times, with one choice changed.

`depth` moves the layer that the content is read at, `layers` adds style layers one by one,
`beta` turns the weight of the style, `sizes` paints larger and larger.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from limner.errors import InputError, UnknownNameError
from limner.images import read
from limner.style.presets import StyleOptions
from limner.style.provenance import known_input
from limner.style.stylize import StyleResult, stylize
from limner.types import ImageArray

if TYPE_CHECKING:
    from limner.images.sources import Source
    from limner.style.encoder import Encoder, Progress
    from limner.style.level import Step

SheetKind = Literal["depth", "layers", "beta", "sizes"]

_DEPTH = ("conv1_2", "conv2_2", "conv3_2", "conv4_2", "conv5_2")
_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
_STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
_SMALLEST_PX = 128
PRESETS = {"depth": "classic", "layers": "classic", "beta": "default", "sizes": "default"}
"""The preset of a sheet where none is asked for: layers show best where they do all the work."""

TEXTS = {
    "depth": (
        "Where the content is read",
        "A shallow layer holds on to every pixel, so the photo shows through and the style is "
        "only a tint. A deep one keeps the arrangement and lets the strokes redraw the rest. A "
        "middle layer keeps what the photo shows and gives up how it looks.",
    ),
    "layers": (
        "How many layers the style has",
        "The first layer knows colours and the finest grain. Each further one sees a wider "
        "patch, and with it longer strokes and larger shapes are imitated.",
    ),
    "beta": (
        "How much the style weighs",
        "From left to right beta grows by the same factor from picture to picture: equal steps "
        "of the strength slider.",
    ),
    "sizes": (
        "One preset at several sizes",
        "Every cost is a ratio to its target, so that the same weights give the same look, "
        "whatever the size. Strokes keep their size relative to the picture.",
    ),
}


@dataclass(frozen=True, eq=False)
class SheetTile:
    """One picture of a sheet.

    Attributes:
        label: What was changed.
        image: Shape (H, W, 3), uint8 RGB.
        options: All choices.
        result: Of the run.
    """

    label: str
    image: ImageArray
    options: StyleOptions
    result: StyleResult

    def to_json(self) -> dict[str, Any]:
        """Return label, costs and provenance as plain JSON values."""
        last = self.result.provenance["levels"][-1]
        return {
            "label": self.label,
            "size_hw": list(self.image.shape[:2]),
            "seconds": round(self.result.seconds, 2),
            "costs": last["last"],
            "provenance": self.result.provenance,
        }


@dataclass(frozen=True, eq=False)
class Sheet:
    """A contact sheet.

    Attributes:
        kind: Which.
        image: The sheet, shape (H, W, 3), uint8 RGB.
        tiles: Its pictures, in order.
        inputs: The content and the style.
    """

    kind: SheetKind
    image: ImageArray
    tiles: tuple[SheetTile, ...]
    inputs: tuple[dict[str, Any], ...]

    def to_json(self) -> dict[str, Any]:
        """Return everything but the pixels as plain JSON values."""
        return {
            "kind": self.kind,
            "inputs": list(self.inputs),
            "tiles": [tile.to_json() for tile in self.tiles],
        }


def variants(kind: SheetKind | str, options: StyleOptions) -> list[tuple[str, StyleOptions]]:
    """Return labels and options of a sheet's pictures.

    Args:
        kind: `depth`, `layers`, `beta` or `sizes`.
        options: What all have in common; of `sizes` the largest.

    Raises:
        UnknownNameError: If the kind is unknown.
    """
    if kind not in get_args(SheetKind):
        words = ", ".join(get_args(SheetKind))
        raise UnknownNameError(f"A sheet must be one of {words}, got {kind!r}.")
    if kind == "depth":
        weight = sum(w for _, w in options.content_layers)
        return [(tap, replace(options, content_layers=((tap, weight),))) for tap in _DEPTH]
    if kind == "layers":
        found = []
        for count in range(1, len(_LAYERS) + 1):
            taps = tuple((tap, 1 / count) for tap in _LAYERS[:count])
            label = _LAYERS[0] if count == 1 else f"{_LAYERS[0]} to {_LAYERS[count - 1]}"
            found.append((label, replace(options, style_layers=taps)))
        return found
    if kind == "beta":
        chosen = [replace(options, strength=s) for s in _STRENGTHS]
        return [(f"beta {o.style_weight:.2g} (strength {o.strength:g})", o) for o in chosen]
    sizes = [options.size // 2**i for i in (3, 2, 1, 0)]
    return [(f"{size} px", replace(options, size=size)) for size in sizes if size >= _SMALLEST_PX]


def style_sheet(
    kind: SheetKind,
    content: Source,
    style: Source,
    *,
    options: StyleOptions,
    encoder: Encoder | None = None,
    device: str = "auto",
    offline: bool = False,
    progress: Progress | None = None,
    on_step: Callable[[Step], None] | None = None,
) -> Sheet:
    """Paint a picture several times and lay the results out with what was changed.

    Args:
        kind: `depth`, `layers`, `beta` or `sizes`.
        content: A picture, as for `limner.images.read`.
        style: A painting.
        options: What all pictures have in common; of `sizes` the largest one.
        encoder: One that is loaded already.
        device: As for `limner.device.resolve`.
        offline: Take weights from the cache only.
        progress: Told of fetched weights.
        on_step: Told after every closure call of every picture.

    Raises:
        UnknownNameError: If the kind or a layer is unknown.
        InputError: If a picture is too small, or the start needs a picture of its own.
        ImageError: If a picture cannot be read.
        WeightsError: If the encoder's weights cannot be had.
    """
    if options.start == "picture":
        raise InputError("A sheet begins with strokes, content, noise or fast, not with a picture.")
    pictures = read(content), read(style)
    tiles = []
    for label, chosen in variants(kind, options):
        result = stylize(
            *pictures,
            options=chosen,
            encoder=encoder,
            device=device,
            offline=offline,
            progress=progress,
            on_step=on_step,
        )
        if not result.finished:
            raise KeyboardInterrupt
        tiles.append(SheetTile(label, result.image, chosen, result))
    image = draw(kind, pictures, [(tile.label, tile.image) for tile in tiles])
    return Sheet(kind, image, tuple(tiles), (known_input(content), known_input(style)))


_INK, _QUIET, _PAPER = (28, 30, 34), (104, 108, 116), (250, 249, 246)
_GAP, _MARGIN, _LABEL, _HEAD = 20, 36, 40, 84
_TILE_PX = (300, 480)


def draw(
    kind: SheetKind,
    pictures: tuple[ImageArray, ImageArray],
    tiles: Sequence[tuple[str, ImageArray]],
) -> ImageArray:
    """Return a sheet: content and style first, then each picture with its label below.

    Args:
        kind: Whose heading and explanation.
        pictures: Content and style, uint8 RGB.
        tiles: Labels and pictures.
    """
    from PIL import Image, ImageDraw

    height, width = tiles[-1][1].shape[:2]
    wide = int(np.clip(width, *_TILE_PX))
    tall = round(wide * height / width)
    cells = [("content", pictures[0]), ("style", pictures[1]), *tiles]
    columns = 4 if len(cells) > 6 else 3
    rows = -(-(len(cells) + 1) // columns)
    if len(cells) % columns == 0:
        rows = len(cells) // columns
    sheet = Image.new(
        "RGB",
        (
            2 * _MARGIN + columns * wide + (columns - 1) * _GAP,
            _MARGIN + _HEAD + rows * (tall + _LABEL) + (rows - 1) * _GAP // 2 + _MARGIN // 2,
        ),
        _PAPER,
    )
    pen = ImageDraw.Draw(sheet)
    title, text = TEXTS[kind]
    pen.text((_MARGIN, _MARGIN), title, fill=_INK, font=_font(34))
    places = [
        (
            _MARGIN + (i % columns) * (wide + _GAP),
            _MARGIN + _HEAD + (i // columns) * (tall + _LABEL + _GAP // 2),
        )
        for i in range(rows * columns)
    ]
    for (x, y), (label, pixels) in zip(places, cells, strict=False):
        sheet.paste(Image.fromarray(_filled(pixels, tall, wide)), (x, y))
        pen.text((x, y + tall + 9), label, fill=_INK, font=_font(18))
    if len(places) > len(cells):
        _explain(pen, text, places[len(cells)], wide)
    return np.asarray(sheet)


def _explain(pen: Any, text: str, place: tuple[int, int], wide: int) -> None:
    """Write the explanation into an empty place, broken into lines."""
    font, line, lines = _font(18), "", []
    for word in text.split():
        longer = f"{line} {word}".strip()
        if pen.textlength(longer, font=font) > wide - 8 and line:
            lines.append(line)
            longer = word
        line = longer
    for i, words in enumerate([*lines, line]):
        pen.text((place[0] + 4, place[1] + 26 * i), words, fill=_QUIET, font=font)


def _font(size: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size)


def _filled(pixels: ImageArray, tall: int, wide: int) -> ImageArray:
    """Return the middle of a picture at the tile's proportions and size."""
    from PIL import Image, ImageOps

    fitted = ImageOps.fit(Image.fromarray(pixels), (wide, tall), Image.Resampling.LANCZOS)
    return np.asarray(fitted)
