"""Pair heads end to end: two photos in, "the same person" or not out.

The notes' y = sigma(sum_k w_k |f_k(a) - f_k(b)| + b), or its chi-square form, with f and w
trained together: a siamese network. What is trained is a `limner.similarity.PairHead`, so
`limner compare` and `verify` use it as they use one that was fitted to frozen embeddings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from limner.errors import InputError, ShapeError, UnknownNameError
from limner.similarity import PairHead
from limner.similarity.distances import CHI_SQUARE_EPS
from limner.training.class_losses import Loss
from limner.training.ranking_losses import check_people

if TYPE_CHECKING:
    from limner.training.ranking_losses import Mined

TrainedKind = Literal["weighted_l1", "chi_square"]

_START_SLOPE = 8.0
"""The first weights make a probability of 1/2 at a typical distance of unit vectors."""
_START_DISTANCE = 1.2  # squared: two strangers are near 2, two photos of one person near 0.5


def pair_terms(kind: TrainedKind, a: Tensor, b: Tensor) -> Tensor:
    """Return |a_k - b_k|, or (a_k - b_k)^2 / (|a_k| + |b_k|), shape (N, D).

    The same numbers as `limner.similarity.abs_difference` and `chi_square`, with a gradient.

    Args:
        kind: `weighted_l1` or `chi_square`.
        a: Shape (N, D).
        b: Shape (N, D).
    """
    difference = a - b
    if kind == "weighted_l1":
        return difference.abs()
    return difference.square() / (a.abs() + b.abs() + CHI_SQUARE_EPS)


class SiamesePairHead(nn.Module):
    """The notes' pair head as a module: one weight for each number of the embedding, and a bias.

    Args:
        kind: `weighted_l1` or `chi_square`.
        dim: Width D of the embedding.

    Raises:
        UnknownNameError: If `kind` is another word.
    """

    def __init__(self, kind: TrainedKind, dim: int) -> None:
        super().__init__()
        if kind not in get_args(TrainedKind):
            words = " or ".join(repr(k) for k in get_args(TrainedKind))
            raise UnknownNameError(f"head must be {words}, got {kind!r}.")
        self.kind: TrainedKind = kind
        # Unit vectors in D dimensions have numbers near D^-1/2.
        if kind == "weighted_l1":
            weight = -_START_SLOPE * (dim**-0.5)
        else:
            weight = -_START_SLOPE * 0.5 * (dim**-0.5)
        self.weights = nn.Parameter(torch.full((dim,), weight))
        self.bias = nn.Parameter(torch.tensor(_START_SLOPE * _START_DISTANCE / 2))

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Map two sets of unit embeddings (N, D) to logits (N,): above 0 is the same person."""
        if a.shape != b.shape or a.ndim != 2 or a.shape[1] != len(self.weights):
            raise ShapeError(
                f"a and b must have shape (N, {len(self.weights)}), got {tuple(a.shape)} and "
                f"{tuple(b.shape)}."
            )
        return pair_terms(self.kind, a, b) @ self.weights + self.bias

    def to_pair_head(self) -> PairHead:
        """Return the head as `compare` and `verify` use it."""
        return PairHead(
            kind=self.kind,
            weights=self.weights.detach().cpu().double().numpy(),
            threshold=float(self.bias.detach()),
            slope=1.0,
        )


class SiameseLoss(Loss):
    """Binary cross-entropy of the pair head over all pairs of a batch, both kinds weighing half.

    Args:
        dim: Width of the embedding.
        head: `weighted_l1`, the notes' |difference|, or `chi_square`.
        decay: Strength of the pull of the weights towards 0.

    Source: the notes, "face verification as binary classification"; Taigman et al., DeepFace
    (2014), sections 4.1 and 4.2.
    Differs: every pair of the batch, not drawn pairs, the two kinds weighed alike as in
    `limner.similarity.fit_pair_head`.
    """

    def __init__(
        self,
        *,
        dim: int,
        head: TrainedKind = "weighted_l1",
        decay: float = 1e-4,
    ) -> None:
        super().__init__()
        if not 0 <= decay < 1:
            raise InputError(f"decay must lie in [0, 1), got {decay!r}.")
        self.head = SiamesePairHead(head, dim)
        self.decay = decay

    def forward(self, x: Tensor, labels: Tensor, mined: Mined | None = None) -> Tensor:
        """Return the loss of all pairs of the batch; `x` holds unit embeddings (N, D)."""
        check_people(x, labels)
        first, second = torch.triu_indices(len(x), len(x), offset=1, device=x.device)
        same = labels[first] == labels[second]
        logits = self.head(x[first], x[second])
        target = same.to(logits.dtype)
        each = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
        loss = (each[same].mean() + each[~same].mean()) / 2
        return loss + self.decay * self.head.weights.square().mean()
