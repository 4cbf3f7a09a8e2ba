"""Fetch one file over HTTP: resumable, bounded in size and time."""

from __future__ import annotations

import http.client
import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

CONNECT_TIMEOUT_S = 4.0
READ_TIMEOUT_S = 15.0
SLOW_WINDOW_S = 30.0
SLOW_BYTES = 30_000  # less than this in one window: the source counts as hanging
ATTEMPTS = 4
_CHUNK = 1 << 18

Advance = Callable[[int, int | None], None]


class SourceError(Exception):
    """One source did not deliver; the text is the reason, without a full stop."""


class WrongDigest(SourceError):
    """The bytes came, and are not the wanted ones."""

    def __init__(self, found: str, wanted: str) -> None:
        super().__init__(f"SHA-256 is {found[:12]}..., wanted {wanted[:12]}...")


def _tuned(base: type[http.client.HTTPConnection]) -> type[http.client.HTTPConnection]:
    """Return a connection with a short time-out to connect and a longer one to read."""

    class Tuned(base):  # type: ignore[misc, valid-type]
        def connect(self) -> None:
            self.timeout = CONNECT_TIMEOUT_S
            super().connect()
            self.sock.settimeout(READ_TIMEOUT_S)

    return Tuned


class _Http(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(_tuned(http.client.HTTPConnection), req)


class _Https(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> Any:
        connection = _tuned(http.client.HTTPSConnection)
        return self.do_open(connection, req, context=ssl.create_default_context())


def download(url: str, part: Path, *, max_bytes: int, advance: Advance) -> bool:
    """Fetch `url` into `part`, going on from what `part` holds already.

    Args:
        url: http or https.
        part: Where the bytes go; kept when the transfer breaks off, for the next call.
        max_bytes: More than this is refused, before it is written where possible.
        advance: Told (bytes so far, bytes in all or None).

    Returns:
        Whether some of the bytes were there before this call.

    Raises:
        SourceError: If the server does not answer, refuses, hangs, or sends too much.
        OSError: If the disk refuses.
    """
    resumed = part.exists() and part.stat().st_size > 0
    for attempt in range(ATTEMPTS):
        before = part.stat().st_size if part.exists() else 0
        try:
            _transfer(url, part, max_bytes, advance)
            return resumed
        except SourceError:
            raise
        except _NETWORK_ERRORS as error:
            reason = _reason(error)
            after = part.stat().st_size if part.exists() else 0
            if after <= before or attempt == ATTEMPTS - 1:  # no headway: do not insist
                raise SourceError(reason) from error
    raise SourceError("no answer")  # not reached


class _BrokenOff(Exception):
    """The connection ended before the announced length."""


_NETWORK_ERRORS = (
    urllib.error.URLError,
    http.client.HTTPException,
    TimeoutError,
    ConnectionError,
    ssl.SSLError,
    _BrokenOff,
)


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.URLError) and not isinstance(error, urllib.error.HTTPError):
        inner = error.reason
        if isinstance(inner, TimeoutError):
            return "no answer in time"
        return str(getattr(inner, "strerror", None) or inner)
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(error) or type(error).__name__


def _notes(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def discard(part: Path) -> None:
    """Remove a partial file and what is noted about it."""
    part.unlink(missing_ok=True)
    _notes(part).unlink(missing_ok=True)


def _transfer(url: str, part: Path, max_bytes: int, advance: Advance) -> None:
    start = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "limner", "Accept": "*/*"})
    if start:
        request.add_header("Range", f"bytes={start}-")
        try:
            validator = json.loads(_notes(part).read_text("utf-8"))["validator"]
            request.add_header("If-Range", str(validator))
        except (OSError, ValueError, KeyError, TypeError):
            pass  # the digest of the whole decides
    opener = urllib.request.build_opener(_Http, _Https)
    try:
        response = opener.open(request)
    except urllib.error.HTTPError as error:
        code = error.code
        error.close()
        if code == 416 and start:  # nothing after what we hold: the digest decides
            advance(start, start)
            return
        raise SourceError(f"HTTP status {code}") from error
    with response:
        if response.status == 206 and start:
            range_start, total = _content_range(response.headers.get("Content-Range", ""))
            if range_start != start:
                discard(part)
                raise _BrokenOff("the server resumed at another place")
        else:
            start = 0
            total = response.length
        if total is not None and total > max_bytes:
            raise SourceError(f"the server offers {total} bytes where {max_bytes} are wanted")
        _note_validator(part, response.headers)
        _receive(response, part, start, total, max_bytes, advance)


def _content_range(header: str) -> tuple[int, int | None]:
    """Return the first byte and the total of `bytes 5-9/10`."""
    try:
        unit, _, rest = header.partition(" ")
        span, _, total = rest.partition("/")
        first = int(span.partition("-")[0])
        return (first if unit == "bytes" else -1), (None if total == "*" else int(total))
    except ValueError:
        return -1, None


def _note_validator(part: Path, headers: Any) -> None:
    validator = headers.get("ETag") or headers.get("Last-Modified")
    if validator and not validator.startswith("W/"):
        _notes(part).write_text(json.dumps({"validator": validator}), "utf-8")
    else:
        _notes(part).unlink(missing_ok=True)


def _receive(
    response: Any, part: Path, start: int, total: int | None, max_bytes: int, advance: Advance
) -> None:
    done = start
    window_start, window_bytes = time.monotonic(), 0
    advance(done, total)
    with part.open("ab" if start else "wb") as file:
        while chunk := response.read1(_CHUNK):
            done += len(chunk)
            if done > max_bytes:
                file.close()
                discard(part)
                raise SourceError(f"the server sent more than the wanted {max_bytes} bytes")
            file.write(chunk)
            advance(done, total)
            window_bytes += len(chunk)
            now = time.monotonic()
            if now - window_start > SLOW_WINDOW_S:
                if window_bytes < SLOW_BYTES:
                    raise SourceError("the transfer is too slow")
                window_start, window_bytes = now, 0
    if total is not None and done < total:
        raise _BrokenOff(f"the connection broke off after {done} of {total} bytes")
