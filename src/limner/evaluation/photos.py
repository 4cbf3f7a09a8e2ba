"""From the photos of a protocol to one embedding each, with a cache."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from limner.errors import ProtocolError
from limner.types import Face, FloatArray, ImageArray

if TYPE_CHECKING:
    from limner.faces import Detector, Embedder

_CACHE_FORMAT = 1


def central_face(faces: Sequence[Face], size_hw: tuple[int, int]) -> Face | None:
    """Return the face that a portrait is of: large, and near the middle.

    The face with the largest ``area - 2 * offset^2`` is taken, where ``offset`` is the
    distance in pixels from the middle of its box to the middle of the photo.

    Args:
        faces: The faces of one photo.
        size_hw: Height and width of the photo.

    Returns:
        One of `faces`; None where there is none.

    Source: D. Sandberg, facenet, ``align_dataset_mtcnn.py``.
    """
    height, width = size_hw

    def weight(face: Face) -> float:
        x0, y0, x1, y1 = face.box_xyxy
        dx, dy = (x0 + x1 - width) / 2, (y0 + y1 - height) / 2
        return face.area - 2 * (dx * dx + dy * dy)

    return max(faces, key=weight, default=None)


class CentralFace:
    """A detector that finds the central face only, so that no other one is embedded.

    Args:
        detector: Finds all faces.
    """

    def __init__(self, detector: Detector) -> None:
        self._detector = detector

    def detect(self, image: ImageArray) -> list[Face]:
        """Return at most one face of an upright RGB photo, shape (H, W, 3)."""
        face = central_face(self._detector.detect(image), (image.shape[0], image.shape[1]))
        return [] if face is None else [face]


@dataclass(frozen=True, eq=False)
class EmbeddedPhotos:
    """One embedding for each photo.

    Attributes:
        vectors: Shape (N, D), float32, unit rows; zeros where there is no face.
        found: Shape (N,), whether a face was found.
        boxes_xyxy: Shape (N, 4), float32, the face's box; NaN where there is none.
        unreadable: Index and reason of each photo that could not be read.
        embedder_id: The embedder that made the vectors.
        cached: Whether they came from the cache.
    """

    vectors: FloatArray
    found: NDArray[np.bool_]
    boxes_xyxy: FloatArray
    unreadable: tuple[tuple[int, str], ...]
    embedder_id: str
    cached: bool


def embed_photos(
    paths: Sequence[str | Path],
    embedder: Embedder,
    *,
    detector: Detector | None = None,
    cache: str | Path | None = None,
    on_photo: Callable[[], None] | None = None,
) -> EmbeddedPhotos:
    """Embed the central face of each photo.

    A photo that cannot be read counts as one without a face, and is listed.

    Args:
        paths: The photos.
        embedder: Makes the embeddings.
        detector: Finds the faces; default: YuNet.
        cache: Folder in which embeddings are kept. They are used again for the same embedder,
            detector and files (path, size and time of change).
        on_photo: Called after each photo.

    Raises:
        ProtocolError: If the cache cannot be written, or not a single photo shows a face.
        WeightsError: If weights cannot be had.
    """
    from limner.faces import YuNet

    detector = YuNet(threads=1) if detector is None else detector
    kept = None if cache is None else _cache_file(Path(cache), paths, embedder, detector)
    result = None if kept is None else _load(kept, len(paths), embedder.embedder_id)
    if result is None:
        result = _embed(paths, embedder, detector, on_photo)
        if kept is not None:
            _save(kept, result)
    if not result.found.any():
        reason = f" ({result.unreadable[0][1]})" if result.unreadable else ""
        raise ProtocolError(f"none of the {len(paths):,} photos shows a face{reason}.")
    return result


def _embed(
    paths: Sequence[str | Path],
    embedder: Embedder,
    detector: Detector,
    on_photo: Callable[[], None] | None,
) -> EmbeddedPhotos:
    from limner.faces import FaceAnalyzer

    analyzer = FaceAnalyzer(CentralFace(detector), embedder)
    vectors = np.zeros((len(paths), embedder.dim), np.float32)
    boxes = np.full((len(paths), 4), np.nan, np.float32)
    found = np.zeros(len(paths), bool)
    unreadable: list[tuple[int, str]] = []
    for index, photo in enumerate(analyzer.analyze_many(paths, on_error="yield")):
        if photo.error is not None:
            unreadable.append((index, str(photo.error)))
        for face in photo.faces or ():
            if face.embedding is not None:
                vectors[index] = face.embedding.vector
                boxes[index] = face.box_xyxy
                found[index] = True
        if on_photo is not None:
            on_photo()
    return EmbeddedPhotos(
        vectors, found, boxes, tuple(unreadable), embedder.embedder_id, cached=False
    )


def _cache_file(
    folder: Path, paths: Sequence[str | Path], embedder: Embedder, detector: Detector
) -> Path:
    """Name the cache file by everything that the embeddings depend on."""
    digest = hashlib.sha256()
    settings = [getattr(detector, name, None) for name in ("min_score", "min_size")]
    digest.update(repr((_CACHE_FORMAT, type(detector).__name__, settings)).encode())
    for path in paths:
        digest.update(os.fsencode(os.path.abspath(path)))
        with contextlib.suppress(OSError):
            status = os.stat(path)
            digest.update(f"\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    identity = "".join(c if c.isalnum() or c in "-_." else "_" for c in embedder.embedder_id)
    return folder / f"{identity}-{digest.hexdigest()[:16]}.npz"


def _load(path: Path, count: int, embedder_id: str) -> EmbeddedPhotos | None:
    """Read a cache file; None where there is none that can be used."""
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as kept:
            arrays = {name: kept[name] for name in kept.files}
        indices, reasons = arrays["unreadable_index"], arrays["unreadable_reason"]
        result = EmbeddedPhotos(
            vectors=arrays["vectors"].astype(np.float32, copy=False),
            found=arrays["found"].astype(bool, copy=False),
            boxes_xyxy=arrays["boxes_xyxy"].astype(np.float32, copy=False),
            unreadable=tuple(
                (int(i), str(reason)) for i, reason in zip(indices, reasons, strict=True)
            ),
            embedder_id=str(arrays["embedder_id"]),
            cached=True,
        )
    except Exception:  # absent or damaged: it is only a cache, and is made again
        return None
    fits = result.vectors.shape[:1] == result.found.shape == (count,)
    return result if fits and result.embedder_id == embedder_id else None


def _save(path: Path, result: EmbeddedPhotos) -> None:
    arrays: dict[str, Any] = {
        "vectors": result.vectors,
        "found": result.found,
        "boxes_xyxy": result.boxes_xyxy,
        "unreadable_index": np.array([i for i, _ in result.unreadable], np.int64),
        "unreadable_reason": np.array([reason for _, reason in result.unreadable], np.str_),
        "embedder_id": np.array(result.embedder_id),
    }
    temporary = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as stream:
            np.savez(stream, **arrays)
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        reason = (error.strerror or str(error)).lower()
        raise ProtocolError(f"the cache {path} cannot be written: {reason}.") from error
