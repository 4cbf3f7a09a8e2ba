from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_curve

from limner.errors import InputError, ShapeError, TooFewPairsError
from limner.similarity import best_threshold, error_curve, threshold_at_fmr

labelled = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 3.5]) | st.floats(0, 4), st.booleans()
    ),
    min_size=2,
    max_size=30,
).filter(lambda rows: len({same for _, same in rows}) == 2)


def wrong(tau, distances, same):
    return sum((d <= tau) != s for d, s in zip(distances, same, strict=True))


@given(labelled)
def test_no_threshold_is_better_than_the_best(rows):
    distances, same = map(np.array, zip(*rows, strict=True))
    tau = best_threshold(distances, same)
    candidates = [-1.0, *distances]  # verdicts change at the distances and nowhere else
    assert wrong(tau, distances, same) == min(wrong(t, distances, same) for t in candidates)


def test_best_threshold_is_the_middle_of_the_gap():
    assert best_threshold([0.1, 0.4, 0.8, 1.2], [True, True, False, False]) == pytest.approx(0.6)


def test_best_threshold_takes_the_widest_of_equal_gaps():
    # one mistake at 0.15, at 0.3 and at 1.0; the last gap is the widest
    tau = best_threshold([0.1, 0.2, 0.4, 1.6], [True, False, True, False])
    assert tau == pytest.approx(1.0)


def test_best_threshold_between_neighbouring_floats():
    low = 1.0
    high = np.nextafter(low, 2)
    tau = best_threshold([low, high], [True, False])
    assert low <= tau < high


@given(st.lists(st.floats(0, 4), min_size=1, max_size=200), st.floats(0.01, 0.99))
def test_threshold_at_fmr_keeps_the_rate_and_is_the_largest_that_does(values, fmr):
    distances = np.array(values)
    tau = threshold_at_fmr(distances, fmr, min_expected=0)
    assert (distances <= tau).mean() <= fmr + 1e-12
    above = distances[distances > tau]
    assert above.size
    assert (distances <= above.min()).mean() > fmr * (1 - 1e-12)


def test_threshold_at_fmr_on_a_ladder():
    distances = np.arange(1, 1001) / 1000
    assert threshold_at_fmr(distances, 0.05) == pytest.approx(0.0505)
    assert (distances <= threshold_at_fmr(distances, 0.01)).sum() == 10


def test_a_rate_that_the_pairs_cannot_show_is_refused_with_the_count_needed():
    with pytest.raises(
        TooFewPairsError, match=r"at least 10,000 pairs of different people, got 9,999"
    ):
        threshold_at_fmr(np.linspace(0, 4, 9999), 1e-3)
    assert threshold_at_fmr(np.linspace(0, 4, 10_000), 1e-3) > 0


@given(labelled)
def test_error_curve_equals_counting(rows):
    distances, same = map(np.array, zip(*rows, strict=True))
    curve = error_curve(distances, same)
    for tau, fmr, fnmr in zip(
        curve.thresholds, curve.false_match_rate, curve.false_non_match_rate, strict=True
    ):
        assert fmr == pytest.approx((distances[~same] <= tau).mean(), abs=1e-12)
        assert fnmr == pytest.approx((distances[same] > tau).mean(), abs=1e-12)
    assert curve.false_match_rate[0] == 0
    assert curve.false_non_match_rate[-1] == pytest.approx(0, abs=1e-12)


def test_error_curve_equals_sklearn():
    generator = np.random.default_rng(0)
    same = generator.uniform(size=400) < 0.5
    distances = np.round(generator.normal(np.where(same, 0.8, 1.4), 0.3), 2)
    curve = error_curve(distances, same)
    fpr, tpr, thresholds = roc_curve(same, -distances, drop_intermediate=False)
    np.testing.assert_allclose(curve.false_match_rate, fpr)
    np.testing.assert_allclose(1 - curve.false_non_match_rate, tpr)
    np.testing.assert_allclose(curve.thresholds[1:], -thresholds[1:])


def test_equal_error_rate():
    # one of four crosses on each side
    distances = [0.1, 0.2, 0.3, 0.9, 0.5, 1.1, 1.2, 1.3]
    assert error_curve(distances, [True] * 4 + [False] * 4).equal_error_rate() == pytest.approx(
        0.25
    )
    apart = error_curve([0.1, 0.2, 1.0, 1.1], [True, True, False, False])
    assert apart.equal_error_rate() == 0


def test_equal_error_rate_of_two_shifted_normals():
    generator = np.random.default_rng(1)
    distances = np.concatenate([generator.normal(0, 1, 20_000), generator.normal(2, 1, 20_000)])
    curve = error_curve(distances, np.arange(40_000) < 20_000)
    assert curve.equal_error_rate() == pytest.approx(0.158655, abs=0.005)  # Phi(-1)


def test_refusals():
    with pytest.raises(TooFewPairsError, match="both needed"):
        best_threshold([0.1, 0.2], [True, True])
    with pytest.raises(ShapeError, match=r"\(2,\), got \(1,\)"):
        error_curve([0.1, 0.2], [True])
    with pytest.raises(ShapeError):
        best_threshold([[0.1]], [[True]])
    with pytest.raises(InputError, match="finite"):
        best_threshold([0.1, np.nan], [True, False])
    for fmr in (0, 1, -0.1, np.nan):
        with pytest.raises(InputError, match="between 0 and 1"):
            threshold_at_fmr(np.ones(100), fmr)
