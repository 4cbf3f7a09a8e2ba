"""Fit a gallery's own threshold to photos whose people are known.

How much data a false-match rate needs: with no error seen in n independent trials, the 95 %
bound on the rate is 3/n (the rule of three). Photos of the same two people are not
independent trials, pairs of people are nearly so; therefore a rate r needs at least 3/r
pairs of people, which is about sqrt(6/r) people: 78 for 1 in 1,000, 25 for 1 in 100.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from limner.errors import InputError, TooFewPairsError
from limner.gallery.accepted import Known, embeddings_of
from limner.gallery.gallery import Gallery
from limner.gallery.names import name_key, normalise_name
from limner.gallery.records import CalibrationReport, PhotoProblem
from limner.gallery.store import embedder_mismatch
from limner.similarity import (
    Calibration,
    PairHead,
    QualityRule,
    false_match_table,
    fit_pair_head,
    pairwise_squared_l2,
    shipped,
    threshold_at_fmr,
)
from limner.types import Embedding, FloatArray

if TYPE_CHECKING:
    from limner.faces import FaceAnalyzer, Pick

RULE_OF_THREE = 3.0
MIN_SAME_PAIRS = 30
MIN_PEOPLE_WITH_TWO = 5
MAX_PHOTOS_A_PERSON = 30
MAX_PHOTOS = 5_000
_MAX_FITTED_PAIRS = 50_000
_SEED = 0

Labels = NDArray[np.int64]
Pairs = NDArray[np.int64]


def people_needed(rate: float) -> int:
    """Return how many people make the 3/rate pairs that a false-match rate needs.

    Args:
        rate: Per comparison, in (0, 1).
    """
    pairs = RULE_OF_THREE / rate * (1 - 1e-9)
    return math.ceil((1 + math.sqrt(1 + 8 * pairs)) / 2)


def _thin(count: int, kept: int) -> NDArray[np.int64]:
    """Return at most `kept` of `count` positions, evenly spread."""
    if count <= kept:
        return np.arange(count)
    return np.linspace(0, count - 1, kept).round().astype(np.int64)


def _stack(
    labelled: Mapping[str, Sequence[Known]], gallery: Gallery
) -> tuple[FloatArray, Labels, str]:
    """Return vectors (N, D), the person of each, and the embedder."""
    people: dict[str, list[Embedding]] = {}
    for name, embeddings in labelled.items():
        own = people.setdefault(name_key(normalise_name(name)), [])
        own += embeddings_of(embeddings, call="calibrate")
    people = {name: found for name, found in people.items() if found}
    everything = [e for found in people.values() for e in found]
    if not everything:
        raise TooFewPairsError("calibration needs labelled faces, got none.")
    embedders = sorted({e.embedder_id for e in everything})
    pinned = gallery.embedder_id or embedders[0]
    for embedder_id in embedders:
        if embedder_id != pinned:
            raise embedder_mismatch(gallery.location, pinned, embedder_id)
    rows: list[FloatArray] = []
    owners: list[int] = []
    budget = max(2, min(MAX_PHOTOS_A_PERSON, MAX_PHOTOS // len(people)))
    for number, found in enumerate(people.values()):
        for index in _thin(len(found), budget):
            rows.append(found[int(index)].vector)
            owners.append(number)
    return np.stack(rows), np.asarray(owners, dtype=np.int64), pinned


def _check_enough(people: int, rate: float) -> None:
    pairs = people * (people - 1) // 2
    if pairs >= RULE_OF_THREE / rate * (1 - 1e-9):
        return
    needed = people_needed(rate)
    finest = f" or ask for {_round_up(RULE_OF_THREE / pairs):g} or coarser" if pairs > 6 else ""
    raise TooFewPairsError(
        f"a false-match rate of {rate:g} needs photos of {needed:,} people "
        f"({math.ceil(RULE_OF_THREE / rate - 1e-6):,} pairs of people), got {people:,} people "
        f"({pairs:,} pairs); add photos of {needed - people:,} more people{finest}."
    )


def _round_up(value: float) -> float:
    """Return `value` rounded up to two figures."""
    scale = 10.0 ** (math.floor(math.log10(value)) - 1)
    return math.ceil(value / scale) * scale


def _check_same(owners: Labels) -> int:
    """Return the number of pairs of one person, or refuse."""
    counts = np.bincount(owners)
    pairs = int((counts * (counts - 1) // 2).sum())
    repeated = int((counts >= 2).sum())
    if pairs < MIN_SAME_PAIRS or repeated < MIN_PEOPLE_WITH_TWO:
        raise TooFewPairsError(
            f"calibration needs at least {MIN_SAME_PAIRS} pairs of photos of one person, from at "
            f"least {MIN_PEOPLE_WITH_TWO} people; got {pairs} from {repeated}. Add "
            f"{max(MIN_PEOPLE_WITH_TWO - repeated, 1)} or more people with several photos each."
        )
    return pairs


def _upper_bound(rate: float, trials: int) -> float:
    """Return the upper end of the one-sided 95 % interval (Clopper-Pearson)."""
    from scipy.stats import beta

    errors = math.ceil(rate * trials - 1e-9)
    return float(beta.ppf(0.95, errors + 1, max(trials - errors, 1)))


def _sampled(first: Pairs, second: Pairs, seed: int) -> tuple[Pairs, Pairs]:
    if len(first) <= _MAX_FITTED_PAIRS:
        return first, second
    chosen = np.random.default_rng(seed).choice(len(first), _MAX_FITTED_PAIRS, replace=False)
    return first[chosen], second[chosen]


def calibrate_gallery(
    gallery: Gallery,
    labelled: Mapping[str, Sequence[Known]] | None = None,
    *,
    false_match_rate: float = 1e-3,
    fitted_on: str | None = None,
) -> CalibrationReport:
    """Fit tau and the pair head to labelled faces, and keep them in the gallery.

    tau is the largest threshold at which at most `false_match_rate` of the pairs of different
    people match. The slope of the probability is fitted by logistic regression; its middle
    is tau, so that P >= 1/2 exactly when the verdict is ``same``.

    Args:
        gallery: Whose thresholds they become.
        labelled: Name -> embeddings, or faces that have them. Default: what is enrolled in
            the gallery.
        false_match_rate: Per comparison of two photos, in (0, 0.5].
        fitted_on: The data, in words, shown beside every probability.

    Returns:
        The threshold, and the counts that it rests on.

    Raises:
        TooFewPairsError: If there are too few people for the rate (see above), or too few
            pairs of photos of one person; the message says how many more are needed.
        EmbedderMismatch: If the embeddings are of another embedder.
        InputError: If the rate is out of range.
    """
    if not 0 < false_match_rate <= 0.5:
        raise InputError(f"false_match_rate must lie in (0, 0.5], got {false_match_rate}.")
    source = "given photos"
    if labelled is None:
        labelled, source = _enrolled(gallery), "enrolled photos"
    vectors, owners, embedder_id = _stack(labelled, gallery)
    people, photos = int(owners.max()) + 1, len(owners)
    _check_enough(people, false_match_rate)
    same_pairs = _check_same(owners)

    first, second = np.triu_indices(photos, k=1)
    distances = pairwise_squared_l2(vectors, vectors)[first, second]
    same = owners[first] == owners[second]
    different = distances[~same].astype(np.float64)
    tau = threshold_at_fmr(different, false_match_rate, min_expected=RULE_OF_THREE)
    head = replace(_fitted_head(vectors, first, second, same), threshold=tau)
    people_pairs = people * (people - 1) // 2
    report = CalibrationReport(
        false_match_rate=false_match_rate,
        threshold=tau,
        slope=head.slope,
        people=people,
        photos=photos,
        same_pairs=same_pairs,
        different_pairs=int(different.size),
        people_pairs=people_pairs,
        false_matches=int((different <= tau).sum()),
        false_match_upper=_upper_bound(float((different <= tau).mean()), people_pairs),
        same_found=float((distances[same] <= tau).mean()),
    )
    calibration = Calibration(
        embedder_id=embedder_id,
        fitted_on=fitted_on or f"{photos:,} {source} of {people:,} people",
        same_pairs=same_pairs,
        different_pairs=int(different.size),
        head=head,
        heads={"squared_l2": head},
        false_match=_table(different, people_pairs, false_match_rate, tau),
        figures=report.to_json(),
        quality=_shipped_rule(embedder_id),
    )
    with gallery.locked() as store:
        store.set_meta({"calibration": json.dumps(calibration.to_json())})
    return report


def _shipped_rule(embedder_id: str) -> QualityRule | None:
    """Return what poor faces do to the shipped head: a gallery has too few of them to fit it."""
    found = shipped(embedder_id)
    return None if found is None else found.quality


def _fitted_head(
    vectors: FloatArray, first: Pairs, second: Pairs, same: NDArray[np.bool_]
) -> PairHead:
    a_same, b_same = _sampled(first[same], second[same], _SEED)
    a_other, b_other = _sampled(first[~same], second[~same], _SEED + 1)
    return fit_pair_head(
        "squared_l2",
        vectors[np.concatenate([a_same, a_other])],
        vectors[np.concatenate([b_same, b_other])],
        np.arange(len(a_same) + len(a_other)) < len(a_same),
    )


def _table(
    different: NDArray[np.float64], people_pairs: int, rate: float, tau: float
) -> tuple[tuple[float, float], ...]:
    """Return (rate, tau) rows that the pairs of people support, the asked rate among them."""
    rows = {r: t for r, t in false_match_table(different) if r * people_pairs >= RULE_OF_THREE}
    rows[rate] = tau
    return tuple(sorted(rows.items()))


def _enrolled(gallery: Gallery) -> dict[str, list[Embedding]]:
    embedder_id = gallery.embedder_id
    labelled: dict[str, list[Embedding]] = {}
    with gallery.locked() as store:
        for face in store.faces():
            found = labelled.setdefault(face.person, [])
            found.append(Embedding(face.vector, embedder_id or ""))
    return labelled


def calibrate_folder(
    gallery: Gallery,
    analyzer: FaceAnalyzer,
    folder: str | os.PathLike[str],
    *,
    false_match_rate: float = 1e-3,
    pick: Pick = "largest",
    progress: Callable[[int, int], None] | None = None,
) -> CalibrationReport:
    """Fit tau to a folder that holds one folder of photos for each person.

    The photos are measured, not enrolled.

    Args:
        gallery: Whose thresholds they become.
        analyzer: With the gallery's embedder.
        folder: ``folder/Ada Lovelace/anything.jpg``.
        false_match_rate: Per comparison of two photos, in (0, 0.5].
        pick: Which face of a photo.
        progress: Called with (done, all) photos.

    Returns:
        As `calibrate_gallery`, with the photos that were left out.

    Raises:
        TooFewPairsError: If the data do not support the rate.
        InputError: If the folder holds nobody's photos.
    """
    from limner import images
    from limner.faces import choose
    from limner.gallery.enrolment import check_embedder
    from limner.gallery.people_folder import read_people_folder

    check_embedder(gallery, analyzer)
    listing = read_people_folder(folder)
    _check_enough(len(listing.people), false_match_rate)  # before the long work
    paths = [(name, path) for name, found in listing.people.items() for path in found]
    labelled: dict[str, list[Embedding]] = {}
    left_out: list[PhotoProblem] = list(listing.problems)
    answers = analyzer.analyze_many((path for _, path in paths), on_error="yield")
    for number, ((name, path), found) in enumerate(zip(paths, answers, strict=True), start=1):
        try:
            if found.error is not None:
                raise found.error
            for face in choose(found.faces or [], pick=pick, photo=str(path)):
                if face.embedding is not None:
                    labelled.setdefault(name, []).append(face.embedding)
        except InputError as error:
            left_out.append(PhotoProblem(str(path), str(error)))
        if progress is not None:
            progress(number, len(paths))
    used = sum(map(len, labelled.values()))
    words = f"{used:,} photos of {len(labelled):,} people in {images.describe(folder)}"
    report = calibrate_gallery(
        gallery, labelled, false_match_rate=false_match_rate, fitted_on=words
    )
    return replace(report, left_out=tuple(left_out))
