"""A gallery's own threshold: counts, refusals, and the rate that comes out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gallery_helpers import (
    EMBEDDER,
    OTHER_EMBEDDER,
    board,
    emb,
    open_new,
    toy_analyzer,
)
from scipy.stats import binom

from limner.errors import EmbedderMismatch, InputError, TooFewPairsError
from limner.gallery import Gallery
from limner.gallery.calibrate import (
    MAX_PHOTOS_A_PERSON,
    _upper_bound,
    calibrate_folder,
    people_needed,
)
from limner.types import Embedding


def population(
    people: int, photos: int, *, seed: int = 0, noise: float = 0.35, dim: int = 16
) -> dict[str, list[Embedding]]:
    rng = np.random.default_rng(seed)
    found = {}
    for number in range(people):
        centre = rng.standard_normal(dim)
        centre /= np.linalg.norm(centre)
        rows = centre + noise * rng.standard_normal((photos, dim)) / np.sqrt(dim)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        found[f"P{number}"] = [emb(row) for row in rows.astype(np.float32)]
    return found


def pairs_of(labelled: dict[str, list[Embedding]]) -> tuple[np.ndarray, np.ndarray]:
    """The oracle: all distances of one person, and of two, in float64."""
    rows = [(n, e.vector.astype(np.float64)) for n, found in labelled.items() for e in found]
    same, different = [], []
    for i, (name, a) in enumerate(rows):
        for other, b in rows[i + 1 :]:
            (same if name == other else different).append(float(((a - b) ** 2).sum()))
    return np.array(same), np.array(different)


@pytest.mark.parametrize(
    ("rate", "people"), [(1e-3, 78), (1e-2, 25), (1e-1, 9), (0.5, 4), (1e-4, 246)]
)
def test_how_many_people_a_rate_needs(rate: float, people: int) -> None:
    assert people_needed(rate) == people
    assert people * (people - 1) / 2 >= 3 / rate > (people - 1) * (people - 2) / 2


def test_calibration_counts_and_rate(gallery: Gallery) -> None:
    labelled = population(40, 4)
    report = gallery.calibrate(labelled, false_match_rate=0.01)
    same, different = pairs_of(labelled)
    assert (report.people, report.photos) == (40, 160)
    assert (report.same_pairs, report.different_pairs) == (len(same), len(different))
    assert report.people_pairs == 780
    assert report.false_matches == (different <= report.threshold).sum()
    assert report.false_matches / len(different) <= 0.01
    # The largest such threshold: letting the next pair in would be too many.
    nearest_refused = different[different > report.threshold].min()
    assert (different <= nearest_refused).mean() > 0.01 - 1 / len(different)
    assert report.same_found == pytest.approx((same <= report.threshold).mean())
    assert report.slope > 0


def test_calibration_is_kept_and_used(tmp_path: Path) -> None:
    labelled = population(40, 4)
    with open_new(tmp_path) as gallery:
        report = gallery.calibrate(labelled, false_match_rate=0.01, fitted_on="my family")
        assert len(gallery) == 0  # measured, not enrolled
    with Gallery.open(tmp_path / "g.limner") as gallery:
        gallery.enroll("P0", labelled["P0"][:1])
        pair = gallery.verify("P0", labelled["P0"][1])
        assert pair.threshold == report.threshold
        assert pair.probability is not None
        assert (pair.probability >= 0.5) == (pair.verdict == "same")
        info = gallery.info()
        assert info.calibration == "this gallery's own: my family"
        assert info.verify_threshold == report.threshold
        own = gallery.own_calibration
        assert own is not None
        assert own.figures["people"] == 40
        assert own.embedder_id == EMBEDDER
        rates = [rate for rate, _ in own.false_match]
        assert 0.01 in rates
        assert min(rates) * report.people_pairs >= 3


def test_the_threshold_holds_for_other_people(gallery: Gallery) -> None:
    report = gallery.calibrate(population(90, 3, seed=1), false_match_rate=1e-3)
    _, different = pairs_of(population(120, 2, seed=2))
    assert (different <= report.threshold).mean() <= report.false_match_upper


def test_enrolled_photos_calibrate_by_default(gallery: Gallery) -> None:
    labelled = population(30, 3)
    gallery.enroll_many((n, e) for n, found in labelled.items() for e in found)
    report = gallery.calibrate(false_match_rate=0.01)
    assert (report.people, report.photos) == (30, 90)
    assert gallery.own_calibration is not None
    assert gallery.own_calibration.fitted_on == "90 enrolled photos of 30 people"


def test_too_few_people_are_refused_with_the_number_that_lacks(gallery: Gallery) -> None:
    words = (
        r"a false-match rate of 0\.001 needs photos of 78 people \(3,000 pairs of people\), got "
        r"50 people \(1,225 pairs\); add photos of 28 more people or ask for 0\.0025 or coarser"
    )
    with pytest.raises(TooFewPairsError, match=words):
        gallery.calibrate(population(50, 4))
    assert gallery.own_calibration is None
    assert gallery.calibrate(population(50, 4), false_match_rate=0.0025).people == 50
    with pytest.raises(TooFewPairsError, match="got none"):
        gallery.calibrate({})
    with pytest.raises(TooFewPairsError, match=r"got 1 people \(0 pairs\)"):
        gallery.calibrate(population(1, 50))
    with pytest.raises(TooFewPairsError, match="got none"):
        gallery.calibrate()


def test_too_few_photos_of_one_person_are_refused(gallery: Gallery) -> None:
    with pytest.raises(TooFewPairsError, match=r"at least 30 pairs .* got 0 from 0"):
        gallery.calibrate(population(90, 1))
    lopsided = population(90, 1)
    lopsided["P0"] = population(1, 20)["P0"]
    with pytest.raises(TooFewPairsError, match=r"from at least 5 people; got 190 from 1"):
        gallery.calibrate(lopsided)


def test_wrong_input(gallery: Gallery) -> None:
    labelled = population(30, 3)
    for rate in (0.0, -1.0, 0.6, float("nan")):
        with pytest.raises(InputError, match=r"must lie in \(0, 0.5\]"):
            gallery.calibrate(labelled, false_match_rate=rate)
    gallery.enroll("Ada", emb(labelled["P0"][0].vector, OTHER_EMBEDDER))
    with pytest.raises(EmbedderMismatch):
        gallery.calibrate(labelled, false_match_rate=0.1)


def test_one_person_with_very_many_photos_does_not_decide_alone(gallery: Gallery) -> None:
    labelled = population(30, 3)
    labelled["P0"] = population(1, 200)["P0"]
    report = gallery.calibrate(labelled, false_match_rate=0.01)
    assert report.photos == 29 * 3 + MAX_PHOTOS_A_PERSON


def test_upper_bound_is_clopper_pearson() -> None:
    # No error in n trials: the rule of three.
    assert _upper_bound(0.0, 3000) == pytest.approx(3 / 3000, rel=0.01)
    bound = _upper_bound(0.01, 1000)
    assert binom.cdf(10, 1000, bound) == pytest.approx(0.05, rel=1e-6)


def test_calibrating_from_a_folder(gallery: Gallery, tmp_path: Path) -> None:
    for person in range(12):
        for photo in range(4):
            board(tmp_path / "p" / f"P{person}" / f"{photo}.png", (20 * person, 60 * photo, 9))
    (tmp_path / "p" / "P0" / "bad.jpg").write_text("bad")
    board(tmp_path / "p" / "loose.png", (1, 2, 90))
    seen: list[tuple[int, int]] = []
    report = calibrate_folder(
        gallery,
        toy_analyzer(),
        tmp_path / "p",
        false_match_rate=0.05,
        progress=lambda done, count: seen.append((done, count)),
    )
    assert (report.people, report.photos) == (12, 48)
    assert sorted(Path(p.photo).name for p in report.left_out) == ["bad.jpg", "loose.png"]
    assert seen[-1] == (49, 49)
    assert len(gallery) == 0
    assert gallery.own_calibration is not None
    assert gallery.own_calibration.fitted_on.startswith("48 photos of 12 people in ")
    with pytest.raises(TooFewPairsError, match="66 more people"):
        calibrate_folder(gallery, toy_analyzer(), tmp_path / "p", false_match_rate=1e-3)
