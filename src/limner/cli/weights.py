"""``limner weights``: what models there are, fetching them ahead of use, checking them."""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

import typer

from limner.cli.options import JsonOption
from limner.cli.output import ERROR, emit_json, fetch_progress, print_table, say, wants_json

app = typer.Typer(
    help="List, fetch and check the models' weights.", no_args_is_help=True, add_completion=False
)


@app.command("list")
def list_models(
    *,
    licence: Annotated[
        Literal["any", "permissive"] | None,
        typer.Option(help="Of which licences; default: as `limner --licence` or LIMNER_LICENCE."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """List the models, which of them are in the cache, and what may be done with them."""
    from limner import weights
    from limner.weights import licences

    policy = licence or licences.policy()
    entries: list[dict[str, Any]] = []
    for name in weights.names():
        spec, status = weights.spec(name), weights.status(name)
        if policy == "permissive" and not licences.is_permissive(spec):
            continue
        entries.append(
            {
                "name": name,
                "title": spec.title,
                "task": spec.task,
                "dim": spec.dim,
                "state": status.state,
                "bytes": status.bytes,
                "source": status.source,
                "embedder_id": spec.embedder_id if spec.task == "embedder" else None,
                "licence": spec.licence,
                "spdx": list(licences.spdx_of(spec)),
                "permissive": licences.is_permissive(spec),
                "commercial": licences.commercial(spec),
                "training_data": spec.training_data,
                "paper": spec.paper,
                "published": spec.published,
            }
        )
    if wants_json():
        emit_json({"models": entries, "not_covered": licences.NOT_COVERED})
        return
    rows = [
        (
            *(e["name"], e["task"], e["dim"], e["state"], _megabytes(e["bytes"]), e["licence"]),
            e["commercial"],
        )
        for e in entries
    ]
    columns = ("name", "task", "dim", "state", "MB", "licence", "commercial use")
    print_table(columns, rows, right=("dim", "MB"))
    say(licences.NOT_COVERED)


@app.command()
def pull(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Models to fetch.")],
    *,
    json: JsonOption = False,
) -> None:
    """Fetch and convert models, so that later commands need no network."""
    from limner import weights

    for name in names:
        weights.spec(name)  # a misspelt name is said before anything is fetched
    entries = []
    for name in names:
        start = time.perf_counter()
        with fetch_progress() as progress:
            loaded = weights.load(name, progress=progress, thorough=True)
        seconds = round(time.perf_counter() - start, 2)
        for part in loaded.parts or (loaded,):
            folder = weights.model_dir(part.spec)
            say(f"{part.spec.name}: ready in {folder} (source: {part.source})")
        entries.append(
            {
                "name": name,
                "digest": loaded.digest,
                "sources": [part.source for part in loaded.parts or (loaded,)],
                "files": {kind: str(path) for kind, path in loaded.files.items()},
                "seconds": seconds,
            }
        )
    if wants_json():
        emit_json({"pulled": entries})


@app.command()
def verify(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME...]", help="Models; default: all.")
    ] = None,
    *,
    json: JsonOption = False,
) -> None:
    """Compute the SHA-256 of every cached file anew; exit status 2 if one is damaged."""
    from limner import weights

    results = [weights.verify(name) for name in names or weights.names()]
    if wants_json():
        emit_json({"models": [{"name": r.name, "ok": r.ok, "files": r.files} for r in results]})
    rows = [(r.name, file, word) for r in results for file, word in r.files.items()]
    print_table(("name", "file", "verdict"), rows)
    damaged = [r.name for r in results if not r.ok]
    if damaged:
        say(f"Damaged: {', '.join(damaged)}. Run `limner weights pull {' '.join(damaged)}`.")
        raise typer.Exit(ERROR)


@app.command()
def where(*, json: JsonOption = False) -> None:
    """Print the folder that weights are kept in."""
    from limner import weights

    if wants_json():
        emit_json({"cache": str(weights.cache_dir())})
    say(str(weights.cache_dir()))


def _megabytes(size: int) -> str | None:
    return f"{size / 1e6:.1f}" if size else None
