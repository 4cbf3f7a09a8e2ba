"""Fit what limner ships, on LFW View 1 alone: ranges, centres, calibrations and quality.

Writes ``src/limner/weights/ranges/*.json`` (what the graphs in 8-bit integers round),
``src/limner/faces/data/*.json`` and ``src/limner/similarity/shipped/*.json``.
Usage: ``python bench/fit_shipped.py [ranges] [centres] [calibrations] [quality]``.
``limner evaluate fit`` does the second part for any embedder and any photos.
"""

from __future__ import annotations

import json
import sys

import numpy as np
import onnx
from onnx import helper

from common import DATA, REPOSITORY
from crops import photos_of_view_1
from fit_quality import fit_quality
from limner import images, weights
from limner.evaluation import embed_photos, fit_from_files
from limner.evaluation.photos import central_face
from limner.faces import YuNet, load_embedder
from limner.faces.engine import open_session
from limner.weights.write_int8 import rounded_tensors
from spoiled import spoiled_faces

LFW = DATA / "lfw"
TRAIN, TEST = LFW / "pairsDevTrain.txt", LFW / "pairsDevTest.txt"
CACHE = REPOSITORY / "out" / "cache"
WORDS = (
    "LFW View 1: fitted on pairsDevTrain (1,100 + 1,100 pairs), checked on pairsDevTest "
    "(500 + 500), false matches from all pairs of different people among their photos"
)
EMBEDDERS = (
    *(("sface", False), ("sface", True), ("facenet", False), ("facenet", True)),
    *(("dlib", False), ("dlib", True), ("duo", False)),
)
CENTRED = {"sface": 2, "facenet": 1}
"""The embedders that are centred, and how many directions of nuisance are taken from each."""

SAMPLE = 3000
"""Values of a tensor that are taken from each face, beside its lowest and highest."""

SHARES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)
"""The shares of a tensor's lowest and highest value that are tried as ends of its grid."""


def fit_ranges(name: str, every: int = 40) -> None:
    """Write the ends of the grids of an embedder's tensors in 8-bit integers.

    Over every fortieth photo of View 1 (125 faces), in float32. facenet's are nine tenths of the
    lowest and highest values: a finer grid gains more than the rare peaks lose that it cuts.
    sface's are, tensor by tensor, the shares with the least squared error.
    """
    graph = onnx.load(str(weights.load(name, kinds=("onnx",)).files["onnx"]))
    names = rounded_tensors(graph.graph)
    graph.graph.output.extend(helper.make_empty_tensor_value_info(tensor) for tensor in names)
    CACHE.mkdir(parents=True, exist_ok=True)
    onnx.save(graph, CACHE / f"{name}-all-tensors.onnx")
    session = open_session(CACHE / f"{name}-all-tensors.onnx")
    embedder, detector = load_embedder(name, engine="onnxruntime"), YuNet()
    chips = []
    for path in photos_of_view_1(every=True)[0][::every]:
        photo = images.read(path)
        face = central_face(detector.detect(photo), photo.shape[:2])
        chips.append(embedder.chip(photo, face))
    chance = np.random.default_rng(0)
    seen: dict[str, list[np.ndarray]] = {tensor: [] for tensor in names}
    for chip in chips:
        for tensor, values in zip(names, session.run(names, {"chips": chip[None]}), strict=True):
            few = chance.choice(values.ravel(), min(values.size, SAMPLE), replace=False)
            seen[tensor].append(np.append(few, (values.min(), values.max())))
    rule = _nine_tenths if name == "facenet" else _least_error
    found = {tensor: rule(np.concatenate(values)) for tensor, values in seen.items()}
    target = REPOSITORY / "src" / "limner" / "weights" / "ranges" / f"{name}.json"
    rows = [f"{json.dumps(t)}: [{low:.5g}, {high:.5g}]" for t, (low, high) in found.items()]
    target.parent.mkdir(exist_ok=True)
    target.write_text("{\n" + ",\n".join(rows) + "\n}\n", "utf-8")
    weights.load(name).files["int8"].unlink()  # the next load converts anew
    print(f"{name}: ranges of {len(found)} tensors")


def _nine_tenths(values: np.ndarray) -> tuple[float, float]:
    return 0.9 * min(0.0, float(values.min())), 0.9 * max(0.0, float(values.max()))


def _least_error(values: np.ndarray) -> tuple[float, float]:
    """Return the ends of the grid of 256 steps that rounds values with the least squared error."""
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    best = (np.inf, low, high)
    for share_low in SHARES if low < 0 else (1.0,):
        for share_high in SHARES:
            ends = low * share_low, high * share_high
            step = max(ends[1] - ends[0], 1e-9) / 255
            zero = round(-ends[0] / step)
            rounded = (np.clip(np.rint(values / step) + zero, 0, 255) - zero) * step
            best = min(best, (float(((rounded - values) ** 2).mean()), *ends))
    return best[1], best[2]


def fit_centres() -> None:
    """Write what is taken from unit embeddings: their mean, and the directions of nuisance.

    The mean is that of the photos of View 1. The directions are the first principal ones of what
    spoiling a photo does to its embedding, over the half of the people that is fitted on.
    """
    spoiled = spoiled_faces()
    rows: dict[str, dict[str, list]] = {}
    for name, count in CENTRED.items():
        embedder = load_embedder(name)
        embedder.centre = embedder.nuisance = None
        embedder.embedder_id += "-uncentred"
        paths, _ = photos_of_view_1(every=True)
        photos = embed_photos(paths, embedder, cache=CACHE)
        centre = photos.vectors[photos.found].mean(axis=0)
        vectors = embedder.finish(spoiled.raw[name][0]).rows - centre
        whole = spoiled.row == "clean"
        clean = dict(zip(spoiled.photo[whole], vectors[whole], strict=True))
        moved = [
            vector - clean[number]
            for number, vector, row, own in zip(
                spoiled.photo, vectors, spoiled.row, spoiled.fitted, strict=True
            )
            if own and row != "clean" and not row.startswith("level") and number in clean
        ]
        directions = np.linalg.svd(np.array(moved), full_matrices=False)[2][:count]
        rows[name] = {
            "centre": [round(float(v), 6) for v in centre],
            "nuisance": [[round(float(v), 6) for v in row] for row in directions],
        }
        print(f"{name}'s centre: length {np.linalg.norm(centre):.4f}, {photos.found.sum()} photos")
    target = REPOSITORY / "src" / "limner" / "faces" / "data" / "centres.json"
    target.write_text(json.dumps(rows) + "\n", "utf-8")


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


STEPS = {
    "ranges": lambda: [fit_ranges(name) for name in ("facenet", "sface")],
    "centres": fit_centres,
    "calibrations": fit_calibrations,
    "quality": fit_quality,
}


def main() -> None:
    """Fit everything, or the steps that are named, in this order."""
    for step in [s for s in STEPS if not sys.argv[1:] or s in sys.argv[1:]]:
        STEPS[step]()


if __name__ == "__main__":
    main()
