"""Tiled costs and gradients against the untiled ones."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from limner.style.encoder import random_encoder
from limner.style.objective import Goal, Objective, style_targets
from limner.style.tiling import TiledObjective, tiled_style_targets, tiles_of


def goal(content, styles, **changes):
    chosen = {
        "content_layers": ((content, 2.0),),
        "style_layers": tuple((s, 1.0 + i) for i, s in enumerate(styles)),
        "alpha": 0.7,
        "beta": 30.0,
        "smoothness": 2.0,
        "content_kind": "target",
        "style_kind": "target",
    }
    return Goal(**{**chosen, **changes})


VGG = ("relu2_2", ["relu1_1", "relu2_1", "relu3_1"])
ALEX = ("relu2", ["relu1", "conv3"])


@pytest.mark.parametrize(
    ("architecture", "layers", "changes"),
    [
        ("vgg16", VGG, {}),
        ("vgg16", VGG, {"style_kind": "chw", "content_kind": "mean"}),
        ("vgg19", VGG, {"style_kind": "half", "content_kind": "half_sum"}),
        ("vgg16", VGG, {"style_kind": "wasserstein"}),
        ("alexnet", ALEX, {}),
    ],
)
@pytest.mark.parametrize("border", ["zero", "replicate", "replicate_all"])
def test_tiles_change_nothing(architecture, layers, changes, border):
    encoder = random_encoder(architecture, border=border).double()
    encoder = encoder.cut(layers[1][-1])
    wanted = goal(*layers, **changes)
    generator = torch.Generator().manual_seed(1)
    size = (75, 91) if architecture != "alexnet" else (139, 155)
    content, style, image = (
        torch.rand(1, 3, *size, generator=generator, dtype=torch.float64) for _ in range(3)
    )
    targets = style_targets(encoder, [style, content], [2, 1], wanted)
    tiled_targets = tiled_style_targets(encoder, [style, content], [2, 1], wanted, tile=24)
    for tap, known in targets.items():
        torch.testing.assert_close(tiled_targets[tap].moments, known.moments)
        torch.testing.assert_close(tiled_targets[tap].mean, known.mean)
        assert tiled_targets[tap].positions == known.positions
    whole, gradient = Objective(encoder, content, targets, wanted).evaluate(image)
    parts, tiled = TiledObjective(encoder, content, targets, wanted, tile=24).evaluate(image)
    assert parts.total == pytest.approx(whole.total, rel=1e-9)
    assert parts.layers == pytest.approx(whole.layers, rel=1e-9)
    torch.testing.assert_close(tiled, gradient, rtol=1e-8, atol=1e-12 + 1e-9 * gradient.abs().max())


def test_in_single_precision_to_1e_4():
    encoder = random_encoder("vgg16").cut("relu3_1")
    wanted = goal(*VGG)
    generator = torch.Generator().manual_seed(1)
    content, style, image = (torch.rand(1, 3, 80, 112, generator=generator) for _ in range(3))
    targets = style_targets(encoder, [style], [1], wanted)
    _, gradient = Objective(encoder, content, targets, wanted).evaluate(image)
    _, tiled = TiledObjective(encoder, content, targets, wanted, tile=32).evaluate(image)
    assert float((tiled - gradient).norm() / gradient.norm()) < 1e-4


@settings(max_examples=200)
@given(
    st.integers(1, 300),
    st.integers(1, 300),
    st.integers(1, 200),
    st.sampled_from([1, 4, 16]),
    st.integers(0, 6),
)
def test_owned_parts_cover_the_picture_once(height, width, size, stride, halo):
    seen = torch.zeros(height, width, dtype=torch.int)
    for tile in tiles_of(height, width, size=size, halo=halo * stride, stride=stride):
        y0, y1, x0, x1 = tile.owned
        seen[y0:y1, x0:x1] += 1
        sy0, sy1, sx0, sx1 = tile.seen
        assert 0 <= sy0 <= y0
        assert y1 <= sy1 <= height
        assert 0 <= sx0 <= x0
        assert x1 <= sx1 <= width
        assert y0 % stride == x0 % stride == sy0 % stride == sx0 % stride == 0
        assert y1 - y0 >= stride or y0 == 0
        assert x1 - x0 >= stride or x0 == 0
    assert torch.equal(seen, torch.ones_like(seen))


def test_a_tile_of_no_size_is_refused():
    with pytest.raises(ValueError, match="tile must be at least 1 pixel, got 0"):
        tiles_of(10, 10, size=0, halo=0, stride=1)
