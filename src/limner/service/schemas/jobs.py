"""Jobs in answers."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from limner.service.schemas.base import Schema, example

_JOB: dict[str, Any] = {
    "id": "vZ2mJc1dHYqk5c0zQn3pT8aB",
    "kind": "style",
    "status": "running",
    "progress": 0.42,
    "message": "step 64 of 153, 512 x 384",
    "created": "2026-11-22T05:00:00.000+00:00",
    "has_preview": True,
}


class JobOut(Schema):
    """A job."""

    model_config = example(_JOB)
    id: str
    kind: str
    status: Literal["queued", "running", "done", "failed", "cancelled", "lost"]
    progress: float = Field(ge=0, le=1)
    message: str
    created: str
    has_preview: bool


class JobList(Schema):
    """The caller's jobs, the newest first."""

    model_config = example({"jobs": [_JOB]})
    jobs: list[JobOut]
