"""Fit what limner ships, on LFW View 1 alone: facenet's centre and every calibration.

Writes ``src/limner/faces/data/centres.json`` and ``src/limner/similarity/shipped/*.json``.
``limner evaluate fit`` does the second part for any embedder and any photos.
"""

from __future__ import annotations

import json

import numpy as np

from common import DATA, REPOSITORY
from limner.evaluation import embed_photos, fit_from_files, read_pairs
from limner.faces import load_embedder
from limner.faces.embed import shipped_centre

LFW = DATA / "lfw"
TRAIN, TEST = LFW / "pairsDevTrain.txt", LFW / "pairsDevTest.txt"
CACHE = REPOSITORY / "out" / "cache"
WORDS = (
    "LFW View 1: fitted on pairsDevTrain (1,100 + 1,100 pairs), checked on pairsDevTest "
    "(500 + 500), false matches from all pairs of different people among their photos"
)
EMBEDDERS = (("facenet", False), ("facenet", True), ("dlib", False), ("duo", False), ("duo", True))


def fit_centre() -> None:
    """Write the mean of facenet's unit embeddings over the photos of View 1."""
    embedder = load_embedder("facenet")
    embedder.centre = None
    embedder.embedder_id += "-uncentred"
    paths = sorted({p for file in (TRAIN, TEST) for p in read_pairs(file).locate(LFW / "images")})
    photos = embed_photos(paths, embedder, cache=CACHE)
    centre = photos.vectors[photos.found].mean(axis=0)
    target = REPOSITORY / "src" / "limner" / "faces" / "data" / "centres.json"
    row = [round(float(v), 6) for v in centre]
    target.write_text(json.dumps({"facenet": row}) + "\n", "utf-8")
    print(f"facenet's centre: length {np.linalg.norm(centre):.4f}, {photos.found.sum()} photos")


def fit_calibrations() -> None:
    """Write the calibration of every shipped embedder."""
    folder = REPOSITORY / "src" / "limner" / "similarity" / "shipped"
    for name, mirror in EMBEDDERS:
        embedder = load_embedder(name, mirror=mirror)
        calibration = fit_from_files(
            TRAIN, TEST, LFW / "images", embedder, fitted_on=WORDS, cache=CACHE
        )
        calibration.save(folder / f"{name}{'-m' if mirror else ''}.json")
        print(embedder.embedder_id, json.dumps(calibration.figures["heads"], indent=1))


if __name__ == "__main__":
    fit_centre()
    assert shipped_centre("facenet") is not None
    fit_calibrations()
