"""Whether the sitter is still recognised, as ``limner style --preset portrait`` says it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import skimage.data
from PIL import Image
from typer.testing import CliRunner

from limner.cli import main
from limner.cli.style_likeness import likeness

ASTRONAUT = skimage.data.astronaut()[:300, 80:380]


@pytest.fixture
def photo(tmp_path):
    Image.fromarray(ASTRONAUT).save(tmp_path / "photo.png")
    return str(tmp_path / "photo.png")


def test_a_photo_is_its_own_likeness_and_darker_still_is(photo, capsys):
    assert likeness(photo, ASTRONAUT)["distance"] == pytest.approx(0, abs=1e-5)
    assert "still recognised by sface, distance 0.00" in capsys.readouterr().err
    assert likeness(photo, (ASTRONAUT * 0.6).astype(np.uint8))["verdict"] == "same"


def test_somebody_else_is_not(photo, capsys):
    import matplotlib.cbook

    with Image.open(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)) as own:
        other = np.asarray(own.convert("RGB"))
    assert likeness(photo, other)["verdict"] == "different"
    assert "no longer recognised" in capsys.readouterr().err


def test_no_face_is_said(photo, tmp_path, capsys):
    cat = skimage.data.chelsea()
    assert likeness(photo, skimage.data.coffee())["verdict"] == "no face"
    assert "no face is found in the painting" in capsys.readouterr().err
    Image.fromarray(cat).save(tmp_path / "cat.png")
    assert likeness(str(tmp_path / "cat.png"), ASTRONAUT) is None
    assert "no face is found in the content" in capsys.readouterr().err


def test_the_command_says_it_of_portraits_only(photo, tmp_path):
    Image.fromarray(skimage.data.coffee()[::4, ::4]).save(tmp_path / "style.png")
    asked = ["style", photo, str(tmp_path / "style.png"), "-o", str(tmp_path / "out.png")]
    asked += ["--size", "160", "--steps", "1", "--no-preview", "--json", "--encoder", "vgg16_hed"]
    done = CliRunner().invoke(main.app, [*asked, "--preset", "portrait"])
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)["likeness"]
    assert found["verdict"] in ("same", "different", "no face")
    assert "likeness:" in done.stderr
    done = CliRunner().invoke(main.app, asked)
    assert "likeness" not in json.loads(done.stdout)
