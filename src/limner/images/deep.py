"""Pictures of more than 8 bits a channel, which Pillow clips or cuts to 8 when it converts."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from limner.errors import ImageError
from limner.images.sources import Limits

if TYPE_CHECKING:
    import PIL.Image

Samples = tuple[NDArray[np.float32], NDArray[np.float32] | None]

_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _EXTRA = 256, 257, 258, 262, 338
_OVERSHOOT = 2.0


@dataclass(frozen=True)
class Facts:
    """What a header says about the samples.

    Attributes:
        bits: Bits a channel.
        white_is_zero: The scale is turned around (TIFF photometric 0).
        premultiplied: Colours were multiplied by alpha already (TIFF associated alpha).
        told: There was a header: a picture made in memory has none, and its values tell.
    """

    bits: int = 8
    white_is_zero: bool = False
    premultiplied: bool = False
    told: bool = True


def facts(image: PIL.Image.Image) -> Facts:
    """Read `Facts` from a picture that was opened but not loaded."""
    if image.format == "TIFF":
        tags: Any = getattr(image, "tag_v2", {})
        bits = tags.get(_BITS, (8,))
        return Facts(
            bits=max(bits) if isinstance(bits, tuple) and bits else 8,
            white_is_zero=tags.get(_PHOTOMETRIC) == 0,
            premultiplied=tags.get(_EXTRA) == (1,),
        )
    if image.format == "PNG":
        tile = getattr(image, "tile", [])
        mode = tile[0][3] if tile else ""
        mode = mode[0] if isinstance(mode, tuple) else mode
        return Facts(bits=16 if isinstance(mode, str) and "16" in mode else 8)
    bits = 16 if image.mode.startswith("I") else 8
    return Facts(bits=bits, told=image.format is not None)


def samples(image: PIL.Image.Image, known: Facts, data: bytes | None) -> Samples | None:
    """Return a loaded picture's samples at full depth, or None where it has 8 bits.

    Args:
        image: Loaded: a damaged file was refused by then.
        known: What its header said.
        data: The file, where there is one.

    Returns:
        Colours, shape (H, W, 3), and alpha, shape (H, W, 1) or None; both in [0, 1].
    """
    if image.mode == "F":
        return _grey(_unit_float(np.asarray(image, dtype=np.float32))), None
    if image.mode == "I":
        return _grey(_unit_integer(np.asarray(image), known)), None
    if image.mode.startswith("I;16"):
        top = 2 ** min(known.bits, 16) - 1 if known.bits > 8 else 65535
        values = np.asarray(image)
        top = top if known.told else _top_of(values)
        grey = np.clip(values.astype(np.float32) / np.float32(top), 0, 1)
        return _grey(1 - grey if known.white_is_zero else grey), None
    if known.bits <= 8 or data is None or image.mode not in ("RGB", "RGBA", "RGBa", "LA", "La"):
        return None
    plain = _plain_png(data) if image.format == "PNG" else data
    found = None if plain is None else _by_opencv(plain)
    if found is None or found.shape[:2] != (image.height, image.width):
        return None
    return _split(found, premultiplied=known.premultiplied)


def is_unknown_mode(error: ImageError) -> bool:
    """Tell whether Pillow refused a file only because it lacks a mode for its samples."""
    cause = error.__cause__
    return isinstance(cause, SyntaxError) and "unknown pixel mode" in str(cause)


def rare_tiff(data: bytes, limits: Limits, name: str) -> NDArray[np.float32]:
    """Read a TIFF that Pillow has no mode for: floating-point colours, some 16-bit greys.

    Returns:
        Shape (H, W, 3), float32 in [0, 1]; transparency lies on white.

    Raises:
        ImageError: If OpenCV cannot read it either, or it is outside the limits.
    """
    from PIL import TiffImagePlugin

    unreadable = ImageError(f"{name} cannot be read: its kind of TIFF samples is not supported.")
    try:
        stream = io.BytesIO(data)
        tags = TiffImagePlugin.ImageFileDirectory_v2(stream.read(8))
        stream.seek(tags.next)
        tags.load(stream)
        size = int(tags[_WIDTH]), int(tags[_HEIGHT])
    except Exception as error:
        raise unreadable from error
    limits.check_pixels(*size, name)
    found = _by_opencv(data)
    if found is None or (found.ndim == 3 and found.shape[2] not in (3, 4)):
        raise unreadable
    rgb, alpha = _split(found, premultiplied=tags.get(_EXTRA) == (1,))
    if found.ndim == 2 and tags.get(_PHOTOMETRIC) == 0:
        return np.subtract(1, rgb, dtype=np.float32)
    return rgb if alpha is None else rgb * alpha + (1 - alpha)


def _plain_png(data: bytes) -> bytes | None:
    """Return a PNG of its critical chunks and colour key alone; None if one reaches too far.

    OpenCV sets aside as many bytes as a chunk claims to have, which may be 4 GB in a file of
    a hundred.
    """
    parts, at = [data[:8]], 8
    while at + 12 <= len(data):
        kind = data[at + 4 : at + 8]
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if end > len(data):
            return None
        if kind in (b"IHDR", b"IDAT", b"IEND", b"tRNS"):
            parts.append(data[at:end])
        if kind == b"IEND":
            return b"".join(parts)
        at = end
    return None


def _by_opencv(data: bytes) -> NDArray[Any] | None:
    import cv2

    try:
        found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    if found is None or found.dtype not in (np.uint16, np.float32, np.float64):
        return None
    return np.asarray(found)


def _split(found: NDArray[Any], *, premultiplied: bool) -> Samples:
    unit = (
        found.astype(np.float32) / np.float32(65535)
        if found.dtype == np.uint16
        else _unit_float(found.astype(np.float32))
    )
    if unit.ndim == 2:
        return _grey(unit), None
    rgb = np.ascontiguousarray(unit[..., 2::-1])  # OpenCV's order is blue, green, red
    if unit.shape[2] < 4:
        return rgb, None
    alpha = unit[..., 3:]
    if premultiplied:
        rgb = np.clip(np.divide(rgb, alpha, out=np.zeros_like(rgb), where=alpha > 0), 0, 1)
    return rgb, alpha


def _grey(unit: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.repeat(unit[..., None], 3, axis=2)


def _unit_float(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale floats to [0, 1]: by 1, 255 or 65535, the least of them that holds the largest.

    Up to 2 counts as 1: resampling overshoots. What is not a number becomes 0.
    """
    values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    top = float(values.max(initial=0.0))
    scale = 1.0 if top <= _OVERSHOOT else 255.0 if top <= 255 else 65535.0
    unit: NDArray[np.float32] = np.clip(values / np.float32(scale), 0, 1)
    return unit


def _top_of(values: NDArray[Any]) -> int:
    """Return what white is among integers without a header: 255 where none is larger.

    ``convert("I")`` keeps the values 0..255 of an 8-bit picture.
    """
    return 255 if values.max(initial=0) <= 255 else 65535


def _unit_integer(values: NDArray[Any], known: Facts) -> NDArray[np.float32]:
    if known.bits == 32:
        scaled = values.astype(np.uint32, copy=False) / np.float64(2**32 - 1)
    else:
        scaled = values / np.float64(65535 if known.told else _top_of(values))
    grey: NDArray[np.float32] = np.clip(scaled, 0, 1).astype(np.float32)
    return np.subtract(1, grey, dtype=np.float32) if known.white_is_zero else grey
