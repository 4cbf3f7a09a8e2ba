"""Laying in: where the strokes come from, where they may go, and what a run makes of them."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.data
import torch

from limner.images import read
from limner.style import preset, stylize
from limner.style.encoder import load_encoder, random_encoder
from limner.style.level import as_pixels, tensor_of
from limner.style.masks import from_shares
from limner.style.pyramid import resize
from limner.style.stroke_bank import CELL_PX, PATCH_PX, Bank, principal
from limner.style.strokes import LAYERS, SIZES, Order, _Scale, lay_in, plan

RED, BLUE = (0.8, 0.1, 0.1), (0.1, 0.1, 0.8)


@pytest.fixture(scope="module")
def encoder():
    return random_encoder("vgg16", border="replicate_all", pooling="average")


@pytest.fixture(scope="module")
def cat():
    return resize(tensor_of(skimage.data.chelsea()), (96, 144))


@pytest.fixture(scope="module")
def astronaut():
    return resize(tensor_of(skimage.data.astronaut()), (128, 128))


def order(content, styles, **changes) -> Order:
    values = {
        "weights": [1.0] * len(styles),
        "masks": None,
        "size": max(content.shape[-2:]),
        "side": "longer",
        "style_scale": max(styles[0].shape[-2:]) / max(content.shape[-2:]),
        "guidance": 0.7,
    }
    return Order(content, styles, **{**values, **changes})


def laid(content, styles, encoder, **changes) -> torch.Tensor:
    return list(lay_in(order(content, styles, **changes), encoder))[-1]


def flat(colour) -> torch.Tensor:
    return torch.tensor(colour).view(1, 3, 1, 1).expand(1, 3, 64, 64).clone()


def test_a_picture_in_its_own_manner_is_itself(cat):
    encoder = load_encoder("vgg16_hed", pooling="average", border="replicate_all", device="cpu")
    coarse, again = lay_in(order(cat, [cat], guidance=1.0), encoder)
    torch.testing.assert_close(coarse, resize(cat, (48, 72)), atol=1e-5, rtol=0)
    error = float((again - cat).square().mean().sqrt())
    other = float((laid(cat, [cat.flip(1)], encoder, guidance=1.0) - cat).square().mean().sqrt())
    assert error < 0.05  # the average of two grids is a little soft
    assert other > 2 * error


def test_every_colour_is_one_of_the_styles(astronaut, cat, encoder):
    painted = laid(cat, [astronaut], encoder)
    inks = astronaut[0].flatten(1)
    for channel in range(3):
        assert painted[0, channel].min() >= inks[channel].min() - 1e-5
        assert painted[0, channel].max() <= inks[channel].max() + 1e-5


def test_more_guidance_is_nearer_to_the_content(astronaut, cat):
    net = load_encoder("vgg16_hed", pooling="average", border="replicate_all", device="cpu")
    far = [
        float((laid(cat, [astronaut], net, guidance=g) - cat).square().mean())
        for g in (0.0, 0.5, 1.0)
    ]
    assert far[0] > far[1] > far[2]


def test_what_is_taken_often_becomes_dear(astronaut, cat, encoder):
    """Without prices less of the style is used."""
    bank = Bank(encoder, LAYERS, [astronaut])
    scale = _Scale(bank, cat, order(cat, [astronaut]), share=0.7)
    start = scale.begin(None)
    used = []
    for rounds in (1, 12):
        _, choice = scale.paint(cat, start, rounds=rounds)
        used.append(len(torch.unique(choice.cells)))
    assert used[1] > 1.15 * used[0]
    assert torch.equal(scale.paint(cat, start, rounds=1)[1].prices, start.prices)


def test_weights_share_the_picture_out(astronaut, cat, encoder):
    styles = [astronaut, resize(tensor_of(skimage.data.coffee()), (96, 144))]
    bank = Bank(encoder, LAYERS, styles)
    of_the_first = []
    for weights in ([9.0, 1.0], [1.0, 9.0]):
        scale = _Scale(bank, cat, order(cat, styles, weights=weights), share=0.7)
        _, choice = scale.paint(cat, scale.begin(None), rounds=16)
        of_the_first.append(float((bank.style[choice.cells] == 0).float().mean()))
    assert of_the_first[0] > 0.6
    assert of_the_first[1] < 0.4


def test_each_style_keeps_to_its_region(cat, encoder):
    shares = np.zeros((2, 24, 36), np.float32)
    shares[0, :, :18], shares[1, :, 18:] = 1, 1
    painted = laid(cat, [flat(RED), flat(BLUE)], encoder, masks=from_shares(shares))
    width, rim = painted.shape[-1], PATCH_PX
    red, blue = (torch.tensor(c).view(3, 1, 1) for c in (RED, BLUE))
    assert (painted[0, :, :, : width // 2 - rim] - red).abs().max() < 1e-3
    assert (painted[0, :, :, width // 2 + rim :] - blue).abs().max() < 1e-3


def test_patches_are_averaged_as_plain_loops_do(astronaut, encoder):
    small = astronaut[..., :48, :64]
    bank = Bank(encoder, LAYERS, [small])
    scale = _Scale(bank, small, order(small, [small]), share=0.5)
    rows, columns = 12, 16
    cells = torch.randint(
        0, rows * columns, (rows * columns,), generator=torch.Generator().manual_seed(3)
    )
    found = scale._lay(cells, (rows, columns))[0].numpy()
    margin = (PATCH_PX - CELL_PX) // 2
    source = np.pad(small[0].numpy(), ((0, 0), (margin,) * 2, (margin,) * 2), mode="edge")
    line = np.exp(-0.5 * ((np.arange(PATCH_PX) - (PATCH_PX - 1) / 2) / (PATCH_PX / 4)) ** 2)
    window = np.outer(line, line)
    total = np.zeros((3, rows * CELL_PX + 2 * margin, columns * CELL_PX + 2 * margin))
    weight = np.zeros(total.shape[1:])
    for place, cell in enumerate(cells.tolist()):
        y, x = (place // columns) * CELL_PX, (place % columns) * CELL_PX
        v, u = (cell // columns) * CELL_PX, (cell % columns) * CELL_PX
        there = (slice(y, y + PATCH_PX), slice(x, x + PATCH_PX))
        total[:, *there] += source[:, v : v + PATCH_PX, u : u + PATCH_PX] * window
        weight[there] += window
    wanted = (total / weight)[:, margin:-margin, margin:-margin]
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_what_continues_a_neighbour_as_plain_loops_do(astronaut, encoder):
    small = astronaut[..., :40, :56]
    bank = Bank(encoder, LAYERS, [small])
    scale = _Scale(bank, small, order(small, [small]), share=0.5)
    (height, width), here = (10, 14), (6, 7)
    assert bank.sheets == [(height, width)] * 2  # the style and its mirror image
    cells = torch.randint(0, 2 * height * width, (42,), generator=torch.Generator().manual_seed(4))
    for down, right in ((0, 1), (1, 0), (0, -1), (-1, 0)):
        found = scale._continued(cells, here, down, right).view(here).tolist()
        for y in range(here[0]):
            for x in range(here[1]):
                wanted = -1
                if 0 <= y - down < here[0] and 0 <= x - right < here[1]:
                    cell = int(cells[(y - down) * here[1] + x - right])
                    sheet, within = divmod(cell, height * width)
                    v, u = within // width + down, within % width + right
                    if 0 <= v < height and 0 <= u < width:
                        wanted = sheet * height * width + v * width + u
                assert found[y][x] == wanted


def test_principal_directions_are_numpys():
    random = np.random.default_rng(5)
    rows = random.standard_normal((300, 80)) * np.linspace(3, 0.1, 80)
    rows -= rows.mean(0)
    basis = principal(torch.from_numpy(rows).float()).numpy()
    _, _, wanted = np.linalg.svd(rows, full_matrices=False)
    projector = wanted[:64].T @ wanted[:64]
    np.testing.assert_allclose(basis @ basis.T, projector, atol=1e-2)
    np.testing.assert_allclose(basis.T @ basis, np.eye(64), atol=1e-5)


@pytest.mark.parametrize("size_hw", [(32, 32), (33, 250), (61, 47), (96, 40)])
def test_any_size_is_laid_in(size_hw, encoder):
    content = torch.rand((1, 3, *size_hw), generator=torch.Generator().manual_seed(6))
    one = laid(content, [flat(RED)], encoder, style_scale=1.0)
    assert torch.isfinite(one).all()
    assert one.shape[-2] % 8 == 0
    assert abs(one.shape[-2] - size_hw[0]) <= 4
    torch.testing.assert_close(one[0, :, 5, 5], torch.tensor(RED), atol=1e-3, rtol=0)


def test_large_pictures_are_planned_smaller_and_small_ones_once():
    big = torch.zeros(1, 3, 12, 16)
    wanted = plan(order(big, [big], size=4000))
    assert len(wanted) == SIZES
    assert wanted[-1][0][0] * wanted[-1][0][1] < 1_200_000
    assert len(plan(order(big, [big], size=40))) == 1
    ((height, width),) = plan(order(big, [big], size=512, style_scale=20.0))[-1][1]
    assert 2_000_000 < height * width < 2_400_000


def test_networks_of_other_makes_lay_in_too(cat, astronaut):
    for architecture in ("vgg19", "alexnet"):
        net = random_encoder(architecture)
        assert laid(cat, [astronaut], net).shape == cat.shape


OPTIONS = {
    "size": 64,
    "levels": ((1.0, 3),),
    "content_layers": (("relu2_2", 1.0),),
    "style_layers": (("relu1_1", 1.0), ("relu2_1", 1.0)),
    "encoder": "vgg16",
}


def test_a_run_shows_the_strokes_and_starts_from_them(astronaut, cat, encoder):
    shown, steps = [], []
    pictures = as_pixels(cat), as_pixels(astronaut)
    stylize(
        *pictures,
        options=preset("strokes", **OPTIONS),
        encoder=encoder,
        on_start=shown.append,
        on_step=lambda step: steps.append(step.picture()),
    )
    assert [s.shape[1] for s in shown] == [64]  # half of it would be below 32 px
    wanted = resize(tensor_of(shown[-1]), steps[0].shape[:2])
    np.testing.assert_allclose(steps[0], as_pixels(wanted), atol=1e-6)


def test_no_strength_is_the_content(astronaut, cat, encoder):
    shown = []
    options = preset("strokes", **{**OPTIONS, "strength": 0.0, "size": 144})
    pictures = as_pixels(cat), as_pixels(astronaut)
    stylize(*pictures, options=options, encoder=encoder, on_start=shown.append)
    np.testing.assert_allclose(shown[-1], as_pixels(cat), atol=1e-6)


def test_interrupted_while_laying_in_it_is_resumed_bit_for_bit(astronaut, cat, encoder, tmp_path):
    pictures = as_pixels(cat), as_pixels(astronaut)
    given = {"options": preset("strokes", **{**OPTIONS, "size": 144}), "encoder": encoder}
    whole = stylize(*pictures, **given)
    path = tmp_path / "run.checkpoint"

    def stop(_: object) -> None:
        raise KeyboardInterrupt

    part = stylize(*pictures, **given, checkpoint=path, on_start=stop)
    assert not part.finished
    assert part.image.shape == whole.image.shape
    assert path.is_file()
    rest = stylize(*pictures, **given, checkpoint=path, resume=True)
    assert rest.finished
    assert rest.pixels.tobytes() == whole.pixels.tobytes()
    assert not path.exists()


def test_the_command_lays_in(tmp_path):
    from typer.testing import CliRunner

    from limner.cli import main

    paths = [str(tmp_path / name) for name in ("a.png", "b.png", "out.png")]
    from PIL import Image

    Image.fromarray(skimage.data.chelsea()[::4, ::4]).save(paths[0])
    Image.fromarray(skimage.data.astronaut()[::4, ::4]).save(paths[1])
    asked = ["style", *paths[:2], "-o", paths[2], "--size", "64", "--steps", "2", "--no-preview"]
    done = CliRunner().invoke(
        main.app, [*asked, "--encoder", "vgg16_hed", "--preset", "strokes", "--guidance", "0.9"]
    )
    assert done.exit_code == 0, done.stderr
    assert read(paths[2]).shape[1] == 64
    done = CliRunner().invoke(main.app, [*asked, "--guidance", "1.5"])
    assert done.exit_code == 2
    assert "guidance must be from 0 to 1, got 1.5" in done.stderr


def test_interrupted_with_nowhere_to_keep_the_run_the_picture_is_there(
    astronaut, cat, encoder, tmp_path
):
    def stop(_: object) -> None:
        raise KeyboardInterrupt

    part = stylize(
        *(as_pixels(cat), as_pixels(astronaut)),
        options=preset("strokes", **OPTIONS),
        encoder=encoder,
        checkpoint=tmp_path / "no such folder" / "run.checkpoint",
        on_start=stop,
    )
    assert not part.finished
    assert part.image.shape[1] == 64
    assert any("cannot be resumed" in remark for remark in part.provenance["remarks"])
