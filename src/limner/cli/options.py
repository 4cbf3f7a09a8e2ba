"""Options that several commands share, each declared once.

A command names a group by its type and gets it filled in::

    @grouped
    def compare(a: PathArgument, b: PathArgument, *, model: ModelOptions, json: JsonOption = False):
        ...

`grouped` replaces the parameter ``model`` by one option per field of `ModelOptions`.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar, cast, get_type_hints

import typer

from limner.cli.output import json_callback
from limner.images.sources import LIMIT_VARIABLE

_F = TypeVar("_F", bound=Callable[..., Any])

_ONNX_PANEL = "Your own ONNX embedder"
_FINDING_PANEL = "Finding faces"


def limit_callback(context: typer.Context, value: float | None) -> float | None:
    """Make a limit hold for everything that the command reads, by the variable that says it.

    What the variable said before comes back when the command ends.
    """
    if value is None:
        return None
    before = os.environ.get(LIMIT_VARIABLE)

    def restore() -> None:
        if before is None:
            os.environ.pop(LIMIT_VARIABLE, None)
        else:
            os.environ[LIMIT_VARIABLE] = before

    context.call_on_close(restore)
    os.environ[LIMIT_VARIABLE] = f"{value:g}"
    return value


JsonOption = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON document.", callback=json_callback, is_eager=True),
]
GalleryOption = Annotated[
    str | None,
    typer.Option(
        "--gallery",
        metavar="PATH",
        envvar="LIMNER_GALLERY",
        help="Gallery file. Default: faces.limner in your user data folder.",
    ),
]
DeviceOption = Annotated[
    str, typer.Option("--device", metavar="DEVICE", help="auto, cpu, cuda, cuda:1, ...")
]
ThresholdOption = Annotated[
    float | None,
    typer.Option(
        "--threshold",
        metavar="TAU",
        help="Largest distance that still counts as the same person. Default: calibrated.",
    ),
]
DrawOption = Annotated[
    str | None,
    typer.Option("--draw", metavar="OUT.jpg", help="Draw the answer on the photo, save it here."),
]


@dataclass(frozen=True)
class ModelOptions:
    """Which embedder runs, and where."""

    embedder: Annotated[
        str | None,
        typer.Option(
            "--embedder",
            metavar="NAME|PATH.onnx",
            help="sface, facenet, dlib, duo, an ONNX file or a trained folder. Default: the "
            "gallery's own, else sface.",
        ),
    ] = None
    device: Annotated[
        str, typer.Option("--device", metavar="DEVICE", help="auto, cpu, cuda, cuda:1, ...")
    ] = "auto"
    embedder_size: Annotated[
        int | None,
        typer.Option(
            "--embedder-size", help="Side of its input, pixels.", rich_help_panel=_ONNX_PANEL
        ),
    ] = None
    embedder_mean: Annotated[
        str | None,
        typer.Option(
            "--embedder-mean",
            metavar="M|R,G,B",
            help="Subtracted from 0..255 values.",
            rich_help_panel=_ONNX_PANEL,
        ),
    ] = None
    embedder_std: Annotated[
        str | None,
        typer.Option(
            "--embedder-std",
            metavar="S|R,G,B",
            help="Divides what is left.",
            rich_help_panel=_ONNX_PANEL,
        ),
    ] = None
    embedder_colour: Annotated[
        Literal["rgb", "bgr"] | None,
        typer.Option(
            "--embedder-colour",
            help="Channel order it reads; rgb if not given.",
            rich_help_panel=_ONNX_PANEL,
        ),
    ] = None


@dataclass(frozen=True)
class FindOptions:
    """Which of the faces in a photo count."""

    min_size: Annotated[
        int | None,
        typer.Option(
            "--min-size",
            min=1,
            help="Smallest face, pixels. Default: 20, and more in photos above 24 megapixels.",
            rich_help_panel=_FINDING_PANEL,
        ),
    ] = None
    min_score: Annotated[
        float,
        typer.Option(
            "--min-score",
            min=0.0,
            max=1.0,
            help="Lowest score of the detector.",
            rich_help_panel=_FINDING_PANEL,
        ),
    ] = 0.6
    any_rotation: Annotated[
        bool,
        typer.Option(
            "--any-rotation",
            help="Look for each face at any angle by itself, as in a crowd seen from above: four "
            "times the work. Without it a photo that lies on its side is turned as a whole.",
            rich_help_panel=_FINDING_PANEL,
        ),
    ] = False
    max_megapixels: Annotated[
        float | None,
        typer.Option(
            "--max-megapixels",
            min=0.01,
            max=1e6,
            envvar=LIMIT_VARIABLE,
            help="Largest photo that is read, millions of pixels. Default: 250; serve: 50.",
            callback=limit_callback,
            rich_help_panel=_FINDING_PANEL,
        ),
    ] = None


AcceptUnclearOption = Annotated[
    bool,
    typer.Option(
        "--accept-unclear",
        help="Judge faces that are too poor for it (blurred, tiny, covered), too, "
        "instead of saying 'unclear'.",
    ),
]


ForceOption = Annotated[
    bool,
    typer.Option(
        "--force",
        help="Enrol photos that are too poor to be recognised by, too, and ask nothing.",
    ),
]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="A person's name, any script.")]


@dataclass(frozen=True)
class PickOptions:
    """Which face is meant, where one face is expected and the photo holds several."""

    largest: Annotated[
        bool, typer.Option("--largest", help="Take the largest face.", rich_help_panel="Which face")
    ] = False
    box: Annotated[
        str | None,
        typer.Option(
            "--box",
            metavar="X0,Y0,X1,Y1",
            help="Take the face in this box (pixels).",
            rich_help_panel="Which face",
        ),
    ] = None


def grouped(command: _F) -> _F:
    """Expand each parameter whose type is an options dataclass into that class's options.

    Args:
        command: A command function; its groups are keyword parameters without a default.

    Returns:
        A function with the expanded signature, which Typer can read.
    """
    hints = get_type_hints(command, include_extras=True)
    groups = {name: kind for name, kind in hints.items() if name != "return" and _is_group(kind)}
    parameters: list[inspect.Parameter] = []
    owners: dict[str, tuple[str, ...]] = {}
    for name, parameter in inspect.signature(command).parameters.items():
        if name not in groups:
            parameters.append(parameter.replace(annotation=hints[name]))
            continue
        expanded = _options_of(groups[name])
        owners[name] = tuple(option.name for option in expanded)
        parameters.extend(expanded)

    @functools.wraps(command)
    def run(*args: Any, **values: Any) -> Any:
        for name, kind in groups.items():
            values[name] = kind(**{field: values.pop(field) for field in owners[name]})
        return command(*args, **values)

    parameters.sort(key=lambda p: p.kind)
    expanded_run: Any = run
    expanded_run.__signature__ = inspect.Signature(parameters)
    expanded_run.__annotations__ = {p.name: p.annotation for p in parameters}
    del expanded_run.__wrapped__
    return cast(_F, expanded_run)


def _is_group(kind: Any) -> bool:
    return isinstance(kind, type) and dataclasses.is_dataclass(kind)


def _options_of(kind: Any) -> list[inspect.Parameter]:
    hints = get_type_hints(kind, include_extras=True)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=hints[field.name],
        )
        for field in dataclasses.fields(kind)
    ]
