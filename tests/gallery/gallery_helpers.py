"""Embeddings, a calibration and toy models for the gallery's tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from limner import images
from limner.faces import FaceAnalyzer
from limner.gallery import Gallery
from limner.similarity import Calibration, PairHead
from limner.types import Embedding, Face, FloatArray, ImageArray

EMBEDDER = "toy-0123456789ab-p1"
OTHER_EMBEDDER = "other-ba9876543210-p1"
DIM = 16
TAU = 0.8
SLOPE = 9.0


def unit(count: int, *, seed: int = 0, dim: int = DIM) -> NDArray[np.float32]:
    """Random unit vectors, (count, dim)."""
    rows = np.random.default_rng(seed).standard_normal((count, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def emb(vector: FloatArray, embedder_id: str = EMBEDDER) -> Embedding:
    return Embedding(np.asarray(vector, dtype=np.float32), embedder_id)


def near(vector: FloatArray, distance: float, *, seed: int = 0) -> FloatArray:
    """A unit vector at that squared distance from `vector`."""
    noise = np.random.default_rng(1000 + seed).standard_normal(vector.size)
    noise -= (noise @ vector) * vector
    noise /= np.linalg.norm(noise)
    cosine = 1 - distance / 2
    found = cosine * vector + np.sqrt(1 - cosine**2) * noise
    return (found / np.linalg.norm(found)).astype(np.float32)


def squared(a: FloatArray, b: FloatArray) -> float:
    """The oracle: squared distance in float64."""
    return float(((a.astype(np.float64) - b.astype(np.float64)) ** 2).sum())


def template(
    vectors: Sequence[FloatArray], qualities: Sequence[float] | None = None
) -> NDArray[np.float32]:
    """The oracle: the unit vector along sum_i q_i v_i, in float64; q_i = 1 where not given."""
    total = np.zeros(vectors[0].size)
    for number, vector in enumerate(vectors):
        total += (1.0 if qualities is None else qualities[number]) * vector.astype(np.float64)
    return (total / np.sqrt((total**2).sum())).astype(np.float32)


def toy_calibration(embedder_id: str = EMBEDDER) -> Calibration:
    head = PairHead("squared_l2", None, threshold=TAU, slope=SLOPE)
    return Calibration(
        embedder_id=embedder_id,
        fitted_on="toys",
        same_pairs=100,
        different_pairs=1000,
        head=head,
        heads={"squared_l2": head},
        false_match=((0.001, 0.5), (0.01, 0.6), (0.1, 0.7)),
    )


def open_new(folder: Path, name: str = "g.limner") -> Gallery:
    return Gallery.open(folder / name, create=True)


# --- toy models: a photo is a grey board, a face a coloured square on it --------------------


class SquareDetector:
    """Finds the coloured squares that `board` paints."""

    def detect(self, image: ImageArray) -> list[Face]:
        spread = image.max(axis=2).astype(int) - image.min(axis=2)
        columns = (spread > 8).any(axis=0)
        edges = np.flatnonzero(np.diff(np.concatenate([[0], columns.astype(int), [0]])))
        faces = []
        for left, right in edges.reshape(-1, 2):
            rows = np.flatnonzero((spread[:, left:right] > 8).any(axis=1))
            box = (float(left), float(rows[0]), float(right), float(rows[-1] + 1))
            faces.append(Face(box, np.zeros((5, 2), np.float32), 0.9))
        return sorted(faces, key=lambda face: -face.area)


class ColourEmbedder:
    """Turns the colour of a square into a unit vector: like colours, like vectors."""

    chip_size = 8

    def __init__(self, embedder_id: str = EMBEDDER, *, dim: int = DIM, seed: int = 5) -> None:
        self.name = embedder_id.split("-")[0]
        self.embedder_id = embedder_id
        self.dim = dim
        self._base = np.random.default_rng(seed).standard_normal((256, dim))

    def vector(self, colour: Sequence[float]) -> FloatArray:
        red, green, blue = colour
        drift = np.array([green, blue, 255.0 - green, 255.0 - blue]) / 255
        row = self._base[round(red)].copy()
        row[:4] += 0.5 * drift
        return (row / np.linalg.norm(row)).astype(np.float32)

    def chip(self, image: ImageArray, face: Face) -> ImageArray:
        x0, y0, x1, y1 = face.box_xyxy
        x, y = int((x0 + x1) / 2), int((y0 + y1) / 2)
        return np.broadcast_to(image[y, x], (self.chip_size, self.chip_size, 3)).copy()

    def embed_chips(self, chips: Sequence[ImageArray]) -> FloatArray:
        return np.stack([self.vector(chip[0, 0]) for chip in chips])


def toy_analyzer(embedder_id: str = EMBEDDER, **options: int) -> FaceAnalyzer:
    return FaceAnalyzer(SquareDetector(), ColourEmbedder(embedder_id, **options))


def board(path: Path, *colours: tuple[int, int, int], size: int = 24) -> Path:
    """Write a photo with one face of each colour; the first is the largest."""
    picture = np.full((64, 40 * max(len(colours), 1) + 8, 3), 128, np.uint8)
    for number, colour in enumerate(colours):
        side = size - 2 * number
        picture[10 : 10 + side, 8 + 40 * number : 8 + 40 * number + side] = colour
    path.parent.mkdir(parents=True, exist_ok=True)
    images.write(path, picture)
    return path
