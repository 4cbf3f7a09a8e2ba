"""``limner gallery ...`` as a user runs it: one JSON document, one line, one status."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from gallery_helpers import ColourEmbedder, board, emb, open_new, template, toy_analyzer, unit
from typer.testing import CliRunner

from limner.cli import photos as work
from limner.cli.main import app
from limner.gallery import Gallery

RED = (200, 20, 30)


@pytest.fixture(autouse=True)
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the commands use toy models, by name."""

    def make(find: object, model: Any, **_: object) -> object:
        if model.embedder == "other":
            return toy_analyzer("other-ba9876543210-p1", dim=8, seed=3)
        return toy_analyzer()

    monkeypatch.setattr(work, "make_analyzer", make)


def run(*arguments: object, status: int = 0) -> str:
    result = CliRunner().invoke(app, ["gallery", *map(str, arguments)])
    assert result.exit_code == status, result.output + str(result.exception)
    return result.stdout if status == 0 else result.output


def run_json(*arguments: object, status: int = 0) -> Any:
    result = CliRunner().invoke(app, ["gallery", *map(str, arguments), "--json"])
    assert result.exit_code == status, result.output
    return json.loads(result.stdout)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(10):
        for photo in range(4):
            board(tmp_path / "p" / f"P {number}" / f"{photo}.png", (20 * number, 50 * photo, 9))
    return tmp_path / "p"


def test_import_info_export_and_back(tmp_path: Path, folder: Path) -> None:
    first, second = tmp_path / "one.limner", tmp_path / "two.limner"
    (folder / "P 0" / "bad.jpg").write_text("bad")
    report = run_json("import", folder, "--gallery", first, "--keep-chips")
    assert (report["people"], report["added"], report["already"]) == (10, 40, 0)
    (bad,) = report["failed"]
    assert bad["photo"].endswith("bad.jpg")
    assert "40 photos enrolled before" in run("import", folder, "--gallery", first)
    assert run_json("export", tmp_path / "x.zip", "--gallery", first)["faces"] == 40
    back = run_json("import", tmp_path / "x.zip", "--gallery", second)
    assert (back["added"], back["skipped"], back["chips"]) == (40, 0, 40)
    info = run_json("info", "--gallery", second)
    assert (info["people"], info["faces"], info["chips"]) == (10, 40, 40)
    assert info["embedder_id"] == "toy-0123456789ab-p1"
    assert "needs --threshold" in run("info", "--gallery", second)
    refused = run_json("import", tmp_path / "x.zip", "--gallery", second, status=2)
    assert refused["error"]["type"] == "NameTakenError"
    merged = run_json("import", tmp_path / "x.zip", "--gallery", second, "--on-conflict", "merge")
    assert (merged["added"], merged["skipped"]) == (0, 40)
    assert run_json("export", tmp_path / "y.zip", "--no-chips", "--gallery", second)["chips"] == 0


def test_calibrate_and_reset(tmp_path: Path, folder: Path) -> None:
    path = tmp_path / "g.limner"
    refused = run("calibrate", folder, "--gallery", path, status=2)
    assert "needs photos of 78 people" in refused
    report = run_json("calibrate", folder, "--rate", "0.1", "--gallery", path)
    assert (report["people"], report["photos"]) == (10, 40)
    run("import", folder, "--gallery", path)
    assert "10 people" in run("calibrate", "--rate", "0.1", "--gallery", path)
    info = run_json("info", "--gallery", path)
    assert info["calibration"] == "this gallery's own: 40 enrolled photos of 10 people"
    assert run_json("calibrate", "--reset", "--gallery", path) == {"calibration": None}
    assert run_json("info", "--gallery", path)["verify_threshold"] is None


def test_re_embed(tmp_path: Path, folder: Path) -> None:
    path = tmp_path / "g.limner"
    run("import", folder, "--gallery", path)
    assert "--embedder NAME" in run("re-embed", "--gallery", path, status=2)
    refused = run("re-embed", "--embedder", "other", "--gallery", path, status=2)
    assert "40 of 40 faces" in refused
    report = run_json("re-embed", "--embedder", "other", "--photos", folder, "--gallery", path)
    assert (report["from_photos"], report["embedder_id"]) == (40, "other-ba9876543210-p1")
    assert "40 faces made anew" not in run(
        "re-embed", "--embedder", "other", "--photos", folder, "--gallery", path
    )
    with Gallery.open(path) as gallery:
        embedder = ColourEmbedder("x", dim=8, seed=3)
        mean = template([embedder.vector((20, 50 * photo, 9)) for photo in range(4)])
        (match,) = gallery.identify(emb(mean, "other-ba9876543210-p1"), threshold=1e-6)
        assert match.person == "P 1"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["info"], "there is no gallery at"),
        (["export", "x.zip"], "there is no gallery at"),
        (["import", "nowhere"], "nowhere does not exist"),
        (["calibrate"], "there is no gallery at"),
        (["re-embed", "--embedder", "other"], "there is no gallery at"),
    ],
)
def test_mistakes_are_one_line_and_status_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    text = run(*arguments, "--gallery", "g.limner", status=2).strip()
    assert text.startswith("error: ")
    assert words in text
    assert "\n" not in text
    assert list(tmp_path.iterdir()) == []


def test_nothing_that_could_be_imported(tmp_path: Path) -> None:
    board(tmp_path / "p" / "Ada" / "nobody.png")
    text = run("import", tmp_path / "p", "--gallery", tmp_path / "g.limner", status=2)
    assert "none of the 1 photos could be enrolled; the first: no face was found" in text


def test_warnings_are_shown(tmp_path: Path) -> None:
    path = tmp_path / "g.limner"
    board(tmp_path / "p" / "Ada" / "1.png", RED)
    board(tmp_path / "p" / "Eve" / "1.png", RED)
    result = CliRunner().invoke(
        app, ["gallery", "import", str(tmp_path / "p"), "--gallery", str(path)]
    )
    assert "warning: the same face of" in result.stderr


def test_a_gallery_of_another_embedder(tmp_path: Path, folder: Path) -> None:
    path = tmp_path / "g.limner"
    with open_new(tmp_path) as gallery:
        gallery.enroll("Ada", emb(unit(1, dim=8)[0], "other-ba9876543210-p1"))
    text = run("import", folder, "--gallery", path, "--embedder", "toy", status=2)
    assert "other-ba9876543210-p1" in text
    assert "toy-0123456789ab-p1" in text
