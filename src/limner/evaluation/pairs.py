"""The pairs protocol of LFW: thresholds from all folds but one, tested on that one.

Source: Huang, Ramesh, Berg, Learned-Miller, "Labeled Faces in the Wild" (2007), section III.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from limner.errors import InputError, ShapeError, TooFewPairsError
from limner.evaluation import bootstrap, curves
from limner.evaluation.curves import RateAt
from limner.similarity import best_threshold, error_curve

FARS = (1e-2, 1e-3)
FOLDS = 10


@dataclass(frozen=True, eq=False)
class PairScores:
    """What the pairs protocol gives.

    Attributes:
        accuracies: Shape (K,), share of right verdicts in each fold.
        thresholds: Shape (K,), tau from the other folds.
        tau: Shape (N,), the threshold that judged each pair.
        right: Shape (N,), whether that verdict was right.
        auc: Area under the ROC curve of all pairs.
        eer: Equal error rate of all pairs.
        auc_interval: 95 % interval.
        eer_interval: 95 % interval.
        tar_at_far: TAR at each FAR, with intervals.
        same: How many pairs of one person.
        different: How many pairs of two.
    """

    accuracies: NDArray[np.float64]
    thresholds: NDArray[np.float64]
    tau: NDArray[np.float64]
    right: NDArray[np.bool_]
    auc: float
    eer: float
    auc_interval: tuple[float, float]
    eer_interval: tuple[float, float]
    tar_at_far: tuple[RateAt, ...]
    same: int
    different: int

    @property
    def accuracy(self) -> float:
        """Mean of the folds' accuracies."""
        return float(self.accuracies.mean())

    @property
    def accuracy_std(self) -> float:
        """Standard deviation over the folds (n - 1); 0 for a single fold."""
        return float(self.accuracies.std(ddof=1)) if self.accuracies.size > 1 else 0.0

    @property
    def accuracy_se(self) -> float:
        """Standard error of the mean, the deviation over sqrt(K): what LFW's page prints."""
        return self.accuracy_std / float(np.sqrt(self.accuracies.size))

    def to_json(self) -> dict[str, Any]:
        """Return the figures as plain JSON values."""
        return {
            "accuracy": self.accuracy,
            "accuracy_std": self.accuracy_std,
            "accuracy_se": self.accuracy_se,
            "folds": [float(a) for a in self.accuracies],
            "thresholds": [float(t) for t in self.thresholds],
            "auc": self.auc,
            "auc_interval": list(self.auc_interval),
            "eer": self.eer,
            "eer_interval": list(self.eer_interval),
            "tar_at_far": {f"{rate.bound:g}": rate.to_json() for rate in self.tar_at_far},
            "pairs": self.same + self.different,
            "same_pairs": self.same,
            "different_pairs": self.different,
        }


def draw_folds(same: ArrayLike, *, folds: int = FOLDS, seed: int = 0) -> NDArray[np.int64]:
    """Deal pairs into folds at random, each kind evenly; for files that have no folds.

    Args:
        same: Shape (N,), bool.
        folds: How many.
        seed: Of the generator.

    Returns:
        Shape (N,), 0-based.

    Raises:
        InputError: If `folds` is below 2.
        TooFewPairsError: If there are fewer pairs of a kind than folds.
    """
    labels = np.asarray(same, dtype=bool)
    if folds < 2:
        raise InputError(f"folds must be 2 or larger, got {folds}.")
    least = min(int(labels.sum()), int((~labels).sum()))
    if least < folds:
        raise TooFewPairsError(
            f"{folds} folds need at least {folds} pairs of one person and {folds} of two, "
            f"got {least} of one kind."
        )
    generator = np.random.default_rng(seed)
    fold = np.empty(labels.size, dtype=np.int64)
    for kind in (True, False):
        members = generator.permutation(np.flatnonzero(labels == kind))
        fold[members] = np.arange(members.size) % folds
    return fold


def score_pairs(
    distances: ArrayLike,
    same: ArrayLike,
    fold: ArrayLike,
    *,
    fars: Sequence[float] = FARS,
    resamples: int = bootstrap.RESAMPLES,
    seed: int = 0,
) -> PairScores:
    """Run the protocol on distances.

    For each fold the threshold is the one with the fewest wrong verdicts on all other folds:
    exact, the middle between two neighbouring distances (of equally good gaps the widest).

    Args:
        distances: Shape (N,), finite; small means alike.
        same: Shape (N,), bool.
        fold: Shape (N,), int, 0-based, K of them; K = 1 or more. With one fold the threshold
            comes from the same pairs, which flatters.
        fars: False accept rates at which the TAR is stated, or refused where there are too few
            different pairs: finer than 1/N is refused, finer than 10/N is flagged.
        resamples: Bootstrap resamples for the intervals.
        seed: Of the bootstrap.

    Raises:
        ShapeError: If shapes differ.
        InputError: If a distance is not finite.
        TooFewPairsError: If a kind of pair is missing, as a whole or among the other folds.
    """
    values = np.asarray(distances, dtype=np.float64)
    labels = np.asarray(same).astype(bool)
    folds = np.asarray(fold)
    if values.ndim != 1 or labels.shape != values.shape or folds.shape != values.shape:
        raise ShapeError(
            f"distances, same and fold must have one shape (N,), got {values.shape}, "
            f"{labels.shape} and {folds.shape}."
        )
    curve = error_curve(values, labels)
    accuracies, thresholds, tau = _by_fold(values, labels, folds)
    resampled = bootstrap.resample_pairs(values, labels, rates=fars, resamples=resamples, seed=seed)
    return PairScores(
        accuracies=accuracies,
        thresholds=thresholds,
        tau=tau,
        right=(values <= tau) == labels,
        auc=curves.area(curve),
        eer=curve.equal_error_rate(),
        auc_interval=bootstrap.interval(resampled.auc),
        eer_interval=bootstrap.interval(resampled.eer),
        tar_at_far=_rates(values, labels, fars, resampled.tar),
        same=int(labels.sum()),
        different=int((~labels).sum()),
    )


def _by_fold(
    values: NDArray[np.float64], labels: NDArray[np.bool_], folds: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return accuracy and threshold of each fold, and the threshold of each pair."""
    numbers = np.unique(folds)
    accuracies, thresholds = np.empty(numbers.size), np.empty(numbers.size)
    tau = np.empty(values.size)
    for index, number in enumerate(numbers):
        test = folds == number
        train = ~test if numbers.size > 1 else test
        thresholds[index] = best_threshold(values[train], labels[train])
        tau[test] = thresholds[index]
        accuracies[index] = np.mean((values[test] <= thresholds[index]) == labels[test])
    return accuracies, thresholds, tau


def _rates(
    values: NDArray[np.float64],
    labels: NDArray[np.bool_],
    fars: Sequence[float],
    resampled: NDArray[np.float64],
) -> tuple[RateAt, ...]:
    positives, negatives = values[labels], values[~labels]
    rates = []
    for column, far in enumerate(fars):
        stated, note = curves.support(negatives.size, far, what="different pairs")
        count = curves.allowed(negatives.size, far)
        if not stated:
            rates.append(RateAt(far, None, count, note=note))
            continue
        low, high = bootstrap.interval(resampled[:, column])
        value = curves.accepted_at(positives, negatives, far)
        rates.append(RateAt(far, value, count, low, high, note))
    return tuple(rates)
