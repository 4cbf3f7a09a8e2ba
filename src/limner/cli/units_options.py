"""What the commands of ``limner units`` share: options, networks, patches."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from limner.cli import output
from limner.cli.options import DeviceOption

if TYPE_CHECKING:
    from limner.units import Network, TopPatches

PATCHES = "patches.safetensors"

LayerArgument = Annotated[str, typer.Argument(metavar="LAYER", help="Name of a layer.")]
UnitArgument = Annotated[int, typer.Argument(metavar="UNIT", help="Number of a unit in it.")]
PatchesOption = Annotated[
    str,
    typer.Option("--patches", metavar="DIR|FILE", help="What `limner units top` wrote."),
]
WeightsOption = Annotated[
    str | None,
    typer.Option(
        "--weights",
        metavar="FILE|random",
        help="Your own safetensors or PyTorch file; random: untrained. Default: published ones.",
    ),
]
PictureOption = Annotated[
    str | None, typer.Option("-o", "--out", metavar="FILE.png", help="Draw the answer here.")
]
CountOption = Annotated[int, typer.Option("--count", min=1, help="How many are shown.")]


@dataclass(frozen=True)
class NetOptions:
    """Which network is looked into."""

    net: Annotated[
        str,
        typer.Option(
            "--net",
            metavar="NAME",
            help="vgg19, vgg16, vgg16_oxford, alexnet, vgg16_hed, facenet, dlib, frmodel, "
            "nn4_small2, small_resnet, or a model of torchvision or timm.",
        ),
    ] = "vgg16"
    weights: WeightsOption = None
    size: Annotated[
        int | None, typer.Option("--size", min=8, help="Side of the square it reads, pixels.")
    ] = None
    device: DeviceOption = "auto"

    def load(self) -> Network:
        """Load the network, and show what has to be fetched first."""
        from limner.units import load_network

        with output.fetch_progress() as progress:
            return load_network(
                self.net,
                weights=self.weights,
                size=self.size,
                device=self.device,
                progress=progress,
            )


@contextmanager
def bars() -> Iterator[Callable[[str, int, int | None], None]]:
    """Yield a callback (label, done, total) that draws a bar a label on a terminal."""
    import sys

    if not sys.stderr.isatty():
        yield lambda label, done, total: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    tasks: dict[str, TaskID] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Remaining())
    with Progress(*columns, console=output.console(), transient=True) as bars:

        def advance(label: str, done: int, total: int | None) -> None:
            if label not in tasks:
                tasks[label] = bars.add_task(label.replace("[", "\\["), total=total)
            bars.update(tasks[label], completed=done, total=total)

        yield advance


def load_patches(path: str) -> TopPatches:
    """Read patches from an atlas's folder or their own file."""
    from limner.units import TopPatches

    return TopPatches.load(Path(path) / PATCHES if os.path.isdir(path) else path)


def network_of(top: TopPatches, weights: str | None, device: str) -> Network:
    """Load the network that made the patches."""
    from limner.units import load_network

    if weights is None and top.digest.startswith("random"):
        weights = "random"
    with output.fetch_progress() as progress:
        return load_network(
            top.network, weights=weights, size=top.size_px, device=device, progress=progress
        )


def names_of(text: str | None) -> list[str] | None:
    """Return ``a,b`` as a list; None, which means all convolutions, for nothing or ``all``."""
    if text is None or text.strip() == "all":
        return None
    return [part.strip() for part in text.split(",") if part.strip()]
