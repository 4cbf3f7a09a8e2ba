"""``limner train push`` and ``pull``: trained models to and from a hub."""

from __future__ import annotations

from typing import Annotated

import typer

from limner.cli import output
from limner.cli.options import JsonOption

NameArgument = Annotated[str, typer.Argument(metavar="OWNER/NAME", help="The model on the hub.")]
EndpointOption = Annotated[
    str | None,
    typer.Option("--endpoint", metavar="URL", help="The hub's address. Default: Hugging Face."),
]


def push(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="A trained model's folder.")],
    name: NameArgument,
    *,
    public: Annotated[
        bool, typer.Option("--public", help="Anybody may see it; otherwise you alone.")
    ] = False,
    endpoint: EndpointOption = None,
    json: JsonOption = False,
) -> None:
    """Send a trained model to the Hugging Face hub. The token is that of `hf auth login`."""
    from limner.training.hub import push as send

    where = send(folder, name, private=not public, endpoint=endpoint)
    if json:
        output.emit_json({"pushed": name, "commit": where})
    output.say(f"{name}: {where}")


def pull(
    name: NameArgument,
    *,
    out: Annotated[
        str | None,
        typer.Option("--out", "-o", metavar="DIR", help="Where it goes. Default: its NAME."),
    ] = None,
    revision: Annotated[
        str | None, typer.Option("--revision", help="A commit, branch or tag.")
    ] = None,
    endpoint: EndpointOption = None,
    json: JsonOption = False,
) -> None:
    """Fetch a trained model from the Hugging Face hub."""
    from limner.training.hub import pull as fetch
    from limner.training.model_folder import read_model

    target = fetch(name, out or name.partition("/")[2], revision=revision, endpoint=endpoint)
    model = read_model(target)
    if json:
        output.emit_json({"pulled": name, "folder": str(target), "kind": model.kind})
    output.say(f"{target}: a {model.kind} ({model.net}).")
