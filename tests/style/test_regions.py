"""Masks in the optimiser: each style answers for its own part of the picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from limner.errors import InputError, ShapeError
from limner.style import preset, stylize
from limner.style.encoder import random_encoder
from limner.style.losses import statistics
from limner.style.masks import Masks, from_shares
from limner.style.objective import Goal, Objective, features, style_targets
from limner.style.regions import Areas, regional, tap_sizes
from limner.style.tiling import TiledObjective, tiled_style_targets

LAYERS = (("relu1_1", 1.0), ("relu2_1", 2.0), ("relu3_1", 0.5))


def goal(**changes):
    chosen = {
        "content_layers": (("relu2_2", 2.0),),
        "style_layers": LAYERS,
        "alpha": 0.7,
        "beta": 30.0,
        "smoothness": 2.0,
        "content_kind": "target",
        "style_kind": "target",
    }
    return Goal(**{**chosen, **changes})


def pictures(count, size=(64, 96)):
    generator = torch.Generator().manual_seed(3)
    return [torch.rand(1, 3, *size, generator=generator, dtype=torch.float64) for _ in range(count)]


@pytest.fixture(scope="module")
def encoder():
    return random_encoder("vgg16", border="replicate").double().cut("relu3_1")


def halves(size=(64, 96)):
    left = np.zeros(size, np.float32)
    left[:, : size[1] // 2] = 1
    return from_shares(left)


def whole(size=(64, 96)):
    return Masks(np.ones((1, *size), np.float32))


def masked(encoder, content, styles, wanted, masks):
    targets = style_targets(encoder, styles, [1] * len(styles), wanted, apart=True)
    areas = Areas(masks, encoder, tuple(content.shape[-2:]))
    return Objective(encoder, content, targets, wanted, areas)


@pytest.mark.parametrize("kind", ["target", "chw", "paper", "half", "wasserstein"])
def test_a_full_mask_is_no_mask(encoder, kind):
    content, style, image = pictures(3)
    wanted = goal(style_kind=kind)
    plain = Objective(encoder, content, style_targets(encoder, [style], [1], wanted), wanted)
    terms, gradient = plain.evaluate(image)
    found, slope = masked(encoder, content, [style], wanted, whole()).evaluate(image)
    assert found.total == pytest.approx(terms.total, rel=1e-12)
    assert found.layers == pytest.approx(terms.layers, rel=1e-12)
    torch.testing.assert_close(slope, gradient, rtol=1e-9, atol=1e-14)


def test_a_region_has_the_statistics_of_its_own_pixels(encoder):
    """Of a tap, cut along the mask by hand."""
    (image,) = pictures(1)
    wanted = goal()
    areas = Areas(halves(), encoder, (64, 96))
    for tap, values in features(encoder, image, wanted).items():
        width = values.shape[3] // 2
        found = regional(values, areas.at(tap)).parts
        for part, cut in zip(found, (values[..., :width], values[..., width:]), strict=True):
            known = statistics(cut)
            torch.testing.assert_close(part.mean, known.mean)
            torch.testing.assert_close(part.moments, known.moments)
            assert part.positions == pytest.approx(known.positions)


def test_each_half_is_free_of_the_other_ones_style(encoder):
    content, image, one, two, other = pictures(5)
    wanted = goal()
    _, first = masked(encoder, content, [one, two], wanted, halves()).evaluate(image)
    _, second = masked(encoder, content, [one, other], wanted, halves()).evaluate(image)
    _, third = masked(encoder, content, [other, two], wanted, halves()).evaluate(image)
    reach = encoder.halo  # a unit beside the border sees so far into the other half
    left, right = slice(0, 48 - reach), slice(48 + reach, None)
    assert torch.equal(first[..., left], second[..., left])
    assert torch.equal(first[..., right], third[..., right])
    size = float(first.abs().mean())
    assert float((first - second)[..., right].abs().mean()) > 0.1 * size
    assert float((first - third)[..., left].abs().mean()) > 0.1 * size


def test_two_halves_of_one_style_pull_as_the_whole_does(encoder):
    """Halves that are alike have the whole's statistics: cost and slope are the same."""
    content, style, side = pictures(3)
    image = torch.cat([side[..., :48], side[..., :48]], dim=3)
    wanted = goal(style_layers=(("conv1_1", 1.0),), smoothness=0.0, alpha=0.0)
    plain = Objective(encoder, content, style_targets(encoder, [style], [1], wanted), wanted)
    together, _ = plain.evaluate(image)
    apart, _ = masked(encoder, content, [style, style], wanted, halves()).evaluate(image)
    assert apart.style == pytest.approx(together.style, rel=0.05)  # the seam differs


def test_the_gradient_against_finite_differences(encoder):
    content, one, two, image = (p[..., :40, :40].clone() for p in pictures(4))
    soft = np.linspace(0, 1, 1600, dtype=np.float32).reshape(40, 40)
    objective = masked(encoder, content, [one, two], goal(), from_shares(soft))
    _, gradient = objective.evaluate(image)
    direction = torch.randn(image.shape, generator=torch.Generator().manual_seed(5)).double()
    step = 1e-6
    ends = [objective.evaluate(image + s * step * direction)[0].total for s in (1, -1)]
    assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(
        float((gradient * direction).sum()), rel=1e-5
    )


@pytest.mark.parametrize("kind", ["target", "wasserstein", "half"])
def test_tiles_change_nothing(encoder, kind):
    size = (75, 91)
    content, one, two, image = pictures(4, size)
    wanted = goal(style_kind=kind)
    rows, columns = np.mgrid[0:150, 0:182]
    masks = from_shares(((rows + 2 * columns) % 160 < 80).astype(np.float32))
    targets = style_targets(encoder, [one, two], [1, 1], wanted, apart=True)
    cut = tiled_style_targets(encoder, [one, two], [1, 1], wanted, tile=24, apart=True)
    areas = Areas(masks, encoder, size)
    terms, gradient = Objective(encoder, content, targets, wanted, areas).evaluate(image)
    tiled = TiledObjective(encoder, content, cut, wanted, tile=24, areas=areas)
    found, slope = tiled.evaluate(image)
    assert found.total == pytest.approx(terms.total, rel=1e-9)
    torch.testing.assert_close(slope, gradient, rtol=1e-8, atol=1e-9 * gradient.abs().max().item())


@pytest.mark.parametrize("architecture", ["vgg16", "vgg19", "alexnet"])
@pytest.mark.parametrize("size", [(64, 64), (101, 77), (75, 130)])
def test_tap_sizes_are_those_of_the_network(architecture, size):
    encoder = random_encoder(architecture)
    names = [layer.name for layer in encoder.trunk.layers]
    found = encoder.features(torch.rand(1, 3, *size), names)
    assert {n: tuple(v.shape[-2:]) for n, v in found.items()} == tap_sizes(encoder, size)


FEW = {
    "size": 64,
    "levels": ((0.5, 3), (1.0, 5)),
    "content_layers": (("relu2_2", 1.0),),
    "style_layers": (("relu1_1", 1.0), ("relu2_1", 1.0)),
    "encoder": "vgg16",
    "start": "content",
}


@pytest.fixture(scope="module")
def run():
    random = np.random.default_rng(1)
    arrays = [random.integers(0, 256, (40, 60, 3), dtype=np.uint8) for _ in range(3)]
    net = random_encoder("vgg16")

    def paint(**keywords):
        mask = np.zeros((80, 120, 3), np.uint8)
        mask[:, 60:] = 255
        chosen = {"mask": mask, "options": preset("strokes", **FEW), "encoder": net, **keywords}
        return stylize(arrays[0], chosen.pop("styles", arrays[1:]), **chosen)

    return paint


def test_a_masked_run_is_resumed_bit_for_bit(run, tmp_path):
    done = run()
    assert done.provenance["mask_colours"] == ["#000000", "#ffffff"]
    assert len(done.provenance["inputs"]) == 4

    def stop(step):
        if step.call == 5:
            raise KeyboardInterrupt

    path = tmp_path / "run"
    assert not run(checkpoint=path, on_step=stop).finished
    with pytest.raises(InputError, match="other pictures"):
        run(checkpoint=path, resume=True, mask_colours=["white", "black"])
    assert run(checkpoint=path, resume=True).pixels.tobytes() == done.pixels.tobytes()


def test_colours_in_the_other_order_change_sides(run):
    one = run(options=preset("strokes", **{**FEW, "colour": "moments"})).pixels
    other = run(mask_colours=["#fff", "#000"]).pixels
    assert np.abs(one - other).mean() > 0.01


def test_masks_that_do_not_fit_are_refused(run, tmp_path):
    nan = np.full((40, 60), 0.5, np.float32)
    nan[3, 4] = np.nan
    with pytest.raises(InputError, match="1 values that are not numbers"):
        run(mask=nan)
    with pytest.raises(InputError, match=r"mask is 60 x 60 px and the content 60 x 40"):
        run(mask=from_shares(np.eye(60, dtype=np.float32)))
    with pytest.raises(InputError, match="give one style for each colour"):
        run(mask=np.zeros((40, 60, 3), np.uint8))
    with pytest.raises(InputError, match="2 masks, but 1 styles"):
        run(mask=from_shares(np.ones((40, 60), np.float32) / 2), styles=[np.ones((40, 50, 3))])
    with pytest.raises(InputError, match="cannot be used together"):
        run(style_weights=[1, 2])
    with pytest.raises(InputError, match="but no mask"):
        run(mask=None, mask_colours=["red", "blue"])
    with pytest.raises(ShapeError):
        from_shares(np.zeros((2, 3, 4, 5), np.float32))
    Image.new("RGB", (60, 40)).save(tmp_path / "m.png")
    with pytest.raises(InputError, match="has 1 colours"):
        run(mask=tmp_path / "m.png")
