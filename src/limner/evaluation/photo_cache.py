"""Embeddings of photos that were embedded before: a cache on disk, photo by photo.

One file for each embedder and detector setting, so that the pairs protocol, identification
and fitting share what they have in common. It is only a cache: whatever is wrong with it,
it is made again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from limner.errors import ProtocolError
from limner.types import FloatArray

_FORMAT = 2


@dataclass(frozen=True, eq=False)
class Rows:
    """What is known of some photos, a row each.

    Attributes:
        keys: Shape (N,), text: see `photo_keys`.
        vectors: Shape (N, D), float32.
        found: Shape (N,), whether a face was found.
        boxes_xyxy: Shape (N, 4), float32.
        reasons: Shape (N,), text: why the photo could not be read; empty where it could.
    """

    keys: NDArray[np.str_]
    vectors: FloatArray
    found: NDArray[np.bool_]
    boxes_xyxy: FloatArray
    reasons: NDArray[np.str_]

    def take(self, indices: NDArray[np.intp]) -> Rows:
        """Return the rows at the indices, in their order."""
        return Rows(
            self.keys[indices],
            self.vectors[indices],
            self.found[indices],
            self.boxes_xyxy[indices],
            self.reasons[indices],
        )

    def followed_by(self, other: Rows) -> Rows:
        """Return these rows and another's below them."""
        return Rows(
            np.concatenate([self.keys, other.keys]),
            np.concatenate([self.vectors, other.vectors]),
            np.concatenate([self.found, other.found]),
            np.concatenate([self.boxes_xyxy, other.boxes_xyxy]),
            np.concatenate([self.reasons, other.reasons]),
        )


def photo_keys(paths: Sequence[str | Path]) -> NDArray[np.str_]:
    """Return a key for each photo: a digest of its path, size and time of change."""
    keys = []
    for path in paths:
        digest = hashlib.sha256(os.fsencode(os.path.abspath(path)))
        with contextlib.suppress(OSError):
            status = os.stat(path)
            digest.update(f"\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
        keys.append(digest.hexdigest()[:32])
    return np.array(keys, np.str_)


def cache_file(folder: Path, embedder_id: str, detector: object) -> Path:
    """Name the cache file by the embedder and the detector's settings."""
    settings = [getattr(detector, name, None) for name in ("min_score", "min_size")]
    words = repr((_FORMAT, type(detector).__name__, settings))
    identity = "".join(c if c.isalnum() or c in "-_." else "_" for c in embedder_id)
    return folder / f"{identity}-{hashlib.sha256(words.encode()).hexdigest()[:12]}.npz"


def read_rows(path: Path, dim: int) -> Rows | None:
    """Read a cache file; None where there is none that can be used."""
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as kept:
            rows = Rows(
                keys=kept["keys"].astype(np.str_),
                vectors=kept["vectors"].astype(np.float32, copy=False),
                found=kept["found"].astype(bool, copy=False),
                boxes_xyxy=kept["boxes_xyxy"].astype(np.float32, copy=False),
                reasons=kept["reasons"].astype(np.str_),
            )
    except Exception:  # absent or damaged: it is made again
        return None
    count = len(rows.keys)
    fits = (
        rows.vectors.shape == (count, dim)
        and rows.boxes_xyxy.shape == (count, 4)
        and rows.found.shape == rows.reasons.shape == (count,)
    )
    return rows if fits else None


def write_rows(path: Path, rows: Rows) -> None:
    """Write a cache file, whole or not at all.

    Raises:
        ProtocolError: If it cannot be written.
    """
    temporary = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as stream:
            np.savez(
                stream,
                keys=rows.keys,
                vectors=rows.vectors,
                found=rows.found,
                boxes_xyxy=rows.boxes_xyxy,
                reasons=rows.reasons,
            )
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        reason = (error.strerror or str(error)).lower()
        raise ProtocolError(f"the cache {path} cannot be written: {reason}.") from error


def positions(keys: NDArray[np.str_], wanted: NDArray[np.str_]) -> NDArray[np.intp]:
    """Return where each wanted key stands among the keys; -1 where it does not."""
    place = {key: i for i, key in enumerate(keys.tolist())}
    return np.array([place.get(key, -1) for key in wanted.tolist()], np.intp)
