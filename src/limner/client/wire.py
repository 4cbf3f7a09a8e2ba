"""Between Python values and what goes over the wire."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from limner import errors
from limner.client.answers import JobState
from limner.errors import ImageError, ServiceError
from limner.types import BoxXYXY

if TYPE_CHECKING:
    import httpx

Upload: TypeAlias = "str | os.PathLike[str] | bytes"


def part_of(upload: Upload) -> tuple[str, bytes]:
    """Return name and bytes of an upload.

    Raises:
        ImageError: If the file cannot be read.
    """
    if isinstance(upload, bytes):
        return "upload", upload
    path = Path(upload)
    try:
        return path.name, path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {(error.strerror or '').lower()}.") from error


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
