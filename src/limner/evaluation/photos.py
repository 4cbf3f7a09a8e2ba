"""From the photos of a protocol to one embedding each, with a cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from limner.errors import ProtocolError
from limner.evaluation.photo_cache import (
    Rows,
    cache_file,
    photo_keys,
    positions,
    read_rows,
    write_rows,
)
from limner.types import Face, FloatArray, ImageArray

if TYPE_CHECKING:
    from limner.faces import Detector, Embedder


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
        cached: Whether all of them came from the cache.
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
        cache: Folder in which embeddings are kept. They are used again, photo by photo, for
            the same embedder, detector and file (path, size and time of change).
        on_photo: Called after each photo that is not in the cache.

    Raises:
        ProtocolError: If the cache cannot be written, or not a single photo shows a face.
        WeightsError: If weights cannot be had.
    """
    from limner.faces import YuNet

    detector = YuNet(threads=1) if detector is None else detector
    keys = photo_keys(paths)
    file = None if cache is None else cache_file(Path(cache), embedder.embedder_id, detector)
    kept = None if file is None else read_rows(file, embedder.dim)
    known = np.full(len(paths), -1) if kept is None else positions(kept.keys, keys)
    missing = np.flatnonzero(known < 0)
    fresh = _embed([paths[int(i)] for i in missing], keys[missing], embedder, detector, on_photo)
    everything = fresh if kept is None else kept.followed_by(fresh)
    if file is not None and missing.size:
        write_rows(file, everything)
    known[missing] = np.arange(missing.size) + (0 if kept is None else len(kept.keys))
    rows = everything.take(known)
    unreadable = tuple((int(i), str(rows.reasons[i])) for i in np.flatnonzero(rows.reasons != ""))
    if not rows.found.any():
        reason = f" ({unreadable[0][1]})" if unreadable else ""
        raise ProtocolError(f"none of the {len(paths):,} photos shows a face{reason}.")
    return EmbeddedPhotos(
        vectors=rows.vectors,
        found=rows.found,
        boxes_xyxy=rows.boxes_xyxy,
        unreadable=unreadable,
        embedder_id=embedder.embedder_id,
        cached=not missing.size,
    )


def _embed(
    paths: Sequence[str | Path],
    keys: NDArray[np.str_],
    embedder: Embedder,
    detector: Detector,
    on_photo: Callable[[], None] | None,
) -> Rows:
    from limner.faces import FaceAnalyzer

    analyzer = FaceAnalyzer(CentralFace(detector), embedder)
    vectors = np.zeros((len(paths), embedder.dim), np.float32)
    boxes = np.full((len(paths), 4), np.nan, np.float32)
    found = np.zeros(len(paths), bool)
    reasons = [""] * len(paths)
    for index, photo in enumerate(analyzer.analyze_many(paths, on_error="yield")):
        if photo.error is not None:
            reasons[index] = str(photo.error)
        for face in photo.faces or ():
            if face.embedding is not None:
                vectors[index] = face.embedding.vector
                boxes[index] = face.box_xyxy
                found[index] = True
        if on_photo is not None:
            on_photo()
    return Rows(keys, vectors, found, boxes, np.array(reasons, np.str_))
