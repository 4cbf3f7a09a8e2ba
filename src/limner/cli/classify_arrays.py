"""``limner classify series|volume`` and ``limner alike``: what a trained model says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from limner.cli import output
from limner.cli.array_options import (
    GapsOption,
    ItemsOption,
    PlotOption,
    SeriesReading,
    VolumeReading,
)
from limner.cli.options import DeviceOption, JsonOption, grouped
from limner.cli.writing import check_writable

if TYPE_CHECKING:
    from limner.training.array_model import ArrayModel
    from limner.training.samples import Samples

ModelOption = Annotated[
    str,
    typer.Option("--model", metavar="DIR", help="What limner train series or volumes wrote."),
]


@grouped
def classify_series(
    source: Annotated[
        str, typer.Argument(metavar="FILE|DIR", help="Series, with labels or without.")
    ],
    *,
    model: ModelOption = "mine",
    reading: SeriesReading,
    gaps: GapsOption = "refuse",
    device: DeviceOption = "auto",
    plot: PlotOption = None,
    items: ItemsOption = 6,
    json: JsonOption = False,
) -> None:
    """Say of what class each series is, and what in it spoke for that."""
    from limner.training.array_model import load_model
    from limner.training.array_plots import plot_series
    from limner.training.series import read_for

    held = load_model(model, device=device)
    samples = read_for(held, source, options=reading.options(gaps))
    _classify(held, samples, plot_series, plot, items)


@grouped
def classify_volume(
    source: Annotated[
        str, typer.Argument(metavar="FILE|DIR", help="One volume, or a set of them.")
    ],
    *,
    model: ModelOption = "mine",
    reading: VolumeReading,
    gaps: GapsOption = "refuse",
    device: DeviceOption = "auto",
    plot: PlotOption = None,
    items: ItemsOption = 4,
    json: JsonOption = False,
) -> None:
    """Say of what class each volume is, and what in it spoke for that."""
    from limner.training.array_model import load_model
    from limner.training.array_plots import plot_volumes
    from limner.training.volumes import read_for

    held = load_model(model, device=device)
    samples = read_for(held, source, options=reading.options(gaps))
    _classify(held, samples, plot_volumes, plot, items)


def _classify(model: ArrayModel, samples: Samples, draw: Any, plot: str | None, items: int) -> None:
    from limner.training.array_plots import choose_items
    from limner.training.array_report import answer

    if plot is not None:
        check_writable(plot)
    answers = answer(model, samples)
    for note in samples.notes:
        output.note(note)
    known = [a for a in answers if a.truth is not None]
    right = sum(bool(a.right) for a in known)
    if output.wants_json():
        share = right / len(known) if known else None
        items_of = [a.to_json() for a in answers]
        output.emit_json({"items": items_of, "accuracy": share, "notes": list(samples.notes)})
    rows = [
        (a.name, ", ".join(a.labels) or "none", f"{a.probability:.3f}", a.truth) for a in answers
    ]
    columns = ("item", "class", "probability", "truth")
    output.print_table(columns, rows, right=("probability",))
    if known:
        output.say()
        output.say(f"{right} of {len(known)} labelled items are right: {right / len(known):.4f}")
    if plot is not None:
        chosen = choose_items(answers, min(items, len(answers)))
        draw(plot, samples.values[chosen], [answers[i] for i in chosen])
        output.note(f"drawn: {plot}")


@grouped
def alike(
    source: Annotated[
        str, typer.Argument(metavar="FILE|DIR", help="Series or volumes, with labels or without.")
    ],
    *,
    model: ModelOption = "mine",
    item: Annotated[int, typer.Option("--item", help="Which of them, from 0.")] = 0,
    top: Annotated[int, typer.Option("--top", help="How many to show.")] = 5,
    reading: SeriesReading,
    volumes: VolumeReading,
    gaps: GapsOption = "refuse",
    device: DeviceOption = "auto",
    json: JsonOption = False,
) -> None:
    """Find the items, of those a model was trained on, that are most like this one."""
    from limner.errors import InputError
    from limner.training import series
    from limner.training import volumes as deep
    from limner.training.alike import most_alike
    from limner.training.array_model import load_model

    held = load_model(model, device=device)
    if held.net.kind == "series":
        samples = series.read_for(held, source, options=reading.options(gaps))
    else:
        samples = deep.read_for(held, source, options=volumes.options(gaps))
    if not 0 <= item < len(samples):
        raise InputError(f"{source} has items 0 to {len(samples) - 1}, got --item {item}.")
    for note in samples.notes:
        output.note(note)
    found = most_alike(held, samples.take([item]), top=top)[0]
    if output.wants_json():
        output.emit_json({"item": samples.names[item], "alike": [near.to_json() for near in found]})
    output.say(f"most like {samples.names[item]}:")
    rows = [
        (n.name, n.label, f"{n.distance:.4f}", n.probability and f"{n.probability:.3f}")
        for n in found
    ]
    right = ("distance", "same class")
    output.print_table(("item", "class", "distance", "same class"), rows, right=right)
