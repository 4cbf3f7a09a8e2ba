"""detect, compare and embed, on real portraits."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from limner import images
from limner.faces import FaceAnalyzer


def iou(a, b):
    wide = max(0, min(a[2], b[2]) - max(a[0], b[0]))
    high = max(0, min(a[3], b[3]) - max(a[1], b[1]))
    area = lambda r: (r[2] - r[0]) * (r[3] - r[1])  # noqa: E731
    return wide * high / (area(a) + area(b) - wide * high)


COLLINS = (178, 63, 268, 176)  # by eye, on the 512 x 512 portrait
HOPPER = (183, 120, 353, 332)


def test_detect_finds_the_face_where_it_is(limner_json, photos):
    status, answer = limner_json("detect", photos / "collins.png")
    assert status == 0
    assert list(answer) == ["faces"]
    (face,) = answer["faces"]
    assert set(face) == {
        *("box_xyxy", "landmarks_xy", "score", "rotation", "quality", "reason"),
    }
    assert iou(face["box_xyxy"], COLLINS) > 0.7
    assert face["score"] > 0.8
    assert (face["rotation"], face["reason"]) == (0.0, None)
    assert face["quality"] > 0.8


def test_detect_of_several_photos_is_a_list_with_their_paths(limner_json, photos):
    paths = [photos / "collins.png", photos / "hopper.jpg", photos / "coffee.png"]
    status, answer = limner_json("detect", *paths)
    assert status == 0
    assert [entry["photo"] for entry in answer] == [str(p) for p in paths]
    assert [len(entry["faces"]) for entry in answer] == [1, 1, 0]
    assert iou(answer[1]["faces"][0]["box_xyxy"], HOPPER) > 0.7


def test_detect_takes_folders_and_counts(limner, photos):
    result = limner("detect", photos)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == "7 faces in 7 photos."


def test_no_face_is_an_answer_not_an_error(limner, photos):
    result = limner("detect", photos / "coffee.png")
    assert result.exit_code == 0
    assert result.stdout == "0 faces in 1 photo.\n"


def test_min_size_and_min_score_leave_faces_out(limner_json, photos):
    assert limner_json("detect", photos / "both.jpg", "--min-size", 150)[1]["faces"]
    assert len(limner_json("detect", photos / "both.jpg", "--min-size", 150)[1]["faces"]) == 1
    assert limner_json("detect", photos / "both.jpg", "--min-score", 0.999)[1]["faces"] == []


def test_detect_draws(limner, photos, tmp_path):
    assert limner("detect", photos / "both.jpg", "--draw", tmp_path / "out.jpg").exit_code == 0
    drawn = images.read(tmp_path / "out.jpg").astype(int)
    assert drawn.shape == (600, 1024, 3)
    original = images.read(photos / "both.jpg").astype(int)
    changed = np.abs(drawn - original).sum(axis=2) > 60
    assert changed[:, :512].any()
    assert changed[:, 512:].any()
    assert changed.mean() < 0.2


def test_detect_draws_a_folder_into_a_folder(limner, photos, tmp_path):
    assert limner("detect", photos, "--draw", tmp_path / "drawn").exit_code == 0
    names = sorted(p.stem for p in (tmp_path / "drawn").iterdir())
    assert names == sorted(p.stem for p in photos.iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="file names are text on this system")
def test_a_file_name_that_is_not_utf8_comes_back_as_it_was(photos, tmp_path):
    folder = os.fsencode(tmp_path) + b"/caf\xe9 \xf0\x9f\x98\x80"
    os.mkdir(folder)
    shutil.copy(photos / "hopper.jpg", folder + b"/\xff.jpg")
    code = "from limner.cli.main import run; run()"
    result = subprocess.run(
        [sys.executable, "-c", code, "detect", folder, "--json", "--draw", tmp_path / "out"],
        capture_output=True,
        check=True,
    )
    (entry,) = json.loads(result.stdout)
    assert os.fsencode(entry["photo"]) == folder + b"/\xff.jpg"
    assert len(entry["faces"]) == 1
    assert len(list((tmp_path / "out").iterdir())) == 1


def test_compare_same_and_different(limner_json, photos):
    status, same = limner_json("compare", photos / "collins.png", photos / "collins-mirrored.jpg")
    assert list(same) == [
        *("verdict", "reason", "distance", "threshold", "probability", "embedder"),
    ]
    assert (status, same["verdict"], same["reason"]) == (0, "same", None)
    assert same["distance"] <= same["threshold"]
    assert same["probability"] > 0.9
    assert same["embedder"].startswith("sface-")
    status, other = limner_json("compare", photos / "collins.png", photos / "hopper.jpg")
    assert (status, other["verdict"]) == (1, "different")
    assert other["distance"] > other["threshold"]
    assert other["probability"] < 0.1


def test_compare_equals_the_library(limner_json, photos):
    _, answer = limner_json("compare", photos / "collins.png", photos / "hopper.jpg")
    analyzer = FaceAnalyzer()
    a, b = (analyzer.analyze(photos / n)[0].embedding for n in ("collins.png", "hopper.jpg"))
    assert answer["distance"] == pytest.approx(float(((a.vector - b.vector) ** 2).sum()), rel=1e-4)
    assert answer["embedder"] == analyzer.embedder_id


def test_a_threshold_moves_the_verdict_and_not_the_probability(limner_json, photos):
    pair = (photos / "collins.png", photos / "hopper.jpg")
    plain = limner_json("compare", *pair)
    loose = limner_json("compare", *pair, "--threshold", 3)
    assert (plain[0], loose[0]) == (1, 0)
    assert loose[1]["threshold"] == 3
    assert loose[1]["probability"] == plain[1]["probability"]


def test_compare_asks_which_face_is_meant(limner, limner_json, photos, fails):
    words = fails(limner("compare", photos / "both.jpg", photos / "hopper.jpg"))
    assert "2 faces" in words
    assert "--largest" in words
    status, _ = limner_json("compare", photos / "both.jpg", photos / "hopper.jpg", "--largest")
    assert status == 0
    box = "170,60,270,180"
    status, _ = limner_json("compare", photos / "both.jpg", photos / "collins.png", "--box-a", box)
    assert status == 0
    status, _ = limner_json("compare", photos / "both.jpg", photos / "hopper.jpg", "--box-a", box)
    assert status == 1


def test_compare_draws_both_photos(limner, photos, tmp_path):
    pair = (photos / "collins.png", photos / "hopper.jpg")
    assert limner("compare", *pair, "--draw", tmp_path / "pair.png").exit_code == 1
    with Image.open(tmp_path / "pair.png") as drawn:
        assert drawn.height == 600
        assert drawn.width > 1000


def test_embed_writes_unit_vectors_that_need_no_pickle(limner, photos, tmp_path):
    out = tmp_path / "faces.npz"
    result = limner("embed", photos / "both.jpg", photos / "coffee.png", "-o", out)
    assert result.exit_code == 0, result.stderr
    with np.load(out, allow_pickle=False) as data:
        assert data["embeddings"].shape == (2, 128)
        np.testing.assert_allclose(np.linalg.norm(data["embeddings"], axis=1), 1, atol=1e-5)
        assert data["photos"].tolist() == [str(photos / "both.jpg")] * 2
        assert data["box_xyxy"].shape == (2, 4)
        assert data["landmarks_xy"].shape == (2, 5, 2)
        assert str(data["embedder_id"]).startswith("sface-")
    assert [p.name for p in tmp_path.iterdir()] == ["faces.npz"]


def test_embed_of_no_face_is_an_empty_array_of_the_right_width(limner, photos, tmp_path):
    assert limner("embed", photos / "coffee.png", "-o", tmp_path / "e.npz").exit_code == 0
    with np.load(tmp_path / "e.npz", allow_pickle=False) as data:
        assert data["embeddings"].shape == (0, 128)
        assert data["box_xyxy"].shape == (0, 4)


# --- bad input -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("empty.jpg", "empty"),
        ("text.jpg", "text.jpg"),
        ("cut.jpg", "cut.jpg"),
        ("noise.png", "noise.png"),
        ("huge.png", "20,000 x 20,000"),
        ("absent.jpg", "absent.jpg"),
    ],
)
@pytest.mark.parametrize("command", ["detect", "compare"])
def test_an_unusable_photo_is_one_sentence_and_status_2(
    limner, bad, photos, fails, name, words, command
):
    more = [photos / "hopper.jpg"] if command == "compare" else []
    message = fails(limner(command, bad / name, *more))
    assert words in message
    assert name in message


def test_unreadable_photos_among_good_ones_are_reported_and_not_fatal(
    limner, limner_json, bad, photos
):
    shutil.copy(photos / "hopper.jpg", bad / "good.jpg")
    result = limner("detect", bad)
    assert result.exit_code == 0
    assert result.stderr.count("warning: left out: ") == 5
    assert result.stdout.splitlines()[-1] == "1 face in 1 photo; 5 could not be read."
    _, answer = limner_json("detect", bad)
    errors = {e["photo"]: e["error"]["type"] for e in answer if "error" in e}
    assert set(errors.values()) == {"ImageError"}
    assert len(errors) == 5
    assert [len(e["faces"]) for e in answer if "error" not in e] == [1]


def test_a_missing_photo_among_good_ones_is_reported(limner, photos, tmp_path):
    result = limner("detect", photos / "hopper.jpg", tmp_path / "absent.jpg")
    assert result.exit_code == 0
    assert "absent.jpg" in result.stderr
    assert result.stdout.splitlines()[-1] == "1 face in 1 photo; 1 could not be read."


def test_when_nothing_could_be_read_it_is_an_error(limner, bad, fails):
    assert "none of the 5 photos could be read" in fails(limner("detect", bad))


def test_an_empty_folder_is_an_error(limner, tmp_path, fails):
    assert "holds no photo" in fails(limner("detect", tmp_path))


def test_compare_needs_a_face_in_both(limner, photos, fails):
    words = fails(limner("compare", photos / "coffee.png", photos / "hopper.jpg"))
    assert "no face" in words
    assert "coffee.png" in words


@pytest.mark.parametrize("box", ["1,2,3", "a,b,c,d", "10,10,5,20", ""])
def test_a_box_that_is_not_one(limner, photos, fails, box):
    pair = (photos / "both.jpg", photos / "hopper.jpg")
    assert "x0,y0,x1,y1" in fails(limner("compare", *pair, "--box-a", box))


def test_an_unknown_embedder_is_named_with_the_known_ones(limner, photos, fails):
    pair = (photos / "collins.png", photos / "hopper.jpg")
    words = fails(limner("compare", *pair, "--embedder", "facent"))
    assert "facent" in words
    assert "facenet" in words


def test_an_unknown_device_is_refused(limner, photos, fails):
    pair = (photos / "collins.png", photos / "hopper.jpg")
    assert "abacus" in fails(limner("compare", *pair, "--device", "abacus"))


def test_options_of_an_onnx_file_need_one(limner, photos, fails):
    pair = (photos / "collins.png", photos / "hopper.jpg")
    assert ".onnx" in fails(limner("compare", *pair, "--embedder-size", 112))


def test_an_onnx_file_that_is_absent_or_is_not_one(limner, photos, tmp_path, fails):
    pair = (photos / "collins.png", photos / "hopper.jpg")
    assert "mine.onnx" in fails(limner("compare", *pair, "--embedder", tmp_path / "mine.onnx"))
    (tmp_path / "mine.onnx").write_text("hello")
    assert "mine.onnx" in fails(limner("compare", *pair, "--embedder", tmp_path / "mine.onnx"))


@pytest.mark.parametrize("target", ["absent/e.npz", ""])
def test_an_output_that_cannot_be_written(limner, photos, tmp_path, fails, target):
    words = fails(limner("embed", photos / "hopper.jpg", "-o", tmp_path / target))
    assert str(tmp_path) in words


def test_a_drawing_that_cannot_be_written(limner, photos, tmp_path, fails):
    draw = lambda *a: fails(limner("detect", *a))  # noqa: E731
    assert "does not exist" in draw(photos / "hopper.jpg", "--draw", tmp_path / "no" / "x.jpg")
    assert "give --draw a folder" in draw(photos, "--draw", tmp_path / "x.jpg")
    assert "suffix" in draw(photos / "hopper.jpg", "--draw", tmp_path / "x.xyz")


def test_json_errors_are_one_document(limner, bad):
    result = limner("compare", bad / "text.jpg", bad / "empty.jpg", "--json")
    assert result.exit_code == 2
    assert json.loads(result.stdout)["error"]["type"] == "ImageError"
