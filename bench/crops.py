"""Choose how facenet's chip is cut, on LFW View 1 alone.

For each candidate crop the photos of View 1's same-person pairs are embedded, and all pairs
of those photos are compared: the share of same-person pairs accepted at three false-match
rates, and the separation d' of the two kinds. View 1's own few pairs cannot tell good crops
apart; millions of pairs of its photos can.

Usage: ``python bench/crops.py [--all] [NAME ...]`` (about a minute and a half each). With
``--all`` every photo of View 1 is taken, and the embeddings are centred on their mean.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from common import DATA, machine, save
from limner.evaluation import embed_photos, read_pairs
from limner.faces import BoxCrop, load_embedder
from limner.faces.align import ARCFACE, DLIB, FACENET, Crop

LFW = DATA / "lfw"
RATES = (1e-3, 1e-4, 1e-5)
CANDIDATES: dict[str, Crop] = {
    "box 1.33 x 1.25": BoxCrop(1.33, 1.25),
    "box 1.5 x 1.2": BoxCrop(1.5, 1.2),
    "box 1.2 x 1.1": BoxCrop(1.2, 1.1),
    "box 1.1 x 1.1": BoxCrop(1.1, 1.1),
    "box 1.1 x 1.0": BoxCrop(1.1, 1.0),
    "box 1.2 x 1.0": BoxCrop(1.2, 1.0),
    "box 1.2 x 1.0, up 0.04": BoxCrop(1.2, 1.0, -0.04),
    "box 1.3 x 1.0, up 0.04": BoxCrop(1.3, 1.0, -0.04),
    "box 1.2 x 1.1, up 0.04": BoxCrop(1.2, 1.1, -0.04),
    "box 1.2 x 1.05, up 0.04": BoxCrop(1.2, 1.05, -0.04),
    "box 1.2 x 1.05, up 0.04, cubic": BoxCrop(1.2, 1.05, -0.04, "cubic"),
    "box 1.2 x 1.05, up 0.04, cubic, steadied": FACENET,
    "landmarks, as dlib": DLIB,
    "landmarks, as ArcFace": ARCFACE,
}


def photos_of_view_1(*, every: bool) -> tuple[list[Path], np.ndarray]:
    """Return the photos of View 1's same-person pairs, or all, and whose each is."""
    chosen: set[Path] = set()
    for name in ("pairsDevTrain.txt", "pairsDevTest.txt"):
        pairs = read_pairs(LFW / name)
        located = pairs.locate(LFW / "images")
        wanted = pairs.same | every
        for a, b in zip(pairs.left[wanted], pairs.right[wanted], strict=True):
            chosen |= {located[int(a)], located[int(b)]}
    paths = sorted(chosen)
    return paths, np.array([path.parent.name for path in paths])


def score(vectors: np.ndarray, people: np.ndarray) -> dict[str, float]:
    """Return the accepted share at each rate, and d', over all pairs of photos."""
    upper = np.triu_indices(len(vectors), 1)
    likeness = (vectors @ vectors.T)[upper]
    same = (people[:, None] == people[None])[upper]
    own, others = likeness[same], np.sort(likeness[~same])[::-1]
    out = {f"{rate:g}": float((own >= others[int(len(others) * rate)]).mean()) for rate in RATES}
    spread = np.sqrt((own.var() + others.var()) / 2)
    return {**out, "d_prime": float((own.mean() - others.mean()) / spread)}


def main() -> None:
    """Measure the crops."""
    every = "--all" in sys.argv
    paths, people = photos_of_view_1(every=every)
    results = {}
    for name in [a for a in sys.argv[1:] if a != "--all"] or CANDIDATES:
        embedder = load_embedder("facenet")
        embedder.crop, embedder.centre = CANDIDATES[name], None
        vectors = embed_photos(paths, embedder).vectors
        if every:
            vectors = vectors - vectors.mean(0)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        results[name] = score(vectors, people)
        print(name, {k: round(v, 4) for k, v in results[name].items()}, flush=True)
    part = "all photos, centred" if every else "crops"
    save("crops", {"machine": machine(), part: {"photos": len(paths), **results}}, merge=True)


if __name__ == "__main__":
    main()
