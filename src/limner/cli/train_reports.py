"""``limner train recipes``, ``report``, ``open-closed``: what can be trained, what came of it."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from limner.cli import output
from limner.cli.options import DeviceOption, JsonOption
from limner.cli.train_options import set_options
from limner.errors import InputError

if TYPE_CHECKING:
    from limner.training.open_closed import OpenClosed

_SHOWN = ("train_loss", "val_loss", "train_accuracy", "val_accuracy", "spread", "active", "val_eer")


def recipes(
    folder: Annotated[
        str | None,
        typer.Argument(metavar="[DIR]", help="Train all of the notes' recipes on these people."),
    ] = None,
    *,
    out: Annotated[
        str, typer.Option("--out", "-o", metavar="DIR", help="A folder for each recipe goes here.")
    ] = "recipes",
    min_photos: Annotated[
        int | None, typer.Option("--min-photos", help="Leave out people with fewer.")
    ] = None,
    seeds: Annotated[
        int,
        typer.Option("--seeds", help="Train each so often, with seeds 0, 1, ...; means are shown."),
    ] = 1,
    change: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="A key of all five recipes; may be repeated."
        ),
    ] = None,
    device: DeviceOption = "auto",
    json: JsonOption = False,
) -> None:
    """List the recipes; with a folder of people train the notes' five, and compare them.

    The comparison ends with what SamplePairing adds, and its 95 % interval.
    """
    from limner.training.extras import require

    require("yaml")
    from limner.training.recipe import read_recipe, recipe_names

    if folder is not None:
        changes = set_options(change)
        if min_photos is not None:
            changes["min_photos"] = min_photos
        _five(Path(folder), Path(out), seeds, changes, device)
        return
    found = [(name, read_recipe(name)) for name in recipe_names()]
    if json:
        output.emit_json({"recipes": [{"name": n, **r.to_json()} for n, r in found]})
    rows = [(n, r.task, r.net, r.loss, r.free, r.epochs, r.about) for n, r in found]
    columns = ("recipe", "task", "network", "loss", "trains", "epochs", "about")
    output.print_table(columns, rows, right=("epochs",))


def _five(folder: Path, out: Path, seeds: int, changes: dict[str, Any], device: str) -> None:
    """Train the notes' five recipes with one cache, and print their table."""
    from limner.training.extras import require

    require("lightning", "yaml")
    from limner.cli.photos import tell_left_out
    from limner.training.notes_five import train_five

    tell_left_out(folder)
    found, gain = train_five(
        folder, out, seeds=seeds, changes=changes, device=device, tell=output.note
    )
    if output.wants_json():
        entries = [
            {
                "recipe": row.name,
                "net": row.net,
                "loss": row.recipe.loss,
                "sample_pairing": row.recipe.sample_pairing,
                "best_epoch": row.best_epochs[0],
                "seconds": round(row.seconds, 1),
                **{f"{side}_accuracy": row.accuracy(side) for side in ("val", "test")},
                "seeds": [dict(figures) for figures in row.figures],
            }
            for row in found
        ]
        output.emit_json({"recipes": entries, "sample_pairing": vars(gain)})
    rows = [
        (
            row.name,
            row.net,
            row.recipe.head_layers,
            row.recipe.loss,
            "yes" if row.recipe.sample_pairing else "no",
            row.recipe.epochs,
            ", ".join(map(str, row.best_epochs)),
            *(_share(row.accuracy(side)) for side in ("val", "test")),
            f"{row.seconds:.0f}",
        )
        for row in found
    ]
    columns = ("recipe", "network", "layers", "loss", "pairing", "epochs", "best", "val", "test")
    output.print_table((*columns, "s"), rows, right=(*columns[5:], "layers", "s"))
    output.say(gain.words())


def _share(value: float | None) -> str | None:
    return None if value is None else f"{100 * value:.2f} %"


def report(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The folder of a training.")],
    *,
    json: JsonOption = False,
) -> None:
    """Show the epochs of a training, finished or not, and draw its curves."""
    from limner.training.history import CSV_NAME
    from limner.training.plots import plot_curves

    path = Path(run) / CSV_NAME
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            rows = [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(stream)]
    except (OSError, ValueError) as error:
        raise InputError(f"{run} is not the folder of a training: {path} is missing.") from error
    if not rows:
        raise InputError(f"{path} holds no finished epoch yet.")
    curves = Path(run) / "curves.png"
    plot_curves(curves, rows, title=f"training {Path(run).resolve().name}")
    if json:
        output.emit_json({"run": run, "epochs": rows, "curves": str(curves)})
    shown = [name for name in _SHOWN if any(name in row for row in rows)]
    every = max(1, len(rows) // 20)
    chosen = [r for i, r in enumerate(rows) if i % every == 0 or i == len(rows) - 1]
    cells = [
        [int(r["epoch"]) + 1, *(f"{r[n]:.4f}" if n in r else None for n in shown), f"{r['lr']:.2g}"]
        for r in chosen
    ]
    names = ["epoch", *(n.replace("_", " ") for n in shown), "rate"]
    output.print_table(names, cells, right=names)
    output.say(f"Curves: {curves}")


def open_closed(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="A folder of people.")],
    *,
    net: Annotated[str, typer.Option("--net", help="Network, by name.")] = "inception_resnet_v1",
    min_photos: Annotated[
        int, typer.Option("--min-photos", help="Who has so many is known; others are strangers.")
    ] = 20,
    newcomers: Annotated[
        int, typer.Option("--newcomers", help="How many of the known join later.")
    ] = 10,
    seed: Annotated[int, typer.Option("--seed", help="Of every choice.")] = 0,
    cache: Annotated[
        str | None, typer.Option("--cache", metavar="DIR", help="Keep chips and features here.")
    ] = None,
    device: DeviceOption = "auto",
    draw: Annotated[
        str | None, typer.Option("--draw", metavar="OUT.png", help="Draw the comparison.")
    ] = None,
    out: Annotated[
        str | None,
        typer.Option("--out", "-o", metavar="DIR", help="Leave the network here as a model."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """One network as classifier, verifier and identifier; softmax against similarity.

    With -o it is left as a model for `classify face --model` and `compare --embedder`.
    """
    from limner.cli.photos import tell_left_out
    from limner.training.model_folder import MODEL
    from limner.training.open_closed import compare_sets

    tell_left_out(folder)
    if out is not None and (Path(out) / MODEL).exists():
        raise InputError(f"{out} holds a model already; choose another -o.")
    said: set[str] = set()

    def tell(what: str, done: int, total: int | None) -> None:
        if what not in said:
            said.add(what)
            output.note(f"{what} ...")

    found = compare_sets(
        folder,
        net=net,
        min_photos=min_photos,
        newcomers=newcomers,
        seed=seed,
        cache=None if cache is None else Path(cache),
        out=None if out is None else Path(out),
        device=device,
        tell=tell,
    )
    if draw is not None:
        from limner.training.plots import plot_shots

        plot_shots(Path(draw), found)
    if json:
        output.emit_json(found.to_json())
    _print_sets(found)
    if out is not None:
        output.say(f"Use it: limner classify face PHOTO --model {out}")
        output.say(f"Use it: limner compare A.jpg B.jpg --embedder {out}")


def _print_sets(found: OpenClosed) -> None:
    for note in found.notes:
        output.note(note)
    rows = [("classifier, closed set", "accuracy", _percent(found.closed["accuracy"]))]
    words = {"eer": "equal error rate", "rank1": "rank 1"}
    for name, value in found.verification.items():
        rows.append(("verifier", words.get(name, name.replace("_", " ")), _percent(value)))
    for name, value in found.identification.items():
        who = "identifier, softmax" if name.startswith("classifier_") else "identifier, similarity"
        plain = name.removeprefix("classifier_")
        rows.append((who, words.get(plain, plain.replace("_", " ")), _percent(value)))
    output.print_table(("as", "figure", "value"), rows, right=("value",))
    output.say()
    columns = (
        *("photos a person", "answer by", "known, right", "strangers refused"),
        *("newcomers, right", "seconds to join"),
    )
    cells: list[tuple[object, ...]] = []
    for row in found.one_shot:
        shots = int(row["photos"])
        cells.append(
            (
                shots,
                "softmax N+1",
                _percent(row["softmax_known"]),
                _percent(row["softmax_strangers_refused"]),
                "0 % until trained again",
                None,
            )
        )
        cells.append(
            (
                shots,
                "softmax, trained again",
                None,
                None,
                _percent(row["softmax_newcomers_retrained"]),
                f"{row['softmax_join_s']:.2f}",
            )
        )
        cells.append(
            (
                shots,
                "similarity",
                _percent(row["similarity_known"]),
                _percent(row["similarity_strangers_refused"]),
                _percent(row["similarity_newcomers"]),
                f"{row['similarity_join_s']:.4f}",
            )
        )
    output.print_table(columns, cells, right=(*columns[2:], columns[0]))


def _percent(value: float) -> str:
    return f"{100 * value:.2f} %"
