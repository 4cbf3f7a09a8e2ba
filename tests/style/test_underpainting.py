"""The first coat: the content in the style's colours."""

from __future__ import annotations

import numpy as np
import pytest

from limner.style.masks import from_shares
from limner.style.underpainting import underpainted


def picture(seed: int, mean: float, spread: float) -> np.ndarray:
    random = np.random.default_rng(seed)
    values = mean + spread * random.standard_normal((30, 40, 3))
    return np.asarray(values.clip(0, 1), np.float32)


CONTENT, STYLE, OTHER = picture(1, 0.4, 0.1), picture(2, 0.6, 0.1), picture(3, 0.3, 0.08)


def test_mean_and_covariance_are_the_styles() -> None:
    coat = underpainted(CONTENT, [STYLE], weights=[1.0])
    np.testing.assert_allclose(coat.mean((0, 1)), STYLE.mean((0, 1)), atol=2e-3)
    found, wanted = (np.cov(p.reshape(-1, 3).T) for p in (coat, STYLE))
    np.testing.assert_allclose(found, wanted, atol=3e-4)


@pytest.mark.parametrize(("strength", "share"), [(0.0, 0.0), (0.25, 0.5), (0.5, 1.0), (1.0, 1.0)])
def test_a_weak_style_gives_a_thin_coat(strength: float, share: float) -> None:
    whole = underpainted(CONTENT, [STYLE], weights=[1.0])
    coat = underpainted(CONTENT, [STYLE], weights=[1.0], strength=strength)
    np.testing.assert_allclose(coat, CONTENT * (1 - share) + whole * share, atol=1e-5)


def test_styles_are_mixed_by_their_weights() -> None:
    mixed = underpainted(CONTENT, [STYLE, OTHER], weights=[3.0, 1.0])
    apart = [underpainted(CONTENT, [s], weights=[1.0]) for s in (STYLE, OTHER)]
    np.testing.assert_allclose(mixed, 0.75 * apart[0] + 0.25 * apart[1], atol=1e-5)


def test_each_region_gets_its_own_coat() -> None:
    shares = np.zeros((2, 30, 40), np.float32)
    shares[0, :, :20], shares[1, :, 20:] = 1, 1
    coat = underpainted(CONTENT, [STYLE, OTHER], weights=[1.0, 1.0], masks=from_shares(shares))
    left, right = (underpainted(CONTENT, [s], weights=[1.0]) for s in (STYLE, OTHER))
    np.testing.assert_allclose(coat[:, :20], left[:, :20], atol=1e-5)
    np.testing.assert_allclose(coat[:, 20:], right[:, 20:], atol=1e-5)


def test_a_single_colour_does_not_wipe_the_content_out() -> None:
    flat = np.full((20, 20, 3), 0.7, np.float32)
    coat = underpainted(CONTENT, [flat], weights=[1.0])
    assert coat.std() > 0.9 * CONTENT.std()
