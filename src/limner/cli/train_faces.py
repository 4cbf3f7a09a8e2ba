"""``limner train classify``, ``embed`` and ``resume``: trainings on a folder of people."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from limner.cli import output, train_arrays
from limner.cli.options import JsonOption, grouped
from limner.cli.train_options import set_options
from limner.errors import InputError

if TYPE_CHECKING:
    from limner.training.fit import Run, Trained
    from limner.training.model_folder import TrainedModel
    from limner.training.recipe import Recipe

_PANEL = "Changes to the recipe"
_MINUTE_S = 60.0

FolderArgument = Annotated[
    str, typer.Argument(metavar="DIR", help="A folder of people: DIR/NAME/photo.jpg.")
]
OutOption = Annotated[
    str, typer.Option("--out", "-o", metavar="DIR", help="Where the trained model goes.")
]


@dataclass(frozen=True)
class RecipeOptions:
    """What a recipe says, changed from the command line."""

    net: Annotated[
        str | None, typer.Option("--net", help="Network, by name.", rich_help_panel=_PANEL)
    ] = None
    loss: Annotated[
        str | None,
        typer.Option(
            "--loss",
            help="Loss, by name. Use center from the beginning of training, or not at all.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    free: Annotated[
        str | None,
        typer.Option("--free", help="head, last_block or all.", rich_help_panel=_PANEL),
    ] = None
    epochs: Annotated[
        int | None, typer.Option("--epochs", help="Epochs at most.", rich_help_panel=_PANEL)
    ] = None
    lr: Annotated[
        float | None, typer.Option("--lr", help="Learning rate.", rich_help_panel=_PANEL)
    ] = None
    batch: Annotated[
        int | None, typer.Option("--batch", help="Chips in a batch.", rich_help_panel=_PANEL)
    ] = None
    min_photos: Annotated[
        int | None,
        typer.Option("--min-photos", help="Leave out people with fewer.", rich_help_panel=_PANEL),
    ] = None
    seed: Annotated[
        int | None, typer.Option("--seed", help="Of everything.", rich_help_panel=_PANEL)
    ] = None
    change: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Any other key of the recipe; may be repeated.",
            rich_help_panel=_PANEL,
        ),
    ] = None


@dataclass(frozen=True)
class RunOptions:
    """Where and how long it runs."""

    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, ...")] = "auto"
    processes: Annotated[
        int, typer.Option("--processes", help="Processes on this machine that share the work.")
    ] = 1
    minutes: Annotated[
        float | None, typer.Option("--minutes", help="Stop after the epoch that reaches this.")
    ] = None
    cache: Annotated[
        str | None,
        typer.Option("--cache", metavar="DIR", help="Keep chips and features here, to share them."),
    ] = None
    licence: Annotated[
        str, typer.Option("--licence", help="Of the trained weights, for the model card.")
    ] = ""


@grouped
def classify(
    folder: FolderArgument,
    *,
    recipe: Annotated[
        str, typer.Option("--recipe", metavar="NAME|FILE", help="notes-1 .. notes-5, or YAML.")
    ] = "notes-2",
    out: OutOption = "mine",
    changes: RecipeOptions,
    run: RunOptions,
    json: JsonOption = False,
) -> None:
    """Train a classifier: which of these people is it? The same people in training and test."""
    _train(folder, recipe, out, "classify", changes, run)


@grouped
def embed(
    folder: FolderArgument,
    *,
    recipe: Annotated[
        str, typer.Option("--recipe", metavar="NAME|FILE", help="A recipe's name, or YAML.")
    ] = "head-128",
    miner: Annotated[
        str | None,
        typer.Option(
            "--miner",
            help="random, all, semihard, hard or batch_hard.",
            rich_help_panel=_PANEL,
        ),
    ] = None,
    out: OutOption = "mine",
    changes: RecipeOptions,
    run: RunOptions,
    json: JsonOption = False,
) -> None:
    """Train an embedder: vectors that tell people apart, also people it never saw."""
    _train(folder, recipe, out, "embed", changes, run, miner=miner)


def resume(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The folder of a training.")],
    *,
    json: JsonOption = False,
) -> None:
    """Go on where a training was interrupted; it ends with the weights that it would have had."""
    from limner.training.extras import require

    require("lightning", "yaml")
    from limner.training.array_run import is_array_run
    from limner.training.fit import open_run

    if is_array_run(Path(run)):
        train_arrays.go_on(run)
        return
    recipe, circumstances = open_run(Path(run))
    _go(recipe, circumstances, resume=True)


def _train(
    folder: str,
    recipe: str,
    out: str,
    task: str,
    changes: RecipeOptions,
    run: RunOptions,
    *,
    miner: str | None = None,
) -> None:
    from limner.training.extras import require

    require("lightning", "yaml", "pytorch_metric_learning")
    from limner.cli.photos import tell_left_out
    from limner.training.fit import RUN, Run
    from limner.training.recipe import read_recipe

    wanted = _changes(changes)
    if miner is not None:
        wanted["miner"] = miner
        if miner != "semihard":
            wanted["miner_options"] = {}
    if changes.loss is not None:
        wanted.setdefault("loss_options", {})
        if changes.loss != "triplet":
            wanted |= {"miner": wanted.get("miner", ""), "miner_options": {}}
    _move_loss_options(wanted, read_recipe(recipe))
    chosen = read_recipe(recipe, **wanted)
    if chosen.task != task:
        raise InputError(
            f"{recipe} is a recipe for `limner train {chosen.task}`, not for {task}; "
            "`limner train recipes` lists them."
        )
    target = Path(out)
    if (target / RUN).exists() and not _is_helper():
        raise InputError(
            f"{out} holds a training already: go on with `limner train resume {out}`, choose "
            "another folder with -o, or remove it."
        )
    if not _is_helper():
        tell_left_out(folder)
    circumstances = Run(
        folder=Path(folder),
        out=target,
        cache=None if run.cache is None else Path(run.cache),
        device=run.device,
        processes=run.processes,
        seconds=None if run.minutes is None else run.minutes * _MINUTE_S,
        licence=run.licence,
    )
    _go(chosen, circumstances, resume=False)


def _changes(options: RecipeOptions) -> dict[str, Any]:
    found: dict[str, Any] = {
        name: value
        for name, value in vars(options).items()
        if name != "change" and value is not None
    }
    return found | set_options(options.change)


def _move_loss_options(wanted: dict[str, Any], recipe: Recipe) -> None:
    """Let ``--set margin=0.3`` or ``squared=false`` mean the loss's own option."""
    from limner.training.losses import LOSSES, options_of
    from limner.training.recipe import KEYS

    loss = str(wanted.get("loss", recipe.loss))
    given = recipe.loss_options if loss == recipe.loss else {}
    allowed = options_of(LOSSES[loss]) if loss in LOSSES else []
    for key in [k for k in wanted if k in allowed and k not in KEYS]:
        wanted["loss_options"] = {**wanted.get("loss_options", given), key: wanted.pop(key)}


def _is_helper() -> bool:
    """Whether this is not the first of several processes of one training."""
    from limner.training.world import rank

    return rank() > 0


def _go(recipe: Recipe, run: Run, *, resume: bool) -> None:
    from limner.training.fit import train_people

    with _progress(recipe.epochs) as (tell, on_epoch, on_step):
        try:
            done = train_people(
                recipe, run, resume=resume, tell=tell, on_epoch=on_epoch, on_step=on_step
            )
        except KeyboardInterrupt:
            output.note(f"interrupted: `limner train resume {run.out}` goes on.")
            raise typer.Exit(output.INTERRUPTED) from None
    _tell_result(done)


def _tell_result(done: Trained) -> None:
    for note in done.notes:
        output.note(note)
    model, report = done.model, done.report
    if output.wants_json():
        output.emit_json(
            {
                "model": str(model.folder),
                "kind": model.kind,
                "net": model.net,
                "provenance": dict(model.provenance),
                "epochs": report.epochs,
                "best_epoch": report.best_epoch + 1,
                "stopped": report.stopped,
                "figures": done.figures,
                "seconds": {k: round(v, 2) for k, v in done.seconds.items()},
                "notes": list(done.notes),
            }
        )
        return
    bounds = done.figures.get("intervals", {})
    rows = [
        (key.replace("_", " "), _figure(value), _bounds(bounds.get(key)))
        for key, value in done.figures.items()
        if key != "intervals"
    ]
    output.print_table(("figure", "value", "95 % interval"), rows, right=("value",))
    total = sum(done.seconds.values())
    output.say(
        f"{model.folder}: {model.kind} after {report.epochs} epochs ({report.stopped}), best at "
        f"{report.best_epoch + 1}; {total:.0f} s in all."
    )
    for use in uses(model):
        output.say(f"Use it: {use}")


def uses(model: TrainedModel) -> list[str]:
    """Return the commands that a trained model answers."""
    found = [f"limner classify face PHOTO --model {model.folder}"] if model.people else []
    if model.crop != "whole":
        found.append(f"limner compare A.jpg B.jpg --embedder {model.folder}")
    return found


def _bounds(pair: tuple[float, float] | None) -> str | None:
    return None if pair is None else f"{pair[0]:.4f} to {pair[1]:.4f}"


def _figure(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)


_Callbacks = tuple[
    Callable[[str, int, int | None], None],
    Callable[[dict[str, float]], None],
    Callable[[int, int], None],
]


@contextlib.contextmanager
def _progress(epochs: int) -> Iterator[_Callbacks]:
    """Yield what shows progress: a bar on a terminal, and a line for each epoch or tenth."""
    every = max(1, epochs // 10)
    said: set[str] = set()

    def on_epoch(row: dict[str, float]) -> None:
        number = int(row["epoch"]) + 1
        if number % every and number != epochs:
            return
        names = ("train_loss", "train_accuracy", "spread", "val_loss", "val_accuracy", "val_eer")
        words = [f"{n.replace('_', ' ')} {row[n]:.4f}" for n in names if n in row]
        output.note(f"epoch {number}/{epochs}  {'  '.join(words)}  {row['seconds']:.1f} s")

    if _is_helper():
        yield (lambda what, done, total: None, lambda row: None, lambda done, total: None)
        return
    import sys

    if not sys.stderr.isatty():

        def once(what: str, done: int, total: int | None) -> None:
            if what not in said:
                said.add(what)
                output.note(f"{what} ...")

        yield once, on_epoch, lambda done, total: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=output.console(), transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def show(what: str, done: int, total: int | None) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield show, on_epoch, lambda done, total: show("batches of the epoch", done, total)
