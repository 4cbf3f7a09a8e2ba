"""Between Python values and what goes over the wire."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from limner import errors
from limner.client.answers import JobState
from limner.errors import ImageError, ServiceError
from limner.images.sources import is_one, is_pillow
from limner.types import BoxXYXY

if TYPE_CHECKING:
    from collections.abc import Sequence

    import httpx

    from limner.images.sources import Source

Upload: TypeAlias = "Source"
"""What is uploaded: a path, bytes, a binary file object, an array or a Pillow image."""


def part_of(upload: Upload) -> tuple[str, bytes]:
    """Return name and bytes of an upload; an array or a Pillow image becomes a PNG.

    Raises:
        ImageError: If it cannot be read, or is none of what `limner.images.read` takes.
    """
    if isinstance(upload, bytes | bytearray | memoryview):
        return "upload", bytes(upload)
    if isinstance(upload, np.ndarray) or is_pillow(upload):
        return "upload.png", _png(upload)
    if callable(getattr(upload, "read", None)):
        return _read_stream(upload)
    if not isinstance(upload, str | os.PathLike):
        raise ImageError(
            "an upload must be a path, bytes, a binary file object, an array or a Pillow image, "
            f"got {type(upload).__name__}."
        )
    path = Path(upload)
    try:
        return path.name, path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {(error.strerror or '').lower()}.") from error


def as_many(uploads: Upload | Sequence[Upload]) -> list[Upload]:
    """Return one upload or several as a list.

    Raises:
        ImageError: If it is neither.
    """
    if is_one(uploads):
        return [uploads]  # type: ignore[list-item]
    try:
        return list(uploads)  # type: ignore[arg-type]
    except TypeError as error:
        raise ImageError(
            f"an upload must be a picture or a list of them, got {type(uploads).__name__}."
        ) from error


def _png(upload: Any) -> bytes:
    from PIL import Image

    from limner import images

    buffer = io.BytesIO()
    Image.fromarray(images.read(upload)).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _read_stream(stream: Any) -> tuple[str, bytes]:
    name = getattr(stream, "name", None)
    shown = os.path.basename(name) if isinstance(name, str) else ""
    try:
        data = stream.read()
    except (OSError, ValueError) as error:
        raise ImageError(f"{shown or 'the file object'} cannot be read: {error}.") from error
    if not isinstance(data, bytes | bytearray):
        raise ImageError(
            f"{shown or 'the file object'} gives {type(data).__name__}, not bytes: open it as 'rb'."
        )
    return shown or "upload", bytes(data)


def box_text(box: BoxXYXY | None) -> str | None:
    """Return a box as the service reads it."""
    return None if box is None else ",".join(str(float(np.float64(v))) for v in box)


def id_of(job: str | JobState) -> str:
    """Return a job's id."""
    return job if isinstance(job, str) else job.id


def error_of(answer: httpx.Response) -> Exception:
    """Return limner's own exception for an answer that is none of success."""
    try:
        words = answer.json()["error"]
        kind, message = str(words["type"]), str(words["message"])
    except (ValueError, KeyError, TypeError):
        kind, message = "ServiceError", f"the service answered {answer.status_code}."
    own = getattr(errors, kind, None)
    if kind == "FaceCountError":
        first = message.split(" ", 1)[0]
        return errors.FaceCountError(message, count=int(first) if first.isdigit() else 0)
    if isinstance(own, type) and issubclass(own, errors.InputError):
        return own(message)
    after = answer.headers.get("retry-after", "")
    return ServiceError(
        message,
        status=answer.status_code,
        kind=kind,
        retry_after_s=int(after) if after.isdigit() else None,
    )
