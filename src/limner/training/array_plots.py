"""Pictures of signals and volumes with what the network looked at (class activation).

Source: Zhou et al., "Learning Deep Features for Discriminative Localization" (2016). Where a
place speaks for the answer the picture is warm; where it speaks against it or not at all, it
stays quiet. Colours are scaled item by item.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from limner import images
from limner.errors import InputError
from limner.evaluation.plots import DIFFERENT, INK, QUIET, RULE, SAME
from limner.training.array_report import Answer
from limner.training.samples import FloatArray
from limner.types import ImageArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_ITEMS = 12
_FONT = "DejaVu Sans"
_DPI = 150
_PLANES = (("depth", 0), ("height", 1), ("width", 2))


def choose_items(answers: Sequence[Answer], count: int = 6) -> list[int]:
    """Return items worth a look: wrong answers first, then the surest of each class in turn.

    Raises:
        InputError: If `count` is not between 1 and `MOST_ITEMS`.
    """
    if not 1 <= count <= MOST_ITEMS:
        raise InputError(f"a picture shows 1 to {MOST_ITEMS} items, got {count}.")
    wrong = [i for i, a in enumerate(answers) if a.right is False]
    sure = sorted(set(range(len(answers))) - set(wrong), key=lambda i: -answers[i].probability)
    piles: dict[str, list[int]] = {}
    for i in sure:
        piles.setdefault(answers[i].label, []).append(i)
    turns = [
        pile[n]
        for n in range(max(map(len, piles.values()), default=0))
        for pile in piles.values()
        if n < len(pile)
    ]
    chosen = [*wrong[: count // 2], *turns]
    return (chosen + wrong[count // 2 :])[:count]


def plot_series(
    path: str | Path, values: FloatArray, answers: Sequence[Answer], *, title: str = ""
) -> None:
    """Write a picture of series, each drawn in the colours of its class map.

    Args:
        path: PNG or JPEG.
        values: Shape (N, C, L), as read; the leads stand below each other.
        answers: One an item.
        title: Above the picture.

    Raises:
        InputError: If there are no items, more than `MOST_ITEMS`, or the file cannot be written.
    """
    _check(values, answers)
    columns = 1 if len(answers) == 1 else 2 if len(answers) <= 6 else 3
    rows = -(-len(answers) // columns)
    high = 1.95 * rows + 1.05
    figure = _figure((4.2 * columns, high))
    top = 1 - 0.9 / high
    grid = figure.add_gridspec(
        rows, columns, left=0.03, right=0.985, top=top, bottom=0.42 / high, hspace=0.42, wspace=0.08
    )
    for number, item in enumerate(answers):
        axes = figure.add_subplot(grid[number // columns, number % columns])
        _draw_series(axes, values[number], item)
    figure.text(0.985, 0.1 / high, "samples", fontsize=8, color=QUIET, ha="right", family=_FONT)
    _head(figure, title or "What the network looked at", "warm: this part speaks for the answer")
    _save(figure, path)


def _draw_series(axes: Axes, leads: FloatArray, item: Answer) -> None:
    from matplotlib.collections import LineCollection

    heat = _heat(item.class_map)
    places = np.arange(leads.shape[1])
    step = 0.0
    for lead in leads:
        spread = float(np.ptp(lead)) or 1.0
        drawn = (lead - lead.min()) / spread - step
        points = np.stack([places, drawn], axis=1)
        lines = np.stack([points[:-1], points[1:]], axis=1)
        colours = _colours()((heat[:-1] + heat[1:]) / 2)
        axes.add_collection(LineCollection(list(lines), colors=colours, linewidths=1.8))
        step += 1.25
    axes.set_xlim(0, leads.shape[1] - 1)
    axes.set_ylim(-step + 1.25 - 0.12, 1.12)
    axes.set_yticks([])
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(RULE)
    axes.tick_params(colors=QUIET, labelsize=7, length=2)
    _caption(axes, item)


def plot_volumes(
    path: str | Path, values: FloatArray, answers: Sequence[Answer], *, title: str = ""
) -> None:
    """Write a picture of volumes: three slices through the place that speaks loudest.

    Args:
        path: PNG or JPEG.
        values: Shape (N, C, D, H, W); the first channel is drawn.
        answers: One an item.
        title: Above the picture.

    Raises:
        InputError: If there are no items, more than `MOST_ITEMS`, or the file cannot be written.
    """
    _check(values, answers)
    rows = len(answers)
    high = 2.05 * rows + 0.85
    figure = _figure((6.6, high))
    grid = figure.add_gridspec(
        rows, 3, left=0.02, right=0.98, top=1 - 0.82 / high, bottom=0.02, hspace=0.22, wspace=0.04
    )
    for number, item in enumerate(answers):
        slices = orthogonal_slices(values[number, 0], item.class_map)
        for column, (picture, (words, _)) in enumerate(zip(slices, _PLANES, strict=True)):
            axes = figure.add_subplot(grid[number, column])
            axes.imshow(picture, interpolation="nearest")
            axes.set_xticks([])
            axes.set_yticks([])
            for spine in axes.spines.values():
                spine.set_color(RULE)
            if column == 0:
                _caption(axes, item)
            axes.set_title(words, fontsize=7.5, color=QUIET, loc="right", family=_FONT)
    _head(
        figure,
        title or "What the network looked at",
        "three slices, across the depth, height and width; warm: this part speaks for the answer",
    )
    _save(figure, path)


def orthogonal_slices(volume: FloatArray, class_map: FloatArray) -> list[ImageArray]:
    """Return three slices through the maximum of a class map, with the map laid over them.

    Args:
        volume: Shape (D, H, W).
        class_map: Same shape.

    Returns:
        RGB pictures (H, W, 3), (D, W, 3) and (D, H, 3).

    Raises:
        InputError: If the shapes differ.
    """
    if volume.shape != class_map.shape or volume.ndim != 3:
        raise InputError(
            f"volume and class map must have one shape (D, H, W), got {volume.shape} and "
            f"{class_map.shape}."
        )
    heat = _heat(class_map)
    grey = (volume - volume.min()) / (float(np.ptp(volume)) or 1.0)
    # Loud and bright: a slice through empty space shows nothing.
    place = np.unravel_index(int((heat * grey).argmax()), volume.shape)
    pictures = []
    for axis in range(3):
        plane = np.take(grey, place[axis], axis=axis)[..., None] * np.ones(3)
        warmth = np.take(heat, place[axis], axis=axis)
        colour = _colours()(warmth)[..., :3]
        share = (0.5 * warmth**1.5)[..., None]
        mixed = plane * (1 - share) + colour * share
        pictures.append(np.asarray(np.clip(mixed * 255, 0, 255), dtype=np.uint8))
    return pictures


def _heat(class_map: FloatArray) -> NDArray[np.float64]:
    """Return a map on the scale 0..1: nothing where it speaks against the answer.

    Where all of it does (the answer rests on the classes' own frequency), what speaks least
    against it is warmest.
    """
    found = np.asarray(class_map, dtype=np.float64)
    floor = 0.0 if found.max() > 0 else float(found.min())
    positive = np.maximum(found, floor) - floor
    return positive / (positive.max() or 1.0)


def _colours() -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list(
        "heat", ["#b9c3cc", "#8ea6bb", "#e0a06a", "#c8432a", "#7d1d1d"]
    )


def _check(values: FloatArray, answers: Sequence[Answer]) -> None:
    if not answers or len(answers) != len(values) or len(answers) > MOST_ITEMS:
        raise InputError(
            f"a picture shows 1 to {MOST_ITEMS} items with an answer each, got {len(values)} items "
            f"and {len(answers)} answers."
        )


def _figure(size_inches: tuple[float, float]) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size_inches, dpi=_DPI, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _head(figure: Figure, title: str, words: str) -> None:
    high = figure.get_size_inches()[1]
    figure.text(0.02, 1 - 0.24 / high, title, fontsize=12, color=INK, weight="bold", family=_FONT)
    figure.text(0.02, 1 - 0.44 / high, words, fontsize=8.5, color=QUIET, family=_FONT)


def _caption(axes: Axes, item: Answer) -> None:
    wrong = item.right is False
    words = f"{item.label}  {item.probability:.0%}"
    if wrong:
        words += f"   (is {item.truth})"
    colour = DIFFERENT if wrong else SAME if item.truth is not None else INK
    axes.set_title(words, fontsize=9, color=colour, loc="left", family=_FONT, weight="bold")


def _save(figure: Figure, path: str | Path) -> None:
    canvas: Any = figure.canvas
    canvas.draw()
    images.write(path, np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3]))
