"""Colours of optimised pictures."""

from __future__ import annotations

import numpy as np
import pytest

from limner.errors import UnknownNameError
from limner.style import preset, stylize
from limner.style.colour import is_grey, luminance
from limner.style.encoder import random_encoder


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(0)
    content = np.repeat(np.repeat(rng.random((6, 8, 3)), 8, 0), 8, 1).astype(np.float32)
    style = np.repeat(np.repeat(rng.random((8, 6, 3)) ** 3, 8, 0), 8, 1).astype(np.float32)
    return content, style


def paint(pictures, colour):
    options = preset("default", size=64, levels=((1.0, 3),), colour=colour, start="content")
    encoder = random_encoder("vgg16")
    return stylize(*pictures, options=options, encoder=encoder, device="cpu")


def test_the_contents_colours_under_the_painted_luminance(pictures):
    plain, kept = paint(pictures, "style"), paint(pictures, "content")
    np.testing.assert_allclose(luminance(kept.pixels), luminance(plain.pixels), atol=1e-4)
    chroma = [p - luminance(p)[..., None] for p in (kept.pixels, pictures[0])]
    np.testing.assert_allclose(np.cross(*chroma), 0, atol=1e-4)
    assert kept.provenance["options"]["colour"] == "content"


@pytest.mark.parametrize("colour", ["moments", "histogram"])
def test_matching_changes_what_is_imitated(pictures, colour):
    plain, matched = paint(pictures, "style"), paint(pictures, colour)
    assert plain.losses[0]["content"] == pytest.approx(matched.losses[0]["content"])
    assert plain.losses[0]["style"] != pytest.approx(matched.losses[0]["style"], rel=1e-3)


def test_an_unknown_word_is_refused():
    with pytest.raises(UnknownNameError, match="histogram"):
        preset("default", colour="histgram")


def grey_of(picture):
    return np.repeat(luminance(picture)[..., None], 3, axis=2)


def test_a_grey_painting_gives_a_grey_picture(pictures):
    """Its luminance is what the costs asked for; the colours are none that it had."""
    content, style = pictures
    painted = paint((content, grey_of(style)), "style")
    assert float(np.ptp(painted.pixels, axis=2).max()) < 1e-6
    assert painted.losses == paint((content, grey_of(style)), "content").losses
    kept = paint((content, grey_of(style)), "content")  # whose colours are the content's
    assert float(np.ptp(kept.pixels, axis=2).max()) > 0.1
    assert float(np.ptp(paint(pictures, "style").pixels, axis=2).max()) > 0.1


def test_only_the_region_of_a_grey_painting_is_grey(pictures):
    content, style = pictures
    mask = np.zeros(content.shape[:2], np.float32)
    mask[:, : mask.shape[1] // 2] = 1
    options = preset("default", size=64, levels=((1.0, 1),), start="content")
    found = stylize(
        content,
        [grey_of(style), style],
        options=options,
        mask=mask,
        encoder=random_encoder("vgg16"),
        device="cpu",
    ).pixels
    spread, half = np.ptp(found, axis=2), found.shape[1] // 2
    assert spread[:, : half - 1].max() < 1e-6
    assert spread[:, half + 1 :].max() > 0.1


def test_below_half_strength_the_contents_colours_come_back(pictures):
    content, style = pictures
    options = preset("default", size=64, levels=((1.0, 1),), start="content", strength=0.0)
    encoder = random_encoder("vgg16")
    found = stylize(content, grey_of(style), options=options, encoder=encoder, device="cpu")
    assert float(np.ptp(found.pixels, axis=2).max()) > 0.1


def test_what_counts_as_grey():
    from skimage import data

    colours = np.float32(data.astronaut()[:64, :64] / 255)
    assert is_grey(grey_of(colours))
    assert is_grey(np.clip(grey_of(colours) + np.float32([0.004, 0, -0.004]), 0, 1))  # JPEG's
    assert not is_grey(colours)
    sepia = np.clip(grey_of(colours) * np.float32([1, 0.9, 0.8]), 0, 1)
    assert not is_grey(sepia)
