"""Confidence intervals by resampling, vectorised over the resamples.

Pairs are resampled within their kind (same, different), as if independent. In LFW a person
occurs in several pairs, so the intervals are a little narrower than the truth.
Source: Efron and Tibshirani (1993), percentile intervals.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from limner.errors import InputError
from limner.evaluation.curves import allowed

RESAMPLES = 1000
CONFIDENCE = 0.95
_CELLS = 4_000_000  # resamples x levels that are in memory at once
Float64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Resampled:
    """Figures of every resample.

    Attributes:
        auc: Shape (B,).
        eer: Shape (B,).
        tar: Shape (B, F): TAR at each of the false accept rates.
    """

    auc: Float64
    eer: Float64
    tar: Float64


def interval(values: ArrayLike, *, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the percentile interval of resampled figures."""
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.asarray(values, dtype=np.float64), [tail, 1 - tail])
    return float(low), float(high)


def counts(generator: np.random.Generator, size: int, resamples: int) -> NDArray[np.int64]:
    """Return how often each of `size` items is drawn in each resample: (resamples, size)."""
    drawn = generator.integers(0, size, (resamples, size))
    drawn += np.arange(resamples)[:, None] * size
    return np.bincount(drawn.ravel(), minlength=resamples * size).reshape(resamples, size)


def chunks(resamples: int, width: int) -> Iterator[int]:
    """Divide `resamples` so that each part times `width` fits into memory."""
    step = max(1, min(resamples, _CELLS // max(width, 1)))
    while resamples > 0:
        yield min(step, resamples)
        resamples -= step


def resample_pairs(
    distances: ArrayLike,
    same: ArrayLike,
    *,
    rates: Sequence[float] = (),
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Resampled:
    """Resample pairs, same and different ones apart, and compute the figures of each.

    Args:
        distances: Shape (N,).
        same: Shape (N,), bool; both kinds must occur.
        rates: False accept rates of the TAR columns.
        resamples: B.
        seed: Of the generator.

    Raises:
        InputError: If `resamples` is below 1.
    """
    if resamples < 1:
        raise InputError(f"resamples must be 1 or larger, got {resamples}.")
    values = np.asarray(distances, dtype=np.float64)
    labels = np.asarray(same, dtype=bool)
    levels, where = np.unique(values, return_inverse=True)
    level_same, level_different = where[labels], where[~labels]
    generator = np.random.default_rng(seed)
    parts: list[tuple[Float64, Float64, Float64]] = []
    for part in chunks(resamples, values.size):
        positives = _by_level(counts(generator, level_same.size, part), level_same, levels.size)
        negatives = _by_level(
            counts(generator, level_different.size, part), level_different, levels.size
        )
        parts.append(_figures(positives, negatives, rates))
    auc, eer, tar = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Resampled(auc, eer, tar)


def _by_level(drawn: NDArray[np.int64], level: NDArray[np.int64], levels: int) -> NDArray[np.int64]:
    """Sum draws over equal distances and add them up: (B, levels) of cumulative counts."""
    order = np.argsort(level, kind="stable")
    total = np.zeros((drawn.shape[0], drawn.shape[1] + 1), dtype=np.int64)
    np.cumsum(drawn[:, order], axis=1, out=total[:, 1:])
    ends = np.searchsorted(level[order], np.arange(levels), side="right")
    return total[:, ends]


def _figures(
    positives: NDArray[np.int64], negatives: NDArray[np.int64], rates: Sequence[float]
) -> tuple[Float64, Float64, Float64]:
    """Return AUC, EER and TAR from cumulative counts of accepted pairs, (B, levels) each."""
    tar = positives / positives[:, -1:]
    far = negatives / negatives[:, -1:]
    start = np.zeros((tar.shape[0], 1))
    tar, far = np.hstack([start, tar]), np.hstack([start, far])
    area = ((tar[:, 1:] + tar[:, :-1]) / 2 * np.diff(far, axis=1)).sum(axis=1)
    rows = np.arange(tar.shape[0])
    total = int(negatives[0, -1])
    # every row is ascending and ends in `total`, so rows laid end to end ascend as well
    offset = rows * (total + 1)
    laid = (negatives + offset[:, None]).ravel()
    at = np.empty((tar.shape[0], len(rates)))
    for column, rate in enumerate(rates):
        # the last level whose false accepts are still allowed
        reached = np.searchsorted(laid, offset + allowed(total, rate), side="right")
        last = reached - rows * negatives.shape[1]
        at[:, column] = tar[rows, last]
    return area, _equal_error(far, 1 - tar), at


def _equal_error(far: Float64, frr: Float64) -> Float64:
    """Return where the two rates meet, on the straight line between neighbouring points."""
    gap = far - frr
    rows = np.arange(gap.shape[0])
    upper = np.argmax(gap >= 0, axis=1)
    lower = np.maximum(upper - 1, 0)
    low, high = gap[rows, lower], gap[rows, upper]
    width = np.where(high > low, high - low, 1.0)
    share = np.where(high > low, -low / width, 1.0)
    return np.asarray(far[rows, lower] + share * (far[rows, upper] - far[rows, lower]))
