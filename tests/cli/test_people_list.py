"""`limner people`: the list, a person's photos, taking one out; what `enroll` refuses and asks."""

from __future__ import annotations

import json

import pytest
from PIL import Image, ImageFilter

from limner.cli import output


@pytest.fixture
def place(tmp_path):
    return tmp_path / "test.limner"


@pytest.fixture
def run(limner, place):
    return lambda *arguments: limner(*arguments, "--gallery", place)


@pytest.fixture
def mixed(run, photos):
    """Two photos of one person, and one of another under the same name."""
    for photo in ("collins.png", "collins-mirrored.jpg"):
        assert run("enroll", "John Smith", photos / photo).exit_code == 0
    result = run("enroll", "john smith", photos / "hopper.jpg")
    assert result.exit_code == 0
    return result


def test_another_person_under_the_name_is_warned_about(mixed, run, photos):
    assert "hopper.jpg is far from the other photos of 'John Smith' (distance " in mixed.stderr
    assert "threshold " in mixed.stderr


def test_show_and_remove(mixed, run, limner, place, photos, fails):
    shown = run("people", "show", "john smith")
    assert shown.exit_code == 0
    odd = [line for line in shown.stdout.splitlines() if "odd: further than " in line]
    assert len(odd) == 1
    assert "hopper.jpg" in odd[0]
    assert shown.stdout.splitlines()[-1] == "John Smith: 3 photos, 1 far from the others."
    document = json.loads(run("people", "show", "John Smith", "--json").stdout)
    assert [photo["odd"] for photo in document["photos"]] == [False, False, True]
    assert document["person"]["photos"] == 3
    assert all(0.5 < photo["quality"] <= 1 for photo in document["photos"])
    number = document["photos"][2]["id"]
    removed = json.loads(run("people", "remove-photo", "John Smith", number, "--json").stdout)
    assert removed == {"person": "John Smith", "removed": number, "photos": 2}
    # The gallery may be named before the subcommand as well.
    before = limner("people", "--gallery", place, "show", "John Smith")
    assert before.stdout.splitlines()[-1] == "John Smith: 2 photos, none is odd."
    assert "no enrolled photo of id" in fails(run("people", "remove-photo", "John Smith", number))
    assert "nobody" in fails(run("people", "show", "Jane"))


def test_people_alone_still_lists(mixed, run):
    result = run("people")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == "1 person."
    assert json.loads(run("people", "--json").stdout)["people"][0]["name"] == "John Smith"


def test_a_poor_photo_is_refused(run, photos, tmp_path, fails):
    blurred = tmp_path / "blurred.png"
    with Image.open(photos / "collins.png") as picture:
        picture.filter(ImageFilter.GaussianBlur(8)).save(blurred)
    words = fails(run("enroll", "Eileen", blurred))
    assert "too poor to enrol, the face is blurred: use a sharper photo" in words
    assert "--force" in words
    assert run("enroll", "Eileen", blurred, "--force").exit_code == 0


@pytest.mark.parametrize(("answer", "photos_then"), [("n\n", 1), ("\n", 1), ("y\n", 2)])
def test_on_a_terminal_it_asks(run, photos, place, monkeypatch, answer, photos_then):
    from typer.testing import CliRunner

    from limner.cli import main

    assert run("enroll", "John Smith", photos / "collins.png").exit_code == 0
    monkeypatch.setattr(output, "can_ask", lambda: True)
    arguments = ["enroll", "john smith", str(photos / "hopper.jpg"), "--gallery", str(place)]
    result = CliRunner().invoke(main.app, arguments, input=answer)
    assert "Enrol it all the same? [y/N]" in result.stderr
    assert result.exit_code == (0 if photos_then == 2 else 2)
    assert json.loads(run("people", "--json").stdout)["people"][0]["photos"] == photos_then
    forced = CliRunner().invoke(main.app, [*arguments, "--force"], input="")
    assert forced.exit_code == 0
    assert "all the same?" not in forced.stderr


def test_with_json_nobody_is_asked(run, photos, monkeypatch):
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr(output.STATE, "json", True)
    assert output.can_ask() is False
