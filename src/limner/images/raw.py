"""Camera RAW files: the JPEG preview that the camera put inside is read, not the sensor's data.

Every camera stores one, as a rule of the sensor's full size, developed by the camera itself.
Developing the sensor's data would need a raw converter that follows every new camera; for
finding and comparing faces the preview serves as well.

Source: TIFF 6.0, sections 2 and 8; Adobe, DNG 1.6, chapters 3 and 4 (NewSubFileType, SubIFDs,
CFA and LinearRaw); the beginnings of ORF, RW2, RAF and CR3 as ExifTool documents them.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from limner.errors import ImageError
from limner.images.kinds import brands

RAW_SUFFIXES: frozenset[str] = frozenset(
    ".dng .nef .nrw .cr2 .cr3 .arw .sr2 .srf .orf .rw2 .raf .pef .srw .rwl .3fr .iiq .erf".split()
)
SMALLEST_PX = 512
"""A preview whose longer side is shorter than this is a thumbnail, and is not taken."""

_TIFFS = {b"II*\0": "<", b"MM\0*": ">"}
_COUSINS = {b"IIRO": "<", b"IIRS": "<", b"MMOR": ">", b"IIU\0": "<"}  # Olympus, Panasonic
_RAF = b"FUJIFILMCCD-RAW"
_CR3 = b"crx "

_COMPRESSION, _PHOTOMETRIC, _STRIPS, _ORIENTATION, _STRIP_BYTES = 259, 262, 273, 274, 279
_SUB_IFDS, _JPEG, _JPEG_BYTES, _PANASONIC_JPEG, _DNG_VERSION = 330, 513, 514, 0x2E, 50706
_SENSOR = (32803, 34892)  # PhotometricInterpretation: colour filter array, linear raw
_SENSOR_COMPRESSIONS = (32767, 32770, 34713, 65535)  # Sony, Samsung, Nikon, Pentax
_SIZES = {1: 1, 3: 2, 4: 4, 7: 1, 13: 4}
_MOST_FOLDERS, _MOST_ENTRIES, _MOST_VALUES, _MOST_TRIED = 64, 1000, 64, 64

_HEADER_BYTES = 1 << 20

_Directory = dict[int, tuple[int, ...]]


@dataclass(frozen=True)
class Preview:
    """A JPEG inside a RAW file.

    Attributes:
        data: From its first byte on; what follows its end does not matter.
        orientation: EXIF orientation 1..8 that the RAW file states for it.
    """

    data: bytes
    orientation: int


def preview(data: bytes, name: str) -> Preview | None:
    """Return the largest preview of a RAW file; None where the file is no RAW file.

    Args:
        data: The whole file.
        name: How the picture is called in messages.

    Raises:
        ImageError: If it is a RAW file without a preview that can be used.
    """
    order = _TIFFS.get(data[:4]) or _COUSINS.get(data[:4])
    orientation, starts = 1, []
    if order is not None:
        directories = list(_directories(data, order))
        if data[:4] in _TIFFS and not _holds_sensor_data(data, directories):
            return None
        orientation = next((d[_ORIENTATION][0] for d in directories if _ORIENTATION in d), 1)
        starts = [start for d in directories for start in _jpegs(d)]
    elif data.startswith(_RAF):
        starts = [int.from_bytes(data[84:88], "big")]
    elif _CR3 not in brands(data):
        return None
    best = _largest(data, starts) or _largest(data, _scan(data))
    if best is None or max(best[1]) < SMALLEST_PX:
        size = f"only one of {best[1][0]} x {best[1][1]} pixels" if best else "none"
        raise ImageError(
            f"{name} is a RAW file, of which limner reads the JPEG preview, and it has {size}: "
            "develop it to JPEG or TIFF first."
        )
    return Preview(data[best[0] :], orientation if 1 <= orientation <= 8 else 1)


def _holds_sensor_data(data: bytes, directories: list[_Directory]) -> bool:
    if data[8:10] == b"CR":  # Canon CR2
        return True
    return any(
        _DNG_VERSION in d
        or d.get(_PHOTOMETRIC, (0,))[0] in _SENSOR
        or d.get(_COMPRESSION, (0,))[0] in _SENSOR_COMPRESSIONS
        for d in directories
    )


def _directories(data: bytes, order: str) -> Iterator[_Directory]:
    """Yield the image file directories of a TIFF, each once; what is broken ends them."""
    try:
        waiting = [struct.unpack_from(order + "I", data, 4)[0]]
    except struct.error:
        return
    seen: set[int] = set()
    while waiting and len(seen) < _MOST_FOLDERS:
        at = waiting.pop(0)
        if at in seen or not 8 <= at < len(data):
            continue
        seen.add(at)
        try:
            (count,) = struct.unpack_from(order + "H", data, at)
            directory = _directory(data, order, at + 2, min(count, _MOST_ENTRIES))
            (following,) = struct.unpack_from(order + "I", data, at + 2 + 12 * count)
        except struct.error:
            continue
        waiting += [*directory.get(_SUB_IFDS, ()), following]
        yield directory


def _directory(data: bytes, order: str, at: int, count: int) -> _Directory:
    """Return the whole numbers of a directory; bytes (type 7) stand for where they begin."""
    found: _Directory = {}
    for entry in range(at, at + 12 * count, 12):
        tag, kind, number, inline = struct.unpack_from(order + "HHII", data, entry)
        size = _SIZES.get(kind)
        if size is None or not number:
            continue
        place = entry + 8 if size * number <= 4 else inline
        if kind == 7:
            found[tag] = (place, number)
            continue
        letter = {1: "B", 2: "H", 4: "I"}[size]
        shown = min(number, _MOST_VALUES)
        if place + size * shown <= len(data):
            found[tag] = struct.unpack_from(f"{order}{shown}{letter}", data, place)
    return found


def _jpegs(directory: _Directory) -> Iterator[int]:
    """Yield where a directory says that a JPEG begins."""
    if _JPEG in directory:
        yield directory[_JPEG][0]
    if _PANASONIC_JPEG in directory:
        yield directory[_PANASONIC_JPEG][0]
    strips = directory.get(_STRIPS, ())
    if directory.get(_COMPRESSION, (0,))[0] in (6, 7) and len(strips) == 1:
        yield strips[0]


def _scan(data: bytes) -> list[int]:
    """Return where a JPEG may begin, for files that do not say it where it is understood."""
    found: list[int] = []
    at = data.find(b"\xff\xd8\xff")
    while at >= 0 and len(found) < _MOST_TRIED:
        found.append(at)
        at = data.find(b"\xff\xd8\xff", at + 3)
    return found


def _largest(data: bytes, starts: list[int]) -> tuple[int, tuple[int, int]] | None:
    """Return start and size of the largest JPEG that can be decoded; None where there is none."""
    from PIL import JpegImagePlugin

    best: tuple[int, tuple[int, int]] | None = None
    for start in starts:
        if not 0 < start < len(data) or data[start : start + 3] != b"\xff\xd8\xff":
            continue
        try:
            header = io.BytesIO(data[start : start + _HEADER_BYTES])
            with JpegImagePlugin.JpegImageFile(header, "") as image:
                size = image.size
        except Exception:  # sensor data in a lossless JPEG, or no JPEG at all
            continue
        if best is None or size[0] * size[1] > best[1][0] * best[1][1]:
            best = (start, size)
    return best
