"""Contact sheets: what varies in each, and that nothing else does."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from limner.errors import InputError, UnknownNameError
from limner.style import preset, sheets
from limner.style.encoder import random_encoder

OPTIONS = preset("default", size=64, levels=((1.0, 2),), encoder="vgg16")


@pytest.fixture(scope="module")
def pictures():
    random = np.random.default_rng(4)
    return [random.integers(0, 256, (48, 64, 3), dtype=np.uint8) for _ in range(2)]


def test_only_the_named_choice_varies():
    depth = [o for _, o in sheets.variants("depth", OPTIONS)]
    assert [o.content_layers[0][0] for o in depth] == [f"conv{i}_2" for i in range(1, 6)]
    assert {replace(o, content_layers=OPTIONS.content_layers) for o in depth} == {OPTIONS}
    layers = [o for _, o in sheets.variants("layers", OPTIONS)]
    assert [len(o.style_layers) for o in layers] == [1, 2, 3, 4, 5]
    assert [sum(w for _, w in o.style_layers) for o in layers] == pytest.approx([1] * 5)
    assert {replace(o, style_layers=OPTIONS.style_layers) for o in layers} == {OPTIONS}
    beta = [o.style_weight for _, o in sheets.variants("beta", OPTIONS)]
    steps = [b / a for a, b in itertools.pairwise(beta)]
    assert steps == pytest.approx([steps[0]] * 4)
    assert beta[2] == OPTIONS.beta
    sizes = [o.size for _, o in sheets.variants("sizes", replace(OPTIONS, size=2048))]
    assert sizes == [256, 512, 1024, 2048]
    with pytest.raises(UnknownNameError, match="depth, layers, beta, sizes, got 'alpha'"):
        sheets.variants("alpha", OPTIONS)


def test_a_sheet_shows_its_pictures(pictures):
    calls = []
    sheet = sheets.style_sheet(
        *("depth", pictures[0], pictures[1]),
        options=OPTIONS,
        encoder=random_encoder("vgg16"),
        on_step=calls.append,
    )
    assert len(calls) == 5 * 2
    assert [t.label for t in sheet.tiles] == [f"conv{i}_2" for i in range(1, 6)]
    for tile in sheet.tiles:
        assert tile.image.shape == (48, 64, 3)
        used = tile.to_json()["provenance"]["encoder"]["content_layers"]
        assert used == [[tile.label, 1.0]]
    wide, tall = 300, 225
    places = [(x, y) for y in (120, 120 + tall + 50) for x in range(36, 36 + 4 * 320, 320)]
    shown = [*pictures, *(t.image for t in sheet.tiles)]
    for (x, y), picture in zip(places, shown, strict=False):
        found = sheet.image[y : y + tall, x : x + wide]
        for channel in range(3):
            assert found[..., channel].mean() == pytest.approx(picture[..., channel].mean(), abs=2)
    empty = sheet.image[120 + tall + 50 :, 36 + 3 * 320 : 36 + 3 * 320 + wide]
    assert (empty < 128).any(), "the explanation stands in the empty place"


def test_a_start_picture_is_refused(pictures):
    with pytest.raises(InputError, match="not with a picture"):
        sheets.style_sheet("beta", *pictures, options=replace(OPTIONS, start="picture"))
