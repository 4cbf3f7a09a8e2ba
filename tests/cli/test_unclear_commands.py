"""What the commands say of two strangers whose photos are too blurred to tell."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from limner import images
from spoil import blur


@pytest.fixture(scope="module")
def blurred(photos, tmp_path_factory):
    """The two portraits with faces of about 95 pixels, blurred by sigma 6."""
    folder = tmp_path_factory.mktemp("blurred")
    for name, face_px in (("collins.png", 113), ("hopper.jpg", 212)):
        photo = Image.fromarray(images.read(photos / name))
        size = [round(side * 95 / face_px) for side in photo.size]
        small = np.asarray(photo.resize(size, Image.Resampling.LANCZOS))
        Image.fromarray(blur(small, 6)).save(folder / f"{name[:-4]}.png")
    return folder / "collins.png", folder / "hopper.png"


def test_blurred_strangers_are_unclear(limner, limner_json, blurred):
    status, answer = limner_json("compare", *blurred)
    assert status == 1
    assert answer["verdict"] == "unclear"
    assert "blurred" in answer["reason"]
    assert answer["probability"] < 0.5
    plain = limner("compare", *blurred)
    assert plain.exit_code == 1
    assert "unclear" in plain.output
    assert "blurred" in plain.output


def test_accept_unclear_gives_a_verdict(limner_json, blurred):
    status, answer = limner_json("compare", *blurred, "--accept-unclear")
    assert answer["verdict"] in ("same", "different")
    assert status == (0 if answer["verdict"] == "same" else 1)
    assert answer["reason"] is None


def test_a_blurred_photo_is_not_enrolled_unless_forced(limner, blurred, tmp_path):
    gallery = tmp_path / "g.limner"
    refused = limner("enroll", "Ada", blurred[0], "--gallery", gallery)
    assert refused.exit_code == 2
    assert "blurred" in refused.output
    forced = limner("enroll", "Ada", blurred[0], "--gallery", gallery, "--force")
    assert forced.exit_code == 0
    found = limner("identify", blurred[1], "--gallery", gallery)
    assert found.exit_code == 1  # the other stranger is given no name
    assert "unclear" in found.output
