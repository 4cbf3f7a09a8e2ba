"""Quality moves thresholds and probabilities by the formula, and can make a pair unclear."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from limner.errors import InputError
from limner.similarity import Calibration, PairHead
from limner.similarity.quality_rule import Drop, QualityRule
from limner.similarity.verdicts import Verdicts
from limner.types import Embedding

ID = "toy-0123456789ab-p1"
TAU, SLOPE = 1.0, 8.0
RULE = QualityRule(
    good=0.9,
    tau_drop=0.5,
    slope_drop=Drop(worse=1.5, better=0.4),
    middle_drop=Drop(worse=-0.2, better=0.3),
    figures={"auc": 0.9},
)


def calibration(rule: QualityRule | None = RULE) -> Calibration:
    head = PairHead(kind="squared_l2", weights=None, threshold=TAU, slope=SLOPE)
    return Calibration(ID, "toys", 10, 10, head, {"squared_l2": head}, quality=rule)


def verdicts(rule: QualityRule | None = RULE) -> Verdicts:
    return Verdicts.of(ID, calibration(rule), "")


def pair(
    distance: float, a: float | None, b: float | None, reasons: tuple[str | None, str | None]
) -> tuple[Embedding, Embedding]:
    cosine = 1 - distance / 2
    first = np.array([1, 0], np.float32)
    second = np.array([cosine, math.sqrt(1 - cosine**2)], np.float32)
    return Embedding(first, ID, a, reasons[0]), Embedding(second, ID, b, reasons[1])


CLEAR = (None, None)
QUALITIES = [(1.0, 1.0), (0.9, 0.2), (0.6, 0.8), (0.5, 0.1), (0.0, 0.0), (None, 0.3), (None, None)]


@pytest.mark.parametrize(("a", "b"), QUALITIES)
@pytest.mark.parametrize("distance", [0.3, 0.7, 0.97, 1.2])
def test_a_pair_is_judged_by_the_formula(a, b, distance):
    better = max(1.0 if q is None else q for q in (a, b))
    worse = min(1.0 if q is None else q for q in (a, b))
    tau = max(0.0, 1.0 - 0.5 * max(0.0, 0.9 - better))
    short_w, short_b = max(0.0, 0.9 - worse), max(0.0, 0.9 - better)
    slope = 8.0 * math.exp(-1.5 * short_w - 0.4 * short_b)
    middle = 1.0 + 0.2 * short_w - 0.3 * short_b
    found = verdicts().compare(*pair(distance, a, b, CLEAR))
    assert found.threshold == pytest.approx(tau)
    assert found.probability == pytest.approx(
        1 / (1 + math.exp(-slope * (middle - distance))), abs=1e-5
    )
    wanted = "same" if distance <= tau else "unclear" if distance <= TAU else "different"
    assert found.verdict == wanted
    assert (found.reason is not None) == (wanted == "unclear")


def test_a_face_of_unknown_quality_counts_as_good():
    known = verdicts().compare(*pair(0.9, 1.0, 0.4, CLEAR))
    unknown = verdicts().compare(*pair(0.9, None, 0.4, CLEAR))
    assert known == unknown


def test_without_a_rule_quality_moves_nothing():
    poor = verdicts(None).compare(*pair(0.9, 0.0, 0.0, CLEAR))
    assert (poor.threshold, poor.verdict) == (TAU, "same")


@pytest.mark.parametrize("distance", [0.1, 3.0])
def test_a_reason_makes_a_pair_unclear_unless_it_is_accepted(distance):
    faces = pair(distance, 0.1, 0.95, ("the face is blurred", None))
    found = verdicts().compare(*faces)
    assert found.verdict == "unclear"
    assert found.reason == "in the first photo the face is blurred"
    accepted = verdicts().compare(*faces, accept_unclear=True)
    assert accepted.verdict == ("same" if distance < 1 else "different")
    assert accepted.reason is None


def test_a_users_own_threshold_has_no_band_of_close_calls():
    found = verdicts().compare(*pair(0.9, 0.0, 0.0, CLEAR), threshold=0.95)
    assert (found.threshold, found.verdict) == (0.95, "same")


def match(distance: float, quality: float, enrolled: tuple[float, str | None], **more):
    probe = Embedding(np.array([1, 0], np.float32), ID, quality, more.pop("reason", None))
    return verdicts().match(probe, "Ada", distance, None, faces=1, enrolled=enrolled, **more)


def test_identification_is_judged_by_the_same_formula():
    tau = TAU - 0.5 * (0.9 - 0.6)  # the better of 0.4 and 0.6
    assert match(0.5, 0.4, (0.6, None)).threshold == pytest.approx(tau)
    near, close, far = (match(d, 0.4, (0.6, None)) for d in (0.5, 0.9, 1.1))
    assert (near.verdict, near.person) == ("recognised", "Ada")
    assert (close.verdict, close.person) == ("unclear", None)
    assert (far.verdict, far.person) == ("not_recognised", None)


def test_a_poor_enrolled_photo_names_nobody():
    enrolled = (0.1, "the face is blurred")
    found = match(0.2, 0.95, enrolled)
    assert (found.verdict, found.person, found.nearest) == ("unclear", None, "Ada")
    assert found.reason == "in the enrolled photo of Ada, the face is blurred"
    assert match(0.2, 0.95, enrolled, accept_unclear=True).person == "Ada"
    # A face that is far from everybody is not that person's, however poor their photo is.
    assert match(3.0, 0.95, enrolled).verdict == "not_recognised"


def test_a_poor_probe_is_unclear_however_far_it_is():
    for distance in (0.1, 3.0):
        found = match(distance, 0.1, (0.95, None), reason="the face is too dark")
        assert (found.verdict, found.person) == ("unclear", None)
        assert found.reason == "the face is too dark"


def test_a_calibration_keeps_its_rule_and_one_without_it_loads(tmp_path):
    path = tmp_path / "own.json"
    calibration().save(path)
    loaded = Calibration.load(path)
    assert loaded.quality == RULE
    assert loaded.quality is not None
    assert loaded.quality.figures == {"auc": 0.9}
    document = json.loads(path.read_text())
    document.pop("quality")
    path.write_text(json.dumps(document))
    assert Calibration.load(path).quality is None
    calibration(None).save(path)
    assert Calibration.load(path).quality is None


def test_a_rule_from_before_the_middle_moved_means_what_it_meant():
    old = {"good": 0.9, "tau_drop": 0.5, "slope_drop": 1.5, "figures": {}}
    rule = QualityRule.from_json(old)
    assert (rule.slope_drop, rule.middle_drop) == (Drop(worse=1.5), Drop(better=0.5))
    for qualities in ((0.4, 0.6), (0.95, 0.1)):
        assert rule.middle(1.0, qualities) == pytest.approx(rule.threshold(1.0, qualities))


@pytest.mark.parametrize("drop", ["slope_drop", "middle_drop"])
def test_drops_that_are_no_drops_are_refused(tmp_path, drop):
    path = tmp_path / "own.json"
    calibration().save(path)
    document = json.loads(path.read_text())
    for wrong in ({"worst": 1.0}, {"worse": float("nan")}, "much"):
        document["quality"][drop] = wrong
        path.write_text(json.dumps(document))
        with pytest.raises(InputError):
            Calibration.load(path)


@pytest.mark.parametrize(
    "values", [(1.1, 0), (0.5, -0.1), (0.5, float("nan")), (0.5, 0, Drop(worse=math.inf))]
)
def test_unusable_rules_are_refused(values):
    with pytest.raises(InputError, match="a quality rule needs"):
        QualityRule(*values)
