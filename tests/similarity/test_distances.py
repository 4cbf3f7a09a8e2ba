from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial import distance as scipy_distance

from limner.errors import InputError, ShapeError, ZeroNormError
from limner.similarity import (
    abs_difference,
    chi_square,
    cosine_distance,
    cosine_similarity,
    normalise,
    pairwise_squared_l2,
    squared_l2,
)

PAIRED = (squared_l2, cosine_distance, cosine_similarity, abs_difference, chi_square)


def rows(seed: int, n: int = 20, d: int = 7) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d))


finite = st.floats(-1e3, 1e3, width=64)


@st.composite
def paired_rows(draw):
    shape = draw(st.tuples(st.integers(1, 6), st.integers(1, 9)))
    # Rows of length almost zero have no direction worth comparing.
    array = hnp.arrays(np.float64, shape, elements=finite).filter(
        lambda x: bool((np.linalg.norm(x, axis=1) > 1e-3).all())
    )
    return draw(array), draw(array)


def test_squared_l2_equals_scipy():
    a, b = rows(1), rows(2)
    expected = [scipy_distance.sqeuclidean(x, y) for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(squared_l2(a, b), expected, rtol=1e-12)


def test_pairwise_equals_scipy():
    a, b = rows(1, 11), rows(2, 5)
    expected = scipy_distance.cdist(a, b, "sqeuclidean")
    np.testing.assert_allclose(pairwise_squared_l2(a, b), expected, atol=1e-12)


def test_pairwise_of_unit_float32_is_as_close_as_promised():
    a = normalise(rows(1, 200, 128)).astype(np.float32)
    exact = scipy_distance.cdist(a.astype(np.float64), a.astype(np.float64), "sqeuclidean")
    got = pairwise_squared_l2(a, a)
    assert got.dtype == np.float32
    assert np.abs(got - exact).max() <= 2e-6


def test_cosine_equals_scipy():
    a, b = rows(1), rows(2)
    expected = [scipy_distance.cosine(x, y) for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(cosine_distance(a, b), expected, rtol=1e-10)
    np.testing.assert_allclose(cosine_similarity(a, b), 1 - np.array(expected), rtol=1e-10)


def test_weighted_terms_equal_loops():
    a, b = np.abs(rows(1)), np.abs(rows(2))
    for i in range(len(a)):
        for k in range(a.shape[1]):
            x, y = a[i, k], b[i, k]
            assert abs_difference(a, b)[i, k] == abs(x - y)
            assert chi_square(a, b)[i, k] == pytest.approx((x - y) ** 2 / (x + y), rel=1e-8)


def test_chi_square_is_the_sum_over_positive_and_negative_parts():
    a, b = rows(3), rows(4)
    total = np.zeros_like(a)
    for sign in (1, -1):
        x, y = np.maximum(sign * a, 0), np.maximum(sign * b, 0)
        both = x + y
        total += np.divide((x - y) ** 2, both, out=np.zeros_like(both), where=both > 0)
    np.testing.assert_allclose(chi_square(a, b), total, rtol=1e-7)


def test_chi_square_of_zeros_is_zero():
    assert chi_square(np.zeros((1, 3)), np.zeros((1, 3))).tolist() == [[0, 0, 0]]


@given(paired_rows())
def test_distances_are_symmetric_and_zero_on_themselves(pair):
    a, b = pair
    for function in PAIRED:
        np.testing.assert_allclose(function(a, b), function(b, a), rtol=1e-12, atol=1e-12)
    for function in (squared_l2, cosine_distance, abs_difference, chi_square):
        assert (function(a, a) == 0).all()
    np.testing.assert_allclose(cosine_similarity(a, a), 1, atol=1e-12)


@given(paired_rows())
def test_unit_rows_stay_in_range_and_squared_l2_is_twice_the_cosine_distance(pair):
    a, b = (normalise(x) for x in pair)
    d = squared_l2(a, b)
    assert (d >= 0).all()
    assert (d <= 4 + 1e-12).all()
    np.testing.assert_allclose(d, 2 * cosine_distance(a, b), atol=1e-12)
    assert (np.abs(cosine_similarity(a, b)) <= 1).all()
    bound = np.abs(a) + np.abs(b)
    assert (chi_square(a, b) <= bound + 1e-12).all()


@given(paired_rows(), st.floats(1e-3, 1e3), st.floats(1e-3, 1e3))
def test_cosine_does_not_see_the_length(pair, s, t):
    a, b = pair
    np.testing.assert_allclose(cosine_distance(s * a, t * b), cosine_distance(a, b), atol=1e-12)


@given(st.integers(0, 2**32 - 1))
def test_squared_l2_does_not_see_a_rotation(seed):
    generator = np.random.default_rng(seed)
    rotation, _ = np.linalg.qr(generator.normal(size=(7, 7)))
    a, b = generator.normal(size=(2, 5, 7))
    np.testing.assert_allclose(squared_l2(a @ rotation, b @ rotation), squared_l2(a, b), rtol=1e-9)


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1.0, 1e160, 1e300])
def test_normalise_neither_underflows_nor_overflows(scale):
    x = rows(5)
    np.testing.assert_allclose(normalise(x * scale), normalise(x), rtol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(normalise(x * scale), axis=1), 1, rtol=1e-12)


def test_small_cosine_distances_do_not_cancel():
    a = np.array([[1.0, 0.0]])
    b = np.array([[1.0, 1e-9]])
    assert cosine_distance(a, b)[0] == pytest.approx(0.5e-18, rel=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floating_type_is_kept(dtype):
    a, b = rows(1).astype(dtype), rows(2).astype(dtype)
    for function in (*PAIRED, pairwise_squared_l2):
        assert function(a, b).dtype == dtype


def test_integers_are_computed_in_float64():
    a, b = np.array([[250, 0]], np.uint8), np.array([[0, 250]], np.uint8)
    assert squared_l2(a, b).tolist() == [125000.0]


def test_half_precision_is_widened():
    a = np.full((1, 128), 60, np.float16)
    assert squared_l2(a, -a)[0] == 128 * 120**2


@pytest.mark.parametrize("function", PAIRED)
def test_shapes_that_differ_are_refused(function):
    with pytest.raises(ShapeError, match=r"\(20, 7\) and \(3, 7\)"):
        function(rows(1), rows(2, 3))
    with pytest.raises(ShapeError, match=r"\(N, D\), got \(7,\)"):
        function(rows(1)[0], rows(2)[0])


def test_other_refusals():
    with pytest.raises(ShapeError, match="width D, got 7 and 6"):
        pairwise_squared_l2(rows(1), rows(2, 5, 6))
    with pytest.raises(ShapeError, match="real numbers"):
        normalise([["a"]])
    with pytest.raises(ZeroNormError, match="row 1 of 2"):
        normalise([[1.0, 0.0], [0.0, 0.0]])
    with pytest.raises(ZeroNormError):
        cosine_similarity([[0.0, 0.0]], [[1.0, 0.0]])
    with pytest.raises(InputError, match="finite"):
        normalise([[np.nan, 1.0]])
    with pytest.raises(InputError, match="eps"):
        chi_square(rows(1), rows(2), eps=0)


def test_no_rows_give_no_distances():
    empty = np.zeros((0, 5))
    assert squared_l2(empty, empty).shape == (0,)
    assert cosine_distance(empty, empty).shape == (0,)
    assert pairwise_squared_l2(empty, np.ones((3, 5))).shape == (0, 3)
