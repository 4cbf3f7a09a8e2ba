"""`limner style` and what people really give it: odd pictures, no weights, no disk, Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image
from typer.testing import CliRunner

from limner import images, weights
from limner.cli import main
from limner.errors import InputError, WeightsError

sys.path.insert(0, str(Path(__file__).parents[1] / "style"))
import toy_stylizers as toys

SLOW = ("--encoder", "vgg16_hed", "--size", "64", "--steps", "2", "--no-preview")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    astronaut = skimage.data.astronaut()
    kinds = {
        "photo.png": Image.fromarray(astronaut[:240, :320]),
        "tiny.png": Image.fromarray(astronaut[100:108, 200:208]),
        "thin.png": Image.fromarray(np.tile(astronaut[:, 200:201], (4, 1, 1))[:2000]),
        "grey.png": Image.fromarray(astronaut[:120, :160, 0]),
        "alpha.png": Image.fromarray(np.dstack([astronaut[:120, :160], astronaut[:120, :160, 1]])),
        "deep.png": Image.fromarray(astronaut[:120, :160, 0].astype(np.uint16) * 257),
        "flat.png": Image.new("RGB", (200, 200), (90, 120, 30)),
        "style.png": Image.fromarray(skimage.data.coffee()[:300, :300]),
    }
    for name, image in kinds.items():
        image.save(tmp_path / name)
    toys.inverting(tmp_path / "negative.onnx", 1.0)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*arguments: str):
    return CliRunner().invoke(main.app, ["style", *arguments])


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("tiny.png", (8, 8)),
        ("thin.png", (2000, 1)),
        ("grey.png", (120, 160)),
        ("alpha.png", (120, 160)),
        ("deep.png", (120, 160)),
        ("flat.png", (200, 200)),
    ],
)
def test_fast_paints_any_picture(folder, name, size):
    done = call(name, "style.png", "--fast", "-o", "out.png", "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["size_hw"] == list(size)
    assert images.read("out.png").shape[:2] == size
    with Image.open("out.png") as out:
        assert out.mode == ("RGBA" if name == "alpha.png" else "RGB")


@pytest.mark.parametrize("style", ["flat.png", "tiny.png", "thin.png", "grey.png", "alpha.png"])
def test_fast_takes_any_picture_as_style(folder, style):
    done = call("photo.png", style, "--fast", "-o", "out.png")
    assert done.exit_code == 0, done.stderr
    out = images.read("out.png")
    assert out.shape == (240, 320, 3)
    assert out.std() > 5, "the photo is still there"


def test_the_optimiser_paints_small_grey_transparent_deep_and_flat(folder):
    for name in ("tiny.png", "grey.png", "alpha.png", "deep.png"):
        done = call(name, "flat.png", "-o", "out.png", *SLOW)
        assert done.exit_code == 0, (name, done.stderr)
        assert max(images.read("out.png").shape) == 64
    done = call("thin.png", "style.png", "-o", "thin-out.png", *SLOW)
    assert done.exit_code == 2
    assert "1 x 2000 px" in done.stderr
    assert not Path("thin-out.png").exists()


def test_weights_that_cannot_be_had(folder, monkeypatch):
    load = weights.load

    def without(*gone):
        def attempt(name, **options):
            if name in gone:
                raise WeightsError(f"{name} cannot be had: no source answered.")
            return load(name, **options)

        monkeypatch.setattr(weights, "load", attempt)

    without("arbitrary_style")
    done = call("photo.png", "style.png", "--fast", "-o", "out.png")
    assert done.exit_code == 2
    assert done.stderr == "error: arbitrary_style cannot be had: no source answered.\n"
    # the optimiser goes on without its preview
    done = call("photo.png", "style.png", "-o", "out.png", *SLOW[:-1])
    assert done.exit_code == 0
    assert done.stderr.startswith("no preview: arbitrary_style cannot be had")
    without("vgg16_hed", "arbitrary_style")
    done = call("photo.png", "style.png", "-o", "other.png", *SLOW)
    assert done.exit_code == 2
    assert "vgg16_hed cannot be had" in done.stderr
    assert not Path("other.png").exists()


@pytest.mark.parametrize("asked", [("--fast",), SLOW])
def test_a_full_disk_at_the_end_does_not_lose_the_picture(folder, asked, monkeypatch, tmp_path):
    from limner.style import saving

    (tmp_path / "spare").mkdir()
    write = saving.write_whole

    def full(path, data):
        if Path(path).absolute().parent == folder:
            raise InputError(f"{path} cannot be written: no space left on device.")
        write(path, data)

    monkeypatch.setattr(saving, "write_whole", full)
    monkeypatch.setattr(saving.tempfile, "gettempdir", lambda: str(tmp_path / "spare"))
    style = "negative.onnx" if "--fast" in asked else "style.png"
    done = call("photo.png", style, "-o", "out.png", *asked, "--json")
    assert done.exit_code == 0, done.stderr
    assert "out.png could not be written; the picture is in" in done.stderr
    place = Path(json.loads(done.stdout)["picture"])
    assert place.parent == tmp_path / "spare"
    assert images.read(place).shape[2] == 3


def test_the_preset_fast_is_the_option(folder):
    for i, asked in enumerate((("--fast",), ("--preset", "fast"))):
        done = call("photo.png", "negative.onnx", *asked, "-o", f"{i}.png")
        assert done.exit_code == 0, done.stderr
    assert np.array_equal(images.read("0.png"), images.read("1.png"))
    done = call("photo.png", "negative.onnx", "--preset", "fast", "--steps", "3", "-o", "2.png")
    assert done.exit_code == 2
    assert "for the optimiser" in done.stderr


def test_ctrl_c_in_the_middle_of_a_fast_picture(folder, monkeypatch):
    from limner.style.fast_tiles import Network

    run = Network._run

    def interrupted(self, *arguments):
        os.kill(os.getpid(), signal.SIGINT)
        return run(self, *arguments)

    monkeypatch.setattr(Network, "_run", interrupted)
    before = sorted(p.name for p in folder.iterdir())
    done = call("photo.png", "negative.onnx", "--fast", "-o", "out.png")
    assert done.exit_code == 130
    assert sorted(p.name for p in folder.iterdir()) == before, "nothing half done is left"


def test_ctrl_c_during_the_preview_leaves_nothing(folder, monkeypatch):
    from limner.style.fast_tiles import Network

    def interrupted(self, *arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(Network, "_run", interrupted)
    before = sorted(p.name for p in folder.iterdir())
    done = call("photo.png", "style.png", "-o", "out.png", *SLOW[:-1])
    assert done.exit_code == 130
    assert sorted(p.name for p in folder.iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("photo.png", "nothing", "--fast"), "no painting, .onnx file or built-in style"),
        (("photo.png", "starry:x", "--fast"), "share"),
        (("photo.png", "none.onnx", "--fast"), "none.onnx does not exist"),
        (("photo.png", "style.png", "--fast", "--mask", "photo.png"), "colours"),
        (("photo.png", "style.png", "weave", "--fast", "--mask", "tiny.png"), "mask"),
        (("photo.png", "style.png", "--start", "rough", "--no-preview"), "rough does not exist"),
        (("photo.png", "style.png", "--layers", "relu9_9", "--no-preview"), "it has conv1_1"),
        (("photo.png", "style.png", "--mask", "style.png", "--no-preview"), "colours"),
    ],
)
def test_mistakes_are_one_sentence(folder, arguments, words):
    done = call(*arguments, "-o", "out.png")
    assert done.exit_code == 2
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert not Path("out.png").exists()
