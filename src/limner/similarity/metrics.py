"""How good probabilities are: calibration error, Brier score, log loss."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from limner.errors import InputError, ShapeError

Float64 = NDArray[np.float64]

_FLOOR = 1e-15


@dataclass(frozen=True)
class ReliabilityBin:
    """One row of a reliability table.

    Attributes:
        low: Lower edge of the bin of probabilities.
        high: Upper edge; the last bin includes it.
        count: Pairs in the bin.
        mean_probability: Mean stated probability; None in an empty bin.
        share_same: Share that really show one person; None in an empty bin.
    """

    low: float
    high: float
    count: int
    mean_probability: float | None
    share_same: float | None


def _probabilities(probability: ArrayLike, same: ArrayLike) -> tuple[Float64, NDArray[np.bool_]]:
    p, labels = np.asarray(probability, dtype=np.float64), np.asarray(same)
    if p.ndim != 1 or p.size == 0 or labels.shape != p.shape:
        raise ShapeError(
            "probability and same must be non-empty and of the same shape (N,), "
            f"got {p.shape} and {labels.shape}."
        )
    if not ((p >= 0) & (p <= 1)).all():
        raise InputError("probabilities must lie in [0, 1].")
    return p, labels.astype(bool)


def brier_score(probability: ArrayLike, same: ArrayLike) -> float:
    """Return the mean of (p - y)^2, in [0, 1]; smaller is better.

    Raises:
        ShapeError: If the shapes differ or are empty.
        InputError: If a probability lies outside [0, 1].
    """
    p, labels = _probabilities(probability, same)
    return float(np.mean((p - labels) ** 2))


def log_loss(probability: ArrayLike, same: ArrayLike) -> float:
    """Return the mean of -log of the probability given to the truth, in nats.

    Probabilities are kept 1e-15 away from 0 and 1, so that one sure and wrong answer costs
    34.5 nats rather than infinitely many.

    Raises:
        ShapeError: If the shapes differ or are empty.
        InputError: If a probability lies outside [0, 1].
    """
    p, labels = _probabilities(probability, same)
    return float(-np.mean(np.log(np.clip(np.where(labels, p, 1 - p), _FLOOR, 1.0))))


def reliability_table(
    probability: ArrayLike, same: ArrayLike, *, bins: int = 10
) -> list[ReliabilityBin]:
    """Return stated probability against observed share in bins of equal width.

    Args:
        probability: Shape (N,), in [0, 1].
        same: Shape (N,), true where the pair shows one person.
        bins: How many bins [0, 1] is cut into.

    Returns:
        One row a bin, empty ones included.

    Raises:
        ShapeError: If the shapes differ or are empty.
        InputError: If a probability lies outside [0, 1] or `bins` is less than 1.
    """
    if bins < 1:
        raise InputError(f"bins must be 1 or larger, got {bins}.")
    p, labels = _probabilities(probability, same)
    which = np.minimum((p * bins).astype(np.int64), bins - 1)
    table = []
    for index in range(bins):
        inside = which == index
        count = int(inside.sum())
        table.append(
            ReliabilityBin(
                low=index / bins,
                high=(index + 1) / bins,
                count=count,
                mean_probability=float(p[inside].mean()) if count else None,
                share_same=float(labels[inside].mean()) if count else None,
            )
        )
    return table


def expected_calibration_error(probability: ArrayLike, same: ArrayLike, *, bins: int = 10) -> float:
    """Return the mean gap between stated probability and observed share, in [0, 1].

    Args:
        probability: Shape (N,), in [0, 1].
        same: Shape (N,), true where the pair shows one person.
        bins: Bins of equal width; each weighs as much as it holds pairs.

    Raises:
        ShapeError: If the shapes differ or are empty.
        InputError: If a probability lies outside [0, 1] or `bins` is less than 1.

    Source:
        Guo et al., "On calibration of modern neural networks" (2017), equation 3, with the
        probability of "same" in place of the winning class's.
    """
    table = reliability_table(probability, same, bins=bins)
    total = sum(row.count for row in table)
    gap = 0.0
    for row in table:
        if row.mean_probability is not None and row.share_same is not None:
            gap += row.count * abs(row.mean_probability - row.share_same)
    return gap / total
