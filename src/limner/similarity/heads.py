"""Pair heads: from two embeddings to a distance, a verdict and a probability.

Every head is y = sigma(slope * (tau - d)). For ``squared_l2`` and ``cosine`` d is the
distance itself. The notes' y = sigma(sum_k w_k |f_k(a) - f_k(b)| + b) is the same thing
with d = -sum_k w_k |...|, tau = b and slope 1, and so is the chi-square form, so verdict,
threshold and probability agree in all of them: y >= 1/2 exactly when d <= tau.

The probability is that of two photos drawn half the time from one person and half the
time from two: fitting weighs both kinds of pairs equally, however many there are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from limner.errors import InputError, ShapeError, TooFewPairsError, UnknownNameError
from limner.similarity import distances
from limner.similarity.logistic import Float64, minimise, sigmoid
from limner.types import Pair

HeadKind = Literal["squared_l2", "cosine", "weighted_l1", "chi_square"]
KINDS: tuple[HeadKind, ...] = get_args(HeadKind)
L2_GRID = (0.1, 1.0, 10.0, 100.0, 1000.0)
CROSS_VALIDATION_FOLDS = 5
MIN_PAIRS = 10

_WEIGHTED = ("weighted_l1", "chi_square")


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise UnknownNameError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}.")


@dataclass(frozen=True, eq=False)
class PairHead:
    """A fitted pair head.

    Attributes:
        kind: Which distance it judges by.
        weights: Shape (D,), float64, for ``weighted_l1`` and ``chi_square``; else None.
        threshold: tau, on the head's own distance scale.
        slope: > 0; how fast the probability falls with the distance.
    """

    kind: HeadKind
    weights: NDArray[np.float64] | None
    threshold: float
    slope: float

    def __post_init__(self) -> None:
        _check_kind(self.kind)
        if not np.isfinite(self.threshold):
            raise InputError(f"threshold must be finite, got {self.threshold}.")
        if not (np.isfinite(self.slope) and self.slope > 0):
            raise InputError(f"slope must be a positive finite number, got {self.slope}.")
        if (self.kind in _WEIGHTED) != (self.weights is not None):
            wanted = "needs weights" if self.kind in _WEIGHTED else "takes no weights"
            raise InputError(f"a {self.kind} head {wanted}.")
        if self.weights is not None and (
            self.weights.ndim != 1 or not np.isfinite(self.weights).all()
        ):
            raise ShapeError(
                f"weights must be finite, of shape (D,); got shape {self.weights.shape}."
            )

    def distance(self, a: ArrayLike, b: ArrayLike) -> Float64:
        """Return the head's distance for paired rows.

        Args:
            a: Shape (N, D), unit rows.
            b: Shape (N, D), unit rows.

        Returns:
            Shape (N,), float64; smaller means more alike. The range is [0, 4] for
            ``squared_l2``, [0, 2] for ``cosine``, and free for the weighted heads.

        Raises:
            ShapeError: If the shapes differ, or D is not the width of the weights.
        """
        if self.kind == "squared_l2":
            return distances.squared_l2(a, b).astype(np.float64)
        if self.kind == "cosine":
            return distances.cosine_distance(a, b).astype(np.float64)
        terms = _terms(self.kind, a, b)
        weights = np.zeros(0) if self.weights is None else self.weights
        if terms.shape[1] != weights.size:
            raise ShapeError(
                f"this head was fitted on embeddings of width {weights.size}, got {terms.shape[1]}."
            )
        return np.asarray(-(terms @ weights))

    def probability(self, distance: ArrayLike, *, threshold: float | None = None) -> Float64:
        """Return sigma(slope * (tau - distance)).

        Args:
            distance: Any shape, on the head's scale.
            threshold: Another tau to centre on. Leave it out for the calibrated
                probability, also when a user moved the threshold of the verdict.

        Returns:
            Same shape, in [0, 1]; 1/2 at the threshold, falling with the distance.
        """
        tau = self.threshold if threshold is None else threshold
        return sigmoid(self.slope * (tau - np.asarray(distance, dtype=np.float64)))

    def judge(self, a: ArrayLike, b: ArrayLike, *, threshold: float | None = None) -> Pair:
        """Judge one pair of embeddings.

        Args:
            a: Shape (D,), unit length.
            b: Shape (D,), unit length.
            threshold: A user's own tau. It moves the verdict only: the probability stays
                the one that was calibrated.

        Returns:
            Distance, threshold, probability and verdict.

        Raises:
            ShapeError: If `a` and `b` are not vectors of the same width.
            InputError: If `threshold` is not finite.
        """
        left, right = np.asarray(a), np.asarray(b)
        if left.ndim != 1 or right.ndim != 1:
            raise ShapeError(f"a and b must be vectors, got {left.shape} and {right.shape}.")
        d = float(self.distance(left[None], right[None])[0])
        tau = self.threshold if threshold is None else float(threshold)
        return Pair(
            distance=d,
            threshold=tau,
            probability=float(self.probability(d)),
            verdict="same" if d <= tau else "different",
        )

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        weights = None if self.weights is None else [float(w) for w in self.weights]
        return {
            "kind": self.kind,
            "weights": weights,
            "threshold": float(self.threshold),
            "slope": float(self.slope),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> PairHead:
        """Rebuild a head from `to_json`'s values.

        Raises:
            InputError: If a key is missing or a value is not usable.
        """
        try:
            weights = document["weights"]
            return cls(
                kind=document["kind"],
                weights=None if weights is None else np.asarray(weights, dtype=np.float64),
                threshold=float(document["threshold"]),
                slope=float(document["slope"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"this is not a pair head: {error!r}.") from error


def _terms(kind: HeadKind, a: ArrayLike, b: ArrayLike) -> Float64:
    """Return the (N, P) terms whose weighted sum the logistic regression fits."""
    if kind == "weighted_l1":
        return distances.abs_difference(a, b).astype(np.float64)
    if kind == "chi_square":
        return distances.chi_square(a, b).astype(np.float64)
    plain = distances.squared_l2 if kind == "squared_l2" else distances.cosine_distance
    return plain(a, b).astype(np.float64)[:, None]


def balanced_weights(same: NDArray[np.bool_]) -> Float64:
    """Return weights (N,) that sum to N and to N/2 over each kind of pair."""
    positives = int(same.sum())
    negatives = int(same.size) - positives
    return np.where(same, same.size / (2 * positives), same.size / (2 * negatives))


def check_labels(same: ArrayLike, count: int) -> NDArray[np.bool_]:
    """Return `same` as booleans of shape (N,), at least `MIN_PAIRS` of each kind.

    Raises:
        ShapeError: If there is not one label for each of the `count` pairs.
        TooFewPairsError: If either kind of pair is too rare to fit anything.
    """
    labels = np.asarray(same)
    if labels.shape != (count,):
        raise ShapeError(f"same must have shape ({count},), got {labels.shape}.")
    labels = labels.astype(bool)
    positives = int(labels.sum())
    if min(positives, count - positives) < MIN_PAIRS:
        raise TooFewPairsError(
            f"fitting needs at least {MIN_PAIRS} pairs of one person and {MIN_PAIRS} of two, "
            f"got {positives} and {count - positives}."
        )
    return labels


def fit_pair_head(
    kind: HeadKind, a: ArrayLike, b: ArrayLike, same: ArrayLike, *, l2: float | None = None
) -> PairHead:
    """Fit a pair head to labelled pairs by logistic regression.

    Args:
        kind: The head to fit. ``squared_l2`` and ``cosine`` have two parameters (slope and
            threshold); ``weighted_l1`` and ``chi_square`` have one weight a component and a bias.
        a: Shape (N, D), unit rows.
        b: Shape (N, D), unit rows.
        same: Shape (N,), true where the pair shows one person.
        l2: Strength of the L2 penalty on the weights of a weighted head, relative to terms
            scaled to mean 1. Default: the best of `L2_GRID` by five-fold cross-validation.

    Returns:
        The fitted head; equal weight is given to pairs of one person and of two.

    Raises:
        UnknownNameError: If `kind` is not a head.
        TooFewPairsError: If either kind of pair is rarer than `MIN_PAIRS`.
        InputError: If the pairs of one person are not nearer than the pairs of two, or
            `l2` is given for a head without weights or is negative.

    Source:
        Platt, "Probabilistic outputs for support vector machines" (1999), for the smoothed
        targets (n+1)/(n+2) and 1/(n+2), which keep the slope finite on separable data.

    Differs:
        Platt leaves the pairs' own proportions in; here both kinds weigh the same.
    """
    _check_kind(kind)
    terms = _terms(kind, a, b)
    labels = check_labels(same, len(terms))
    if kind in _WEIGHTED:
        strength = choose_l2(terms, labels) if l2 is None else float(l2)
        if not strength >= 0:
            raise InputError(f"l2 must be 0 or larger, got {l2}.")
        weights, bias = _fit_weighted(terms, labels, strength)
        return PairHead(kind=kind, weights=weights, threshold=bias, slope=1.0)
    if l2 is not None:
        raise InputError(f"l2 applies to weighted_l1 and chi_square heads only, not to {kind}.")
    return _fit_plain(kind, terms, labels)


def recalibrate(head: PairHead, a: ArrayLike, b: ArrayLike, same: ArrayLike) -> PairHead:
    """Fit a head's threshold and slope anew, and leave its weights as they are.

    A head that was trained end to end is too sure of people whom it has not seen; this makes
    its probabilities true of them.

    Args:
        head: Any head.
        a: Shape (N, D), unit rows of people whom the head was not trained on.
        b: Shape (N, D), unit rows.
        same: Shape (N,), true where the pair shows one person.

    Raises:
        TooFewPairsError: If either kind of pair is rarer than `MIN_PAIRS`.
        InputError: If the pairs of one person are not nearer than the pairs of two.
    """
    distance = head.distance(a, b)
    fitted = _fit_plain("squared_l2", distance[:, None], check_labels(same, len(distance)))
    return replace(head, threshold=fitted.threshold, slope=fitted.slope)


def _smoothed(labels: NDArray[np.bool_]) -> Float64:
    positives = int(labels.sum())
    negatives = int(labels.size) - positives
    return np.where(labels, (positives + 1) / (positives + 2), 1 / (negatives + 2))


def _fit_plain(kind: HeadKind, terms: Float64, labels: NDArray[np.bool_]) -> PairHead:
    spread = float(terms.std())
    if spread == 0:
        raise InputError("all pairs are equally distant, so no threshold separates them.")
    centre = float(terms.mean())
    design = np.column_stack([(terms[:, 0] - centre) / spread, np.ones(len(terms))])
    slope, bias = minimise(design, _smoothed(labels), balanced_weights(labels), np.zeros(2))
    if not slope < 0:
        raise InputError(
            "the pairs of one person are not nearer to each other than the pairs of two; "
            "are the labels the wrong way round?"
        )
    return PairHead(
        kind=kind,
        weights=None,
        threshold=float(centre - spread * bias / slope),
        slope=float(-slope / spread),
    )


def _fit_weighted(
    terms: Float64, labels: NDArray[np.bool_], strength: float
) -> tuple[Float64, float]:
    """Return the weights (D,) and the bias; the penalty sees terms scaled to mean 1."""
    scale = float(terms.mean())
    if scale == 0:
        raise InputError("all pairs are equally distant, so no threshold separates them.")
    design = np.column_stack([terms / scale, np.ones(len(terms))])
    ridge = np.append(np.full(terms.shape[1], strength), 0.0)
    fitted = minimise(design, _smoothed(labels), balanced_weights(labels), ridge)
    return fitted[:-1] / scale, float(fitted[-1])


def choose_l2(terms: ArrayLike, same: ArrayLike, *, seed: int = 0) -> float:
    """Return the value of `L2_GRID` with the smallest held-out log loss.

    Args:
        terms: Shape (N, D), non-negative.
        same: Shape (N,).
        seed: Seeds the assignment of pairs to folds.

    Returns:
        One value of `L2_GRID`.
    """
    x = np.asarray(terms, dtype=np.float64)
    labels = check_labels(same, len(x))
    fold = np.empty(len(x), dtype=np.int64)
    generator = np.random.default_rng(seed)
    for value in (True, False):  # both kinds of pairs in every fold
        members = generator.permutation(np.flatnonzero(labels == value))
        fold[members] = np.arange(members.size) % CROSS_VALIDATION_FOLDS
    losses = []
    for strength in L2_GRID:
        total = 0.0
        for held_out in range(CROSS_VALIDATION_FOLDS):
            train, test = fold != held_out, fold == held_out
            weights, bias = _fit_weighted(x[train], labels[train], strength)
            logit = x[test] @ weights + bias
            loss = np.logaddexp(0.0, logit) - labels[test] * logit
            total += float(balanced_weights(labels[test]) @ loss)
        losses.append(total)
    return L2_GRID[int(np.argmin(losses))]
