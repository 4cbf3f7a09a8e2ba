"""Reading: every format, depth, colour space and orientation."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageChops, ImageFile, ImageOps

import picture_files as pf
from limner import images
from limner.errors import ImageError, InputError
from limner.images import decoding
from limner.images.icc import matrix_profile

FILES = pf.every_format()


def far(a: np.ndarray, b: np.ndarray) -> int:
    assert a.shape == b.shape
    return int(np.abs(a.astype(np.int64) - b.astype(np.int64)).max())


def mean_far(a: np.ndarray, b: np.ndarray) -> float:
    assert a.shape == b.shape
    return float(np.abs(a.astype(np.float64) - b.astype(np.float64)).mean())


# --- what comes out ---------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(FILES))
def test_every_format_gives_upright_writable_rgb(name: str) -> None:
    result = images.read(FILES[name])
    sideways = name == "jpeg-exif"
    assert result.shape == ((36, 48, 3) if sideways else (48, 36, 3))
    assert result.dtype == np.uint8
    assert result.flags.c_contiguous
    assert result.flags.writeable


@pytest.mark.parametrize("name", sorted(FILES))
def test_float_agrees_with_eight_bits(name: str) -> None:
    eight, real = images.read(FILES[name]), images.read_float(FILES[name])
    assert real.dtype == np.float32
    assert real.min() >= 0
    assert real.max() <= 1
    assert far(np.rint(real * 255), eight) == 0


@pytest.mark.parametrize(
    "name", ["png", "webp-lossless", "bmp", "tiff", "tiff-lzw", "ppm", "png-16", "tiff-16", "jp2"]
)
def test_lossless_formats_give_the_pixels_back(name: str) -> None:
    truth = pf.pixels()
    if name == "webp-lossless":  # alpha on white, upside down
        alpha = np.array(Image.linear_gradient("L").resize((36, 48)))[..., None] / 255
        truth = np.rint(truth * alpha + 255 * (1 - alpha))[::-1, ::-1]
        assert far(images.read(FILES[name]), truth) <= 1
    else:
        assert far(images.read(FILES[name]), truth) == 0


@pytest.mark.parametrize(
    ("name", "level"),
    [
        ("heic", 6.0),
        ("avif", 6.0),
        ("webp", 7.0),
        ("jpeg-cmyk", 6.0),
        ("tiff-cmyk", 1.0),
        ("png-palette", 8.0),
    ],
)
def test_lossy_formats_are_near(name: str, level: float) -> None:
    assert mean_far(images.read(FILES[name]), pf.pixels()) < level


@pytest.mark.parametrize("quality", [20, 75, 95])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_is_pillow_bit_for_bit(quality: int, subsampling: int, progressive: bool) -> None:
    with Image.open(pf.grace_hopper_path()) as whole:
        data = pf.saved(
            whole.crop((3, 5, 200, 190)),
            "JPEG",
            quality=quality,
            subsampling=subsampling,
            progressive=progressive,
        )
    with Image.open(io.BytesIO(data)) as reference:
        assert np.array_equal(images.read(data), np.array(reference))


@pytest.mark.parametrize(
    "options", [{"restart_marker_blocks": 2}, {"keep_rgb": True, "subsampling": 0}]
)
def test_unusual_jpeg_is_pillow_bit_for_bit(options: dict[str, object]) -> None:
    data = pf.saved(pf.photo(), "JPEG", **options)
    with Image.open(io.BytesIO(data)) as reference:
        assert np.array_equal(images.read(data), np.array(reference))


def test_lfw_jpegs_are_pillow_bit_for_bit(shared_data: Path) -> None:
    for path in sorted((shared_data / "lfw/images").glob("A*/*_0001.jpg"))[:100]:
        with Image.open(path) as reference:
            assert np.array_equal(images.read(path), np.array(reference)), path


def test_the_quick_way_is_taken_for_an_ordinary_jpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "from_pillow", None)
    assert images.read(FILES["jpeg"]).shape == (48, 36, 3)


# --- sources ----------------------------------------------------------------------------


def test_all_sources_agree(tmp_path: Path) -> None:
    path = tmp_path / "Łódź 顔 é.jpg"
    path.write_bytes(FILES["jpeg"])
    truth = images.read(FILES["jpeg"])
    with Image.open(path) as opened:
        assert np.array_equal(images.read(opened), truth)
        assert opened.mode == "RGB"
    for source in (path, str(path), bytearray(FILES["jpeg"]), io.BytesIO(FILES["jpeg"]), truth):
        assert np.array_equal(images.read(source), truth)
    with path.open("rb") as stream:
        assert np.array_equal(images.read(stream), truth)


def test_a_stream_is_read_from_where_it_stands() -> None:
    stream = io.BytesIO(b"header" + FILES["png"])
    stream.seek(6)
    assert np.array_equal(images.read(stream), pf.pixels())


def test_a_stream_that_gives_little_at_a_time() -> None:
    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(min(size or 7, 7))

    assert np.array_equal(images.read(Slow(FILES["png"])), pf.pixels())


def test_arrays() -> None:
    rgb = pf.pixels()
    assert images.read(rgb) is rgb
    assert np.array_equal(images.read(rgb[..., 0])[..., 2], rgb[..., 0])
    assert np.array_equal(images.read(rgb[..., :1])[..., 1], rgb[..., 0])
    flipped = images.read(rgb[:, ::-1])
    assert flipped.flags.c_contiguous
    half = np.dstack([rgb, np.full(rgb.shape[:2], 128, np.uint8)])
    assert far(images.read(half), np.rint(rgb * (128 / 255) + 255 * (127 / 255))) <= 1
    clear = np.dstack([rgb, np.zeros(rgb.shape[:2], np.uint8)])
    assert (images.read(clear) == 255).all()
    deep = rgb.astype(np.uint16) * 257
    assert np.allclose(images.read_float(deep), rgb / 255, atol=1e-6)
    assert np.allclose(images.read_float(rgb / 255.0), rgb / 255, atol=1e-6)


@given(
    hnp.arrays(
        np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3, 4]))
    )
)
@settings(max_examples=50, deadline=None)
def test_any_uint8_array_is_a_picture(array: np.ndarray) -> None:
    assert images.read(array).shape == (*array.shape[:2], 3)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4, 3), np.int64),
        np.zeros((4, 4, 3), bool),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((4, 4, 5), np.uint8),
        np.zeros((1, 4, 4, 3), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros(4, np.uint8),
        np.uint8(3) * np.ones(()),
    ],
)
def test_other_arrays_are_refused(array: np.ndarray) -> None:
    with pytest.raises(ImageError, match="array"):
        images.read(array)


def test_float_arrays_outside_the_range_are_refused() -> None:
    for value in (1.5, -0.1, np.nan):
        with pytest.raises(ImageError, match=r"\[0, 1\]"):
            images.read_float(np.full((2, 2, 3), value, np.float32))


# --- orientation ------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "HEIC", "jpeg-pillow"])
def test_exif_orientation(kind: str, orientation: int) -> None:
    image = pf.photo()
    if kind == "HEIC":
        data = pf.heif(image, exif=pf.exif(orientation))
        truth = images.read(pf.heif(image))
    elif kind == "TIFF":
        data = pf.saved(image, "TIFF", tiffinfo={pf.ORIENTATION: orientation})
        truth = pf.pixels()
    else:
        real = "JPEG" if kind == "jpeg-pillow" else kind
        options = {"lossless": True} if kind == "WEBP" else {}
        if kind == "jpeg-pillow":
            options = {"progressive": True}
        data = pf.saved(image, real, exif=pf.exif(orientation), **options)
        truth = images.read(pf.saved(image, real, **options))
    tagged = Image.fromarray(truth)
    tagged.getexif()[pf.ORIENTATION] = orientation
    expected = np.array(ImageOps.exif_transpose(tagged))
    assert far(images.read(data), expected) <= (6 if kind == "HEIC" else 0)


@pytest.mark.parametrize("orientation", [1, 6])
def test_orientation_of_a_pillow_image_that_is_loaded(orientation: int) -> None:
    data = pf.saved(pf.photo(), "PNG", exif=pf.exif(orientation))
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        result = images.read(image)
        assert image.size == (36, 48)
    assert np.array_equal(result, images.read(data))


def test_sixteen_bit_png_is_turned_too() -> None:
    deep = pf.pixels().astype(np.uint16) * 257
    plain = pf.opencv(".png", deep)
    chunk = b"eXIf" + pf.exif(6).removeprefix(b"Exif\0\0")
    import struct
    import zlib

    framed = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    at = plain.index(b"IDAT") - 4
    turned = images.read(plain[:at] + framed + plain[at:])
    assert np.array_equal(turned, np.rot90(pf.pixels(), k=-1))


def test_broken_exif_is_ignored() -> None:
    data = pf.saved(pf.photo(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff garbage")
    assert np.array_equal(images.read(data), images.read(pf.saved(pf.photo(), "JPEG")))
    for value in (0, 9, 77):
        data = pf.saved(pf.photo(), "PNG", exif=pf.exif(value))
        assert np.array_equal(images.read(data), pf.pixels())


# --- colour -----------------------------------------------------------------------------


@pytest.mark.parametrize("lut", [False, True])
def test_a_profile_with_red_and_blue_exchanged_exchanges_them(lut: bool) -> None:
    profile = pf.icc([pf.SRGB_BLUE, pf.SRGB_GREEN, pf.SRGB_RED], "srgb", lut=lut)
    swapped = pf.pixels()[..., ::-1]
    result = images.read(pf.saved(pf.photo(), "PNG", icc_profile=profile))
    assert far(result, swapped) <= 2
    deep = pf.pixels().astype(np.uint16) * 257
    real = _float_with_profile(deep, profile)
    assert np.abs(real * 255 - swapped).max() < 0.6


def _float_with_profile(deep: np.ndarray, profile: bytes) -> np.ndarray:
    from limner.images.colour import to_srgb_float

    return to_srgb_float((deep / 65535).astype(np.float32), profile)


@pytest.mark.parametrize("gamma", [1.8, 2.2])
@pytest.mark.parametrize("lut", [False, True])
def test_float_profiles_agree_with_littlecms(gamma: float, lut: bool) -> None:
    profile = pf.icc(pf.P3, gamma, lut=lut)
    assert matrix_profile(profile) is not None
    rng = np.random.default_rng(3)
    colours = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
    eight = images.read(pf.saved(Image.fromarray(colours), "PNG", icc_profile=profile))
    real = _float_with_profile(colours.astype(np.uint16) * 257, profile)
    assert far(eight, colours) > 10  # the profile does something
    assert np.abs(real * 255 - eight).max() < 1.6
    assert np.abs(real * 255 - eight).mean() < 0.35


def test_float_profiles_keep_sixteen_bits() -> None:
    ramp = np.linspace(0, 65535, 4096).astype(np.uint16)
    grey = np.repeat(ramp.reshape(1, -1, 1), 3, axis=2)
    real = _float_with_profile(grey, pf.icc(pf.P3))
    assert len(np.unique(real[..., 1])) > 4000
    assert (np.diff(real[0, :, 1]) >= 0).all()


@pytest.mark.parametrize("damage", [b"", b"nonsense", "short", "cmyk"])
def test_a_broken_profile_is_ignored(damage: bytes | str) -> None:
    good = pf.icc(pf.P3)
    profile = {"short": good[:200], "cmyk": good.replace(b"RGB ", b"CMYK", 1)}.get(
        str(damage), damage
    )
    data = pf.saved(pf.photo(), "PNG", icc_profile=profile)
    assert np.array_equal(images.read(data), pf.pixels())


def test_an_srgb_profile_changes_nothing() -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = pf.saved(pf.photo(), "PNG", icc_profile=profile)
    assert np.array_equal(images.read(data), pf.pixels())


def test_cmyk_without_adobe_marker_is_not_inverted() -> None:
    cmyk = pf.photo().convert("CMYK")
    adobe = pf.saved(cmyk, "JPEG", quality=95)
    plain = pf.saved(ImageChops.invert(cmyk), "JPEG", quality=95)
    at = plain.index(b"\xff\xee")
    plain = plain[:at] + plain[at + 2 + int.from_bytes(plain[at + 2 : at + 4], "big") :]
    assert mean_far(images.read(plain), images.read(adobe)) < 1.5


def test_lab_tiff() -> None:
    from PIL import ImageCms

    to_lab = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
    )
    data = pf.saved(to_lab.apply(pf.photo()), "TIFF")
    assert mean_far(images.read(data), pf.pixels()) < 3


# --- transparency -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_alpha_lies_on_white(kind: str) -> None:
    image = Image.new("RGBA", (4, 1))
    image.putdata([(200, 100, 0, 255), (200, 100, 0, 0), (200, 100, 0, 128), (0, 0, 0, 51)])
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    result = images.read(pf.saved(image, kind, **options))[0].astype(int)
    expected = [[200, 100, 0], [255, 255, 255], [227, 177, 127], [204, 204, 204]]
    assert np.abs(result - expected).max() <= 1


def test_sixteen_bit_alpha_lies_on_white() -> None:
    rgba = np.array([[[65535, 0, 0, 32768], [0, 0, 0, 0], [1000, 2000, 3000, 65535]]], np.uint16)
    real = images.read_float(pf.opencv(".png", rgba))
    expected = [[1, 0.5, 0.5], [1, 1, 1], [1000 / 65535, 2000 / 65535, 3000 / 65535]]
    assert np.allclose(real[0], expected, atol=2e-5)


def test_grey_alpha_and_colour_keys() -> None:
    grey = Image.merge("LA", [Image.new("L", (2, 1), 50), Image.new("L", (2, 1), 0)])
    assert (images.read(pf.saved(grey, "PNG")) == 255).all()
    rgb = Image.new("RGB", (2, 1), (9, 8, 7))
    rgb.putpixel((1, 0), (1, 2, 3))
    result = images.read(pf.saved(rgb, "PNG", transparency=(9, 8, 7)))
    assert result.tolist() == [[[255, 255, 255], [1, 2, 3]]]
    keyed = images.read(pf.saved(Image.new("P", (2, 2), 1), "GIF", transparency=1))
    assert (keyed == 255).all()


# --- depth ------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("colour", [True, False])
def test_sixteen_bits_are_scaled_not_clipped(suffix: str, colour: bool) -> None:
    ramp = np.linspace(0, 65535, 700).astype(np.uint16).reshape(7, 100)
    array = np.dstack([ramp, ramp[::-1], ramp.T.reshape(7, 100)]) if colour else ramp
    data = pf.opencv(suffix, array)
    expected = array if colour else np.repeat(ramp[..., None], 3, axis=2)
    assert np.allclose(images.read_float(data), expected / 65535, atol=1e-7)
    assert far(images.read(data), np.rint(expected / 257)) == 0


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_tiff_of_sixteen_bit_grey(byteorder: str, photometric: str) -> None:
    tifffile = pytest.importorskip("tifffile")
    ramp = np.linspace(0, 65535, 600).astype(np.uint16).reshape(20, 30)
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, ramp, byteorder=byteorder, photometric=photometric)
    expected = 65535 - ramp if photometric == "miniswhite" else ramp
    real = images.read_float(buffer.getvalue())
    assert np.allclose(real[..., 0], expected / 65535, atol=1e-7)


@pytest.mark.parametrize(
    ("dtype", "scale", "colour"),
    [
        (np.float32, 1, False),
        (np.float32, 255, False),
        (np.uint32, 2**32 - 1, False),
        (np.float32, 1, True),
        (np.float32, 65535, True),
        (np.float64, 1, True),
    ],
)
def test_tiff_of_wide_samples(dtype: type, scale: int, colour: bool) -> None:
    tifffile = pytest.importorskip("tifffile")
    unit = np.random.default_rng(0).random((20, 30, 3) if colour else (20, 30))
    unit.flat[0] = 1
    buffer = io.BytesIO()
    tifffile.imwrite(
        buffer, (unit * scale).astype(dtype), photometric="rgb" if colour else "minisblack"
    )
    real = images.read_float(buffer.getvalue())
    assert np.allclose(real, unit if colour else unit[..., None], atol=2e-6)


def test_first_page_and_first_frame() -> None:
    first, second = pf.photo(), Image.new("RGB", (5, 5), (1, 2, 3))
    pages = pf.saved(first, "TIFF", save_all=True, append_images=[second])
    assert np.array_equal(images.read(pages), pf.pixels())
    frames = pf.saved(
        first.quantize(64),
        "GIF",
        save_all=True,
        append_images=[second.quantize(2).resize((36, 48))],
    )
    assert np.array_equal(images.read(frames), np.array(first.quantize(64).convert("RGB")))
    webp = pf.saved(first, "WEBP", lossless=True, save_all=True, append_images=[first.rotate(180)])
    assert np.array_equal(images.read(webp), pf.pixels())


# --- what is refused --------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(FILES))
def test_cut_off_files_are_refused(name: str, tmp_path: Path) -> None:
    data = FILES[name]
    path = tmp_path / "cut off.jpg"
    for part in (0.02, 0.3, 0.6, 0.9):
        path.write_bytes(data[: max(1, int(len(data) * part))])
        if name == "gif" and part > 0.5:
            continue  # the first of its two frames is still whole
        with pytest.raises(ImageError, match=r"cut off\.jpg"):
            images.read(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"just some words, no picture", "is not a picture"),
        (b"\xff\xd8\xff", "damaged or cut off"),
        (b"\x89PNG\r\n\x1a\n", "damaged or cut off"),
        (b"GIF89a", "damaged or cut off"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is not a picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is not a picture"),
    ],
)
def test_files_that_are_no_pictures(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "portrait.jpg"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=reason) as caught:
        images.read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_paths_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"nobody\.jpg does not exist"):
        images.read(tmp_path / "nobody.jpg")
    with pytest.raises(ImageError, match="is a folder"):
        images.read(tmp_path)
    with pytest.raises(ImageError, match="null"):
        images.read("a\0b")
    with pytest.raises(ImageError, match=r"cannot be read|does not exist"):
        images.read("x" * 5000)
    for source in (None, 3, 2.5, ["a.jpg"], {}):
        with pytest.raises(ImageError, match="a picture must be a path"):
            images.read(source)  # type: ignore[arg-type]
    with pytest.raises(ImageError, match="not bytes"):
        images.read(io.StringIO("text"))  # type: ignore[arg-type]
    closed = io.BytesIO(b"x")
    closed.close()
    with pytest.raises(ImageError, match="closed"):
        images.read(closed)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_permission(tmp_path: Path) -> None:
    path = tmp_path / "secret.jpg"
    path.write_bytes(FILES["jpeg"])
    path.chmod(0)
    with pytest.raises(ImageError, match=r"secret\.jpg cannot be read: permission denied"):
        images.read(path)


def test_names_stay_on_one_line(tmp_path: Path) -> None:
    path = tmp_path / "two\nlines.jpg"
    path.write_bytes(b"x")
    with pytest.raises(ImageError) as caught:
        images.read(path)
    assert "two\\nlines.jpg" in str(caught.value)
    undecodable = os.fsdecode(os.fsencode(str(tmp_path)) + b"/\xff\xfe.jpg")
    with pytest.raises(ImageError) as caught:
        images.read(undecodable)
    str(caught.value).encode("utf-8")


# --- limits -----------------------------------------------------------------------------


def test_a_stream_is_not_read_beyond_the_limit() -> None:
    class Endless(io.RawIOBase):
        given = 0

        def read(self, size: int = -1) -> bytes:
            self.given += size
            return b"\xff" * size

    stream = Endless()
    with pytest.raises(ImageError, match="more than 3,000,000 bytes"):
        images.read(stream, limits=images.Limits(max_bytes=3_000_000))  # type: ignore[arg-type]
    assert stream.given == 3_000_001


def test_bytes_limit(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(FILES["png"])
    exact = images.Limits(max_bytes=len(FILES["png"]))
    assert images.read(path, limits=exact).shape == (48, 36, 3)
    tight = images.Limits(max_bytes=len(FILES["png"]) - 1)
    for source in (path, FILES["png"], io.BytesIO(FILES["png"])):
        with pytest.raises(ImageError, match=r"Make it smaller, or set LIMNER_MAX_MEGAPIXELS\.$"):
            images.read(source, limits=tight)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "GIF", "JPEG", "BMP"])
def test_a_bomb_is_refused_by_its_header(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytearray(pf.saved(Image.new("L", (64, 64)), kind))
    if kind == "PNG":
        data[16:24] = (20000).to_bytes(4, "big") * 2
        import zlib

        data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
    elif kind == "JPEG":
        at = data.index(b"\xff\xc0") + 5
        data[at : at + 4] = (20000).to_bytes(2, "big") * 2
    elif kind == "GIF":
        data[6:10] = (20000).to_bytes(2, "little") * 2
    elif kind == "BMP":
        data[18:26] = (20000).to_bytes(4, "little") * 2
    else:
        data = bytearray(pf.saved(Image.new("1", (20000, 20000)), kind, compression="group4"))
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(ImageError, match=r"20,000 x 20,000 pixels; at most 250,000,000") as caught:
        images.read(bytes(data))
    assert "\n" not in str(caught.value)


def test_pixel_limit_holds_for_what_is_not_decoded_yet() -> None:
    tight = images.Limits(max_pixels=36 * 48 - 1)
    opened = Image.open(io.BytesIO(FILES["jpeg"]))
    for source in (opened, FILES["jpeg"], FILES["tiff-float"], FILES["heic"]):
        with pytest.raises(ImageError, match="36 x 48 pixels"):
            images.read(source, limits=tight)
    opened.load()
    for source in (pf.pixels(), pf.photo(), opened):
        assert images.read(source, limits=tight).shape == (48, 36, 3)
    exact = images.Limits(max_pixels=36 * 48)
    for source in (pf.pixels(), pf.photo(), FILES["jpeg"], FILES["tiff-float"], FILES["heic"]):
        assert images.read(source, limits=exact).shape == (48, 36, 3)


@pytest.mark.parametrize("value", [0, -1, 2.5, True, "9"])
def test_limits_are_checked(value: object) -> None:
    with pytest.raises(InputError, match="max_pixels"):
        images.Limits(max_pixels=value)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("error")
def test_bomb_warnings_never_leak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # the photo has 1,728
    monkeypatch.setattr(decoding, "_GIANT_PIXELS", 900)
    for name, data in FILES.items():
        assert images.read(data).ndim == 3, name


def test_nothing_global_is_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    import warnings

    # imageio, which other tests' pictures come through, registers HEIF itself.
    monkeypatch.delitem(Image.OPEN, "HEIF", raising=False)
    monkeypatch.setattr(Image, "ID", [name for name in Image.ID if name != "HEIF"])
    before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters))
    for data in FILES.values():
        images.read(data)
    after = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters))
    assert after == before
    assert "HEIF" not in Image.OPEN


def test_many_threads_read_the_same() -> None:
    truth = {name: images.read(data) for name, data in FILES.items()}
    wrong: list[str] = []

    def work() -> None:
        for name, data in FILES.items():
            if not np.array_equal(images.read(data), truth[name]):
                wrong.append(name)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_first_reads_may_come_from_many_threads(tmp_path: Path) -> None:
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data)
    code = """
        import sys
        from concurrent.futures import ThreadPoolExecutor
        from pathlib import Path
        from limner import images
        sys.setswitchinterval(1e-5)
        paths = sorted(Path(sys.argv[1]).iterdir())
        with ThreadPoolExecutor(8) as pool:
            print(sum(image.shape[2] for image in pool.map(images.read, paths)))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == str(3 * len(FILES)), done.stderr


def test_importing_is_light() -> None:
    code = (
        "import sys, limner.images; "
        "print([m for m in ('PIL', 'cv2', 'pillow_heif', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
