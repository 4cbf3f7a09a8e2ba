"""Faces in answers."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from limner.service.schemas.base import Schema, example

_FACE: dict[str, Any] = {
    "box_xyxy": [173.2, 62.9, 282.1, 213.6],
    "landmarks_xy": [
        [201.2, 113.4],
        [250.1, 113.9],
        [227.0, 141.0],
        [207.3, 166.9],
        [245.6, 167.5],
    ],
    "score": 0.9317,
    "rotation": 0.0,
    "quality": 0.9812,
    "reason": None,
}
_MATCH: dict[str, Any] = {
    "verdict": "recognised",
    "reason": None,
    "person": "Eileen Collins",
    "person_id": 7,
    "distance": 0.2113,
    "threshold": 0.5871,
    "probability": 0.9993,
}


class FaceOut(Schema):
    """A face in a photo."""

    model_config = example(_FACE)
    box_xyxy: list[float] = Field(description="Left, top, right, bottom; pixels.")
    landmarks_xy: list[list[float]] = Field(description="Eye, eye, nose, mouth, mouth; pixels.")
    score: float = Field(description="The detector's confidence, 0 to 1.")
    rotation: float = Field(
        default=0.0, description="How far the head is turned clockwise in the photo, degrees."
    )
    quality: float | None = Field(
        default=None, description="How well the face can be judged, 0 to 1."
    )
    reason: str | None = Field(
        default=None, description="Why the face is too poor to judge by; null where it is not."
    )


class Detected(Schema):
    """The faces of a photo, the largest first."""

    model_config = example({"size_hw": [512, 512], "faces": [_FACE]})
    size_hw: list[int] = Field(description="Height and width of the upright photo, pixels.")
    faces: list[FaceOut]


class EmbeddedFace(FaceOut):
    """A face with its embedding."""

    model_config = example({**_FACE, "embedding": [0.0412, -0.1103]})
    embedding: list[float] = Field(description="Unit vector.")


class Embedded(Schema):
    """The faces of a photo with their embeddings, the largest first."""

    model_config = example(
        {
            "embedder_id": "facenet-92c3c3f568c4-p3",
            "size_hw": [512, 512],
            "faces": [{**_FACE, "embedding": [0.0412, -0.1103]}],
        }
    )
    embedder_id: str
    size_hw: list[int]
    faces: list[EmbeddedFace]


class Judged(Schema):
    """The answer to "are these the same person?"."""

    verdict: Literal["same", "different", "unclear"]
    reason: str | None = Field(default=None, description="Why it is unclear; null where not.")
    distance: float = Field(description="Small means alike; squared L2 of unit vectors, 0 to 4.")
    threshold: float = Field(description="The verdict is `same` up to this distance.")
    probability: float | None = Field(description="Calibrated; null without a calibration.")


class Compared(Judged):
    """Two photos compared."""

    model_config = example(
        {
            "verdict": "same",
            "reason": None,
            "distance": 0.2113,
            "threshold": 0.7941,
            "probability": 0.9991,
            "a": _FACE,
            "b": _FACE,
        }
    )
    a: FaceOut
    b: FaceOut


class Verified(Judged):
    """A photo held against one person."""

    model_config = example(
        {
            "verdict": "same",
            "reason": None,
            "distance": 0.2113,
            "threshold": 0.7941,
            "probability": 0.9991,
            "person": "Eileen Collins",
            "person_id": 7,
            "face": _FACE,
        }
    )
    person: str
    person_id: int
    face: FaceOut


class MatchOut(Schema):
    """Who a face is."""

    model_config = example(_MATCH)
    verdict: Literal["recognised", "not_recognised", "unclear"]
    reason: str | None = Field(default=None, description="Why it is unclear; null where not.")
    person: str | None
    person_id: int | None
    distance: float | None = Field(description="To the nearest person; null in an empty gallery.")
    threshold: float
    probability: float | None


class IdentifiedFace(FaceOut):
    """A face and who it is."""

    model_config = example({**_FACE, "match": _MATCH})
    match: MatchOut


class Identified(Schema):
    """The faces of a photo and who they are, the largest face first."""

    model_config = example({"size_hw": [512, 512], "faces": [{**_FACE, "match": _MATCH}]})
    size_hw: list[int]
    faces: list[IdentifiedFace]


class LookAlikeOut(Schema):
    """One rank of a look-alike list."""

    person: str
    distance: float
    probability: float | None


class LookAlikes(Schema):
    """Who looks most alike, without a verdict."""

    model_config = example(
        {
            "face": _FACE,
            "people": [{"person": "Eileen Collins", "distance": 0.21, "probability": 0.9991}],
        }
    )
    face: FaceOut
    people: list[LookAlikeOut]
