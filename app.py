"""The studio on Hugging Face Spaces: the page alone, for visitors who do not know each other.

A Space is public, so nobody is enrolled from it: two sample people are known, everything else
works, and nobody sees what another one paints. Duplicate the Space, make it private and set
the variable ``LIMNER_ENROL=1`` to enrol people of your own; they are kept in its storage.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
import threading
from collections.abc import AsyncIterator
from pathlib import Path

from fastapi import FastAPI

from limner.service import Settings
from limner.service.engine import Engine
from limner.service.run import serve
from limner.service.work import fetch_weights
from limner.studio import mount_page, pictures

PORT = int(os.environ.get("PORT", "7860"))


def make_app(folder: Path, *, can_enrol: bool) -> FastAPI:
    """Return the page without the HTTP interface.

    Args:
        folder: Of the gallery and the jobs.
        can_enrol: Whether visitors may enrol people.
    """
    settings = Settings(
        gallery=folder / "gallery.limner",
        state=folder / "service",
        host="0.0.0.0",
        port=PORT,
        keep_results_h=1,
    )
    engine = Engine(settings)

    def begin() -> None:
        engine.open_or_log()
        threading.Thread(target=fetch_weights, name="limner-fetch", daemon=True).start()
        if engine.ready and not can_enrol:
            introduce(engine)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        loading = asyncio.create_task(asyncio.to_thread(begin))
        try:
            yield
        finally:
            await loading
            await asyncio.to_thread(engine.close)

    app = FastAPI(
        title="limner", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan
    )
    app.state.limner = engine
    return mount_page(app, can_enrol=can_enrol, strangers=True)


def introduce(engine: Engine) -> None:
    """Enrol the two people of the samples."""
    for name, photo in pictures.portraits().items():
        if name not in engine.gallery:
            face = engine.look(photo)[0]
            if face.embedding is not None:
                engine.gallery.enroll(name, face.embedding, photo="sample")


if __name__ == "__main__":
    storage = os.environ.get("LIMNER_DATA")
    home = Path(storage) if storage else Path(tempfile.mkdtemp(prefix="limner-space-"))
    page = make_app(home, can_enrol=os.environ.get("LIMNER_ENROL") == "1")
    serve(page)
