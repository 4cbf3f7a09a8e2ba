"""Which face is meant, and what is no second sitter."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.data

from limner.errors import FaceCountError
from limner.faces import FaceAnalyzer, choose, sitters
from limner.types import Face, ImageArray


def face(x: float, side: float, quality: float | None = 0.9, reason: str | None = None) -> Face:
    box = (x, 10.0, x + side, 10.0 + side)
    return Face(box, np.zeros((5, 2), np.float32), 0.9, quality=quality, reason=reason)


SITTER = face(0, 100)


@pytest.mark.parametrize(
    ("other", "counts"),
    [
        (face(200, 49, 0.2, "there may be no face"), False),
        (face(200, 49, 0.49), False),
        (face(200, 49, 0.9), True),  # small, and good: a second person
        (face(200, 51, 0.2, "the face is blurred"), True),  # poor, and large
        (face(200, 20, None), True),  # nobody has judged it
    ],
)
def test_small_and_poor_is_no_second_sitter(other: Face, counts: bool) -> None:
    assert sitters([SITTER, other]) == ([SITTER, other] if counts else [SITTER])
    if counts:
        with pytest.raises(FaceCountError):
            choose([SITTER, other])
    else:
        assert choose([SITTER, other]) == [SITTER]
    assert choose([SITTER, other], pick="all") == [SITTER, other]
    assert choose([other]) == [other]


def test_the_message_gives_boxes_and_sizes() -> None:
    faces = [face(200, 60), SITTER, face(300, 30), face(400, 20, 0.1, "the face is blurred")]
    with pytest.raises(FaceCountError) as caught:
        choose(faces, photo="a.jpg")
    assert str(caught.value).startswith(
        "3 faces were found in a.jpg where one is expected, the largest 100 x 100 pixels at "
        "0,10,100,110 and 60 x 60 pixels at 200,10,260,70; choose with --largest"
    )
    assert caught.value.count == 3
    assert caught.value.boxes[0] == SITTER.box_xyxy
    with pytest.raises(FaceCountError, match="expected, 100 x 100 pixels at 0,10,100,110 and 60"):
        choose(faces[:2])


def test_phantoms_beside_a_real_sitter(facenet: FaceAnalyzer, astronaut: ImageArray) -> None:
    """Enlarged gravel, in which the detector finds faces, around one portrait."""
    from PIL import Image

    ground = np.repeat(skimage.data.gravel()[..., None], 3, axis=2)
    picture = Image.fromarray(ground).resize((3000, 3000), Image.Resampling.LANCZOS)
    head = Image.fromarray(astronaut[:250, 90:340])  # without the suit, in which it finds one, too
    picture.paste(head.resize((2000, 2000)), (500, 500))
    faces = facenet.analyze(picture)
    assert len(faces) > 1, "the detector has become better: find another phantom"
    (chosen,) = choose(faces)
    x0, y0, x1, y1 = chosen.box_xyxy
    assert 1400 < (x0 + x1) / 2 < 1800
    assert 1200 < (y0 + y1) / 2 < 1700


def test_two_real_people_still_count(
    facenet: FaceAnalyzer, astronaut: ImageArray, hopper: ImageArray
) -> None:
    both = np.zeros((1200, 1100, 3), np.uint8)
    both[:512, :512] = astronaut
    small = hopper[:1200:2, :1024:2]
    both[: small.shape[0], 512 : 512 + small.shape[1]] = small
    with pytest.raises(FaceCountError, match="2 faces were found"):
        choose(facenet.analyze(both))
