"""The photos of a folder: what is found, what is left out, and where links lead."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from limner import images
from limner.errors import ImageError

not_root = pytest.mark.skipif(
    hasattr(os, "geteuid") and os.geteuid() == 0, reason="root reads every folder"
)


def make(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def test_what_is_no_photo_is_counted_by_kind(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "b.MP4", "deep/c.mov", "d.m4a", "e.txt", "f.TXT", "noend", ".hidden")
    found = images.scan_folder(tmp_path)
    assert found.photos == (tmp_path / "a.jpg",)
    assert dict(found.left_out) == {"video": 2, "audio": 1, ".txt": 2, "no suffix": 1}
    assert found.summary() == (
        f"left out of {tmp_path}: 6 files that are no photos "
        "(2 .txt, 2 video, 1 audio, 1 no suffix)."
    )
    assert dict(images.scan_folder(tmp_path, recursive=False).left_out)["video"] == 1


def test_a_folder_of_photos_alone_has_nothing_to_say(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg")
    assert images.scan_folder(tmp_path).summary() is None


def test_many_kinds_make_one_short_sentence(tmp_path: Path) -> None:
    make(tmp_path, *(f"a.{suffix}" for suffix in "abcdefghij"))
    assert "4 of other kinds)." in (images.scan_folder(tmp_path).summary() or "")


def test_a_pipe_called_like_a_photo_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jpg")
    found = images.scan_folder(tmp_path)
    assert not found.photos
    assert dict(found.left_out) == {"no file": 1}


def test_linked_folders_are_followed_once(tmp_path: Path) -> None:
    album, other = tmp_path / "album", tmp_path / "other"
    make(album, "a.jpg", "real/b.jpg")
    make(other, "deep/c.jpg")
    (album / "also real").symlink_to(album / "real")  # sorts before it
    (album / "elsewhere").symlink_to(other)
    (album / "again").symlink_to(other)
    assert images.list_photos(album) == [
        album / "a.jpg",
        album / "again" / "deep" / "c.jpg",
        album / "real" / "b.jpg",
    ]


def test_links_that_lead_back_are_not_followed(tmp_path: Path) -> None:
    album, other = tmp_path / "album", tmp_path / "other"
    make(album, "a.jpg")
    make(other, "b.jpg", "deep/c.jpg")
    make(tmp_path, "outside.jpg")
    (album / "round").symlink_to(album)
    (album / "up").symlink_to(tmp_path)
    (album / "other").symlink_to(other)
    (other / "deep" / "up").symlink_to(other)
    (other / "deep" / "home").symlink_to(album)
    (album / "nowhere").symlink_to(tmp_path / "nowhere")
    assert images.list_photos(album) == [
        album / "a.jpg",
        album / "other" / "b.jpg",
        album / "other" / "deep" / "c.jpg",
    ]


@not_root
def test_a_folder_below_that_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    make(tmp_path, "ok/a.jpg", "lost+found/b.jpg")
    (tmp_path / "lost+found").chmod(0)
    try:
        found = images.scan_folder(tmp_path)
        with pytest.raises(ImageError, match="lost\\+found cannot be read: permission denied"):
            images.scan_folder(tmp_path / "lost+found")
    finally:
        (tmp_path / "lost+found").chmod(0o755)
    assert found.photos == (tmp_path / "ok" / "a.jpg",)
    assert [left.path for left in found.unreadable] == [tmp_path / "lost+found"]
    assert "permission denied" in found.unreadable[0].reason


def test_a_folder_that_fails_while_it_is_read_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same without rights that a test may not have: what counts is the system's answer."""
    make(tmp_path, "ok/a.jpg", "bad/b.jpg")
    scan = os.scandir

    def refused(path: Path) -> object:
        if Path(path).name == "bad":
            raise OSError(5, "Input/output error", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refused)
    found = images.scan_folder(tmp_path)
    assert found.photos == (tmp_path / "ok" / "a.jpg",)
    assert [left.reason for left in found.unreadable] == [
        f"{tmp_path / 'bad'} cannot be read: input/output error."
    ]
