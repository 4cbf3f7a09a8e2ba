"""`limner style`, called as a user calls it, on the encoder that the package index has."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from limner import images
from limner.cli import main

SMALL = [
    *("--encoder", "vgg16_hed", "--size", "64", "--steps", "4", "--device", "cpu"),
    "--no-preview",
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    random = np.random.default_rng(1)
    for name, size in {"content": (60, 80, 3), "style": (50, 50, 3), "other": (50, 70, 3)}.items():
        pixels = random.integers(0, 256, size, dtype=np.uint8)
        Image.fromarray(pixels).resize((160, 120)).save(tmp_path / f"{name}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*arguments: str):
    return CliRunner().invoke(main.app, ["style", *arguments])


def test_paint_and_again(folder):
    done = call("content.png", "style.png", "-o", "out.png", *SMALL, "--start", "noise", "--json")
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["finished"] is True
    assert document["size_hw"] == [48, 64]
    assert images.read("out.png").shape == (48, 64, 3)
    assert document["provenance"]["encoder"]["name"] == "vgg16_hed"
    again = call("--again", "out.png", "--json")
    assert again.exit_code == 0, again.stderr
    assert json.loads(again.stdout)["same"] is True
    np.testing.assert_array_equal(images.read("out.png"), images.read("out-again.png"))


def test_two_styles_layers_and_sixteen_bits(folder):
    done = call(
        *("content.png", "style.png", "other.png", "-o", "out.tif", "--bits", "16", *SMALL),
        *("--style-weights", "2,1", "--layers", "relu1_1:2,5", "--style-cost", "paper", "--json"),
    )
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)["provenance"]
    assert found["encoder"]["style_layers"] == [["relu1_1", 2.0], ["conv2_1", 1.0]]
    assert found["style_weights"] == [2.0, 1.0]
    assert images.read_float("out.tif").shape == (48, 64, 3)


def test_the_run_is_as_asked(folder):
    asked = {"brush": 1.5, "border": "zero", "history": 7, "line_search": "none", "skim": 0.05}
    words = [w for k, v in asked.items() for w in (f"--{k.replace('_', '-')}", str(v))]
    done = call("content.png", "style.png", "-o", "out.png", *SMALL, *words, "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)["provenance"]["options"]
    assert {k: found[k] for k in asked} == asked
    assert call("content.png", "style.png", "-o", "out2.png", "--history", "0").exit_code == 2


def test_the_notes_preset_reports(folder):
    done = call(
        *("content.png", "style.png", "-o", "out.png", "--preset", "notes", "--size", "40"),
        *("--encoder", "vgg16_hed", "--steps", "4", "--report-every", "2", "--no-preview"),
    )
    assert done.exit_code == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if "Content Loss" in line]
    assert [line.split(",")[0] for line in lines] == ["Epoch = 2", "Epoch = 4"]
    assert "stands in" in done.stderr


def test_the_costs_that_are_said_add_up(folder):
    done = call(
        *("content.png", "style.png", "-o", "out.png", *SMALL, "--alpha", "3", "--beta", "50"),
        *("--smoothness", "0", "--report-every", "1", "--no-preview"),
    )
    assert done.exit_code == 0, done.stderr
    lines = [line.split() for line in done.stderr.splitlines() if " content " in line]
    assert lines
    for words in lines:
        total, content, style = (float(words[i]) for i in (2, 4, 6))
        assert total == pytest.approx(content + style, rel=1e-4)


def test_a_preview_is_there_while_it_paints_and_gone_afterwards(folder, monkeypatch):
    from limner.style.objective import Objective

    evaluate, seen = Objective.evaluate, []

    def watched(self, image):
        seen.append(images.read("out-preview.jpg").shape)
        assert not (folder / "out.png").exists()
        return evaluate(self, image)

    monkeypatch.setattr(Objective, "evaluate", watched)
    done = call("content.png", "style.png", "-o", "out.png", *SMALL[:-1])
    assert done.exit_code == 0, done.stderr
    assert done.stderr.startswith("preview: out-preview.jpg, ")
    assert set(seen) == {(48, 64, 3)}
    assert not (folder / "out-preview.jpg").exists()
    mine = folder / "out-preview.jpg"
    mine.write_bytes(b"mine")
    done = call("content.png", "style.png", "-o", "out.tif", "--layers", "conv9_1", *SMALL[:-1])
    assert done.exit_code == 2
    assert "it has conv1_1" in done.stderr
    assert mine.read_bytes() == b"mine"


def test_masks_a_fast_start_and_again(folder):
    mask = np.zeros((120, 160, 3), np.uint8)
    mask[60:] = 255
    Image.fromarray(mask).save("mask.png")
    asked = ("--mask", "mask.png", "--mask-colours", "white,black", "--start", "fast")
    done = call("content.png", "style.png", "other.png", "-o", "out.png", *SMALL, *asked, "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)["provenance"]
    assert [i["name"] for i in found["inputs"]] == [
        *("content.png", "style.png", "other.png", "mask.png")
    ]
    assert found["mask_colours"] == ["#ffffff", "#000000"]
    again = call("--again", "out.png", "--json")
    assert again.exit_code == 0, again.stderr
    assert json.loads(again.stdout)["same"] is True


def test_ctrl_c_saves_and_resume_goes_on(folder, monkeypatch):
    import os
    import signal

    from limner.style.objective import Objective

    evaluate, calls = Objective.evaluate, []

    def interrupted(self, image):
        calls.append(1)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return evaluate(self, image)

    whole = call("content.png", "style.png", "-o", "whole.png", *SMALL, "--json")
    monkeypatch.setattr(Objective, "evaluate", interrupted)
    done = call("content.png", "style.png", "-o", "out.png", *SMALL)
    assert done.exit_code == 130
    assert "--resume" in done.stderr
    assert (folder / "out.png").exists()
    assert (folder / "out.png.checkpoint").exists()
    more = call("content.png", "style.png", "-o", "out.png", *SMALL, "--resume", "--json")
    assert more.exit_code == 0, more.stderr
    digests = [json.loads(r.stdout)["provenance"]["pixels_sha256"] for r in (whole, more)]
    assert digests[0] == digests[1]
    assert not (folder / "out.png.checkpoint").exists()


def test_without_a_name_the_picture_is_called_after_both(folder):
    done = call("content.png", "style.png", *SMALL)
    assert done.exit_code == 0, done.stderr
    assert (folder / "content-in-the-style-of-style.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["content.png"], "at least one style"),
        (["moving.gif", "style.png", "-o", "out.png"], "is a moving picture"),
        ([".", "style.png", "-o", "out.png"], "is a folder, and the optimiser paints one"),
        (["content.png", "style.png", "-o", "out.gif"], "suffix"),
        (["content.png", "none.png", "-o", "out.png"], "none.png does not exist"),
        (["content.png", "style.png", "-o", "out.png", "--layers", "conv9_1"], "it has conv1_1"),
        (["content.png", "style.png", "-o", "out.png", "--preset", "best"], "preset must be"),
        (["content.png", "style.png", "-o", "out.png", "--size", "8"], "size must be from 32"),
        (["content.png", "style.png", "-o", "out.png", "--style-weights", "a"], "must be numbers"),
        (["content.png", "style.png", "-o", "out.png", "--resume"], "no checkpoint"),
        (["content.png", "style.png", "-o", "out.png", "--mask", "content.png"], "colour"),
        (["content.png", "style.png", "-o", "out.png", "--mask-colours", "red"], "but no mask"),
        (["--again", "content.png"], "does not say how it was made"),
        (["--again", "content.png", "--size", "64"], "give no pictures and no look"),
    ],
)
def test_mistakes_are_one_line_and_status_2(folder, arguments, message):
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "blue")]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    extra = [] if "--again" in arguments else ["--encoder", "vgg16_hed", "--no-preview"]
    done = call(*arguments, *extra)
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (folder / "out.png").exists()
