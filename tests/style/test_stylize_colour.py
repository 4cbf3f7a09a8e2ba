"""Colours of optimised pictures."""

from __future__ import annotations

import numpy as np
import pytest

from limner.errors import UnknownNameError
from limner.style import preset, stylize
from limner.style.colour import luminance
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
