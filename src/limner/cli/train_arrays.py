"""``limner train series`` and ``limner train volumes``: classifiers of signals and volumes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from limner.cli import output
from limner.cli.array_options import (
    FitOptions,
    GapsOption,
    ItemsOption,
    OutOption,
    PlotOption,
    SeriesReading,
    TestOption,
    VolumeReading,
)
from limner.cli.options import JsonOption, grouped
from limner.cli.writing import check_writable
from limner.errors import InputError

if TYPE_CHECKING:
    from limner.training.array_fit import OnEpoch
    from limner.training.array_report import ArrayReport


@grouped
def train_series(
    source: Annotated[
        str, typer.Argument(metavar="FILE|DIR", help="UCR text or CSV, npz, WFDB records.")
    ],
    *,
    test: TestOption = None,
    out: OutOption = None,
    reading: SeriesReading,
    gaps: GapsOption = "refuse",
    fit: FitOptions,
    distort: Annotated[
        bool, typer.Option("--distort/--no-distort", help="Shift, scale and add noise.")
    ] = True,
    plot: PlotOption = None,
    items: ItemsOption = 6,
    json: JsonOption = False,
) -> None:
    """Train a 1-D network to tell series apart, and print accuracy and macro_f1."""
    from limner.training.array_plots import plot_series
    from limner.training.series import DEFAULT_RECIPE, MEMBERS
    from limner.training.series import train_series as train

    recipe = fit.recipe(DEFAULT_RECIPE, DEFAULT_RECIPE.distortion if distort else None)
    _check_places(out, plot)
    with _bar(recipe.epochs, fit.members or MEMBERS, out) as told:
        report = train(
            source,
            test=test,
            out=out,
            options=reading.options(gaps, group=fit.group),
            recipe=recipe,
            on_epoch=told,
            **fit.network(),
        )
    _tell(report)
    if plot:
        _plot(plot_series, plot, report, items)


@grouped
def train_volumes(
    source: Annotated[str, typer.Argument(metavar="FILE|DIR", help="npz, or one folder a class.")],
    *,
    test: TestOption = None,
    out: OutOption = None,
    side: Annotated[
        int | None,
        typer.Option("--side", metavar="N", help="Bring every volume to N voxels a side."),
    ] = None,
    reading: VolumeReading,
    gaps: GapsOption = "refuse",
    fit: FitOptions,
    flips: Annotated[
        str, typer.Option("--flips", help="Axes that may be mirrored: letters of dhw, or none.")
    ] = "dhw",
    degrees: Annotated[
        float, typer.Option("--degrees", help="Largest angle of a free rotation.")
    ] = 0.0,
    shift: Annotated[int, typer.Option("--shift", help="Largest shift in voxels.")] = 2,
    depths: Annotated[
        bool,
        typer.Option("--depths", help="Read each voxel's depth in the body too: for masks."),
    ] = False,
    plot: PlotOption = None,
    items: ItemsOption = 4,
    json: JsonOption = False,
) -> None:
    """Train a 3-D network to tell volumes apart, and print accuracy, macro_f1 and ROC-AUC."""
    from limner.training.array_plots import plot_volumes
    from limner.training.distort import VolumeDistortion
    from limner.training.volumes import DEFAULT_RECIPE, MEMBERS
    from limner.training.volumes import train_volumes as train

    letters = "" if flips == "none" else flips
    distortion = VolumeDistortion(flips=letters, degrees=degrees, shift=shift)
    recipe = fit.recipe(DEFAULT_RECIPE, distortion)
    _check_places(out, plot)
    with _bar(recipe.epochs, fit.members or MEMBERS, out) as told:
        report = train(
            source,
            test=test,
            out=out,
            options=reading.options(gaps, side),
            depths=depths,
            recipe=recipe,
            on_epoch=told,
            **fit.network(),
        )
    _tell(report)
    if plot:
        _plot(plot_volumes, plot, report, items)


def _check_places(out: str | None, plot: str | None) -> None:
    """Refuse what cannot be written before the long work begins."""
    if out is not None and Path(out).exists() and not Path(out).is_dir():
        raise InputError(f"--out {out} is a file; give a folder.")
    if plot is not None:
        check_writable(plot)


def go_on(run: str) -> None:
    """Go on with a training of signals or volumes; `limner train resume` of faces calls it."""
    from limner.training import series, volumes
    from limner.training.array_run import open_run

    asked = open_run(Path(run))
    train: Any = series.train_series if asked.kind == "series" else volumes.train_volumes
    words = asked.keywords
    with _bar(words["recipe"].epochs, words["members"], run) as told:
        report = train(asked.source, out=run, resume=True, on_epoch=told, **words)
    _tell(report)


@contextlib.contextmanager
def _bar(epochs: int, members: int, out: str | None) -> Iterator[OnEpoch]:
    """Show a bar over the epochs of all members, and say the loss now and then."""
    every = max(1, epochs // 10)
    try:
        with output.progress_bar("training", epochs * members) as advance:

            def told(member: int, epoch: int, row: dict[str, float]) -> None:
                advance()
                if (epoch + 1) % every == 0 or epoch + 1 == epochs:
                    where = f"network {member + 1} of {members}, epoch {epoch + 1}/{epochs}"
                    output.note(f"{where}: loss {row['train_loss']:.4f}, {row['seconds']:.1f} s")

            yield told
    except KeyboardInterrupt:
        if out is None:
            raise
        output.note(f"interrupted: `limner train resume {out}` goes on.")
        raise typer.Exit(output.INTERRUPTED) from None


def _tell(report: ArrayReport) -> None:
    """Print the figures, as a document or as lines."""
    if output.wants_json():
        output.emit_json(report.to_json())
    figures = report.figures
    for note in report.notes:
        output.note(note)
    rows = []
    for i, (name, count) in enumerate(report.train_counts.items()):
        share = figures.recall[name]
        found = None if share is None else f"{share:.3f}"
        rows.append((name, count, figures.counts[i], found))
    output.print_table(("class", "train", "test", "found"), rows, right=("train", "test", "found"))
    output.say()
    output.say(f"accuracy  {figures.accuracy:.4f}   {figures.items} items: {report.tested_on}")
    output.say(f"macro_f1  {figures.macro_f1:.4f}")
    if figures.roc_auc is not None:
        output.say(f"roc_auc   {figures.roc_auc:.4f}")
    if report.out is not None:
        output.note(f"model: {report.out}")


def _plot(draw: Any, path: str, report: ArrayReport, items: int) -> None:
    from limner.training.array_plots import choose_items
    from limner.training.array_report import answer

    held = report.test
    answers = answer(report.model, held)
    chosen = choose_items(answers, items)
    draw(path, held.values[chosen], [answers[i] for i in chosen])
    output.note(f"drawn: {path}")
