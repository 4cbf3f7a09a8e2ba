"""The one table from exceptions to HTTP statuses, and what an answer may say.

An answer is ``{"error": {"type", "message", "request"}}``. A message names what was wrong with
the request; it never shows a path, a trace, or what the machine is called.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from limner.errors import (
    EmbedderMismatch,
    FaceCountError,
    GalleryError,
    ImageError,
    InputError,
    LimnerError,
    MissingExtraError,
    NameTakenError,
    ServiceError,
    TooFewPairsError,
    UnknownNameError,
    WeightsError,
)
from limner.types import two_largest

STATUS: tuple[tuple[type[Exception], int], ...] = (
    # the first row that fits counts
    (FaceCountError, 422),
    (ImageError, 422),
    (UnknownNameError, 404),
    (NameTakenError, 409),
    (EmbedderMismatch, 409),
    (TooFewPairsError, 409),
    (InputError, 422),
    (MissingExtraError, 501),
    (WeightsError, 503),
    (GalleryError, 503),
    (LimnerError, 500),
    (Exception, 500),
)
"""Exception -> status; a `ServiceError` brings its own."""

_OURS = (MissingExtraError, WeightsError, GalleryError)
_PATH = re.compile(r"(?<![\w/.:])(?:[A-Za-z]:\\|~?/)[^\s'\",;:()]*(?<!\.)")
_BYTES = re.compile(r"<[\d,]+ bytes>")


@dataclass(frozen=True)
class Answer:
    """What an exception becomes.

    Attributes:
        status: Of HTTP.
        kind: The error's word.
        message: One or two sentences without paths.
        retry_after_s: For the header, if it helps to try again.
        ours: Whether the cause lies with the service: then the log has the details.
    """

    status: int
    kind: str
    message: str
    retry_after_s: int | None = None
    ours: bool = False


def answer_to(error: BaseException, *, secrets: Iterable[str | Path | None] = ()) -> Answer:
    """Return the answer to a request that failed.

    Args:
        error: What was raised.
        secrets: Texts that no message may hold, such as where the gallery lies.
    """
    if isinstance(error, ServiceError):
        status = error.status or 500
        return Answer(
            status,
            error.kind,
            without_paths(str(error), secrets),
            error.retry_after_s,
            status == 500,
        )
    status = next(status for kind, status in STATUS if isinstance(error, kind))
    kind = type(error).__name__
    if isinstance(error, FaceCountError):
        return Answer(status, kind, _faces(error))
    if isinstance(error, _OURS):
        return Answer(status, kind, _words_of_ours(error), ours=True)
    if not isinstance(error, LimnerError) or status == 500:
        words = "the service failed unexpectedly; its log has the details under this request's id."
        return Answer(500, "InternalError", words, ours=True)
    return Answer(status, kind, without_paths(str(error), secrets))


def _faces(error: FaceCountError) -> str:
    if error.count == 0:
        return (
            "no face was found in the photo; use one in which the face is larger than 20 pixels "
            "and turned to the camera."
        )
    if "lies at the box" in str(error):
        return (
            f"none of the {error.count} faces of the photo lies at that box; /v1/detect says where "
            "they are."
        )
    where = f", {two_largest(error.boxes)}" if error.boxes else ""
    return (
        f"{error.count} faces were found in the photo where one is expected{where}; send "
        "pick=largest, or box=x0,y0,x1,y1 as /v1/detect gives it."
    )


def _words_of_ours(error: LimnerError) -> str:
    if isinstance(error, MissingExtraError):
        return "this service was installed without what the request needs."
    what = "the gallery" if isinstance(error, GalleryError) else "a model's weights"
    return f"{what} cannot be used at the moment; the service's log says why."


def without_paths(text: str, secrets: Iterable[str | Path | None] = ()) -> str:
    """Return a message without any path of this machine, on one line.

    Args:
        text: A sentence.
        secrets: Known paths; whatever else looks like an absolute path goes, too.
    """
    known = [str(s) for s in (*secrets, Path.home(), tempfile.gettempdir()) if s is not None]
    for secret in sorted(filter(lambda s: len(s) > 1, known), key=len, reverse=True):
        text = text.replace(secret, "")
    text = _PATH.sub("", _BYTES.sub("the file", text))
    # a full stop that begins a word, as in ".onnx", keeps its space
    return re.sub(r"\s+([.,;:])(?=\s|$)", r"\1", " ".join(text.split()))
