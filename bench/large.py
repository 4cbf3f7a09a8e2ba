"""How long the detector takes for very large photos, and which small faces it finds in them.

Times of a busy machine say little, so each is also given as a multiple of one look of the network
at 250 x 250 pixels, taken in the same second. "Before" is the search with a smallest face of 20 px
in a photo of any size (``min_size=20``).
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import skimage.data
from PIL import Image

from common import machine, save
from limner.faces import YuNet
from limner.faces.large import smallest_face
from limner.types import ImageArray

MEGAPIXELS = (12, 24, 48, 108, 250)
FACES_PX = (26, 28, 30, 34, 40)
FACE_XYWH = (178, 63, 90, 113)
"""The face in scikit-image's astronaut, 512 x 512 pixels."""
_LOOKS = 40


def size_wh(megapixels: int) -> tuple[int, int]:
    """Return width and height of a photo of so many million pixels, 4 : 3."""
    height = int((megapixels * 0.75e6) ** 0.5)
    return height * 4 // 3, height


def time_blank(detector: YuNet, megapixels: int) -> dict[str, float]:
    """Return seconds, and looks of 250 x 250 pixels, for each megapixel of a blank photo."""
    width, height = size_wh(megapixels)
    blank = np.full((height, width, 3), 200, np.uint8)
    small = np.random.default_rng(0).integers(0, 255, (250, 250, 3), np.uint8)
    start = time.perf_counter()
    detector.detect(blank)
    seconds = time.perf_counter() - start
    start = time.perf_counter()
    for _ in range(_LOOKS):
        detector._run(small)
    look = (time.perf_counter() - start) / _LOOKS
    a_megapixel = seconds / megapixels
    return {
        "seconds": round(seconds, 2),
        "seconds_a_megapixel": round(a_megapixel, 4),
        "looks_a_megapixel": round(a_megapixel / look, 1),
    }


def crowd(wh: tuple[int, int], face_px: int, count: int) -> tuple[ImageArray, list[Any]]:
    """Return a photo of coffee with `count` small portraits on it, and the boxes of their faces."""
    photo = Image.fromarray(skimage.data.coffee()).resize(wh)
    x, y, wide, high = FACE_XYWH
    scale = face_px / high
    side = (round(512 * scale),) * 2
    small = Image.fromarray(skimage.data.astronaut()).resize(side, Image.Resampling.LANCZOS)
    rng, boxes = np.random.default_rng(7), []
    for k, share in enumerate(rng.uniform(0.05, 0.9, count)):
        left, top = int((0.05 + 0.85 * k / (count - 1)) * wh[0]), int(share * wh[1])
        photo.paste(small, (left, top))
        x0, y0 = left + x * scale, top + y * scale
        boxes.append((x0, y0, x0 + wide * scale, y0 + high * scale))
    return np.asarray(photo), boxes


def found(detector: YuNet, face_px: int, count: int = 8) -> int:
    """Return how many of `count` faces are found in a photo of 48 megapixels."""
    photo, boxes = crowd((8000, 6000), face_px, count)
    faces = detector.detect(photo)
    middles = [((b[0] + b[2]) / 2, (b[1] + b[3]) / 2) for b in boxes]
    return sum(
        any(f.box_xyxy[0] < x < f.box_xyxy[2] and f.box_xyxy[1] < y < f.box_xyxy[3] for f in faces)
        for x, y in middles
    )


def main() -> None:
    """Measure, print and save."""
    import cv2

    cv2.setNumThreads(1)
    before, after = YuNet(threads=1, min_size=20), YuNet(threads=1)
    blank = {}
    for megapixels in MEGAPIXELS:
        width, height = size_wh(megapixels)
        blank[str(megapixels)] = {
            "smallest_face_px": round(smallest_face(height, width), 1),
            "before": time_blank(before, megapixels),
            "after": time_blank(after, megapixels),
        }
        print(megapixels, blank[str(megapixels)], flush=True)
    faces = {str(px): {"of": 8, "found": found(after, px)} for px in FACES_PX}
    print(faces)
    print(save("large", {"machine": machine(), "blank": blank, "faces_in_48_megapixels": faces}))


if __name__ == "__main__":
    main()
