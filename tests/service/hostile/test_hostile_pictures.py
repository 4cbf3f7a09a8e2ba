"""Pictures that cost far more than they weigh: refused before they are decoded, or cut short."""

from __future__ import annotations

import io
import os
import struct
import time
import zlib

import numpy as np
import pytest
import skimage.data
from PIL import Image

from limner import images
from limner.errors import ImageError
from limner.faces.detect import YuNet
from limner.images import Limits
from limner.images.bounds import MAX_SCANS, count_scans
from limner.service import Settings
from limner.service.decoders import Decoders

PIXELS = 2_000_000
LIMITS = Limits(max_bytes=4 << 20, max_pixels=PIXELS, max_decoded_bytes=4 * PIXELS)


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def portrait():
    return Image.fromarray(skimage.data.astronaut())


@pytest.fixture(scope="module")
def children():
    made = Decoders(1, LIMITS, seconds=10)
    yield made
    made.close()


# --- H3: scans ----------------------------------------------------------------


def scan_bomb(scans, side=512):
    """A progressive JPEG that ends with many refinements of nothing."""
    data = encoded(Image.new("RGB", (side, side), "grey"), "JPEG", progressive=True)
    blocks = (side // 8) ** 2
    codes = b"\xff\xc4" + struct.pack(">H", 2 + 1 + 16 + 1) + b"\x10" + b"\1" + b"\0" * 15 + b"\xe0"
    scan = b"\xff\xda\x00\x08\x01\x01\x00\x01\x3f\x10"
    run = b"\x00" * max(4, blocks // 32767)
    return data[:-2] + codes + (scan + run) * scans + b"\xff\xd9"


def test_scans_are_counted_before_anything_is_decoded():
    bomb = scan_bomb(20_000, side=1024)
    began = time.monotonic()
    with pytest.raises(ImageError, match=r"a JPEG of 20,0\d\d scans; at most 100"):
        images.read(bomb, limits=LIMITS)
    assert time.monotonic() - began < 1
    with pytest.raises(ImageError, match="scans"):
        images.read_float(bomb)


def test_honest_progressive_photos_have_about_ten_scans(portrait):
    for quality in (10, 75, 95):
        data = encoded(portrait, "JPEG", progressive=True, quality=quality)
        assert 1 < count_scans(data) <= 12
        assert images.read(data, limits=LIMITS).shape == (512, 512, 3)
    assert count_scans(encoded(portrait, "JPEG")) == 1


def test_what_looks_like_scans_in_other_segments_does_not_count(portrait):
    plain = encoded(portrait, "JPEG")
    words = b"\xff\xda" * 3000
    comment = b"\xff\xfe" + struct.pack(">H", len(words) + 2) + words
    data = plain[:2] + comment + plain[2:] + b"\xff\xda" * 3000  # and behind the end
    assert data.count(b"\xff\xda") > 50 * MAX_SCANS
    assert count_scans(data) == 1
    assert images.read(data, limits=LIMITS).shape == (512, 512, 3)


# --- M6: bytes, seconds, windows ----------------------------------------------


def png16(width, height):
    """A PNG of 16 bits and four channels, all nothing, in a few bytes."""

    def chunk(kind, data):
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    rows = (b"\0" + b"\0" * (8 * width)) * height
    head = struct.pack(">IIBBBBB", width, height, 16, 6, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows, 9))
        + chunk(b"IEND", b"")
    )


def test_deep_pictures_are_bounded_by_their_bytes():
    with pytest.raises(ImageError, match="16,000,000 bytes when it is decoded; at most 8,000,000"):
        images.read(png16(1000, 2000), limits=LIMITS)
    assert images.read(png16(500, 1000), limits=LIMITS).shape == (1000, 500, 3)


def test_the_service_allows_four_bytes_a_pixel(tmp_path):
    from limner.service.engine import Engine

    engine = Engine(Settings(state=tmp_path / "s", gallery=tmp_path / "g.limner"))
    assert engine.limits.max_decoded_bytes == 4 * engine.settings.max_pixels
    engine.close()


def test_a_ribbon_is_not_searched():
    class Counting(YuNet):
        looks = 0

        def _run(self, view):
            self.looks += 1
            return super()._run(view)

    detector = Counting(threads=1)
    for shape in ((1, 1_000_000, 3), (300_000, 19, 3), (12, 12, 3)):
        assert detector.detect(np.zeros(shape, np.uint8)) == []
    assert detector.looks == 0
    face = skimage.data.astronaut()[30:190, 160:290]
    assert len(detector.detect(face)) == 1


# --- children -----------------------------------------------------------------


def test_a_child_gives_the_pixels_that_the_parent_would(children, portrait):
    turned = portrait.copy()
    exif = turned.getexif()
    exif[0x0112] = 6
    cases = [
        encoded(portrait, "JPEG"),
        encoded(portrait, "JPEG", progressive=True),
        encoded(turned, "JPEG", exif=exif),
        encoded(portrait, "WEBP"),
        encoded(portrait.convert("RGBA"), "PNG"),
        encoded(portrait.convert("L"), "TIFF"),
        png16(40, 30),
    ]
    for data in cases:
        assert np.array_equal(children.read(data), images.read(data, limits=LIMITS))


def test_a_childs_refusal_is_the_parents(children, portrait):
    good = encoded(portrait, "JPEG")
    cases = [b"", b"nothing", good[:5000], png16(1000, 2000), b"\xff\xd8\xff" + b"x" * 99]
    cases.append(encoded(Image.new("L", (1, PIXELS + 1)), "PNG"))
    for data in cases:
        with pytest.raises(ImageError) as ours:
            images.read(data, limits=LIMITS)
        with pytest.raises(ImageError) as theirs:
            children.read(data)
        assert str(theirs.value) == str(ours.value)
    assert children.read(good).shape == (512, 512, 3)


def test_a_picture_that_takes_too_long_ends_its_child_alone(portrait):
    made = Decoders(1, LIMITS, seconds=10)
    good = encoded(portrait, "JPEG")
    made.read(good)
    (first,) = made.pids
    made._seconds = 0.05
    slow = encoded(Image.effect_noise((1400, 1400), 90).convert("RGB"), "PNG")
    os.kill(first, 19)  # it decodes nothing any more
    began = time.monotonic()
    with pytest.raises(ImageError, match=r"more than 0.05 s to decode"):
        made.read(slow)
    assert time.monotonic() - began < 5
    made._seconds = 30
    assert made.read(good).shape == (512, 512, 3)
    assert made.pids != [first]
    made.close()


def test_a_picture_that_needs_too_much_memory_is_refused(portrait):
    made = Decoders(1, LIMITS, seconds=30, memory=1 << 20)
    with pytest.raises(ImageError, match="memory"):
        made.read(encoded(Image.effect_noise((1400, 1400), 90).convert("RGB"), "PNG"))
    made.close()
    assert not made._all or all(child.process.poll() is not None for child in made._all)


def test_a_child_that_was_killed_is_replaced(portrait):
    made = Decoders(1, LIMITS, seconds=30)
    good = encoded(portrait, "JPEG")
    made.read(good)
    os.kill(made.pids[0], 9)
    with pytest.raises(ImageError, match="cannot be decoded"):
        made.read(good)
    assert made.read(good).shape == (512, 512, 3)
    made.close()


def test_children_end_with_the_service(tmp_path):
    from limner.service.engine import Engine

    engine = Engine(Settings(state=tmp_path / "s", gallery=tmp_path / "g.limner", threads=1))
    engine.open()
    pids = engine._decoders.pids
    engine.close()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_small_photo_costs_little_more_through_a_child(children, portrait):
    """As a ratio, and generous: figures are in bench/service.py."""
    data = encoded(portrait.resize((250, 250)), "JPEG")

    def best(read):
        found = []
        for _ in range(30):
            began = time.perf_counter()
            read(data)
            found.append(time.perf_counter() - began)
        return sorted(found)[5]

    children.read(data)
    direct, piped = best(lambda d: images.read(d, limits=LIMITS)), best(children.read)
    assert piped < 10 * direct + 0.003
