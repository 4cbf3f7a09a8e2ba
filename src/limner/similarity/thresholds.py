"""Thresholds on a distance: exact, from the distances themselves, never from a grid.

The verdict is ``same`` when distance <= tau.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from limner.errors import InputError, ShapeError, TooFewPairsError

MIN_EXPECTED_FALSE_MATCHES = 10.0


@dataclass(frozen=True, eq=False)
class ErrorCurve:
    """Both error rates at every threshold that changes a verdict.

    Attributes:
        thresholds: Shape (K,), ascending; the first lies below every distance.
        false_match_rate: Shape (K,), share of different pairs with distance <= tau.
        false_non_match_rate: Shape (K,), share of same pairs with distance > tau.
    """

    thresholds: NDArray[np.float64]
    false_match_rate: NDArray[np.float64]
    false_non_match_rate: NDArray[np.float64]

    def equal_error_rate(self) -> float:
        """Return the rate where the two errors meet, on the straight line between points."""
        gap = self.false_match_rate - self.false_non_match_rate
        upper = int(np.argmax(gap >= 0))
        if gap[upper] == 0 or upper == 0:
            return float(self.false_match_rate[upper])
        low, high = gap[upper - 1], gap[upper]
        share = -low / (high - low)
        rates = self.false_match_rate
        return float(rates[upper - 1] + share * (rates[upper] - rates[upper - 1]))


def _distances(distances: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(distances, dtype=np.float64)
    if values.ndim != 1:
        raise ShapeError(f"distances must have shape (N,), got {values.shape}.")
    if not np.isfinite(values).all():
        raise InputError("distances must hold finite numbers only.")
    return values


def _labelled(
    distances: ArrayLike, same: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    values = _distances(distances)
    labels = np.asarray(same)
    if labels.shape != values.shape:
        raise ShapeError(f"same must have shape {values.shape}, got {labels.shape}.")
    labels = labels.astype(bool)
    if labels.all() or not labels.any():
        raise TooFewPairsError("pairs of one person and pairs of two are both needed.")
    return values, labels


def _between(below: float, above: float) -> float:
    """Return a number in [below, above), in the middle where there is one."""
    middle = below + (above - below) / 2
    return middle if middle < above else below


def best_threshold(distances: ArrayLike, same: ArrayLike) -> float:
    """Return the threshold with the fewest wrong verdicts.

    Args:
        distances: Shape (N,).
        same: Shape (N,), true where the pair shows one person.

    Returns:
        The middle of the gap between two neighbouring distances. When several gaps are
        equally good the widest is taken, and the lowest of equally wide ones.

    Raises:
        ShapeError: If the shapes differ.
        TooFewPairsError: If one kind of pair is missing.
    """
    values, labels = _labelled(distances, same)
    levels, where = np.unique(values, return_inverse=True)
    positives = np.bincount(where, weights=labels, minlength=levels.size)
    negatives = np.bincount(where, weights=~labels, minlength=levels.size)
    # wrong[i]: verdicts that are wrong when the i lowest levels are called "same"
    accepted_wrongly = np.concatenate([[0.0], np.cumsum(negatives)])
    refused_wrongly = positives.sum() - np.concatenate([[0.0], np.cumsum(positives)])
    wrong = accepted_wrongly + refused_wrongly
    best = np.flatnonzero(wrong == wrong.min())
    edges = np.concatenate([[levels[0]], levels, [levels[-1]]])
    widths = edges[best + 1] - edges[best]  # zero at both ends: an end is never preferred
    index = int(best[np.argmax(widths)])
    if index == 0:
        return float(np.nextafter(levels[0], -np.inf))
    if index == levels.size:
        return float(levels[-1])
    return _between(float(levels[index - 1]), float(levels[index]))


def threshold_at_fmr(
    impostor_distances: ArrayLike,
    fmr: float,
    *,
    min_expected: float = MIN_EXPECTED_FALSE_MATCHES,
) -> float:
    """Return the largest threshold at which at most `fmr` of the different pairs match.

    Args:
        impostor_distances: Shape (N,), distances between photos of different people.
        fmr: False-match rate per comparison, in (0, 1).
        min_expected: Refuse when fewer false matches than this are expected, N x fmr.

    Returns:
        tau; the middle of the gap above the last distance that it lets through.

    Raises:
        InputError: If `fmr` is not in (0, 1).
        TooFewPairsError: If N x fmr < `min_expected`; the message says how many are needed.
    """
    return threshold_of_sorted(np.sort(_distances(impostor_distances)), fmr, min_expected)


def threshold_of_sorted(values: NDArray[np.float64], fmr: float, min_expected: float) -> float:
    """Do what `threshold_at_fmr` does, for distances that ascend already."""
    if not 0 < fmr < 1:
        raise InputError(f"fmr must lie between 0 and 1, both excluded, got {fmr}.")
    if values.size * fmr < min_expected * (1 - 1e-9):
        needed = int(np.ceil(min_expected / fmr - 1e-6))
        raise TooFewPairsError(
            f"a false-match rate of {fmr:g} needs at least {needed:,} pairs of different people, "
            f"got {values.size:,}; add photos of more people or ask for a coarser rate."
        )
    allowed = min(int(np.floor(values.size * fmr * (1 + 1e-12))), values.size - 1)
    # Equal distances stand or fall together: step down until a gap follows.
    while allowed > 0 and values[allowed - 1] == values[allowed]:
        allowed -= 1
    if allowed == 0:
        return float(np.nextafter(values[0], -np.inf))
    return _between(float(values[allowed - 1]), float(values[allowed]))


def error_curve(distances: ArrayLike, same: ArrayLike) -> ErrorCurve:
    """Return the false-match and false-non-match rates at every distinct distance.

    Args:
        distances: Shape (N,).
        same: Shape (N,), true where the pair shows one person.

    Returns:
        K = 1 + number of distinct distances points, from (0, 1) to (1, 0).

    Raises:
        ShapeError: If the shapes differ.
        TooFewPairsError: If one kind of pair is missing.
    """
    values, labels = _labelled(distances, same)
    levels, where = np.unique(values, return_inverse=True)
    positives = np.bincount(where, weights=labels, minlength=levels.size)
    negatives = np.bincount(where, weights=~labels, minlength=levels.size)
    first = np.nextafter(levels[0], -np.inf)
    return ErrorCurve(
        thresholds=np.concatenate([[first], levels]),
        false_match_rate=np.concatenate([[0.0], np.cumsum(negatives) / negatives.sum()]),
        false_non_match_rate=np.concatenate([[1.0], 1 - np.cumsum(positives) / positives.sum()]),
    )
