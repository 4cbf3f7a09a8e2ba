"""How the hard bench asks limner: by the calls that users have."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence

import numpy as np

from hard_data import Portrait, read_photo
from limner import similarity
from limner.faces import FaceAnalyzer
from limner.types import Embedding, Face, ImageArray, Pair
from spoil import Row


def judge(a: Embedding, b: Embedding) -> Pair:
    """Judge two faces as ``limner compare`` does."""
    compare = getattr(similarity, "compare", None)
    if compare is not None:
        return compare(a, b)
    calibration = similarity.shipped(a.embedder_id)
    if calibration is None:
        raise SystemExit(f"limner ships no threshold for {a.embedder_id}.")
    return calibration.head.judge(a.vector, b.vector)


def seed_of(portrait: Portrait) -> int:
    """Return the seed of a photo's noise."""
    return zlib.crc32(portrait.photo.encode())


def meant(
    faces: Sequence[Face], portrait: Portrait, row: Row, size_hw: tuple[int, int]
) -> Face | None:
    """Return the face that lies where the portrait's face went; None if it was not found.

    Args:
        faces: The faces of the spoiled photo.
        portrait: The clean photo's face.
        row: How the photo was spoiled.
        size_hw: Of the clean photo.
    """
    x, y = row.middle(portrait.face, size_hw)
    turn = row.move(portrait.face, size_hw)[:, :2]
    x0, y0, x1, y1 = portrait.face.box_xyxy
    reach = 0.5 * max(x1 - x0, y1 - y0) * abs(np.linalg.det(turn)) ** 0.5

    def distance(face: Face) -> float:
        a, b, c, d = face.box_xyxy
        return float(np.hypot((a + c) / 2 - x, (b + d) / 2 - y))

    nearest = min(faces, key=distance, default=None)
    return nearest if nearest is not None and distance(nearest) <= reach else None


def look(analyzer: FaceAnalyzer, portraits: Sequence[Portrait], row: Row) -> list[Face | None]:
    """Spoil photos, find and embed their faces; None where the face meant was not found."""
    sizes: list[tuple[int, int]] = []

    def spoiled() -> Iterator[ImageArray]:
        for portrait in portraits:
            image = read_photo(portrait)
            sizes.append((image.shape[0], image.shape[1]))
            yield row(image, portrait.face, seed_of(portrait))

    return [
        meant(photo.faces or (), portraits[index], row, sizes[index])
        for index, photo in enumerate(analyzer.analyze_many(spoiled()))
    ]


def embedding_of(face: Face) -> Embedding:
    """Return a face's embedding, which `analyze_many` has made."""
    if face.embedding is None:
        raise SystemExit("the face has no embedding.")
    return face.embedding
