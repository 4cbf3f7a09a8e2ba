"""Whether the service lives, is ready, and what it does."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, Response

from limner.errors import ServiceError
from limner.service.asking import Reader, Shared, answers
from limner.service.schemas import Error, Health, Info

router = APIRouter(tags=["service"])
_TEXT: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {"text/plain": {"example": "limner_people 40.0\n"}},
        "description": "Prometheus's text format.",
    }
}


@router.get("/healthz", summary="Is it alive?")
async def healthz() -> Health:
    """Say that the process answers."""
    return Health(status="ok")


@router.get("/readyz", summary="Is it ready?", responses={503: {"model": Error}})
async def readyz(engine: Shared) -> Health:
    """Say whether photos can be answered: weights loaded, gallery open, workers running."""
    if engine.ready:
        return Health(status="ready")
    words = "the weights are being loaded"
    if engine.stopping.is_set():
        words = "the service is stopping"
    elif engine.problem is not None:
        words = "the service could not start; its log says why"
    elif engine.opened:
        words = "a part of the service has ended; its log says why"
    raise ServiceError(f"{words}.", status=503, kind="NotReady", retry_after_s=2)


@router.get(
    "/metrics",
    summary="Figures for Prometheus",
    responses={**answers(), **_TEXT},
    response_class=Response,
)
async def metrics(engine: Shared, key: Reader) -> Response:
    """Return counters and gauges in Prometheus's text format."""
    await engine.count_people()
    text = engine.measures.text()
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


@router.get("/v1/info", summary="What is here?", responses=answers())
async def info(engine: Shared, key: Reader) -> Info:
    """Tell the embedder, the thresholds, the limits and how many people there are."""
    found = await engine.run(engine.gallery.info)
    chosen = engine.settings
    names = ("max_bytes", "max_pixels", "max_faces", "max_photos", "max_people")
    limits = {name: getattr(chosen, name) for name in (*names, "requests_per_minute", "queue")}
    return Info(
        version=version("limner"),
        embedder_id=engine.pool.embedder.embedder_id,
        people=found.people,
        faces=found.faces,
        verify_threshold=found.verify_threshold,
        identify_threshold=found.identify_threshold,
        calibration=found.calibration,
        presentation_attack_detection=False,
        limits=limits,
    )
