"""Plots of an evaluation: PNG files, one quiet palette, no global state of matplotlib's.

Figures are made through matplotlib's object interface, so that a program that embeds limner
keeps its own backend and style.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from limner import images
from limner.evaluation import bootstrap, curves
from limner.evaluation.curves import RateAt

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#22303c"
QUIET = "#7b8794"
RULE = "#dfe4e8"
SAME = "#2f6690"
DIFFERENT = "#c8623a"
_FONT = "DejaVu Sans"
_SIZE_INCHES = (7.0, 4.6)
_DPI = 160
_BAND_POINTS = 41


def _figure(title: str, subtitle: str) -> tuple[Figure, Axes]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE_INCHES, dpi=_DPI, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.09, 0.125, 0.865, 0.665), facecolor="white")
    figure.text(0.02, 0.945, title, fontsize=13, color=INK, weight="bold", family=_FONT)
    figure.text(0.02, 0.887, subtitle, fontsize=9.5, color=QUIET, family=_FONT)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(QUIET)
    axes.tick_params(colors=QUIET, labelcolor=INK, labelsize=9, length=3, which="both")
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", color=RULE, linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def _label(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x, fontsize=9.5, color=INK, family=_FONT, labelpad=6)
    # above the axis and level, where it can be read without turning the head
    axes.text(-0.075, 1.045, y, fontsize=9.5, color=INK, family=_FONT, transform=axes.transAxes)


def _save(figure: Figure, path: str | Path) -> None:
    canvas: Any = figure.canvas
    canvas.draw()
    images.write(path, np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3]))


def _percent(value: float, places: int = 1) -> str:
    return f"{100 * value:.{places}f} %"


def _log_percent_axis(axes: Axes, low: float) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    axes.set_xscale("log")
    axes.set_xlim(low, 1)
    decades = np.arange(np.floor(np.log10(low)), 1)
    axes.xaxis.set_major_locator(FixedLocator([10.0**d for d in decades if 10.0**d >= low * 0.99]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:g} %"))


def _rate_axis(axes: Axes, lowest: float) -> None:
    """Fit the axis of true rates to what is drawn: 0 to 1, or only the top part of it."""
    from matplotlib.ticker import FuncFormatter

    floor = next((f for f in (0.99, 0.95, 0.9, 0.8, 0.6) if lowest >= f), 0.0)
    axes.set_ylim(floor, 1 + (1 - floor) * 0.02)
    places = 1 if floor >= 0.95 else 0
    axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: _percent(v, places)))


def _mark_rates(axes: Axes, rates: Sequence[RateAt], colour: str) -> None:
    """Put a dot, a bar for the interval and the figure at every rate that is stated."""
    for rate in rates:
        if rate.value is None:
            continue
        if rate.low is not None and rate.high is not None:
            axes.plot([rate.bound] * 2, [rate.low, rate.high], color=colour, linewidth=1.4)
        axes.plot(
            [rate.bound], [rate.value], "o", color=colour, markersize=6, markeredgecolor="white"
        )
        axes.annotate(
            _percent(rate.value, 2 if rate.value >= 0.99 else 1),
            (rate.bound, rate.value),
            xytext=(8, -13),
            textcoords="offset points",
            fontsize=9,
            color=INK,
            family=_FONT,
        )


def plot_roc(
    path: str | Path,
    distances: ArrayLike,
    same: ArrayLike,
    rates: Sequence[RateAt],
    *,
    title: str,
    seed: int = 0,
) -> None:
    """Draw the ROC curve over a logarithmic FAR axis, with its 95 % band.

    Args:
        path: The PNG to write.
        distances: Shape (N,).
        same: Shape (N,), bool.
        rates: TAR at the FARs to mark.
        title: First line.
        seed: Of the band's bootstrap.

    Raises:
        ImageError: If the file cannot be written.
    """
    far, tar = curves.step_roc(distances, same)
    labels = np.asarray(same, dtype=bool)
    negatives = int((~labels).sum())
    low = 1 / negatives
    accepts = np.unique(np.geomspace(1, max(negatives - 1, 1), _BAND_POINTS).round())
    grid = accepts / negatives
    drawn = bootstrap.resample_pairs(distances, labels, rates=grid.tolist(), seed=seed)
    band = np.quantile(drawn.tar, [0.025, 0.975], axis=0)
    curve = error_text(distances, labels)
    figure, axes = _figure(
        title, f"{curve}  ·  {labels.sum():,} same and {negatives:,} different pairs"
    )
    axes.fill_between(grid, band[0], band[1], step="post", color=SAME, alpha=0.15, linewidth=0)
    last = np.append(np.diff(far) > 0, True) & (far >= low * 0.999)
    axes.step(far[last], tar[last], where="post", color=SAME, linewidth=1.8)
    _log_percent_axis(axes, 10.0 ** np.floor(np.log10(low)) if low < 0.1 else low)
    axes.set_xlim(left=low)
    _rate_axis(axes, float(band[0].min()))
    _mark_rates(axes, rates, SAME)
    _label(axes, "false accept rate: different people judged the same", "true accept rate")
    _save(figure, path)


def error_text(distances: ArrayLike, same: ArrayLike) -> str:
    """Return ``AUC 0.9990  ·  EER 0.70 %`` of distances."""
    from limner.similarity import error_curve

    curve = error_curve(distances, same)
    return f"AUC {curves.area(curve):.4f}  ·  EER {100 * curve.equal_error_rate():.2f} %"


def plot_distances(
    path: str | Path, distances: ArrayLike, same: ArrayLike, tau: float, *, title: str
) -> None:
    """Draw how the distances of same and of different pairs are spread, and the threshold.

    Args:
        path: The PNG to write.
        distances: Shape (N,).
        same: Shape (N,), bool.
        tau: The threshold that is marked.
        title: First line.

    Raises:
        ImageError: If the file cannot be written.
    """
    values = np.asarray(distances, dtype=np.float64)
    labels = np.asarray(same, dtype=bool)
    wrong = int((values[labels] > tau).sum()), int((values[~labels] <= tau).sum())
    figure, axes = _figure(
        title,
        f"same beyond the threshold: {wrong[0]:,}  ·  different within it: {wrong[1]:,}",
    )
    bins = int(np.clip(4.4 * values.size ** (1 / 3), 20, 80))
    edges = np.linspace(min(0.0, float(values.min())), float(values.max()) * 1.0001, bins + 1)
    peaks = []
    for kind, colour, name in (
        (labels, SAME, "same person"),
        (~labels, DIFFERENT, "different people"),
    ):
        counts, _ = np.histogram(values[kind], edges)
        axes.stairs(counts, edges, color=colour, fill=True, alpha=0.28)
        axes.stairs(counts, edges, color=colour, linewidth=1.4)
        middle = float(np.median(values[kind]))
        peaks.append(int(counts.max()))
        axes.text(
            middle, counts.max() * 1.04, name, ha="center", fontsize=9.5, color=colour, family=_FONT
        )
    axes.axvline(tau, color=INK, linewidth=1.1, linestyle=(0, (4, 3)))
    top = max(peaks) * 1.22
    axes.set_ylim(0, top)
    axes.set_xlim(edges[0], edges[-1])
    axes.annotate(
        f"threshold {tau:.3f}",
        (tau, top),
        xytext=(6, -11),
        textcoords="offset points",
        fontsize=9,
        color=INK,
        family=_FONT,
    )
    _label(axes, "distance (squared L2)", "pairs")
    _save(figure, path)


def plot_folds(
    path: str | Path, accuracies: ArrayLike, thresholds: ArrayLike, *, title: str
) -> None:
    """Draw the accuracy of every fold, their mean and one standard deviation.

    Args:
        path: The PNG to write.
        accuracies: Shape (K,).
        thresholds: Shape (K,).
        title: First line.

    Raises:
        ImageError: If the file cannot be written.
    """
    from matplotlib.ticker import FuncFormatter

    scores = np.asarray(accuracies, dtype=np.float64)
    taus = np.asarray(thresholds, dtype=np.float64)
    mean, deviation = float(scores.mean()), float(scores.std(ddof=1)) if scores.size > 1 else 0.0
    spread = (
        f"thresholds {taus.min():.3f} to {taus.max():.3f}"
        if taus.max() > taus.min()
        else f"threshold {taus[0]:.3f}"
    )
    figure, axes = _figure(
        title,
        f"mean {100 * mean:.2f} ± {100 * deviation:.2f} %  ·  "
        f"standard error {100 * deviation / np.sqrt(scores.size):.2f} %  ·  {spread}",
    )
    number = np.arange(1, scores.size + 1)
    axes.axhspan(mean - deviation, mean + deviation, color=SAME, alpha=0.10, linewidth=0)
    axes.axhline(mean, color=SAME, linewidth=1.2)
    axes.plot(number, scores, "o", color=SAME, markersize=8, markeredgecolor="white")
    for x, y in zip(number, scores, strict=True):
        axes.annotate(
            f"{100 * y:.2f}",
            (x, y),
            xytext=(0, 8 if y >= mean else -16),  # away from the line of the mean
            textcoords="offset points",
            ha="center",
            fontsize=8.5,
            color=INK,
            family=_FONT,
        )
    room = max(float(scores.max() - scores.min()), deviation, 0.002)
    axes.set_ylim(float(scores.min()) - 0.5 * room, float(scores.max()) + 0.3 * room)
    axes.set_yticks([t for t in axes.get_yticks() if axes.get_ylim()[0] <= t <= 1 + 1e-9])
    axes.set_xlim(0.4, scores.size + 0.6)
    axes.set_xticks(number)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: _percent(v, 1)))
    _label(axes, "fold", "accuracy")
    _save(figure, path)


def plot_identification(
    path: str | Path,
    curve: tuple[NDArray[np.float64], NDArray[np.float64]],
    rates: Sequence[RateAt],
    *,
    rank1: float,
    strangers: int,
    title: str,
    subtitle: str,
) -> None:
    """Draw the TPIR over a logarithmic FPIR axis.

    Args:
        path: The PNG to write.
        curve: FPIR and TPIR, as `IdentificationScores.det` returns them.
        rates: TPIR at the FPIRs to mark.
        rank1: Drawn as the line that no threshold passes.
        strangers: How many there are; 1/strangers is the finest rate.
        title: First line.
        subtitle: Second line.

    Raises:
        ImageError: If the file cannot be written.
    """
    fpir, tpir = curve
    figure, axes = _figure(title, subtitle)
    low = 1 / strangers
    axes.axhline(rank1, color=QUIET, linewidth=1, linestyle=(0, (4, 3)))
    axes.annotate(
        f"rank 1 without a threshold: {_percent(rank1)}",
        (low, rank1),
        xytext=(6, 5),
        textcoords="offset points",
        fontsize=9,
        color=QUIET,
        family=_FONT,
    )
    if fpir.size:
        shown = fpir >= low * 0.999
        x, y = np.append(fpir[shown], 1.0), np.append(tpir[shown], tpir[-1])
        axes.step(x, y, where="post", color=SAME, linewidth=1.8)
    _log_percent_axis(axes, 10.0 ** np.floor(np.log10(low)) if low < 0.1 else low)
    axes.set_xlim(left=low)
    stated = [r.low for r in rates if r.low is not None]
    _rate_axis(axes, float(min([*tpir[fpir >= low * 0.999][:1], *stated, rank1])))
    _mark_rates(axes, rates, SAME)
    _label(
        axes,
        "false-positive identification rate: strangers taken for somebody",
        "true-positive identification rate",
    )
    _save(figure, path)


def font_path(*, bold: bool = False) -> Any:
    """Return the path of the font that the plots use, for pictures that Pillow letters."""
    import matplotlib

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return Path(matplotlib.get_data_path(), "fonts", "ttf", name)
