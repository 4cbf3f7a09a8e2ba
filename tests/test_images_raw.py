"""RAW files, written here as cameras write them: the preview inside is what is read."""

from __future__ import annotations

import contextlib
import io
import struct
from collections.abc import Sequence

import numpy as np
import pytest
import skimage.data
from PIL import Image

from limner import images
from limner.errors import ImageError

PHOTO = Image.fromarray(skimage.data.astronaut()).resize((640, 480))
SENSOR = np.random.default_rng(5).integers(0, 256, 60_000, np.uint8).tobytes()

Value = int | Sequence[int] | bytes | str
"""Whole numbers, or bytes; a name stands for where a block of that name begins."""


def jpeg(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def thumbnail() -> bytes:
    return PHOTO.resize((160, 120)).tobytes()


def tiff(
    directories: dict[str, dict[int, Value]],
    blocks: dict[str, bytes],
    *,
    order: str = "<",
    magic: bytes = b"II*\0",
    chain: Sequence[str] = ("main",),
    after: bytes = b"",
) -> bytes:
    """Lay out a TIFF: the header, directories (those in `chain` follow each other), blocks."""
    places: dict[str, int] = {}
    at = 8 + len(after)
    for name, entries in directories.items():
        places[name] = at
        at += 2 + 12 * len(entries) + 4
    body = b""
    for name, block in blocks.items():
        places[name] = at + len(body)
        body += block
    out = magic + struct.pack(order + "I", places[chain[0]]) + after
    for name, entries in directories.items():
        out += struct.pack(order + "H", len(entries))
        for tag, value in sorted(entries.items()):
            if isinstance(value, bytes):
                out += struct.pack(order + "HHI", tag, 7, len(value)) + value[:4].ljust(4, b"\0")
            elif isinstance(value, str) and value.startswith("bytes "):
                block = value.removeprefix("bytes ")
                out += struct.pack(order + "HHII", tag, 7, len(blocks[block]), places[block])
            else:
                number = places[value] if isinstance(value, str) else value
                out += struct.pack(order + "HHII", tag, 4, 1, number)  # type: ignore[arg-type]
        following = chain[chain.index(name) + 1 :] if name in chain else ()
        out += struct.pack(order + "I", places[following[0]] if following else 0)
    return out + body


def dng(order: str = "<", orientation: int = 1, **options: object) -> bytes:
    preview = jpeg(PHOTO, **options)
    small = {256: 160, 257: 120, 258: 8, 259: 1, 262: 2, 273: "small", 277: 3, 278: 120}
    return tiff(
        {
            "main": {
                **{254: 1, **small, 279: 57_600, 274: orientation, 330: "raw"},
                50706: b"\1\4\0\0",
            },
            "raw": {254: 0, 256: 200, 257: 150, 259: 1, 262: 32803, 273: "sensor", 279: 60_000},
            "preview": {254: 1, 259: 7, 262: 6, 273: "preview jpeg", 279: len(preview)},
        },
        {"small": thumbnail(), "preview jpeg": preview, "sensor": SENSOR},
        order=order,
        magic={"<": b"II*\0", ">": b"MM\0*"}[order],
        chain=("main", "preview"),
    )


def nef(orientation: int) -> bytes:
    preview = jpeg(PHOTO)
    return tiff(
        {
            "main": {254: 1, 259: 1, 262: 2, 273: "small", 274: orientation, 330: "preview"},
            "preview": {254: 1, 259: 6, 513: "preview jpeg", 514: len(preview)},
            "raw": {254: 0, 259: 34713, 262: 32803, 273: "sensor", 279: 60_000},
        },
        {"small": thumbnail(), "preview jpeg": preview, "sensor": SENSOR},
        order=">",
        magic=b"MM\0*",
        chain=("main", "raw"),
    )


def cr2(orientation: int) -> bytes:
    preview, lossless = jpeg(PHOTO), b"\xff\xd8\xff\xc3" + SENSOR
    small = jpeg(PHOTO.resize((160, 120)))
    return tiff(
        {
            "main": {259: 6, 273: "preview jpeg", 274: orientation, 279: len(preview)},
            "small": {513: "small jpeg", 514: len(small)},
            "raw": {259: 6, 273: "lossless", 279: len(lossless)},
        },
        {"small jpeg": small, "lossless": lossless, "preview jpeg": preview},
        chain=("main", "small", "raw"),
        after=b"CR\2\0\0\0\0\0",
    )


def arw(orientation: int) -> bytes:
    preview = jpeg(PHOTO)
    return tiff(
        {
            "main": {274: orientation, 330: "raw", 513: "preview jpeg", 514: len(preview)},
            "raw": {259: 32767, 262: 32803, 273: "sensor", 279: 60_000},
        },
        {"preview jpeg": preview, "sensor": SENSOR},
    )


def orf(orientation: int) -> bytes:
    """Olympus keeps the preview in its own notes, where only a search finds it."""
    return tiff(
        {"main": {259: 1, 262: 32803, 273: "sensor", 274: orientation, 279: 60_000}},
        {"sensor": SENSOR, "notes": b"OLYMPUS\0II\3\0" + jpeg(PHOTO)},
        magic=b"IIRO",
    )


def rw2(orientation: int) -> bytes:
    return tiff(
        {"main": {0x2E: "bytes preview jpeg", 274: orientation}},
        {"preview jpeg": jpeg(PHOTO), "sensor": SENSOR},
        magic=b"IIU\0",
    )


def raf(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[274] = orientation
    preview = jpeg(PHOTO, exif=exif)
    head = b"FUJIFILMCCD-RAW 0201FF383501X100".ljust(84, b"\0")
    return head + struct.pack(">II", 148, len(preview)) + bytes(56) + preview + SENSOR


def cr3(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[274] = orientation
    box = lambda kind, data: struct.pack(">I", 8 + len(data)) + kind + data  # noqa: E731
    preview = box(b"uuid", bytes(16) + box(b"PRVW", bytes(16) + jpeg(PHOTO, exif=exif)))
    return box(b"ftyp", b"crx \0\0\0\1crx isom") + preview + box(b"mdat", SENSOR)


CAMERAS = {"dng": lambda o: dng(orientation=o)} | {
    f.__name__: f for f in (nef, cr2, arw, orf, rw2, raf, cr3)
}


def close(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and float(np.abs(a.astype(int) - b).mean()) < 3


@pytest.mark.parametrize("camera", CAMERAS)
def test_the_largest_preview_is_read(camera: str) -> None:
    assert close(images.read(CAMERAS[camera](1)), np.asarray(PHOTO))


@pytest.mark.parametrize("camera", CAMERAS)
@pytest.mark.parametrize(
    ("orientation", "turn"), [(3, Image.Transpose.ROTATE_180), (6, Image.Transpose.ROTATE_270)]
)
def test_previews_are_turned_upright(camera: str, orientation: int, turn: Image.Transpose) -> None:
    expected = np.asarray(PHOTO.transpose(turn))
    assert close(images.read(CAMERAS[camera](orientation)), expected)


def test_a_preview_that_says_its_own_orientation_is_turned_once() -> None:
    exif = Image.Exif()
    for own, turn in ((6, Image.Transpose.ROTATE_270), (1, None)):
        exif[274] = own
        expected = PHOTO if turn is None else PHOTO.transpose(turn)
        assert close(images.read(dng(orientation=6, exif=exif)), np.asarray(expected))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("progressive", [False, True])
def test_byte_orders_and_kinds_of_jpeg(order: str, progressive: bool) -> None:
    assert close(images.read(dng(order, progressive=progressive)), np.asarray(PHOTO))


def test_a_thumbnail_is_no_preview(tmp_path) -> None:
    small = jpeg(PHOTO.resize((160, 120)))
    path = tmp_path / "a.nef"
    main = {262: 32803, 513: "small", 514: len(small)}
    path.write_bytes(tiff({"main": main}, {"small": small}))
    with pytest.raises(ImageError) as caught:
        images.read(path)
    assert str(caught.value) == (
        f"{path} is a RAW file, of which limner reads the JPEG preview, and it has only one of "
        "160 x 120 pixels: develop it to JPEG or TIFF first."
    )
    path.write_bytes(tiff({"main": {262: 32803, 273: "sensor"}}, {"sensor": SENSOR}))
    with pytest.raises(ImageError, match="and it has none: develop"):
        images.read(path)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "jpeg"])
def test_a_tiff_stays_a_tiff(compression: str) -> None:
    buffer = io.BytesIO()
    PHOTO.save(buffer, "TIFF", compression=compression)
    assert close(images.read(buffer.getvalue()), np.asarray(PHOTO))


@pytest.mark.parametrize("camera", CAMERAS)
def test_damaged_files_are_one_sentence(camera: str) -> None:
    data = CAMERAS[camera](6)
    rng = np.random.default_rng(1)
    for _ in range(60):
        broken = bytearray(data[: int(rng.integers(4, len(data)))])
        for at in rng.integers(0, min(len(broken), 400), 6):
            broken[at] = int(rng.integers(0, 256))
        with contextlib.suppress(ImageError):
            images.read(bytes(broken))


def test_directories_in_a_circle_come_to_an_end() -> None:
    looped = tiff({"main": {262: 32803, 330: "main"}}, {})
    with pytest.raises(ImageError, match="RAW file"):
        images.read(looped)


def test_limits_hold_for_the_preview() -> None:
    with pytest.raises(ImageError, match="640 x 480 pixels; at most 1,000"):
        images.read(arw(1), limits=images.Limits(max_pixels=1000))


def test_folders_list_them(tmp_path) -> None:
    (tmp_path / "DSC_0001.NEF").write_bytes(nef(1))
    assert [p.name for p in images.list_photos(tmp_path)] == ["DSC_0001.NEF"]
