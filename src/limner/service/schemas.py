"""What requests and answers look like over HTTP; each with an example."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

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
}
_MATCH: dict[str, Any] = {
    "verdict": "recognised",
    "person": "Eileen Collins",
    "person_id": 7,
    "distance": 0.2113,
    "threshold": 0.5871,
    "probability": 0.9993,
}
_PERSON: dict[str, Any] = {
    "id": 7,
    "name": "Eileen Collins",
    "photos": 2,
    "note": "",
    "created": "2026-11-22T05:00:00.000+00:00",
}
_PHOTO: dict[str, Any] = {
    "id": 31,
    "photo": "portrait.jpg",
    "digest": "5b1d" * 16,
    "box_xyxy": [173.2, 62.9, 282.1, 213.6],
    "score": 0.9317,
    "created": "2026-11-22T05:00:00.000+00:00",
    "has_chip": False,
}
_JOB: dict[str, Any] = {
    "id": "vZ2mJc1dHYqk5c0zQn3pT8aB",
    "kind": "style",
    "status": "running",
    "progress": 0.42,
    "message": "step 64 of 153, 512 x 384",
    "created": "2026-11-22T05:00:00.000+00:00",
    "has_preview": True,
}


class _Schema(BaseModel):
    model_config = ConfigDict(extra="forbid")


def _example(value: dict[str, Any]) -> ConfigDict:
    return ConfigDict(extra="forbid", json_schema_extra={"examples": [value]})


class ErrorBody(_Schema):
    """What went wrong."""

    type: str = Field(description="The error's word, such as FaceCountError.")
    message: str = Field(description="What was wrong, and what to do.")
    request: str = Field(description="The request's id, for whoever reads the log.")


class Error(_Schema):
    """Every answer that is not a success."""

    model_config = _example(
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


class FaceOut(_Schema):
    """A face in a photo."""

    model_config = _example(_FACE)
    box_xyxy: list[float] = Field(description="Left, top, right, bottom; pixels.")
    landmarks_xy: list[list[float]] = Field(description="Eye, eye, nose, mouth, mouth; pixels.")
    score: float = Field(description="The detector's confidence, 0 to 1.")


class Detected(_Schema):
    """The faces of a photo, the largest first."""

    model_config = _example({"size_hw": [512, 512], "faces": [_FACE]})
    size_hw: list[int] = Field(description="Height and width of the upright photo, pixels.")
    faces: list[FaceOut]


class EmbeddedFace(FaceOut):
    """A face with its embedding."""

    model_config = _example({**_FACE, "embedding": [0.0412, -0.1103]})
    embedding: list[float] = Field(description="Unit vector.")


class Embedded(_Schema):
    """The faces of a photo with their embeddings, the largest first."""

    model_config = _example(
        {
            "embedder_id": "facenet-92c3c3f568c4-p2",
            "size_hw": [512, 512],
            "faces": [{**_FACE, "embedding": [0.0412, -0.1103]}],
        }
    )
    embedder_id: str
    size_hw: list[int]
    faces: list[EmbeddedFace]


class Judged(_Schema):
    """The answer to "are these the same person?"."""

    verdict: Literal["same", "different"]
    distance: float = Field(description="Small means alike; squared L2 of unit vectors, 0 to 4.")
    threshold: float = Field(description="The verdict is `same` up to this distance.")
    probability: float | None = Field(description="Calibrated; null without a calibration.")


class Compared(Judged):
    """Two photos compared."""

    model_config = _example(
        {
            "verdict": "same",
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

    model_config = _example(
        {
            "verdict": "same",
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


class MatchOut(_Schema):
    """Who a face is."""

    model_config = _example(_MATCH)
    verdict: Literal["recognised", "not_recognised"]
    person: str | None
    person_id: int | None
    distance: float | None = Field(description="To the nearest person; null in an empty gallery.")
    threshold: float
    probability: float | None


class IdentifiedFace(FaceOut):
    """A face and who it is."""

    model_config = _example({**_FACE, "match": _MATCH})
    match: MatchOut


class Identified(_Schema):
    """The faces of a photo and who they are, the largest face first."""

    model_config = _example({"size_hw": [512, 512], "faces": [{**_FACE, "match": _MATCH}]})
    size_hw: list[int]
    faces: list[IdentifiedFace]


class LookAlikeOut(_Schema):
    """One rank of a look-alike list."""

    person: str
    distance: float
    probability: float | None


class LookAlikes(_Schema):
    """Who looks most alike, without a verdict."""

    model_config = _example(
        {
            "face": _FACE,
            "people": [{"person": "Eileen Collins", "distance": 0.21, "probability": 0.9991}],
        }
    )
    face: FaceOut
    people: list[LookAlikeOut]


class PersonOut(_Schema):
    """A person in the gallery."""

    model_config = _example(_PERSON)
    id: int
    name: str
    photos: int
    note: str
    created: str


class People(_Schema):
    """Everybody, by name."""

    model_config = _example({"count": 1, "people": [_PERSON]})
    count: int = Field(description="How many there are in all.")
    people: list[PersonOut]


class PhotoOut(_Schema):
    """One enrolled face. The photo itself is not kept."""

    model_config = _example(_PHOTO)
    id: int
    photo: str | None
    digest: str | None
    box_xyxy: list[float] | None
    score: float | None
    created: str
    has_chip: bool


class PersonWithPhotos(PersonOut):
    """A person and the photos that are enrolled."""

    model_config = _example({**_PERSON, "enrolled": [_PHOTO]})
    enrolled: list[PhotoOut]


class Problem(_Schema):
    """A photo that was left out, and why."""

    photo: str
    reason: str


class Enrolled(_Schema):
    """What became of an enrolment; what was added is on the disk."""

    model_config = _example(
        {
            "id": 7,
            "person": "Eileen Collins",
            "added": 2,
            "total": 2,
            "created": True,
            "warnings": [],
            "skipped": [],
            "failed": [],
        }
    )
    id: int
    person: str
    added: int
    total: int
    created: bool
    warnings: list[str]
    skipped: list[str]
    failed: list[Problem]


class Change(_Schema):
    """What to change about a person; what is missing stays."""

    model_config = _example({"name": "Eileen Marie Collins"})
    name: str | None = Field(default=None, max_length=1000)
    note: str | None = Field(default=None, max_length=20_000)


class Into(_Schema):
    """Whom to merge a person into."""

    model_config = _example({"into": 9})
    into: int = Field(ge=0, le=2**53 - 1)


class Export(_Schema):
    """A file that may still hold people who were forgotten since."""

    file: str
    created: str
    people: int


class Forgotten(_Schema):
    """A person who was deleted: rows, log, index and free space hold nothing of theirs."""

    model_config = _example(
        {
            "id": 7,
            "photos": 2,
            "vacuumed": True,
            "exports": [
                {"file": "copy.zip", "created": "2026-11-21T18:00:00.000+00:00", "people": 40}
            ],
        }
    )
    id: int
    photos: int
    vacuumed: bool = Field(description="Whether the file was rewritten without the free space.")
    exports: list[Export] = Field(description="Copies that still may hold them; delete them, too.")


class Left(_Schema):
    """How many photos a person has left."""

    model_config = _example({"id": 7, "photos": 1, "exports": []})
    id: int
    photos: int
    exports: list[Export]


class Rate(_Schema):
    """What to calibrate for."""

    model_config = _example({"false_match_rate": 0.001})
    false_match_rate: float = Field(
        0.001, gt=0, le=0.5, description="Wrong matches per comparison, at most."
    )


class Calibrated(_Schema):
    """A threshold and what it rests on."""

    model_config = _example(
        {
            "false_match_rate": 0.001,
            "threshold": 0.71,
            "slope": 12.4,
            "people": 120,
            "photos": 480,
            "same_pairs": 720,
            "different_pairs": 114240,
            "people_pairs": 7140,
            "false_matches": 114,
            "false_match_upper": 0.0021,
            "same_found": 0.985,
        }
    )
    false_match_rate: float
    threshold: float
    slope: float
    people: int
    photos: int
    same_pairs: int
    different_pairs: int
    people_pairs: int
    false_matches: int
    false_match_upper: float
    same_found: float


class JobOut(_Schema):
    """A job."""

    model_config = _example(_JOB)
    id: str
    kind: str
    status: Literal["queued", "running", "done", "failed", "cancelled", "lost"]
    progress: float = Field(ge=0, le=1)
    message: str
    created: str
    has_preview: bool


class JobList(_Schema):
    """The caller's jobs, the newest first."""

    model_config = _example({"jobs": [_JOB]})
    jobs: list[JobOut]


class Info(_Schema):
    """What this service is and holds."""

    model_config = _example(
        {
            "version": "0.1.0",
            "embedder_id": "facenet-92c3c3f568c4-p2",
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


class Health(_Schema):
    """Whether the process lives, or is ready."""

    model_config = _example({"status": "ok"})
    status: str
