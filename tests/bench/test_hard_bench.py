"""What the hard bench counts, on answers that are known."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from skimage.data import astronaut

import hard
import hard_look
import hard_quality
import spoil
from hard_data import Portrait, Sitters, choose, nose_offset
from hard_quality import Judged
from limner.faces.analyzer import PhotoFaces
from limner.types import Embedding, Face, Pair


def face_at(x: float, y: float, side: float = 40.0, *, quality: float | None = None) -> Face:
    half = side / 2
    marks = np.array([[-8, -6], [8, -6], [0, 2], [-6, 9], [6, 9]]) + np.array([x, y])
    vector = np.zeros(4, np.float32)
    vector[int(x) % 4] = 1
    face = Face(
        box_xyxy=(x - half, y - half, x + half, y + half),
        landmarks_xy=marks.astype(np.float32),
        score=0.9,
        embedding=Embedding(vector, "stand-in"),
    )
    if quality is None:
        return face
    return SimpleNamespace(embedding=face.embedding, quality=quality, reason=None)  # type: ignore[return-value]


def judged(same, said, quality=None, probability=None) -> Judged:
    same, said = np.array(same, bool), np.array(said, bool)
    return Judged(
        same=same,
        said_same=said,
        unclear=np.zeros(len(same), bool),
        probability=said.astype(float) if probability is None else np.array(probability),
        quality=None if quality is None else np.array(quality, float),
    )


# --- finding the face that is meant --------------------------------------------------------


def test_the_face_meant_is_the_one_where_the_portrait_went():
    portrait = Portrait("A/A_0001.jpg", face_at(60, 40))
    there, elsewhere = face_at(44, 62), face_at(150, 100)
    row = spoil.ROWS["rotation 90"]  # of a photo 200 wide: (60, 40) goes to (40, 140)
    assert hard_look.meant([elsewhere, there], portrait, row, (120, 200)) is None
    there = face_at(44, 136)
    assert hard_look.meant([elsewhere, there], portrait, row, (120, 200)) is there
    assert hard_look.meant([], portrait, row, (120, 200)) is None


def test_photos_are_spoiled_before_they_are_analysed(monkeypatch):
    photo = np.ascontiguousarray(astronaut())
    monkeypatch.setattr(hard_look, "read_photo", lambda portrait: photo)
    seen = []

    class Analyzer:
        def analyze_many(self, photos):
            for image in photos:
                seen.append(image)
                yield PhotoFaces(photo="", faces=[face_at(223, 120)], size_hw=image.shape[:2])

    portraits = [Portrait("A/A_0001.jpg", face_at(223, 120, 100)), Portrait("B/B_0001.jpg", FAR)]
    found = hard_look.look(Analyzer(), portraits, spoil.ROWS["grey"])
    assert [face is not None for face in found] == [True, False]
    assert np.array_equal(seen[0], spoil.grey(photo))


FAR = face_at(400, 400)


# --- whom it asks about --------------------------------------------------------------------


def test_no_one_is_both_known_and_a_stranger():
    generator = np.random.default_rng(0)
    portraits = {
        f"P{n:04d}": [
            Portrait(f"P{n:04d}/{i}.jpg", turned(generator.uniform(-0.5, 0.5)))
            for i in range(1 + n % 3)
        ]
        for n in range(900)
    }
    for sitters in choose(portraits):
        known = [enrolled.person for enrolled, _ in sitters.known]
        groups = [known, *([p.person for p in g] for g in (sitters.strangers, sitters.others))]
        everybody = [name for group in groups for name in group]
        assert [len(group) for group in groups] == [60, 120, 440]
        assert len(set(everybody)) == len(everybody)
        assert all(a.person == b.person and a.photo != b.photo for a, b in sitters.known)
    profiles = choose(portraits)[1]
    assert all(
        nose_offset(straight.face) <= nose_offset(aside.face) for straight, aside in profiles.known
    )
    assert min(nose_offset(p.face) for p in profiles.strangers) > 0.3


def turned(offset: float) -> Face:
    marks = np.array([[40, 50], [80, 50], [60 + 40 * offset, 70], [45, 90], [75, 90]], np.float32)
    return Face(box_xyxy=(30, 30, 90, 110), landmarks_xy=marks, score=0.9)


def test_the_nose_offset_counts_eye_distances_in_a_tilted_head_too():
    face = turned(-0.3)
    assert nose_offset(face) == pytest.approx(0.3)
    row = spoil.tilt_row(35)
    tilted = row.points(face.landmarks_xy, face, (200, 200)).astype(np.float32)
    assert nose_offset(Face(box_xyxy=face.box_xyxy, landmarks_xy=tilted, score=0.9)) == (
        pytest.approx(0.3, abs=1e-5)
    )


def test_the_kept_choice_is_whole(shared_data):
    from crops import photos_of_view_1
    from hard_data import LFW, read_choice

    fitted = set(photos_of_view_1(every=True)[1])
    for sitters in read_choice():
        photos = [p for pair in sitters.known for p in pair]
        photos += [*sitters.strangers, *sitters.others]
        assert (len(sitters.known), len(sitters.strangers), len(sitters.others)) == (60, 120, 440)
        assert all((LFW / p.photo).is_file() for p in photos)
        assert not fitted & {p.person for p in photos}


# --- counting ------------------------------------------------------------------------------


def test_answers_are_counted_right_wrong_and_unclear():
    answers = {0: ("recognised", "A"), 1: ("recognised", "B"), 2: ("unclear", None)}
    answers[3] = ("not_recognised", None)

    class Gallery:
        def identify(self, embeddings):
            return [
                SimpleNamespace(verdict=verdict, person=person)
                for verdict, person in (answers[int(e.vector.argmax())] for e in embeddings)
            ]

    faces = [face_at(x, 50) for x in (100, 101, 102, 103)] + [None]
    assert hard.ask(Gallery(), faces, ["A", "A", "C", "D", "E"]) == {
        "right": 1,
        "wrong": 1,
        "unclear": 1,
    }


def test_pairs_are_all_pairs_of_the_found(monkeypatch):
    told = {(0, 1): "same", (0, 2): "unclear", (1, 2): "different"}

    def judge(a, b):
        key = (int(a.vector.argmax()), int(b.vector.argmax()))
        return SimpleNamespace(verdict=told[key], probability=0.9, distance=float(sum(key)))

    monkeypatch.setattr(hard, "judge", judge)
    faces = [face_at(100, 50), None, face_at(101, 50), face_at(102, 50)]
    assert hard.count_pairs(faces) == {
        "judged": 3,
        "same": 1,
        "unclear": 1,
        "median_distance": 2.0,
        "highest_probability_of_same": 0.9,
    }
    assert hard.count_pairs([None])["judged"] == 0


def test_a_poor_face_is_one_with_a_reason():
    poor = SimpleNamespace(quality=0.1, reason="the face is blurred")
    good = SimpleNamespace(quality=0.9, reason=None)
    assert hard.qualities([poor, good, None]) == {
        "found": 2,
        "too_poor": 1,
        "median_quality": 0.5,
    }


def test_a_row_is_measured_from_photo_to_figure(shared_data, tmp_path):
    """Two known people, four strangers, by the calls that users have."""
    from hard_data import read_choice
    from limner.faces import FaceAnalyzer

    some = read_choice()[0].first(2)
    sitters = Sitters(some.known, some.strangers, some.others[:3])
    analyzer = FaceAnalyzer()
    galleries = hard.enrol(analyzer, sitters, tmp_path / "galleries")
    figures = hard.measure(analyzer, sitters, galleries, spoil.ROWS["clean"])
    assert galleries.refused == []
    assert (galleries.small.info().people, galleries.large.info().people) == (2, 5)
    assert figures["known"]["asked"] == figures["known"]["found"] == 2
    assert figures["strangers"]["asked"] == 4
    assert figures["pairs"]["judged"] == 6
    assert figures["known"]["small"]["right"] >= 1
    assert "tilt" in hard.sentence("tilt", figures)


# --- quality and probability -----------------------------------------------------------------


def test_calibration_error_is_told_by_tercile():
    """Thirty pairs: the worst third is told 0.95 and right half the time, the others honest."""
    quality = np.arange(30) / 30
    same = np.tile([True, False], 15)
    probability = np.where(quality < 1 / 3, 0.95, np.where(same, 1.0, 0.0))
    worst, middle, best = hard_quality.by_tercile(
        judged(same, probability > 0.5, quality, probability)
    )
    assert worst["calibration_error"] == pytest.approx(0.45)
    assert (middle["calibration_error"], best["calibration_error"]) == (0, 0)
    assert [t["pairs"] for t in (worst, middle, best)] == [10, 10, 10]
    assert (worst["false_matches"], worst["false_non_matches"]) == (1.0, 0.0)
    assert worst["quality"][1] < middle["quality"][0] <= middle["quality"][1] < best["quality"][0]
    assert hard_quality.by_tercile(judged(same, same)) == []


def test_errors_fall_as_poor_pairs_are_left_out():
    """Ten pairs, the two of lowest quality wrong."""
    same = [True, False] * 5
    said = [False, True, *same[2:]]
    curve = hard_quality.discard_curve(judged(same, said, np.arange(10) / 10), (0.0, 0.1, 0.2))
    assert [row["errors"] for row in curve] == pytest.approx([0.2, 1 / 9, 0.0])
    assert [row["false_non_matches"] for row in curve] == pytest.approx([0.2, 0.0, 0.0])
    assert [row["false_matches"] for row in curve] == pytest.approx([0.2, 0.2, 0.0])


def test_auc_says_how_well_low_quality_predicts_an_error():
    same, said = [True] * 4, [False, False, True, True]
    auc = hard_quality.auc_of_quality
    assert auc(judged(same, said, [0.1, 0.2, 0.8, 0.9]))["all"] == 1.0
    assert auc(judged(same, said, [0.9, 0.8, 0.2, 0.1]))["all"] == 0.0
    assert auc(judged(same, said, [0.1, 0.8, 0.2, 0.9]))["all"] == 0.75
    assert auc(judged(same, same, [0.1, 0.8, 0.2, 0.9])) == {
        "all": None,
        "of_one_person": None,
        "of_two_people": None,
    }
    assert auc(judged(same, said))["all"] is None


def test_pairs_of_two_people_are_spoiled_like_those_of_one():
    people = [0, 0, 0, 1, 1, 2, 2, 3, 3]
    groups = [0, 0, 0, 0, 0, 1, 1, 1, 1]
    plan = hard_quality.plan_pairs(people, groups)
    assert len(plan) == 2 * 3 * hard_quality.VERSIONS * (3 + 1 + 1 + 1)
    for own, strange in zip(plan[::2], plan[1::2], strict=True):
        assert people[own[0]] == people[own[2]]
        assert people[strange[0]] != people[strange[2]]
        assert groups[strange[0]] == groups[strange[2]]
        assert (own[0], own[1], own[3]) == (strange[0], strange[1], strange[3])
    kinds = [(own[1] > 0, own[3] > 0) for own in plan[::2]]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {
        (False, False): len(kinds) // 3,
        (False, True): len(kinds) // 3,
        (True, True): len(kinds) // 3,
    }
    assert plan == hard_quality.plan_pairs(people, groups)


def test_a_face_that_was_not_found_takes_both_twins_along(monkeypatch):
    def judge(a, b):
        distance = float(((a.vector - b.vector) ** 2).sum())
        verdict = "same" if distance <= 1 else "different"
        return Pair(distance=distance, threshold=1.0, probability=0.5, verdict=verdict)

    monkeypatch.setattr(hard_quality, "judge", judge)
    people, plan = [0, 0, 1], [(0, 0, 1, 0), (0, 0, 2, 0), (0, 0, 1, 1), (0, 0, 2, 1)]
    faces = {(i, 0): face_at(100 + i, 9, quality=0.5 + 0.1 * i) for i in range(3)}
    faces[2, 1] = face_at(103, 9, quality=0.2)  # photo 1's version 1 was not found
    found = hard_quality.judge_plan(plan, people, faces)
    assert found.same.tolist() == [True, False]
    assert found.quality.tolist() == [0.5, 0.5]
    assert found.said_same.tolist() == [False, False]
    faces[1, 1] = face_at(100, 9, quality=0.3)
    found = hard_quality.judge_plan(plan, people, faces)
    assert found.same.tolist() == [True, False, True, False]
    assert found.said_same.tolist() == [False, False, True, False]
    assert found.quality.tolist() == [0.5, 0.5, 0.3, 0.2]


def test_each_photo_is_spoiled_as_its_group_is(monkeypatch):
    rows = []

    def look(analyzer, portraits, row):
        rows.append((row.name, len(portraits)))
        return [face_at(100, 100) for _ in portraits]

    monkeypatch.setattr(hard_quality, "look", look)
    portraits = [Portrait(f"{n}/{n}.jpg", FAR) for n in range(5)]
    faces = hard_quality.read_versions(None, portraits, [0, 0, 1, 1, 1])
    assert sorted(faces) == [(i, v) for i in range(5) for v in range(hard_quality.VERSIONS + 1)]
    assert [count for _, count in rows] == [2, 2, 2, 2, 3, 3, 3, 3]
    assert [name for name, _ in rows][::4] == ["clean", "clean"]
    spoiled = [name for name, _ in rows if name != "clean"]
    assert all(a != b for a, b in pairwise(spoiled))


def test_the_page_shows_the_columns_that_were_run():
    from page_hard import hard as write

    row = {
        "known": {
            "found": 58,
            "small": {"right": 52, "wrong": 1, "unclear": 3},
            "large": {"right": 40, "wrong": 0, "unclear": 3},
        },
        "strangers": {
            "found": 119,
            "too_poor": 7,
            "small": {"wrong": 2},
            "large": {"wrong": 1},
        },
        "pairs": {"judged": 200, "same": 3, "unclear": 50},
    }
    column = {
        "embedder": "x-1",
        "machine": {"commit": "abc", "date": "2026-11-27T00:00"},
        "people": {"known": 60, "strangers": 120, "others": 440},
        "not_enrolled": [],
        "rows": {"blur 4": row},
    }
    text = write({"columns": {"duo": column, "today": column}})
    assert "| spoiled | facenet, commit cd1cf52 | duo |" in text
    assert "58: **52** / 40, wrong 1 / 0, unclear 3" in text
    assert "119: **2** / 1, too poor 7" in text
    assert "**1.50 %** of 200, unclear 25.0 %" in text
    empty = {"today": {**column, "rows": {}}, "duo": column}
    assert "| blur 4 | - | 58: **52**" in write({"columns": empty})
