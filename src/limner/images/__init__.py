"""Pictures in and out.

`read` takes anything that holds one picture and gives it back upright, in sRGB, as ``uint8``
RGB of shape (H, W, 3); `read_float` does the same as ``float32`` in [0, 1] and keeps what a
16-bit or floating-point file has beyond 8 bits. Whatever is wrong with a file is one
`ImageError` that names it.

Rules: EXIF orientation is applied; an ICC profile is converted to sRGB, a broken one ignored;
transparency lies on white; of a camera's RAW file the preview is read, of several frames or
pages the first; limits are checked before anything is decoded. Values of 16 bits are scaled
(v / 65535), never clipped; in a Pillow image that was made in memory and has no value above 255,
they count as 8 bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from limner.errors import ImageError
from limner.images.decoding import decode, eight_bits, from_pillow
from limner.images.files import write
from limner.images.folders import PHOTO_SUFFIXES, Listing, list_photos, scan_folder
from limner.images.sources import Limits, describe, is_pillow, load_bytes
from limner.types import FloatArray, ImageArray

if TYPE_CHECKING:
    from limner.images.sources import Source

__all__ = [
    "PHOTO_SUFFIXES",
    "Limits",
    "Listing",
    "describe",
    "list_photos",
    "read",
    "read_float",
    "scan_folder",
    "write",
]


def read(source: Source, *, limits: Limits | None = None) -> ImageArray:
    """Read a picture as 8-bit RGB.

    Args:
        source: A path, the bytes of a file, a binary file object (read from where it stands),
            a Pillow image, or an array: uint8 of shape (H, W), (H, W, 1), (H, W, 3) RGB or
            (H, W, 4) RGB and alpha. An RGB array comes back as it is, without a copy.
        limits: The most bytes and pixels that are decoded; default: `Limits.default`.

    Returns:
        Shape (H, W, 3), uint8, RGB (sRGB), upright.

    Raises:
        ImageError: If it is not a readable picture or exceeds the limits.
    """
    return eight_bits(_pixels(source, limits, depths=(np.uint8,)))


def read_float(source: Source, *, limits: Limits | None = None) -> FloatArray:
    """Read a picture as floating-point RGB, with all the depth that it has.

    Args:
        source: As for `read`; an array may also be uint16, or float32/float64 in [0, 1].
        limits: The most bytes and pixels that are decoded; default: `Limits.default`.

    Returns:
        Shape (H, W, 3), float32 in [0, 1], RGB (sRGB, not linear light), upright.

    Raises:
        ImageError: If it is not a readable picture or exceeds the limits.
    """
    pixels = _pixels(source, limits, depths=(np.uint8, np.uint16, np.float32, np.float64))
    if pixels.dtype == np.uint8:
        return pixels.astype(np.float32) / np.float32(255)
    return np.asarray(pixels, dtype=np.float32)


def _pixels(
    source: Source, limits: Limits | None, *, depths: tuple[type[Any], ...]
) -> NDArray[np.uint8] | NDArray[np.float32]:
    name = describe(source)
    if isinstance(source, np.ndarray):
        return _from_array(source, name, depths)
    limits = Limits.default() if limits is None else limits
    if is_pillow(source):
        return from_pillow(source, limits, name)  # type: ignore[arg-type]
    return decode(load_bytes(source, limits, name), limits, name)


def _from_array(
    array: NDArray[Any], name: str, depths: tuple[type[Any], ...]
) -> NDArray[np.uint8] | NDArray[np.float32]:
    if array.dtype not in depths or array.ndim not in (2, 3):
        kinds = ", ".join(np.dtype(d).name for d in depths)
        raise ImageError(
            f"{name} is not a picture: an array must be {kinds} of shape (H, W), (H, W, 3) "
            "or (H, W, 4)."
        )
    channels = 1 if array.ndim == 2 else array.shape[2]
    if channels not in (1, 3, 4):
        raise ImageError(f"{name} has {channels} channels; allowed are 1, 3 (RGB) and 4 (RGBA).")
    if not array.size:
        raise ImageError(f"{name} has no pixels: its size is {array.shape[1]} x {array.shape[0]}.")
    unit: NDArray[Any] = array
    if array.dtype == np.uint16:
        unit = array.astype(np.float32) / np.float32(65535)
    elif array.dtype != np.uint8:
        unit = np.asarray(array, dtype=np.float32)
        if not (np.isfinite(unit).all() and unit.min() >= 0 and unit.max() <= 1):
            raise ImageError(f"{name} has values outside [0, 1], where a float array must lie.")
    if channels == 4:
        scale = np.float32(255 if unit.dtype == np.uint8 else 1)
        alpha = unit[..., 3:] / scale
        white = unit[..., :3] * alpha + scale * (1 - alpha)
        unit = np.rint(white).astype(np.uint8) if unit.dtype == np.uint8 else white
    elif channels == 1:
        unit = np.repeat(unit.reshape(unit.shape[0], unit.shape[1], 1), 3, axis=2)
    return np.ascontiguousarray(unit)
