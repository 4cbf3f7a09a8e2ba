"""Each cost against loops written from its formula, in float64, and against gradcheck."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch

from limner.errors import InputError, ShapeError, UnknownNameError
from limner.style.losses import (
    Statistics,
    blend,
    content_cost,
    gram,
    statistics,
    style_cost,
    total_variation,
    wasserstein2,
)


def features(seed: int, channels: int = 3, height: int = 4, width: int = 5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(channels, height, width, generator=generator, dtype=torch.float64)


def slow_gram(f: np.ndarray) -> np.ndarray:
    c, h, w = f.shape
    g = np.zeros((c, c))
    for i in range(c):
        for j in range(c):
            for y in range(h):
                for x in range(w):
                    g[i, j] += f[i, y, x] * f[j, y, x]
    return g


def test_gram_is_the_sum_over_positions():
    f = features(1)
    np.testing.assert_allclose(gram(f).numpy(), slow_gram(f.numpy()))
    np.testing.assert_allclose(gram(f[None]).numpy(), gram(f).numpy())
    with pytest.raises(ShapeError, match=r"\(2, 3, 4, 5\)"):
        gram(torch.zeros(2, 3, 4, 5))


@pytest.mark.parametrize("kind", ["chw", "paper", "half", "target"])
def test_style_cost_is_the_formula(kind):
    a, b = features(1), features(2)
    ga, gb = slow_gram(a.numpy()), slow_gram(b.numpy())
    c, n = 3, 20
    wanted = {
        "chw": np.mean((ga / (c * n) - gb / (c * n)) ** 2),
        "paper": np.sum((ga - gb) ** 2) / (2 * n * c) ** 2,
        "half": np.sum((ga - gb) ** 2) / (2 * n * c),
        "target": np.mean((ga - gb) ** 2) / np.mean(gb**2),
    }[kind]
    found = style_cost(statistics(a), statistics(b), kind=kind)
    assert float(found) == pytest.approx(wanted, rel=1e-12)


def test_covariance_cost_is_numpys():
    a, b = features(1), features(2)
    flat_a, flat_b = (f.numpy().reshape(3, -1) for f in (a, b))
    cov_a, cov_b = (np.cov(f, bias=True) for f in (flat_a, flat_b))
    moments = flat_b @ flat_b.T / flat_b.shape[1]
    means = np.mean((flat_a.mean(1) - flat_b.mean(1)) ** 2)
    wanted = np.mean((cov_a - cov_b) ** 2) / (np.mean(cov_b**2) + 1e-3 * np.mean(moments**2))
    wanted += means / (np.diag(cov_b).mean() + 1e-3 * np.diag(moments).mean())
    found = style_cost(statistics(a), statistics(b), kind="covariance")
    assert float(found) == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("kind", ["chw", "paper", "half", "target"])
def test_a_style_of_another_size_counts_as_if_it_had_the_pictures(kind):
    """A style repeated twice has the same cost as itself: only what it looks like counts."""
    a, b = features(1), features(2)
    twice = torch.cat([b, b], dim=2)
    one = style_cost(statistics(a), statistics(b), kind=kind)
    assert float(style_cost(statistics(a), statistics(twice), kind=kind)) == pytest.approx(
        float(one)
    )


@pytest.mark.parametrize("kind", ["chw", "paper", "half", "target", "covariance", "wasserstein"])
def test_gradients(kind):
    target = statistics(features(2))
    start = features(1).requires_grad_(True)
    assert torch.autograd.gradcheck(lambda f: style_cost(statistics(f), target, kind=kind), start)


def test_content_cost_is_the_formula():
    a, b = features(1), features(2)
    squares = ((a - b) ** 2).numpy()
    assert float(content_cost(a, b)) == pytest.approx(squares.mean())
    assert float(content_cost(a, b, kind="half_sum")) == pytest.approx(squares.sum() / 2)
    relative = squares.mean() / (b.numpy() ** 2).mean()
    assert float(content_cost(a, b, kind="target")) == pytest.approx(relative)
    with pytest.raises(ShapeError, match="equal shapes"):
        content_cost(a, b[:, :2])
    with pytest.raises(UnknownNameError, match="got 'sum'"):
        content_cost(a, b, kind="sum")
    with pytest.raises(UnknownNameError, match="got 'gram'"):
        style_cost(statistics(a), statistics(b), kind="gram")


def test_wasserstein_against_scipy():
    a, b = features(1, 4, 6, 7), features(2, 4, 5, 9)
    x, y = (f.reshape(4, -1).numpy() for f in (a, b))
    ca, cb = np.cov(x, bias=True), np.cov(y, bias=True)
    root = np.real(scipy.linalg.sqrtm(cb))
    cross = np.real(scipy.linalg.sqrtm(root @ ca @ root))
    wanted = np.sum((x.mean(1) - y.mean(1)) ** 2) + np.trace(ca + cb - 2 * cross)
    found = wasserstein2(statistics(a), statistics(b), steps=20)
    assert float(found) == pytest.approx(wanted, rel=1e-3)
    assert abs(float(wasserstein2(statistics(b), statistics(b), steps=20))) < 1e-2 * wanted


def test_wasserstein_sees_what_is_singular():
    """A single colour has no covariance: the cost and its gradient are finite all the same."""
    flat = torch.ones(4, 6, 7, dtype=torch.float64)
    start = features(1, 4, 6, 7).requires_grad_(True)
    cost = style_cost(statistics(start), statistics(flat), kind="wasserstein")
    cost.backward()
    assert torch.isfinite(cost)
    assert torch.isfinite(start.grad).all()


def test_a_blend_is_the_weighted_mean():
    a, b = statistics(features(1)), statistics(features(2))
    mixed = blend([a, b], [3, 1])
    np.testing.assert_allclose(mixed.moments, 0.75 * a.moments + 0.25 * b.moments)
    np.testing.assert_allclose(mixed.mean, 0.75 * a.mean + 0.25 * b.mean)
    assert torch.equal(blend([a], [7]).moments, a.moments)
    for weights in ([], [1], [1, 0], [1, -1], [1, float("inf")]):
        with pytest.raises(InputError, match="one positive weight"):
            blend([a, b], weights)


def test_a_blend_of_the_halves_is_the_whole():
    """Why moments are blended, and not Gram matrices: positions add up."""
    f = features(3, 3, 4, 6)
    left, right = statistics(f[:, :, :2]), statistics(f[:, :, 2:])
    whole = statistics(f)
    mixed = blend([left, right], [2, 4])
    np.testing.assert_allclose(mixed.moments, whole.moments)


def test_total_variation():
    image = torch.tensor([[[[0.0, 1.0, 0.0], [0.0, 0.0, 0.5]]]], dtype=torch.float64)
    across = (1 + 1 + 0 + 0.25) / 4
    down = (0 + 1 + 0.25) / 3
    assert float(total_variation(image)) == pytest.approx(across + down)
    assert float(total_variation(image[..., :1, :1])) == 0
    start = torch.rand(1, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(total_variation, start)


def test_statistics_name_their_positions():
    known = statistics(features(1))
    assert isinstance(known, Statistics)
    assert known.positions == 20
    np.testing.assert_allclose(known.mean, features(1).mean(dim=(1, 2)))
