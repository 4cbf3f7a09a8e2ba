from __future__ import annotations

import importlib
import json
import stat
from importlib import resources

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn import metrics as sklearn_metrics
from sklearn.calibration import calibration_curve

from limner import weights
from limner.errors import EmbedderMismatch, InputError, ShapeError, TooFewPairsError
from limner.similarity import (
    KINDS,
    Calibration,
    LabelledPairs,
    PairHead,
    brier_score,
    expected_calibration_error,
    false_match_table,
    fit_calibration,
    fit_pair_head,
    log_loss,
    normalise,
    pairwise_squared_l2,
    reliability_table,
    shipped,
)

SHIPPED = importlib.import_module("limner.similarity.shipped")

TABLE = ((1e-4, 0.4), (1e-3, 0.5), (1e-2, 0.6), (1e-1, 0.8))
HEAD = PairHead("squared_l2", None, 0.7, 12.0)


def calibration(**changes):
    fields = {
        "embedder_id": "made-up-0123-p1",
        "fitted_on": "made-up pairs",
        "same_pairs": 100,
        "different_pairs": 200,
        "head": HEAD,
        "heads": {"squared_l2": HEAD},
        "false_match": TABLE,
    }
    return Calibration(**{**fields, **changes})


def stated(seed=0, n=5000):
    generator = np.random.default_rng(seed)
    p = generator.uniform(size=n)
    return p, generator.uniform(size=n) < p


def pairs_of(seed, people=40, photos=4, d=12):
    generator = np.random.default_rng(seed)
    who = np.repeat(np.arange(people), photos)
    centres = generator.normal(size=(people, d))
    x = normalise(centres[who] + 0.5 * generator.normal(size=(who.size, d)))
    i, j = np.triu_indices(who.size, 1)
    same = who[i] == who[j]
    keep = same | (generator.uniform(size=i.size) < 0.1)
    impostors = pairwise_squared_l2(x, x)[i, j][~same]
    return LabelledPairs(x[i[keep]], x[j[keep]], same[keep]), impostors


def test_scores_equal_sklearn():
    p, same = stated()
    assert brier_score(p, same) == pytest.approx(sklearn_metrics.brier_score_loss(same, p))
    assert log_loss(p, same) == pytest.approx(sklearn_metrics.log_loss(same, p))


def test_reliability_table_equals_sklearn():
    p, same = stated()
    share, mean = calibration_curve(same, p, n_bins=10)
    table = reliability_table(p, same)
    np.testing.assert_allclose([row.share_same for row in table], share)
    np.testing.assert_allclose([row.mean_probability for row in table], mean)
    assert sum(row.count for row in table) == p.size


def test_calibration_error_of_honest_and_boastful_probabilities():
    p, same = stated(n=50_000)
    assert expected_calibration_error(p, same) < 0.01
    boastful = np.where(p > 0.5, 1.0, 0.0)  # right three times in four, says always
    assert expected_calibration_error(boastful, same) == pytest.approx(0.25, abs=0.01)


def test_calibration_error_by_hand():
    assert expected_calibration_error([0.9, 0.9, 0.1], [True, False, False]) == pytest.approx(
        (2 * abs(0.9 - 0.5) + 0.1) / 3
    )


def test_one_sure_and_wrong_answer_costs_a_finite_log_loss():
    assert log_loss([1.0], [False]) == pytest.approx(34.54, abs=0.01)


def test_metric_refusals():
    with pytest.raises(ShapeError):
        brier_score([], [])
    with pytest.raises(ShapeError):
        log_loss([0.5, 0.5], [True])
    with pytest.raises(InputError, match=r"\[0, 1\]"):
        log_loss([1.5], [True])
    with pytest.raises(InputError, match="bins"):
        reliability_table([0.5], [True], bins=0)


def test_the_rate_per_comparison_gives_the_wanted_fpir():
    chosen = calibration().choose_threshold(500, fpir=0.02)
    assert 1 - (1 - chosen.rate) ** 500 == pytest.approx(0.02, rel=1e-9)


def test_threshold_is_read_off_the_table_and_between_its_rows():
    one = calibration(head=PairHead("squared_l2", None, 2.0, 1.0), heads={})
    assert one.threshold_for(1, fpir=1e-3) == pytest.approx(0.5)
    z = (norm.ppf(1e-3) + norm.ppf(1e-2)) / 2
    assert one.threshold_for(1, fpir=norm.cdf(z)) == pytest.approx(0.55)
    assert one.threshold_for(1, fpir=0.5) == pytest.approx(0.8)
    assert not one.choose_threshold(1, fpir=1e-4).extrapolated


def test_distances_that_are_normal_are_carried_on_exactly():
    """The quantiles of N(2, 0.3), known down to 1e-5, asked for at 1e-9."""
    rates = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
    table = tuple((rate, float(norm.ppf(rate, 2, 0.3))) for rate in rates)
    one = calibration(head=PairHead("squared_l2", None, 2.0, 1.0), heads={}, false_match=table)
    for rate in (3e-3, 2e-5):
        assert one.threshold_for(1, fpir=rate) == pytest.approx(norm.ppf(rate, 2, 0.3))
    chosen = one.choose_threshold(10**7, fpir=0.01)
    assert chosen.extrapolated
    assert chosen.threshold == pytest.approx(norm.ppf(chosen.rate, 2, 0.3), rel=1e-6)


def test_threshold_never_exceeds_verification():
    assert calibration().threshold_for(1, fpir=0.1) == 0.7
    assert calibration().threshold == 0.7


def test_below_the_table_the_slope_of_the_tail_is_carried_on_and_said():
    chosen = calibration().choose_threshold(1, fpir=1e-5)
    assert chosen.extrapolated
    z = norm.ppf([1e-4, 1e-3, 1e-2])
    slope = np.polyfit(z, [0.4, 0.5, 0.6], 1)[0]
    assert chosen.threshold == pytest.approx(0.4 + slope * (norm.ppf(1e-5) - z[0]))
    far = calibration(false_match=((1e-4, 0.05), (1e-3, 0.5))).choose_threshold(10**9, fpir=1e-3)
    assert far.threshold == 0.0
    alone = calibration(false_match=((1e-3, 0.5),)).choose_threshold(10**9)
    assert (alone.threshold, alone.extrapolated) == (0.5, True)


def test_an_empty_gallery_and_an_empty_table_give_the_threshold_of_verification():
    assert calibration().choose_threshold(0) == calibration().choose_threshold(0, fpir=0.01)
    assert calibration().choose_threshold(0).threshold == 0.7
    bare = calibration(false_match=()).choose_threshold(100)
    assert bare.threshold == 0.7
    assert bare.extrapolated


@given(st.integers(0, 10**7), st.integers(0, 10**7), st.floats(1e-4, 0.5))
def test_more_people_never_loosen_the_threshold(some, more, fpir):
    few, many = sorted((some, more))
    assert calibration().threshold_for(many, fpir=fpir) <= calibration().threshold_for(
        few, fpir=fpir
    )


def test_measured_fpir_is_what_was_asked_for():
    """Simulated strangers against a simulated gallery; each comparison is independent."""
    generator = np.random.default_rng(7)
    draw = lambda *shape: generator.normal(2.0, 0.35, size=shape)  # noqa: E731
    fitted = calibration(
        head=PairHead("squared_l2", None, 2.0, 5.0),
        heads={},
        false_match=false_match_table(draw(1_000_000)),
    )
    tau = fitted.threshold_for(100, fpir=0.05)
    assert (draw(20_000, 100).min(axis=1) <= tau).mean() == pytest.approx(0.05, abs=0.005)


def test_false_match_table_stops_where_the_count_does():
    table = false_match_table(np.linspace(0, 4, 50_000))
    rates = [rate for rate, _ in table]
    assert min(rates) == pytest.approx(1e-3)
    assert max(rates) == 0.1
    assert false_match_table(np.linspace(0, 4, 50)) == ()


@pytest.mark.parametrize("people", [-1])
def test_choice_refusals(people):
    with pytest.raises(InputError, match="people"):
        calibration().threshold_for(people)
    with pytest.raises(InputError, match="fpir"):
        calibration().threshold_for(3, fpir=0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"embedder_id": ""}, "embedder_id"),
        ({"same_pairs": -1}, "negative"),
        ({"false_match": ((0.1, 0.5), (0.01, 0.4))}, "ascend"),
        ({"false_match": ((0.01, 0.5), (0.1, 0.4))}, "ascend"),
        ({"false_match": ((0.0, 0.5),)}, "0 < rate < 1"),
    ],
)
def test_a_calibration_is_validated_on_construction(changes, words):
    with pytest.raises(InputError, match=words):
        calibration(**changes)


def test_fit_calibration_end_to_end(tmp_path):
    train, _ = pairs_of(1)
    test, impostors = pairs_of(2)
    fitted, figures = fit_calibration(
        train, test, impostors, embedder_id="made-up-0123-p1", fitted_on="made-up people"
    )
    assert set(fitted.heads) == set(KINDS)
    assert fitted.head.kind == "squared_l2"
    assert (fitted.same_pairs, fitted.different_pairs) == (train.same.sum(), (~train.same).sum())
    assert (
        fitted.head.threshold == fit_pair_head("squared_l2", train.a, train.b, train.same).threshold
    )
    for kind in KINDS:
        head = fitted.heads[kind]
        p = head.probability(head.distance(test.a, test.b))
        got = figures["heads"][kind]
        assert got["accuracy"] == ((p >= 0.5) == test.same).mean()
        assert got["brier"] == pytest.approx(((p - test.same) ** 2).mean())
        assert got["accuracy"] > 0.9
    for rate, tau in fitted.false_match:
        assert (impostors <= tau).mean() <= rate
    assert figures["false_match_rate_at_threshold"] == (impostors <= fitted.threshold).mean()

    fitted.save(tmp_path / "c.json")
    again = Calibration.load(tmp_path / "c.json")
    assert again.to_json() == fitted.to_json()
    assert stat.S_IMODE((tmp_path / "c.json").stat().st_mode) == 0o644
    assert [p.name for p in tmp_path.iterdir()] == ["c.json"]
    assert again.figures == json.loads(json.dumps(figures))


def test_fit_without_held_out_pairs_or_impostors():
    train, _ = pairs_of(1)
    fitted, figures = fit_calibration(
        train, embedder_id="x", fitted_on="y", kinds=("cosine",), head="cosine"
    )
    assert fitted.false_match == ()
    assert figures["heads"] == {}
    with pytest.raises(InputError, match="default head"):
        fit_calibration(train, embedder_id="x", fitted_on="y", kinds=("cosine",))
    few = LabelledPairs(train.a[:4], train.b[:4], train.same[:4])
    with pytest.raises(TooFewPairsError):
        fit_calibration(few, embedder_id="x", fitted_on="y")


def test_labelled_pairs_are_validated():
    with pytest.raises(ShapeError, match="same shape"):
        LabelledPairs(np.ones((3, 2)), np.ones((2, 2)), np.ones(3, bool))
    with pytest.raises(ShapeError, match="bool"):
        LabelledPairs(np.ones((3, 2)), np.ones((3, 2)), np.ones(3))


def test_a_calibration_refuses_another_embedder():
    calibration().require("made-up-0123-p1")
    with pytest.raises(EmbedderMismatch, match=r"made-up-0123-p1, not to other-9-p1"):
        calibration().require("other-9-p1")


def test_files_that_are_not_calibrations_are_refused(tmp_path):
    path = tmp_path / "c.json"
    for text in ("", "hello", "[]", "{}", json.dumps({**calibration().to_json(), "format": 99})):
        path.write_text(text)
        with pytest.raises(InputError, match=r"c\.json"):
            Calibration.load(path)
    with pytest.raises(InputError, match="cannot read"):
        Calibration.load(tmp_path / "absent.json")
    with pytest.raises(InputError, match="cannot write"):
        calibration().save(tmp_path / "no" / "c.json")


@pytest.fixture
def shipped_folder(tmp_path, monkeypatch):
    (tmp_path / "shipped").mkdir()
    monkeypatch.setattr(resources, "files", lambda package: tmp_path)
    SHIPPED._all.cache_clear()
    yield tmp_path / "shipped"
    SHIPPED._all.cache_clear()


def test_shipped_is_found_by_name_and_by_exact_id_only(shipped_folder):
    calibration().save(shipped_folder / "made-up.json")
    assert shipped("made-up").embedder_id == "made-up-0123-p1"
    assert shipped("made-up-0123-p1").threshold == 0.7
    assert shipped("made-up-9999-p1") is None
    assert shipped("other") is None


def test_without_shipped_files_there_is_no_calibration(shipped_folder):
    assert shipped("facenet") is None
    shipped_folder.rmdir()
    SHIPPED._all.cache_clear()
    assert shipped("facenet") is None


def installed():
    folder = resources.files("limner.similarity") / "shipped"
    return [p.name.removesuffix(".json") for p in folder.iterdir() if p.name.endswith(".json")]


@pytest.mark.parametrize("name", installed())
def test_every_installed_calibration_is_sound(name):
    found = shipped(name)
    assert found.embedder_id.split("-")[0] == name.split("-")[0]
    assert shipped(found.embedder_id) is found
    assert found.same_pairs >= 1000
    assert found.false_match[0][0] <= 1e-4
    assert found.false_match[-1][0] == 0.1
    assert found.head.kind == "squared_l2"
    assert 0.05 < found.threshold < 2


def test_every_embedder_of_the_registry_has_a_calibration_that_is_its_own():
    embedders = [n for n in weights.names() if weights.spec(n).task == "embedder"]
    for name in embedders:
        found = shipped(name)
        assert found is not None, f"similarity/shipped/{name}.json: run limner evaluate fit"
        assert found.embedder_id == weights.spec(name).embedder_id
