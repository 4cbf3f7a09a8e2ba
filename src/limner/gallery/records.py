"""What a gallery takes in and gives back: frozen values, each with `to_json`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from limner.errors import InputError
from limner.types import BoxXYXY, box_iou

SAME_FACE_IOU = 0.5


def same_box(a: BoxXYXY | None, b: BoxXYXY | None) -> bool:
    """Tell whether two boxes of one photo may mean one face; unknown ones may."""
    return a is None or b is None or box_iou(a, b) > SAME_FACE_IOU


@dataclass(frozen=True)
class PhotoRef:
    """Where an embedding came from. The photo itself is never stored.

    Attributes:
        name: How the photo is called in reports, usually its path.
        digest: SHA-256 of the photo's bytes as hexadecimal digits, if known.
        box_xyxy: The face in that photo, pixels.
        score: The detector's confidence in [0, 1].
    """

    name: str
    digest: str | None = None
    box_xyxy: BoxXYXY | None = None
    score: float | None = None

    def __post_init__(self) -> None:
        if self.digest is not None and not (
            len(self.digest) == 64 and set(self.digest) <= set("0123456789abcdef")
        ):
            raise InputError(f"digest must be 64 hexadecimal digits, got {self.digest!r}.")
        if self.box_xyxy is not None:
            x0, y0, x1, y1 = self.box_xyxy
            if not np.isfinite(self.box_xyxy).all() or x1 <= x0 or y1 <= y0:
                raise InputError(
                    f"box_xyxy must be finite with x1 > x0 and y1 > y0, got {self.box_xyxy}."
                )
        if self.score is not None and not 0.0 <= self.score <= 1.0:
            raise InputError(f"score must lie in [0, 1], got {self.score}.")


@dataclass(frozen=True)
class Person:
    """A person in a gallery.

    Attributes:
        name: As it was enrolled.
        photos: How many embeddings the person has, one for each enrolled face.
        note: Free text; empty for none.
        created: When the person was enrolled first, UTC, ISO 8601.
        id: Stays the same under any name, and is never given twice.
    """

    name: str
    photos: int
    note: str
    created: str
    id: int = field(compare=False)

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class EnrolledPhoto:
    """One enrolled face of a person.

    Attributes:
        id: Never given twice.
        photo: How the photo was called; None if it had no name.
        digest: SHA-256 of the photo's bytes, if known.
        box_xyxy: The face in that photo, pixels, if known.
        score: The detector's confidence in [0, 1], if known.
        created: When it was enrolled, UTC, ISO 8601.
        has_chip: Whether the face's crop is kept.
        quality: How well the face can be judged, in [0, 1], if known.
        reason: Why it is too poor to judge by, in words; None where it is not.
    """

    id: int
    photo: str | None
    digest: str | None
    box_xyxy: BoxXYXY | None
    score: float | None
    created: str
    has_chip: bool
    quality: float | None = None
    reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class ReviewedPhoto(EnrolledPhoto):
    """One enrolled face of a person, beside the others of that person.

    Attributes:
        distance: To the nearest of the person's other faces, squared L2 in [0, 4]; None where
            there is no other.
        threshold: tau of verification; None where the embedder has no calibration.
        odd: Whether the distance is larger than that: it may be somebody else. Of two photos
            that are far apart both are odd.
    """

    distance: float | None = None
    threshold: float | None = None
    odd: bool = False


@dataclass(frozen=True)
class FarFace:
    """A face that is far from all the others of a person.

    Attributes:
        place: Which of the faces that were asked about, from 0.
        distance: To the nearest of the others, squared L2 in [0, 4].
        threshold: tau of verification, which is smaller.
    """

    place: int
    distance: float
    threshold: float


@dataclass(frozen=True)
class ExportNote:
    """One export of a gallery: a file that may still hold people who were forgotten since.

    Attributes:
        file: Its name, without the folder.
        created: UTC, ISO 8601.
        people: How many people it holds.
    """

    file: str
    created: str
    people: int

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class PhotoProblem:
    """A photo that was left out, and why, in one sentence."""

    photo: str
    reason: str

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class EnrollResult:
    """What became of an enrolment.

    Attributes:
        person: The name under which the person is known.
        added: How many embeddings were added; all of them are on the disk.
        total: How many the person has now.
        warnings: Sentences: look-alikes nearer than tau, the same face under two names, faces too
            poor to judge by, faces far from the person's others.
        skipped: Names of photos that were enrolled already; ``face 2`` where one has no name.
        failed: Photos that could not be used, with the reasons.
        created: Whether the person is new.
    """

    person: str
    added: int
    total: int
    warnings: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    failed: tuple[PhotoProblem, ...] = ()
    created: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class LookAlike:
    """One rank of a look-alike list: no verdict.

    Attributes:
        person: The name.
        distance: Of the nearest embedding, squared L2 in [0, 4].
        probability: Calibrated probability that it is the same person; None where the
            embedder has no calibration.
    """

    person: str
    distance: float
    probability: float | None

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class GalleryInfo:
    """What a gallery is.

    Attributes:
        location: The file.
        embedder_id: The embedder that it is pinned to; None before the first enrolment.
        dim: Width of the embeddings; None before the first enrolment.
        people: How many.
        faces: How many embeddings.
        chips: How many of them have their chip kept.
        created: UTC, ISO 8601.
        bytes: Size of the database file.
        read_only: Whether it can be changed from here.
        schema: Version of the tables.
        index: ``exact``, or what the saved approximate index is.
        calibration: Where tau comes from, in words; None if there is none.
        verify_threshold: Default tau of 1:1 verification, squared L2.
        identify_threshold: Default tau of identification at this size.
    """

    location: str
    embedder_id: str | None
    dim: int | None
    people: int
    faces: int
    chips: int
    created: str
    bytes: int
    read_only: bool
    schema: int
    index: str
    calibration: str | None
    verify_threshold: float | None
    identify_threshold: float | None

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class TransferReport:
    """What an export or an import moved.

    Attributes:
        path: The portable file.
        people: People in the file.
        faces: Embeddings in the file.
        added: Embeddings that were added (import).
        skipped: Embeddings that were there already, or whose person was skipped (import).
        chips: Chips in the file.
        bytes: Size of the file.
    """

    path: str
    people: int
    faces: int
    added: int = 0
    skipped: int = 0
    chips: int = 0
    bytes: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class ImportReport:
    """What became of a folder of people.

    Attributes:
        people: How many people's folders were read.
        photos: How many photos they hold.
        added: Embeddings added by this run.
        already: Photos that were enrolled before this run.
        failed: Photos left out, with the reasons.
        warnings: Sentences, as in `EnrollResult`.
    """

    people: int
    photos: int
    added: int
    already: int
    failed: tuple[PhotoProblem, ...] = ()
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class ReembedReport:
    """What became of a change of embedder.

    Attributes:
        old_embedder_id: Before.
        embedder_id: Now.
        from_chips: Embeddings made anew from kept chips.
        from_photos: Embeddings made anew from photos.
        dropped: Faces that could not be made anew and were left out, with the reasons.
    """

    old_embedder_id: str | None
    embedder_id: str
    from_chips: int
    from_photos: int
    dropped: tuple[PhotoProblem, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class CalibrationReport:
    """What a calibration rests on.

    Attributes:
        false_match_rate: What was asked for, per comparison of two photos.
        threshold: tau, squared L2.
        slope: Of the pair head; P = sigma(slope (tau - d)).
        people: How many people.
        photos: How many photos of them.
        same_pairs: Pairs of one person.
        different_pairs: Pairs of two people's photos.
        people_pairs: Pairs of two people: what counts as independent.
        false_matches: Different pairs at or below tau.
        false_match_upper: Upper end of the 95 % interval of the rate, over people pairs.
        same_found: Share of the same pairs at or below tau.
    """

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
    left_out: tuple[PhotoProblem, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return asdict(self)
