"""A folder of toy portraits, with a detector and an embedder that understand them.

A portrait is a coloured square (the face; its colour says who it is) on grey. Photos that
are all grey have no face. No weights are needed, and the right answers are known.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from limner import images
from limner.types import Face, FloatArray, ImageArray

SIDE = 64
GREY = 120
FACELESS = np.full((20, 20, 3), GREY, np.uint8)


class ToyDetector:
    min_score = 0.6
    min_size = 20

    def detect(self, image: ImageArray) -> list[Face]:
        coloured = (np.abs(image.astype(int) - GREY) > 12).any(axis=2)
        if not coloured.any():
            return []
        rows, columns = np.flatnonzero(coloured.any(axis=1)), np.flatnonzero(coloured.any(axis=0))
        x0, x1, y0, y1 = columns[0], columns[-1] + 1, rows[0], rows[-1] + 1
        box = (float(x0), float(y0), float(x1), float(y1))
        corner = Face((0.0, 0.0, 9.0, 9.0), np.zeros((5, 2), np.float32), 0.9)  # somebody behind
        return [corner, Face(box, np.zeros((5, 2), np.float32), 0.9)]


class ToyEmbedder:
    name = "toy"
    dim = 3
    chip_size = 8

    def __init__(self, embedder_id: str = "toy-000000000000-p1") -> None:
        self.embedder_id = embedder_id
        self.embedded = 0

    def chip(self, image: ImageArray, face: Face) -> ImageArray:
        x0, y0, x1, y1 = (round(v) for v in face.box_xyxy)
        middle = image[(y0 + y1) // 2, (x0 + x1) // 2]
        return np.broadcast_to(middle, (8, 8, 3)).astype(np.uint8)

    def embed_chips(self, chips: Sequence[ImageArray]) -> FloatArray:
        self.embedded += len(chips)
        rows = np.array([chip.reshape(-1, 3).mean(axis=0) - 127.5 for chip in chips], np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def portrait(colour: Sequence[float], rng: np.random.Generator) -> ImageArray:
    picture = np.full((SIDE, SIDE, 3), GREY, np.uint8)
    x, y = rng.integers(14, 22, 2)
    picture[y : y + 28, x : x + 28] = np.clip(np.asarray(colour), 0, 255).astype(np.uint8)
    return picture


def make_folder(
    root: Path, *, people: int = 12, strangers: int = 12, noise: float = 6.0, seed: int = 0
) -> dict[str, int]:
    """Write ``Name/Name_0001.png`` and so on; returns how many photos each person has."""
    rng = np.random.default_rng(seed)
    counts = {}
    for person in range(people + strangers):
        direction = rng.standard_normal(3)
        colour = 127.5 + 110 * direction / np.linalg.norm(direction)
        name = f"Person_{person:02d}"
        counts[name] = 1 if person >= people else 2 + person % 3
        (root / name).mkdir(parents=True)
        for k in range(1, counts[name] + 1):
            picture = portrait(colour + noise * rng.standard_normal(3), rng)
            images.write(root / name / f"{name}_{k:04d}.png", picture)
    return counts


def make_pairs(
    path: Path, counts: dict[str, int], *, folds: int = 4, each: int = 6, seed: int = 0
) -> Path:
    """Write a view 2 file; with ``folds=0`` a view 1 file without its count."""
    rng = np.random.default_rng(seed)
    many = [name for name, n in counts.items() if n > 1]
    names = list(counts)
    same, different = [], []
    for _ in range(max(folds, 1) * each):
        name = many[rng.integers(len(many))]
        i, j = rng.choice(counts[name], 2, replace=False) + 1
        same.append(f"{name}\t{i}\t{j}")
        a, b = rng.choice(len(names), 2, replace=False)
        i, j = rng.integers(counts[names[a]]) + 1, rng.integers(counts[names[b]]) + 1
        different.append(f"{names[a]}\t{i}\t{names[b]}\t{j}")
    lines = [] if folds == 0 else [f"{folds}\t{each}"]
    for k in range(max(folds, 1)):
        lines += same[k * each : (k + 1) * each] + different[k * each : (k + 1) * each]
    path.write_text("\n".join(lines) + "\n")
    return path
