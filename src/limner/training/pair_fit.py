"""Pair heads on frozen embeddings of a folder of people: fitted on some, checked on others."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from limner.errors import InputError, TooFewPairsError
from limner.similarity import Calibration, HeadKind, LabelledPairs, fit_calibration
from limner.similarity.heads import MIN_PAIRS

_IMPOSTORS = 1_000_000

Vectors = NDArray[np.floating[Any]]


def draw_pairs(
    vectors: Vectors, labels: NDArray[np.int64], *, most: int, seed: int = 0
) -> LabelledPairs:
    """Draw pairs: as many of one person as of two, no person in more than a fair share.

    Args:
        vectors: Shape (N, D), unit rows.
        labels: Shape (N,), who each row shows.
        most: Pairs of each kind, at most.
        seed: Of the draw.

    Raises:
        TooFewPairsError: If there are fewer than 10 pairs of one person, or one person only.
    """
    generator = np.random.default_rng(seed)
    same: list[tuple[int, int]] = []
    groups = [np.flatnonzero(labels == who) for who in np.unique(labels)]
    usable = [rows for rows in groups if rows.size >= 2]
    fair = max(1, -(-2 * most // max(len(usable), 1)))  # twice an even share
    for rows in usable:
        first, second = np.triu_indices(rows.size, 1)
        chosen = generator.permutation(first.size)[:fair]
        same += zip(rows[first[chosen]].tolist(), rows[second[chosen]].tolist(), strict=True)
    if len(same) < MIN_PAIRS or len(groups) < 2:
        raise TooFewPairsError(
            f"pair heads need {MIN_PAIRS} pairs of one person at least, and two people; got "
            f"{len(same)} pairs and {len(groups)} people."
        )
    same = [same[i] for i in generator.permutation(len(same))[:most]]
    different: list[tuple[int, int]] = []
    wanted = len(same)
    while len(different) < wanted:
        drawn = generator.integers(0, len(labels), (4 * wanted, 2))
        drawn = drawn[labels[drawn[:, 0]] != labels[drawn[:, 1]]]
        different += [(int(a), int(b)) for a, b in drawn[: wanted - len(different)]]
    rows = np.array(same + different)
    kinds = np.repeat([True, False], [len(same), len(different)])
    return LabelledPairs(vectors[rows[:, 0]], vectors[rows[:, 1]], kinds)


def fit_heads(
    vectors: Vectors,
    labels: NDArray[np.int64],
    *,
    embedder_id: str,
    fitted_on: str,
    head: HeadKind = "squared_l2",
    held_out: float = 0.3,
    most: int = 10_000,
    seed: int = 0,
) -> Calibration:
    """Fit every pair head on some people, and measure it on others.

    Args:
        vectors: Shape (N, D), unit rows.
        labels: Shape (N,), who each row shows.
        embedder_id: Whose embeddings they are.
        fitted_on: The data, in words.
        head: Which head judges by default.
        held_out: Share of the people that only the figures see, in (0, 1).
        most: Pairs of each kind, at most, on either side.
        seed: Of the choice of people and pairs.

    Returns:
        The calibration; ``figures["heads"]`` holds accuracy, log loss, Brier score and
        calibration error of each head on the held-out people.

    Raises:
        InputError: If `held_out` is not a share.
        TooFewPairsError: If there are too few pairs on either side.
    """
    if not 0 < held_out < 1:
        raise InputError(f"held_out must lie between 0 and 1, both excluded, got {held_out}.")
    people = np.random.default_rng(seed).permutation(np.unique(labels))
    cut = round(len(people) * held_out)
    test = np.isin(labels, people[:cut])
    sides = []
    for name, rows in (("fit", ~test), ("held out", test)):
        try:
            sides.append(draw_pairs(vectors[rows], labels[rows], most=most, seed=seed))
        except TooFewPairsError as error:
            raise TooFewPairsError(f"people to {name}: {error}") from error
    return fit_calibration(
        sides[0],
        sides[1],
        _impostors(vectors[~test], labels[~test], seed) if head == "squared_l2" else None,
        embedder_id=embedder_id,
        fitted_on=fitted_on,
        head=head,
    )[0]


def _impostors(vectors: Vectors, labels: NDArray[np.int64], seed: int) -> NDArray[np.float64]:
    """Return squared distances of pairs of different people, a million at most."""
    first, second = np.triu_indices(len(labels), 1)
    different = np.flatnonzero(labels[first] != labels[second])
    if different.size > _IMPOSTORS:
        different = np.random.default_rng(seed).choice(different, _IMPOSTORS, replace=False)
    cosine = np.empty(different.size)
    for start in range(0, different.size, 65_536):
        part = different[start : start + 65_536]
        a, b = vectors[first[part]], vectors[second[part]]
        cosine[start : start + part.size] = np.einsum("nd,nd->n", a, b)
    return np.maximum(2 - 2 * cosine, 0.0)
