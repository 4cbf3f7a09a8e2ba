"""`limner style --fast`, `style-score` and `style-train`, called as a user calls them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from limner import images
from limner.cli import main, style_train


@pytest.fixture
def folder(tmp_path, monkeypatch):
    random = np.random.default_rng(1)
    (tmp_path / "photos").mkdir()
    for name in ("content", "style", "photos/a", "photos/b"):
        pixels = random.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        picture = Image.fromarray(pixels).resize((80, 60), Image.Resampling.BICUBIC)
        picture.save(tmp_path / f"{name}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*arguments: str):
    return CliRunner().invoke(main.app, arguments)


@pytest.mark.parametrize("style", ["style.png", "starry:0.5,weave:0.5"])
def test_fast_and_again(folder, style):
    looks = ("--strength", "0.7", "--colour", "content", "--size", "64")
    done = call("style", "content.png", style, "--fast", "-o", "out.png", *looks, "--json")
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["size_hw"] == [48, 64]
    assert document["provenance"]["mode"] == "fast"
    again = call("style", "--again", "out.png", "--json")
    assert again.exit_code == 0, again.stderr
    assert json.loads(again.stdout)["same"] is True
    assert np.array_equal(images.read("out.png"), images.read("out-again.png"))


def test_fast_with_a_mask_and_again(folder):
    mask = np.zeros((60, 80, 3), np.uint8)
    mask[30:] = 255
    Image.fromarray(mask).save("mask.png")
    masked = ("--mask", "mask.png", "--mask-colours", "white,black")
    done = call("style", "content.png", "style.png", "weave", "--fast", "-o", "o.png", *masked)
    assert done.exit_code == 0, done.stderr
    again = call("style", "--again", "o.png")
    assert again.exit_code == 0, again.stderr
    assert "the same, bit for bit" in again.stdout


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--fast", "--steps", "5"), "for the optimiser"),
        (("--fast", "--layers", "relu1_1"), "for the optimiser"),
        (("--fast", "--device", "cuda"), "on the CPU"),
        (("--fast", "--strength", "2"), "strength"),
        (("--steady", "0.5"), "is for --fast"),
        (("--fast", "--no-preview"), "for the optimiser"),
    ],
)
def test_options_that_do_not_fit_are_refused(folder, more, words):
    done = call("style", "content.png", "style.png", "-o", "out.png", *more)
    assert done.exit_code == 2
    assert words in done.stderr
    assert not Path("out.png").exists()


def test_score_orders_pictures(folder):
    done = call(
        *("style-score", "content.png", "style.png", "content.png", "style.png"),
        *("--encoder", "vgg16_hed", "--json"),
    )
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["encoder"] == "vgg16_hed"
    own, other = document["scores"]
    for name in ("content_perceptual", "content_structure"):
        assert own[name] < 1e-6 < other[name]
    for name in ("style_gram", "style_wasserstein", "colour"):
        assert other[name] < 1e-5 < own[name]


def test_train_stop_resume_and_use(folder, monkeypatch):
    small = ("--batch", "1", "--size", "32", "--style-size", "32", "--encoder", "vgg16_hed")
    train = ("style-train", "style.png", "--photos", "photos", "-o", "mine.onnx", *small)
    said = style_train.output.note
    monkeypatch.setattr(style_train, "_SAY_EVERY", 1)

    def stop(text):
        if text.startswith("2/"):
            raise KeyboardInterrupt
        said(text)

    monkeypatch.setattr(style_train.output, "note", stop)
    stopped = call(*train, "--steps", "3")
    assert stopped.exit_code == 130 or "interrupted" in stopped.stderr
    assert Path("mine.onnx.training").exists()
    so_far = json.loads(Path("mine.onnx.json").read_text())
    assert so_far["finished"] is False
    assert len(so_far["losses"]) == 2
    early = call("style", "content.png", "mine.onnx", "--fast", "-o", "early.png")
    assert early.exit_code == 0, early.stderr
    monkeypatch.setattr(style_train.output, "note", said)
    refused = call(*train, "--steps", "3")
    assert refused.exit_code == 2
    assert "--resume" in refused.stderr
    done = call(*train, "--steps", "3", "--resume", "--json")
    assert done.exit_code == 0, done.stderr
    assert [row[0] for row in json.loads(done.stdout)["losses"]] == [1, 2, 3]
    assert not Path("mine.onnx.training").exists()
    straight = call(*train, "--steps", "3", "-o", "straight.onnx")
    assert straight.exit_code == 0, straight.stderr
    assert Path("straight.onnx").read_bytes() == Path("mine.onnx").read_bytes()
    used = call("style", "content.png", "mine.onnx", "--fast", "-o", "out.png")
    assert used.exit_code == 0, used.stderr
    assert images.read("out.png").shape == (60, 80, 3)


def test_train_refuses_a_bad_name_at_once(folder):
    done = call("style-train", "style.png", "--photos", "photos", "-o", "mine.pt")
    assert done.exit_code == 2
    assert "must end in .onnx" in done.stderr
