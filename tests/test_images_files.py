"""Writing pictures and listing folders."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import picture_files as pf
from limner import images
from limner.errors import ImageError, InputError, ShapeError


@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff", ".PNG"])
def test_lossless_round_trip(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"絵 é{suffix}"
    images.write(path, pf.pixels())
    assert np.array_equal(images.read(path), pf.pixels())
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize(
    ("suffix", "kind"), [(".jpg", "JPEG"), (".JPEG", "JPEG"), (".webp", "WEBP")]
)
def test_lossy_round_trip(suffix: str, kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"picture{suffix}"
    images.write(str(path), pf.pixels())
    with Image.open(path) as image:
        assert image.format == kind
    fine = np.abs(images.read(path).astype(int) - pf.pixels()).mean()
    images.write(path, pf.pixels(), quality=10)
    assert fine < 6 < np.abs(images.read(path).astype(int) - pf.pixels()).mean()
    assert os.listdir(tmp_path) == [path.name]


def test_webp_of_quality_100_is_lossless(tmp_path: Path) -> None:
    images.write(tmp_path / "a.webp", pf.pixels(), quality=100)
    assert np.array_equal(images.read(tmp_path / "a.webp"), pf.pixels())


def test_file_mode_follows_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o022)
    try:
        images.write(tmp_path / "a.png", pf.pixels())
    finally:
        os.umask(old)
    assert (tmp_path / "a.png").stat().st_mode & 0o777 == 0o644


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / "link.png"
    link.symlink_to(tmp_path / "real" / "target.png")
    images.write(link, pf.pixels())
    assert link.is_symlink()
    assert np.array_equal(images.read(tmp_path / "real" / "target.png"), pf.pixels())


@pytest.mark.parametrize("name", ["a.gif", "a", "a.txt", "a.jpg.bak"])
def test_unknown_suffix(name: str, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"suffix is .* allowed are \.jpg") as caught:
        images.write(tmp_path / name, pf.pixels())
    assert name in str(caught.value)


@pytest.mark.parametrize(
    "image",
    [np.zeros((3, 3), np.uint8), np.zeros((3, 3, 4), np.uint8), np.zeros((3, 3, 3)), None, []],
)
def test_what_is_no_picture_is_not_written(image: object, tmp_path: Path) -> None:
    with pytest.raises(ShapeError, match=r"\(H, W, 3\)"):
        images.write(tmp_path / "a.png", image)  # type: ignore[arg-type]


@pytest.mark.parametrize("quality", [0, 101, 9.5, True])
def test_quality_is_checked(quality: object, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="quality"):
        images.write(tmp_path / "a.jpg", pf.pixels(), quality=quality)  # type: ignore[arg-type]


def test_folders_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"a\.png cannot be written: no such file"):
        images.write(tmp_path / "nowhere" / "a.png", pf.pixels())
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ImageError, match="cannot be written: not a directory"):
        images.write(tmp_path / "file" / "a.png", pf.pixels())
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(ImageError, match="cannot be written: is a directory"):
        images.write(tmp_path / "folder.png", pf.pixels())
    with pytest.raises(ImageError, match=r"cannot be written: .*too long"):
        images.write(tmp_path / ("x" * 300 + ".png"), pf.pixels())
    assert sorted(os.listdir(tmp_path)) == ["file", "folder.png"]


def test_a_failure_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    images.write(path, pf.pixels())

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(ImageError, match=r"a\.png cannot be written: no space left on device"):
        images.write(path, np.zeros((9, 9, 3), np.uint8))
    assert np.array_equal(images.read(path), pf.pixels())
    assert os.listdir(tmp_path) == ["a.png"]


@pytest.mark.skipif(sys.platform != "linux", reason="file size limits are POSIX")
def test_a_disk_that_fills_up_in_the_middle(tmp_path: Path) -> None:
    code = """
        import resource, signal, sys
        import numpy as np
        from limner import images
        from limner.errors import ImageError
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
        noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
        try:
            images.write(sys.argv[1], noise)
        except ImageError as error:
            print(error)
    """
    path = tmp_path / "large.png"
    path.write_bytes(b"old")
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == f"{path} cannot be written: file too large."
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["large.png"]


def test_list_photos(tmp_path: Path) -> None:
    wanted = ["a.jpg", "B.JPEG", "c.HeIc", "below/d.png", "below/deep/é 顔.webp"]
    other = [".hidden.jpg", "notes.txt", "noext", ".git/e.jpg", "below/._f.jpg", "jpg"]
    for name in wanted + other:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    found = images.list_photos(tmp_path)
    assert found == sorted(tmp_path / name for name in wanted)
    assert images.list_photos(str(tmp_path), recursive=False) == [
        tmp_path / "B.JPEG",
        tmp_path / "a.jpg",
        tmp_path / "c.HeIc",
    ]
    empty = tmp_path / "empty"
    empty.mkdir()
    assert images.list_photos(empty) == []


def test_list_photos_does_not_walk_in_circles(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"")
    (tmp_path / "round").symlink_to(tmp_path)
    assert images.list_photos(tmp_path) == [tmp_path / "a.jpg"]


def test_list_photos_refuses_what_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="does not exist"):
        images.list_photos(tmp_path / "nowhere")
    (tmp_path / "a.jpg").write_bytes(b"")
    with pytest.raises(ImageError, match="is a file, not a folder"):
        images.list_photos(tmp_path / "a.jpg")


def test_every_suffix_that_is_listed_can_be_read(tmp_path: Path) -> None:
    made = {".jpg", ".png", ".webp", ".bmp", ".tif", ".gif", ".heic", ".avif", ".jp2", ".ppm"}
    assert made <= images.PHOTO_SUFFIXES
    assert all(s == s.lower() and s.startswith(".") for s in images.PHOTO_SUFFIXES)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("a/b.jpg", "a/b.jpg"),
        (Path("a/b.jpg"), "a/b.jpg"),
        ("", "''"),
        ("a\tb", "a\\tb"),
        (b"12345", "<5 bytes>"),
        (np.zeros((4, 5, 3), np.uint8), "<array 4x5x3 uint8>"),
        (Image.new("L", (4, 5)), "<Pillow image 4x5 L>"),
        (None, "<NoneType>"),
    ],
)
def test_describe(source: object, name: str) -> None:
    assert images.describe(source) == name  # type: ignore[arg-type]
