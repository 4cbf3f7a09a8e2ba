"""``limner serve``: the service, and the page on it."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from limner.cli import output
from limner.cli.keys import StateOption
from limner.cli.options import FindOptions, GalleryOption, JsonOption, grouped
from limner.errors import InputError

if TYPE_CHECKING:
    from limner.service.settings import Settings

_LIMITS = "Limits"


@grouped
def serve(
    *,
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; any but this machine needs keys.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port; 0 takes a free one.")
    ] = 8000,
    keys: Annotated[
        bool,
        typer.Option(
            "--keys",
            help="Demand an API key on this machine, too: needed behind a reverse proxy. "
            "Always so on any other address.",
        ),
    ] = False,
    page: Annotated[
        bool, typer.Option("--page/--no-page", help="Serve the page, or the HTTP interface alone.")
    ] = True,
    models: Annotated[
        Path | None,
        typer.Option(
            "--models",
            metavar="DIR",
            help="Folder of trained classifiers that requests may name.",
        ),
    ] = None,
    state: StateOption = None,
    keep_chips: Annotated[
        bool, typer.Option("--keep-chips", help="Keep face crops of enrolled photos.")
    ] = False,
    embedder: Annotated[
        str | None,
        typer.Option(
            "--embedder",
            metavar="NAME|PATH.onnx",
            help="sface, facenet, dlib, duo, or an ONNX file. Default: the gallery's own, "
            "else sface.",
        ),
    ] = None,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="Workers. Default: one a core.")
    ] = None,
    queue: Annotated[
        int,
        typer.Option(
            "--queue",
            min=1,
            max=10_000,
            help="Requests under way at most.",
            rich_help_panel=_LIMITS,
        ),
    ] = 64,
    max_mb: Annotated[
        int,
        typer.Option(
            "--max-mb", min=1, max=1024, help="Largest upload, MiB.", rich_help_panel=_LIMITS
        ),
    ] = 20,
    max_faces: Annotated[
        int,
        typer.Option("--max-faces", min=1, help="Most faces a photo.", rich_help_panel=_LIMITS),
    ] = 100,
    max_people: Annotated[
        int,
        typer.Option(
            "--max-people", min=1, help="Most people that a key enrols.", rich_help_panel=_LIMITS
        ),
    ] = 10_000,
    rate: Annotated[
        int,
        typer.Option(
            "--rate", min=1, help="Requests a minute for each key.", rich_help_panel=_LIMITS
        ),
    ] = 600,
    gallery: GalleryOption = None,
    find: FindOptions,
    json: JsonOption = False,
) -> None:
    """Serve recognition and style over HTTP, with a page to look at. Ctrl-C ends it."""
    settings = make_settings(
        host=host,
        port=port,
        demand_keys=True if keys else None,
        models=models,
        state=state,
        keep_chips=keep_chips,
        embedder=embedder,
        threads=threads,
        queue=queue,
        max_bytes=max_mb * 1024 * 1024,
        max_faces=max_faces,
        max_people=max_people,
        requests_per_minute=rate,
        gallery=None if gallery is None else Path(gallery),
        min_size=find.min_size,
        min_score=find.min_score,
    )
    run_service(settings, page=page, json=json)


def make_settings(**values: Any) -> Settings:
    """Return the service's settings.

    Raises:
        InputError: If one of them is out of range.
        MissingExtraError: If the service is not installed.
    """
    from pydantic import ValidationError

    from limner.service import check_extra

    check_extra()
    from limner.service.settings import Settings

    try:
        return Settings(**values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]).replace("_", "-")
        words = first["msg"].removeprefix("Value error, ")
        raise InputError(f"{where}: {words}" if where else words) from error


def run_service(settings: Settings, *, page: bool, json: bool = False) -> None:
    """Fetch the weights, build the application, and serve it until Ctrl-C.

    Args:
        settings: Of the service.
        page: Whether the page is served as well.
        json: Whether the address is printed as a JSON document.
    """
    from limner.service import create_app
    from limner.service.run import serve as listen
    from limner.service.work import fetch_weights

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    _fetch(settings)
    app = create_app(settings)
    _check_keys(settings, app)
    if page:
        from limner.studio import mount_page

        mount_page(app)

    def told(address: str) -> None:
        threading.Thread(target=fetch_weights, name="limner-fetch", daemon=True).start()
        if json:
            output.emit_json({"address": address, "page": page})
        else:
            print(address, flush=True)
            output.note("Ctrl-C ends it.")

    try:
        listen(app, on_address=told)
    finally:
        app.state.limner.close()


def _fetch(settings: Settings) -> None:
    """Fetch the weights with a bar, and refuse a gallery that cannot be opened."""
    from limner import weights
    from limner.gallery import Gallery
    from limner.weights.registry import DEFAULT_EMBEDDER, embedder_named

    with Gallery.open(settings.gallery, create=True) as gallery:
        embedder = settings.embedder or embedder_named(gallery.embedder_id) or DEFAULT_EMBEDDER
    for name in ("yunet", embedder):
        if name in weights.names():
            with output.fetch_progress() as progress:
                weights.load(name, progress=progress)


def _check_keys(settings: Settings, app: Any) -> None:
    if not settings.keys_demanded:
        return
    if not any(key.revoked is None for key in app.state.limner.keys.all()):
        raise InputError(
            "every request needs an API key (--keys, or an address that other machines reach), and "
            "there is none yet: make one with `limner keys make LABEL --scope admin`."
        )
    output.note("every request needs an API key; put TLS in front of it (docs/service.md).")
