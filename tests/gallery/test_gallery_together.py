"""Poor photos, photos far from the person's others, the same one twice: what enrolment says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from gallery_helpers import TAU, board, emb, near, squared, toy_analyzer, unit
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.cbook import get_sample_data
from PIL import Image, ImageFilter

from limner import images
from limner.errors import InputError, UnknownNameError
from limner.faces import FaceAnalyzer
from limner.faces.quality import better_photo
from limner.gallery import Gallery
from limner.gallery.enrolment import PhotoEvent, enroll_photos, import_folder
from limner.gallery.together import nearest_other
from limner.types import Face

RED, GREEN = (200, 20, 30), (40, 200, 30)


class _Judging(FaceAnalyzer):
    """Finds toy faces and says of the green ones that they are blurred."""

    def analyze(self, photo, **options):  # type: ignore[no-untyped-def, override]
        return [_judged(face, images.read(photo)) for face in super().analyze(photo, **options)]

    def analyze_many(self, photos, **options):  # type: ignore[no-untyped-def, override]
        for found in super().analyze_many(photos, **options):
            pixels = None if found.faces is None else images.read(found.photo)
            yield (
                found
                if pixels is None
                else replace(found, faces=[_judged(face, pixels) for face in found.faces or []])
            )


def _judged(face: Face, pixels: np.ndarray) -> Face:
    x0, y0, x1, y1 = map(int, face.box_xyxy)
    green = pixels[(y0 + y1) // 2, (x0 + x1) // 2, 1] > 100
    reason = "the face is blurred" if green else None
    assert face.embedding is not None
    known = replace(face.embedding, quality=0.2 if green else 0.9, reason=reason)
    return replace(face, embedding=known, quality=known.quality, reason=reason)


def judging() -> FaceAnalyzer:
    plain = toy_analyzer()
    plain.__class__ = _Judging
    return plain


# --- poor photos ----------------------------------------------------------------------------


def test_a_poor_photo_is_refused_and_forced(gallery: Gallery, tmp_path: Path) -> None:
    good, poor = board(tmp_path / "good.png", RED), board(tmp_path / "poor.png", GREEN)
    with pytest.raises(InputError, match=r"poor\.png is too poor to enrol, the face is blurred: "):
        enroll_photos(gallery, judging(), "Ada", [poor])
    assert len(gallery) == 0
    done = enroll_photos(gallery, judging(), "Ada", [poor, good])
    assert (done.added, [p.photo for p in done.failed]) == (1, [str(poor)])
    assert "use a sharper photo, or enrol it all the same with --force" in done.failed[0].reason
    forced = enroll_photos(gallery, judging(), "Ada", [poor], force=True)
    assert (forced.added, forced.failed) == (1, ())
    assert [w for w in forced.warnings if "too poor to judge by, the face is blurred" in w]
    rows = gallery.review("Ada")
    assert [(row.quality, row.reason) for row in rows] == [
        (0.9, None),
        (0.2, "the face is blurred"),
    ]


def test_a_folder_leaves_poor_photos_out(gallery: Gallery, tmp_path: Path) -> None:
    board(tmp_path / "in" / "Ada" / "good.png", RED)
    poor = board(tmp_path / "in" / "Ada" / "poor.png", GREEN)
    events: list[PhotoEvent] = []
    report = import_folder(gallery, judging(), tmp_path / "in", progress=events.append)
    assert (report.added, [p.photo for p in report.failed]) == (1, [str(poor)])
    assert [event.status for event in events] == ["added", "failed"]
    again = import_folder(gallery, judging(), tmp_path / "in", force=True)
    assert (again.added, again.already, again.failed) == (1, 1, ())


def test_vectors_are_taken_with_a_warning(gallery: Gallery) -> None:
    poor = replace(emb(unit(1)[0]), quality=0.1, reason="the face is too dark")
    done = gallery.enroll("Ada", poor, photo="dark.jpg")
    assert done.added == 1
    assert done.warnings == (
        "dark.jpg is too poor to judge by, the face is too dark: 'Ada' will often not be "
        "recognised by it.",
    )


def test_each_reason_has_its_remedy() -> None:
    from limner.faces import quality

    words = {*quality._BELOW.values(), *quality._ABOVE.values(), "the face is covered, or hard"}
    assert "another photo" not in {better_photo(reason) for reason in words}
    assert better_photo("of another model") == "another photo"


# --- far from the others --------------------------------------------------------------------


def test_a_far_photo_is_named_with_distance_and_threshold(calibrated: Gallery) -> None:
    first, second = unit(2)
    assert calibrated.enroll("John Smith", emb(first), photo="1.jpg").warnings == ()
    close = calibrated.enroll("john smith", emb(near(first, TAU - 0.05)), photo="2.jpg")
    assert close.warnings == ()
    far = calibrated.enroll("john smith", emb(second), photo="3.jpg")
    nearest = min(squared(second, first), squared(second, near(first, TAU - 0.05)))
    assert far.warnings == (
        f"3.jpg is far from the other photos of 'John Smith' (distance {nearest:.3f}, threshold "
        f"{TAU:.3f}), so it may show somebody else.",
    )
    again = calibrated.enroll("john smith", emb(second), photo="3.jpg")
    assert (again.added, again.skipped, again.warnings) == (0, ("3.jpg",), ())


def test_photos_of_one_call_are_taken_together(calibrated: Gallery) -> None:
    first, second = unit(2)
    both = calibrated.enroll("Ada", [emb(first), emb(second)], photo=["1.jpg", "2.jpg"])
    assert len(both.warnings) == 2
    calibrated.forget("Ada")
    chain = [first, near(first, 0.7), near(near(first, 0.7), 0.7, seed=1)]
    together = calibrated.enroll("Ada", list(map(emb, chain)), photo=["1.jpg", "2.jpg", "3.jpg"])
    assert together.warnings == ()
    assert calibrated.far("Bea", [emb(first), emb(first)]) == []  # the same one is no other


def test_without_a_calibration_nothing_is_far(gallery: Gallery) -> None:
    first, second = unit(2)
    assert gallery.enroll("Ada", [emb(first), emb(second)]).warnings == ()
    assert [row.odd for row in gallery.review("Ada")] == [False, False]
    assert gallery.review("Ada")[0].distance == pytest.approx(squared(first, second), abs=1e-5)


def test_a_far_photo_is_asked_about(calibrated: Gallery, tmp_path: Path) -> None:
    asked: list[str] = []

    def no(sentence: str) -> bool:
        asked.append(sentence)
        return False

    one, two = board(tmp_path / "1.png", RED), board(tmp_path / "2.png", (90, 20, 220))
    enroll_photos(calibrated, toy_analyzer(), "John Smith", [one], confirm=no)
    assert asked == []
    with pytest.raises(InputError, match="it was not confirmed"):
        enroll_photos(calibrated, toy_analyzer(), "john smith", [two], confirm=no)
    assert len(asked) == 1
    assert "'John Smith'" in asked[0]
    assert calibrated.person("John Smith").photos == 1
    enroll_photos(calibrated, toy_analyzer(), "john smith", [two], confirm=no, force=True)
    assert (len(asked), calibrated.person("John Smith").photos) == (1, 2)


def test_review_marks_the_odd_one(calibrated: Gallery) -> None:
    first, other = unit(2)
    rows = [first, near(first, 0.3), other, near(first, 0.4, seed=2)]
    calibrated.enroll("Ada", list(map(emb, rows)), photo=[f"{n}.jpg" for n in range(4)])
    found = calibrated.review("ada")
    assert [row.photo for row in found if row.odd] == ["2.jpg"]
    oracle = [min(squared(a, b) for b in rows if b is not a) for a in rows]
    assert [row.distance for row in found] == pytest.approx(oracle, abs=1e-5)
    assert {row.threshold for row in found} == {TAU}
    calibrated.remove_photo("Ada", found[2].id)
    assert not any(row.odd for row in calibrated.review("Ada"))
    calibrated.enroll("Bea", emb(other))
    (alone,) = calibrated.review("Bea")
    assert (alone.distance, alone.odd) == (None, False)
    with pytest.raises(UnknownNameError):
        calibrated.review("Nobody")


@given(st.integers(1, 12), st.integers(0, 99))
def test_nearest_other_against_all_pairs(count: int, seed: int) -> None:
    rows = unit(count, seed=seed)
    found = nearest_other(rows)
    for place, row in enumerate(rows):
        others = [squared(row, other) for at, other in enumerate(rows) if at != place]
        assert found[place] == (pytest.approx(min(others), abs=1e-5) if others else np.inf)


# --- the same twice -------------------------------------------------------------------------


def test_the_same_embedding_is_enrolled_once(gallery: Gallery) -> None:
    first, second = unit(2)
    assert gallery.enroll("Ada", emb(first)).added == 1
    again = gallery.enroll("ada", [emb(first), emb(second), emb(second)], photo=[None, None, "x"])
    assert (again.added, again.skipped, again.total) == (1, ("face 1", "x"), 2)
    assert gallery.enroll("Bob", emb(first)).added == 1  # another person may have it


# --- real photos ----------------------------------------------------------------------------


def test_real_photos(tmp_path: Path) -> None:
    collins = Image.fromarray(skimage.data.astronaut())
    hopper = images.read(get_sample_data("grace_hopper.jpg", asfileobj=False))
    analyzer = FaceAnalyzer()
    with Gallery.open(tmp_path / "g.limner", create=True) as gallery:
        blurred = collins.filter(ImageFilter.GaussianBlur(8))
        with pytest.raises(InputError, match="too poor to enrol, the face is blurred"):
            enroll_photos(gallery, analyzer, "Eileen", [blurred])
        views = [collins, collins.transpose(Image.Transpose.FLIP_LEFT_RIGHT), collins.rotate(8)]
        assert enroll_photos(gallery, analyzer, "Eileen", views).warnings == ()
        done = enroll_photos(gallery, analyzer, "eileen", [hopper])
        assert [w for w in done.warnings if "far from the other photos of 'Eileen'" in w]
        assert [row.odd for row in gallery.review("Eileen")] == [False, False, False, True]


def test_a_script_may_run_twice(tmp_path: Path) -> None:
    """As README has it: faces, not photos, with a new analyzer each time."""
    for added in (1, 0):
        with Gallery.open(tmp_path / "g.limner", create=True) as gallery:
            done = gallery.enroll("Eileen", FaceAnalyzer().analyze(skimage.data.astronaut()))
            assert (done.added, done.total, len(done.skipped)) == (added, 1, 1 - added)
