"""`limner style --fast`: what it writes and says. Tiny networks stand in for the real ones."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image

from limner.cli import output, style_fast
from limner.errors import InputError, ShapeError, UnknownNameError
from limner.images import read, read_float
from limner.style.fast_paint import FastOptions, FastPainter, resized

sys.path.insert(0, str(Path(__file__).parents[1] / "style"))
import toy_stylizers as toys


@pytest.fixture
def negative(tmp_path):
    return str(toys.inverting(tmp_path / "negative.onnx", 1.0))


@pytest.fixture
def photo(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "photo.png"
    Image.fromarray(rng.integers(0, 255, (40, 60, 3), dtype=np.uint8)).save(path)
    return str(path)


@pytest.fixture
def as_json(monkeypatch):
    monkeypatch.setattr(output.STATE, "json", True)


def test_a_photo(tmp_path, negative, photo, capsys):
    out = tmp_path / "out.png"
    style_fast.fast([photo, negative], str(out), options=FastOptions())
    assert np.abs(read(out).astype(int) - (255 - read(photo).astype(int))).max() <= 1
    assert "60 x 40 px" in capsys.readouterr().out
    said = json.loads(Path(f"{out}.json").read_text())
    assert said["options"]["strength"] == 1.0
    assert said["networks"].keys() == {"negative.onnx"}
    assert [i["name"] for i in said["inputs"]] == ["photo.png", "negative.onnx"]


def test_sixteen_bits_and_json(tmp_path, negative, photo, capsys, as_json):
    out = tmp_path / "out.png"
    style_fast.fast([photo, negative], str(out), options=FastOptions(size_px=45), bits=16)
    document = json.loads(capsys.readouterr().out)
    assert document["size_hw"] == [30, 45]
    assert document["picture"] == str(out)
    assert read_float(out).shape == (30, 45, 3)


def test_a_folder_of_photos_of_any_size(tmp_path, negative, capsys):
    folder = tmp_path / "photos"
    (folder / "below").mkdir(parents=True)
    for name, size in (("a.jpg", (30, 20)), ("a.png", (20, 30)), ("below/b.bmp", (9, 9))):
        Image.new("RGB", size, (10, 20, 30)).save(folder / name)
    (folder / "broken.jpg").write_bytes(b"no photo")
    out = tmp_path / "painted"
    style_fast.fast([str(folder), negative], str(out), options=FastOptions())
    found = sorted(str(p.relative_to(out)) for p in out.rglob("*.*") if p.suffix != ".json")
    assert found == ["a.jpg", "a.png", "below/b.png"]
    said = capsys.readouterr()
    assert "3 of 4 photos" in said.out
    assert "broken.jpg" in said.err
    for painted in ("a.jpg", "a.png", "below/b.bmp"):
        (folder / painted).unlink()
    with pytest.raises(typer.Exit) as stopped:
        style_fast.fast([str(folder), negative], str(out), options=FastOptions())
    assert stopped.value.exit_code == output.ERROR, "nothing could be painted"


def test_an_animation(tmp_path, negative, capsys, as_json):
    rng = np.random.default_rng(1)
    wide = rng.integers(0, 255, (48, 80, 3), dtype=np.uint8)
    frames = [Image.fromarray(wide[:, i : i + 64]) for i in range(4)]
    source = tmp_path / "moving.png"
    frames[0].save(source, save_all=True, append_images=frames[1:], duration=50)
    out = tmp_path / "out.gif"
    style_fast.fast([str(source), negative], str(out), options=FastOptions())
    document = json.loads(capsys.readouterr().out)
    assert document["frames"] == 4
    assert 0 <= document["flicker"] <= document["flicker_frame_by_frame"] + 1e-3
    with Image.open(out) as picture:
        assert picture.n_frames == 4
        assert picture.info["duration"] == 50


def test_a_folder_of_frames(tmp_path, negative, photo, capsys):
    folder = tmp_path / "frames"
    folder.mkdir()
    for i in range(3):
        Image.open(photo).save(folder / f"{i}.png")
    style_fast.fast([str(folder), negative], str(tmp_path / "o"), options=FastOptions(), steady=0.5)
    assert len(list((tmp_path / "o").iterdir())) == 3
    assert "Flicker" in capsys.readouterr().out


def test_masks_send_styles_where_they_belong(tmp_path, negative, photo):
    double = str(
        toys.save(
            tmp_path / "same.onnx",
            [toys.helper.make_node("Identity", ["picture"], ["out"])],
            {},
        )
    )
    mask = np.zeros((40, 60, 3), np.uint8)
    mask[:, 30:] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    options = FastOptions(mask=str(tmp_path / "mask.png"))
    content = read_float(photo)
    out = FastPainter([negative, double], options=options)(content)
    np.testing.assert_allclose(out[:, :26], 1 - content[:, :26], atol=1e-3)
    np.testing.assert_allclose(out[:, 34:], content[:, 34:], atol=1e-3)
    swapped = FastOptions(mask=options.mask, mask_colours=("white", "black"))
    out = FastPainter([negative, double], options=swapped)(content)
    np.testing.assert_allclose(out[:, :26], content[:, :26], atol=1e-3)
    larger = FastOptions(mask=options.mask, size_px=90)
    assert FastPainter([negative, double], options=larger)(content).shape == (60, 90, 3)


def test_colour_of_the_content(negative, photo):
    from limner.style.colour import keep_colour

    content = read_float(photo)
    out = FastPainter([negative], options=FastOptions(colour="content"))(content)
    np.testing.assert_allclose(out, keep_colour(1 - content, content), atol=1e-5)


def test_resizing_keeps_proportions():
    image = np.random.default_rng(0).random((40, 60, 3), dtype=np.float32)
    assert resized(image, None) is image
    assert resized(image, 60) is image
    assert resized(image, 30).shape == (20, 30, 3)
    assert resized(image, 120).shape == (80, 120, 3)
    assert resized(image[:1], 30).shape == (1, 30, 3)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"strength": 1.2}, "strength"),
        ({"strength": float("nan")}, "strength"),
        ({"size_px": 5}, "between 32"),
        ({"mask_colours": ("red",)}, "no mask"),
    ],
)
def test_options_are_checked(values, words):
    with pytest.raises(InputError, match=words):
        FastOptions(**values)


def test_what_does_not_fit_is_refused(tmp_path, negative, photo):
    with pytest.raises(InputError, match="style is needed"):
        FastPainter([])
    with pytest.raises(InputError, match="Only paintings are blended"):
        FastPainter([photo, "starry"])
    with pytest.raises(UnknownNameError, match="starry"):
        FastPainter(["stary"])
    with pytest.raises(InputError, match="--steady"):
        style_fast.fast(
            [photo, negative], str(tmp_path / "o.png"), options=FastOptions(), steady=0.5
        )
    with pytest.raises(InputError, match="suffix"):
        style_fast.fast([photo, negative], str(tmp_path / "o.gif"), options=FastOptions())
    Image.new("RGB", (9, 9)).save(tmp_path / "m.png")
    with pytest.raises(InputError, match="1 colours"):
        FastPainter([negative, negative], options=FastOptions(mask=str(tmp_path / "m.png")))
    with pytest.raises(InputError, match="cannot be used together"):
        FastPainter([negative], shares=[1], options=FastOptions(mask=str(tmp_path / "m.png")))
    with pytest.raises(ShapeError):
        FastPainter([negative])(np.zeros((5, 5), np.float32))
