"""The pairs protocol against a brute-force one."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limner.errors import InputError, ShapeError, TooFewPairsError
from limner.evaluation.pairs import draw_folds, score_pairs

FINE = (0.1, 0.01, 0.001)


def brute_best_wrong(d: np.ndarray, same: np.ndarray) -> int:
    taus = [-1.0, *d.tolist()]
    return min(sum((x <= t) != s for x, s in zip(d, same, strict=True)) for t in taus)


@given(st.integers(0, 10_000), st.sampled_from([3, 10, 10**6]), st.integers(2, 5))
@settings(deadline=None, max_examples=60)
def test_protocol_against_loops(seed: int, levels: int, folds: int) -> None:
    rng = np.random.default_rng(seed)
    n = 12 * folds
    same = np.tile([True, False], n // 2)
    d = rng.integers(0, levels, n) / levels + 0.3 * ~same
    fold = np.arange(n) // 12
    scores = score_pairs(d, same, fold, fars=(0.1,), resamples=3)
    for k in range(folds):
        train, test = fold != k, fold == k
        tau = scores.thresholds[k]
        wrong = int(((d[train] <= tau) != same[train]).sum())
        assert wrong == brute_best_wrong(d[train], same[train])
        right = np.mean([(x <= tau) == s for x, s in zip(d[test], same[test], strict=True)])
        assert scores.accuracies[k] == pytest.approx(right)
        assert (scores.tau[test] == tau).all()
    assert scores.accuracy == pytest.approx(np.mean(scores.accuracies))
    assert scores.accuracy_std == pytest.approx(np.std(scores.accuracies, ddof=1))
    assert scores.accuracy_se == pytest.approx(scores.accuracy_std / folds**0.5)
    assert (scores.right == ((d <= scores.tau) == same)).all()


def test_the_threshold_never_sees_its_own_fold() -> None:
    # fold 1 is labelled the wrong way round: whoever looked at it would choose otherwise
    d = np.array([0.1, 0.2, 0.8, 0.9, 0.1, 0.2, 0.8, 0.9])
    same = np.array([1, 1, 0, 0, 0, 0, 1, 1], bool)
    fold = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    scores = score_pairs(d, same, fold, fars=(), resamples=2)
    assert scores.thresholds[1] == pytest.approx(0.5)
    assert scores.accuracies.tolist() == [0.5, 0.0]


def test_threshold_is_the_middle_of_the_widest_of_the_best_gaps() -> None:
    d = np.array([0.0, 0.1, 1.0, 1.1] * 2)
    same = np.array([1, 1, 0, 0] * 2, bool)
    scores = score_pairs(d, same, np.arange(8) // 4, fars=(), resamples=2)
    assert scores.thresholds.tolist() == pytest.approx([0.55, 0.55])
    assert scores.accuracy == 1


def test_rates_are_refused_or_flagged() -> None:
    rng = np.random.default_rng(0)
    same = np.arange(400) < 200
    d = rng.random(400) + ~same
    rates = score_pairs(d, same, np.arange(400) % 10, fars=FINE, resamples=50).tar_at_far
    assert rates[0].note == ""
    assert rates[0].value == 1
    assert rates[1].note.startswith("few: rests on 2 of 200 different pairs")
    assert rates[2].value is None
    assert rates[2].low is None
    assert "200 different pairs cannot show a rate of 0.001" in rates[2].note


def test_json_is_plain_and_complete() -> None:
    rng = np.random.default_rng(0)
    same = np.arange(100) % 2 == 0
    scores = score_pairs(rng.random(100) + 0.2 * ~same, same, np.arange(100) // 10, resamples=100)
    document = json.loads(json.dumps(scores.to_json(), allow_nan=False))
    assert set(document) >= {
        "accuracy",
        "accuracy_std",
        "accuracy_se",
        "folds",
        "auc",
        "eer",
        "tar_at_far",
        "thresholds",
        "pairs",
    }
    assert set(document["tar_at_far"]) == {"0.01", "0.001"}
    assert set(document["tar_at_far"]["0.01"]) >= {"value", "low", "high"}
    assert len(document["folds"]) == len(document["thresholds"]) == 10
    assert document["pairs"] == 100
    low, high = document["auc_interval"]
    assert low <= document["auc"] <= high


def test_what_cannot_be_scored_is_refused() -> None:
    with pytest.raises(ShapeError):
        score_pairs([0.1, 0.2], [True], [0, 1])
    with pytest.raises(TooFewPairsError):
        score_pairs([0.1, 0.2], [True, True], [0, 1])
    with pytest.raises(InputError, match="finite"):
        score_pairs([0.1, np.inf], [True, False], [0, 0])


def test_folds_are_dealt_evenly() -> None:
    same = np.arange(57) < 23
    fold = draw_folds(same, folds=5, seed=3)
    for kind in (True, False):
        sizes = np.bincount(fold[same == kind], minlength=5)
        assert sizes.max() - sizes.min() <= 1
    assert np.array_equal(fold, draw_folds(same, folds=5, seed=3))
    assert not np.array_equal(fold, draw_folds(same, folds=5, seed=4))
    with pytest.raises(TooFewPairsError, match="at least 10"):
        draw_folds([True] * 9 + [False] * 50)
    with pytest.raises(InputError):
        draw_folds(same, folds=1)
