"""J without the deep layers that hardly count: values against the whole, and resuming."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from limner.style import preset, stylize
from limner.style.encoder import random_encoder
from limner.style.objective import Goal, Objective, style_targets
from limner.style.skim import EVERY, SkimmedObjective

GOAL = Goal(
    content_layers=(("relu1_2", 1.0),),
    style_layers=(("relu1_1", 1.0), ("relu2_1", 1.0), ("relu2_2", 1e-9), ("relu3_1", 1e-9)),
    alpha=0.7,
    beta=1.5,
    smoothness=3.0,
    content_kind="target",
    style_kind="target",
)


@pytest.fixture
def made():
    generator = torch.Generator().manual_seed(3)
    encoder = random_encoder("vgg16", seed=1).double()
    content, style, image = (torch.rand(1, 3, 40, 48, generator=generator).double() for _ in "csi")
    asked = []

    def build(goal):
        asked.append(tuple(tap for tap, _ in goal.style_layers))
        depth = encoder.cut(max(goal.taps, key=names.index))
        return Objective(depth, content, style_targets(depth, [style], [1], goal), goal)

    names = [layer.name for layer in encoder.trunk.layers]
    return build, names, image, asked


def test_what_is_left_out_is_small_and_its_last_cost_stands_in(made):
    build, names, image, asked = made
    whole, skimmed = build(GOAL), SkimmedObjective(GOAL, build, names, 1e-6)
    for call in range(EVERY + 2):
        picture = image * (1 - call / 100)
        want, want_slope = whole.evaluate(picture)
        terms, slope = skimmed.evaluate(picture)
        if call % EVERY == 0:
            assert terms == want
            assert torch.equal(slope, want_slope)
        assert terms.total == pytest.approx(want.total, rel=1e-6)
        assert terms.style == pytest.approx(want.style, rel=1e-6)
        assert set(terms.layers) == set(want.layers)
        assert torch.allclose(slope, want_slope, rtol=0, atol=1e-6 * float(want_slope.abs().max()))
    short = ("relu1_1", "relu2_1")
    assert asked == [("relu1_1", "relu2_1", "relu2_2", "relu3_1")] * 2 + [short]
    at_20 = build(replace(GOAL, style_layers=GOAL.style_layers[:2])).evaluate(picture)[1]
    assert torch.equal(slope, at_20)


def test_layers_that_count_are_never_left_out(made):
    build, names, image, asked = made
    heavy = replace(GOAL, style_layers=tuple((tap, 1e6) for tap, _ in GOAL.style_layers[:3]))
    whole, skimmed = build(heavy), SkimmedObjective(heavy, build, names, 1e-6)
    for _ in range(3):
        assert skimmed.evaluate(image)[0] == whole.evaluate(image)[0]
    assert len(asked) == 2


def test_nothing_above_the_content_layer_is_left_out(made):
    build, names, image, asked = made
    deep = replace(GOAL, content_layers=(("relu2_2", 1.0),))
    skimmed = SkimmedObjective(deep, build, names, 1e-6)
    skimmed.evaluate(image)
    skimmed.evaluate(image)
    assert asked[-1] == ("relu1_1", "relu2_1", "relu2_2")


def test_it_says_where_it_does_nothing():
    encoder = random_encoder("vgg16")
    picture = np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8)

    def remarks(**changes):
        options = preset("strokes", size=48, levels=((1.0, 1),), encoder="vgg16", **changes)
        return " ".join(
            stylize(picture, picture, options=options, encoder=encoder).provenance["remarks"]
        )

    assert "skim leaves none of them out" in remarks(skim=0.01)
    assert "skim" not in remarks()
    whole = (("relu1_1", 1.0),)
    assert "skim" not in remarks(skim=0.01, style_layers=whole, content_layers=whole)


def test_its_state_goes_on_where_it_was(made):
    build, names, image, _ = made
    first = SkimmedObjective(GOAL, build, names, 1e-6)
    first.evaluate(image)
    second = SkimmedObjective(GOAL, build, names, 1e-6)
    second.restore(first.state())
    for call in range(EVERY + 1):
        a, b = first.evaluate(image * (1 - call / 50)), second.evaluate(image * (1 - call / 50))
        assert a[0] == b[0]
        assert torch.equal(a[1], b[1])
