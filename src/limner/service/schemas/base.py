"""What all schemas share: the shape of errors, health, what the service is."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Schema(BaseModel):
    """Base of all schemas: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


def example(value: dict[str, Any]) -> ConfigDict:
    """Return the configuration of a schema with this example."""
    return ConfigDict(extra="forbid", json_schema_extra={"examples": [value]})


class ErrorBody(Schema):
    """What went wrong."""

    type: str = Field(description="The error's word, such as FaceCountError.")
    message: str = Field(description="What was wrong, and what to do.")
    request: str = Field(description="The request's id, for whoever reads the log.")


class Error(Schema):
    """Every answer that is not a success."""

    model_config = example(
        {
            "error": {
                "type": "FaceCountError",
                "message": "no face was found in the photo; use one in which the face is larger "
                "than 20 pixels and turned to the camera.",
                "request": "6f0c2b7a9d1e4f35",
            }
        }
    )
    error: ErrorBody


class Info(Schema):
    """What this service is and holds."""

    model_config = example(
        {
            "version": "0.1.0",
            "embedder_id": "facenet-92c3c3f568c4-p3",
            "people": 40,
            "faces": 96,
            "verify_threshold": 0.7941,
            "identify_threshold": 0.5871,
            "calibration": "shipped: LFW View 1",
            "presentation_attack_detection": False,
            "limits": {"max_bytes": 20971520, "max_pixels": 50000000, "max_faces": 100},
        }
    )
    version: str
    embedder_id: str
    people: int
    faces: int
    verify_threshold: float | None
    identify_threshold: float | None
    calibration: str | None
    presentation_attack_detection: bool = Field(
        description="Always false: a photo of a photo is taken for the person."
    )
    limits: dict[str, int]


class Health(Schema):
    """Whether the process lives, or is ready."""

    model_config = example({"status": "ok"})
    status: str
