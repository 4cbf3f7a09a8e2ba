"""The application: routes, guard, errors and OpenAPI around one engine."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator
from importlib.metadata import version
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match

from limner.errors import LimnerError
from limner.service.asking import each_once
from limner.service.engine import Engine
from limner.service.errors import Answer, answer_to, without_paths
from limner.service.guard import Guard
from limner.service.openapi import describe
from limner.service.routes import faces, health, jobs, models, people
from limner.service.settings import Settings

LOG = logging.getLogger("limner.service")
_ROUTERS = tuple(part.router for part in (health, faces, people, jobs, models))
_WORDS = {
    408: "TooSlow",
    404: "UnknownPath",
    405: "MethodNotAllowed",
    413: "TooLarge",
    422: "InvalidRequest",
}


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build the service.

    `app.state.limner` is the `limner.service.engine.Engine` that requests share; the page calls
    it in this process. Weights and index are loaded in the background when the server starts:
    ``/readyz`` says when they are there.

    Args:
        settings: What it is started with; the defaults if None.

    Returns:
        The application; run it with `limner.service.run.serve`, or mount a page onto it.

    Raises:
        ServiceError: If the state folder cannot be used.
    """
    engine = Engine(settings or Settings())

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        loading = asyncio.create_task(asyncio.to_thread(engine.open_or_log))
        try:
            yield
        finally:
            await loading
            await asyncio.to_thread(engine.close)

    app = FastAPI(
        title="limner",
        version=version("limner"),
        summary="Know a face, paint a picture.",
        docs_url=None,  # their pages load scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.limner = engine
    for router in _ROUTERS:
        app.include_router(router, dependencies=[Depends(each_once)])
    app.add_middleware(Guard, engine=engine)
    _add_handlers(app, engine)
    app.openapi = lambda: describe(app)  # type: ignore[method-assign]
    return app


def _add_handlers(app: FastAPI, engine: Engine) -> None:
    async def failed(request: Request, error: Exception) -> JSONResponse:
        return _respond(request, answer_to(error, secrets=_secrets(engine)), error)

    async def invalid(request: Request, error: Exception) -> JSONResponse:
        words = _invalid_words(error) if isinstance(error, RequestValidationError) else str(error)
        return _respond(request, Answer(422, "InvalidRequest", without_paths(words)), error)

    async def refused(request: Request, error: Exception) -> JSONResponse:
        status = error.status_code if isinstance(error, HTTPException) else 500
        status = 422 if status == 400 else status  # a body that cannot be parsed
        detail = str(getattr(error, "detail", "")).rstrip(".").lower()
        answer = Answer(status, _WORDS.get(status, "Refused"), without_paths(f"{detail}."))
        response = _respond(request, answer, error)
        if status == 405:
            response.headers["allow"] = ", ".join(_allowed(request))
        return response

    app.add_exception_handler(HTTPException, refused)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(LimnerError, failed)  # any other exception is the guard's


def _allowed(request: Request) -> list[str]:
    """Return the methods of every route that a path has, not of the first one alone."""
    found: set[str] = set()
    for router in _ROUTERS:  # an application's own list need not show them
        for route in router.routes:
            if route.matches(request.scope)[0] is not Match.NONE:
                found |= getattr(route, "methods", None) or set()
    return sorted(found)


def _secrets(engine: Engine) -> list[str]:
    chosen = engine.settings
    found = [str(chosen.state_folder), str(chosen.models or "")]
    with contextlib.suppress(Exception):
        found.append(engine.gallery.location)
    return found


def _respond(request: Request, answer: Answer, error: Exception) -> JSONResponse:
    number = request.scope.get("state", {}).get("request", "")
    if answer.ours:
        LOG.error("request %s failed: %s", number, error, exc_info=error)
    words = {"type": answer.kind, "message": answer.message, "request": number}
    response = JSONResponse({"error": words}, answer.status)
    if answer.retry_after_s is not None:
        response.headers["retry-after"] = str(answer.retry_after_s)
    return response


def _invalid_words(error: RequestValidationError) -> str:
    """Return the first three mistakes in words; what was sent is not repeated."""
    found: list[dict[str, Any]] = list(error.errors())
    parts = []
    for one in found[:3]:
        where = ".".join(str(part) for part in one.get("loc", ())[1:]) or "the body"
        parts.append(f"{json.dumps(where)[1:-1][:100]}: {one.get('msg', 'is not valid')}")
    more = f" (and {len(found) - 3} more)" if len(found) > 3 else ""
    return f"the request is not valid: {'; '.join(parts)}{more}."
