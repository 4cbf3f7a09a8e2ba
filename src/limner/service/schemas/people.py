"""People, their photos and calibration, in requests and answers."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from limner.service.schemas.base import Schema, example

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
    "quality": 0.93,
    "reason": None,
    "distance": 0.412,
    "threshold": 1.185,
    "odd": False,
}


class PersonOut(Schema):
    """A person in the gallery."""

    model_config = example(_PERSON)
    id: int
    name: str
    photos: int
    note: str
    created: str


class People(Schema):
    """Everybody, by name."""

    model_config = example({"count": 1, "people": [_PERSON]})
    count: int = Field(description="How many there are in all.")
    people: list[PersonOut]


class PhotoOut(Schema):
    """One enrolled face. The photo itself is not kept."""

    model_config = example(_PHOTO)
    id: int
    photo: str | None
    digest: str | None
    box_xyxy: list[float] | None
    score: float | None
    created: str
    has_chip: bool
    quality: float | None = Field(description="How well the face can be judged, in [0, 1].")
    reason: str | None = Field(description="Why it is too poor to judge by; null if it is not.")
    distance: float | None = Field(
        description="To the nearest of the person's other photos; null if there is no other."
    )
    threshold: float | None = Field(description="Of verification.")
    odd: bool = Field(description="Whether the distance is larger: it may be somebody else.")


class PersonWithPhotos(PersonOut):
    """A person and the photos that are enrolled."""

    model_config = example({**_PERSON, "enrolled": [_PHOTO]})
    enrolled: list[PhotoOut]


class Problem(Schema):
    """A photo that was left out, and why."""

    photo: str
    reason: str


class Enrolled(Schema):
    """What became of an enrolment; what was added is on the disk."""

    model_config = example(
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


class Change(Schema):
    """What to change about a person; what is missing stays."""

    model_config = example({"name": "Eileen Marie Collins"})
    name: str | None = Field(default=None, max_length=1000)
    note: str | None = Field(default=None, max_length=20_000)


class Into(Schema):
    """Whom to merge a person into."""

    model_config = example({"into": 9})
    into: int = Field(ge=0, le=2**53 - 1)


class Export(Schema):
    """A file that may still hold people who were forgotten since."""

    file: str
    created: str
    people: int


class Forgotten(Schema):
    """A person who was deleted: rows, log, index and free space hold nothing of theirs."""

    model_config = example(
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


class Left(Schema):
    """How many photos a person has left."""

    model_config = example({"id": 7, "photos": 1, "exports": []})
    id: int
    photos: int
    exports: list[Export]


class Rate(Schema):
    """What to calibrate for."""

    model_config = example({"false_match_rate": 0.001})
    false_match_rate: float = Field(
        0.001, gt=0, le=0.5, description="Wrong matches per comparison, at most."
    )


class Calibrated(Schema):
    """A threshold and what it rests on."""

    model_config = example(
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
