"""Files that are no pictures are called what they are; integers without a header, by value."""

from __future__ import annotations

import io
import math
import struct
import wave
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image

from limner import images
from limner.errors import ImageError

GREY = skimage.data.camera()[::4, ::4]


def ftyp(*names: bytes) -> bytes:
    body = names[0] + b"\0\0\2\0" + b"".join(names)
    return struct.pack(">I", 8 + len(body)) + b"ftyp" + body + b"\0\0\0\x08mdat" + bytes(64)


def sound() -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as out:
        out.setparams((1, 2, 8000, 0, "NONE", ""))
        out.writeframes(b"".join(struct.pack("<h", int(9e3 * math.sin(k / 9))) for k in range(800)))
    return buffer.getvalue()


VIDEOS = {
    "mp4": ftyp(b"isom", b"iso2", b"avc1", b"mp41"),
    "mov": ftyp(b"qt  "),
    "old mov": b"\0\0\0\x08wide\0\0\1\0mdat" + bytes(64),
    "3gp": ftyp(b"3gp4"),
    "m4v": ftyp(b"M4V "),
    "webm": b"\x1aE\xdf\xa3" + bytes(64),
    "avi": b"RIFF\0\0\1\0AVI LIST" + bytes(64),
    "flv": b"FLV\x01\5" + bytes(64),
    "mpeg": b"\0\0\x01\xba" + bytes(64),
    "ts": (b"G" + bytes(187)) * 3,
}
SOUNDS = {
    "m4a": ftyp(b"M4A ", b"mp42"),
    "wav": sound(),
    "mp3": b"ID3\4" + bytes(64),
    "mp3 without a tag": b"\xff\xfb\x90\x64" + bytes(400),
    "flac": b"fLaC" + bytes(64),
    "aiff": b"FORM\0\0\1\0AIFFCOMM" + bytes(64),
}


@pytest.mark.parametrize("kind", VIDEOS)
def test_videos(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "holiday.heic"
    path.write_bytes(VIDEOS[kind])
    with pytest.raises(ImageError) as caught:
        images.read(path)
    assert str(caught.value) == f"{path} is a video, not a picture: take a frame out of it first."


@pytest.mark.parametrize("kind", SOUNDS)
def test_sounds(kind: str) -> None:
    with pytest.raises(ImageError, match=r"bytes> is a sound file, not a picture\.$"):
        images.read(SOUNDS[kind])


def test_other_things_people_have_in_their_folders() -> None:
    for data, words in (
        (b"%PDF-1.7\n", "is a PDF document"),
        (b"8BPS\0\1", "is a Photoshop file"),
        (b"\xff\x0a\0\0", "is a JPEG XL picture"),
        (b"PK\x03\x04\0\0", "is a ZIP archive"),
        (b"hello world, no picture", "is not a picture: its content is not JPEG"),
    ):
        with pytest.raises(ImageError, match=words):
            images.read(data)


def test_a_video_that_pyav_made_is_one(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mpeg4", rate=5)
        stream.width, stream.height = 64, 64
        frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
        for packet in [*stream.encode(frame), *stream.encode()]:
            out.mux(packet)
    with pytest.raises(ImageError, match="is a video, not a picture"):
        images.read(path)


@pytest.mark.parametrize("mode", ["I", "I;16", "F", "L"])
def test_values_of_8_bits_are_not_read_as_black(mode: str) -> None:
    made = Image.fromarray(GREY).convert(mode)
    expected = np.repeat(GREY[..., None], 3, axis=2)
    assert np.array_equal(images.read(made), expected)
    assert np.allclose(images.read_float(made), expected / 255, atol=1e-6)


@pytest.mark.parametrize("mode", ["I", "I;16"])
def test_values_of_16_bits_are_scaled(mode: str) -> None:
    wide = GREY.astype(np.uint16) * 257
    made = Image.fromarray(wide) if mode == "I;16" else Image.fromarray(wide.astype(np.int32))
    assert made.mode == mode
    assert np.array_equal(images.read(made)[..., 0], GREY)


def test_a_dark_file_of_16_bits_stays_dark() -> None:
    """A file says how many bits it has; 200 of 65535 is black there."""
    dark = Image.fromarray(np.full((8, 8), 200, np.uint16))
    for kind in ("PNG", "TIFF"):
        buffer = io.BytesIO()
        dark.save(buffer, kind)
        assert images.read(buffer.getvalue()).max() == 1
        with Image.open(io.BytesIO(buffer.getvalue())) as opened:
            assert images.read(opened).max() == 1
