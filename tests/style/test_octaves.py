"""Costs at several sizes of one picture: values, slopes, tiles."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from limner.errors import UnknownNameError
from limner.style.encoder import Encoder, random_encoder
from limner.style.losses import content_cost, statistics, style_cost, total_variation
from limner.style.objective import Goal, Objective, style_targets
from limner.style.octaves import Costing, OctaveObjective, goals_by_octave, shrink, spread
from limner.style.taps import resolve_tap, resolve_weighted, split_octave
from limner.style.tiling import TiledObjective, tiled_style_targets

GOAL = Goal(
    content_layers=(("relu2_1", 1.0), ("relu2_2/2", 0.5)),
    style_layers=(("relu1_1", 0.5), ("relu2_1/2", 2.0), ("relu1_2/4", 1.0)),
    alpha=0.7,
    beta=1.5,
    smoothness=3.0,
    content_kind="target",
    style_kind="covariance",
)


def pictures() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    sizes = ((50, 62), (44, 40), (50, 62))  # no multiple of 4: the rest is left out
    content, style, image = (torch.rand(1, 3, *hw, generator=generator).double() for hw in sizes)
    return content, style, image


def objective(encoder: Encoder, content: torch.Tensor, style: torch.Tensor, tile: int) -> Costing:
    def build(octave: int, goal: Goal) -> Costing:
        small, painting = shrink(content, octave), shrink(style, octave)
        if not tile:
            return Objective(encoder, small, style_targets(encoder, [painting], [1], goal), goal)
        targets = tiled_style_targets(encoder, [painting], [1], goal, tile=tile)
        return TiledObjective(encoder, small, targets, goal, tile=tile)

    return OctaveObjective(GOAL, build)


def by_hand(
    encoder: Encoder, content: torch.Tensor, style: torch.Tensor, image: torch.Tensor
) -> torch.Tensor:
    def seen(picture: torch.Tensor, tap: str) -> torch.Tensor:
        layer, _, octave = tap.partition("/")
        k = int(octave or 1)
        small = functional.avg_pool2d(picture, k) if k > 1 else picture
        return encoder.features(small, [layer])[layer]

    total = GOAL.smoothness * total_variation(image)
    for tap, weight in GOAL.content_layers:
        cost = content_cost(seen(image, tap), seen(content, tap), kind="target")
        total = total + GOAL.alpha * weight * cost
    for tap, weight in GOAL.style_layers:
        found, wanted = (statistics(seen(p, tap)) for p in (image, style))
        total = total + GOAL.beta * weight * style_cost(found, wanted, kind="covariance")
    return total


@pytest.mark.parametrize("tile", [0, 16])
def test_cost_and_slope_are_those_of_the_formula_written_out(tile: int) -> None:
    encoder = random_encoder("vgg16", deepest="relu2_2", pooling="average").double()
    content, style, image = pictures()
    terms, slope = objective(encoder, content, style, tile).evaluate(image)
    image.requires_grad_(True)
    total = by_hand(encoder, content, style, image)
    (wanted,) = torch.autograd.grad(total, image)
    assert terms.total == pytest.approx(float(total.detach()), rel=1e-9)
    assert float((slope - wanted).norm() / wanted.norm()) < 1e-9
    assert set(terms.layers) == {
        "content relu2_1",
        "content relu2_2/2",
        "style relu1_1",
        "style relu2_1/2",
        "style relu1_2/4",
    }


@pytest.mark.parametrize(("octave", "size"), [(1, (5, 6)), (2, (6, 8)), (2, (7, 9)), (4, (11, 13))])
def test_spread_is_the_adjoint_of_shrink(octave: int, size: tuple[int, int]) -> None:
    image = torch.rand(1, 3, *size, dtype=torch.float64)
    small = shrink(image, octave)
    slope = torch.rand_like(small)
    there = (small * slope).sum()
    back = (image * spread(slope, octave, size)).sum()
    assert float(there) == pytest.approx(float(back), rel=1e-12)


def test_each_octave_has_its_own_layers_and_no_smoothness() -> None:
    parts = goals_by_octave(GOAL)
    assert list(parts) == [1, 2, 4]
    assert parts[2].content_layers == (("relu2_2", 0.5),)
    assert parts[4].content_layers == ()
    assert parts[4].style_layers == (("relu1_2", 1.0),)
    assert all(part.smoothness == 0 for part in parts.values())


def test_names_with_an_octave() -> None:
    assert split_octave("relu3_1/4") == ("relu3_1", 4)
    assert split_octave(7) == ("7", 1)
    assert resolve_tap("7/2", "vgg19") == "conv2_2/2"
    assert resolve_weighted((("conv3_4/2", 1.0),), "vgg16") == (("conv3_3/2", 1.0),)
    with pytest.raises(UnknownNameError, match="/2, /4 or /8"):
        split_octave("relu3_1/3")
    with pytest.raises(UnknownNameError, match="it has conv1_1"):
        resolve_tap("relu9_1/2", "vgg19")
