"""J read at several sizes of one picture at once: a tap such as `relu3_1/2` sees half of it.

A shallow layer of a picture at half or a quarter of its size sees what a deep layer sees of the
whole, at a fraction of the cost; and its slope reaches the pixels through an average, so it
cannot ask for ringing. Each octave has an objective of its own, in one piece or in tiles.

Source: Snelgrove, High-Resolution Multi-Scale Neural Texture Synthesis, SIGGRAPH Asia 2017.
Differs: octaves are chosen layer by layer, and the content is read at several too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from limner.style.losses import total_variation
from limner.style.objective import Goal, Terms
from limner.style.taps import split_octave


class Costing(Protocol):
    """What an objective gives."""

    def evaluate(self, image: Tensor) -> tuple[Terms, Tensor]:
        """Return J with its parts, and dJ/dimage."""


def shrink(image: Tensor, octave: int) -> Tensor:
    """Return a picture at 1/octave of its size: means of octave x octave pixels.

    Args:
        image: Shape (1, 3, H, W); pixels beyond a multiple of the octave are left out.
        octave: 1, 2, 4, ...
    """
    return image if octave == 1 else functional.avg_pool2d(image, octave)


def spread(slope: Tensor, octave: int, size_hw: tuple[int, int]) -> Tensor:
    """Return what `shrink` sends back: its adjoint.

    Args:
        slope: Shape (1, 3, H // octave, W // octave).
        octave: As for `shrink`.
        size_hw: H and W.
    """
    if octave == 1:
        return slope
    full = functional.interpolate(slope, scale_factor=octave, mode="nearest") / octave**2
    height, width = size_hw
    return functional.pad(full, (0, width - full.shape[-1], 0, height - full.shape[-2]))


def goals_by_octave(goal: Goal) -> dict[int, Goal]:
    """Return what is asked of each octave, under the layers' own names, without smoothness."""
    parts: dict[int, tuple[list[tuple[str, float]], list[tuple[str, float]]]] = {}
    for which, taps in enumerate((goal.content_layers, goal.style_layers)):
        for tap, weight in taps:
            name, octave = split_octave(tap)
            parts.setdefault(octave, ([], []))[which].append((name, weight))
    return {
        octave: replace(
            goal, content_layers=tuple(content), style_layers=tuple(style), smoothness=0.0
        )
        for octave, (content, style) in sorted(parts.items())
    }


class OctaveObjective:
    """The sum of the octaves' costs and of the smoothness of the whole picture.

    Args:
        goal: All layers and weights, taps with their octaves.
        build: Makes the objective of one octave from it and its goal.
    """

    def __init__(self, goal: Goal, build: Callable[[int, Goal], Costing]) -> None:
        self.goal = goal
        self.parts: Mapping[int, Costing] = {
            octave: build(octave, part) for octave, part in goals_by_octave(goal).items()
        }

    def evaluate(self, image: Tensor) -> tuple[Terms, Tensor]:
        """Return J with its parts, and dJ/dimage; image has shape (1, 3, H, W)."""
        image = image.detach()
        size = (int(image.shape[-2]), int(image.shape[-1]))
        smooth = image.clone().requires_grad_(True)
        variation = total_variation(smooth)
        (gradient,) = torch.autograd.grad(self.goal.smoothness * variation, smooth)
        content = style = 0.0
        layers: dict[str, float] = {}
        for octave, part in self.parts.items():
            terms, slope = part.evaluate(shrink(image, octave))
            gradient = gradient + spread(slope, octave, size)
            content, style = content + terms.content, style + terms.style
            mark = "" if octave == 1 else f"/{octave}"
            layers |= {f"{name}{mark}": value for name, value in terms.layers.items()}
        roughness = float(variation.detach())
        goal = self.goal
        total = goal.alpha * content + goal.beta * style + goal.smoothness * roughness
        return Terms(total, content, style, roughness, layers), gradient
