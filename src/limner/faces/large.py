"""Very large photos: which faces are looked for in them, and how they are read.

The detector's work grows with the photo, a face worth finding does not stay at 20 pixels. So the
network never sees more than `FINE_PIXELS` pixels at its finest scale: up to 24.5 megapixels faces
of 20 pixels are found, in larger photos the smallest face grows with the photo's side
(`smallest_face`): 28 px at 48 megapixels, 42 at 108, 57 at 200, 64 at 250. The time for a photo is
bounded by that; a `min_size` of the caller's own is kept whatever it costs.

A JPEG of more than `GIANT_PIXELS` is decoded at half its size or less (Pillow's `Image.draft`:
libjpeg leaves out what is not needed), which holds all that the detector looks at there. Where a
face in it is smaller than `CLEAR_PX`, the photo is decoded whole as well, and the faces are cut
from that. One giant photo is held at a time, and where memory does not allow the whole one, the
faces are cut from the reduced one.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from limner import images
from limner.images.decoding import GIANT_PIXELS
from limner.images.opened import Opened
from limner.types import Face, ImageArray

if TYPE_CHECKING:
    from limner.faces.detect import Detector
    from limner.faces.reading import CutFace, FaceReader
    from limner.images.sources import Limits, Source

FINE_PIXELS = 12_000_000
"""At its finest scale a photo is seen with at most this many pixels, all tiles together."""

RELIABLE_PX = 14.0
"""The height from which a face is found dependably, in pixels of the network's input."""

SMALLEST_PX = 20.0
"""The smallest face of a photo of ordinary size, longer side in pixels."""

CLEAR_PX = 224.0
"""A face this large in the reduced photo loses nothing by it: twice the side of a chip."""

_one_giant = threading.Lock()


def smallest_face(height: int, width: int) -> float:
    """Return the smallest face that is looked for in a photo, longer side in pixels.

    Args:
        height: Of the photo, in pixels.
        width: Of the photo, in pixels.
    """
    return max(SMALLEST_PX, RELIABLE_PX * math.sqrt(height * width / FINE_PIXELS))


@dataclass(frozen=True, eq=False)
class Look:
    """A photo's pixels, and the faces in them.

    Attributes:
        image: Shape (H, W, 3), uint8 RGB: the upright photo, or a reduced one.
        faces: In pixels of `image`, largest first.
        size_hw: Height and width of the photo itself.
        reduced: By how much `image` is smaller than the photo: 1, 2, 4 or 8.
    """

    image: ImageArray
    faces: list[Face]
    size_hw: tuple[int, int]
    reduced: int = 1

    def cut(self, reader: FaceReader) -> list[CutFace]:
        """Cut the faces out, for `reader` to read; they are in pixels of the photo from then on."""
        cuts = [reader.cut(self.image, face) for face in self.faces]
        return [replace(cut, face=enlarged(cut.face, self.reduced)) for cut in cuts]


@contextmanager
def looked_at(
    photo: Source, detector: Detector, limits: Limits, *, whole: bool = False
) -> Iterator[Look]:
    """Read a photo and find its faces; while the block runs, no other giant photo is in memory.

    Args:
        photo: As `limner.images.read` takes it.
        detector: Finds the faces.
        limits: On the bytes and pixels of the photo.
        whole: Never reduce it: somebody wants its pixels, or its small faces at any cost.

    Raises:
        ImageError: If the photo cannot be read.
    """
    opened = Opened.of(photo, limits)
    if opened is None:
        yield _look(images.read(photo, limits=limits), detector)
    elif opened.pixels <= GIANT_PIXELS:
        yield _look(opened.read(), detector)
    else:
        with _one_giant:
            yield _look(opened.read(), detector) if whole else _look_at_giant(opened, detector)


def _look(image: ImageArray, detector: Detector) -> Look:
    return Look(image, detector.detect(image), (int(image.shape[0]), int(image.shape[1])))


def _look_at_giant(opened: Opened, detector: Detector) -> Look:
    small, by = opened.reduced()
    if by == 1:
        return _look(small, detector)
    faces = detector.detect(small)
    if all(_longer_side(face) >= CLEAR_PX for face in faces) or not opened.fits_whole:
        return Look(small, faces, opened.upright_hw, by)
    del small
    return Look(opened.read(), [enlarged(face, by) for face in faces], opened.upright_hw)


def enlarged(face: Face, by: int) -> Face:
    """Return a face of a photo that was reduced `by` so much, in pixels of the photo."""
    if by == 1:
        return face
    x0, y0, x1, y1 = (float(by * v) for v in face.box_xyxy)
    # Landmarks are pixel centres: half a pixel from the edges that grow.
    landmarks = (face.landmarks_xy + 0.5) * by - 0.5
    head = face.head
    if head is not None:
        (x, y), (width, height) = head.centre_xy, head.size_wh
        head = replace(head, centre_xy=(by * x, by * y), size_wh=(by * width, by * height))
    return replace(face, box_xyxy=(x0, y0, x1, y1), landmarks_xy=landmarks, head=head)


def _longer_side(face: Face) -> float:
    x0, y0, x1, y1 = face.box_xyxy
    return max(x1 - x0, y1 - y0)
