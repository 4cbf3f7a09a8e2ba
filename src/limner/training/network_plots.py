"""Plots about networks: the gradients of plain and residual ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from limner import images

if TYPE_CHECKING:
    from limner.nets.plain import LayerGradient

_INK, _QUIET, _RULE = "#22303c", "#7b8794", "#dfe4e8"
_COLOURS = ("#c8623a", "#2f6690")  # plain, residual
_FONT = "DejaVu Sans"


def plot_gradients(path: str | Path, found: Mapping[str, Sequence[LayerGradient]]) -> None:
    """Draw gradient norms over the layers: without normalisation on the left, with it right.

    Args:
        path: Picture to write.
        found: What `limner.nets.plain.compare` returned.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 4.4), dpi=160, facecolor="white")
    canvas: Any = FigureCanvasAgg(figure)
    title, words = (
        "Shortcuts keep the gradients of 34 layers within bounds",
        "Norm of the gradient of each layer's weights, 34 layers, before any training",
    )
    figure.text(0.02, 0.93, title, fontsize=13, color=_INK, weight="bold", family=_FONT)
    figure.text(0.02, 0.873, words, fontsize=9.5, color=_QUIET, family=_FONT)
    names = list(found)
    titles = ("without normalisation", "with batch normalisation")
    for side, title in enumerate(titles):
        axes = figure.add_axes((0.07 + 0.48 * side, 0.13, 0.42, 0.62), facecolor="white")
        for name, colour in zip(names[2 * side : 2 * side + 2], _COLOURS, strict=True):
            rows = found[name]
            layers, norms = [r.layer for r in rows], [max(r.norm, 1e-30) for r in rows]
            axes.semilogy(layers, norms, color=colour, linewidth=1.8, marker="o", markersize=2.6)
            middle = len(rows) // 2
            above = norms[middle] >= max(found[n][middle].norm for n in names[2 * side :][:2])
            axes.annotate(
                name.partition(",")[0],
                (layers[middle], norms[middle]),
                xytext=(0, 9 if above else -21),
                textcoords="offset points",
                color=colour,
                fontsize=9.5,
                ha="center",
                family=_FONT,
            )
        low, high = axes.get_ylim()
        axes.set_ylim(low * (low / high) ** 0.12, high * (high / low) ** 0.06)
        axes.set_title(title, fontsize=10, color=_INK, family=_FONT, loc="left", pad=8)
        axes.set_xlabel("layer, from the picture to the answer", fontsize=9, color=_INK)
        for edge in ("top", "right", "left"):
            axes.spines[edge].set_visible(False)
        axes.spines["bottom"].set_color(_QUIET)
        axes.tick_params(colors=_QUIET, labelcolor=_INK, labelsize=8.5, length=0, which="both")
        axes.grid(axis="y", color=_RULE, linewidth=0.8)
        axes.set_axisbelow(True)
    canvas.draw()
    images.write(path, np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3]))
