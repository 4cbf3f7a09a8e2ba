"""The demo's photographs, and harder views made from them.

All of them come with packages that are installed: Eileen Collins (NASA) and portraits of
strangers with scikit-image, Grace Hopper (US Navy) with matplotlib.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from limner.errors import MissingExtraError
from limner.types import ImageArray

COLLINS = "Eileen Collins"
HOPPER = "Grace Hopper"
STRANGERS = 24
_GREY = (118, 118, 118)
_PAPER = (232, 229, 222)
_GAP = 14


@dataclass(frozen=True)
class View:
    """A photo shown to limner, and whom it shows.

    Attributes:
        title: What was done to it.
        image: Shape (H, W, 3), uint8 RGB.
        person: Who it is.
    """

    title: str
    image: ImageArray
    person: str


@dataclass(frozen=True)
class Place:
    """Where a view lies in the group picture, pixels."""

    box_xyxy: tuple[float, float, float, float]
    view: View


@dataclass(frozen=True)
class GroupPhoto:
    """The group picture.

    Attributes:
        image: Shape (H, W, 3), uint8 RGB.
        places: Where each view lies.
    """

    image: ImageArray
    places: tuple[Place, ...]


def _samples() -> Any:
    """Return scikit-image's sample pictures.

    Raises:
        MissingExtraError: If scikit-image is not installed.
    """
    try:
        from skimage import data
    except ImportError as error:
        raise MissingExtraError(
            "the demo's photographs come with scikit-image, which is not installed; "
            "install it with: pip install 'limner[demo]'."
        ) from error
    return data


def portraits() -> dict[str, ImageArray]:
    """Return one photo of each of the two people who will be enrolled.

    Raises:
        MissingExtraError: If scikit-image is not installed.
    """
    from matplotlib.cbook import get_sample_data

    from limner import images

    hopper = get_sample_data("grace_hopper.jpg", asfileobj=False)
    return {COLLINS: images.read(_samples().astronaut()), HOPPER: images.read(str(hopper))}


def strangers() -> list[View]:
    """Return people who are never enrolled: a photographer in profile, and small portraits."""
    from limner import images

    data = _samples()
    found = [View("photographer, from the side", images.read(data.camera()), "a stranger")]
    # 25 x 25 grey portraits; the first hundred are faces. Enlarged as far as a web page would.
    for number, small in enumerate(data.lfw_subset()[:STRANGERS], start=1):
        grey = np.clip(small * 255, 0, 255).astype(np.uint8)
        enlarged = _resize(np.repeat(grey[:, :, None], 3, axis=2), 150, 150)
        found.append(View(f"portrait {number}", _fill(enlarged, 32, 32, 32, 32), "a stranger"))
    return found


def faceless() -> list[View]:
    """Return photos without a human face."""
    from limner import images

    data = _samples()
    return [
        View("a cat", images.read(data.chelsea()), "nobody"),
        View("a cup of coffee", images.read(data.coffee()), "nobody"),
        View("a rocket", images.read(data.rocket()), "nobody"),
    ]


def harder_views(person: str, photo: ImageArray) -> list[View]:
    """Return the photo in the ways that photos go wrong."""
    ways: dict[str, Callable[[ImageArray], ImageArray]] = {
        "mirrored": lambda image: np.ascontiguousarray(image[:, ::-1]),
        "turned by 15 degrees": lambda image: _rotate(image, 15),
        "in the dark": lambda image: (image.astype(np.float32) * 0.16).astype(np.uint8),
        "small": lambda image: _resize(image, image.shape[1] // 3, image.shape[0] // 3),
        "JPEG of quality 20": lambda image: _jpeg(image, 20),
        "small, turned and dark": lambda image: _rotate(
            _resize((image * 0.4).astype(np.uint8), image.shape[1] // 3, image.shape[0] // 3), -12
        ),
    }
    return [View(title, way(photo), person) for title, way in ways.items()]


def group_photo(rows: list[list[View]]) -> GroupPhoto:
    """Paste known and unknown people into one picture, like a class photo.

    Args:
        rows: The views of each row, from left to right; the first row is the largest.

    Returns:
        The picture, and where each view lies in it.
    """
    parts: list[ImageArray] = []
    places: list[Place] = []
    heights = [320, *[230] * (len(rows) - 1)]
    tiles = [
        [_fit(view.image, height) for view in row]
        for row, height in zip(rows, heights, strict=True)
    ]
    width = max(sum(tile.shape[1] + _GAP for tile in row) for row in tiles) + _GAP
    y = _GAP
    for row, shown in zip(tiles, rows, strict=True):
        x = (width - sum(tile.shape[1] + _GAP for tile in row) + _GAP) // 2
        strip = np.empty((row[0].shape[0] + _GAP, width, 3), np.uint8)
        strip[:] = _PAPER
        for tile, view in zip(row, shown, strict=True):
            strip[: tile.shape[0], x : x + tile.shape[1]] = tile
            places.append(Place((x, y, x + tile.shape[1], y + tile.shape[0]), view))
            x += tile.shape[1] + _GAP
        parts.append(strip)
        y += strip.shape[0]
    return GroupPhoto(_fill(np.concatenate(parts), _GAP, 0, 0, 0), tuple(places))


def to_jpeg(image: ImageArray, *, quality: int = 88) -> bytes:
    """Return a picture as the bytes of a JPEG file."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def thumbnail(image: ImageArray, side: int) -> ImageArray:
    """Return a picture that fits into a square of `side` pixels; never enlarged."""
    factor = min(1.0, side / max(image.shape[:2]))
    return _resize(image, round(image.shape[1] * factor), round(image.shape[0] * factor))


def _resize(image: ImageArray, width: int, height: int) -> ImageArray:
    from PIL import Image

    size = (max(1, width), max(1, height))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))


def _rotate(image: ImageArray, degrees: float) -> ImageArray:
    from PIL import Image

    turned = Image.fromarray(image).rotate(
        degrees, Image.Resampling.BICUBIC, expand=True, fillcolor=_GREY
    )
    return np.asarray(turned)


def _jpeg(image: ImageArray, quality: int) -> ImageArray:
    from limner import images

    return images.read(to_jpeg(image, quality=quality))


def _fit(image: ImageArray, height: int) -> ImageArray:
    return _resize(image, round(image.shape[1] * height / image.shape[0]), height)


def _fill(image: ImageArray, top: int, bottom: int, left: int, right: int) -> ImageArray:
    canvas = np.empty((image.shape[0] + top + bottom, image.shape[1] + left + right, 3), np.uint8)
    canvas[:] = _PAPER
    canvas[top : top + image.shape[0], left : left + image.shape[1]] = image
    return canvas
