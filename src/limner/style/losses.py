"""What is minimised: content, style and smoothness, each as a small pure function.

J = alpha J_content + beta J_style + gamma TV. A layer's style is its statistics: the mean of
each channel and the second moments M = F F^T / (h w), F being the activations as (c, h w).
The Gram matrix of the notes is G = h w M; keeping M makes pictures of two sizes comparable.

Source: Gatys, Ecker and Bethge, CVPR 2016, equations 1-7; the notes' three normalisations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

import torch
from torch import Tensor

from limner.errors import InputError, ShapeError, UnknownNameError
from limner.style.kinds import ContentCost, StyleCost

if TYPE_CHECKING:
    from collections.abc import Sequence

_TINY = 1e-12
_FLAT = 1e-3  # of the moments: keeps the covariance cost of a single colour in bounds


@dataclass(frozen=True)
class Statistics:
    """What a layer's activations are like, wherever in the picture they are.

    Attributes:
        mean: Shape (C,), of each channel.
        moments: Shape (C, C): F F^T / (h w).
        positions: h w; of a region its area.
    """

    mean: Tensor
    moments: Tensor
    positions: float

    def detached(self) -> Statistics:
        """Return the same numbers, through which no gradient flows."""
        return Statistics(self.mean.detach(), self.moments.detach(), self.positions)


def _flat(features: Tensor) -> Tensor:
    if features.dim() == 4 and features.shape[0] == 1:
        features = features.squeeze(0)  # its slope is a view; that of [0] copies into zeros
    if features.dim() != 3:
        raise ShapeError(
            f"features must have shape (C, H, W) or (1, C, H, W), got {tuple(features.shape)}."
        )
    # (h w, c) is a view where the memory is channels-last, as the encoder's is
    return features.permute(1, 2, 0).reshape(-1, features.shape[0])


def gram(features: Tensor) -> Tensor:
    """Return G = F F^T, not normalised.

    Args:
        features: Shape (C, H, W) or (1, C, H, W).

    Returns:
        Shape (C, C).

    Source: Gatys, Ecker and Bethge, equation 3.
    """
    flat = _flat(features)
    return flat.T @ flat


def statistics(features: Tensor) -> Statistics:
    """Return mean and second moments of a layer.

    Args:
        features: Shape (C, H, W) or (1, C, H, W).
    """
    flat = _flat(features)
    mean, moments = _Moments.apply(flat)
    return Statistics(mean, moments, flat.shape[0])


class _Moments(torch.autograd.Function):
    """Mean and second moments of rows; the slope of both in one matrix product."""

    @staticmethod
    def forward(ctx: Any, flat: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(flat)
        return flat.mean(dim=0), flat.T @ flat / flat.shape[0]

    @staticmethod
    def backward(ctx: Any, of_mean: Tensor, of_moments: Tensor) -> Tensor:
        (flat,) = ctx.saved_tensors
        count = flat.shape[0]
        return torch.addmm(of_mean / count, flat, (of_moments + of_moments.T) / count)


def blend(parts: Sequence[Statistics], weights: Sequence[float]) -> Statistics:
    """Return the statistics of several styles together: weighted means of means and moments.

    Args:
        parts: One per style, of the same layer.
        weights: Positive; they are divided by their sum.

    Raises:
        InputError: If the lists are empty or differ in length, or a weight is not positive.
    """
    if not parts or len(parts) != len(weights) or not all(0 < w < float("inf") for w in weights):
        raise InputError(
            f"Each style needs one positive weight, got {len(parts)} styles and {list(weights)}."
        )
    total = float(sum(weights))
    mean = sum((p.mean * (w / total) for p, w in zip(parts, weights, strict=True)), torch.zeros(()))
    moments = sum(
        (p.moments * (w / total) for p, w in zip(parts, weights, strict=True)), torch.zeros(())
    )
    return Statistics(mean, moments, parts[0].positions)


def content_cost(features: Tensor, target: Tensor, *, kind: ContentCost = "mean") -> Tensor:
    """Return how far a layer is from the content's.

    Args:
        features: Of the picture, any shape.
        target: Of the content, the same shape.
        kind: `mean` of squares; `half_sum`, 1/2 sum of squares, as in the paper (equation 1);
            `target`, the mean of squares over the target's own mean square.

    Raises:
        UnknownNameError: If the kind is unknown.
        ShapeError: If the shapes differ.
    """
    if kind not in get_args(ContentCost):
        raise UnknownNameError(
            f"content cost must be one of {get_args(ContentCost)}, got {kind!r}."
        )
    if features.shape != target.shape:
        raise ShapeError(
            f"content features must have equal shapes, got {tuple(features.shape)} and "
            f"{tuple(target.shape)}."
        )
    squares = (features - target).square()
    if kind == "half_sum":
        return squares.sum() / 2
    if kind == "mean":
        return squares.mean()
    return squares.mean() / target.square().mean().clamp_min(_TINY)


def style_cost(found: Statistics, target: Statistics, *, kind: StyleCost = "target") -> Tensor:
    """Return how far a layer's statistics are from the style's.

    With n = h w of the picture's layer, c its channels and G = n M:

    - `chw`: mean over (c, c) of (G/(c n) - G_s/(c n))^2;
    - `frobenius`: sum (G - G_s)^2, the notes' ||G - G_s||_F^2;
    - `paper`: sum (G - G_s)^2 / (2 n c)^2;
    - `half`: sum (G - G_s)^2 / (2 n c);
    - `target`: mean (M - M_s)^2 over the mean of M_s^2: 1 where the style is absent, whatever
      the layer, the encoder or the size;
    - `covariance`: mean (C - C_s)^2 over the mean of C_s^2, plus mean (mu - mu_s)^2 over the
      mean variance, C = M - mu mu^T. (Below both fractions stands a thousandth of M's, too, so
      that they exist for a single colour.) A Gram matrix is mostly the products of means, which say
      little of how a brush moved; taken apart from them, the covariance says it;
    - `wasserstein`: squared 2-Wasserstein distance of the Gaussians with these means and
      covariances, over the style's mean square.

    Differs: the notes take a style picture of the content's size; here the style's G_s is
    n M_s, what the style would have at the picture's size.

    Raises:
        UnknownNameError: If the kind is unknown.
    """
    if kind not in get_args(StyleCost):
        raise UnknownNameError(f"style cost must be one of {get_args(StyleCost)}, got {kind!r}.")
    if kind == "wasserstein":
        return wasserstein2(found, target) / target.moments.trace().clamp_min(_TINY)
    if kind == "covariance":
        here, there = _centred(found), _centred(target)
        size = there.square().mean() + _FLAT * target.moments.square().mean() + _TINY
        variance = there.diagonal().mean() + _FLAT * target.moments.diagonal().mean() + _TINY
        means = (found.mean - target.mean).square().mean() / variance
        return (here - there).square().mean() / size + means
    squares = (found.moments - target.moments).square()
    channels, positions = found.moments.shape[0], found.positions
    if kind == "chw":
        return squares.mean() / channels**2
    if kind == "frobenius":
        return squares.sum() * float(positions) ** 2
    if kind == "paper":
        return squares.sum() / (4 * channels**2)
    if kind == "half":
        return squares.sum() * (positions / (2 * channels))
    return squares.mean() / target.moments.square().mean().clamp_min(_TINY)


def _centred(known: Statistics) -> Tensor:
    return known.moments - known.mean[:, None] * known.mean[None, :]


def wasserstein2(found: Statistics, target: Statistics, *, steps: int = 12) -> Tensor:
    """Return the squared 2-Wasserstein distance between two layers' Gaussians.

    |mu - mu_s|^2 + tr(S + S_s - 2 (S_s^1/2 S S_s^1/2)^1/2).

    Args:
        found: Of the picture; gradients flow to it.
        target: Of the style.
        steps: Newton-Schulz steps for the inner root; the outer one is exact.

    Source: Vaserstein's distance as in "Improved style transfer", K. Crowson.
    """
    covariance = _covariance(found)
    wanted = _covariance(target.detached())
    root = _root_exact(wanted)
    inner = root @ covariance @ root
    cross = _root_newton_schulz((inner + inner.T) / 2, steps=steps).trace()
    means = (found.mean - target.mean).square().sum()
    return means + (covariance.trace() + wanted.trace() - 2 * cross).to(means.dtype)


def _covariance(known: Statistics) -> Tensor:
    """Return the covariance in float64, with a ridge above the rounding of float32 moments."""
    mean, moments = known.mean.double(), known.moments.double()
    eye = torch.eye(mean.shape[0], dtype=mean.dtype, device=mean.device)
    ridge = moments.detach().diagonal().sum() * 1e-6
    return moments - mean[:, None] * mean[None, :] + eye * ridge


def _root_exact(matrix: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    root: Tensor = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
    return root


def _root_newton_schulz(matrix: Tensor, *, steps: int) -> Tensor:
    """Return the square root of a positive semi-definite matrix by matrix products alone."""
    eye = torch.eye(matrix.shape[0], dtype=matrix.dtype, device=matrix.device)
    # A small multiple of the identity keeps the gradient finite where the matrix is singular.
    norm = matrix.detach().norm().clamp_min(_TINY)
    y, z = matrix / norm + eye * 1e-6, eye
    for _ in range(steps):
        t = (3 * eye - z @ y) / 2
        y, z = y @ t, t @ z
    root: Tensor = y * norm.sqrt()
    return root


def total_variation(image: Tensor) -> Tensor:
    """Return the mean squared difference of neighbouring pixels, across plus down.

    Args:
        image: Shape (N, 3, H, W); a single row or column has no neighbours in one direction.
    """
    across = (image[..., :, 1:] - image[..., :, :-1]).square()
    down = (image[..., 1:, :] - image[..., :-1, :]).square()
    return sum((d.mean() for d in (across, down) if d.numel()), image.new_zeros(()))
