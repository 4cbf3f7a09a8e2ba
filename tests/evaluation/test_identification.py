"""Open-set identification against plain loops."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limner.errors import InputError, ShapeError, TooFewPairsError
from limner.evaluation import identification
from limner.evaluation.identification import IdentificationScores, score_identification


def crowd(
    seed: int, *, people: int = 12, strangers: int = 15, noise: float = 0.8, dim: int = 8
) -> tuple[np.ndarray, list[str]]:
    rng = np.random.default_rng(seed)
    rows, names = [], []
    for person in range(people + strangers):
        centre = rng.standard_normal(dim)
        for _ in range(1 if person >= people else rng.integers(2, 5)):
            row = centre + noise * rng.standard_normal(dim)
            rows.append(row / np.linalg.norm(row))
            names.append(f"person {person}")
    order = rng.permutation(len(rows))
    return np.array(rows, np.float32)[order], [names[k] for k in order]


def brute(
    rows: np.ndarray, names: list[str], found: np.ndarray, fpirs: tuple[float, ...]
) -> dict[str, object]:
    members: dict[str, list[int]] = {}
    for k, name in enumerate(names):
        members.setdefault(name, []).append(k)
    gallery = {}
    probes, strangers = [], []
    for name, photos in members.items():
        if len(photos) == 1:
            strangers.append(photos[0])
            continue
        with_face = [p for p in photos if found[p]]
        if with_face:
            gallery[name] = with_face[0]
        used = with_face[0] if with_face else photos[0]
        probes += [p for p in photos if p != used]

    def distance(i: int, j: int) -> float:
        return max(0.0, float(np.float32(2) - np.float32(2) * np.dot(rows[i], rows[j])))

    hits, ranks = [], []
    for p in probes:
        if not found[p] or names[p] not in gallery:
            ranks.append(0)
            hits.append(np.inf)
            continue
        mate = distance(p, gallery[names[p]])
        rank = sum(distance(p, g) <= mate for g in gallery.values())
        ranks.append(rank)
        hits.append(mate if rank == 1 else np.inf)
    nearest = [
        min(distance(s, g) for g in gallery.values()) if found[s] else np.inf for s in strangers
    ]
    tpir = []
    for rate in fpirs:
        best = 0.0
        for tau in sorted({-1.0, *hits, *nearest} - {np.inf}):
            if sum(n <= tau for n in nearest) <= rate * len(nearest) + 1e-9:
                best = max(best, sum(h <= tau for h in hits) / len(hits))
        tpir.append(best)
    return {
        "ranks": ranks,
        "rank1": float(np.mean([r == 1 for r in ranks])),
        "tpir": tpir,
        "enrolled": len(gallery),
    }


@given(st.integers(0, 10_000), st.floats(0.2, 2), st.floats(0, 0.4))
@settings(deadline=None, max_examples=40)
def test_against_loops(seed: int, noise: float, blind: float) -> None:
    rows, names = crowd(seed, noise=noise)
    found = np.random.default_rng(seed + 1).random(len(rows)) >= blind
    fpirs = (0.07, 0.2, 0.5)
    expected = brute(rows, names, found, fpirs)
    scores = score_identification(rows, names, found=found, fpirs=fpirs, resamples=2)
    assert scores.rank.tolist() == expected["ranks"]
    assert scores.rank1 == pytest.approx(expected["rank1"])
    assert [r.value for r in scores.tpir_at_fpir] == pytest.approx(expected["tpir"])
    assert scores.enrolled == expected["enrolled"]
    assert scores.cmc[0] == pytest.approx(scores.rank1)
    assert all(a <= b for a, b in zip(scores.cmc, scores.cmc[1:], strict=False))


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, names = crowd(3)
    whole = score_identification(rows, names, resamples=5)
    monkeypatch.setattr(identification, "_BLOCK", 3)
    parted = score_identification(rows, names, resamples=5)
    assert np.array_equal(whole.rank, parted.rank)
    assert np.allclose(whole.mate_distance, parted.mate_distance, atol=1e-6)
    assert np.allclose(whole.stranger_distance, parted.stranger_distance, atol=1e-6)


def easy() -> tuple[np.ndarray, list[str]]:
    """Three people, orthogonal; three strangers, one of them close to person a."""
    rows = np.eye(6, dtype=np.float32)[[0, 1, 2, 0, 1, 2, 3, 4, 0]]
    rows[8, 5] = 0.5
    rows[8] /= np.linalg.norm(rows[8])
    return rows, ["a", "b", "c", "a", "b", "c", "x", "y", "z"]


def test_an_easy_case() -> None:
    rows, names = easy()
    scores = score_identification(rows, names, fpirs=(0.34,), resamples=20)
    assert scores.rank1 == 1
    assert scores.tpir_at_fpir[0].value == 1
    assert scores.enrolled == 3
    assert scores.rank.size == 3
    assert scores.stranger_distance.size == 3
    assert scores.probe_photo.tolist() == [3, 4, 5]
    assert scores.nearest_photo.tolist() == [0, 1, 2]


def test_photos_without_a_face() -> None:
    rows, names = easy()
    found = np.ones(9, bool)
    found[[0, 4, 8]] = False  # a's first photo, b's probe, stranger z
    scores = score_identification(rows, names, found=found, fpirs=(0.34,), resamples=20)
    assert scores.enrolled == 3  # a is enrolled from the second photo
    assert scores.no_face == (2, 1)
    assert scores.rank1 == pytest.approx(1 / 3)
    assert np.isinf(scores.stranger_distance).sum() == 1
    found[3] = False  # nothing of a is left
    scores = score_identification(rows, names, found=found, fpirs=(0.34,), resamples=20)
    assert (scores.enrolled, scores.not_enrolled) == (2, 1)
    assert scores.rank1 == pytest.approx(1 / 3)


def test_equal_distances_count_against_the_probe() -> None:
    rows = np.array([[1, 0], [1, 0], [1, 0], [1, 0], [0, 1]], np.float32)
    scores = score_identification(rows, ["a", "b", "a", "b", "z"], fpirs=(), resamples=2)
    assert scores.rank.tolist() == [2, 2]
    assert scores.rank1 == 0


def brute_bootstrap(scores: IdentificationScores, owner: np.ndarray, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    people = int(owner.max()) + 1
    drawn = identification.bootstrap.counts(generator, people, 6)
    strangers = identification.bootstrap.counts(generator, scores.stranger_distance.size, 6)
    ascending = np.sort(scores.stranger_distance)
    out = []
    for b in range(6):
        weights = drawn[b][owner]
        hit = scores.rank == 1
        population = np.sort(np.repeat(ascending, strangers[b]))
        k = int(np.floor(0.2 * population.size + 1e-9))
        accepted = hit & (scores.mate_distance < population[k])
        out.append([weights[hit].sum() / weights.sum(), weights[accepted].sum() / weights.sum()])
    return np.array(out)


def test_bootstrap_resamples_people_not_photos() -> None:
    rows, names = crowd(11, noise=0.9)
    faces = np.ones(len(rows), bool)
    scores = score_identification(rows, names, fpirs=(0.2,), resamples=6, seed=4)
    roles = identification._assign(names, faces)
    _, owner = np.unique(roles.people, return_inverse=True)
    expected = brute_bootstrap(scores, owner, 4)
    drawn = identification._resample(
        roles, scores.rank == 1, scores.mate_distance, scores.stranger_distance, (0.2,), 6, 4
    )
    assert np.allclose(drawn, expected)


def test_det_is_the_whole_curve() -> None:
    rows, names = crowd(5, strangers=40)
    scores = score_identification(rows, names, fpirs=(0.1, 0.5), resamples=3)
    fpir, tpir = scores.det()
    assert (np.diff(fpir) > 0).all()
    assert (np.diff(tpir) >= 0).all()
    for rate in scores.tpir_at_fpir:
        at = np.searchsorted(fpir, rate.bound + 1e-9) - 1
        assert tpir[at] == pytest.approx(rate.value)


def test_rates_are_refused_or_flagged() -> None:
    rows, names = crowd(2, strangers=15)
    rates = score_identification(rows, names, resamples=30).tpir_at_fpir
    assert rates[0].note.startswith("few: rests on 1 of 15 strangers")
    assert rates[0].low <= rates[0].value <= rates[0].high
    assert rates[1].value is None
    assert "15 strangers cannot show a rate of 0.01" in rates[1].note


def test_json_is_plain() -> None:
    rows, names = crowd(2)
    document = json.loads(json.dumps(score_identification(rows, names).to_json(), allow_nan=False))
    assert set(document["tpir_at_fpir"]) == {"0.1", "0.01", "0.001"}
    assert document["strangers"] == 15


def test_what_cannot_be_scored_is_refused() -> None:
    rows = np.eye(4, dtype=np.float32)
    with pytest.raises(TooFewPairsError, match="two photos"):
        score_identification(rows, ["a", "b", "c", "d"])
    with pytest.raises(TooFewPairsError, match="strangers"):
        score_identification(rows, ["a", "a", "b", "b"])
    with pytest.raises(ShapeError):
        score_identification(rows, ["a", "a"])
    with pytest.raises(InputError, match="ranks"):
        score_identification(rows, ["a", "a", "b", "c"], ranks=(0,))
