"""``limner keys``: who may use a service that others can reach."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from limner.cli import output
from limner.cli.options import JsonOption

if TYPE_CHECKING:
    from limner.service.keys import Keys

app = typer.Typer(
    help="Make, list and revoke the API keys of a service.",
    no_args_is_help=True,
    add_completion=False,
)
StateOption = Annotated[
    Path | None,
    typer.Option(
        "--state",
        metavar="DIR",
        envvar="LIMNER_SERVICE",
        help="Folder of keys, jobs and the audit log. Default: in your user data folder.",
    ),
]


def _keys(state: Path | None) -> Keys:
    from limner.service import check_extra

    check_extra()
    from limner.service.keys import Keys
    from limner.service.settings import default_state
    from limner.service.state import State

    return Keys(State(state or default_state()))


@app.command()
def make(
    label: Annotated[str, typer.Argument(metavar="LABEL", help="What the key is for.")],
    *,
    scope: Annotated[
        list[str] | None,
        typer.Option(
            "--scope", help="read (default), enrol or admin; each includes the ones before it."
        ),
    ] = None,
    state: StateOption = None,
    json: JsonOption = False,
) -> None:
    """Make a key. It is shown once: only a digest is kept."""
    key, text = _keys(state).make(label, scope or ["read"])
    if json:
        output.emit_json({**key.to_json(), "key": text})
    output.say(text)
    if not json:
        output.note(
            f"key {key.id} ({key.label}), scope {', '.join(key.scopes)}. It is not shown again."
        )


@app.command("list")
def list_(*, state: StateOption = None, json: JsonOption = False) -> None:
    """List the keys, without their secrets."""
    found = _keys(state).all()
    if json:
        output.emit_json({"keys": [key.to_json() for key in found]})
    rows = [(k.id, k.label, ", ".join(k.scopes), k.created[:19], k.revoked) for k in found]
    output.print_table(["id", "label", "scopes", "made", "revoked"], rows)


@app.command()
def revoke(
    key: Annotated[str, typer.Argument(metavar="ID", help="As `limner keys list` shows it.")],
    *,
    state: StateOption = None,
    json: JsonOption = False,
) -> None:
    """Make a key worthless at once, in a running service as well."""
    gone = _keys(state).revoke(key)
    if json:
        output.emit_json(gone.to_json())
    output.say(f"{gone.id} ({gone.label}) is revoked.")
