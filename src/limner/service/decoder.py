"""The child that decodes uploads: pictures come in by one pipe, and pixels go out by another.

It runs as ``python -m limner.service.decoder``, with its limits as arguments; it ends when the
pipe does.
"""

from __future__ import annotations

import contextlib
import os
import signal
import struct
import sys
from typing import BinaryIO

from limner import images
from limner.errors import ImageError
from limner.images import Limits

HEAD = struct.Struct("<BQII")
"""Of an answer: whether it is pixels, how many bytes follow, height and width."""
LENGTH = struct.Struct("<Q")


def main(words: list[str]) -> None:
    """Decode what comes until nothing comes any more.

    Args:
        words: Bytes of a file, pixels, bytes when decoded, and bytes of memory, at most.
    """
    max_bytes, max_pixels, max_decoded, memory = map(int, words)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the service
    limits = Limits(
        max_bytes=max_bytes,
        max_pixels=max_pixels,
        max_decoded_bytes=max_decoded,
        advice="Make it smaller.",
    )
    source, sink = sys.stdin.buffer, os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what a library prints is no pixel
    _warm_up()
    _bound_memory(memory)
    _send(sink, b"", (0, 0), good=True)  # ready
    while len(head := source.read(LENGTH.size)) == LENGTH.size:
        data = source.read(*LENGTH.unpack(head))
        try:
            pixels = images.read(data, limits=limits)
            del data
            size_hw = int(pixels.shape[0]), int(pixels.shape[1])
            _send(sink, pixels.data.cast("B"), size_hw, good=True)
            del pixels
        except (ImageError, MemoryError) as error:
            words_of = str(error) or "the file does not fit into memory."
            _send(sink, words_of.encode(), (0, 0), good=False)


def _warm_up() -> None:
    """Import the decoders of ordinary photos before the first of them comes."""
    import io

    import cv2
    from PIL import Image

    cv2.setNumThreads(1)
    for kind in ("JPEG", "PNG", "WEBP"):
        buffer = io.BytesIO()
        Image.new("RGB", (16, 16)).save(buffer, kind)
        images.read(buffer.getvalue())


def _bound_memory(extra: int) -> None:
    """Allow so many bytes more than the process has now, where the system can hold it to that."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        with open("/proc/self/statm", "rb") as stream:
            pages = int(stream.read().split()[0])
        most = pages * resource.getpagesize() + extra
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _send(
    sink: BinaryIO, data: bytes | memoryview, size_hw: tuple[int, int], *, good: bool
) -> None:
    _write(sink, HEAD.pack(good, len(data), *size_hw))
    _write(sink, data)


def _write(sink: BinaryIO, data: bytes | memoryview) -> None:
    left = memoryview(data)
    while left:
        left = left[sink.write(left) :]


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
        main(sys.argv[1:])
