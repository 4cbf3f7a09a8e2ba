"""`limner style-sheet`, called as a user calls it."""

from __future__ import annotations

import json

import pytest
import skimage.data
from PIL import Image
from typer.testing import CliRunner

from limner import images
from limner.cli import main


@pytest.fixture
def folder(tmp_path, monkeypatch):
    Image.fromarray(skimage.data.astronaut()).resize((128, 96)).save(tmp_path / "content.png")
    Image.fromarray(skimage.data.coffee()).resize((128, 96)).save(tmp_path / "style.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*arguments: str):
    asked = ("--size", "64", "--steps", "1", "--encoder", "vgg16_hed")
    return CliRunner().invoke(main.app, ["style-sheet", *arguments, *asked])


def test_a_sheet_and_its_figures(folder):
    done = call("depth", "content.png", "style.png", "-o", "sheet.png", "--json")
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert [t["label"] for t in document["tiles"]] == [f"conv{i}_2" for i in range(1, 6)]
    assert all(t["costs"]["style"] > 0 for t in document["tiles"])
    assert [i["name"] for i in document["inputs"]] == ["content.png", "style.png"]
    assert images.read("sheet.png").shape[1] == 2 * 36 + 4 * 300 + 3 * 20
    assert json.loads((folder / "sheet.png.json").read_text())["kind"] == "depth"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("depth", "content.png", "none.png", "-o", "s.png"), "none.png does not exist"),
        (("depth", "content.png", "style.png", "-o", "s.gif"), "suffix"),
        (("hue", "content.png", "style.png", "-o", "s.png"), "depth"),
        (("sizes", "content.png", "style.png", "-o", "no/s.png"), "folder does not exist"),
    ],
)
def test_mistakes(folder, arguments, words):
    done = call(*arguments)
    assert done.exit_code == 2
    assert words in done.stderr
    assert not (folder / "s.png").exists()
