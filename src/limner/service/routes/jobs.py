"""Jobs: paint a picture, follow it, fetch it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, File, Form, Path, Response, UploadFile
from fastapi.responses import FileResponse, StreamingResponse

from limner.errors import InputError, ServiceError
from limner.service.asking import Facts, Photo, Reader, Shared, answers, take
from limner.service.engine import Engine
from limner.service.job_rows import Job
from limner.service.schemas import JobList, JobOut
from limner.service.work import CONTENT, FACTS, PREVIEW, RESULT
from limner.style import PRESETS, preset

router = APIRouter(prefix="/v1", tags=["jobs"])
JobId = Annotated[str, Path(max_length=64, description="As the job's answer gave it.")]
Preset = Literal["default", "notes", "classic", "fine", "strokes", "abstract", "portrait"]
Colour = Literal["style", "content", "moments", "histogram"]
_POLL_S = 0.2
_HEARTBEAT_S = 15.0
_MOST_STYLES = 4
_PNG: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/png": {}}, "description": "The picture."}
}
_JPEG: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/jpeg": {}}, "description": "The picture as it forms."}
}
_EVENTS: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            "text/event-stream": {
                "example": 'event: progress\ndata: {"id": "...", "progress": 0.42}\n\n'
            }
        },
        "description": "Events `progress`, and at last `end`; each with the job as JSON.",
    }
}


@router.post(
    "/style",
    summary="Paint a picture",
    status_code=202,
    responses=answers(408, 413),
    tags=["style"],
)
async def style(
    content: Photo,
    engine: Shared,
    key: Reader,
    facts: Facts,
    styles: Annotated[
        list[UploadFile] | None, File(description="Paintings, up to 4; or name a `look`.")
    ] = None,
    method: Annotated[
        Literal["optimise", "fast"],
        Form(description="By the optimiser, in minutes; or at once.", examples=["fast"]),
    ] = "optimise",
    look: Annotated[
        str | None,
        Form(description="A built-in style of method `fast`.", examples=["starry"], max_length=200),
    ] = None,
    preset: Annotated[Preset, Form(description="Of method `optimise`.")] = "default",
    size: Annotated[int, Form(ge=64, le=8192, description="Longer side, pixels.")] = 512,
    strength: Annotated[
        float | None, Form(ge=0, le=1, description="Default: 0.5; 1 for method `fast`.")
    ] = None,
    colour: Annotated[Colour, Form(description="Whose colours; of `optimise`.")] = "style",
    style_scale: Annotated[float, Form(ge=0.05, le=20, description="Brush size.")] = 1.0,
    steps: Annotated[int | None, Form(ge=3, le=2000, description="Of `optimise`.")] = None,
    seed: Annotated[int, Form(ge=0, le=2**31 - 1, description="Of `optimise`.")] = 0,
) -> JobOut:
    """Queue a painting: the content in the manner of one or several paintings."""
    files = {CONTENT: (await take(content, called="content")).data}
    for number, upload in enumerate(styles or []):
        files[f"style{number}"] = (await take(upload, called=f"style {number + 1}")).data
    if size > engine.settings.max_style_px:
        raise InputError(
            f"size must be at most {engine.settings.max_style_px} pixels here, got {size}."
        )
    parameters: dict[str, Any] = {
        "method": method,
        "look": look,
        "preset": preset,
        "size": size,
        "strength": strength if strength is not None else (1.0 if method == "fast" else 0.5),
        "colour": colour,
        "style_scale": style_scale,
        "steps": steps,
        "seed": seed,
    }
    await engine.run(_check, engine, parameters, files)
    job = await engine.run(engine.jobs.submit, "style", parameters, files, key)
    facts["job"] = job.id
    return JobOut(**job.to_json())


def _check(engine: Engine, wanted: dict[str, Any], files: dict[str, bytes]) -> None:
    """Refuse now what could only fail later."""
    count = len(files) - 1
    if count > _MOST_STYLES:
        raise InputError(f"up to {_MOST_STYLES} paintings are blended, got {count}.")
    if wanted["method"] == "fast" and (wanted["look"] is None) == (count == 0):
        raise InputError("method fast needs either paintings or a look, and not both.")
    if wanted["method"] == "optimise" and (wanted["look"] is not None or count == 0):
        raise InputError("method optimise needs at least one painting, and takes no look.")
    if wanted["look"] is not None:
        from limner.style.fast import parse_builtin

        try:
            parse_builtin(wanted["look"])
        except InputError as error:  # an option, not a resource: 422
            raise InputError(str(error)) from error
    chosen = PRESETS[wanted["preset"]]
    if wanted["steps"] is not None and wanted["steps"] < len(chosen.levels):
        raise InputError(f"this preset needs at least {len(chosen.levels)} steps.")
    preset(wanted["preset"], size=wanted["size"], strength=wanted["strength"])
    for data in files.values():
        picture = engine.read_now(data)
        if min(picture.shape[:2]) < 32 or max(picture.shape[:2]) > 64 * min(picture.shape[:2]):
            raise InputError("a picture must have at least 32 pixels on its shorter side.")


@router.get("/jobs", summary="List jobs", responses=answers())
async def jobs(engine: Shared, key: Reader) -> JobList:
    """List the caller's jobs, the newest first; an admin's key sees all."""
    return JobList(jobs=[JobOut(**job.to_json()) for job in engine.jobs.all(key)])


@router.get("/jobs/{job}", summary="One job", responses=answers(404))
async def job(job: JobId, engine: Shared, key: Reader) -> JobOut:
    """Tell how far a job is."""
    return JobOut(**engine.jobs.find(job, key).to_json())


@router.get(
    "/jobs/{job}/events",
    summary="Follow a job",
    responses={**answers(404), **_EVENTS},
    response_class=StreamingResponse,
)
async def events(job: JobId, engine: Shared, key: Reader) -> StreamingResponse:
    """Follow a job by server-sent events until it ends, or the service stops."""
    found = engine.jobs.find(job, key)
    return StreamingResponse(_events(engine, found), media_type="text/event-stream")


async def _events(engine: Engine, job: Job) -> AsyncIterator[bytes]:
    seen, waited = -1, 0.0
    while True:
        version, is_open = job.version, job.is_open
        if version != seen or not is_open:
            seen, waited = version, 0.0
            kind = "progress" if is_open else "end"
            yield f"event: {kind}\ndata: {json.dumps(job.to_json())}\n\n".encode()
        if not is_open or engine.stopping.is_set():
            return
        await asyncio.sleep(_POLL_S)
        waited += _POLL_S
        if waited >= _HEARTBEAT_S:
            waited = 0.0
            yield b": still here\n\n"


@router.get(
    "/jobs/{job}/preview",
    summary="The picture as it forms",
    responses={**answers(404), **_JPEG},
    response_class=Response,
)
async def preview(job: JobId, engine: Shared, key: Reader) -> Response:
    """Return the picture as it is now, as a small JPEG."""
    found = engine.jobs.find(job, key)
    path = engine.jobs.file(found, PREVIEW)
    data = found.preview if path is None else await engine.run(path.read_bytes)
    if data is None:
        raise ServiceError("there is no preview yet.", status=404, kind="NoResult")
    return Response(data, media_type="image/jpeg")


@router.get(
    "/jobs/{job}/result",
    summary="The result",
    responses={**answers(404, 409), **_PNG},
    response_class=FileResponse,
)
async def result(job: JobId, engine: Shared, key: Reader) -> FileResponse:
    """Return the painted picture as PNG; 409 while the job is not done."""
    found = engine.jobs.find(job, key)
    path = engine.jobs.file(found, RESULT)
    if path is None:
        raise ServiceError(
            f"the job has no result: it is {found.status}.", status=409, kind="NoResult"
        )
    words = engine.jobs.file(found, FACTS)
    headers = {} if words is None else {"x-limner-facts": words.read_text("utf-8")}
    return FileResponse(path, media_type="image/png", filename="painted.png", headers=headers)


@router.post("/jobs/{job}/cancel", summary="Cancel a job", responses=answers(404))
async def cancel(job: JobId, engine: Shared, key: Reader) -> JobOut:
    """Ask a job to end; what has ended stays as it is."""
    found = engine.jobs.find(job, key)
    await engine.run(engine.jobs.cancel, found)
    return JobOut(**found.to_json())


@router.delete("/jobs/{job}", summary="Delete a job", status_code=204, responses=answers(404))
async def delete(job: JobId, engine: Shared, key: Reader) -> None:
    """Cancel a job if it runs, and delete everything of it."""
    await engine.run(engine.jobs.delete, engine.jobs.find(job, key))
