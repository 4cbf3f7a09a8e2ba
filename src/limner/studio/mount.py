"""Put the page on the service's application."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from limner.service.guard import is_api
from limner.studio.page_guard import PageGuard
from limner.studio.uploads import Uploads

if TYPE_CHECKING:
    from fastapi import FastAPI

_QUIET = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
}


def mount_page(app: FastAPI, *, can_enrol: bool = True, strangers: bool = False) -> FastAPI:
    """Serve the page at ``/`` of an application; its own paths keep what they answer.

    Args:
        app: As `limner.service.create_app` returns it: `app.state.limner` is the engine.
        can_enrol: Whether people may be enrolled, renamed and forgotten from the page; not
            where strangers share it.
        strangers: Whether visitors do not know each other: then nobody sees what another one
            painted, and one's paintings are deleted when one leaves.

    Returns:
        The application.

    Raises:
        MissingExtraError: If Gradio is not installed.
    """
    os.environ.update(_QUIET)
    engine = app.state.limner
    uploads = Uploads(engine.settings.state_folder / "page")
    os.environ["GRADIO_TEMP_DIR"] = str(uploads.folder)
    uploads.watch(engine.stopping)
    import gradio as gr

    from limner.studio.desk import Desk
    from limner.studio.look import script, style_sheet, theme
    from limner.studio.page import build_page

    desk = Desk(engine, can_enrol=can_enrol, strangers=strangers, uploads=uploads.folder)
    blocks = build_page(desk)
    blocks.has_launched = True  # else Gradio copies any file that an event names
    gr.mount_gradio_app(
        app,
        blocks,
        path="/",
        footer_links=[],
        run_history=False,
        show_error=False,
        max_file_size=engine.settings.max_bytes,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=theme(),
        # not as `css`: Gradio rewrites that through the CSSOM, where borders get lost
        head=f"<style>{style_sheet()}</style><script>{script('page.js')}</script>",
    )
    _fence(app, uploads, engine.settings.max_bytes)
    return app


def _fence(app: FastAPI, uploads: Uploads, max_bytes: int) -> None:
    """Let the page answer its own paths alone: an unknown ``/v1`` path stays a 404."""
    from starlette.routing import Match, Mount

    mount = app.router.routes[-1]
    if not isinstance(mount, Mount):
        raise TypeError("the page is not where Gradio mounts it.")
    mount.app = PageGuard(mount.app, uploads=uploads.folder, max_bytes=max_bytes)
    matches = mount.matches

    def unless_api(scope: Any) -> Any:
        return (Match.NONE, {}) if is_api(scope["path"]) else matches(scope)

    mount.matches = unless_api  # type: ignore[method-assign]
