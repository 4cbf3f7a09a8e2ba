"""What a picture would cost to decode, known before it is decoded.

A file's size and its pixels do not say it all: a progressive JPEG may go over all its pixels again
with every 75 bytes, and a pixel may have from one bit to sixteen bytes.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from limner.errors import ImageError
from limner.images import deep

if TYPE_CHECKING:
    import PIL.Image

    from limner.images.sources import Limits

MAX_SCANS = 100
"""Most scans of a JPEG: encoders write about ten, and one for each of 64 coefficients at most."""

_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")
_START_OF_SCAN = b"\xff\xda"


def check_cost(image: PIL.Image.Image, data: bytes, limits: Limits, name: str) -> None:
    """Refuse a picture that would take too long, or too much memory.

    Args:
        image: Opened, not loaded.
        data: Its file.
        limits: The most bytes that it may have when it is decoded.
        name: How the picture is called in messages.

    Raises:
        ImageError: If it does.
    """
    if image.format in ("JPEG", "MPO"):
        scans = count_scans(data)
        if scans > MAX_SCANS:
            raise ImageError(
                f"{name} is a JPEG of {scans:,} scans; at most {MAX_SCANS} are decoded. "
                "Save it anew with any program."
            )
    bands = max(3, len(image.getbands()))
    needed = image.width * image.height * bands * (1 if deep.facts(image).bits <= 8 else 2)
    if needed > limits.max_decoded_bytes:
        raise ImageError(
            f"{name} would have {needed:,} bytes when it is decoded; at most "
            f"{limits.max_decoded_bytes:,} are. {limits.advice} Or save it with 8 bits a channel."
        )


def count_scans(data: bytes) -> int:
    """Return how many scans a JPEG has, by walking from marker to marker.

    Thumbnails inside other segments do not count; what follows the end of the image does not
    either.
    """
    if data.count(_START_OF_SCAN) <= MAX_SCANS:  # the quick way for every honest file
        return data.count(_START_OF_SCAN)
    count, at = 0, 2
    while (found := _MARKER.search(data, at)) is not None:
        marker, at = found.group(1)[0], found.end()
        if marker == 0xD9:
            break
        count += marker == 0xDA
        if marker != 0x01:  # every marker but this one and the restarts has a length
            at += max(2, int.from_bytes(data[at : at + 2], "big"))
    return count
