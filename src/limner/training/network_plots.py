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
    """Draw gradient norms over the layers: not normalised, normalised, and other activations.

    Args:
        path: Picture to write.
        found: What `limner.nets.plain.compare` returned.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14.2, 4.4), dpi=160, facecolor="white")
    canvas: Any = FigureCanvasAgg(figure)
    title, words = (
        "Shortcuts keep the gradients of 34 layers within bounds",
        "Norm of the gradient of each layer's weights, 34 layers, before any training",
    )
    figure.text(0.02, 0.93, title, fontsize=13, color=_INK, weight="bold", family=_FONT)
    figure.text(0.02, 0.873, words, fontsize=9.5, color=_QUIET, family=_FONT)
    names = list(found)
    titles = ("without normalisation", "with batch normalisation", "plain, sigmoid and tanh")
    for side, title in enumerate(titles):
        axes = figure.add_axes((0.045 + 0.325 * side, 0.13, 0.285, 0.62), facecolor="white")
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


def plot_degradation(path: str | Path, found: Mapping[str, Sequence[Mapping[str, float]]]) -> None:
    """Draw training error (thin) and validation error (bold) of plain and residual networks.

    Args:
        path: Picture to write.
        found: Name of a network -> its epochs, as `limner.training.degradation` measures them;
            names that begin with `plain` are drawn on the left, the others on the right.

    Source: He et al. (2016), figures 1 and 4.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 4.4), dpi=160, facecolor="white")
    canvas: Any = FigureCanvasAgg(figure)
    figure.text(0.02, 0.93, "Deeper, without and with shortcuts", fontsize=13, weight="bold")
    words = "Error by epoch: thin on the training pictures, bold on others"
    figure.text(0.02, 0.873, words, fontsize=9.5, color=_QUIET, family=_FONT)
    sides = [[n for n in found if n.startswith("plain")]]
    sides.append([n for n in found if n not in sides[0]])
    top = max(row["val_error"] for rows in found.values() for row in rows)
    for side, (names, title) in enumerate(zip(sides, ("plain", "residual"), strict=True)):
        axes = figure.add_axes((0.07 + 0.48 * side, 0.13, 0.42, 0.62), facecolor="white")
        for name, colour in zip(names, _COLOURS[::-1], strict=False):
            epochs = [row["epoch"] for row in found[name]]
            for key, line in (("train_error", 0.9), ("val_error", 2.2)):
                values = [100 * row[key] for row in found[name]]
                label = name if line > 1 else None
                axes.plot(epochs, values, color=colour, linewidth=line, label=label)
        axes.set_ylim(0, 100 * top * 1.03)
        axes.set_title(f"{title}, error in %", fontsize=10, color=_INK, loc="left", pad=8)
        axes.set_xlabel("epoch", fontsize=9, color=_INK)
        axes.legend(frameon=False, fontsize=9, labelcolor="linecolor")
        for edge in ("top", "right", "left"):
            axes.spines[edge].set_visible(False)
        axes.grid(axis="y", color=_RULE, linewidth=0.8)
        axes.set_axisbelow(True)
    canvas.draw()
    images.write(path, np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3]))
