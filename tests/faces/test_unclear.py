"""A face too poor to judge is unclear, with a reason: real faces, spoiled on purpose."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from limner.faces import FaceAnalyzer
from limner.similarity.verdicts import compare
from limner.types import Face, ImageArray
from spoil import BOTH, blur, jpeg


@pytest.fixture(scope="module")
def sface() -> FaceAnalyzer:
    return FaceAnalyzer()


def at_lfw_scale(analyzer: FaceAnalyzer, photo: ImageArray) -> tuple[ImageArray, Face]:
    """The photo with its face 95 px high, as in LFW, for which the spoilings are meant."""
    from spoil import shrink

    found = analyzer.analyze(photo, embed=False)[0]
    small = shrink(photo, found.box_xyxy, 95)
    return small, analyzer.analyze(small)[0]


@pytest.fixture(scope="module")
def strangers(sface, astronaut, hopper) -> list[tuple[ImageArray, Face]]:
    return [at_lfw_scale(sface, photo) for photo in (astronaut, hopper)]


def read(analyzer: FaceAnalyzer, photo: ImageArray, like: Face) -> Face | None:
    """The face of a spoiled photo, or None where the detector finds none there."""
    found = analyzer.analyze(photo)
    middle = np.mean(np.array(like.box_xyxy).reshape(2, 2), axis=0)

    def off(face: Face) -> float:
        return float(np.abs(np.mean(np.array(face.box_xyxy).reshape(2, 2), axis=0) - middle).max())

    near = [face for face in found if off(face) < 40]
    return min(near, key=off, default=None)


SPOILED = {
    "blur 6": lambda photo, face: blur(photo, 6),
    "mask and sunglasses": lambda photo, face: BOTH(photo, face),
    "JPEG 2": lambda photo, face: jpeg(photo, 2),
}


@pytest.mark.parametrize("name", SPOILED)
def test_spoiled_strangers_are_never_the_same(name, sface, strangers):
    faces = [read(sface, SPOILED[name](photo, face), face) for photo, face in strangers]
    assert all(face is not None for face in faces), "found before quality is asked"
    first, second = (face.embedding for face in faces if face is not None)
    assert first is not None
    assert second is not None
    pair = compare(first, second)
    assert pair.verdict == "unclear"
    assert pair.reason
    if name == "blur 6":
        assert "blurred" in pair.reason
    assert pair.probability is not None
    assert pair.probability < 0.6, "never a confident yes; one half is what nobody can tell"
    assert compare(first, second, accept_unclear=True).verdict in ("same", "different")


def test_sharp_faces_are_judged(sface, strangers, astronaut, hopper):
    for photo in (astronaut, hopper, *(photo for photo, _ in strangers)):
        face = sface.analyze(photo)[0]
        assert face.reason is None
        assert face.quality is not None
        assert face.quality > 0.8
    first, second = (face.embedding for _, face in strangers)
    assert compare(first, second).verdict == "different"


def test_quality_falls_with_blur(sface, strangers):
    for photo, face in strangers:
        found = [read(sface, blur(photo, s), face) for s in (0.5, 2, 4, 6)]
        rows = [f.quality for f in found if f is not None and f.quality is not None]
        assert len(rows) >= 3
        assert all(b <= a + 0.05 for a, b in itertools.pairwise(rows)), rows
        assert rows[-1] < rows[0] - 0.3, rows
