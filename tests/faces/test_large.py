"""Very large photos: how much is looked at, what is found, and what is decoded for it."""

from __future__ import annotations

import io
import json
import tracemalloc
from typing import Any

import numpy as np
import pytest
import skimage.data
from PIL import Image

from limner import FaceAnalyzer, images
from limner.errors import ImageError
from limner.faces import YuNet, large
from limner.faces.detect import plan_windows
from limner.images import decoding, memory, opened
from limner.images.sources import Limits

COLLINS = Image.fromarray(skimage.data.astronaut())


@pytest.fixture(scope="module")
def yunet() -> YuNet:
    return YuNet(threads=1)


def iou(a: Any, b: Any) -> float:
    wide = max(0, min(a[2], b[2]) - max(a[0], b[0]))
    high = max(0, min(a[3], b[3]) - max(a[1], b[1]))
    area = lambda r: (r[2] - r[0]) * (r[3] - r[1])  # noqa: E731
    return float(wide * high / (area(a) + area(b) - wide * high))


def jpeg(image: Image.Image, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=92, **options)
    return buffer.getvalue()


def crowd(size_wh: tuple[int, int], face_px: int, count: int) -> tuple[Image.Image, list[Any]]:
    """A photo of coffee with small portraits on it, and the boxes of their faces."""
    photo = Image.fromarray(skimage.data.coffee()).resize(size_wh)
    scale = face_px / 113  # her face: 90 x 113 px at (178, 63)
    small = COLLINS.resize((round(512 * scale),) * 2, Image.Resampling.LANCZOS)
    rng, boxes = np.random.default_rng(7), []
    for x, y in zip(
        np.linspace(0.05, 0.9, count) * size_wh[0], rng.uniform(0.05, 0.9, count), strict=True
    ):
        at = (int(x), int(y * size_wh[1]))
        photo.paste(small, at)
        left, top = at[0] + 178 * scale, at[1] + 63 * scale
        boxes.append((left, top, left + 90 * scale, top + 113 * scale))
    return photo, boxes


def hits(found: list[Any], boxes: list[Any]) -> int:
    return sum(any(iou(face.box_xyxy, box) > 0.4 for face in found) for box in boxes)


# --- how much work a photo is ------------------------------------------------------------


def test_photos_of_ordinary_size_are_searched_as_ever() -> None:
    assert large.smallest_face(3000, 4000) == large.smallest_face(4000, 6000) == 20


@pytest.mark.parametrize(("megapixels", "px"), [(48, 28), (108, 42), (200, 57.2), (250, 63.9)])
def test_the_smallest_face_of_large_photos_is_as_documented(megapixels: int, px: float) -> None:
    height = round((megapixels * 0.75e6) ** 0.5)
    assert large.smallest_face(height, height * 4 // 3) == pytest.approx(px, abs=0.1)


@pytest.mark.parametrize("megapixels", [25, 36, 48, 64, 108, 150, 200, 250])
@pytest.mark.parametrize("ratio", [1.0, 4 / 3, 8.0])
def test_the_network_never_sees_more_than_a_bounded_number_of_pixels(
    megapixels: int, ratio: float
) -> None:
    """Time is proportional to it: 0.055 s a megapixel of the network on one core, measured."""
    height = round((megapixels * 1e6 / ratio) ** 0.5)
    width = round(height * ratio)
    windows = plan_windows(height, width, min_size=large.smallest_face(height, width))
    seen = sum(w.width * w.height for w in windows)
    assert seen <= 2.6 * large.FINE_PIXELS
    assert seen / (megapixels * 1e6) <= 1.0


# --- what is found -----------------------------------------------------------------------


def test_the_smallest_face_is_found_in_a_photo_of_48_megapixels(yunet: YuNet) -> None:
    photo, boxes = crowd((8000, 6000), 34, 4)
    found = yunet.detect(np.asarray(photo))
    assert hits(found, boxes) >= 3


def test_a_smallest_face_of_ones_own_is_kept() -> None:
    photo, boxes = crowd((7000, 5000), 21, 4)  # 35 megapixels: 24 px by default
    pixels = np.asarray(photo)
    assert YuNet(threads=1).detect(pixels) == []
    found = YuNet(threads=1, min_size=16).detect(pixels)
    assert hits(found, boxes) >= 3


# --- what is decoded ---------------------------------------------------------------------


@pytest.fixture
def giants(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Let photos above a megapixel count as giants, reduced to a quarter; count decodings."""
    monkeypatch.setattr(large, "GIANT_PIXELS", 1_000_000)
    monkeypatch.setattr(decoding, "GIANT_PIXELS", 1_000_000)
    monkeypatch.setattr(opened, "_SMALLEST_GIANT", 1000)
    monkeypatch.setattr(opened, "_REDUCED_PIXELS", 800_000)
    counted = {"whole": 0, "reduced": 0}
    for name, method in (("whole", "read"), ("reduced", "reduced")):
        original = getattr(opened.Opened, method)

        def counting(self: Any, name: str = name, original: Any = original) -> Any:
            counted[name] += 1
            return original(self)

        monkeypatch.setattr(opened.Opened, method, counting)
    return counted


BIG = COLLINS.resize((1600, 1600), Image.Resampling.LANCZOS)  # her face: 280 x 353 px


def test_a_large_face_is_read_from_the_reduced_photo(giants: dict[str, int]) -> None:
    analyzer = FaceAnalyzer()
    (expected,) = analyzer.analyze(np.asarray(BIG.copy()))
    big = BIG.resize((3200, 3200))  # reduced to a quarter of the side: 353 / 2 px, hence whole
    for photo, by, counts in ((BIG, 1, {"whole": 1, "reduced": 1}), (big, 2, None)):
        giants.update(whole=0, reduced=0)
        (face,) = analyzer.analyze(jpeg(photo))
        box = [by * v for v in expected.box_xyxy]
        assert iou(face.box_xyxy, box) > 0.9
        assert np.abs(face.landmarks_xy - by * expected.landmarks_xy).max() < 12 * by
        assert face.embedding is not None
        assert expected.embedding is not None
        assert float(face.embedding.vector @ expected.embedding.vector) > 0.95
        assert counts is None or giants == counts


def test_very_large_faces_cost_no_whole_decoding(giants: dict[str, int]) -> None:
    photo = COLLINS.crop((113, 13, 333, 233)).resize((1600, 1600))  # face of about 800 px
    (expected,) = FaceAnalyzer(embedder=None).analyze(np.asarray(photo))
    (face,) = FaceAnalyzer(embedder=None).analyze(jpeg(photo))
    assert giants == {"whole": 0, "reduced": 1}
    assert iou(face.box_xyxy, expected.box_xyxy) > 0.9


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_giants_are_turned_upright(giants: dict[str, int], orientation: int) -> None:
    turn = {3: 180, 6: 90, 8: 270}.get(orientation, 0)
    stored = BIG.crop((0, 0, 1600, 1200)).rotate(turn, expand=True)
    exif = Image.Exif()
    exif[274] = orientation
    (found,) = FaceAnalyzer(embedder=None).analyze_many([jpeg(stored, exif=exif)])
    assert found.size_hw == (1200, 1600)
    assert found.faces is not None
    assert iou(found.faces[0].box_xyxy, (556, 197, 838, 550)) > 0.6


@pytest.mark.parametrize("options", [{"progressive": True}, {"icc_profile": b"x" * 128}])
def test_other_kinds_of_giants(giants: dict[str, int], options: dict[str, Any]) -> None:
    data = jpeg(BIG, **options)
    assert len(FaceAnalyzer(embedder=None).analyze(data)) == 1
    assert giants["reduced"] == 1
    assert np.abs(images.read(data).astype(int) - np.asarray(BIG)).mean() < 2


def test_a_png_is_decoded_whole(giants: dict[str, int]) -> None:
    buffer = io.BytesIO()
    BIG.save(buffer, "PNG")
    assert len(FaceAnalyzer(embedder=None).analyze(buffer.getvalue())) == 1
    assert giants["whole"] == 1


def test_a_smallest_face_of_ones_own_needs_the_whole_photo(giants: dict[str, int]) -> None:
    assert len(FaceAnalyzer(embedder=None, min_size=20).analyze(jpeg(BIG))) == 1
    assert giants == {"whole": 1, "reduced": 0}


def test_no_face_no_whole_decoding(giants: dict[str, int]) -> None:
    wall = Image.fromarray(skimage.data.brick()).resize((1800, 1200))
    assert FaceAnalyzer(embedder=None).analyze(jpeg(wall)) == []
    assert giants == {"whole": 0, "reduced": 1}


def test_without_memory_the_reduced_photo_must_do(
    giants: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda: 5_000_000)
    (face,) = FaceAnalyzer().analyze(jpeg(BIG))
    assert face.embedding is not None
    assert iou(face.box_xyxy, (556, 197, 838, 550)) > 0.6
    assert giants == {"whole": 0, "reduced": 1}
    with pytest.raises(ImageError, match=r"does not fit into memory: decoding it takes about 0"):
        images.read(jpeg(BIG))


def test_memory_is_read_from_the_system(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    free = memory.free_bytes()
    assert free is None or free > 100e6
    most, used = tmp_path / "most", tmp_path / "used"
    monkeypatch.setattr(memory, "_GROUPS", ((most, used),))
    assert memory.free_bytes() == pytest.approx(free, rel=0.3)
    most.write_text("max\n")
    used.write_text("5\n")
    assert memory.free_bytes() == pytest.approx(free, rel=0.3)
    most.write_text("1005\n")
    assert memory.free_bytes() == 1000


# --- limits ------------------------------------------------------------------------------


def test_limits_can_be_raised_and_lowered(monkeypatch: pytest.MonkeyPatch) -> None:
    data = jpeg(COLLINS)
    small = FaceAnalyzer(embedder=None, limits=Limits.megapixels(0.1))
    with pytest.raises(ImageError, match=r"at most 100,000 pixels are read\. Make it smaller"):
        small.analyze(data)
    (found,) = small.analyze_many([data], on_error="yield")
    assert isinstance(found.error, ImageError)
    assert len(small.analyze(np.asarray(COLLINS))) == 1  # decoded already
    assert len(small.analyze(COLLINS)) == 1
    assert len(FaceAnalyzer(embedder=None, limits=Limits.megapixels(1)).analyze(data)) == 1
    monkeypatch.setenv("LIMNER_MAX_MEGAPIXELS", "0.2")
    with pytest.raises(ImageError, match="at most 200,000"):
        FaceAnalyzer(embedder=None).analyze(data)
    monkeypatch.setenv("LIMNER_MAX_MEGAPIXELS", "many")
    with pytest.raises(ImageError.__mro__[1], match="number of megapixels such as 400, got 'many'"):
        images.read(data)


def test_bytes_grow_with_the_pixels() -> None:
    assert Limits.megapixels(400).max_bytes == 1_200_000_000
    assert Limits.megapixels(1).max_bytes == Limits().max_bytes


@pytest.mark.slow
@pytest.mark.parametrize("megapixels", [108, 200, 250])
def test_real_giants(megapixels: int, record_property: Any) -> None:
    """Real sizes: a blank one, one with faces of the documented smallest size, and the memory."""
    height = round((megapixels * 0.75e6) ** 0.5)
    size = (height * 4 // 3, height)
    analyzer = FaceAnalyzer(embedder=None)
    assert analyzer.analyze(jpeg(Image.new("RGB", size, "#ccc"))) == []
    photo, boxes = crowd(size, round(1.3 * large.smallest_face(size[1], size[0])), 8)
    data = jpeg(photo)
    del photo
    tracemalloc.start()
    faces = analyzer.analyze(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    found = hits(faces, boxes)
    print(json.dumps({"megapixels": megapixels, "found": found, "of": 8, "peak_mb": peak // 10**6}))
    assert found >= 6
