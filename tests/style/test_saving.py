"""What is written: read back by Pillow, OpenCV and by limner itself."""

from __future__ import annotations

import io
import json

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from limner import images
from limner.errors import ImageError, InputError
from limner.style import provenance, saving

NOTE = {
    "kind": provenance.KIND,
    "version": provenance.VERSION,
    "text": "Zürich 東京",
    "n": [1, 2.5],
}


@pytest.fixture
def pixels():
    return np.random.default_rng(1).random((21, 34, 3), dtype=np.float32)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff", ".jpg", ".jpeg", ".webp"])
def test_eight_bits(pixels, tmp_path, suffix):
    path = tmp_path / f"out{suffix}"
    saving.save(path, pixels, NOTE, quality=100)
    found = images.read(path)
    assert found.shape == (21, 34, 3)
    limit = 30 if suffix in (".jpg", ".jpeg") else 0
    assert np.abs(found.astype(int) - np.rint(pixels * 255)).max() <= limit
    assert provenance.read(path) == NOTE
    beside = tmp_path / f"out{suffix}.json"
    assert json.loads(beside.read_text()) == NOTE
    beside.unlink()
    assert provenance.read(path) == NOTE  # it is in the picture, too
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits(pixels, tmp_path, suffix):
    path = tmp_path / f"out{suffix}"
    saving.save(path, pixels, NOTE, bits=16)
    np.testing.assert_allclose(images.read_float(path), pixels, atol=0.51 / 65535)
    deep = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert deep.dtype == np.uint16
    np.testing.assert_array_equal(deep[..., ::-1], np.rint(pixels * np.float32(65535)))
    (tmp_path / f"out{suffix}.json").unlink()
    assert provenance.read(path) == NOTE


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
def test_alpha_is_kept(pixels, tmp_path, suffix, bits):
    if suffix == ".webp" and bits == 16:
        pytest.skip("WebP has 8 bits")
    content = tmp_path / "content.png"
    alpha = np.tile(np.linspace(0, 255, 68).round(), (42, 1)).astype(np.uint8)
    rgba = np.dstack([np.full((42, 68, 3), 90, np.uint8), alpha])
    Image.fromarray(rgba).save(content)
    kept = saving.keepsakes(content)
    np.testing.assert_allclose(kept.alpha * 255, alpha, atol=1e-4)
    path = tmp_path / f"out{suffix}"
    saving.save(path, pixels, NOTE, kept=kept, bits=bits, quality=100)
    if bits == 8:  # OpenCV multiplies the colours of such a TIFF by alpha
        with Image.open(path) as image:
            found = np.asarray(image)[..., [2, 1, 0, 3]]
    else:
        found = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert found.shape == (21, 34, 4)
    top = 65535 if bits == 16 else 255
    wanted = alpha.reshape(21, 2, 34, 2).mean(axis=(1, 3)) / 255
    np.testing.assert_allclose(found[..., 3] / top, wanted, atol=1.01 / 255)
    shown = found[..., 3] > 0.5 * top
    np.testing.assert_allclose((found[..., 2::-1] / top)[shown], pixels[shown], atol=1.01 / 255)


def test_an_opaque_picture_gets_no_alpha(pixels, tmp_path):
    content = tmp_path / "content.png"
    Image.fromarray(np.full((5, 5, 4), 255, np.uint8)).save(content)
    assert saving.keepsakes(content).alpha is None
    assert saving.keepsakes(pixels).alpha is None


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_the_date_is_kept_and_the_orientation_is_not(pixels, tmp_path, suffix):
    content = tmp_path / "content.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8769)[0x9003] = "2019:07:14 10:20:30"
    Image.fromarray(np.zeros((8, 12, 3), np.uint8)).save(content, exif=exif)
    kept = saving.keepsakes(content)
    assert kept.date == "2019:07:14 10:20:30"
    path = tmp_path / f"out{suffix}"
    saving.save(path, pixels, NOTE, kept=kept)
    with Image.open(path) as image:
        found = image.getexif()
        dates = (found.get_ifd(0x8769).get(0x9003), found.get(0x0132))
        assert kept.date in dates
        assert found.get(0x0112, 1) == 1
        assert image.size == (34, 21)


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_the_colours_are_said_to_be_srgb(pixels, tmp_path, suffix):
    saving.save(tmp_path / f"out{suffix}", pixels, NOTE)
    with Image.open(tmp_path / f"out{suffix}") as image:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
        assert "sRGB" in ImageCms.getProfileDescription(profile)


def test_targets_are_refused_before_the_work(pixels, tmp_path):
    for name, bits in {"a.gif": 8, "a": 8, "a.jpg": 16, "a.webp": 16, "a.png": 12}.items():
        with pytest.raises(InputError):
            saving.check_target(tmp_path / name, bits=bits)
    with pytest.raises(InputError, match="folder does not exist"):
        saving.check_target(tmp_path / "none" / "a.png")
    with pytest.raises(InputError, match="quality must be"):
        saving.save(tmp_path / "a.jpg", pixels, NOTE, quality=0)


def test_a_full_disk_does_not_lose_the_picture(pixels, tmp_path, monkeypatch):
    full, spare = tmp_path / "full", tmp_path / "spare"
    full.mkdir()
    spare.mkdir()
    write = saving.write_whole

    def refuse(path, data):
        if path.parent == full:
            raise InputError(f"{path} cannot be written: no space left on device.")
        write(path, data)

    monkeypatch.setattr(saving, "write_whole", refuse)
    monkeypatch.setattr(saving.tempfile, "gettempdir", lambda: str(spare))
    place = saving.save_somewhere(full / "out.png", pixels, NOTE)
    assert place == spare / "out.png"
    assert provenance.read(place) == NOTE
    monkeypatch.setattr(saving.tempfile, "gettempdir", lambda: str(full))
    monkeypatch.setattr(saving.Path, "home", lambda: full)
    with pytest.raises(InputError, match="no space left"):
        saving.save_somewhere(full / "out.png", pixels, NOTE)


def test_pictures_without_provenance(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(path)
    with pytest.raises(InputError, match="does not say how it was made"):
        provenance.read(path)
    (tmp_path / "photo.png.json").write_text("{}")
    with pytest.raises(InputError, match="does not say how it was made"):
        provenance.read(path)
    (tmp_path / "photo.png.json").write_text(json.dumps({**NOTE, "version": 99}))
    with pytest.raises(InputError, match="another version"):
        provenance.read(path)
    with pytest.raises(ImageError):
        provenance.read(tmp_path / "none.png")


def test_inputs_that_changed_are_refused(tmp_path):
    import hashlib

    path = tmp_path / "a.png"
    path.write_bytes(b"one")
    known = {"name": "a.png", "path": str(path), "sha256": hashlib.sha256(b"one").hexdigest()}
    assert provenance.inputs_of({"inputs": [known]}) == [path]
    path.write_bytes(b"two")
    with pytest.raises(InputError, match="is not the file any more"):
        provenance.inputs_of({"inputs": [known]})
    path.unlink()
    with pytest.raises(InputError, match="not there any more"):
        provenance.inputs_of({"inputs": [known]})
    with pytest.raises(InputError, match="was not a file"):
        provenance.inputs_of({"inputs": [{"name": "array"}]})
