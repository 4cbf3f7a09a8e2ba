"""Heads that lean and photos that lie on their side, against the analytic places of their turn."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from limner.faces import FaceAnalyzer
from limner.faces.upright import SURE_SCORE, Upright
from limner.similarity.shipped import shipped
from limner.types import Face, ImageArray

ANGLES = (15, 30, 40, 45, -45, 60, 90, 180, -90, 120)
"""Degrees clockwise."""


def turned(image: ImageArray, face: Face, clockwise: float) -> tuple[ImageArray, np.ndarray]:
    """A canvas with the photo turned clockwise about the face, and the (2, 3) map of its pixels."""
    height, width = image.shape[:2]
    side = int(2 * np.hypot(height, width))
    middle = np.mean(np.array(face.box_xyxy).reshape(2, 2), axis=0) - 0.5
    radians = np.radians(clockwise)
    turn = np.array(
        [[np.cos(radians), -np.sin(radians)], [np.sin(radians), np.cos(radians)]]
    )  # y points down, so this turns clockwise as one sees it
    matrix = np.column_stack([turn, side / 2 - turn @ middle])
    canvas = cv2.warpAffine(
        image, matrix, (side, side), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(canvas[side // 4 : -side // 4, side // 4 : -side // 4]), np.column_stack(
        [turn, matrix[:, 2] - side // 4]
    )


def apart(a: float, b: float) -> float:
    """Degrees between two directions."""
    return abs((a - b + 180) % 360 - 180)


@pytest.fixture(scope="module")
def finder() -> FaceAnalyzer:
    return FaceAnalyzer(embedder=None)


@pytest.fixture(scope="module")
def upright_face(finder, astronaut) -> Face:
    return finder.analyze(astronaut)[0]


def nearest(faces: list[Face], place: np.ndarray) -> Face:
    assert faces
    return min(faces, key=lambda f: float(np.linalg.norm(f.landmarks_xy.mean(axis=0) - place)))


@pytest.mark.parametrize("angle", ANGLES)
def test_a_turned_face_is_found_where_it_lies(finder, astronaut, upright_face, angle):
    photo, matrix = turned(astronaut, upright_face, angle)
    wanted = upright_face.landmarks_xy @ matrix[:, :2].T + matrix[:, 2]
    face = nearest(finder.analyze(photo), wanted.mean(axis=0))
    assert apart(face.rotation, angle) <= 15
    eyes = float(np.linalg.norm(upright_face.landmarks_xy[1] - upright_face.landmarks_xy[0]))
    # Left and right stay the sitter's own: mixed up they would lie a whole distance apart.
    assert np.linalg.norm(face.landmarks_xy - wanted, axis=1).max() <= 0.25 * eyes
    x0, y0, x1, y1 = face.box_xyxy
    assert 0 <= x0 < x1 <= photo.shape[1]
    assert 0 <= y0 < y1 <= photo.shape[0]
    nose = wanted[2]
    assert x0 < nose[0] < x1
    assert y0 < nose[1] < y1


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_photo_on_its_side_keeps_its_own_coordinates(finder, astronaut, upright_face, quarters):
    frame = astronaut[:400]  # not square, so that height and width are told apart
    height, width = frame.shape[:2]
    photo = np.ascontiguousarray(np.rot90(frame, quarters))
    face = finder.analyze(photo)[0]
    x, y = (finder.analyze(frame)[0].landmarks_xy).T
    wanted = {
        1: np.column_stack([y, width - 1 - x]),
        2: np.column_stack([width - 1 - x, height - 1 - y]),
        3: np.column_stack([height - 1 - y, x]),
    }[quarters]
    assert apart(face.rotation, -90 * quarters) <= 15
    assert np.abs(face.landmarks_xy - wanted).max() <= 6


def distance_to_tau(name: str, astronaut: ImageArray, upright_face: Face, angle: int) -> float:
    """How far beyond the threshold of verification the turned face lies; below 0: the same."""
    analyzer = FaceAnalyzer(embedder=name)
    calibration = shipped(analyzer.embedder_id)
    assert calibration is not None
    first = analyzer.analyze(astronaut)[0].embedding
    photo, matrix = turned(astronaut, upright_face, angle)
    place = (upright_face.landmarks_xy @ matrix[:, :2].T + matrix[:, 2]).mean(axis=0)
    second = nearest(analyzer.analyze(photo), place).embedding
    assert first is not None
    assert second is not None
    return float(((first.vector - second.vector) ** 2).sum()) - calibration.head.threshold


EMBEDDERS = ["sface", "facenet", "dlib", "duo"]


@pytest.mark.parametrize("name", EMBEDDERS)
def test_a_turned_face_is_the_same_person(name, astronaut, upright_face):
    rows = {a: distance_to_tau(name, astronaut, upright_face, a) for a in ANGLES}
    assert max(rows.values()) <= 0, rows


@pytest.mark.parametrize(
    "name",
    EMBEDDERS,
)
def test_a_face_at_45_degrees_is_the_same_person(name, astronaut, upright_face):
    assert distance_to_tau(name, astronaut, upright_face, 45) <= 0


def test_any_rotation_finds_each_head_by_itself(astronaut):
    head = np.ascontiguousarray(astronaut[0:280, 90:370])
    canvas = np.concatenate([head, np.rot90(head, 2)], axis=1)
    faces = FaceAnalyzer(embedder=None, any_rotation=True).analyze(np.ascontiguousarray(canvas))
    by_side = {f.landmarks_xy[:, 0].mean() < 280: f for f in faces if f.score > 0.8}
    assert set(by_side) == {True, False}
    assert apart(by_side[True].rotation, 0) <= 15
    assert apart(by_side[False].rotation, 180) <= 15


class Counting:
    """A detector that counts, and finds what it is told to."""

    def __init__(self, face: Face) -> None:
        self.face, self.calls = face, 0

    def detect(self, image: ImageArray) -> list[Face]:
        self.calls += 1
        return [self.face]


def face(score: float) -> Face:
    points = np.array([[40, 50], [60, 50], [50, 60], [42, 72], [58, 72]], np.float32)
    return Face(box_xyxy=(30, 30, 70, 85), landmarks_xy=points, score=score)


def test_a_sure_upright_face_is_left_as_it_is(astronaut):
    sure = Counting(face(SURE_SCORE + 0.01))
    assert Upright(sure).detect(astronaut) == [sure.face]  # the very same object
    assert sure.calls == 1


def test_an_unsure_photo_is_looked_at_in_every_quarter(astronaut):
    unsure = Counting(face(SURE_SCORE - 0.1))
    found = Upright(unsure).detect(astronaut)
    assert found == [unsure.face]  # no quarter is better, so the photo stays
    assert unsure.calls >= 4


def test_a_detector_of_ones_own_is_used(astronaut):
    own = Counting(face(0.95))
    found = FaceAnalyzer(detector=own, embedder=None).analyze(astronaut)
    assert own.calls >= 1
    assert [f.box_xyxy for f in found] == [(30, 30, 70, 85)]
    np.testing.assert_array_equal(found[0].landmarks_xy, own.face.landmarks_xy)
