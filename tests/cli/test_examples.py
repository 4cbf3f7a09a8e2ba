"""The examples run as their docstrings say."""

from __future__ import annotations

import csv
import io
import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture
def run(monkeypatch, capsys):
    def start(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        try:
            runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        except SystemExit as end:
            return end.code, capsys.readouterr().out
        return 0, capsys.readouterr().out

    return start


def test_two_photos(run, photos):
    code, said = run("two_photos.py", photos / "hopper.jpg", photos / "hopper-turned.jpg")
    assert (code, said.split(":")[0]) == (0, "same")
    code, said = run("two_photos.py", photos / "hopper.jpg", photos / "collins.png")
    assert (code, said.split(":")[0]) == (1, "different")


def test_album(run, limner, photos, tmp_path):
    where = tmp_path / "g.limner"
    limner("enroll", "Grace Hopper", photos / "hopper.jpg", "--gallery", where)
    _, said = run("album.py", where, photos)
    people = {Path(row["photo"]).name: row["person"] for row in csv.DictReader(io.StringIO(said))}
    assert people["hopper-turned.jpg"] == "Grace Hopper"
    assert people["collins.png"] == people["stranger.png"] == ""
    assert "coffee.png" not in people


def test_every_example_is_tested():
    names = {path.name for path in EXAMPLES.glob("*.py")}
    assert names == {"two_photos.py", "album.py"}
