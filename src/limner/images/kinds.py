"""What a file that is no picture is instead, so that messages can call it by its name."""

from __future__ import annotations

STILL_BRANDS = frozenset(
    b"heic heix heim heis hevc hevx hevm hevs heif mif1 mif2 msf1 miaf MiHE MiHB".split()
)
"""Brands of ISO base media files that hold still pictures (HEIF)."""
AVIF_BRANDS = frozenset((b"avif", b"avis"))
_SOUND_BRANDS = frozenset((b"M4A ", b"M4B ", b"M4P ", b"F4A ", b"F4B "))

_VIDEO = "a video, not a picture: take a frame out of it first"
_SOUND = "a sound file, not a picture"
_STARTS: tuple[tuple[bytes, str], ...] = (
    (b"\x1aE\xdf\xa3", _VIDEO),  # Matroska, WebM
    (b"FLV\x01", _VIDEO),
    (b"\0\0\x01\xba", _VIDEO),  # MPEG program stream
    (b"\0\0\x01\xb3", _VIDEO),  # MPEG video
    (b"0&\xb2u\x8ef\xcf\x11", "a video or sound file, not a picture"),  # Windows Media
    (b"OggS", "a sound or video file, not a picture"),
    (b"ID3", _SOUND),
    (b"fLaC", _SOUND),
    (b"#!AMR", _SOUND),
    (b"MThd", _SOUND),
    (b"%PDF", "a PDF document, not a picture: save its page as a picture first"),
    (b"8BPS", "a Photoshop file: save it as JPEG, PNG or TIFF first"),
    (b"PK\x03\x04", "a ZIP archive, not a picture: unpack it first"),
    (b"\xff\x0a", "a JPEG XL picture: save it as JPEG or PNG first"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL picture: save it as JPEG or PNG first"),
)
_RIFF = {b"AVI ": _VIDEO, b"WAVE": _SOUND}
_FORM = {b"AIFF": _SOUND, b"AIFC": _SOUND}
_MPEG_TS_PACKET = 188


def brands(data: bytes) -> frozenset[bytes]:
    """Return the brands of an ISO base media file: what its ``ftyp`` box says it is."""
    if data[4:8] != b"ftyp":
        return frozenset()
    size = min(max(int.from_bytes(data[:4], "big"), 16), 128)
    return frozenset({data[8:12]} | {data[k : k + 4] for k in range(16, size, 4)})


def no_picture(data: bytes) -> str | None:
    """Say what a file is that is no picture; None where that is not known.

    Args:
        data: The file, or its beginning.

    Returns:
        Words that follow "is", without a full stop.
    """
    for start, words in _STARTS:
        if data.startswith(start):
            return words
    if data[:4] == b"RIFF":
        return _RIFF.get(data[8:12])
    if data[:4] == b"FORM":
        return _FORM.get(data[8:12])
    if data[4:8] == b"ftyp":
        return _SOUND if data[8:12] in _SOUND_BRANDS else _VIDEO
    if data[4:8] in (b"moov", b"mdat", b"wide") and data[:2] == b"\0\0":  # QuickTime of old
        return _VIDEO
    if data[:1] == b"G" and data[_MPEG_TS_PACKET : _MPEG_TS_PACKET + 1] == b"G" == data[376:377]:
        return _VIDEO
    if len(data) > 4 and data[0] == 0xFF and data[1] in (0xFB, 0xF3, 0xF2, 0xF1, 0xF9):
        return _SOUND  # MPEG audio without a tag, AAC
    return None
