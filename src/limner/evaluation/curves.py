"""Error rates of distances, exact on the empirical step functions.

A pair is accepted when its distance <= tau. FAR (false accept rate) is the share of different
pairs that are accepted, TAR (true accept rate) that of same pairs. Nothing is interpolated,
except in the EER, where the two step functions seldom meet in a point.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from limner.errors import InputError
from limner.similarity import ErrorCurve, error_curve

FEW = 10  # a rate that rests on fewer expected false accepts is flagged


@dataclass(frozen=True)
class RateAt:
    """A true rate at a bound on the false rate (TAR at a FAR, or TPIR at an FPIR).

    Attributes:
        bound: The false rate that must not be exceeded.
        value: The true rate; None where it is not stated.
        low: Lower end of the confidence interval, or None.
        high: Upper end of the confidence interval, or None.
        expected: How many of the negatives the bound lets through at most, rounded down.
        note: Why there is no value, or how far it can be trusted; else empty.
    """

    bound: float
    value: float | None
    expected: int
    low: float | None = None
    high: float | None = None
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return {
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "false_accepts": self.expected,
            "note": self.note,
        }


def allowed(negatives: int, rate: float) -> int:
    """Return how many of `negatives` may be accepted at a false rate of `rate`."""
    if not 0 < rate < 1:
        raise InputError(f"a false rate must lie between 0 and 1, both excluded, got {rate}.")
    return int(np.floor(negatives * rate * (1 + 1e-12)))


def support(negatives: int, rate: float, *, what: str) -> tuple[bool, str]:
    """Tell whether `negatives` can show a false rate, and what to say about it.

    Below 1/negatives nothing can be said: no single one may be accepted, so the figure would
    be the same for any finer rate. Below 10/negatives it rests on fewer than ten.

    Args:
        negatives: How many there are.
        rate: The false rate.
        what: What a negative is, for the message (plural).

    Returns:
        Whether to state it, and a note (empty where there is nothing to say).
    """
    count = allowed(negatives, rate)
    if count < 1:
        needed = int(np.ceil(1 / rate - 1e-9))
        return False, (
            f"not stated: {negatives:,} {what} cannot show a rate of {rate:g}; "
            f"at least {needed:,} are needed, {FEW * needed:,} for a steady figure."
        )
    if count < FEW:
        return True, f"few: rests on {count} of {negatives:,} {what}."
    return True, ""


def accepted_at(positives: ArrayLike, negatives: ArrayLike, rate: float) -> float:
    """Return the share of `positives` below the largest tau with false rate <= `rate`.

    Exact: with k = floor(rate * N), tau may rise to just below the (k+1)-th smallest negative.

    Args:
        positives: Shape (P,), distances that should be accepted.
        negatives: Shape (N,), distances that should not.
        rate: The false rate, in (0, 1).
    """
    impostors = np.asarray(negatives, dtype=np.float64)
    k = allowed(impostors.size, rate)
    if k >= impostors.size:
        return 1.0
    limit = np.partition(impostors, k)[k]
    return float(np.mean(np.asarray(positives, dtype=np.float64) < limit))


def auc(distances: ArrayLike, same: ArrayLike) -> float:
    """Return the area under the ROC curve: P(d_same < d_different), ties counted half.

    Source: Mann and Whitney (1947); Hanley and McNeil (1982).
    """
    curve = error_curve(distances, same)
    return area(curve)


def area(curve: ErrorCurve) -> float:
    """Return the area under an error curve as a ROC: trapezia, which count ties half."""
    return float(np.trapezoid(1 - curve.false_non_match_rate, curve.false_match_rate))


def step_roc(
    distances: ArrayLike, same: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (FAR, TAR) at every distinct distance, from (0, 0) to (1, 1)."""
    curve = error_curve(distances, same)
    return curve.false_match_rate, 1 - curve.false_non_match_rate
