from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limner.cli import draw, lettering
from limner.cli.draw import COLOURS, Mark, draw_marks


def grey(height=600, width=800):
    return np.full((height, width, 3), 128, np.uint8)


def plates_of(marks, height=600, width=800):
    return draw._layout(list(marks), (width, height), 3)


def overlap(a, b):
    return max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))


def contrast(a, b):
    """Contrast of two colours by WCAG 2, from 1 to 21."""

    def light(colour):
        c = np.asarray(colour) / 255
        c = np.where(c <= 0.03928, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
        return float(c @ [0.2126, 0.7152, 0.0722])

    high, low = sorted((light(a), light(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_the_photo_is_left_alone_and_the_frame_is_on_the_box():
    photo = grey()
    drawn = draw_marks(photo, [Mark((300, 200, 400, 320), "Ada", kind="recognised")]).image
    assert (photo == 128).all()
    assert drawn.shape == photo.shape
    for y, x in ((200, 350), (319, 350), (260, 300), (260, 399)):
        assert tuple(drawn[y, x]) == COLOURS["recognised"]
    assert (drawn[210:310, 310:390] == 128).all()


def test_no_marks_give_the_photo_back():
    np.testing.assert_array_equal(draw_marks(grey(), []).image, grey())


def test_a_face_that_is_not_recognised_has_a_dashed_frame():
    box = (300, 200, 500, 400)

    def share(kind):
        drawn = draw_marks(grey(), [Mark(box, "x", kind=kind)]).image
        return (drawn[220:380, 300] == COLOURS[kind]).all(axis=1).mean()

    assert share("recognised") == 1
    assert 0.3 < share("not_recognised") < 0.7


@pytest.mark.parametrize("kind", COLOURS)
def test_text_can_be_read_on_every_plate(kind):
    assert contrast(COLOURS[kind], (255, 255, 255)) >= 5


def test_text_grows_with_the_photo():
    small = plates_of([Mark((100, 100, 200, 200), "Ada")], 600, 800)[0]
    large = plates_of([Mark((100, 100, 200, 200), "Ada")], 3000, 4000)[0]
    assert large.size == pytest.approx(5 * small.size, rel=0.05)
    assert small.size >= 16


def test_a_small_photo_is_enlarged():
    drawn = draw_marks(grey(60, 90), [Mark((20, 10, 60, 50), "Ada Lovelace", "distance 0.41")])
    assert drawn.image.shape == (480, 720, 3)


boxes = st.builds(
    lambda x, y, w, h: (float(x), float(y), float(x + w), float(y + h)),
    st.integers(-50, 780),
    st.integers(-50, 580),
    st.integers(8, 300),
    st.integers(8, 300),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(boxes, min_size=1, max_size=12), st.sampled_from(["Ada", "Maximiliane von Müller"]))
def test_plates_stay_inside_and_do_not_cover_each_other(found, title):
    plates = plates_of([Mark(box, title, "distance 0.51") for box in found])
    assert len(plates) == len(found)
    for index, plate in enumerate(plates):
        x0, y0, x1, y1 = plate.rectangle
        assert x0 >= 0
        assert y0 >= 0
        assert x1 <= 800
        assert y1 <= 600
        assert all(overlap(plate.rectangle, other.rectangle) == 0 for other in plates[:index])


def test_plates_do_not_hide_faces_that_stand_apart():
    faces = [(100.0 + 220 * i, 200.0, 200.0 + 220 * i, 320.0) for i in range(3)]
    plates = plates_of([Mark(box, "Grace Hopper", "distance 0.41") for box in faces])
    assert all(overlap(p.rectangle, box) == 0 for p in plates for box in faces)


def test_a_crowd_is_drawn_whole():
    generator = np.random.default_rng(0)
    corners = generator.uniform(0, [780, 580], size=(150, 2))
    marks = [
        Mark((x, y, x + 12, y + 14), "not recognised", kind="not_recognised") for x, y in corners
    ]
    drawn = draw_marks(grey(), marks)
    assert max(drawn.image.shape) > 800  # enlarged, for the text


@pytest.fixture
def no_system_fonts(monkeypatch):
    from matplotlib import font_manager

    monkeypatch.setattr(font_manager, "findSystemFonts", list)
    lettering.runs_of.cache_clear()
    yield
    lettering.runs_of.cache_clear()


def test_a_name_in_letters_that_no_font_has_is_replaced_by_its_number(no_system_fonts):
    marks = [Mark((0, 0, 50, 50), "Zoë Зоя"), Mark((300, 300, 400, 400), "Li 田中")]
    assert draw_marks(grey(), marks).replaced == {2: "Li 田中"}


def test_a_name_in_two_scripts_is_drawn_with_two_fonts(monkeypatch):
    from matplotlib import font_manager

    own, other = lettering.bundled(True), lettering.bundled(False)
    known = {own: frozenset(map(ord, "Li ")), other: frozenset(map(ord, "田中"))}
    monkeypatch.setattr(lettering, "_letters", known.__getitem__)
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [str(other)])
    lettering.runs_of.cache_clear()
    assert lettering.runs_of("Li 田中 Li") == ((own, "Li "), (other, "田中"), (own, " Li"))
    assert lettering.runs_of("Зоя") is None
    lettering.runs_of.cache_clear()


def test_the_bundled_font_is_there_and_knows_more_than_latin(no_system_fonts):
    assert lettering.bundled(True).is_file()
    assert lettering.bundled(False).is_file()
    for name in ("Zoë", "Зоя", "Ελένη", "محمد"):
        assert lettering.runs_of(name) == ((lettering.bundled(True), name),)
