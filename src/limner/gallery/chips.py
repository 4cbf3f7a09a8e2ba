"""Kept chips: a face with a margin, as PNG, so that another embedder can read it later.

Embedders cut their chips differently. What is kept is therefore not an embedder's own chip
but the surroundings that all of them cut from.
"""

from __future__ import annotations

import io

import numpy as np

from limner.errors import ShapeError
from limner.types import BoxXYXY, ImageArray

MARGIN = 0.6
MAX_SIDE_PX = 512


def cut_surroundings(image: ImageArray, box_xyxy: BoxXYXY) -> ImageArray:
    """Return a face with a margin of 0.6 of its box on each side, at most 512 px large.

    Args:
        image: The upright photo, (H, W, 3), uint8 RGB.
        box_xyxy: The face's box.

    Returns:
        (h, w, 3), uint8 RGB: the part that lies in the photo, reduced if it is larger.
    """
    x0, y0, x1, y1 = box_xyxy
    margin = MARGIN * max(x1 - x0, y1 - y0)
    height, width = image.shape[:2]
    left, top = max(0, int(x0 - margin)), max(0, int(y0 - margin))
    right, bottom = min(width, round(x1 + margin)), min(height, round(y1 + margin))
    part = image[top : max(bottom, top + 1), left : max(right, left + 1)]
    longest = max(part.shape[:2])
    if longest <= MAX_SIDE_PX:
        return np.ascontiguousarray(part)
    from PIL import Image

    scale = MAX_SIDE_PX / longest
    size = (max(1, round(part.shape[1] * scale)), max(1, round(part.shape[0] * scale)))
    picture = Image.fromarray(np.ascontiguousarray(part))
    return np.asarray(picture.resize(size, Image.Resampling.LANCZOS), dtype=np.uint8)


def encode_chip(chip: ImageArray) -> bytes:
    """Return a chip as PNG.

    Args:
        chip: (H, W, 3), uint8 RGB.

    Raises:
        ShapeError: If it is not a picture.
    """
    array = np.asarray(chip)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or array.size == 0:
        raise ShapeError(
            f"a chip must be uint8 of shape (H, W, 3), got {array.dtype} of shape {array.shape}."
        )
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(array)).save(buffer, "PNG")
    return buffer.getvalue()
