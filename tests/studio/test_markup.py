"""The page's own HTML: numbers land where they should, and text stays text."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from limner.errors import FaceCountError, GalleryError, ImageError
from limner.studio import markup


class Balance(HTMLParser):
    """Counts tags that are opened and not closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.texts = [], []
        self.feed(text)
        assert self.open == [], self.open

    def handle_starttag(self, tag, attrs):
        if tag not in ("img", "input", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


@pytest.mark.parametrize("name", ["<script>x</script>", "{{value}}", "${alert(1)}", '"><b', "`"])
def test_a_name_stays_text_in_html_and_in_gradios_templates(name):
    shown = markup.notice(name)
    assert name in "".join(Balance(shown).texts)
    assert not re.search(r"[{}$`]|<script", shown)


def test_frames_lie_over_the_faces_in_shares_of_the_picture():
    mark = markup.Mark((50.0, 25.0, 150.0, 100.0), "Ada", "yes")
    shown = markup.picture("data:,", alt="x", size_hw=(100, 200), marks=[mark])
    Balance(shown)
    frame = re.search(r"left:([\d.]+)%;top:([\d.]+)%;width:([\d.]+)%;height:([\d.]+)%", shown)
    assert frame
    assert [float(v) for v in frame.groups()] == [25, 25, 50, 75]
    assert "Ada" in shown


def test_a_frame_beyond_the_edge_ends_there_and_a_crowd_has_numbers_alone():
    marks = [markup.Mark((-50.0, -10.0, 400.0, 300.0), "Ada", "no")] * 5
    shown = markup.picture("data:,", alt="x", size_hw=(100, 200), marks=marks)
    assert shown.count("left:0.00%;top:0.00%;width:100.00%;height:100.00%") == 5
    assert "Ada" not in shown
    assert "<b>5</b>" in shown


def test_the_scale_marks_tau_and_says_the_same_to_who_cannot_see_it():
    shown = markup.scale(0.6, 1.2)
    Balance(shown)
    assert "left:25.00%" in shown  # 0.6 of 2.4
    assert "left:50.00%" in shown  # tau
    assert "l-dot l-yes" in shown
    assert "Distance 0.600" in shown
    assert "tau is 1.200" in shown
    assert "l-dot l-no" in markup.scale(1.3, 1.2)
    assert "left:100.00%" in markup.scale(3.9, 1.2)


def test_no_probability_reads_as_certain_and_words_follow_it():
    assert markup.percent(1.0) == "over 99.9 %"
    assert markup.percent(0.0) == "below 0.1 %"
    assert markup.percent(0.5) == "50.0 %"
    order = [markup.in_words(p) for p in (1.0, 0.97, 0.8, 0.5, 0.1, 0.01, 0.0)]
    assert len(set(order)) == 7
    assert ["same" in words for words in order] == [True] * 3 + [False] * 4
    assert "calibration" in markup.in_words(None)


def test_a_problem_says_what_to_do_and_shows_no_path():
    nobody = markup.problem(FaceCountError("no face was found in x.", count=0))
    assert 'role="alert"' in nobody
    assert "No face was found" in nobody
    assert "20 pixels" in nobody
    assert "JPEG" in markup.problem(ImageError("this is not a picture."))
    secret = markup.problem(GalleryError("the gallery /home/me/faces.limner is damaged."))
    assert "/home" not in secret


def test_a_data_uri_is_a_reduced_jpeg():
    import base64
    import io

    from PIL import Image

    uri = markup.data_uri(np.full((100, 400, 3), 90, np.uint8), longest=200)
    with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as found:
        assert (found.format, found.size) == ("JPEG", (200, 50))
