"""Folders as they are: some of it cannot be read, some of it is no photo."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest


@pytest.fixture
def album(tmp_path, photos, monkeypatch):
    """A folder with a portrait, other files, and two folders that the system refuses to open."""
    root = tmp_path / "album"
    for person in ("Eileen Collins", "Grace Hopper"):
        (root / person).mkdir(parents=True)
    shutil.copy(photos / "collins.png", root / "Eileen Collins")
    shutil.copy(photos / "hopper.jpg", root / "Grace Hopper")
    (root / "Grace Hopper" / "film.MP4").write_bytes(b"")
    (root / "readme.txt").write_text("family")
    for locked in (root / "lost+found", root / "Grace Hopper" / "locked"):
        locked.mkdir()
    scan = os.scandir

    def refused(path):
        if Path(path).name in ("lost+found", "locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refused)
    return root


LOCKED = "left out: {}/lost+found cannot be read: permission denied."
NO_PHOTOS = "left out of {}: 2 files that are no photos (1 .txt, 1 video)."


def test_detect_goes_on(limner, album):
    result = limner("detect", album)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == "2 faces in 2 photos; 2 could not be read."
    assert f"warning: {LOCKED.format(album)}" in result.stderr.splitlines()
    assert NO_PHOTOS.format(album) in result.stderr.splitlines()


def test_json_says_it_too(limner_json, album):
    status, answer = limner_json("detect", album)
    assert status == 0
    assert [entry["photo"] for entry in answer] == [
        str(album / "Eileen Collins" / "collins.png"),
        str(album / "Grace Hopper" / "hopper.jpg"),
        str(album / "Grace Hopper" / "locked"),
        str(album / "lost+found"),
        str(album),
    ]
    assert [len(entry["faces"]) for entry in answer] == [1, 1, 0, 0, 0]
    assert "permission denied" in answer[3]["error"]["message"]
    assert answer[4]["left_out"] == {".txt": 1, "video": 1}


def test_identify_enroll_and_embed_go_on(limner, limner_json, album, tmp_path):
    place = ("--gallery", tmp_path / "g.limner")
    status, answer = limner_json("enroll", "Grace", album / "Grace Hopper", *place)
    assert (status, answer["added"]) == (0, 1)
    assert [f["photo"] for f in answer["failed"]] == [str(album / "Grace Hopper" / "locked")]
    assert answer["left_out"] == {str(album / "Grace Hopper"): {"video": 1}}
    result = limner("identify", album, *place)
    assert result.exit_code == 0
    assert "1 recognised" in result.stdout
    status, answer = limner_json("embed", album, "-o", tmp_path / "out.npz")
    assert (status, len(answer["faces"]), len(answer["unreadable"])) == (0, 2, 2)
    assert answer["left_out"] == {str(album): {".txt": 1, "video": 1}}


def test_import_goes_on(limner_json, album, tmp_path):
    status, answer = limner_json("gallery", "import", album, "--gallery", tmp_path / "g.limner")
    assert (status, answer["added"], answer["people"]) == (0, 2, 2)
    assert sorted(problem["photo"] for problem in answer["failed"]) == [
        str(album / "Grace Hopper" / "locked"),
        str(album / "lost+found"),
    ]
    assert answer["left_out"] == {str(album): {".txt": 1, "video": 1}}


def test_a_link_to_the_folder_itself_is_nobody(limner_json, album, tmp_path):
    (album / "round").symlink_to(album)
    status, answer = limner_json("gallery", "import", album, "--gallery", tmp_path / "g.limner")
    assert (status, answer["people"]) == (0, 2)


def test_a_folder_that_cannot_be_read_at_all_is_an_error(limner, album, fails):
    message = fails(limner("detect", album / "lost+found"))
    assert message == f"{album}/lost+found cannot be read: permission denied."
