"""Every exception that limner raises on purpose.

The tree::

    LimnerError
    |-- InputError (ValueError)          what the caller gave cannot be used
    |   |-- ImageError                   a file or buffer that is not a readable picture
    |   |-- ShapeError                   an array of the wrong shape or dtype
    |   |-- ZeroNormError                an embedding of length zero has no direction
    |   |-- FaceCountError               a photo with no face, or several, where one is expected
    |   |-- UnknownNameError             a model, person, metric or option that does not exist
    |   |-- NameTakenError               a person of that name exists already
    |   |-- EmbedderMismatch             embeddings of two embedders cannot be compared
    |   |-- TooFewPairsError             not enough data to state what was asked
    |   `-- ProtocolError                a pairs file or folder that breaks its protocol
    |-- WeightsError (RuntimeError)      weights could not be had, or are not the right ones
    |   `-- DigestError                  the bytes differ from the registry's SHA-256
    |-- GalleryError (RuntimeError)      the gallery cannot be opened, read or written
    |-- ServiceError (RuntimeError)      the HTTP service refused, is busy or cannot be reached
    `-- MissingExtraError (RuntimeError) an optional dependency is not installed

``InputError`` means "mend the input"; the others mean "mend the surroundings".
The command line prints ``str(error)`` on one line and exits with status 2.
A message says what was wrong, what came, what is allowed and what to do.
"""

from __future__ import annotations


class LimnerError(Exception):
    """Base of every exception that limner raises on purpose."""


class InputError(LimnerError, ValueError):
    """What the caller gave cannot be used."""


class ImageError(InputError):
    """A file, buffer or array is not a picture that can be read, or exceeds the limits."""


class ShapeError(InputError):
    """An array has the wrong shape or dtype."""


class ZeroNormError(InputError):
    """An embedding of length zero has no direction."""


class FaceCountError(InputError):
    """A photo holds no face, or several, where exactly one is expected.

    Attributes:
        count: How many faces were found.
        boxes: Where there are several, their boxes ``(x0, y0, x1, y1)``, the largest first.
    """

    def __init__(
        self, message: str, *, count: int, boxes: tuple[tuple[float, float, float, float], ...] = ()
    ) -> None:
        super().__init__(message)
        self.count = count
        self.boxes = boxes


class UnknownNameError(InputError):
    """A model, person, metric or option of that name does not exist."""


class NameTakenError(InputError):
    """A person of that name exists already."""


class EmbedderMismatch(InputError):
    """Embeddings that two different embedders made cannot be compared."""


class TooFewPairsError(InputError):
    """There is not enough data to support the figure that was asked for."""


class ProtocolError(InputError):
    """A pairs file or an image folder breaks the protocol it should follow."""


class WeightsError(LimnerError, RuntimeError):
    """Weights could not be had from any source, or could not be read."""


class DigestError(WeightsError):
    """The bytes that came do not have the SHA-256 that the registry wants."""


class GalleryError(LimnerError, RuntimeError):
    """A gallery cannot be opened, read or written."""


class ServiceError(LimnerError, RuntimeError):
    """The HTTP service refused a request, is too busy for it, or cannot be reached.

    Attributes:
        status: The HTTP status; 0 where no answer came.
        retry_after_s: When to try again, if the service said so.
        kind: The service's word for it, such as ``TooBusy``.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 0,
        kind: str = "ServiceError",
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.retry_after_s = retry_after_s


class MissingExtraError(LimnerError, RuntimeError):
    """An optional dependency is not installed; the message names the extra."""
