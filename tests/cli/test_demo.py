"""The demo keeps its promises, and notices when they are broken."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from limner.cli.demo import asking, command
from limner.studio import pictures
from limner.types import Match


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """Run the demo once."""
    from typer.testing import CliRunner

    from limner.cli import main

    folder = tmp_path_factory.mktemp("demo")
    result = CliRunner().invoke(main.app, ["demo", "--out", str(folder), "--json"])
    return folder, result


def test_the_demo_recognises_the_known_and_nobody_else(shown):
    _, result = shown
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert document["ok"]
    answers = document["answers"]
    assert [row["answer"] for row in answers["views"]] == [pictures.COLLINS] * 6 + [
        pictures.HOPPER
    ] * 6
    met = [row for row in answers["strangers"] if row["answer"] not in ("no face", "unclear")]
    assert len(met) >= command.MIN_STRANGERS
    assert {row["answer"] for row in met} == {"not recognised"}
    faceless = {row["photo"]: row for row in answers["faceless"]}
    cat = faceless.pop("a cat")  # turned on its side it looks a little like a face
    assert (cat["answer"], cat["figures"]["reason"]) == ("unclear", "there may be no face")
    assert {row["answer"] for row in faceless.values()} == {"no face"}
    known = [row["answer"] for row in answers["group"] if row["expected"] != "not recognised"]
    assert sorted(known) == [pictures.COLLINS] * 2 + [pictures.HOPPER] * 2


def test_the_second_person_is_a_stranger_before_she_is_enrolled(shown):
    row = json.loads(shown[1].stdout)["answers"]["strangers"][0]
    assert row["photo"].startswith(pictures.HOPPER)
    assert row["answer"] == "not recognised"


class Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.sources, self.links, self.open, self.alts = [], [], [], []

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.sources += [given["src"]] if "src" in given else []
        self.links += [given["href"]] if "href" in given else []
        self.alts += [given.get("alt")] if tag == "img" else []
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        assert tag == "line"

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_stands_alone_and_is_whole(shown):
    folder, _ = shown
    text = (folder / "index.html").read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    assert page.open == []
    assert page.links == []
    assert len(page.sources) > 40
    assert all(source.startswith("data:image/jpeg;base64,") for source in page.sources)
    assert all(page.alts)
    assert not re.search(r"https?://|<script|@import|url\(", text)
    for _, typed in command.COMMANDS:
        assert typed.replace('"', "&quot;") in text


def test_the_annotated_picture_is_beside_the_page(shown):
    folder, _ = shown
    with Image.open(folder / "group.jpg") as picture:
        assert min(picture.size) > 600


def test_the_demo_runs_twice_in_one_folder(shown, limner):
    folder, _ = shown
    result = limner("demo", "--out", folder)
    assert result.exit_code == 0
    *_, first, second, third, empty, studio, serve = result.stdout.splitlines()
    typed = [line.split("#")[0].strip() for line in (first, second, third)]
    assert typed == [typed for _, typed in command.COMMANDS]
    assert (empty, studio.startswith("The studio")) == ("", True)
    assert "serve --gallery" in serve
    assert str(folder / "group.jpg") in result.stdout


def test_the_next_commands_can_be_typed_as_they_stand(monkeypatch):
    monkeypatch.setattr(command.shutil, "which", lambda name: None)
    monkeypatch.setattr(command.sys, "argv", [".venv/bin/limner", "demo"])
    assert command.next_commands()[2][1] == ".venv/bin/limner gallery import people/"
    monkeypatch.setattr(command.sys, "argv", ["/opt/bin/limner", "demo"])
    assert command.next_commands()[2][1] == "/opt/bin/limner gallery import people/"
    monkeypatch.setattr(command.shutil, "which", lambda name: "/usr/bin/limner")
    assert command.next_commands() == command.COMMANDS


def row(expected, person, found=True):
    match = Match(
        person=person,
        distance=0.1 if person else 2.0,
        threshold=1.0,
        probability=0.5,
        verdict="recognised" if person else "not_recognised",
    )
    if person == "unclear":
        match = replace(match, person=None, verdict="unclear", reason="the face is blurred")
    return asking.Row("a photo", expected, match if found else None, np.zeros((9, 9, 3), np.uint8))


@pytest.mark.parametrize(
    ("shown_row", "verdict"),
    [
        (row("Ada", "Ada"), "right"),
        (row("Ada", None), "WRONG"),
        (row("Ada", None, found=False), "WRONG"),
        (row("Ada", "Grace"), "WRONG"),
        (row("not recognised", None), "right"),
        (row("not recognised", "Ada"), "WRONG"),
        (row("not recognised", None, found=False), "not found"),
        (row("no face", None, found=False), "right"),
        (row("no face", None), "WRONG"),
        (row("Ada", "unclear"), "WRONG"),
        (row("not recognised", "unclear"), "not judged"),
        (row("no face", "unclear"), "not judged"),
    ],
)
def test_what_counts_as_wrong(shown_row, verdict):
    assert shown_row.verdict == verdict


@pytest.mark.parametrize("broken", ["a stranger is recognised", "too few strangers are found"])
def test_a_broken_promise_is_status_1(tmp_path, limner, monkeypatch, broken):
    if broken == "a stranger is recognised":
        someone = pictures.View("someone", pictures.portraits()[pictures.HOPPER], "a stranger")
        strangers = pictures.strangers
        monkeypatch.setattr(pictures, "strangers", lambda: [*strangers()[:23], someone, someone])
    else:
        monkeypatch.setattr(command, "MIN_STRANGERS", 1000)
    result = limner("demo", "--out", tmp_path)
    assert result.exit_code == 1
    assert "wrong: " in result.stderr


def test_a_folder_that_cannot_be_made(limner, tmp_path, fails):
    (tmp_path / "file").write_text("")
    assert "cannot be written" in fails(limner("demo", "--out", tmp_path / "file" / "demo"))


def test_the_harder_views_are_harder():
    photo = pictures.portraits()[pictures.COLLINS]
    views = {view.title: view.image for view in pictures.harder_views("x", photo)}
    np.testing.assert_array_equal(views["mirrored"][:, ::-1], photo)
    assert views["in the dark"].max() < 60
    assert views["small"].shape[0] <= photo.shape[0] // 3
    assert views["turned by 15 degrees"].shape[0] > photo.shape[0]
    assert np.abs(views["JPEG of quality 20"].astype(int) - photo).mean() > 1
