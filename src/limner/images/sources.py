"""Where a picture comes from: its name in messages, its bytes, and the limits on them."""

from __future__ import annotations

import os
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray

from limner.errors import ImageError, InputError

if TYPE_CHECKING:
    import PIL.Image

    Source: TypeAlias = (
        str | os.PathLike[str] | bytes | bytearray | BinaryIO | NDArray[Any] | PIL.Image.Image
    )

_MEBI = 1024 * 1024
_MEGA = 1_000_000
LIMIT_VARIABLE = "LIMNER_MAX_MEGAPIXELS"
_CHUNK = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a picture may cost at most; all of it is checked before anything is decoded.

    An array is decoded already, and so is a Pillow image that was loaded: they are not held
    against them.

    Attributes:
        max_bytes: Size of the file. A file object is never read further than one byte
            beyond it.
        max_pixels: Width times height, as the header states them.
        max_decoded_bytes: Pixels times channels, twice that for more than 8 bits.
        advice: What messages say to do, a sentence: the option that raises the limit.
    """

    max_bytes: int = 256 * _MEBI
    max_pixels: int = 250 * _MEGA
    max_decoded_bytes: int = 800 * _MEGA
    advice: str = f"Make it smaller, or set {LIMIT_VARIABLE}."

    def __post_init__(self) -> None:
        for name in ("max_bytes", "max_pixels", "max_decoded_bytes"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InputError(f"{name} must be a whole number of at least 1, got {value!r}.")

    @classmethod
    def megapixels(cls, most: float, *, advice: str | None = None) -> Limits:
        """Return limits for pictures of so many million pixels; bytes grow along.

        Args:
            most: Millions of pixels, above 0. A file may have 3 bytes for each of them, as an
                uncompressed picture has, and 256 MiB in any case.
            advice: What messages say to do.

        Raises:
            InputError: If it is no such number.
        """
        if not 0 < most <= 1e6:
            raise InputError(f"megapixels must lie between 0 and 1,000,000, got {most!r}.")
        pixels = max(1, round(most * _MEGA))
        given = {} if advice is None else {"advice": advice}
        return cls(
            max_bytes=max(cls.max_bytes, 3 * pixels),
            max_pixels=pixels,
            max_decoded_bytes=max(cls.max_decoded_bytes, 3 * pixels),
            **given,
        )

    @classmethod
    def default(cls) -> Limits:
        """Return the limits that hold where none are given: `LIMNER_MAX_MEGAPIXELS`, else 250.

        Raises:
            InputError: If the variable is no number.
        """
        said = os.environ.get(LIMIT_VARIABLE, "").strip()
        if not said:
            return cls()
        try:
            return cls.megapixels(float(said))
        except ValueError as error:
            raise InputError(
                f"the variable {LIMIT_VARIABLE} must be a number of megapixels such as 400, "
                f"got {said!r}."
            ) from error

    def check_pixels(self, width: int, height: int, name: str) -> None:
        """Refuse a picture of no pixels or of more than ``max_pixels``.

        Args:
            width: Columns.
            height: Rows.
            name: How the picture is called in the message.

        Raises:
            ImageError: If the size is outside the limits.
        """
        if width < 1 or height < 1:
            raise ImageError(f"{name} has no pixels: its size is {width} x {height}.")
        if width * height > self.max_pixels:
            raise ImageError(
                f"{name} is {width:,} x {height:,} pixels; at most {self.max_pixels:,} pixels "
                f"are read. {self.advice}"
            )

    def check_bytes(self, count: int, name: str, *, at_least: bool = False) -> None:
        """Refuse an empty file or one above ``max_bytes``.

        Args:
            count: Size in bytes.
            name: How the picture is called in the message.
            at_least: The file may be larger than `count`; the message says so.

        Raises:
            ImageError: If the size is outside the limits.
        """
        if count == 0:
            raise ImageError(f"{name} is empty (0 bytes).")
        if count > self.max_bytes:
            size = f"more than {self.max_bytes:,}" if at_least else f"{count:,}"
            raise ImageError(
                f"{name} has {size} bytes; at most {self.max_bytes:,} are read. {self.advice}"
            )


def is_pillow(source: object) -> bool:
    """Tell whether `source` is a Pillow image, without importing Pillow."""
    # another thread may be importing it at this moment, and then it has no Image yet
    kind = getattr(sys.modules.get("PIL.Image"), "Image", None)
    return kind is not None and isinstance(source, kind)


def is_one(given: object) -> bool:
    """Tell whether it is one picture, not several: a list, an iterator, or a stack of arrays."""
    if isinstance(given, np.ndarray):
        return given.ndim <= 3
    single = isinstance(given, str | os.PathLike | bytes | bytearray | memoryview)
    return single or is_pillow(given) or callable(getattr(given, "read", None))


def printable(text: str) -> str:
    """Return `text` fit for one line of output: control and undecodable characters escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def describe(source: Source) -> str:
    """Return how messages call a source: its path, or what it is and how large.

    Args:
        source: Anything that `read` takes.

    Returns:
        One printable line.
    """
    if isinstance(source, str | os.PathLike):
        return printable(os.fspath(source)) or "''"
    if isinstance(source, bytes | bytearray | memoryview):
        return f"<{len(source):,} bytes>"
    if isinstance(source, np.ndarray):
        return f"<array {'x'.join(map(str, source.shape)) or 'of no axes'} {source.dtype}>"
    if is_pillow(source):
        name = getattr(source, "filename", "")
        if isinstance(name, str) and name:
            return printable(name)
        image: Any = source
        return f"<Pillow image {image.width}x{image.height} {image.mode}>"
    name = getattr(source, "name", None)
    if isinstance(name, str) and name:
        return printable(name)
    return f"<{type(source).__name__}>"


def load_bytes(source: Source, limits: Limits, name: str) -> bytes:
    """Return the bytes of a path, a buffer or a file object, within the limits.

    Args:
        source: A path, bytes, or an object with ``read``; it is read from where it stands.
        limits: The most that is read.
        name: How the picture is called in messages.

    Raises:
        ImageError: If it cannot be read, is empty, or is larger than ``max_bytes``.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        limits.check_bytes(len(source), name)
        return bytes(source)
    if isinstance(source, str | os.PathLike):
        return _load_path(Path(source), limits, name)
    if callable(getattr(source, "read", None)):
        try:
            return _load_stream(source, limits, name)
        except OSError as error:
            raise ImageError(f"{name} cannot be read: {_reason(error)}.") from error
        except ValueError as error:  # closed file
            if isinstance(error, ImageError):
                raise
            raise ImageError(f"{name} cannot be read: {error}.") from error
    raise ImageError(
        f"a picture must be a path, bytes, a binary file object, an array or a Pillow image, "
        f"got {type(source).__name__}."
    )


def _reason(error: OSError) -> str:
    return (error.strerror or str(error) or type(error).__name__).lower()


def _load_path(path: Path, limits: Limits, name: str) -> bytes:
    try:
        with open(path, "rb", buffering=0) as stream:
            status = os.fstat(stream.fileno())
            if stat.S_ISREG(status.st_mode) and status.st_size:
                limits.check_bytes(status.st_size, name)
                data = stream.read(status.st_size)
                if len(data) == status.st_size:
                    return data
                stream.seek(0)
            return _load_stream(stream, limits, name)
    except FileNotFoundError as error:
        raise ImageError(f"{name} does not exist.") from error
    except IsADirectoryError as error:
        raise ImageError(f"{name} is a folder, not a picture.") from error
    except PermissionError as error:
        if path.is_dir():
            raise ImageError(f"{name} is a folder, not a picture.") from error
        raise ImageError(f"{name} cannot be read: permission denied.") from error
    except OSError as error:
        raise ImageError(f"{name} cannot be read: {_reason(error)}.") from error
    except ValueError as error:  # a NUL in the path
        if isinstance(error, ImageError):
            raise
        raise ImageError(f"{name} cannot be read: {error}.") from error


def _load_stream(stream: BinaryIO | Any, limits: Limits, name: str) -> bytes:
    parts: list[bytes] = []
    left = limits.max_bytes + 1
    while left > 0:
        part = stream.read(min(left, _CHUNK))
        if not isinstance(part, bytes | bytearray):
            if part is None:
                raise ImageError(f"{name} has no data yet: it does not block.")
            raise ImageError(f"{name} gives {type(part).__name__}, not bytes: open it as 'rb'.")
        if not part:
            break
        parts.append(bytes(part))
        left -= len(part)
    data = parts[0] if len(parts) == 1 else b"".join(parts)
    limits.check_bytes(len(data), name, at_least=True)
    return data
