"""Losses that compare faces with each other: triplets and pairs.

`TripletLoss` without mined triplets sums over every triplet of the batch exactly, without ever
listing them: 123 million of them in a batch of 1,800 with 40 photos a person.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

from limner.errors import InputError, ShapeError, UnknownNameError
from limner.training.class_losses import Loss, check_batch, require_positive
from limner.training.extras import require

Reduction = Literal["mean", "active", "sum"]

_BLOCK = 256  # anchors whose distances are sorted at once


@dataclass(frozen=True)
class Mined:
    """Triplets that a miner chose.

    Attributes:
        anchor: Shape (T,), int64: rows of the batch.
        positive: Shape (T,): another photo of the anchor's person.
        negative: Shape (T,): a photo of somebody else.
    """

    anchor: Tensor
    positive: Tensor
    negative: Tensor

    def __post_init__(self) -> None:
        shapes = {tuple(t.shape) for t in (self.anchor, self.positive, self.negative)}
        if len(shapes) != 1 or self.anchor.ndim != 1:
            raise ShapeError(f"anchor, positive and negative must be (T,), got {shapes}.")

    def __len__(self) -> int:
        return len(self.anchor)


def check_people(x: Tensor, labels: Tensor) -> None:
    """Check that a batch holds a pair of one person and a pair of two.

    Raises:
        ShapeError: If rows and labels do not belong together.
        InputError: If either kind of pair is missing, or an embedding is not finite.
    """
    check_batch(x, labels)
    counts = torch.unique(labels, return_counts=True)[1]
    if int(counts.max()) < 2:
        raise InputError(
            f"the batch holds no two photos of one person ({len(labels)} photos of "
            f"{len(counts)} people); draw P people with K >= 2 photos each."
        )
    if len(counts) < 2:
        raise InputError(
            f"the batch holds one person only ({len(labels)} photos); draw two or more people."
        )
    if not bool(torch.isfinite(x).all()):
        raise InputError("the batch holds embeddings that are not finite; lower the rate.")


def distances(x: Tensor) -> Tensor:
    """Return ||x_i - x_j||, shape (N, N), in float32 or float64; its slope at 0 is 0."""
    y = x if x.dtype in (torch.float32, torch.float64) else x.float()
    return torch.cdist(y, y, compute_mode="donot_use_mm_for_euclid_dist")


class TripletLoss(Loss):
    """max(||a - p||^2 - ||a - n||^2 + margin, 0), averaged over the triplets.

    Args:
        margin: alpha.
        reduction: `mean` over all triplets given, or over the `active` ones (loss above 0), or
            their `sum`, which is the notes' J.
        squared: Whether distances are squared, as in the notes' formula. Without, it is what
            `torch.nn.TripletMarginLoss(margin, p=2)` computes, which the notes' code uses.

    Attributes:
        active: Share of the last batch's triplets whose loss was above 0.

    Source: Schroff et al., FaceNet (2015), equation 3, squared distances of unit vectors.
    Differs: a mean by default, so that the rate does not depend on the batch. Listed triplets go
    through pytorch-metric-learning's `TripletMarginLoss`. torch's class adds 1e-6 to each
    difference before its norm; here nothing is added.
    """

    mines: ClassVar[Literal["triplets"] | None] = "triplets"

    def __init__(
        self, *, margin: float = 0.2, reduction: Reduction = "mean", squared: bool = True
    ) -> None:
        super().__init__()
        self.margin = require_positive("margin", margin)
        if reduction not in get_args(Reduction):
            raise UnknownNameError(
                f"reduction must be 'mean', 'active' or 'sum', got {reduction!r}."
            )
        if not isinstance(squared, bool):
            raise InputError(f"squared must be true or false, got {squared!r}.")
        self.reduction = reduction
        self.squared = squared
        self.active = 0.0
        self.inner = _library_triplets(self.margin, reduction, squared)

    def forward(self, x: Tensor, labels: Tensor, mined: Mined | None = None) -> Tensor:
        """Return the loss of the mined triplets; without them, of every triplet of the batch.

        Args:
            x: Embeddings (N, D), unit length.
            labels: Shape (N,).
            mined: What a miner chose; may be empty, which gives 0.

        Raises:
            InputError: If the batch has no triplet at all.
        """
        check_people(x, labels)
        if mined is None:
            d = distances(x).square() if self.squared else distances(x)
            loss, active = _AllTriplets.apply(d, labels, self.margin, self.reduction)
            self.active = float(active)
            result: Tensor = loss
            return result
        if len(mined) == 0:
            self.active = 0.0
            return x.sum() * 0
        indices = (mined.anchor, mined.positive, mined.negative)
        with torch.no_grad():
            a, p, n = (x[i] for i in indices)
            near, far = (a - p).square().sum(dim=1), (a - n).square().sum(dim=1)
            gap = near - far if self.squared else near.sqrt() - far.sqrt()
            self.active = float((gap + self.margin > 0).float().mean())
        y = x if x.dtype in (torch.float32, torch.float64) else x.float()
        listed: Tensor = self.inner(y, labels, indices)
        return listed


def _library_triplets(margin: float, reduction: Reduction, squared: bool) -> Any:
    require("pytorch_metric_learning")
    from pytorch_metric_learning import distances as library
    from pytorch_metric_learning import losses, reducers

    return losses.TripletMarginLoss(
        margin=margin,
        distance=library.LpDistance(normalize_embeddings=False, p=2, power=2 if squared else 1),
        reducer={
            "mean": reducers.MeanReducer,
            "active": reducers.AvgNonZeroReducer,
            "sum": reducers.SumReducer,
        }[reduction](),
    )


class _AllTriplets(torch.autograd.Function):
    """Sum of the loss over all triplets, from sorted distances and their prefix sums.

    For an anchor, a positive at d costs sum over negatives below t = d + margin of (t - d_n):
    count * t - prefix sum, both read off the sorted negatives. The gradient with respect to a
    distance is a count, too. O(N^2 log N), blocks of anchors at a time.
    """

    @staticmethod
    def forward(
        ctx: Any, squared: Tensor, labels: Tensor, margin: float, reduction: str
    ) -> tuple[Tensor, Tensor]:
        total = torch.zeros((), dtype=torch.float64)
        active = triplets = 0
        slope = torch.zeros_like(squared)
        for start in range(0, len(squared), _BLOCK):
            rows = torch.arange(start, min(start + _BLOCK, len(squared)), device=squared.device)
            same = labels[rows][:, None] == labels[None]
            positive = same.clone()
            positive[torch.arange(len(rows)), rows] = False
            block = squared[rows]
            infinite = torch.full_like(block, torch.inf)
            negatives = torch.where(same, infinite, block).sort(dim=1).values
            finite = torch.where(negatives.isinf(), torch.zeros_like(negatives), negatives)
            prefix = functional.pad(finite.double().cumsum(dim=1), (1, 0))
            limit = torch.where(positive, block + margin, -infinite)
            below = torch.searchsorted(negatives, limit.contiguous())
            reached = torch.where(positive, limit, torch.zeros_like(limit)).double()
            total += (below * reached - prefix.gather(1, below)).sum().cpu()
            above = len(squared) - torch.searchsorted(
                limit.sort(dim=1).values, block.contiguous(), right=True
            )
            slope[rows] = torch.where(same, below, -above).to(slope.dtype)
            active += int(below.sum())
            triplets += int((positive.sum(dim=1) * (~same).sum(dim=1)).sum())
        count = {"mean": triplets, "active": max(active, 1), "sum": 1}[reduction]
        ctx.save_for_backward(slope)
        ctx.count = count
        share = torch.tensor(active / triplets)
        ctx.mark_non_differentiable(share)
        return (total / count).to(squared), share

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (slope,) = ctx.saved_tensors
        return gradients[0] * slope / ctx.count, None, None, None


class _PairLoss(Loss):
    """Base of the losses over pairs: every pair of the batch, each taken once."""

    def __init__(self, *, margin: float = 1.0) -> None:
        super().__init__()
        self.margin = require_positive("margin", margin)


class ContrastiveLoss(_PairLoss):
    """(1 - Y) D^2 / 2 + Y max(0, margin - D)^2 / 2, averaged over the pairs i < j.

    D = ||x_i - x_j||; Y is 0 for two photos of one person and 1 for photos of two people.

    Args:
        margin: m: how far apart two people should be.
        balanced: Whether both kinds of pairs weigh the same, however many there are.

    Source: Hadsell, Chopra and LeCun, Dimensionality Reduction by Learning an Invariant Mapping
    (2006), equations 3 and 4.
    Differs: a mean. (pytorch-metric-learning's class of this name is the hinge of `PairwiseLoss`.)
    """

    def __init__(self, *, margin: float = 1.0, balanced: bool = False) -> None:
        super().__init__(margin=margin)
        self.balanced = balanced

    def forward(self, x: Tensor, labels: Tensor, mined: Mined | None = None) -> Tensor:
        """Return the loss of all pairs of the batch; `x` holds embeddings (N, D)."""
        check_people(x, labels)
        d = distances(x)
        same = labels[:, None] == labels[None]
        once = torch.triu(torch.ones_like(same), diagonal=1)
        terms = torch.where(same, d.square(), (self.margin - d).clamp_min(0).square()) / 2
        if not self.balanced:
            return terms[once].mean()
        return (terms[once & same].mean() + terms[once & ~same].mean()) / 2


class PairwiseLoss(_PairLoss):
    """Mean of D over pairs of one person, plus mean of max(0, margin - D) over pairs of two.

    The pairwise ranking loss, a hinge: the contrastive loss without the squares.

    Args:
        margin: m: how far apart two people should be.

    Source: Chopra, Hadsell and LeCun, Learning a Similarity Metric Discriminatively (2005), in
    its simplest form; pytorch-metric-learning's `ContrastiveLoss` with mean reduction.
    """

    def __init__(self, *, margin: float = 1.0) -> None:
        super().__init__(margin=margin)
        require("pytorch_metric_learning")
        from pytorch_metric_learning import distances as library
        from pytorch_metric_learning import losses, reducers

        self.inner = losses.ContrastiveLoss(
            pos_margin=0,
            neg_margin=self.margin,
            distance=library.LpDistance(normalize_embeddings=False, p=2, power=1),
            reducer=reducers.MeanReducer(),
        )

    def forward(self, x: Tensor, labels: Tensor, mined: Mined | None = None) -> Tensor:
        """Return the loss of all pairs of the batch; `x` holds embeddings (N, D)."""
        check_people(x, labels)
        y: Tensor = self.inner(x, labels)
        return y
