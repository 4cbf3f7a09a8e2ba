"""What `limner.Client` returns: frozen values, read from the service's JSON."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from limner.types import BoxXYXY, Embedding, Face, FloatArray, Head, Match, Pair

_T = TypeVar("_T")


@dataclass(frozen=True)
class PhotoAnswer(Generic[_T]):
    """The faces of a photo.

    Attributes:
        size_hw: Height and width of the upright photo, pixels.
        faces: The largest first.
    """

    size_hw: tuple[int, int]
    faces: list[_T]


@dataclass(frozen=True)
class Recognised:
    """A face and who it is.

    Attributes:
        face: Where.
        match: Who.
        person_id: The person's id; None where nobody was recognised.
    """

    face: Face
    match: Match
    person_id: int | None


@dataclass(frozen=True)
class Comparison:
    """Two photos compared.

    Attributes:
        pair: The verdict.
        a: The face in the first photo.
        b: The face in the second.
    """

    pair: Pair
    a: Face
    b: Face


@dataclass(frozen=True)
class Verification:
    """A photo held against one person.

    Attributes:
        pair: The verdict.
        person: The name as it is stored.
        person_id: The person's id.
        face: The face in the photo.
    """

    pair: Pair
    person: str
    person_id: int
    face: Face


@dataclass(frozen=True)
class Ranked:
    """One rank of a look-alike list: no verdict."""

    person: str
    distance: float
    probability: float | None


@dataclass(frozen=True)
class Known:
    """A person in the service's gallery."""

    id: int
    name: str
    photos: int
    note: str
    created: str


@dataclass(frozen=True)
class KnownPhoto:
    """One enrolled face of a person; see `limner.gallery.ReviewedPhoto`."""

    id: int
    photo: str | None
    digest: str | None
    box_xyxy: list[float] | None
    score: float | None
    created: str
    has_chip: bool
    quality: float | None
    reason: str | None
    distance: float | None
    threshold: float | None
    odd: bool


@dataclass(frozen=True)
class Enrolment:
    """What became of an enrolment; what was added is on the disk.

    Attributes:
        id: The person's id.
        person: The name as it is stored.
        added: Faces that were added.
        total: Faces that the person has now.
        created: Whether the person is new.
        warnings: Sentences: look-alikes, poor faces, photos far from the person's others.
        skipped: Photos that were enrolled already.
        failed: Photos that could not be used, with the reasons.
    """

    id: int
    person: str
    added: int
    total: int
    created: bool
    warnings: tuple[str, ...]
    skipped: tuple[str, ...]
    failed: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class ForgottenPerson:
    """A person who was deleted.

    Attributes:
        id: The id, which is never given again.
        photos: How many faces were deleted.
        vacuumed: Whether the file was rewritten without the free space.
        exports: Names of exported files that still may hold the person.
    """

    id: int
    photos: int
    vacuumed: bool
    exports: tuple[str, ...]


@dataclass(frozen=True)
class Calibrated:
    """A threshold and what it rests on; see `limner.gallery.CalibrationReport`."""

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


@dataclass(frozen=True)
class JobState:
    """How far a job is.

    Attributes:
        id: Its id.
        kind: What is done.
        status: ``queued``, ``running``, ``done``, ``failed``, ``cancelled`` or ``lost``.
        progress: From 0 to 1.
        message: One sentence.
        created: UTC, ISO 8601.
        has_preview: Whether there is a picture as it forms.
    """

    id: str
    kind: str
    status: str
    progress: float
    message: str
    created: str
    has_preview: bool

    @property
    def is_open(self) -> bool:
        """Whether it waits or runs."""
        return self.status in ("queued", "running")


@dataclass(frozen=True)
class NamedModel:
    """A classifier, or patches of units, that the service was started with."""

    name: str
    kind: str
    classes: list[str]


@dataclass(frozen=True)
class ClassifiedItem:
    """What a model says about one item.

    Attributes:
        name: Of the item.
        label: The likeliest class.
        probability: Of it.
        classes: Classes and probabilities, the likeliest first.
        class_map: How much each place speaks for the label, float32; None if not asked for.
    """

    name: str
    label: str
    probability: float
    classes: dict[str, float]
    class_map: FloatArray | None


@dataclass(frozen=True)
class ExcitedUnit:
    """A unit that a picture excites; the box is what it sees there, in pixels."""

    layer: str
    unit: int
    value: float
    box_xyxy: list[float]
    strength: float | None


@dataclass(frozen=True)
class ServiceInfo:
    """What a service is and holds."""

    version: str
    embedder_id: str
    people: int
    faces: int
    verify_threshold: float | None
    identify_threshold: float | None
    calibration: str | None
    presentation_attack_detection: bool
    limits: dict[str, int]


def face(one: dict[str, Any], embedder_id: str | None = None) -> Face:
    """Return a face from its JSON, with its embedding if it has one."""
    quality, reason = one["quality"], one["reason"]
    vector = one.get("embedding")
    embedding = None
    if vector is not None and embedder_id is not None:
        embedding = Embedding(np.asarray(vector, np.float32), embedder_id, quality, reason)
    x0, y0, x1, y1 = one["box_xyxy"]
    box = (x0, y0, x1, y1)
    return Face(
        box_xyxy=box,
        landmarks_xy=np.asarray(one["landmarks_xy"], np.float32),
        score=one["score"],
        embedding=embedding,
        head=_head(box, one["rotation"]),
        quality=quality,
        reason=reason,
    )


def _head(box_xyxy: BoxXYXY, angle_deg: float) -> Head | None:
    """Return the head in a box, turned so far; its sides are the box's, as they lie best."""
    if not angle_deg:
        return None
    x0, y0, x1, y1 = box_xyxy
    width, height = x1 - x0, y1 - y0
    on_its_side = 45 < abs(angle_deg) < 135
    size = (height, width) if on_its_side else (width, height)
    return Head(((x0 + x1) / 2, (y0 + y1) / 2), size, angle_deg)


def photo(found: dict[str, Any], read: Callable[[dict[str, Any]], _T]) -> PhotoAnswer[_T]:
    """Return the faces of a photo, each read by `read`."""
    height, width = found["size_hw"]
    return PhotoAnswer((height, width), [read(one) for one in found["faces"]])


def recognised(one: dict[str, Any]) -> Recognised:
    """Return a face and who it is."""
    words = dict(one["match"])
    number = words.pop("person_id")
    return Recognised(face(one), Match(**words, nearest=words["person"]), number)


def _pair(found: dict[str, Any]) -> Pair:
    names = ("distance", "threshold", "probability", "verdict", "reason")
    return Pair(**{name: found[name] for name in names})


def comparison(found: dict[str, Any]) -> Comparison:
    """Return two photos compared."""
    return Comparison(_pair(found), face(found["a"]), face(found["b"]))


def verification(found: dict[str, Any]) -> Verification:
    """Return a photo held against one person."""
    return Verification(_pair(found), found["person"], found["person_id"], face(found["face"]))


def classified(found: dict[str, Any]) -> ClassifiedItem:
    """Return what a model says about one item."""
    classes = {one["label"]: one["probability"] for one in found["classes"]}
    sent = found["class_map"]
    class_map = None if sent is None else np.asarray(sent, np.float32)
    return ClassifiedItem(found["name"], found["label"], found["probability"], classes, class_map)


def enrolment(found: dict[str, Any]) -> Enrolment:
    """Return what became of an enrolment."""
    failed = tuple((one["photo"], one["reason"]) for one in found["failed"])
    lists = {name: tuple(found[name]) for name in ("warnings", "skipped")}
    return Enrolment(**{**found, **lists, "failed": failed})


def forgotten(found: dict[str, Any]) -> ForgottenPerson:
    """Return what became of a person who was forgotten."""
    return ForgottenPerson(**{**found, "exports": tuple(one["file"] for one in found["exports"])})
