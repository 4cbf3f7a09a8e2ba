"""Protocols, curves and plots: how good an embedder is, in figures with their uncertainty."""

from limner.evaluation.drivers import (
    IdentificationReport,
    PairsReport,
    evaluate_identification,
    evaluate_pairs,
    fit_from_files,
)
from limner.evaluation.identification import IdentificationScores, score_identification
from limner.evaluation.pairfiles import PairList, read_pairs
from limner.evaluation.pairs import PairScores, draw_folds, score_pairs
from limner.evaluation.photos import EmbeddedPhotos, central_face, embed_photos
from limner.evaluation.report import save_identification, save_pairs

__all__ = [
    "EmbeddedPhotos",
    "IdentificationReport",
    "IdentificationScores",
    "PairList",
    "PairScores",
    "PairsReport",
    "central_face",
    "draw_folds",
    "embed_photos",
    "evaluate_identification",
    "evaluate_pairs",
    "fit_from_files",
    "read_pairs",
    "save_identification",
    "save_pairs",
    "score_identification",
    "score_pairs",
]
