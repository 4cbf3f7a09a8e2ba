"""Losses that know the number of people: each compares a face with one centre per person.

`NLLLoss` and `FocalLoss` read logits, which a classifier's head made. The others read embeddings
and hold the matrix of centres themselves; `logits` gives their answer without a margin.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from limner.errors import InputError, ShapeError
from limner.training.extras import require

if TYPE_CHECKING:
    from limner.training.ranking_losses import Mined

Reads = Literal["logits", "embeddings"]

_EDGE = 1e-7
"""Cosines are kept this far from 1, where the angle's derivative is infinite."""


def require_positive(what: str, value: float) -> float:
    """Return `value`.

    Raises:
        InputError: If it is not a positive finite number.
    """
    if isinstance(value, bool) or not (math.isfinite(value) and value > 0):
        raise InputError(f"{what} must be a positive number, got {value!r}.")
    return float(value)


def check_batch(x: Tensor, labels: Tensor, classes: int | None = None) -> None:
    """Check that rows and labels belong together.

    Raises:
        ShapeError: If `x` is not (N, D), or `labels` not (N,) of whole numbers.
        InputError: If a label is outside 0..classes-1.
    """
    if x.ndim != 2 or len(x) == 0:
        raise ShapeError(f"a batch must have shape (N, D) with N >= 1, got {tuple(x.shape)}.")
    if labels.shape != (len(x),) or labels.is_floating_point():
        raise ShapeError(
            f"labels must be whole numbers of shape ({len(x)},), got {labels.dtype} of shape "
            f"{tuple(labels.shape)}."
        )
    if classes is not None and not bool(((labels >= 0) & (labels < classes)).all()):
        low, high = int(labels.min()), int(labels.max())
        raise InputError(f"labels must lie in 0..{classes - 1}, got {low}..{high}.")


def scale_for(classes: int) -> float:
    """Return the scale s of a cosine softmax: sqrt(2) ln(C - 1), and at least 2.

    Source: Zhang et al., AdaCos (2019), equation 13.
    Differs: it is 0 for two classes and below 2 up to five; with 2, centres as far apart as they
    can be give a probability of 0.98 for two classes and 0.79 for five.
    """
    return max(math.sqrt(2) * math.log(classes - 1), 2.0) if classes > 1 else 2.0


class Loss(nn.Module):
    """Base of all losses.

    Attributes:
        reads: Whether `forward` takes logits or embeddings.
        unit_length: Whether the embeddings should have unit length. A-softmax, softmax and
            center loss want them as they are; the angular ones do not mind.
        mines: What a miner can choose for it: `triplets`, or nothing.
    """

    reads: ClassVar[Reads] = "embeddings"
    unit_length: ClassVar[bool] = True
    mines: ClassVar[Literal["triplets"] | None] = None

    def forward(self, x: Tensor, labels: Tensor, mined: Mined | None = None) -> Tensor:
        """Return the loss, a scalar.

        Args:
            x: Logits (N, C) or embeddings (N, D), as `reads` says.
            labels: Shape (N,), whole numbers.
            mined: What a miner chose; only for losses that mine.
        """
        raise NotImplementedError


class NLLLoss(Loss):
    """-log p_y with p = softmax(logits): the negative log likelihood of log-softmax.

    Source: the notes. Both steps are one, `torch.nn.functional.cross_entropy`.
    """

    reads: ClassVar[Reads] = "logits"
    unit_length: ClassVar[bool] = False

    def forward(self, x: Tensor, labels: Tensor, mined: Mined | None = None) -> Tensor:
        """Return the mean over the batch; `x` holds logits (N, C)."""
        check_batch(x, labels, x.shape[-1])
        return functional.cross_entropy(x, labels)


class FocalLoss(Loss):
    """-(1 - p_y)^gamma log p_y: the surer the answer, the less it counts.

    Args:
        gamma: >= 0; 0 is `NLLLoss`.

    Source: Lin et al., Focal Loss for Dense Object Detection (2017), equation 4.
    Differs: over softmax, not over one sigmoid a class; no weight per class.
    """

    reads: ClassVar[Reads] = "logits"
    unit_length: ClassVar[bool] = False

    def __init__(self, *, gamma: float = 2.0) -> None:
        super().__init__()
        if not (math.isfinite(gamma) and gamma >= 0):
            raise InputError(f"gamma must be 0 or larger, got {gamma!r}.")
        self.gamma = gamma

    def forward(self, x: Tensor, labels: Tensor, mined: Mined | None = None) -> Tensor:
        """Return the mean over the batch; `x` holds logits (N, C)."""
        check_batch(x, labels, x.shape[-1])
        log_p = functional.log_softmax(x, dim=1).gather(1, labels[:, None])[:, 0]
        # 1 - p without cancellation; 0 where p is 1, where (..)^gamma has no slope for gamma < 1
        rest = -torch.expm1(log_p)
        weight = torch.where(rest > 0, rest, torch.ones_like(rest)) ** self.gamma
        return (torch.where(rest > 0, weight, torch.zeros_like(rest)) * -log_p).mean()


class _ClassLoss(Loss):
    """Base of the losses that hold a matrix."""

    def __init__(self, *, classes: int, dim: int) -> None:
        super().__init__()
        if classes < 2:
            raise InputError(f"classes must be 2 or more, got {classes}.")
        if dim < 1:
            raise InputError(f"dim must be 1 or more, got {dim}.")
        self.classes = classes
        self.dim = dim

    def check(self, x: Tensor, labels: Tensor) -> None:
        """Check a batch of embeddings."""
        check_batch(x, labels, self.classes)
        if x.shape[1] != self.dim:
            raise ShapeError(f"embeddings must be {self.dim} wide, got {x.shape[1]}.")

    def logits(self, x: Tensor) -> Tensor:
        """Map embeddings (N, D) to logits (N, C), without a margin."""
        raise NotImplementedError


class SoftmaxLoss(_ClassLoss):
    """-log softmax(W x + b)_y: the plain classifier on embeddings."""

    unit_length: ClassVar[bool] = False

    def __init__(self, *, classes: int, dim: int) -> None:
        super().__init__(classes=classes, dim=dim)
        self.linear = nn.Linear(dim, classes)

    def logits(self, x: Tensor) -> Tensor:
        """Map embeddings (N, D) to logits (N, C)."""
        y: Tensor = self.linear(x)
        return y

    def forward(self, x: Tensor, labels: Tensor, mined: Mined | None = None) -> Tensor:
        """Return the mean over the batch."""
        self.check(x, labels)
        return functional.cross_entropy(self.logits(x), labels)


class CenterLoss(SoftmaxLoss):
    """Softmax, plus weight/2 ||x - c_y||^2, averaged over the batch.

    The centres are no parameters: in training, after the loss of a batch, each one moves to its
    people's embeddings by rate * sum(x - c) / (1 + n), n being their number in the batch.

    Args:
        classes: Number of people.
        dim: Width of the embedding.
        weight: lambda.
        rate: alpha, in (0, 1].

    Source: Wen et al., A Discriminative Feature Learning Approach for Deep Face Recognition
    (2016), equations 3 to 5. Several processes move their centres by the sum over all of them.
    """

    centres: Tensor

    def __init__(self, *, classes: int, dim: int, weight: float = 0.003, rate: float = 0.5) -> None:
        super().__init__(classes=classes, dim=dim)
        self.weight = require_positive("weight", weight)
        self.rate = require_positive("rate", rate)
        if rate > 1:
            raise InputError(f"rate must lie in (0, 1], got {rate!r}.")
        self.register_buffer("centres", torch.zeros(classes, dim))

    def forward(self, x: Tensor, labels: Tensor, mined: Mined | None = None) -> Tensor:
        """Return the loss of a batch, and in training move the centres."""
        self.check(x, labels)
        gap = x - self.centres[labels]
        loss = functional.cross_entropy(self.logits(x), labels)
        loss = loss + 0.5 * self.weight * gap.square().sum(dim=1).mean()
        if self.training and torch.is_grad_enabled():
            self._move(gap.detach(), labels)
        return loss

    def _move(self, gap: Tensor, labels: Tensor) -> None:
        pull = torch.zeros_like(self.centres).index_add_(0, labels, gap.to(self.centres.dtype))
        count = torch.bincount(labels, minlength=self.classes).to(pull.dtype)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(pull)
            torch.distributed.all_reduce(count)
        # A new tensor: the old one belongs to the graph that is still to be run backwards.
        self.centres = self.centres + self.rate * pull / (1 + count)[:, None]


class ASoftmaxLoss(_ClassLoss):
    """A-softmax: the angle to the own centre is multiplied by m, the margin grows in slowly.

    The own logit is ||x|| (lambda cos t + psi(t)) / (1 + lambda) with
    psi(t) = (-1)^k cos(m t) - 2 k for t in [k pi/m, (k+1) pi/m]; the others are ||x|| cos t.
    lambda falls as max(`smallest`, `start` / (1 + `decay` step)); a step is a batch in training.

    Args:
        classes: Number of people.
        dim: Width of the embedding.
        m: A whole number; 1 is the softmax with normalised centres.
        start: lambda before the first step.
        smallest: Where lambda stays; 0 reaches the pure form.
        decay: How fast lambda falls.

    Source: Liu et al., SphereFace (2017), equations 5 to 7; the annealing is that of the authors'
    code (base 1000, gamma 0.12, power 1, lambda_min 5). Embeddings keep their length.
    """

    unit_length: ClassVar[bool] = False
    step: Tensor

    def __init__(
        self,
        *,
        classes: int,
        dim: int,
        m: int = 4,
        start: float = 1000.0,
        smallest: float = 5.0,
        decay: float = 0.12,
    ) -> None:
        super().__init__(classes=classes, dim=dim)
        if m not in (1, 2, 3, 4, 5):
            raise InputError(f"m must be a whole number in 1..5, got {m!r}.")
        if not 0 <= smallest <= start or decay < 0:
            raise InputError(
                "0 <= smallest <= start and decay >= 0 are needed, "
                f"got smallest {smallest}, start {start}, decay {decay}."
            )
        self.m = m
        self.start, self.smallest, self.decay = float(start), float(smallest), float(decay)
        self.centres = nn.Parameter(torch.empty(classes, dim))
        nn.init.xavier_uniform_(self.centres)
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    @property
    def annealing(self) -> float:
        """The lambda of the next batch."""
        return max(self.smallest, self.start / (1 + self.decay * int(self.step)))

    def logits(self, x: Tensor) -> Tensor:
        """Map embeddings (N, D) to ||x|| cos t, shape (N, C)."""
        return functional.linear(x, functional.normalize(self.centres, dim=1))

    def forward(self, x: Tensor, labels: Tensor, mined: Mined | None = None) -> Tensor:
        """Return the mean over the batch, and in training lower lambda."""
        self.check(x, labels)
        logits = self.logits(x)
        length = x.norm(dim=1).clamp_min(1e-12)
        own = logits.gather(1, labels[:, None])[:, 0]
        cosine = (own / length).clamp(-1, 1)
        k = torch.floor(self.m * torch.acos(cosine.detach()) / math.pi).clamp(max=self.m - 1)
        psi = (1 - 2 * (k % 2)) * _cosine_of_multiple(cosine, self.m) - 2 * k
        strength = self.annealing
        margin = length * (strength * cosine + psi) / (1 + strength)
        if self.training and torch.is_grad_enabled():
            self.step += 1
        return functional.cross_entropy(logits.scatter(1, labels[:, None], margin[:, None]), labels)


class ModifiedSoftmaxLoss(ASoftmaxLoss):
    """-log softmax(||x|| cos t)_y: the softmax whose centres have unit length and no bias.

    Source: Liu et al., SphereFace (2017), equation 4: A-softmax with m = 1, where lambda cancels.
    """

    def __init__(self, *, classes: int, dim: int) -> None:
        super().__init__(classes=classes, dim=dim, m=1)


def _cosine_of_multiple(cosine: Tensor, m: int) -> Tensor:
    """Return cos(m t) from cos t: Chebyshev's polynomials, smooth where acos is not."""
    before, now = torch.ones_like(cosine), cosine
    for _ in range(m - 1):
        before, now = now, 2 * cosine * now - before
    return now


class _CosineMargin(_ClassLoss):
    """Base of CosFace and ArcFace: pytorch-metric-learning's class with our scale."""

    def __init__(self, library: Any, *, classes: int, dim: int) -> None:
        super().__init__(classes=classes, dim=dim)
        self.inner = library

    @property
    def scale(self) -> float:
        """The scale s that cosines are multiplied by."""
        return float(self.inner.scale)

    def logits(self, x: Tensor) -> Tensor:
        """Map embeddings (N, D) to s cos t, shape (N, C)."""
        y: Tensor = self.inner.get_logits(x)
        return y

    def forward(self, x: Tensor, labels: Tensor, mined: Mined | None = None) -> Tensor:
        """Return the mean over the batch."""
        self.check(x, labels)
        y: Tensor = self.inner(x, labels)
        return y


class CosFaceLoss(_CosineMargin):
    """The own cosine must win by a margin: -log softmax(s (cos t_y - m), s cos t_j).

    Args:
        classes: Number of people.
        dim: Width of the embedding.
        margin: m, in (0, 1).
        scale: s; None chooses it from the number of classes (`scale_for`).

    Source: Wang et al., CosFace (2018), equation 4; pytorch-metric-learning's `CosFaceLoss`.
    """

    def __init__(
        self, *, classes: int, dim: int, margin: float = 0.35, scale: float | None = None
    ) -> None:
        require("pytorch_metric_learning")
        from pytorch_metric_learning import losses

        if require_positive("margin", margin) >= 1:
            raise InputError(f"margin must lie between 0 and 1, got {margin!r}.")
        s = scale_for(classes) if scale is None else require_positive("scale", scale)
        inner = losses.CosFaceLoss(max(classes, 1), max(dim, 1), margin=margin, scale=s)
        super().__init__(inner, classes=classes, dim=dim)


class ArcFaceLoss(_CosineMargin):
    """The own angle must win by a margin: -log softmax(s cos(t_y + m), s cos t_j).

    Args:
        classes: Number of people.
        dim: Width of the embedding.
        margin_rad: m, in radians, in (0, pi/2).
        scale: s; None chooses it from the number of classes (`scale_for`).

    Source: Deng et al., ArcFace (2019), equation 3; pytorch-metric-learning's `ArcFaceLoss`.
    Differs: past pi - m the logit goes on as cos t - m sin m, as in the authors' code; cosines
    are kept 1e-7 from -1 and 1, where the gradient is not finite.
    """

    def __init__(
        self, *, classes: int, dim: int, margin_rad: float = 0.5, scale: float | None = None
    ) -> None:
        require("pytorch_metric_learning")
        from pytorch_metric_learning import losses

        class Inner(losses.ArcFaceLoss):  # type: ignore[misc]
            def get_angles(self, cosine_of_target_classes: Tensor) -> Tensor:
                return torch.acos(cosine_of_target_classes.clamp(-1 + _EDGE, 1 - _EDGE))

        if require_positive("margin_rad", margin_rad) >= math.pi / 2:
            raise InputError(f"margin_rad must lie between 0 and pi/2, got {margin_rad!r}.")
        s = scale_for(classes) if scale is None else require_positive("scale", scale)
        inner = Inner(max(classes, 1), max(dim, 1), margin=math.degrees(margin_rad), scale=s)
        super().__init__(inner, classes=classes, dim=dim)
