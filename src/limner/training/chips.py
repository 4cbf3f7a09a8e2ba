"""Face chips of a folder of people, found by our own detector, cut once and kept.

The cache is one file of pixels for each way of cutting; whatever is wrong with it, it is made
again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from limner import images
from limner.device import cpu_threads
from limner.errors import InputError, LimnerError, UnknownNameError
from limner.evaluation import central_face
from limner.evaluation.photo_cache import photo_keys
from limner.faces import Crop, YuNet, cut_chip
from limner.faces.align import ARCFACE, DLIB, FACENET
from limner.types import ImageArray

CROPS: dict[str, Crop] = {"facenet": FACENET, "arcface": ARCFACE, "dlib": DLIB}
"""Ways of cutting a chip: the widened box, or five landmarks brought to fixed places."""
WHOLE = "whole"
"""The photo itself is the chip: the middle square, for folders that were cut before."""
_FORMAT = 1


@dataclass(frozen=True, eq=False)
class Chips:
    """The chips of some photos.

    Attributes:
        pixels: Shape (N, S, S, 3), uint8 RGB; black where there is none.
        reasons: Why a photo has no chip; None where it has one.
        digest: Of the photos and the way of cutting: what depends on the chips is kept by it.
    """

    pixels: ImageArray
    reasons: tuple[str | None, ...]
    digest: str


def crop_names() -> list[str]:
    """Return the words that `cut_chips` knows."""
    return [*CROPS, WHOLE]


def cut_chips(
    photos: Sequence[Path],
    *,
    crop: str,
    size_px: int,
    cache: Path | None,
    on_photo: Callable[[], None] | None = None,
) -> Chips:
    """Cut the central face out of each photo.

    Args:
        photos: Paths.
        crop: One of `crop_names()`.
        size_px: Height and width of a chip.
        cache: Folder in which chips are kept; None for nowhere.
        on_photo: Called after each photo that is not in the cache.

    Returns:
        The chips, a row for each photo.

    Raises:
        UnknownNameError: If `crop` is another word.
        InputError: If `size_px` is out of range, or the cache cannot be written.
    """
    if crop not in crop_names():
        raise UnknownNameError(f"crop must be one of {', '.join(crop_names())}, got {crop!r}.")
    if not 16 <= size_px <= 1024:
        raise InputError(f"size_px must be between 16 and 1024, got {size_px}.")
    keys = photo_keys(photos)
    words = repr((_FORMAT, crop, CROPS.get(crop), size_px, keys.tolist()))
    digest = hashlib.sha256(words.encode()).hexdigest()[:16]
    file = None if cache is None else Path(cache) / f"chips-{crop}-{size_px}-{digest}.npz"
    kept = None if file is None else _read(file, len(photos), size_px)
    if kept is None:
        kept = _cut(photos, crop, size_px, on_photo)
        if file is not None:
            _write(file, *kept)
    pixels, reasons = kept
    return Chips(pixels, tuple(str(r) or None for r in reasons), digest)


def cut_one(image: ImageArray, crop: str, size_px: int, detector: YuNet) -> ImageArray | None:
    """Cut the central face out of a photo; None where there is none.

    Args:
        image: Shape (H, W, 3), uint8 RGB.
        crop: One of `crop_names()`.
        size_px: Height and width of the chip.
        detector: Finds the faces.
    """
    if crop == WHOLE:
        return _middle(image, size_px)
    face = central_face(detector.detect(image), (image.shape[0], image.shape[1]))
    return None if face is None else cut_chip(image, face, CROPS[crop], size=size_px)


def _middle(image: ImageArray, size_px: int) -> ImageArray:
    import cv2

    side = min(image.shape[:2])
    y, x = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    way = cv2.INTER_AREA if side > size_px else cv2.INTER_LINEAR
    square = image[y : y + side, x : x + side]
    return np.asarray(cv2.resize(square, (size_px, size_px), interpolation=way), np.uint8)


def _cut(
    photos: Sequence[Path], crop: str, size_px: int, on_photo: Callable[[], None] | None
) -> tuple[ImageArray, NDArray[np.str_]]:
    pixels = np.zeros((len(photos), size_px, size_px, 3), np.uint8)
    reasons = [""] * len(photos)
    detector = YuNet(threads=1)

    def work(i: int) -> None:
        try:
            chip = cut_one(images.read(photos[i]), crop, size_px, detector)
        except LimnerError as error:
            reasons[i] = str(error)
            return
        if chip is None:
            reasons[i] = "no face was found"
        else:
            pixels[i] = chip

    with ThreadPoolExecutor(cpu_threads(), thread_name_prefix="limner-chips") as pool:
        for _ in pool.map(work, range(len(photos))):
            if on_photo is not None:
                on_photo()
    return pixels, np.array(reasons, np.str_)


def _read(file: Path, count: int, size_px: int) -> tuple[ImageArray, NDArray[np.str_]] | None:
    try:
        with open(file, "rb") as stream, np.load(stream, allow_pickle=False) as kept:
            pixels, reasons = kept["pixels"], kept["reasons"].astype(np.str_)
    except Exception:  # absent or damaged: it is made again
        return None
    fits = pixels.shape == (count, size_px, size_px, 3) and pixels.dtype == np.uint8
    return (pixels, reasons) if fits and reasons.shape == (count,) else None


def _write(file: Path, pixels: ImageArray, reasons: NDArray[np.str_]) -> None:
    temporary = file.with_name(f".{secrets.token_hex(8)}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as stream:
            np.savez(stream, pixels=pixels, reasons=reasons)
        os.replace(temporary, file)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise InputError(
            f"the cache {file} cannot be written: {(error.strerror or str(error)).lower()}."
        ) from error
