"""The words for how costs are formed and pictures resized; torch is not needed to know them."""

from __future__ import annotations

from typing import Literal

ContentCost = Literal["mean", "half_sum", "target"]
"""As for `limner.style.losses.content_cost`."""

StyleCost = Literal["chw", "frobenius", "paper", "half", "target", "covariance", "wasserstein"]
"""As for `limner.style.losses.style_cost`."""

Resampling = Literal["bicubic", "torchvision"]
"""As for `limner.style.pyramid.resize`."""
