"""Poor photos and odd ones over HTTP, as `limner.Client` sees them."""

from __future__ import annotations

import io

import pytest
from PIL import Image, ImageFilter

from limner import errors


@pytest.fixture
def blurred(photos) -> bytes:
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(photos["collins"])) as picture:
        picture.filter(ImageFilter.GaussianBlur(8)).save(buffer, "JPEG")
    return buffer.getvalue()


def test_a_poor_photo_is_left_out_unless_it_is_forced(client, photos, blurred):
    with pytest.raises(errors.InputError, match="too poor to enrol, the face is blurred: use a"):
        client.enroll("Eileen Collins", blurred)
    done = client.enroll("Eileen Collins", [blurred, photos["collins"]])
    assert (done.added, len(done.failed)) == (1, 1)
    assert "the face is blurred" in done.failed[0][1]
    forced = client.enroll("Eileen Collins", blurred, force=True)
    assert forced.added == 1
    assert any("too poor to judge by" in sentence for sentence in forced.warnings)
    kept = client.photos("Eileen Collins")
    assert [photo.reason for photo in kept] == [None, "the face is blurred"]
    assert kept[0].quality > 0.8 > 0.4 > kept[1].quality
    client.forget("Eileen Collins")


def test_another_person_under_the_name_is_warned_about_and_odd(client, photos):
    assert client.enroll("John Smith", [photos["collins"], photos["collins2"]]).warnings == ()
    (warning,) = client.enroll("john smith", photos["hopper"]).warnings
    assert "far from the other photos of 'John Smith' (distance " in warning
    kept = client.photos("John Smith")
    assert [photo.odd for photo in kept] == [False, False, True]
    assert kept[2].distance > kept[2].threshold > kept[0].distance
    assert client.remove_photo("John Smith", kept[2].id) == 2
    client.forget("John Smith")


def test_two_sitters_are_named_with_their_boxes(client, photos):
    with pytest.raises(errors.FaceCountError, match=r"expected, \d+ x \d+ pixels at .* and \d+ x"):
        client.enroll("Somebody", photos["both"])
