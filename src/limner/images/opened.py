"""A picture whose size is known before it is decoded, so that very large ones can be reduced."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from limner.errors import ImageError
from limner.images import deep, memory
from limner.images.bounds import check_cost
from limner.images.decoding import (
    BYTES_A_PIXEL,
    decode,
    eight_bits,
    from_pillow,
    one_error,
    open_header,
    orientation_of,
)
from limner.images.sources import Limits, describe, is_pillow, load_bytes

if TYPE_CHECKING:
    from limner.images.sources import Source

_REDUCED_PIXELS = 64_000_000
"""A giant JPEG is reduced to at most this many pixels."""
_SMALLEST_GIANT = 200_000
"""A JPEG of 100 million pixels, all alike, has more bytes than this."""


@dataclass(frozen=True)
class Opened:
    """A file that was opened, and whose size is known, before it is decoded.

    Attributes:
        data: The whole file.
        limits: That it was held against.
        name: How the picture is called in messages.
        size_wh: Width and height as they are stored, before the picture is turned upright.
        is_jpeg: Whether it can be decoded at a reduced size.
        turned: Whether width and height change places when it is turned upright.
    """

    data: bytes
    limits: Limits
    name: str
    size_wh: tuple[int, int]
    is_jpeg: bool
    turned: bool

    @classmethod
    def of(cls, source: Source, limits: Limits) -> Opened | None:
        """Open a picture; None where it is in memory already, as an array or a Pillow image.

        Raises:
            ImageError: If it is not a picture, or exceeds the limits.
        """
        if isinstance(source, np.ndarray) or is_pillow(source):
            return None
        name = describe(source)
        data = load_bytes(source, limits, name)
        jpeg = data[:2] == b"\xff\xd8"
        if jpeg and len(data) < _SMALLEST_GIANT:  # spares a look at the header
            return cls(data, limits, name, (0, 0), False, False)
        try:
            with open_header(data, limits, name) as image:
                turned = orientation_of(image) >= 5
                return cls(data, limits, name, image.size, jpeg, turned)
        except ImageError as error:
            if deep.is_unknown_mode(error):
                return cls(data, limits, name, (0, 0), False, False)
            raise

    @property
    def pixels(self) -> int:
        """Width times height; 0 where it is not known, and not large."""
        return self.size_wh[0] * self.size_wh[1]

    @property
    def upright_hw(self) -> tuple[int, int]:
        """Height and width of the upright picture."""
        width, height = self.size_wh
        return (width, height) if self.turned else (height, width)

    @property
    def fits_whole(self) -> bool:
        """Whether there is memory to decode all of it."""
        return memory.fits(self.pixels * BYTES_A_PIXEL)

    def read(self) -> NDArray[np.uint8]:
        """Decode all of it.

        Raises:
            ImageError: If it is damaged, or does not fit into memory.
        """
        return eight_bits(decode(self.data, self.limits, self.name))

    def reduced(self) -> tuple[NDArray[np.uint8], int]:
        """Decode a JPEG at 1/2, 1/4 or 1/8 of its size; any other file whole.

        Returns:
            The upright picture, and by how much it is reduced: such that it has at most 64
            megapixels, where 8 is enough for that.

        Raises:
            ImageError: If it is damaged, or does not fit into memory.
        """
        if not self.is_jpeg:
            return self.read(), 1
        by = next((s for s in (1, 2, 4) if self.pixels <= s * s * _REDUCED_PIXELS), 8)
        with open_header(self.data, self.limits, self.name) as image, one_error(self.name):
            check_cost(image, self.data, self.limits, self.name)
            image.draft(None, (-(-self.size_wh[0] // by), -(-self.size_wh[1] // by)))
            if -(-self.size_wh[0] // by) != image.width:  # a kind that libjpeg does not reduce
                return self.read(), 1
            return eight_bits(from_pillow(image, self.limits, self.name)), by
