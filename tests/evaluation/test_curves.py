"""Curves and bootstrap against scikit-learn and plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve

from limner.errors import InputError
from limner.evaluation import bootstrap, curves
from limner.similarity import error_curve


@st.composite
def labelled(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Distances (often tied) with labels, both kinds at least once."""
    n = draw(st.integers(2, 40))
    levels = draw(st.sampled_from([2, 5, 1000]))
    d = np.array(draw(st.lists(st.integers(0, levels), min_size=n, max_size=n))) / levels
    same = np.array(draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    same[0], same[1] = True, False
    return d, same


def brute_accepted_at(positives: np.ndarray, negatives: np.ndarray, rate: float) -> float:
    best = 0.0
    candidates = np.unique(np.concatenate([positives, negatives, [-1.0]]))
    for tau in candidates:
        if sum(n <= tau for n in negatives) <= rate * len(negatives) + 1e-9:
            best = max(best, sum(p <= tau for p in positives) / len(positives))
    return best


@given(labelled())
@settings(deadline=None)
def test_auc_is_scikit_learns(case: tuple[np.ndarray, np.ndarray]) -> None:
    d, same = case
    assert curves.auc(d, same) == pytest.approx(roc_auc_score(same, -d), abs=1e-12)


@given(labelled(), st.sampled_from([0.01, 0.1, 0.25, 1 / 3, 0.5, 0.9]))
@settings(deadline=None)
def test_tar_at_far_is_the_best_that_any_threshold_gives(
    case: tuple[np.ndarray, np.ndarray], rate: float
) -> None:
    d, same = case
    expected = brute_accepted_at(d[same], d[~same], rate)
    assert curves.accepted_at(d[same], d[~same], rate) == pytest.approx(expected)


@given(labelled())
@settings(deadline=None)
def test_step_roc_is_scikit_learns(case: tuple[np.ndarray, np.ndarray]) -> None:
    d, same = case
    far, tar = curves.step_roc(d, same)
    expected_far, expected_tar, _ = roc_curve(same, -d, drop_intermediate=False)
    assert np.allclose(far, expected_far)
    assert np.allclose(tar, expected_tar)


def test_allowed_does_not_lose_one_to_rounding() -> None:
    assert curves.allowed(3000, 1e-3) == 3
    assert curves.allowed(1000, 0.007) == 7
    assert curves.allowed(999, 1e-3) == 0
    for rate in (0, 1, -0.1, 1.5):
        with pytest.raises(InputError, match="between 0 and 1"):
            curves.allowed(10, rate)


@pytest.mark.parametrize(
    ("negatives", "rate", "stated", "note"),
    [
        (3000, 1e-2, True, ""),
        (3000, 1e-3, True, "few: rests on 3 of 3,000 pairs."),
        (
            3000,
            1e-4,
            False,
            "3,000 pairs cannot show a rate of 0.0001; at least 10,000",
        ),
        (10, 0.1, True, "few: rests on 1 of 10"),
        (9, 0.1, False, "at least 10 are needed, 100 for a steady figure"),
        (100, 0.1, True, ""),
    ],
)
def test_support(negatives: int, rate: float, stated: bool, note: str) -> None:
    result = curves.support(negatives, rate, what="pairs")
    assert result[0] is stated
    assert note in result[1]
    assert bool(note) == bool(result[1])


# --- bootstrap --------------------------------------------------------------------------


def expand(d: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    return np.repeat(d, drawn)


@given(labelled(), st.integers(0, 5))
@settings(deadline=None, max_examples=60)
def test_each_resample_has_the_figures_of_its_expanded_pairs(
    case: tuple[np.ndarray, np.ndarray], seed: int
) -> None:
    d, same = case
    rates = (0.1, 0.5)
    result = bootstrap.resample_pairs(d, same, rates=rates, resamples=4, seed=seed)
    generator = np.random.default_rng(seed)
    drawn_same = bootstrap.counts(generator, int(same.sum()), 4)
    drawn_different = bootstrap.counts(generator, int((~same).sum()), 4)
    assert (drawn_same.sum(axis=1) == same.sum()).all()
    for b in range(4):
        positives = expand(d[same], drawn_same[b])
        negatives = expand(d[~same], drawn_different[b])
        all_d = np.concatenate([positives, negatives])
        labels = np.concatenate([np.ones(positives.size, bool), np.zeros(negatives.size, bool)])
        assert result.auc[b] == pytest.approx(roc_auc_score(labels, -all_d), abs=1e-12)
        assert result.eer[b] == pytest.approx(
            error_curve(all_d, labels).equal_error_rate(), abs=1e-12
        )
        for column, rate in enumerate(rates):
            expected = brute_accepted_at(positives, negatives, rate)
            assert result.tar[b, column] == pytest.approx(expected)


def test_resamples_do_not_depend_on_how_they_are_divided(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    d, same = rng.random(50), rng.random(50) < 0.5
    whole = bootstrap.resample_pairs(d, same, rates=[0.1], resamples=1000)
    again = bootstrap.resample_pairs(d, same, rates=[0.1], resamples=1000)
    assert np.array_equal(whole.auc, again.auc)
    other = bootstrap.resample_pairs(d, same, rates=[0.1], resamples=1000, seed=1)
    assert not np.array_equal(whole.auc, other.auc)
    monkeypatch.setattr(bootstrap, "_CELLS", 400)
    parted = bootstrap.resample_pairs(d, same, rates=[0.1], resamples=1000)
    assert parted.auc.shape == (1000,)
    assert parted.auc.mean() == pytest.approx(whole.auc.mean(), abs=0.02)
    assert sum(bootstrap.chunks(1000, 50)) == 1000


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    n, inside, runs = 60, 0, 80
    truth = 0.7602  # P(N(0,1) < N(1,1)), checked below
    draws = rng.standard_normal((2, 400_000))
    assert np.mean(draws[0] < draws[1] + 1) == pytest.approx(truth, abs=0.003)
    for run in range(runs):
        d = np.concatenate([rng.standard_normal(n), rng.standard_normal(n) + 1])
        same = np.arange(2 * n) < n
        resampled = bootstrap.resample_pairs(d, same, resamples=300, seed=run)
        low, high = bootstrap.interval(resampled.auc)
        inside += low <= truth <= high
    assert 0.87 <= inside / runs <= 1


def test_resamples_must_be_positive() -> None:
    with pytest.raises(InputError, match="resamples"):
        bootstrap.resample_pairs([0.0, 1.0], [True, False], resamples=0)
