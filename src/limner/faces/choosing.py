"""Which of the faces of a photo is meant, and which count as a second sitter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from limner.errors import FaceCountError, UnknownNameError
from limner.types import BoxXYXY, Face, box_iou, two_largest

Pick = Literal["one", "largest", "all"]

PHANTOM_RATIO = 0.5
PHANTOM_QUALITY = 0.5


def sitters(faces: Sequence[Face]) -> list[Face]:
    """Return the faces of a photo that somebody sat for: without phantoms and passers-by.

    A face does not count when its box is less than half as high as the largest one's
    (`PHANTOM_RATIO`) and it is poor besides: it brings a reason, or its quality is below 0.5
    (`PHANTOM_QUALITY`). Measured by ``bench/phantoms.py``: in 14 group photographs the people
    beside the largest face are at least 0.56 of its height where the group is smaller than ten,
    down to 0.18 in crowds of 16 to 68, and in none of the 14 would the largest be left alone. Of
    44 false faces that the detector finds in pictures of nothing human and beside one enlarged
    portrait, 1500 to 6000 pixels wide (beside a sitter of a quarter of the width, which is their
    assumed measure), 42 do not count; their qualities are at most 0.47.

    Args:
        faces: Of one photo. Faces whose quality is not known always count.

    Returns:
        In their order; the largest is always among them.
    """
    if len(faces) < 2:
        return list(faces)
    largest = max(faces, key=lambda face: face.area)
    limit = PHANTOM_RATIO * _height(largest)
    return [
        face for face in faces if face is largest or not (_height(face) < limit and _is_poor(face))
    ]


def _height(face: Face) -> float:
    return face.box_xyxy[3] - face.box_xyxy[1]


def _is_poor(face: Face) -> bool:
    low = face.quality is not None and face.quality < PHANTOM_QUALITY
    return low or face.reason is not None


def choose(
    faces: Sequence[Face], *, pick: Pick | BoxXYXY = "one", photo: str = "the photo"
) -> list[Face]:
    """Choose among the faces of a photo.

    Args:
        faces: The faces of one photo.
        pick: ``"one"`` insists on exactly one sitter (see `sitters`), ``"largest"`` takes the
            largest, ``"all"`` takes all; a box ``(x0, y0, x1, y1)`` takes the face that overlaps
            it most.
        photo: The photo's name, for the message.

    Returns:
        At least one face.

    Raises:
        FaceCountError: If there is no face, several where one is expected, or none at the box.
        UnknownNameError: If ``pick`` is another word.
    """
    if not faces:
        raise FaceCountError(
            f"no face was found in {photo}; use a photo in which the face is larger than "
            "20 pixels and turned to the camera, or lower --min-score.",
            count=0,
        )
    if not isinstance(pick, str):
        return [_at_box(faces, pick, photo)]
    if pick == "all":
        return list(faces)
    if pick == "largest":
        return [max(faces, key=lambda face: face.area)]
    if pick != "one":
        raise UnknownNameError(f"pick must be 'one', 'largest', 'all' or a box, got {pick!r}.")
    counted = sitters(faces)
    if len(counted) > 1:
        boxes = tuple(face.box_xyxy for face in sorted(counted, key=lambda face: -face.area))
        raise FaceCountError(
            f"{len(counted)} faces were found in {photo} where one is expected, "
            f"{two_largest(boxes)}; choose with --largest, --all or --box x0,y0,x1,y1 (limner "
            "detect shows the boxes).",
            count=len(counted),
            boxes=boxes,
        )
    return counted


def _at_box(faces: Sequence[Face], box: BoxXYXY, photo: str) -> Face:
    overlaps = [box_iou(face.box_xyxy, box) for face in faces]
    best = int(np.argmax(overlaps))
    if overlaps[best] <= 0.1:
        raise FaceCountError(
            f"none of the {len(faces)} faces of {photo} lies at the box {box}; "
            "limner detect shows where they are.",
            count=len(faces),
        )
    return faces[best]
