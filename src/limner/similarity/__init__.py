"""Distances, thresholds, pair heads and calibration: what "alike" means, in figures."""

from limner.similarity.calibration import Calibration, ChosenThreshold
from limner.similarity.distances import (
    abs_difference,
    chi_square,
    cosine_distance,
    cosine_similarity,
    normalise,
    pairwise_squared_l2,
    squared_l2,
)
from limner.similarity.fitting import LabelledPairs, false_match_table, fit_calibration
from limner.similarity.heads import KINDS, HeadKind, PairHead, fit_pair_head, recalibrate
from limner.similarity.metrics import (
    ReliabilityBin,
    brier_score,
    expected_calibration_error,
    log_loss,
    reliability_table,
)
from limner.similarity.quality_rule import QualityRule
from limner.similarity.shipped import shipped
from limner.similarity.thresholds import (
    ErrorCurve,
    best_threshold,
    error_curve,
    threshold_at_fmr,
)
from limner.similarity.verdicts import Verdicts, compare

__all__ = [
    "KINDS",
    "Calibration",
    "ChosenThreshold",
    "ErrorCurve",
    "HeadKind",
    "LabelledPairs",
    "PairHead",
    "QualityRule",
    "ReliabilityBin",
    "Verdicts",
    "abs_difference",
    "best_threshold",
    "brier_score",
    "chi_square",
    "compare",
    "cosine_distance",
    "cosine_similarity",
    "error_curve",
    "expected_calibration_error",
    "false_match_table",
    "fit_calibration",
    "fit_pair_head",
    "log_loss",
    "normalise",
    "pairwise_squared_l2",
    "recalibrate",
    "reliability_table",
    "shipped",
    "squared_l2",
    "threshold_at_fmr",
]
