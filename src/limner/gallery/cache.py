"""The saved index: one file beside the gallery that may be lost at any moment.

Layout: what `faiss.write_index` writes, the arrays of `IvfIndex`, then a manifest in JSON, its
length (8 bytes, little endian), the BLAKE2b digest of everything before (32 bytes) and a
magic word. The digest is checked before faiss reads a single byte, since faiss can crash on
a damaged file. (BLAKE2b: 2.5 times as fast as SHA-256 on a processor without SHA
instructions.)
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from limner.gallery.inverted import IvfIndex

FORMAT = 1
FILE_NAME = "ivf.index"
_MAGIC = b"LMNRIVF1"
_DIGEST_BYTES = 32
_TAIL_BYTES = 8 + _DIGEST_BYTES + len(_MAGIC)
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Stamp:
    """Which state of the store an index mirrors.

    Attributes:
        epoch: The store's epoch.
        dim: Width of the embeddings.
        last_face: The largest embedding id in the index.
        last_removal: The last entry of the log of removals that was followed.
        trained_on: How many embeddings the store had when the index was trained.
    """

    epoch: str
    dim: int
    last_face: int
    last_removal: int
    trained_on: int


class IndexCache:
    """Keeps one saved index in a folder beside the gallery.

    Args:
        gallery: The gallery's file; the folder is ``<gallery>.index``.
        read_only: Never write.
    """

    def __init__(self, gallery: Path, *, read_only: bool) -> None:
        self.folder = gallery.with_name(gallery.name + ".index")
        self.path = self.folder / FILE_NAME
        self._read_only = read_only

    @property
    def exists(self) -> bool:
        """Whether an index is saved, good or bad."""
        return self.path.exists()

    def discard(self) -> None:
        """Delete the saved index and what interrupted runs have left behind."""
        if self._read_only:
            return
        with contextlib.suppress(OSError):
            for entry in list(self.folder.iterdir()):
                if entry.name.startswith(FILE_NAME):
                    entry.unlink(missing_ok=True)
            self.folder.rmdir()

    def load(self) -> tuple[IvfIndex, Stamp] | None:
        """Return the saved index, or None if there is none that can be used."""
        try:
            with open(self.path, "rb") as stream:
                if not _is_sound(stream):
                    return None
                manifest = _read_manifest(stream)
                if manifest["format"] != FORMAT:
                    return None
                return _read_index(stream, manifest)
        # A cache is never a reason to fail: whatever is wrong with it, it is made anew.
        except Exception:
            return None

    def save(self, index: IvfIndex, stamp: Stamp) -> bool:
        """Replace the saved index; return False where the disk does not take it."""
        if self._read_only:
            return False
        faiss = _faiss()
        temporary = self.path.with_name(f"{FILE_NAME}.{secrets.token_hex(8)}.part")
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            self._sweep()
            descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
            with os.fdopen(descriptor, "w+b") as stream:
                writer = faiss.PyCallbackIOWriter(stream.write, _BLOCK)
                faiss.write_index(index.faiss_index, writer)
                del writer  # it flushes when it dies
                document = {
                    "format": FORMAT,
                    "stamp": asdict(stamp),
                    **_write_arrays(stream, index),
                }
                manifest = json.dumps(document).encode()
                stream.write(manifest + len(manifest).to_bytes(8, "little"))
                stream.write(_digest(stream, stream.tell()) + _MAGIC)
            os.replace(temporary, self.path)
        except (OSError, RuntimeError):
            with contextlib.suppress(OSError):
                temporary.unlink()
            return False
        return True

    def _sweep(self) -> None:
        """Delete the unfinished files of runs that were killed (older than an hour)."""
        import time

        for entry in self._parts():
            with contextlib.suppress(OSError):
                if time.time() - entry.stat().st_mtime > 3600:
                    entry.unlink()

    def _parts(self) -> Iterator[Path]:
        yield from self.folder.glob(f"{FILE_NAME}.*.part")


def _faiss() -> Any:
    # Its type stubs lack the callback readers and writers.
    return importlib.import_module("faiss")


def _digest(stream: BinaryIO, length: int) -> bytes:
    """Return the BLAKE2b digest of the first `length` bytes; the stream stands behind them."""
    stream.seek(0)
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    while length > 0:
        block = stream.read(min(_BLOCK, length))
        if not block:
            break
        digest.update(block)
        length -= len(block)
    return digest.digest()


def _is_sound(stream: BinaryIO) -> bool:
    """Tell whether the file ends with the digest of everything before it."""
    size = stream.seek(0, os.SEEK_END)
    if size < _TAIL_BYTES:
        return False
    end = _DIGEST_BYTES + len(_MAGIC)
    stream.seek(size - end)
    tail = stream.read(end)
    return tail[_DIGEST_BYTES:] == _MAGIC and tail[:_DIGEST_BYTES] == _digest(stream, size - end)


def _read_manifest(stream: BinaryIO) -> dict[str, Any]:
    """Return the manifest of a sound file."""
    size = stream.seek(0, os.SEEK_END)
    stream.seek(size - _TAIL_BYTES)
    length = int.from_bytes(stream.read(8), "little")
    stream.seek(size - _TAIL_BYTES - length)
    document: dict[str, Any] = json.loads(stream.read(length))
    return document


def _write_arrays(stream: BinaryIO, index: IvfIndex) -> dict[str, Any]:
    """Write the arrays and return what is needed to read them again."""
    start = stream.tell()
    for array in (index.turn, index.ids, index.codes):
        stream.write(np.ascontiguousarray(array).data)
    return {
        "arrays": start,
        "rows": index.rows,
        "kept": len(index.turn),
        "step": float(index.step),
        "share": index.share,
    }


def _read_index(stream: BinaryIO, manifest: dict[str, Any]) -> tuple[IvfIndex, Stamp] | None:
    stamp = Stamp(**manifest["stamp"])
    rows, kept = int(manifest["rows"]), int(manifest["kept"])
    stream.seek(int(manifest["arrays"]))
    turn = _read_array(stream, np.dtype("<f4"), (kept, stamp.dim))
    ids = _read_array(stream, np.dtype("<i8"), (rows,))
    codes = _read_array(stream, np.dtype("i1"), (rows, kept))
    faiss = _faiss()
    stream.seek(0)
    reader = faiss.PyCallbackIOReader(stream.read, _BLOCK)
    inner = faiss.read_index(reader)
    if inner.d != kept or inner.ntotal > rows:
        return None
    index = IvfIndex(
        inner,
        turn=turn,
        step=float(manifest["step"]),
        trained_on=stamp.trained_on,
        share=float(manifest["share"]),
        ids=ids,
        codes=codes,
    )
    return index, stamp


def _read_array(stream: BinaryIO, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    array = np.empty(shape, dtype=dtype)
    if array.nbytes and stream.readinto(array.data.cast("B")) != array.nbytes:  # type: ignore[attr-defined]
        raise ValueError("the file is too short")
    return array
