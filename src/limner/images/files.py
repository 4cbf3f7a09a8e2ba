"""Pictures out."""

from __future__ import annotations

import io
import os
import secrets
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limner.errors import ImageError, InputError, ShapeError
from limner.images.sources import printable

_WRITERS: dict[str, str] = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}


def write(path: str | os.PathLike[str], image: NDArray[np.uint8], *, quality: int = 95) -> None:
    """Write a picture; the suffix chooses JPEG, PNG, WebP or TIFF.

    The bytes go to a temporary file beside the target, which is then renamed: a reader sees
    the old file or the new one, never a part.

    Args:
        path: Ends in .jpg, .jpeg, .png, .webp, .tif or .tiff.
        image: Shape (H, W, 3), uint8 RGB.
        quality: 1..100, for JPEG and WebP (100: lossless WebP).

    Raises:
        ImageError: If the suffix is unknown or the file cannot be written.
        ShapeError: If the array is not a picture.
        InputError: If the quality is out of range.
    """
    target = Path(path)
    name = printable(str(target))
    kind = _WRITERS.get(target.suffix.lower())
    if kind is None:
        raise ImageError(
            f"{name} cannot be written: its suffix is {target.suffix!r}, "
            f"allowed are {', '.join(_WRITERS)}."
        )
    if isinstance(quality, bool) or not isinstance(quality, int) or not 1 <= quality <= 100:
        raise InputError(f"quality must be a whole number from 1 to 100, got {quality!r}.")
    shape = getattr(image, "shape", None)
    if shape is None or len(shape) != 3 or shape[2] != 3 or 0 in shape or image.dtype != np.uint8:
        raise ShapeError(
            f"image must be uint8 of shape (H, W, 3), got {getattr(image, 'dtype', type(image))} "
            f"of shape {shape}."
        )
    try:
        _replace(target, _encode(image, kind, quality))
    except OSError as error:
        reason = (error.strerror or str(error) or type(error).__name__).lower()
        raise ImageError(f"{name} cannot be written: {reason}.") from error
    except ValueError as error:
        raise ImageError(f"{name} cannot be written: {error}.") from error


def _encode(image: NDArray[np.uint8], kind: str, quality: int) -> bytes:
    from PIL import Image

    choices: dict[str, dict[str, Any]] = {
        "JPEG": {"quality": quality, "subsampling": 0 if quality >= 90 else 2},
        "PNG": {},
        "WEBP": {"quality": quality, "lossless": quality == 100},
        "TIFF": {"compression": "tiff_lzw"},
    }
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, kind, **choices[kind])
    return buffer.getvalue()


def _replace(target: Path, data: bytes) -> None:
    """Write `data` beside `target` (its own file, if `target` is a link) and rename it."""
    target = target.resolve() if target.is_symlink() else target
    temporary = target.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with open(temporary, "xb") as stream:
            stream.write(data)
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
