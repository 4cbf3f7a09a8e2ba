from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from limner.errors import InputError, ShapeError, TooFewPairsError, UnknownNameError
from limner.similarity import KINDS, PairHead, abs_difference, chi_square, fit_pair_head, normalise
from limner.similarity.heads import L2_GRID, balanced_weights, choose_l2
from limner.similarity.logistic import loss_and_gradient, minimise, sigmoid


def made_up_pairs(seed=0, same=300, different=300, d=16, noise=0.6):
    """Pairs around random identities: alike when one identity, unlike when two."""
    generator = np.random.default_rng(seed)
    a = generator.normal(size=(same + different, d))
    b = np.where(np.arange(len(a))[:, None] < same, a, generator.normal(size=a.shape))
    shake = lambda x: normalise(x + noise * generator.normal(size=x.shape))  # noqa: E731
    return shake(a), shake(b), np.arange(len(a)) < same


def sklearn_fit(terms, same, l2):
    """The same soft targets, spelt as two weighted copies of every pair."""
    n, m = same.sum(), (~same).sum()
    target = np.where(same, (n + 1) / (n + 2), 1 / (m + 2))
    weight = balanced_weights(same)
    model = LogisticRegression(C=1 / l2 if l2 else np.inf, tol=1e-12, max_iter=10_000)
    model.fit(
        np.vstack([terms, terms]),
        np.repeat([1, 0], len(terms)),
        sample_weight=np.concatenate([weight * target, weight * (1 - target)]),
    )
    return model.coef_[0], model.intercept_[0]


def test_gradient_equals_finite_differences():
    generator = np.random.default_rng(3)
    x = generator.normal(size=(50, 4))
    target, weight = generator.uniform(size=50), generator.uniform(0.1, 2, size=50)
    ridge, at = generator.uniform(0, 3, size=4), generator.normal(size=4)
    _, gradient = loss_and_gradient(at, x, target, weight, ridge)
    for k in range(4):
        step = np.zeros(4)
        step[k] = 1e-6
        up = loss_and_gradient(at + step, x, target, weight, ridge)[0]
        down = loss_and_gradient(at - step, x, target, weight, ridge)[0]
        assert gradient[k] == pytest.approx((up - down) / 2e-6, rel=1e-6, abs=1e-6)


def test_minimise_ends_where_the_gradient_is_zero():
    generator = np.random.default_rng(4)
    x = generator.normal(size=(200, 5)) * [1, 10, 0.1, 1, 1]
    target = (generator.uniform(size=200) < 0.5).astype(float)
    weight, ridge = np.ones(200), np.full(5, 0.5)
    found = minimise(x, target, weight, ridge)
    _, gradient = loss_and_gradient(found, x, target, weight, ridge)
    assert np.abs(gradient).max() < 1e-6


def test_sigmoid_is_exact_and_does_not_overflow():
    assert sigmoid(np.array([-1e9, 0.0, 1e9])).tolist() == [0.0, 0.5, 1.0]
    assert sigmoid(np.array([1.3]))[0] == pytest.approx(1 / (1 + np.exp(-1.3)), rel=1e-14)


@pytest.mark.parametrize("kind", ["squared_l2", "cosine"])
def test_two_parameter_heads_equal_sklearn(kind):
    a, b, same = made_up_pairs()
    head = fit_pair_head(kind, a, b, same)
    slope, bias = sklearn_fit(head.distance(a, b)[:, None], same, 0)
    assert head.slope == pytest.approx(-slope[0], rel=1e-4)
    assert head.threshold == pytest.approx(-bias / slope[0], rel=1e-4)


@pytest.mark.parametrize(
    ("kind", "terms"), [("weighted_l1", abs_difference), ("chi_square", chi_square)]
)
def test_weighted_heads_equal_sklearn(kind, terms):
    a, b, same = made_up_pairs()
    head = fit_pair_head(kind, a, b, same, l2=3.0)
    x = terms(a, b)
    weights, bias = sklearn_fit(x / x.mean(), same, 3.0)
    np.testing.assert_allclose(head.weights, weights / x.mean(), rtol=1e-3, atol=1e-4)
    assert head.threshold == pytest.approx(bias, rel=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_every_head_separates_new_pairs(kind):
    head = fit_pair_head(kind, *made_up_pairs(seed=1))
    a, b, same = made_up_pairs(seed=2)
    right = (head.distance(a, b) <= head.threshold) == same
    assert right.mean() > 0.93


@pytest.mark.parametrize("kind", KINDS)
def test_verdict_threshold_and_probability_agree(kind):
    a, b, same = made_up_pairs(seed=5)
    head = fit_pair_head(kind, a, b, same)
    for x, y in zip(a[::10], b[::10], strict=True):
        pair = head.judge(x, y)
        assert (
            (pair.verdict == "same")
            == (pair.probability >= 0.5)
            == (pair.distance <= head.threshold)
        )
        assert pair.threshold == head.threshold


def test_weighted_l1_is_the_notes_formula():
    weights, bias = np.array([-2.0, -0.5, 0.25]), 0.8
    head = PairHead("weighted_l1", weights, bias, 1.0)
    a, b = np.array([0.6, 0.0, 0.8]), np.array([0.0, 1.0, 0.0])
    y = 1 / (
        1 + np.exp(-(sum(w * abs(p - q) for w, p, q in zip(weights, a, b, strict=True)) + bias))
    )
    assert head.judge(a, b).probability == pytest.approx(y, rel=1e-12)


@given(
    st.floats(0.01, 3.9), st.floats(0.01, 100), st.lists(st.floats(0, 4), min_size=2, max_size=20)
)
def test_probability_falls_with_the_distance(tau, slope, values):
    head = PairHead("squared_l2", None, tau, slope)
    p = head.probability(np.sort(values))
    assert (np.diff(p) <= 0).all()
    assert ((p >= 0) & (p <= 1)).all()
    assert head.probability(tau) == 0.5


def test_a_users_threshold_moves_the_verdict_only():
    a, b, same = made_up_pairs()
    head = fit_pair_head("squared_l2", a, b, same)
    plain, strict = head.judge(a[0], b[0]), head.judge(a[0], b[0], threshold=1e-6)
    assert (plain.verdict, strict.verdict) == ("same", "different")
    assert strict.threshold == 1e-6
    assert strict.probability == plain.probability
    assert head.probability(0.3, threshold=0.3) == 0.5


def test_equal_weight_however_many_pairs_of_each_kind():
    a, b, same = made_up_pairs(same=2000, different=2000)
    some = np.flatnonzero(same)[:200].tolist() + np.flatnonzero(~same).tolist()
    balanced = fit_pair_head("squared_l2", a, b, same)
    skewed = fit_pair_head("squared_l2", a[some], b[some], same[some])
    assert skewed.threshold == pytest.approx(balanced.threshold, rel=0.06)


def test_separable_pairs_give_a_finite_slope_and_a_threshold_in_the_gap():
    a, b, same = made_up_pairs(noise=0.05, d=64)
    head = fit_pair_head("squared_l2", a, b, same)
    d = head.distance(a, b)
    assert d[same].max() < head.threshold < d[~same].min()
    assert head.slope < 1e4


def test_cross_validation_takes_the_best_of_the_grid():
    a, b, same = made_up_pairs(same=60, different=60, d=64)
    terms = abs_difference(a, b)
    best = choose_l2(terms, same)
    fresh_a, fresh_b, fresh_same = made_up_pairs(seed=9, same=2000, different=2000, d=64)

    def loss(l2):
        head = fit_pair_head("weighted_l1", a, b, same, l2=l2)
        p = head.probability(head.distance(fresh_a, fresh_b))
        return -np.log(np.where(fresh_same, p, 1 - p)).mean()

    losses = {l2: loss(l2) for l2 in L2_GRID}
    assert losses[best] <= min(losses.values()) * 1.1
    assert max(losses.values()) > min(losses.values()) * 1.1
    chosen = fit_pair_head("weighted_l1", a, b, same).weights
    np.testing.assert_array_equal(chosen, fit_pair_head("weighted_l1", a, b, same, l2=best).weights)


@pytest.mark.parametrize("kind", KINDS)
def test_json_round_trip(kind):
    a, b, same = made_up_pairs(same=40, different=40)
    head = fit_pair_head(kind, a, b, same)
    again = PairHead.from_json(json.loads(json.dumps(head.to_json())))
    np.testing.assert_array_equal(again.distance(a, b), head.distance(a, b))
    assert (again.threshold, again.slope, again.kind) == (head.threshold, head.slope, kind)


def test_refusals():
    a, b, same = made_up_pairs()
    with pytest.raises(
        UnknownNameError, match="squared_l2, cosine, weighted_l1, chi_square, got 'l2'"
    ):
        fit_pair_head("l2", a, b, same)
    with pytest.raises(TooFewPairsError, match="got 5 and 300"):
        fit_pair_head("cosine", a[295:], b[295:], same[295:])
    with pytest.raises(InputError, match="wrong way round"):
        fit_pair_head("squared_l2", a, b, ~same)
    with pytest.raises(InputError, match="equally distant"):
        fit_pair_head("squared_l2", a, a, same)
    with pytest.raises(ShapeError, match=r"\(600,\), got \(599,\)"):
        fit_pair_head("squared_l2", a, b, same[1:])
    with pytest.raises(InputError, match="l2 applies"):
        fit_pair_head("cosine", a, b, same, l2=1.0)
    with pytest.raises(InputError, match="0 or larger"):
        fit_pair_head("chi_square", a, b, same, l2=-1.0)
    with pytest.raises(ShapeError, match="width 3, got 16"):
        PairHead("weighted_l1", np.ones(3), 0.0, 1.0).distance(a, b)
    with pytest.raises(ShapeError, match="vectors"):
        fit_pair_head("cosine", a, b, same).judge(a, b)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (("squared_l2", None, np.nan, 1.0), "threshold must be finite"),
        (("squared_l2", None, 1.0, 0.0), "slope must be a positive"),
        (("squared_l2", np.ones(3), 1.0, 1.0), "takes no weights"),
        (("chi_square", None, 1.0, 1.0), "needs weights"),
        (("chi_square", np.array([np.inf]), 1.0, 1.0), "finite"),
        (("manhattan", None, 1.0, 1.0), "kind must be one of"),
    ],
)
def test_a_head_is_validated_on_construction(fields, words):
    with pytest.raises(InputError, match=words):
        PairHead(*fields)


@pytest.mark.parametrize(
    "document",
    [{}, {"kind": "cosine"}, {"kind": "cosine", "weights": None, "threshold": "x", "slope": 1}],
)
def test_what_is_not_a_head_is_refused(document):
    with pytest.raises(InputError):
        PairHead.from_json(document)
