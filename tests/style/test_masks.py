"""Masks: which style goes where."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from limner.errors import ImageError, InputError, ShapeError
from limner.style import masks

BLACK, RED, WHITE = (0, 0, 0), (255, 0, 0), (255, 255, 255)


def thirds(size=(60, 90)):
    picture = np.zeros((*size, 3), np.uint8)
    picture[:, size[1] // 3 :] = RED
    picture[:, 2 * size[1] // 3 :] = WHITE
    return picture


def encoded(picture, kind, **options):
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, kind, **options)
    return buffer.getvalue()


def test_one_region_per_colour_from_dark_to_light():
    found = masks.read_masks(encoded(thirds(), "PNG"), count=3)
    assert found.colours == (BLACK, RED, WHITE)
    for k in range(3):
        wanted = np.zeros((60, 90))
        wanted[:, 30 * k : 30 * k + 30] = 1
        assert np.array_equal(found.shares[k], wanted)


@pytest.mark.parametrize("quality", [30, 60, 95])
def test_a_jpeg_mask_has_the_same_regions(quality):
    found = masks.read_masks(encoded(thirds(), "JPEG", quality=quality), count=3)
    exact = masks.read_masks(thirds())
    assert np.abs(found.shares - exact.shares).mean() < 0.02


def test_smoothed_edges_are_no_regions():
    large = Image.fromarray(thirds((600, 900))).rotate(20, fillcolor=WHITE)
    smooth = np.asarray(large.resize((180, 120), Image.Resampling.BICUBIC))
    assert len(np.unique(smooth.reshape(-1, 3), axis=0)) > 20
    assert masks.read_masks(smooth).colours == (BLACK, RED, WHITE)


def test_a_small_region_counts():
    picture = thirds()
    picture[10:20, 70:80] = (0, 0, 255)
    found = masks.read_masks(picture, count=4)
    assert found.shares[found.colours.index((0, 0, 255))].sum() == 100


def test_colours_in_the_order_asked_for():
    found = masks.read_masks(thirds(), colours=["white", "#000", RED])
    assert found.colours == (WHITE, BLACK, RED)
    assert found.shares[0, 0, -1] == found.shares[1, 0, 0] == 1


def test_a_mask_in_grey_or_with_alpha():
    grey = np.zeros((10, 10), np.uint8)
    grey[5:] = 255
    assert masks.read_masks(grey, count=2).colours == (BLACK, WHITE)
    clear = np.dstack([np.zeros((10, 10, 3), np.uint8), grey])
    assert masks.read_masks(clear, count=2).colours == (BLACK, WHITE)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"count": 2}, r"3 colours \(#000000, #ff0000, #ffffff\), but there are 2 styles"),
        ({"colours": ["red", "white"]}, "33% of .* none of the colours"),
        ({"colours": ["red", "white", "black", "blue"]}, "no pixel of the colour #0000ff"),
        ({"colours": ["red", "#ff0000"]}, "must differ"),
        ({"colours": ["rouge"]}, "'#rrggbb'"),
        ({"colours": ["#12345"]}, "'#rrggbb'"),
        ({"colours": [(0, 0, 256)]}, "'#rrggbb'"),
        ({"tolerance": 0}, "tolerance"),
        ({"tolerance": float("nan")}, "tolerance"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(options, words):
    with pytest.raises(InputError, match=words):
        masks.read_masks(thirds(), **options)


@pytest.mark.parametrize("shape", [(8, 8), (2, 8, 8), (8, 8, 3)])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_a_number_is_refused(shape, value):
    array = np.full(shape, 0.5, np.float32)
    array.flat[5] = value
    with pytest.raises(InputError, match="NaN"):
        masks.read_masks(array)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.full((2, 4, 4), -0.1), "negative"),
        (np.full((4, 4), 1.5), r"\[0, 1\]"),
        (np.zeros((2, 4, 4)), "no mask"),
    ],
)
def test_shares_that_make_no_masks_are_refused(array, words):
    with pytest.raises(InputError, match=words):
        masks.from_shares(array)


def test_shapes_are_checked():
    with pytest.raises(ShapeError):
        masks.from_shares(np.zeros((0, 4, 4)))
    with pytest.raises(ShapeError):
        masks.Masks(np.ones((4, 4), np.float32))
    with pytest.raises(InputError, match="sum to 1"):
        masks.Masks(np.ones((2, 4, 4), np.float32))
    with pytest.raises(ImageError):
        masks.read_masks(b"no picture")


@given(
    height=st.integers(1, 40), width=st.integers(1, 40), seed=st.integers(0, 9), k=st.integers(1, 4)
)
def test_resized_masks_still_sum_to_one(height, width, seed, k):
    shares = np.random.default_rng(seed).random((k, 20, 24)) + 0.01
    sized = masks.from_shares(shares).at(height, width)
    assert sized.shape == (k, height, width)
    np.testing.assert_allclose(sized.sum(0), 1, atol=1e-5)
    assert sized.min() >= 0


def test_a_taps_cell_gets_the_mean_of_what_it_covers():
    found = masks.read_masks(thirds((64, 96)))
    wanted = found.shares.reshape(3, 8, 8, 12, 8).mean((2, 4))
    np.testing.assert_allclose(found.at(8, 12), wanted, atol=1e-6)


def test_blended_pictures_lie_where_their_masks_are():
    found = masks.read_masks(thirds())
    pictures = [np.full((60, 90, 3), v, np.float32) for v in (0.1, 0.5, 0.9)]
    out = found.blend(pictures)
    assert np.allclose(out[:, :30], 0.1)
    assert np.allclose(out[:, 30:60], 0.5)
    assert np.allclose(out[:, 60:], 0.9)
    soft = found.softened(6).blend(pictures)
    assert np.abs(np.diff(soft, axis=1)).max() < 0.1
    assert np.allclose(soft[:, :18], 0.1, atol=1e-2)
    assert found.softened(0) is found
    with pytest.raises(ShapeError, match="one for each mask"):
        found.blend(pictures[:2])
    with pytest.raises(InputError, match="radius_px"):
        found.softened(-1)
