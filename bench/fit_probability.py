"""Fit how the probability moves with quality: pairs as a user has them, the likeliest drops.

Both sharp, one spoiled, and both spoiled in the same way, a third each; in each third every kind of
spoiling counts alike, and as many pairs of one person as of two. To each pair of one person belongs
one of two people spoiled in the same ways, so quality tells nothing about who is who.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from limner.similarity import expected_calibration_error
from limner.similarity.logistic import sigmoid
from limner.similarity.quality_rule import Drop
from spoiled import Spoiled

DRAWN = 20_000
"""Pairs that calibration errors are of, drawn by their weights."""


@dataclass(frozen=True, eq=False)
class Asked:
    """Pairs, each array of shape (N,).

    Attributes:
        distance: Squared L2.
        worse: By how much the worse face's quality is below good.
        better: By how much the better one's is.
        same: Whether they are of one person.
        weight: What each counts; they sum to 1.
    """

    distance: np.ndarray
    worse: np.ndarray
    better: np.ndarray
    same: np.ndarray
    weight: np.ndarray

    def drawn(self, count: int, seed: int = 0) -> Asked:
        """Return pairs drawn by their weights, which then count alike."""
        chosen = np.random.default_rng(seed).choice(len(self.weight), count, p=self.weight)
        parts = (self.distance, self.worse, self.better, self.same)
        return Asked(*(part[chosen] for part in parts), np.full(count, 1 / count))


def plan(spoiled: Spoiled, own: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return rows of face, other face, whether of one person, and the third it belongs to."""
    chance, sharp = np.random.default_rng(seed), spoiled.row == "clean"
    of_person, of_kind = defaultdict(list), defaultdict(list)
    for face in np.flatnonzero(own):
        of_person[spoiled.person[face]].append(face)
        of_kind[spoiled.kind[face]].append(face)
    rows = []
    for person, faces in of_person.items():
        for a in faces:
            for b in faces:
                if spoiled.photo[a] == spoiled.photo[b]:
                    continue
                if sharp[a]:
                    third = 0 if sharp[b] else 1
                else:
                    third = 2
                if third != 1 and (spoiled.kind[a] != spoiled.kind[b] or a > b):
                    continue
                others = of_kind[spoiled.kind[b]]
                drawn = (others[i] for i in chance.integers(len(others), size=20))
                stranger = next((o for o in drawn if spoiled.person[o] != person), None)
                if stranger is not None:
                    rows += [(a, b, 1, third), (a, stranger, 0, third)]
    return np.array(rows)


def ask(spoiled: Spoiled, rows: np.ndarray, short: np.ndarray, own: np.ndarray) -> Asked:
    """Return the pairs of a half of the people.

    Args:
        spoiled: The faces.
        rows: Shape (N, D), their unit embeddings.
        short: Shape (N,), how far each one's quality is below good.
        own: Shape (N,), whose.
    """
    a, b, same, third = plan(spoiled, own).T
    weight = np.zeros(len(a))
    for number in range(3):
        chosen = third == number
        kinds, places, counts = np.unique(
            spoiled.kind[b[chosen]], return_inverse=True, return_counts=True
        )
        weight[chosen] = 1 / counts[places] / len(kinds) / 3
    distance = ((rows[a] - rows[b]) ** 2).sum(axis=1)
    worse, better = np.maximum(short[a], short[b]), np.minimum(short[a], short[b])
    return Asked(distance, worse, better, same.astype(bool), weight / weight.sum())


def probability(drops: np.ndarray, tau: float, slope: float, pairs: Asked) -> np.ndarray:
    """Return what `limner.similarity.QualityRule` says."""
    falls = drops.reshape(2, 2) @ np.stack([pairs.worse, pairs.better])
    return sigmoid(slope * np.exp(-falls[0]) * (tau - falls[1] - pairs.distance))


def fit_drops(
    spoiled: Spoiled, rows: np.ndarray, short: np.ndarray, tau: float, slope: float
) -> tuple[Drop, Drop, dict[str, object]]:
    """Return the likeliest drops of slope and middle, and calibration errors of the other half."""
    pairs = ask(spoiled, rows, short, spoiled.fitted)

    def loss(drops: np.ndarray, of: Asked) -> float:
        p = np.clip(probability(drops, tau, slope, of), 1e-9, 1 - 1e-9)
        return -float((of.weight * np.where(of.same, np.log(p), np.log(1 - p))).sum())

    settings = {"maxiter": 4000, "xatol": 1e-4, "fatol": 1e-7}
    found = minimize(loss, np.zeros(4), args=(pairs,), method="Nelder-Mead", options=settings)
    drops = found.x.round(4)
    others = ask(spoiled, rows, short, ~spoiled.fitted)
    some = others.drawn(DRAWN)
    said = probability(drops, tau, slope, some)
    low, high = np.quantile(-some.worse, (1 / 3, 2 / 3))
    thirds = (-some.worse <= low, (-some.worse > low) & (-some.worse <= high), -some.worse > high)
    figures: dict[str, object] = {
        "log_loss": round(loss(drops, others), 4),
        "calibration_error": round(expected_calibration_error(said, some.same), 4),
        "calibration_error_by_tercile": [
            round(expected_calibration_error(said[t], some.same[t]), 4) for t in thirds if t.any()
        ],
    }
    (slope_w, slope_b), (middle_w, middle_b) = (
        (float(a), float(b)) for a, b in drops.reshape(2, 2)
    )
    return Drop(slope_w, slope_b), Drop(middle_w, middle_b), figures
