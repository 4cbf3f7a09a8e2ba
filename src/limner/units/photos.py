"""From a photo to the square that a network reads, and from its pixels back to the photo."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from limner.errors import InputError
from limner.types import BoxXYXY, ImageArray

if TYPE_CHECKING:
    from limner.images.sources import Source

_HATCH = (196, 222)  # two greys in stripes: no photo looks so, on white or on black
_BITS = 8  # rows and columns of the fingerprint
NEAR_BITS = 10  # of 128: copies that were scaled or saved again differ in fewer
NEAR_COLOUR = 14.0
_FLAT = 6.0  # deviation of the small picture below which it has no pattern to compare


@dataclass(frozen=True)
class Framed:
    """A photo as the network reads it.

    Attributes:
        pixels: Shape (S, S, 3), uint8 RGB.
        region_xyxy: The square of the upright photo that they show, in its pixels.
        photo_hw: Height and width of the photo.
    """

    pixels: ImageArray
    region_xyxy: BoxXYXY
    photo_hw: tuple[int, int]


def frame_photo(
    source: Source | ImageArray, size_px: int, region_xyxy: BoxXYXY | None = None
) -> Framed:
    """Read a photo, cut a square out of it and bring it to the network's size.

    Args:
        source: As for `limner.images.read`.
        size_px: Side that comes out.
        region_xyxy: Which part; may reach beyond the photo, where stripes stand for nothing.
            None for the largest square in the middle.

    Raises:
        ImageError: If it is not a readable picture.
    """
    from limner import images

    image = images.read(source)
    height, width = image.shape[:2]
    if region_xyxy is None:
        side = min(height, width)
        x0, y0 = (width - side) / 2, (height - side) / 2
        region_xyxy = (x0, y0, x0 + side, y0 + side)
    pixels = cut(image, region_xyxy, size_px, size_px)
    return Framed(pixels, region_xyxy, (height, width))


def to_photo(box_xyxy: BoxXYXY, region_xyxy: BoxXYXY, size_px: int) -> BoxXYXY:
    """Return a box in pixels of the network's square as a box in pixels of the photo."""
    rx0, ry0, rx1, ry1 = region_xyxy
    sx, sy = (rx1 - rx0) / size_px, (ry1 - ry0) / size_px
    x0, y0, x1, y1 = box_xyxy
    return rx0 + x0 * sx, ry0 + y0 * sy, rx0 + x1 * sx, ry0 + y1 * sy


def hatch(height: int, width: int) -> ImageArray:
    """Return the stripes that stand for what is no part of a picture."""
    y, x = np.mgrid[:height, :width]
    stripes = np.where((x + y) // 4 % 2, *_HATCH).astype(np.uint8)
    return np.repeat(stripes[..., None], 3, axis=2)


def cut(
    image: ImageArray,
    box_xyxy: BoxXYXY,
    height: int,
    width: int,
    *,
    within_xyxy: BoxXYXY | None = None,
) -> ImageArray:
    """Return a box of a picture at a size, stripes where the picture ends.

    Args:
        image: Shape (H, W, 3), uint8 RGB.
        box_xyxy: Pixels, not necessarily whole; may reach beyond the picture.
        height: Of the result.
        width: Of the result.
        within_xyxy: The part of the picture that counts as there; None for all of it.

    Returns:
        Shape (height, width, 3); a whole box at its own size comes back unchanged.

    Raises:
        InputError: If the box is empty.
    """
    from PIL import Image

    x0, y0, x1, y1 = box_xyxy
    if not (x1 > x0 and y1 > y0):
        raise InputError(f"a box needs x1 > x0 and y1 > y0, got {box_xyxy}.")
    ix0, iy0, ix1, iy1 = within_xyxy or (0.0, 0.0, float(image.shape[1]), float(image.shape[0]))
    cx0, cy0 = max(x0, ix0, 0.0), max(y0, iy0, 0.0)
    cx1, cy1 = min(x1, ix1, float(image.shape[1])), min(y1, iy1, float(image.shape[0]))
    result = hatch(height, width)
    if cx1 <= cx0 or cy1 <= cy0:
        return result
    sx, sy = width / (x1 - x0), height / (y1 - y0)
    left, top = round((cx0 - x0) * sx), round((cy0 - y0) * sy)
    right = max(left + 1, round((cx1 - x0) * sx))
    bottom = max(top + 1, round((cy1 - y0) * sy))
    left, top = min(left, width - 1), min(top, height - 1)
    shape = (min(right, width) - left, min(bottom, height) - top)
    enlarge = sx > 4
    way = Image.Resampling.NEAREST if enlarge else Image.Resampling.BICUBIC
    part = Image.fromarray(image).resize(shape, way, box=(cx0, cy0, cx1, cy1))
    result[top : top + shape[1], left : left + shape[0]] = np.asarray(part)
    return result


def fingerprint(pixels: ImageArray) -> NDArray[np.uint8]:
    """Return what near-duplicates of a picture share.

    Source: the difference hash of N. Krawetz (2013), along rows and along columns.

    Args:
        pixels: Shape (S, S, 3), uint8 RGB.

    Returns:
        Shape (20,): 16 bytes of bits, the mean of each colour, and whether the picture is
        too flat to have a pattern.
    """
    from PIL import Image

    picture = Image.fromarray(pixels)
    grey = picture.convert("L")
    across = np.asarray(grey.resize((_BITS + 1, _BITS), Image.Resampling.BOX), np.int16)
    down = np.asarray(grey.resize((_BITS, _BITS + 1), Image.Resampling.BOX), np.int16)
    bits = np.concatenate(
        [(across[:, 1:] > across[:, :-1]).ravel(), (down[1:] > down[:-1]).ravel()]
    )
    colour = pixels.reshape(-1, 3).mean(axis=0).astype(np.uint8)
    flat = np.uint8(across.std() < _FLAT)
    return np.concatenate([np.packbits(bits), colour, [flat]]).astype(np.uint8)


def group_of(new: NDArray[np.uint8], known: NDArray[np.uint8]) -> int:
    """Return the first picture that a new one nearly duplicates, or its own number.

    Args:
        new: A fingerprint.
        known: Shape (N, 20), the fingerprints of the pictures before it.
    """
    if not len(known):
        return 0
    colour = np.abs(known[:, 16:19].astype(int) - new[16:19].astype(int)).max(axis=1)
    bits = np.unpackbits(known[:, :16] ^ new[:16], axis=1).sum(axis=1)
    limit = np.where((known[:, 19] | new[19]) > 0, -1, NEAR_BITS)
    same = (known == new).all(axis=1) | ((bits <= limit) & (colour <= NEAR_COLOUR))
    found = np.flatnonzero(same)
    return int(found[0]) if len(found) else len(known)


def classes_of(paths: list[Path], folder: Path | None) -> list[str]:
    """Return each photo's class: the folder it lies in, below the folder that was given.

    Photos that lie in the folder itself are classed by their names, `n01440764_tench.jpg` as
    `n01440764_tench`, without a number at the end: `Ada_0003.jpg` as `Ada`.
    """
    import re

    found = []
    for path in paths:
        inside = path.parent != folder
        found.append(path.parent.name if inside else re.sub(r"[-_ ]*\d+$", "", path.stem) or "?")
    return found
