"""Colours kept and matched, against what they must be."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage import exposure

from limner.errors import InputError, ShapeError
from limner.style import colour


def noise(seed, size=(40, 30), low=0.0, high=1.0):
    rng = np.random.default_rng(seed)
    return (low + (high - low) * rng.random((*size, 3))).astype(np.float32)


@given(seed=st.integers(0, 50))
def test_kept_colour_has_the_luminance_of_one_and_the_hue_of_the_other(seed):
    stylized, content = noise(seed), noise(seed + 1000)
    out = colour.keep_colour(stylized, content)
    assert out.min() >= 0
    assert out.max() <= 1
    np.testing.assert_allclose(colour.luminance(out), colour.luminance(stylized), atol=2e-6)
    chroma = [p - colour.luminance(p)[..., None] for p in (out, content)]
    # Same direction from grey, never longer.
    np.testing.assert_allclose(np.cross(*chroma), 0, atol=2e-6)
    sizes = [np.linalg.norm(c, axis=2) for c in chroma]
    assert (sizes[0] <= sizes[1] + 1e-5).all()


def test_kept_colour_is_not_desaturated_where_it_fits():
    content = noise(1, low=0.4, high=0.6)
    stylized = noise(2, low=0.4, high=0.6)
    out = colour.keep_colour(stylized, content)
    wanted = content + (colour.luminance(stylized) - colour.luminance(content))[..., None]
    np.testing.assert_allclose(out, wanted, atol=1e-6)


def test_kept_colour_agrees_with_the_standard_librarys_yiq():
    content, stylized = noise(1, (3, 3), 0.4, 0.6), noise(2, (3, 3), 0.4, 0.6)
    out = colour.keep_colour(stylized, content)
    for y in range(3):
        for x in range(3):
            got = colorsys.rgb_to_yiq(*out[y, x].tolist())
            bright = colorsys.rgb_to_yiq(*stylized[y, x].tolist())[0]
            hue = colorsys.rgb_to_yiq(*content[y, x].tolist())[1:]
            assert got == pytest.approx((bright, *hue), abs=0.006)  # its constants are rounded


def test_a_picture_keeps_its_own_colours():
    image = noise(3)
    np.testing.assert_allclose(colour.keep_colour(image, image), image, atol=1e-6)


@given(seed=st.integers(0, 50))
def test_matched_moments_are_those_of_the_reference(seed):
    mixing = np.random.default_rng(seed).random((3, 3)).astype(np.float32) / 3
    reference = noise(seed + 1, (25, 50)) @ mixing
    moved = colour._moved(noise(seed), reference).reshape(-1, 3).astype(np.float64)
    there = reference.reshape(-1, 3).astype(np.float64)
    np.testing.assert_allclose(moved.mean(0), there.mean(0), atol=1e-5)
    np.testing.assert_allclose(np.cov(moved.T, bias=True), np.cov(there.T, bias=True), atol=1e-5)


def test_matching_moments_to_oneself_changes_nothing():
    image = noise(4)
    np.testing.assert_allclose(colour.match_moments(image, image), image, atol=1e-4)


def test_matching_moments_moves_colours_least():
    """Of the maps with the wanted covariance (any rotation in between), none is shorter."""
    image, reference = noise(5, low=0.3, high=0.6), noise(6) @ np.eye(3, dtype=np.float32) * 0.5
    here = image.reshape(-1, 3).astype(np.float64)
    cost = ((colour._moved(image, reference).reshape(-1, 3) - here) ** 2).sum()
    a = np.linalg.cholesky(np.cov(here.T, bias=True))
    b = np.linalg.cholesky(np.cov(reference.reshape(-1, 3).T.astype(float), bias=True))
    rng = np.random.default_rng(0)
    for _ in range(50):
        turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        other = (here - here.mean(0)) @ (b @ turn @ np.linalg.inv(a)).T
        other += reference.reshape(-1, 3).mean(0)
        assert cost <= ((other - here) ** 2).sum() * (1 + 1e-6)


@pytest.mark.parametrize("which", ["image", "reference"])
def test_a_single_colour_can_be_matched(which):
    flat, other = np.full((9, 9, 3), 0.25, np.float32), noise(7, (9, 9))
    image, reference = (flat, other) if which == "image" else (other, flat)
    for match in (colour.match_moments, colour.match_histogram):
        out = match(image, reference)
        assert np.isfinite(out).all()
        if which == "reference":
            np.testing.assert_allclose(out, 0.25, atol=2e-3)
        else:
            assert np.ptp(out.reshape(-1, 3), axis=0).max() < 1e-6


def test_histograms_agree_with_scikit_image():
    rng = np.random.default_rng(8)
    image = (rng.random((60, 50, 3)) ** 2 * 255).astype(np.uint8)
    reference = (rng.random((70, 40, 3)) ** 0.5 * 255).astype(np.uint8)
    out = colour.match_histogram(*(p.astype(np.float32) / 255 for p in (image, reference)))
    wanted = exposure.match_histograms(image, reference, channel_axis=-1) / 255
    # It puts a value's rank at the end of those that share it, we in the middle.
    assert np.abs(out - wanted).mean() < 0.01
    assert np.abs(out - wanted).max() < 0.1  # where a seventeenth of the picture shares a value


def test_histograms_without_ties_are_the_sorted_values():
    image, reference = noise(9, (50, 50)), noise(10, (50, 50)) ** 3
    out = colour.match_histogram(image, reference)
    for c in range(3):
        got = np.sort(out[..., c].ravel())
        np.testing.assert_allclose(got, np.sort(reference[..., c].ravel()), atol=2e-3)
        assert (np.diff(out[..., c].ravel()[np.argsort(image[..., c].ravel())]) >= -1e-6).all()


def test_what_is_recoloured_when():
    style, content = noise(11), noise(12, low=0.5, high=0.8)
    assert colour.recolour_style(style, content, "style") is style
    assert colour.recolour_style(style, content, "content") is style
    for how, match in (("moments", colour.match_moments), ("histogram", colour.match_histogram)):
        assert np.array_equal(colour.recolour_style(style, content, how), match(style, content))
        assert np.array_equal(colour.recolour_result(style, content, how), match(style, content))
    assert colour.recolour_result(style, content, "style") is style
    kept = colour.keep_colour(style, content)
    assert np.array_equal(colour.recolour_result(style, content, "content"), kept)


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="'histogram'"):
        colour.recolour_result(noise(1), noise(1), "histgram")
    with pytest.raises(ShapeError, match="one shape"):
        colour.keep_colour(noise(1), noise(1, (5, 5)))
    with pytest.raises(ShapeError):
        colour.match_moments(noise(1)[..., 0], noise(1))
    bad = noise(1)
    bad[0, 0, 0] = np.nan
    with pytest.raises(InputError, match="outside"):
        colour.match_histogram(noise(1), bad)
