"""Quality figures: against plain loops, and that they order pictures as people do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import wasserstein_distance

from limner.errors import InputError, ShapeError, UnknownNameError
from limner.style import score
from limner.style.colour import match_moments

TAPS = ("a", "b")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """The arithmetic is the same at a quarter of the size."""
    assert score.SIZE_PX == 384
    monkeypatch.setattr(score, "SIZE_PX", 96)


def features(image):
    """Two fixed random layers; no weights are needed."""
    random = torch.Generator().manual_seed(0)
    first = torch.randn(8, 3, 3, 3, generator=random)
    second = torch.randn(12, 8, 3, 3, generator=random)
    a = torch.nn.functional.conv2d(image, first, padding=1).relu()
    b = torch.nn.functional.conv2d(torch.nn.functional.avg_pool2d(a, 4), second).relu()
    return {"a": a, "b": b}


def measure(content, style, result):
    return score.score(
        content, style, result, features, content_taps=TAPS, style_taps=TAPS, structure_tap="b"
    )


def noise(seed, size=(60, 80), power=1.0):
    return (np.random.default_rng(seed).random((*size, 3)) ** power).astype(np.float32)


@pytest.fixture(scope="module")
def pictures(shared_data):
    from limner.images import read_float

    folder = shared_data / "contents"
    content = read_float(folder / "tubingen.png")
    style = read_float(shared_data / "paintings" / "00_Gogh_The_Starry_Night.jpg")
    return content, style


def test_a_picture_is_no_distance_from_itself():
    picture = noise(0)
    found = measure(picture, picture, picture).to_json()
    assert found.pop("size_px") == 96
    assert all(value == pytest.approx(0, abs=1e-6) for value in found.values()), found


def test_it_is_deterministic():
    args = noise(1), noise(2, (50, 90)), noise(3)
    assert measure(*args) == measure(*args)


def test_more_change_is_more_content_distance(pictures):
    content, style = pictures
    blurred = [content]
    for _ in range(2):
        wide = torch.from_numpy(blurred[-1].transpose(2, 0, 1)[None].copy())
        soft = torch.nn.functional.avg_pool2d(wide, 9, 1, 4, count_include_pad=False)
        blurred.append(soft[0].numpy().transpose(1, 2, 0))
    found = [measure(content, style, b) for b in blurred]
    for name in ("content_perceptual", "content_structure"):
        values = [getattr(f, name) for f in found]
        assert values[0] < 1e-6 < values[1] < values[2], name


def test_the_style_itself_is_nearest_to_the_style(pictures):
    content, style = pictures
    crop = style[: content.shape[0], : content.shape[1]]
    own, other = measure(content, style, crop), measure(content, style, content)
    recoloured = measure(content, style, match_moments(content, style))
    for name in ("style_gram", "style_wasserstein", "colour"):
        assert getattr(own, name) < getattr(other, name), name
    assert recoloured.colour < other.colour / 2


def test_gram_is_the_plain_sum():
    a, b = torch.rand(1, 3, 4, 5), torch.rand(1, 3, 6, 2)
    total = wanted = 0.0
    for i in range(3):
        for j in range(3):
            g = sum(float(x * y) for x, y in zip(a[0, i].ravel(), a[0, j].ravel(), strict=True))
            s = sum(float(x * y) for x, y in zip(b[0, i].ravel(), b[0, j].ravel(), strict=True))
            total += (g / 20 - s / 12) ** 2
            wanted += (s / 12) ** 2
    assert score.gram_distance(a, b) == pytest.approx(total / wanted, rel=1e-5)


def test_wasserstein_of_one_channel_is_that_of_its_values():
    a, b = torch.rand(1, 1, 32, 16), torch.rand(1, 1, 32, 16) ** 2 + 1
    ordered = a.ravel().sort().values - b.ravel().sort().values
    wanted = (ordered.square().mean() / b.var(correction=0)).sqrt()
    assert score.sliced_wasserstein(a, b) == pytest.approx(float(wanted), rel=1e-4)
    gap = score._quantiles(a.reshape(1, -1).double()) - score._quantiles(b.reshape(1, -1).double())
    plain = wasserstein_distance(a.ravel().numpy(), b.ravel().numpy())
    assert float(gap.abs().mean()) == pytest.approx(plain, rel=1e-4)


def test_quantiles_do_not_depend_on_how_often_a_picture_repeats():
    values = torch.rand(2, 700, dtype=torch.float64)
    twice = score._quantiles(values.repeat(1, 3))
    assert torch.allclose(score._quantiles(values), twice, atol=0.01)


def test_structure_is_the_plain_divergence_and_ignores_brightness():
    a, b = torch.rand(1, 6, 4, 3), torch.rand(1, 6, 4, 3)
    rows = [x[0].flatten(1).T.double() for x in (a, b)]
    similar = []
    for r in rows:
        unit = [v / v.norm() for v in r]
        table = [[float(v @ w) * 6**0.5 for w in unit] for v in unit]
        similar.append([[np.exp(v) / np.exp(row).sum() for v in row] for row in table])
    plain = np.mean(
        [
            sum(p * np.log(p / q) for p, q in zip(*pair, strict=True))
            for pair in zip(*similar, strict=True)
        ]
    )
    assert score.structure_distance(a, b) == pytest.approx(plain, rel=1e-6)
    assert score.structure_distance(a, 3 * a) == pytest.approx(0, abs=1e-12)


def test_colour_is_in_units_of_cielab():
    import cv2

    grey = np.full((20, 20, 3), 0.5, np.float32)
    lighter = np.full((9, 30, 3), 0.6, np.float32)
    shift = cv2.cvtColor(lighter[:1, :1], cv2.COLOR_RGB2Lab) - cv2.cvtColor(
        grey[:1, :1], cv2.COLOR_RGB2Lab
    )
    assert score.colour_distance(grey, lighter) == pytest.approx(np.linalg.norm(shift), rel=0.02)
    shuffled = noise(4).reshape(-1, 3)[::-1].reshape(60, 80, 3)
    assert score.colour_distance(noise(4), shuffled) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("size", [(8, 8), (1, 2000), (2000, 30)])
def test_odd_sizes(size):
    found = measure(noise(5, size), noise(6), noise(7, size)).to_json()
    assert all(np.isfinite(v) for v in found.values())


def test_bad_input_is_refused():
    with pytest.raises(ShapeError, match="result"):
        measure(noise(0), noise(0), noise(0)[..., 0])
    with pytest.raises(InputError, match="proportions"):
        measure(noise(0), noise(0), noise(0, (80, 60)))
    with pytest.raises(UnknownNameError, match="relu1_2"):
        score.score(noise(0), noise(0), noise(0), features)
