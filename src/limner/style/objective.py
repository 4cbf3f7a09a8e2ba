"""The objective of one picture at one size: J, its parts, and dJ/dpicture."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from limner.style.kinds import ContentCost, StyleCost
from limner.style.losses import (
    Statistics,
    blend,
    content_cost,
    statistics,
    total_variation,
)
from limner.style.regions import Areas, Known, Regional, layer_cost, regional

if TYPE_CHECKING:
    from limner.style.encoder import Encoder
    from limner.style.taps import WeightedTaps


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What is asked of the picture; layers by their names in the encoder at hand.

    Attributes:
        content_layers: Taps and lambdas of the content cost.
        style_layers: Taps and lambdas of the style cost.
        alpha: Weight of the content cost.
        beta: Weight of the style cost.
        smoothness: Weight of the total variation.
        content_kind: As for `content_cost`.
        style_kind: As for `style_cost`.
        bf16: Compute activations in bfloat16; statistics and costs stay in float32.
    """

    content_layers: WeightedTaps
    style_layers: WeightedTaps
    alpha: float
    beta: float
    smoothness: float
    content_kind: ContentCost
    style_kind: StyleCost
    bf16: bool = False

    @property
    def taps(self) -> tuple[str, ...]:
        """Every layer that is read."""
        return tuple(dict.fromkeys(t for t, _ in (*self.content_layers, *self.style_layers)))


@dataclass(frozen=True)
class Terms:
    """J and its parts, before their weights alpha, beta and smoothness.

    Attributes:
        total: alpha content + beta style + smoothness variation.
        content: Sum over layers, with lambdas.
        style: Same.
        variation: Total variation.
        layers: Cost of each layer without its lambda, such as ``style relu1_1``.
    """

    total: float
    content: float
    style: float
    variation: float
    layers: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, float | dict[str, float]]:
        """Return the fields as plain JSON values."""
        return {
            "total": self.total,
            "content": self.content,
            "style": self.style,
            "variation": self.variation,
            "layers": self.layers,
        }


def features(encoder: Encoder, image: Tensor, goal: Goal) -> dict[str, Tensor]:
    """Return the activations that a goal reads, in the picture's own dtype."""
    cast: contextlib.AbstractContextManager[object] = contextlib.nullcontext()
    if goal.bf16:
        cast = torch.autocast(encoder.device.partition(":")[0], dtype=torch.bfloat16)
    with cast:
        found = encoder.features(image, goal.taps)
    return {tap: value.to(image.dtype) for tap, value in found.items()}


def style_targets(
    encoder: Encoder,
    styles: Sequence[Tensor],
    weights: Sequence[float],
    goal: Goal,
    *,
    apart: bool = False,
) -> dict[str, Known]:
    """Return what each style layer's statistics should be: the styles', blended.

    Args:
        encoder: Reads them.
        styles: Each of shape (1, 3, H, W).
        weights: One for each.
        goal: Its style layers are read.
        apart: Do not blend: each style is for a region of its own.
    """
    found: list[dict[str, Statistics]] = []
    with torch.no_grad():
        for style in styles:
            values = features(encoder, style, goal)
            found.append({tap: statistics(values[tap]) for tap, _ in goal.style_layers})
    return together(found, weights, goal, apart=apart)


def together(
    found: Sequence[dict[str, Statistics]], weights: Sequence[float], goal: Goal, *, apart: bool
) -> dict[str, Known]:
    """Return the styles' statistics by layer: blended, or each for a region of its own."""
    if apart:
        return {tap: Regional(tuple(f[tap] for f in found)) for tap, _ in goal.style_layers}
    return {tap: blend([f[tap] for f in found], weights) for tap, _ in goal.style_layers}


def style_sum(
    found: Mapping[str, Known], targets: Mapping[str, Known], goal: Goal
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the style cost over all layers with their lambdas, and each layer's without."""
    parts = {
        tap: layer_cost(found[tap], targets[tap], kind=goal.style_kind)
        for tap, _ in goal.style_layers
    }
    return added([parts[tap] * weight for tap, weight in goal.style_layers]), parts


def added(costs: Sequence[Tensor]) -> Tensor:
    """Return the sum of the costs; of none, nought."""
    return torch.stack(list(costs)).sum() if costs else torch.zeros(())


class Objective:
    """J of a picture, computed in one piece.

    Args:
        encoder: Reads pictures.
        content: Shape (1, 3, H, W), RGB in [0, 1]: the size of the picture.
        styles: Statistics to reach, by layer, from `style_targets`.
        goal: Layers and weights.
        areas: Which style goes where; None: all of them everywhere.
    """

    def __init__(
        self,
        encoder: Encoder,
        content: Tensor,
        styles: Mapping[str, Known],
        goal: Goal,
        areas: Areas | None = None,
    ) -> None:
        self.encoder = encoder
        self.goal = goal
        self.styles = styles
        self.areas = areas
        with torch.no_grad():
            values = features(encoder, content, goal)
        self.contents = {tap: values[tap] for tap, _ in goal.content_layers}

    def evaluate(self, image: Tensor) -> tuple[Terms, Tensor]:
        """Return J with its parts, and dJ/dimage.

        Args:
            image: Shape (1, 3, H, W), of the content's size.
        """
        goal = self.goal
        image = image.detach().requires_grad_(True)
        values = features(self.encoder, image, goal)
        contents = {
            tap: content_cost(values[tap], self.contents[tap], kind=goal.content_kind)
            for tap, _ in goal.content_layers
        }
        found = {tap: self._statistics(tap, values[tap]) for tap, _ in goal.style_layers}
        style, styles = style_sum(found, self.styles, goal)
        content = added([contents[tap] * w for tap, w in goal.content_layers])
        variation = total_variation(image)
        total = goal.alpha * content + goal.beta * style + goal.smoothness * variation
        (gradient,) = torch.autograd.grad(total, image)
        return terms_of(goal, content, style, variation, contents, styles), gradient

    def _statistics(self, tap: str, values: Tensor) -> Known:
        return statistics(values) if self.areas is None else regional(values, self.areas.at(tap))


def terms_of(
    goal: Goal,
    content: Tensor,
    style: Tensor,
    variation: Tensor,
    contents: dict[str, Tensor],
    styles: dict[str, Tensor],
) -> Terms:
    """Gather the parts of J as plain numbers."""
    content, style, variation = content.detach(), style.detach(), variation.detach()
    layers = {f"content {tap}": float(value.detach()) for tap, value in contents.items()}
    layers |= {f"style {tap}": float(value.detach()) for tap, value in styles.items()}
    total = goal.alpha * content + goal.beta * style + goal.smoothness * variation
    return Terms(float(total), float(content), float(style), float(variation), layers)
