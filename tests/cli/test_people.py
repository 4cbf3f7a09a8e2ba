"""Commands about people, on a real gallery with real portraits."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from limner import images
from limner.faces import FaceAnalyzer
from limner.gallery import Gallery
from limner.gallery.chips import cut_surroundings


@pytest.fixture
def place(tmp_path):
    """Where the gallery of a test is."""
    return tmp_path / "test.limner"


@pytest.fixture
def run(limner, place):
    return lambda *arguments: limner(*arguments, "--gallery", place)


@pytest.fixture
def run_json(limner_json, place):
    return lambda *arguments: limner_json(*arguments, "--gallery", place)


@pytest.fixture
def two(run, photos):
    """Both people enrolled, from one photo each."""
    assert run("enroll", "Eileen Collins", photos / "collins.png").exit_code == 0
    assert run("enroll", "Grace Hopper", photos / "hopper.jpg").exit_code == 0


def test_enrol_then_identify(run, run_json, photos):
    status, done = run_json("enroll", "Eileen Collins", photos / "collins.png")
    assert status == 0
    assert (done["person"], done["added"], done["created"]) == ("Eileen Collins", 1, True)
    status, answer = run_json("identify", photos / "collins-mirrored.jpg")
    assert status == 0
    (face,) = answer["faces"]
    assert list(face) == [
        "box_xyxy",
        "landmarks_xy",
        "score",
        "rotation",
        "quality",
        "reason",
        "verdict",
        "person",
        "distance",
        "threshold",
        "probability",
    ]
    assert (face["verdict"], face["person"]) == ("recognised", "Eileen Collins")
    assert face["distance"] <= face["threshold"]
    assert face["probability"] > 0.9
    status, answer = run_json("identify", photos / "hopper.jpg")
    assert status == 1
    (face,) = answer["faces"]
    assert (face["verdict"], face["person"]) == ("not_recognised", None)
    assert face["distance"] > face["threshold"]
    assert face["probability"] < 0.1


def test_everybody_in_a_photo_is_answered_for(run_json, two, photos):
    status, answer = run_json("identify", photos / "both.jpg")
    assert status == 0
    left_to_right = sorted(answer["faces"], key=lambda face: face["box_xyxy"][0])
    assert [face["person"] for face in left_to_right] == ["Eileen Collins", "Grace Hopper"]


def test_several_photos_are_a_list_with_their_paths(run_json, two, photos):
    names = ["hopper-turned.jpg", "stranger.png", "coffee.png"]
    status, answer = run_json("identify", *(photos / name for name in names))
    assert status == 0
    assert [entry["photo"] for entry in answer] == [str(photos / name) for name in names]
    people = [[face["person"] for face in entry["faces"]] for entry in answer]
    assert people == [["Grace Hopper"], [None], []]


def test_a_folder_with_bad_files_among_good_ones(run, run_json, two, photos, bad):
    shutil.copy(photos / "hopper-turned.jpg", bad / "good.jpg")
    result = run("identify", bad)
    assert result.exit_code == 0
    assert "Grace Hopper" in result.stdout
    assert result.stdout.splitlines()[-1] == (
        "1 face in 1 photo; 5 could not be read; 1 recognised."
    )
    assert result.stderr.count("warning: left out: ") == 5
    status, answer = run_json("identify", bad)
    assert status == 0
    assert sum("error" in entry for entry in answer) == 5


def test_status_1_when_nobody_is_recognised(run, two, photos):
    assert run("identify", photos / "stranger.png").exit_code == 1
    assert run("identify", photos / "coffee.png").exit_code == 1


def test_identify_draws_names(run, two, photos, tmp_path):
    assert run("identify", photos / "both.jpg", "--draw", tmp_path / "out.png").exit_code == 0
    with Image.open(tmp_path / "out.png") as drawn, Image.open(photos / "both.jpg") as plain:
        assert drawn.size == plain.size
        difference = np.abs(np.asarray(drawn).astype(int) - np.asarray(plain).astype(int))
    assert (difference.sum(axis=2) > 60).mean() > 0.01


def test_verify(run, run_json, two, photos):
    status, answer = run_json("verify", "Eileen Collins", photos / "collins-mirrored.jpg")
    assert (status, answer["verdict"]) == (0, "same")
    assert list(answer)[:5] == ["verdict", "reason", "distance", "threshold", "probability"]
    assert answer["reason"] is None
    status, answer = run_json("verify", "Eileen Collins", photos / "hopper-turned.jpg")
    assert (status, answer["verdict"]) == (1, "different")
    line = run("verify", "Grace Hopper", photos / "hopper-turned.jpg").stdout
    assert line.startswith("same: distance ")


def test_verify_asks_which_face_is_meant(run, two, photos, fails):
    words = fails(run("verify", "Grace Hopper", photos / "both.jpg"))
    assert "2 faces" in words
    assert "--box" in words
    assert run("verify", "Grace Hopper", photos / "both.jpg", "--largest").exit_code == 0
    box = "170,60,270,180"
    assert run("verify", "Grace Hopper", photos / "both.jpg", "--box", box).exit_code == 1
    assert run("verify", "Eileen Collins", photos / "both.jpg", "--box", box).exit_code == 0
    both = run("verify", "Eileen Collins", photos / "both.jpg", "--box", box, "--largest")
    assert "contradict" in fails(both)


def test_lookalike_ranks_without_a_verdict(run, run_json, two, photos):
    status, answer = run_json("lookalike", photos / "hopper-turned.jpg", "--top", 2)
    assert status == 0
    ranked = answer["lookalikes"]
    assert [one["person"] for one in ranked] == ["Grace Hopper", "Eileen Collins"]
    assert ranked[0]["distance"] < ranked[1]["distance"]
    assert set(answer["face"]) == {"box_xyxy", "score"}
    assert "verdict" not in json.dumps(answer)
    assert len(run_json("lookalike", photos / "stranger.png", "--top", 1)[1]["lookalikes"]) == 1
    assert "Grace Hopper" in run("lookalike", photos / "hopper.jpg").stdout


def test_lookalikes_are_drawn_side_by_side(run, tmp_path, photos):
    shutil.copy(photos / "hopper.jpg", tmp_path / "h.jpg")
    assert run("enroll", "Grace Hopper", tmp_path / "h.jpg").exit_code == 0
    assert run("enroll", "Eileen Collins", photos / "collins.png", "--keep-chips").exit_code == 0
    out = tmp_path / "like.png"
    asked = (photos / "hopper-turned.jpg").resolve()  # an absolute path of a jpg, as in the notes
    words = ("lookalike", asked, "--draw", out)
    assert run(*words).exit_code == 0
    left = 28 + 168 + 2 * 22
    first = images.read(out)[56 : 56 + 168, left : left + 168].astype(float)
    second = images.read(out)[56 : 56 + 168, left + 190 : left + 190 + 168].astype(float)
    for found, name in ((first, "hopper.jpg"), (second, "collins.png")):
        face = FaceAnalyzer(embedder=None).analyze(photos / name)[0]
        cut = cut_surroundings(images.read(photos / name), face.box_xyxy)
        side = min(cut.shape[:2])
        top, edge = (cut.shape[0] - side) // 2, (cut.shape[1] - side) // 2
        square = Image.fromarray(cut[top : top + side, edge : edge + side]).resize((168, 168))
        assert np.abs(found - np.asarray(square, float)).mean() < 6, name
    # The enrolled photo has gone: its place is taken by a letter, and that is said.
    (tmp_path / "h.jpg").unlink()
    again = run(*words)
    assert "no picture is kept" in again.stderr
    first = images.read(out)[56 : 56 + 168, left : left + 168]
    assert (first[:20] == (223, 228, 232)).all()
    # Another photo in its place is not shown as hers.
    shutil.copy(photos / "collins.png", tmp_path / "h.jpg")
    assert "no picture is kept" in run(*words).stderr
    refused = run("lookalike", tmp_path / "h.jpg", "--draw", tmp_path / "h.jpg")
    assert refused.exit_code == 2
    assert (tmp_path / "h.jpg").read_bytes() == (photos / "collins.png").read_bytes()


def test_people_rename_merge_forget(run, run_json, two, photos):
    assert run("rename", "Grace Hopper", "Grace Brewster Hopper").exit_code == 0
    names = [person["name"] for person in run_json("people")[1]["people"]]
    assert names == ["Eileen Collins", "Grace Brewster Hopper"]
    assert run("enroll", "Amazing Grace", photos / "hopper-turned.jpg").exit_code == 0
    assert run_json("merge", "Amazing Grace", "Grace Brewster Hopper")[1]["photos"] == 2
    assert run("people").stdout.splitlines()[-1] == "2 people."
    assert run_json("forget", "Grace Brewster Hopper") == (
        0,
        {"forgotten": "Grace Brewster Hopper", "photos": 2},
    )
    assert run("identify", photos / "hopper.jpg").exit_code == 1
    assert run("people").stdout.splitlines()[-1] == "1 person."


def test_names_in_any_script_and_notes(run, run_json, photos):
    name = "Ηώ 田中 Зоя"
    assert run("enroll", name, photos / "collins.png", "--note", "from work").exit_code == 0
    (person,) = run_json("people")[1]["people"]
    assert (person["name"], person["note"]) == (name, "from work")
    assert name in run("people").stdout
    assert run("identify", photos / "collins.png", "--draw", photos.parent / "x.jpg").exit_code == 0


def test_enrolling_a_look_alike_warns(run, two, photos):
    result = run("enroll", "Somebody Else", photos / "collins-mirrored.jpg")
    assert result.exit_code == 0
    assert "warning: 'Somebody Else' looks like 'Eileen Collins'" in result.stderr


def test_the_same_photo_is_not_enrolled_twice(run_json, two, photos):
    done = run_json("enroll", "Grace Hopper", photos / "hopper.jpg")[1]
    assert (done["added"], done["total"]) == (0, 1)
    assert len(done["skipped"]) == 1


def test_enrolment_can_partly_succeed(run, run_json, photos, bad):
    result = run("enroll", "Grace", photos / "hopper.jpg", bad / "text.jpg", photos / "coffee.png")
    assert result.exit_code == 0
    assert result.stderr.count("warning: left out: ") == 2
    assert result.stdout == "Grace: 1 face enrolled, 1 in all.\n"


def test_enrol_all_faces_of_a_photo(run_json, photos):
    assert run_json("enroll", "A pair", photos / "both.jpg", "--all")[1]["added"] == 2


# --- bad input -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["empty.jpg", "text.jpg", "cut.jpg", "huge.png", "absent.jpg"])
def test_enrolling_from_an_unusable_photo(run, bad, fails, name):
    assert name in fails(run("enroll", "Nobody", bad / name))


def test_enrolling_needs_one_face(run, photos, fails):
    assert "no face" in fails(run("enroll", "Nobody", photos / "coffee.png"))
    words = fails(run("enroll", "Both", photos / "both.jpg"))
    assert "2 faces" in words
    assert "--all" in words


def test_a_name_that_is_none(run, photos, fails):
    assert "empty" in fails(run("enroll", "  ", photos / "hopper.jpg"))
    assert "control" in fails(run("enroll", "a\x1b[31mb", photos / "hopper.jpg"))


@pytest.mark.parametrize(
    "command",
    [
        ("identify", "{photo}"),
        ("verify", "Ada", "{photo}"),
        ("lookalike", "{photo}"),
        ("people",),
        ("forget", "Ada"),
        ("rename", "Ada", "Grace"),
        ("merge", "Ada", "Grace"),
    ],
)
def test_a_gallery_that_is_absent_or_a_text_file(limner, photos, tmp_path, fails, command):
    arguments = [a.format(photo=photos / "hopper.jpg") for a in command]
    words = fails(limner(*arguments, "--gallery", tmp_path / "none.limner"))
    assert "there is no gallery" in words
    assert not (tmp_path / "none.limner").exists()
    (tmp_path / "text.limner").write_text("Dear gallery,\n" * 100)
    words = fails(limner(*arguments, "--gallery", tmp_path / "text.limner"))
    assert "text.limner is not a limner gallery" in words
    assert (tmp_path / "text.limner").read_text() == "Dear gallery,\n" * 100


def test_enrolling_into_a_text_file_leaves_it_alone(limner, photos, tmp_path, fails):
    (tmp_path / "text.limner").write_text("Dear gallery,\n")
    where = ("--gallery", tmp_path / "text.limner")
    assert "not a limner gallery" in fails(limner("enroll", "A", photos / "hopper.jpg", *where))
    assert (tmp_path / "text.limner").read_text() == "Dear gallery,\n"


def test_a_gallery_in_a_folder_that_does_not_exist(limner, photos, tmp_path, fails):
    where = ("--gallery", tmp_path / "no" / "g.limner")
    assert "g.limner" in fails(limner("enroll", "A", photos / "hopper.jpg", *where))


def test_a_gallery_of_another_embedder_is_refused_with_both_ids(run, two, photos, fails):
    for command in (("identify",), ("lookalike",), ("verify", "Grace Hopper"), ("enroll", "X")):
        words = fails(run(*command, photos / "hopper.jpg", "--embedder", "dlib"))
        assert "sface-" in words
        assert "dlib-" in words
        assert "re-embed" in words


def test_the_gallerys_own_embedder_is_used_unasked(run, place, photos):
    dlib = ("--embedder", "dlib")
    assert run("enroll", "Grace Hopper", photos / "hopper.jpg", *dlib).exit_code == 0
    with Gallery.open(place) as gallery:
        assert gallery.embedder_id.startswith("dlib-")
    assert run("identify", photos / "hopper-turned.jpg", "--threshold", 0.4).exit_code == 0


def test_a_gallery_of_mirrored_embeddings_is_asked_with_mirrored_ones(run, place, photos):
    analyzer = FaceAnalyzer(mirror=True)
    face = analyzer.analyze(photos / "hopper.jpg")[0]
    with Gallery.open(place, create=True) as gallery:
        gallery.enroll("Grace Hopper", face.embedding)
    result = run("identify", photos / "hopper-turned.jpg", "--threshold", 0.8)
    assert result.exit_code == 0, result.stderr


@pytest.mark.parametrize("command", ["verify", "forget", "rename", "merge"])
def test_an_unknown_person_is_named_with_the_likely_one(run, two, photos, fails, command):
    more = {"verify": [photos / "hopper.jpg"], "rename": ["Ada"], "merge": ["Eileen Collins"]}
    words = fails(run(command, "Grace Hoper", *more.get(command, [])))
    assert "Grace Hoper" in words
    assert "Grace Hopper" in words


def test_a_name_that_is_taken(run, two, fails):
    assert "Eileen Collins" in fails(run("rename", "Grace Hopper", "Eileen Collins"))


def test_a_threshold_that_is_none(run, two, photos, fails):
    assert "threshold" in fails(run("identify", photos / "hopper.jpg", "--threshold", "-1"))


def test_json_errors(run, two, photos, bad):
    result = run("identify", bad / "text.jpg", "--json")
    assert result.exit_code == 2
    assert json.loads(result.stdout)["error"]["type"] == "ImageError"
