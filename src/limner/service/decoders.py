"""Decoding of uploads in children: a picture that takes too long or too much ends only its child.

The children are started with the service and wait, so that a photo costs a trip through two pipes
and nothing more. A child that is killed, or that a decoder crashes, is replaced.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import selectors
import subprocess
import sys
import threading
import time

import numpy as np

from limner.errors import ImageError, ServiceError
from limner.images import Limits
from limner.service.decoder import HEAD, LENGTH
from limner.types import ImageArray

LOG = logging.getLogger("limner.service")
_PIPE_BYTES = 1 << 20
_START_S = 60.0
_SPARE_BYTES = 256 << 20


class _Gone(Exception):
    """The child has ended."""


class Decoders:
    """A few children that decode.

    Args:
        count: How many.
        limits: On a picture.
        seconds: How long one may take.
        memory: How many bytes a child may need beyond what it has at the start; None: what a
            picture of the most pixels takes, many times over.
    """

    def __init__(
        self, count: int, limits: Limits, *, seconds: float = 15.0, memory: int | None = None
    ) -> None:
        if memory is None:
            memory = _SPARE_BYTES + 24 * limits.max_pixels
        sizes = (limits.max_bytes, limits.max_pixels, limits.max_decoded_bytes, memory)
        self._words = [sys.executable, "-m", "limner.service.decoder", *map(str, sizes)]
        self._seconds = seconds
        self._idle: queue.LifoQueue[_Child] = queue.LifoQueue()
        self._all: set[_Child] = set()
        self._lock = threading.Lock()
        self._closing = False
        for child in [_Child(self._words) for _ in range(count)]:
            self._all.add(child)
            self._idle.put(child)

    @property
    def pids(self) -> list[int]:
        """The children's process ids."""
        return sorted(child.process.pid for child in self._all)

    def read(self, data: bytes) -> ImageArray:
        """Return an upload's pixels, shape (H, W, 3), uint8 RGB, upright.

        Raises:
            ImageError: If it is no readable picture, exceeds the limits, or takes too long.
            ServiceError: If the service is stopping (503).
        """
        child = self._idle.get()
        try:
            if self._closing:
                raise ServiceError("the service is stopping.", status=503, kind="Stopping")
            pixels = child.read(data, self._seconds)
        except TimeoutError:
            child = self._replace(child)
            raise ImageError(
                f"the picture takes more than {self._seconds:g} s to decode; save it anew, or make "
                "it smaller."
            ) from None
        except _Gone:
            child = self._replace(child)
            raise ImageError(
                "the picture cannot be decoded: it needs too much memory, or is damaged."
            ) from None
        finally:
            self._idle.put(child)
        return pixels

    def _replace(self, child: _Child) -> _Child:
        LOG.warning("a decoder was ended by a picture and is replaced")
        child.end()
        with self._lock:
            self._all.discard(child)
            fresh = _Child(self._words)
            self._all.add(fresh)
            if self._closing:
                fresh.end()
        return fresh

    def close(self) -> None:
        """End the children."""
        with self._lock:
            self._closing = True
            for child in self._all:
                child.end()


class _Child:
    def __init__(self, words: list[str]) -> None:
        threads = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"), "1")
        self.process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            env={**os.environ, **threads},
            bufsize=0,
        )
        self._is_ready = False
        stdin, stdout = self.process.stdin, self.process.stdout
        self._pipes = [pipe for pipe in (stdin, stdout) if pipe is not None]
        self._to, self._from = (pipe.fileno() for pipe in self._pipes)
        for number in (self._to, self._from):
            _widen(number)
            os.set_blocking(number, False)

    def read(self, data: bytes, seconds: float) -> ImageArray:
        if not self._is_ready:
            self._answer(time.monotonic() + _START_S)
            self._is_ready = True
        until = time.monotonic() + seconds
        self._send(LENGTH.pack(len(data)), until)
        self._send(data, until)
        return self._answer(until)

    def _answer(self, until: float) -> ImageArray:
        head = memoryview(bytearray(HEAD.size))
        self._fill(head, until)
        is_good, count, height, width = HEAD.unpack(head)
        if not is_good:
            words = memoryview(bytearray(count))
            self._fill(words, until)
            raise ImageError(bytes(words).decode("utf-8", "replace"))
        if count != height * width * 3:
            raise _Gone
        pixels = np.empty((height, width, 3), np.uint8)
        if count:
            self._fill(pixels.data.cast("B"), until)
        return pixels

    def _send(self, data: bytes, until: float) -> None:
        left = memoryview(data)
        while left:
            _wait(self._to, selectors.EVENT_WRITE, until)
            try:
                left = left[os.write(self._to, left[:_PIPE_BYTES]) :]
            except BlockingIOError:
                continue
            except OSError as error:
                raise _Gone from error

    def _fill(self, target: memoryview, until: float) -> None:
        while target:
            _wait(self._from, selectors.EVENT_READ, until)
            try:
                count = os.readv(self._from, [target])
            except BlockingIOError:
                continue
            except OSError as error:
                raise _Gone from error
            if not count:
                raise _Gone
            target = target[count:]

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in self._pipes:
            pipe.close()


def _wait(pipe: int, event: int, until: float) -> None:
    """Wait until a pipe can be read or written.

    Raises:
        TimeoutError: If that takes too long.
        _Gone: If the pipe was closed.
    """
    try:
        with selectors.DefaultSelector() as waiting:
            waiting.register(pipe, event)
            if not waiting.select(max(0.0, until - time.monotonic())):
                raise TimeoutError
    except ValueError as error:
        raise _Gone from error


def _widen(number: int) -> None:
    with contextlib.suppress(ImportError, AttributeError, OSError):
        import fcntl

        fcntl.fcntl(number, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
