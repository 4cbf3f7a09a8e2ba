"""Files under way: for their owner's eyes alone, and swept if their maker was killed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

_PREFIX, _SUFFIX = ".", ".limner-export"
_ABANDONED_S = 24 * 3600.0


class Part:
    """A file under way: counts and digests what goes through.

    Args:
        path: Made; readable by its owner only.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stream = open_private(path)
        self._digest = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> None:
        """Append some bytes."""
        self._stream.write(data)
        self._digest.update(data)
        self.size += len(data)

    def line(self, document: dict[str, Any]) -> None:
        """Append a line of JSON."""
        self.write(json.dumps(document, ensure_ascii=False).encode() + b"\n")

    def close(self) -> dict[str, Any]:
        """Close the file; return its size and its digest."""
        self._stream.close()
        return {"bytes": self.size, "sha256": self._digest.hexdigest()}


def open_private(path: Path) -> IO[bytes]:
    """Open a new file that only its owner can read, from its first byte on."""
    return os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600), "w+b")


def bundle_parts(
    archive: Path, documents: dict[str, dict[str, Any]], parts: dict[str, Part]
) -> int:
    """Write documents and parts as a zip archive, wait for the disk, and return its bytes."""
    with (
        open_private(archive) as stream,
        zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED, allowZip64=True) as bundle,
    ):
        for name, document in documents.items():
            bundle.writestr(name, json.dumps(document, ensure_ascii=False, indent=1))
        for name, part in parts.items():
            kind = zipfile.ZIP_DEFLATED if name.endswith(".jsonl") else zipfile.ZIP_STORED
            bundle.write(part.path, name, compress_type=kind)
    with open(archive, "rb") as written:
        os.fsync(written.fileno())
    return archive.stat().st_size


@contextlib.contextmanager
def private_parts(target: Path) -> Iterator[Path]:
    """Give a private folder beside a target, for what will become it; nothing of it stays.

    What earlier ones left there when they were killed is removed first: a folder whose maker
    lives is locked.
    """
    _sweep(target.parent)
    folder = Path(tempfile.mkdtemp(_SUFFIX, f"{_PREFIX}{target.name[:100]}.", target.parent))
    try:
        with _held(folder):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[bool]:
    """Lock a folder while its maker lives; tell whether that was possible."""
    try:
        import fcntl
    except ImportError:  # then its age tells
        yield time.time() - folder.stat().st_mtime > _ABANDONED_S
        return
    number = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(number)


def _sweep(parent: Path) -> None:
    for folder in parent.glob(f"{_PREFIX}*{_SUFFIX}"):
        with contextlib.suppress(OSError), _held(folder) as is_abandoned:
            if is_abandoned:
                shutil.rmtree(folder, ignore_errors=True)
