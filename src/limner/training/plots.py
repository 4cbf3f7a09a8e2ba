"""Pictures of a training: PNG files through matplotlib's object interface."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from limner import images
from limner.evaluation.plots import DIFFERENT, INK, QUIET, RULE, SAME

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from limner.training.history import Row
    from limner.training.open_closed import OpenClosed

_FONT = "DejaVu Sans"
_DPI = 150
PALETTE = (SAME, DIFFERENT, "#6a8f3c", "#8c5aa0", "#b8902a")
_PERCENT = ("accuracy", "eer", "active")


def _figure(
    title: str, subtitle: str, panels: int, *, share: float = 0.77
) -> tuple[Figure, list[Axes]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6 * panels + 0.6, 4.3), dpi=_DPI, facecolor="white")
    FigureCanvasAgg(figure)
    left = 0.32 / (4.6 * panels + 0.6)
    figure.text(left, 0.935, title, fontsize=13, color=INK, weight="bold", family=_FONT)
    figure.text(left, 0.87, subtitle, fontsize=9.5, color=QUIET, family=_FONT)
    width = 1 / panels
    found = []
    for i in range(panels):
        axes = figure.add_axes((i * width + 0.12 * width, 0.13, share * width, 0.61))
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        axes.spines["bottom"].set_color(QUIET)
        axes.tick_params(colors=QUIET, labelcolor=INK, labelsize=9, length=3)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="y", color=RULE, linewidth=0.8)
        axes.set_axisbelow(True)
        found.append(axes)
    return figure, found


def _heading(axes: Axes, text: str) -> None:
    axes.text(0.0, 1.06, text, fontsize=10, color=INK, family=_FONT, transform=axes.transAxes)


def _save(figure: Figure, path: Path) -> None:
    canvas: Any = figure.canvas
    canvas.draw()
    images.write(path, np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3]))


def _lines(
    axes: Axes, series: Mapping[str, tuple[Sequence[float], Sequence[float]]], *, percent: bool
) -> None:
    """Draw lines with their names at their right ends, moved apart where they meet."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    ends: list[tuple[float, str, str]] = []
    for (name, (x, y)), colour in zip(series.items(), PALETTE, strict=False):
        few = len(x) < 12
        axes.plot(x, y, color=colour, linewidth=1.8, marker="o" if few else "", markersize=4)
        ends.append((float(y[-1]), name, colour))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    if percent:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:g} %"))
    low, high = axes.get_ylim()
    if all(min(y) >= 0 for _, y in series.values()):
        axes.set_ylim(bottom=0)
        low = 0.0
    gap = (high - low) * 0.075
    placed: list[float] = []
    for value, name, colour in sorted(ends, reverse=True):
        place = min(value, placed[-1] - gap) if placed else value
        placed.append(place)
        axes.annotate(
            name,
            (1.0, place),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            color=colour,
            family=_FONT,
            annotation_clip=False,
        )


def plot_curves(path: Path, rows: Sequence[Row], *, title: str) -> None:
    """Draw loss, and accuracy or equal error rate, over the epochs.

    Args:
        path: The PNG to write.
        rows: The figures of each epoch, as `metrics.csv` holds them.
        title: First line.

    Raises:
        ImageError: If the file cannot be written.
    """
    names = {name for row in rows for name in row}
    losses = [n for n in ("train_loss", "val_loss") if n in names]
    shares = [n for n in ("train_accuracy", "val_accuracy", "val_eer") if n in names]
    best = ""
    if "val_eer" in names:
        value = min(r["val_eer"] for r in rows if "val_eer" in r)
        best = f"  ·  best equal error rate {100 * value:.2f} %"
    elif "val_accuracy" in names:
        value = max(r["val_accuracy"] for r in rows if "val_accuracy" in r)
        best = f"  ·  best validation accuracy {100 * value:.2f} %"
    panels = [p for p in (losses, shares) if p]
    figure, all_axes = _figure(title, f"{len(rows)} epochs{best}", len(panels))
    for axes, chosen in zip(all_axes, panels, strict=True):
        series = {}
        for name in chosen:
            points = [(r["epoch"] + 1, r[name]) for r in rows if name in r]
            series[_word(name)] = ([x for x, _ in points], [y for _, y in points])
        percent = any(word in chosen[0] for word in _PERCENT)
        _lines(axes, series, percent=percent)
        heading = "loss" if chosen is losses else "accuracy"
        if chosen == ["val_eer"]:
            heading = "equal error rate of all validation pairs"
        _heading(axes, heading)
        axes.set_xlabel("epoch", fontsize=9.5, color=INK, family=_FONT)
    _save(figure, path)


def _word(name: str) -> str:
    return {
        "train_loss": "train",
        "val_loss": "val",
        "train_accuracy": "train",
        "val_accuracy": "val",
        "val_eer": "EER",
    }[name]


def plot_lines(
    path: Path,
    panels: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]],
    *,
    title: str,
    subtitle: str,
    x_label: str,
) -> None:
    """Draw several panels of shares in percent, each with named lines.

    Args:
        path: The PNG to write.
        panels: Heading -> name -> (x, y).
        title: First line.
        subtitle: Second line.
        x_label: Below each panel.

    Raises:
        ImageError: If the file cannot be written.
    """
    # names stand to the right of the lines, and want room there
    figure, all_axes = _figure(title, subtitle, len(panels), share=0.57)
    for axes, (heading, series) in zip(all_axes, panels.items(), strict=True):
        axes.set_ylim(0, 1.03)
        _lines(axes, series, percent=True)
        axes.set_ylim(0, 1.03)
        _heading(axes, heading)
        axes.set_xlabel(x_label, fontsize=9.5, color=INK, family=_FONT)
    _save(figure, path)


def plot_shots(path: Path, found: OpenClosed) -> None:
    """Draw softmax N+1 and similarity over the number of photos a person.

    Args:
        path: The PNG to write.
        found: The report.

    Raises:
        ImageError: If the file cannot be written.
    """
    rows = found.one_shot
    x = [row["photos"] for row in rows]

    def line(key: str) -> tuple[list[float], list[float]]:
        return x, [row[key] for row in rows]

    plot_lines(
        path,
        {
            "known people, named right": {
                "similarity": line("similarity_known"),
                "softmax N+1": line("softmax_known"),
            },
            "strangers, refused": {
                "similarity": line("similarity_strangers_refused"),
                "softmax N+1": line("softmax_strangers_refused"),
            },
            "newcomers, named right": {
                "similarity, enrolled": line("similarity_newcomers"),
                "softmax, as it is": line("softmax_newcomers_before"),
                "softmax, retrained": line("softmax_newcomers_retrained"),
            },
        },
        title="One photo or more: a softmax with one output more, and a similarity",
        subtitle=f"{found.counts['network']}, {found.counts['known']} known people, "
        f"{found.counts['newcomers']} newcomers, {found.counts['strangers']} strangers",
        x_label="photos of each person",
    )
