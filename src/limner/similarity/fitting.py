"""Fit a calibration: heads on one set of pairs, figures on another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from limner.errors import InputError, ShapeError, TooFewPairsError
from limner.similarity import metrics
from limner.similarity.calibration import Calibration
from limner.similarity.heads import KINDS, HeadKind, PairHead, fit_pair_head
from limner.similarity.thresholds import threshold_of_sorted

RULE_OF_30 = 30.0
FALSE_MATCH_RATES = (
    *(1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4),
    *(1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 1e-1),
)


@dataclass(frozen=True, eq=False)
class LabelledPairs:
    """Pairs of embeddings with their labels.

    Attributes:
        a: Shape (N, D), unit rows.
        b: Shape (N, D), unit rows.
        same: Shape (N,), bool: true where the pair shows one person.
    """

    a: NDArray[np.floating[Any]]
    b: NDArray[np.floating[Any]]
    same: NDArray[np.bool_]

    def __post_init__(self) -> None:
        if self.a.ndim != 2 or self.a.shape != self.b.shape:
            raise ShapeError(
                f"a and b must have the same shape (N, D), got {self.a.shape} and {self.b.shape}."
            )
        if self.same.shape != (len(self.a),) or self.same.dtype != np.bool_:
            raise ShapeError(
                f"same must be bool of shape ({len(self.a)},), "
                f"got {self.same.dtype} of shape {self.same.shape}."
            )


def false_match_table(
    impostor_distances: ArrayLike, *, rates: Sequence[float] = FALSE_MATCH_RATES
) -> tuple[tuple[float, float], ...]:
    """Return (rate, tau) rows for every rate that the pairs of different people support.

    Args:
        impostor_distances: Shape (N,), distances between photos of different people.
        rates: Candidates; those with fewer than 30 expected false matches are left out.

    Returns:
        Rows that ascend in the rate and in tau; empty if no rate is supported.

    Source:
        The rule of 30 (Doddington et al., "The NIST speaker recognition evaluation", 2000):
        with 30 errors the true rate is within 30 % of the observed one, 9 times in 10. It
        also keeps a handful of wrong labels, two names for one person, from deciding a row:
        in LFW most of the dozen nearest "different" pairs are such.
    """
    values = np.sort(np.asarray(impostor_distances, dtype=np.float64))
    rows = []
    for rate in sorted(rates):
        try:
            tau = threshold_of_sorted(values, rate, RULE_OF_30)
        except TooFewPairsError:
            continue
        rows.append((float(rate), tau))
    return tuple(rows)


def head_figures(head: PairHead, pairs: LabelledPairs) -> dict[str, Any]:
    """Return accuracy at tau, log loss, Brier score and calibration error on `pairs`."""
    distance = head.distance(pairs.a, pairs.b)
    probability = head.probability(distance)
    return {
        "accuracy": float(np.mean((distance <= head.threshold) == pairs.same)),
        "log_loss": metrics.log_loss(probability, pairs.same),
        "brier": metrics.brier_score(probability, pairs.same),
        "ece": metrics.expected_calibration_error(probability, pairs.same),
        "pairs": int(pairs.same.size),
    }


def fit_calibration(
    train: LabelledPairs,
    test: LabelledPairs | None = None,
    impostor_distances: ArrayLike | None = None,
    *,
    embedder_id: str,
    fitted_on: str,
    head: HeadKind = "squared_l2",
    kinds: Sequence[HeadKind] = KINDS,
) -> tuple[Calibration, dict[str, Any]]:
    """Fit the pair heads and the false-match table of an embedder.

    Args:
        train: Pairs that the heads are fitted on.
        test: Other pairs, for the figures; without them the figures hold counts only.
        impostor_distances: Shape (N,), distances of `head` between photos of different
            people, as many as there are; without them the table is empty. The rates reach
            as far as 30 expected false matches.
        embedder_id: The embedder that made the embeddings.
        fitted_on: The data, in words; shown to users beside every probability.
        head: Which head judges by default.
        kinds: Which heads to fit; must contain `head`.

    Returns:
        The calibration and its figures:
        ``{"heads": {kind: {"accuracy", "log_loss", "brier", "ece", "pairs"}},
        "train_pairs", "impostor_pairs", "false_match_rate_at_threshold"}``.

    Raises:
        InputError: If `kinds` lacks `head`.
        TooFewPairsError: If `train` has too few pairs of either kind.
    """
    if head not in kinds:
        raise InputError(f"kinds must contain the default head {head!r}, got {', '.join(kinds)}.")
    heads: dict[str, PairHead] = {
        kind: fit_pair_head(kind, train.a, train.b, train.same) for kind in kinds
    }
    figures: dict[str, Any] = {"train_pairs": int(train.same.size), "heads": {}}
    if test is not None:
        figures["heads"] = {kind: head_figures(fitted, test) for kind, fitted in heads.items()}
    table: tuple[tuple[float, float], ...] = ()
    if impostor_distances is not None:
        impostors = np.asarray(impostor_distances)
        table = false_match_table(impostors)
        figures["impostor_pairs"] = int(impostors.size)
        figures["false_match_rate_at_threshold"] = float(
            np.mean(impostors <= heads[head].threshold)
        )
    calibration = Calibration(
        embedder_id=embedder_id,
        fitted_on=fitted_on,
        same_pairs=int(train.same.sum()),
        different_pairs=int((~train.same).sum()),
        head=heads[head],
        heads=heads,
        false_match=table,
        figures=figures,
    )
    return calibration, figures
