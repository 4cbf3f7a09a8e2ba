"""Bytes to pixels: one door for every file type, and one error for all that can go wrong."""

from __future__ import annotations

import importlib
import io
import re
import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from limner.errors import ImageError
from limner.images import deep, kinds, memory, raw
from limner.images.bounds import check_cost
from limner.images.colour import onto_white, to_srgb, to_srgb_float
from limner.images.sources import Limits, printable

if TYPE_CHECKING:
    import PIL.Image

Pixels = NDArray[np.uint8] | NDArray[np.float32]

_HEIF = ("pillow_heif.as_plugin", "HeifImageFile")
_AVIF = ("PIL.AvifImagePlugin", "AvifImageFile")
_PNM = ("PIL.PpmImagePlugin", "PpmImageFile")
_TIFF = ("PIL.TiffImagePlugin", "TiffImageFile")
_SIGNATURES: tuple[tuple[bytes, tuple[str, str]], ...] = (
    (b"\xff\xd8\xff", ("PIL.JpegImagePlugin", "JpegImageFile")),
    (b"\x89PNG\r\n\x1a\n", ("PIL.PngImagePlugin", "PngImageFile")),
    (b"GIF87a", ("PIL.GifImagePlugin", "GifImageFile")),
    (b"GIF89a", ("PIL.GifImagePlugin", "GifImageFile")),
    (b"BM", ("PIL.BmpImagePlugin", "BmpImageFile")),
    (b"II*\0", _TIFF),
    (b"MM\0*", _TIFF),
    (b"II+\0", _TIFF),
    (b"MM\0+", _TIFF),
    (b"\0\0\0\x0cjP  \r\n\x87\n", ("PIL.Jpeg2KImagePlugin", "Jpeg2KImageFile")),
    *((b"P%d" % k + space, _PNM) for k in range(1, 7) for space in (b" ", b"\n", b"\t", b"\r")),
)
# 0xFF inside a scan is followed by 0 or is a restart marker (0xFFD0 to 0xFFD7).
_STRAY_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7]")
KNOWN = "JPEG, PNG, WebP, BMP, TIFF, GIF, HEIC, AVIF, JPEG 2000 or PNM"

_ORIENTATION = 0x0112

# Pillow warns above 89 million pixels, which the default limit allows; only there is the
# (process-wide) warning filter touched, by one thread at a time.
_GIANT_PIXELS = 80_000_000
_giant_lock = threading.Lock()

GIANT_PIXELS = 100_000_000
"""Pictures with more pixels are read with an eye on the memory."""
BYTES_A_PIXEL = 11
"""What decoding takes at most: Pillow's 4, the array's 3, and both again where it is turned."""
_DEEP_BYTES_A_PIXEL = 40
_BAND = 256


@contextmanager
def one_error(name: str) -> Iterator[None]:
    """Turn whatever a decoder raises into one ImageError that names the picture."""
    try:
        yield
    except ImageError:
        raise
    except MemoryError as error:
        raise ImageError(f"{name} does not fit into memory.") from error
    except Exception as error:
        reason = printable(str(error).strip().rstrip(".")) or type(error).__name__
        if "<_io.BytesIO" in reason or len(reason) > 200:
            reason = type(error).__name__
        raise ImageError(f"{name} is damaged or cut off: {reason}.") from error


@contextmanager
def _quiet_giant(pixels: int) -> Iterator[None]:
    if pixels <= _GIANT_PIXELS:
        yield
        return
    from PIL import Image

    with _giant_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield


def _opener(data: bytes) -> tuple[str, str] | None:
    for magic, opener in _SIGNATURES:
        if data.startswith(magic):
            return opener
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "PIL.WebPImagePlugin", "WebPImageFile"
    named = kinds.brands(data)
    if named & kinds.AVIF_BRANDS:
        return _AVIF
    return _HEIF if named & kinds.STILL_BRANDS else None


def open_header(data: bytes, limits: Limits, name: str) -> PIL.Image.Image:
    """Read a picture's header and hold it against the limits; no pixel is decoded.

    ``PIL.Image.open`` is gone around on purpose: it tries every format that any plugin has
    registered (EPS runs a program), and warns or raises by a process-wide pixel limit. Of a
    camera's RAW file the header is that of its preview.
    """
    found = raw.preview(data, name)
    data = data if found is None else found.data
    opener = _opener(data)
    if opener is None:
        what = kinds.no_picture(data)
        if what is not None:
            raise ImageError(f"{name} is {what}.")
        raise ImageError(f"{name} is not a picture: its content is not {KNOWN}.")
    with one_error(name):
        module, factory = opener
        image: PIL.Image.Image = getattr(importlib.import_module(module), factory)(
            io.BytesIO(data), ""
        )
        limits.check_pixels(*image.size, name)
    return image


def decode(data: bytes, limits: Limits, name: str) -> Pixels:
    """Decode a file: upright, sRGB, transparency on white.

    Args:
        data: The whole file; of a camera's RAW file the preview in it is decoded.
        limits: Checked against the header before any pixel is decoded.
        name: How the picture is called in messages.

    Returns:
        Shape (H, W, 3): uint8, or float32 in [0, 1] where the file has more than 8 bits.

    Raises:
        ImageError: If it cannot be decoded or is outside the limits.
    """
    found = raw.preview(data, name)
    stated = 1  # the orientation, where the picture itself says none
    if found is not None:
        data, stated = found.data, found.orientation
    try:
        image = open_header(data, limits, name)
    except ImageError as error:
        if deep.is_unknown_mode(error):
            return deep.rare_tiff(data, limits, name)
        raise
    with image:
        check_cost(image, data, limits, name)
        _check_memory(image, name)
        if image.format == "JPEG" and image.mode == "RGB" and "icc_profile" not in image.info:
            fast = _fast_jpeg(data, image.size)
            if fast is not None:
                return _upright(fast, orientation_of(image, stated))
        return from_pillow(image, limits, name, data=data, stated=stated)


def _check_memory(image: PIL.Image.Image, name: str) -> None:
    pixels = image.width * image.height
    if pixels > GIANT_PIXELS:
        wide = deep.facts(image).bits > 8 or image.mode == "F"
        memory.check_fits(pixels * (_DEEP_BYTES_A_PIXEL if wide else BYTES_A_PIXEL), name)


def eight_bits(pixels: Pixels) -> NDArray[np.uint8]:
    """Return decoded pixels as uint8; floating-point ones in [0, 1] are rounded."""
    if pixels.dtype == np.uint8:
        return np.asarray(pixels, dtype=np.uint8)
    rounded: NDArray[np.uint8] = np.rint(pixels * np.float32(255)).astype(np.uint8)
    return rounded


def _fast_jpeg(data: bytes, size: tuple[int, int]) -> NDArray[np.uint8] | None:
    """Decode a sound baseline JPEG by OpenCV; None leaves it to Pillow.

    Both use libjpeg-turbo and give equal pixels; OpenCV is 1.5 times as quick. It is more
    forgiving though: a scan that a stray marker cuts off is filled with grey. Such files,
    and all that do not end in an end-of-image marker, are left to Pillow, which refuses them.
    """
    if not _sound_baseline(data):
        return None
    import cv2

    try:
        rgb = cv2.imdecode(
            np.frombuffer(data, np.uint8),
            cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION,
        )
    except cv2.error:
        return None
    if rgb is None or rgb.shape != (size[1], size[0], 3) or rgb.dtype != np.uint8:
        return None
    return np.asarray(rgb, dtype=np.uint8)


def _sound_baseline(data: bytes) -> bool:
    """Tell whether it is one baseline scan, ended by EOI, with nothing but restarts inside."""
    if data[-2:] != b"\xff\xd9":
        return False
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker in (0xC2, 0xC9, 0xCA, 0xD9) or (0xC3 <= marker <= 0xCF and marker != 0xC4):
            return False
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == 0xDA:
            break
    else:
        return False
    return at < len(data) - 2 and _STRAY_MARKER.search(data, at, len(data) - 1) is None


def from_pillow(
    image: PIL.Image.Image,
    limits: Limits,
    name: str,
    *,
    data: bytes | None = None,
    stated: int = 1,
) -> Pixels:
    """Turn a Pillow image into upright sRGB pixels; the image itself is loaded, not changed.

    Args:
        image: Any mode.
        limits: Held against the image's size, unless it is loaded already.
        name: How the picture is called in messages.
        data: The file it was opened from, where there is one: Pillow keeps 8 bits of a
            16-bit colour picture, the file has the others.
        stated: EXIF orientation 1..8 where the image itself says none.

    Returns:
        Shape (H, W, 3): uint8, or float32 in [0, 1] where there are more than 8 bits.

    Raises:
        ImageError: If it cannot be decoded or is outside the limits.
    """
    if getattr(image, "tile", None) or 0 in image.size:  # not decoded yet
        limits.check_pixels(*image.size, name)
    with one_error(name), _quiet_giant(image.width * image.height):
        facts = deep.facts(image)
        image.load()
        # Pillow turns a TIFF itself, on loading
        orientation = 1 if image.format == "TIFF" else orientation_of(image, stated)
        samples = deep.samples(image, facts, data)
        profile = image.info.get("icc_profile")
        profile = profile if isinstance(profile, bytes) else None
        if samples is not None:
            rgb, alpha = samples
            shade = to_srgb_float(rgb, profile)
            if alpha is not None:
                shade = np.clip(shade * alpha + (1 - alpha), 0, 1)
            return _upright(shade, orientation)
        return _upright(_eight_bits(image, profile), orientation)


def _eight_bits(image: PIL.Image.Image, profile: bytes | None) -> NDArray[np.uint8]:
    if image.mode == "RGB" and not _keyed(image) and image.width * image.height > GIANT_PIXELS:
        out = np.empty((image.height, image.width, 3), np.uint8)
        for top in range(0, image.height, _BAND):  # a second copy of a giant is spared
            band = image.crop((0, top, image.width, min(top + _BAND, image.height)))
            out[top : top + _BAND] = np.asarray(to_srgb(band, profile))
        return out
    alpha: PIL.Image.Image | None = None
    if image.mode == "CMYK" and image.format == "JPEG" and "adobe" not in image.info:
        from PIL import ImageChops  # Pillow takes every CMYK JPEG for an inverted (Adobe) one

        image = ImageChops.invert(image)
    if image.mode in ("La", "RGBa"):
        image = image.convert({"La": "LA", "RGBa": "RGBA"}[image.mode])
    if image.mode in ("PA", "P") or (image.mode in ("1", "L", "RGB") and _keyed(image)):
        image = image.convert("RGBA" if image.mode == "PA" or _keyed(image) else "RGB")
    if image.mode in ("RGBA", "LA"):
        alpha = image.getchannel("A")
        image = image.convert(image.mode[:-1])
    elif image.mode == "1":
        image = image.convert("L")
    rgb = to_srgb(image, profile)
    if alpha is not None and alpha.getextrema() != (255, 255):
        rgb = onto_white(rgb, alpha)
    return np.array(rgb, dtype=np.uint8)


def _keyed(image: PIL.Image.Image) -> bool:
    return "transparency" in image.info


def orientation_of(image: PIL.Image.Image, stated: int = 1) -> int:
    """Return EXIF orientation 1..8; in place of a missing or broken one the `stated` one."""
    blob = image.info.get("exif")
    value: Any = stated
    if isinstance(blob, bytes):
        value = _tagged_orientation(blob, stated)
    elif image.format != "JPEG":
        try:
            value = image.getexif().get(_ORIENTATION, stated)
        except Exception:  # broken EXIF must not cost the picture
            value = stated
    return value if isinstance(value, int) and 1 <= value <= 8 else stated


def _tagged_orientation(blob: bytes, stated: int) -> int:
    """Find the orientation in an EXIF block; unlike Pillow's reader, without any warning."""
    blob = blob.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(blob[:2])
    if order is None:
        return stated
    try:
        (first,) = struct.unpack_from(order + "I", blob, 4)
        (count,) = struct.unpack_from(order + "H", blob, first)
        for k in range(count):
            tag, kind = struct.unpack_from(order + "HH", blob, first + 2 + 12 * k)
            if tag == _ORIENTATION:
                code = {1: "B", 3: "H", 4: "I"}[kind]
                return int(struct.unpack_from(order + code, blob, first + 10 + 12 * k)[0])
    except (struct.error, KeyError):
        return stated
    return stated


def _upright(pixels: Any, orientation: int) -> Pixels:
    if orientation == 1:
        return np.ascontiguousarray(pixels)
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)
