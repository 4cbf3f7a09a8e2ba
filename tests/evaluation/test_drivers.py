"""Folders of photos through the protocols, with toy models whose answers are known."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from toy_models import FACELESS, ToyDetector, ToyEmbedder, make_folder, make_pairs

from limner import images
from limner.errors import ProtocolError
from limner.evaluation import (
    central_face,
    embed_photos,
    evaluate_identification,
    evaluate_pairs,
    fit_from_files,
)
from limner.evaluation.drivers import NO_FACE_DISTANCE, cross_distances
from limner.types import Face


def face(x0: float, y0: float, x1: float, y1: float) -> Face:
    return Face((x0, y0, x1, y1), np.zeros((5, 2), np.float32), 0.9)


@pytest.fixture
def people(tmp_path: Path) -> tuple[Path, Path]:
    """Images and a view 2 file."""
    counts = make_folder(tmp_path / "images")
    return tmp_path / "images", make_pairs(tmp_path / "pairs.txt", counts)


def test_central_face() -> None:
    middle, corner = face(90, 90, 160, 160), face(0, 0, 90, 90)
    assert central_face([corner, middle], (250, 250)) is middle
    huge = face(0, 0, 230, 230)
    assert central_face([middle, huge], (250, 250)) is huge
    wide = face(150, 0, 250, 100)
    assert central_face([face(0, 0, 60, 60), wide], (100, 400)) is wide
    assert central_face([], (10, 10)) is None


def test_each_photo_gets_its_central_face(people: tuple[Path, Path]) -> None:
    paths = images.list_photos(people[0])
    embedder, seen = ToyEmbedder(), []
    result = embed_photos(paths, embedder, detector=ToyDetector(), on_photo=lambda: seen.append(1))
    assert embedder.embedded == len(paths) == len(seen)  # the face behind is not embedded
    assert result.found.all()
    assert np.allclose(np.linalg.norm(result.vectors, axis=1), 1, atol=1e-6)
    for path, vector, box in zip(paths, result.vectors, result.boxes_xyxy, strict=True):
        picture = images.read(path)
        truth = ToyDetector().detect(picture)[1]
        assert box.tolist() == list(truth.box_xyxy)
        expected = embedder.embed_chips([embedder.chip(picture, truth)])[0]
        assert np.allclose(vector, expected, atol=1e-6)


def test_unreadable_photos_are_listed(people: tuple[Path, Path]) -> None:
    paths = images.list_photos(people[0])
    paths[3].write_bytes(b"")
    images.write(paths[5], FACELESS)
    result = embed_photos(paths, ToyEmbedder(), detector=ToyDetector())
    assert np.flatnonzero(~result.found).tolist() == [3, 5]
    assert result.unreadable == ((3, f"{paths[3]} is empty (0 bytes)."),)
    assert np.isnan(result.boxes_xyxy[[3, 5]]).all()
    with pytest.raises(ProtocolError, match=r"none of the 2 photos shows a face .*is empty"):
        embed_photos([paths[3], paths[5]], ToyEmbedder(), detector=ToyDetector())


# --- cache ------------------------------------------------------------------------------


def test_cache(people: tuple[Path, Path], tmp_path: Path) -> None:
    paths = images.list_photos(people[0])
    paths[0].write_bytes(b"")
    cache = tmp_path / "cache" / "deep"

    def run(embedder: ToyEmbedder, detector: ToyDetector | None = None) -> tuple[bool, int]:
        result = embed_photos(paths, embedder, detector=detector or ToyDetector(), cache=cache)
        assert result.found.sum() == len(paths) - 1
        assert result.unreadable[0][0] == 0
        assert result.vectors.dtype == np.float32
        return result.cached, embedder.embedded

    assert run(ToyEmbedder()) == (False, len(paths) - 1)
    assert run(ToyEmbedder()) == (True, 0)
    assert run(ToyEmbedder("other-1-p1"))[0] is False
    stricter = ToyDetector()
    stricter.min_size = 30
    assert run(ToyEmbedder(), stricter)[0] is False
    assert len(os.listdir(cache)) == 3
    os.utime(paths[1], ns=(1, 1))
    assert run(ToyEmbedder())[0] is False
    for path in cache.iterdir():
        path.write_bytes(b"PK\3\4 broken")
    assert run(ToyEmbedder())[0] is False
    assert run(ToyEmbedder())[0] is True


def test_a_cache_that_cannot_be_written(people: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ProtocolError, match="cannot be written"):
        embed_photos(
            images.list_photos(people[0])[:3],
            ToyEmbedder(),
            detector=ToyDetector(),
            cache=tmp_path / "file" / "cache",
        )


# --- pairs ------------------------------------------------------------------------------


def test_pairs(people: tuple[Path, Path]) -> None:
    started: list[int] = []
    report = evaluate_pairs(
        people[1], people[0], ToyEmbedder(), detector=ToyDetector(), on_start=started.append
    )
    assert report.scores.accuracy > 0.9
    assert started == [len(report.paths)]
    for k in range(len(report.pairs)):
        a, b = (report.photos.vectors[side[k]] for side in (report.pairs.left, report.pairs.right))
        assert report.distances[k] == pytest.approx(float(((a - b) ** 2).sum()), abs=1e-5)
    document = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert set(document) >= {
        "accuracy",
        "accuracy_std",
        "folds",
        "auc",
        "eer",
        "tar_at_far",
        "thresholds",
        "pairs",
        "no_face",
        "embedder",
        "protocol",
        "seconds",
    }
    assert document["embedder"] == "toy-000000000000-p1"
    assert document["protocol"].startswith("lfw-view2, the file's 4 folds")
    assert document["no_face"] == {"photos": 0, "unreadable": 0, "first": [], "pairs": 0}


def test_a_faceless_photo_makes_its_pairs_different(people: tuple[Path, Path]) -> None:
    plain = evaluate_pairs(people[1], people[0], ToyEmbedder(), detector=ToyDetector())
    photo = int(plain.pairs.left[0])
    images.write(plain.paths[photo], FACELESS)
    report = evaluate_pairs(people[1], people[0], ToyEmbedder(), detector=ToyDetector())
    touched = (report.pairs.left == photo) | (report.pairs.right == photo)
    assert (report.faceless == touched).all()
    assert (report.distances[touched] == NO_FACE_DISTANCE).all()
    assert (report.scores.right[touched] == ~report.pairs.same[touched]).all()
    assert not report.scores.right[0]
    counted = report.to_json()["no_face"]
    assert counted["photos"] == 1
    assert counted["pairs"] == int(touched.sum())
    assert counted["first"] == [report.pairs.photos[photo].name]


def test_files_without_folds_get_ten(tmp_path: Path) -> None:
    counts = make_folder(tmp_path / "images")
    file = make_pairs(tmp_path / "dev.txt", counts, folds=0, each=30)
    report = evaluate_pairs(file, tmp_path / "images", ToyEmbedder(), detector=ToyDetector())
    assert report.protocol.startswith("lfw-view1, 10 drawn (seed 0) folds")
    assert report.scores.accuracies.size == 10


# --- identification ---------------------------------------------------------------------


def test_identification(people: tuple[Path, Path]) -> None:
    images.write(people[0] / "loose.png", np.zeros((9, 9, 3), np.uint8))
    report = evaluate_identification(people[0], ToyEmbedder(), detector=ToyDetector())
    assert report.scores.enrolled == 12
    assert report.scores.stranger_distance.size == 12
    assert report.scores.rank1 > 0.8
    assert report.left_out == 1
    first = {report.paths[k].name for k in report.scores.nearest_photo}
    assert all(name.endswith("_0001.png") for name in first)
    document = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert document["left_out"] == 1
    assert document["people"] == 24
    assert document["no_face"] == {
        "photos": 0,
        "unreadable": 0,
        "first": [],
        "probes": 0,
        "strangers": 0,
    }


def test_folders_that_hold_no_people(tmp_path: Path) -> None:
    with pytest.raises(ProtocolError, match="does not exist"):
        evaluate_identification(tmp_path / "nowhere", ToyEmbedder())
    images.write(tmp_path / "loose.png", np.zeros((9, 9, 3), np.uint8))
    with pytest.raises(ProtocolError, match=r"wanted is .*NAME/PHOTO\.jpg"):
        evaluate_identification(tmp_path, ToyEmbedder())


# --- fitting ----------------------------------------------------------------------------


def test_cross_distances_are_all_pairs_of_two_people(monkeypatch: pytest.MonkeyPatch) -> None:
    from limner.evaluation import drivers

    monkeypatch.setattr(drivers, "_BLOCK", 4)
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((11, 5)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    names = list("aabbbcdeefa")
    expected = sorted(
        float(((rows[i] - rows[j]) ** 2).sum())
        for i in range(11)
        for j in range(i + 1, 11)
        if names[i] != names[j]
    )
    assert np.allclose(cross_distances(rows, names), expected, atol=1e-5)


@pytest.mark.parametrize("with_test", [True, False])
def test_fit(with_test: bool, tmp_path: Path) -> None:
    counts = make_folder(tmp_path / "images", people=30, strangers=30)
    train = make_pairs(tmp_path / "train.txt", counts, folds=0, each=60)
    test = make_pairs(tmp_path / "test.txt", counts, folds=0, each=40, seed=1)
    first = tmp_path / "images/Person_00/Person_00_0001.png"
    images.write(first, FACELESS)
    calibration = fit_from_files(
        train,
        test if with_test else None,
        tmp_path / "images",
        ToyEmbedder(),
        detector=ToyDetector(),
        fitted_on="toys",
    )
    assert calibration.embedder_id == "toy-000000000000-p1"
    assert calibration.fitted_on == "toys"
    assert set(calibration.heads) == {"squared_l2", "cosine", "weighted_l1", "chi_square"}
    lines = [train.read_text()] + ([test.read_text()] if with_test else [])
    lacking = sum(
        line.startswith("Person_00\t1\t")
        or line.endswith("Person_00\t1")
        or (line.startswith("Person_00\t") and line.count("\t") == 2 and line.endswith("\t1"))
        for text in lines
        for line in text.splitlines()
    )
    assert calibration.figures["left_out_pairs"] == lacking > 0
    assert bool(calibration.figures["heads"]) is with_test
    if with_test:
        assert calibration.figures["heads"]["squared_l2"]["accuracy"] > 0.85
    assert calibration.figures["impostor_pairs"] > 1000
    rates = [rate for rate, _ in calibration.false_match]
    assert min(rates) * calibration.figures["impostor_pairs"] >= 9.99
    calibration.save(tmp_path / "calibration.json")


def test_fit_on_a_csv_takes_its_different_pairs(tmp_path: Path) -> None:
    counts = make_folder(tmp_path / "images", people=30, strangers=30)
    lfw = make_pairs(tmp_path / "train.txt", counts, folds=0, each=120).read_text()
    rows = []
    for line in lfw.splitlines():
        f = line.split("\t")
        a, i, b, j = f if len(f) == 4 else (f[0], f[1], f[0], f[2])
        paths = (f"{n}/{n}_{int(k):04d}.png" for n, k in ((a, i), (b, j)))
        rows.append(f"{','.join(paths)},{int(a == b)}")
    file = tmp_path / "train.csv"
    file.write_text("\n".join(rows) + "\n")
    calibration = fit_from_files(
        file, None, tmp_path / "images", ToyEmbedder(), detector=ToyDetector()
    )
    assert calibration.figures["impostor_pairs"] == 120
    assert calibration.fitted_on == "train.csv (240 pairs)"


def test_importing_is_light() -> None:
    heavy = ("torch", "cv2", "faiss", "onnxruntime", "sklearn", "scipy", "matplotlib", "PIL")
    code = f"import sys, limner.evaluation; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
