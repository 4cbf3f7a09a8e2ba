"""A painted picture to a file: 8 or 16 bits, alpha, date and provenance with it."""

from __future__ import annotations

import io
import json
import struct
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from limner.errors import ImageError, InputError
from limner.style.checkpoint import write_whole
from limner.style.provenance import _ASCII, _DESCRIPTION, _EXIF_IFD, _USER_COMMENT, beside
from limner.types import FloatArray

if TYPE_CHECKING:
    from limner.images.sources import Source

Bits = Literal[8, 16]
_KINDS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}
_ORIGINAL_DATE, _DATE = 0x9003, 0x0132


@dataclass(frozen=True, eq=False)
class Keepsakes:
    """What a content file has beside its colours, and a painted picture keeps.

    Attributes:
        alpha: Shape (H, W), float32, 0 transparent to 1 opaque; None where all is opaque.
        date: When the photo was taken, as EXIF writes it; empty if unknown.
    """

    alpha: FloatArray | None = None
    date: str = ""


def keepsakes(content: Source) -> Keepsakes:
    """Read alpha and date of a content file; of anything but a file path, nothing.

    Raises:
        ImageError: If it cannot be read.
    """
    from limner.images import Limits
    from limner.images.decoding import one_error, open_header
    from limner.images.sources import load_bytes

    if not isinstance(content, str | Path):
        return Keepsakes()
    from PIL import ImageOps

    name, limits = str(content), Limits.default()
    with (
        one_error(name),
        open_header(load_bytes(content, limits, name), limits, name) as image,
    ):
        exif = image.getexif()
        date = str(exif.get_ifd(_EXIF_IFD).get(_ORIGINAL_DATE) or exif.get(_DATE) or "")
        if not image.has_transparency_data:
            return Keepsakes(None, date)
        image.load()
        upright: Any = ImageOps.exif_transpose(image)
        alpha = np.asarray(upright.convert("RGBA").getchannel("A"), dtype=np.float32) / np.float32(
            255
        )
    return Keepsakes(None if alpha.min() >= 1 else alpha, date)


def check_target(path: str | Path, *, bits: int = 8) -> None:
    """Refuse a file name that a picture cannot be written to, before hours of work.

    Raises:
        InputError: If the suffix, the number of bits or the folder does not do.
    """
    path = Path(path)
    kind = _KINDS.get(path.suffix.lower())
    if kind is None:
        raise InputError(
            f"{path} cannot be written: its suffix is {path.suffix!r}, allowed are "
            f"{', '.join(_KINDS)}."
        )
    if bits not in (8, 16) or (bits == 16 and kind not in ("PNG", "TIFF")):
        raise InputError(f"bits must be 8, or 16 for PNG and TIFF, got {bits} for {path.suffix}.")
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise InputError(f"{path} cannot be written: its folder does not exist, or it is a folder.")


def save(
    path: str | Path,
    pixels: FloatArray,
    provenance: dict[str, Any],
    *,
    kept: Keepsakes | None = None,
    bits: Bits = 8,
    quality: int = 95,
) -> None:
    """Write a picture with its provenance inside, and a JSON file beside it.

    Colours are sRGB and the file says so. Alpha is scaled to the picture; JPEG has none and
    gets the picture as painted.

    Args:
        path: Ends in .png, .jpg, .jpeg, .webp, .tif or .tiff.
        pixels: Shape (H, W, 3), float32 in [0, 1].
        provenance: JSON values.
        kept: From the content.
        bits: A channel: 8, or 16 for PNG and TIFF.
        quality: 1 to 100, for JPEG and WebP.

    Raises:
        InputError: If it cannot be written.
    """
    path = Path(path)
    check_target(path, bits=bits)
    if isinstance(quality, bool) or not isinstance(quality, int) or not 1 <= quality <= 100:
        raise InputError(f"quality must be a whole number from 1 to 100, got {quality!r}.")
    kept = kept or Keepsakes()
    kind = _KINDS[path.suffix.lower()]
    text = json.dumps(provenance)  # ASCII
    samples = _samples(pixels, kept, kind, bits)
    if kind == "PNG":
        data = _png(samples, text, kept.date)
    elif kind == "TIFF":
        data = _tiff(samples, text, kept.date)
    else:
        data = _pillow(samples, kind, text, kept.date, quality)
    write_whole(path, data)
    write_whole(beside(path), json.dumps(provenance, indent=2).encode())


def save_somewhere(path: str | Path, *args: Any, **options: Any) -> Path:
    """Do what `save` does; where the disk refuses, in the temporary or the home folder instead.

    Returns:
        Where the picture lies.

    Raises:
        InputError: If no folder takes it.
    """
    path = Path(path)
    try:
        save(path, *args, **options)
        return path
    except InputError:
        for folder in (Path(tempfile.gettempdir()), Path.home()):
            other = folder / path.name
            if other != path.absolute() and not other.exists():
                try:
                    save(other, *args, **options)
                    return other
                except InputError:
                    continue
        raise


def _samples(pixels: FloatArray, kept: Keepsakes, kind: str, bits: int) -> NDArray[Any]:
    """Return whole numbers, with alpha as a fourth channel where there is one."""
    if pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ImageError(f"A picture must have shape (H, W, 3), got {pixels.shape}.")
    channels = pixels
    if kept.alpha is not None and kind != "JPEG":
        import cv2

        height, width = pixels.shape[:2]
        alpha = cv2.resize(kept.alpha, (width, height), interpolation=cv2.INTER_AREA)
        channels = np.concatenate([pixels, alpha[..., None]], axis=2)
    top = 65535 if bits == 16 else 255
    whole = np.rint(np.clip(channels, 0, 1) * np.float32(top))
    samples: NDArray[Any] = whole.astype(np.uint16 if bits == 16 else np.uint8)
    return samples


def _png(samples: NDArray[Any], text: str, date: str) -> bytes:
    import cv2

    order = [2, 1, 0, 3][: samples.shape[2]]
    done, buffer = cv2.imencode(".png", np.ascontiguousarray(samples[..., order]))
    if not done:
        raise ImageError("The picture could not be encoded as PNG.")
    data = bytes(buffer)
    note = b"limner\0\1\0\0\0" + zlib.compress(text.encode("ascii"))
    chunks = _chunk(b"sRGB", b"\0") + _chunk(b"iTXt", note)
    if date:
        chunks += _chunk(b"eXIf", _exif(date).tobytes().removeprefix(b"Exif\0\0"))
    after_header = 8 + 25
    return data[:after_header] + chunks + data[after_header:]


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _exif(date: str, text: str = "") -> Any:
    from PIL import Image

    exif = Image.Exif()
    inner = exif.get_ifd(_EXIF_IFD)
    if date:
        inner[_ORIGINAL_DATE] = date
    if text:
        inner[_USER_COMMENT] = _ASCII + text.encode("ascii")
    return exif


def _pillow(samples: NDArray[Any], kind: str, text: str, date: str, quality: int) -> bytes:
    from PIL import Image, ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    chosen: dict[str, Any] = {"exif": _exif(date, text), "icc_profile": profile}
    chosen |= {"quality": quality}
    if kind == "JPEG":
        chosen["subsampling"] = 0 if quality >= 90 else 2
    else:
        chosen["lossless"] = quality == 100
    buffer = io.BytesIO()
    try:
        Image.fromarray(np.ascontiguousarray(samples)).save(buffer, kind, **chosen)
    except (ValueError, OSError) as error:
        raise InputError(f"The picture cannot be written as {kind}: {error}.") from error
    return buffer.getvalue()


def _tiff(samples: NDArray[Any], text: str, date: str) -> bytes:
    """Return a TIFF of one deflated strip, little-endian, 8 or 16 bits, with or without alpha."""
    height, width, channels = samples.shape
    little = samples.astype(samples.dtype.newbyteorder("<"))
    strip = zlib.compress(little.tobytes())
    bits = samples.dtype.itemsize * 8
    words = {"H": 3, "I": 4}
    entries: list[tuple[int, int, int, bytes]] = []

    def put(tag: int, letter: str, *values: int) -> None:
        packed = struct.pack(f"<{len(values)}{letter}", *values)
        entries.append((tag, words[letter], len(values), packed))

    def put_text(tag: int, value: str) -> None:
        packed = value.encode("ascii", "replace") + b"\0"
        entries.append((tag, 2, len(packed), packed))

    put(256, "I", width)
    put(257, "I", height)
    put(258, "H", *[bits] * channels)
    put(259, "H", 8)  # deflate
    put(262, "H", 2)  # RGB
    put_text(_DESCRIPTION, text)
    put(273, "I", 8)  # the strip follows the header
    put(277, "H", channels)
    put(278, "I", height)
    put(279, "I", len(strip))
    put(284, "H", 1)
    if date:
        put_text(_DATE, date)
    if channels == 4:
        put(338, "H", 2)  # alpha that the colours are not multiplied by
    place = 8 + len(strip) + len(strip) % 2
    beyond = place + 2 + 12 * len(entries) + 4
    table, tail = struct.pack("<H", len(entries)), b""
    for tag, word, count, packed in entries:
        table += struct.pack("<HHI", tag, word, count)
        if len(packed) <= 4:
            table += packed.ljust(4, b"\0")
        else:
            table += struct.pack("<I", beyond + len(tail))
            tail += packed + b"\0" * (len(packed) % 2)
    header = struct.pack("<2sHI", b"II", 42, place)
    return header + strip + b"\0" * (len(strip) % 2) + table + struct.pack("<I", 0) + tail
