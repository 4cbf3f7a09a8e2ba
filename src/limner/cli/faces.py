"""Commands that need no gallery: ``detect``, ``compare`` and ``embed``."""

from __future__ import annotations

from typing import Annotated

import typer

from limner.cli.options import FindOptions, JsonOption, ModelOptions, grouped

PhotoArgument = Annotated[list[str], typer.Argument(metavar="PHOTO...", help="Photos or folders.")]


@grouped
def detect(photos: PhotoArgument, *, find: FindOptions, json: JsonOption = False) -> None:
    """Find the faces in photos."""
    from limner.errors import InputError

    raise InputError(f"not yet built {find} {json} {photos}")


@grouped
def compare(
    a: Annotated[str, typer.Argument(metavar="A")],
    b: Annotated[str, typer.Argument(metavar="B")],
    *,
    model: ModelOptions,
    json: JsonOption = False,
) -> None:
    """Tell whether two photos show the same person."""
    print(model)


@grouped
def embed(photos: PhotoArgument, *, json: JsonOption = False) -> None:
    """Write the embeddings of the faces in photos to an .npz file."""
