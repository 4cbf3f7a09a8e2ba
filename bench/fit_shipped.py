"""Fit what limner ships, on LFW View 1 alone: ranges, facenet's centre, every calibration.

Writes ``src/limner/weights/ranges/facenet.json`` (what the graph in 8-bit integers rounds),
``src/limner/faces/data/centres.json`` and ``src/limner/similarity/shipped/*.json``.
``limner evaluate fit`` does the second part for any embedder and any photos.
"""

from __future__ import annotations

import json

import numpy as np
import onnx
from onnx import helper

from common import DATA, REPOSITORY
from crops import photos_of_view_1
from limner import images, weights
from limner.evaluation import embed_photos, fit_from_files
from limner.evaluation.photos import central_face
from limner.faces import YuNet, load_embedder
from limner.faces.engine import open_session
from limner.faces.load import shipped_centre
from limner.weights.write_int8 import rounded_tensors

LFW = DATA / "lfw"
TRAIN, TEST = LFW / "pairsDevTrain.txt", LFW / "pairsDevTest.txt"
CACHE = REPOSITORY / "out" / "cache"
WORDS = (
    "LFW View 1: fitted on pairsDevTrain (1,100 + 1,100 pairs), checked on pairsDevTest "
    "(500 + 500), false matches from all pairs of different people among their photos"
)
EMBEDDERS = (("facenet", False), ("facenet", True), ("dlib", False), ("dlib", True), ("duo", False))


def fit_ranges(name: str = "facenet", every: int = 40) -> None:
    """Write nine tenths of the lowest and highest values of an embedder's tensors.

    They are those of the float32 graph over every fortieth photo of View 1 (125 faces). A finer
    grid gains more than the rare peaks lose that it cuts.
    """
    graph = onnx.load(str(weights.load(name, kinds=("onnx",)).files["onnx"]))
    names = rounded_tensors(graph.graph)
    graph.graph.output.extend(helper.make_empty_tensor_value_info(tensor) for tensor in names)
    CACHE.mkdir(parents=True, exist_ok=True)
    onnx.save(graph, CACHE / f"{name}-all-tensors.onnx")
    session = open_session(CACHE / f"{name}-all-tensors.onnx")
    embedder, detector = load_embedder(name, engine="onnxruntime"), YuNet()
    found: dict[str, tuple[float, float]] = {}
    for path in photos_of_view_1(every=True)[0][::every]:
        photo = images.read(path)
        face = central_face(detector.detect(photo), photo.shape[:2])
        values = session.run(names, {"chips": embedder.chip(photo, face)[None]})
        for tensor, value in zip(names, values, strict=True):
            low, high = found.get(tensor, (0.0, 0.0))
            found[tensor] = min(low, float(value.min())), max(high, float(value.max()))
    target = REPOSITORY / "src" / "limner" / "weights" / "ranges" / f"{name}.json"
    rows = [
        f"{json.dumps(t)}: [{low * 0.9:.5g}, {high * 0.9:.5g}]" for t, (low, high) in found.items()
    ]
    target.parent.mkdir(exist_ok=True)
    target.write_text("{\n" + ",\n".join(rows) + "\n}\n", "utf-8")
    weights.load(name).files["int8"].unlink()  # the next load converts anew
    print(f"{name}: ranges of {len(found)} tensors")


def fit_centre() -> None:
    """Write the mean of facenet's unit embeddings over the photos of View 1, in float32."""
    embedder = load_embedder("facenet", engine="onnxruntime")
    embedder.centre = None
    embedder.embedder_id += "-uncentred"
    paths, _ = photos_of_view_1(every=True)
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
    fit_ranges()
    fit_centre()
    assert shipped_centre("facenet") is not None
    fit_calibrations()
