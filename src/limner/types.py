"""The values that cross limner's borders: frozen, validated once, on construction.

Conventions: pictures are ``uint8`` RGB, shape (H, W, 3); a box is
``(x0, y0, x1, y1)`` in pixels of the upright photo, the right and bottom edges
exclusive, and may reach beyond the photo; landmarks are five (x, y) points in the
order eye, eye, nose, mouth corner, mouth corner, the left one in the picture first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from limner.errors import InputError, ShapeError

ImageArray = NDArray[np.uint8]
FloatArray = NDArray[np.float32]
BoxXYXY = tuple[float, float, float, float]
Verdict = Literal["same", "different", "unclear"]
Recognition = Literal["recognised", "not_recognised", "unclear"]


def _finite(name: str, value: float) -> None:
    if not np.isfinite(value):
        raise InputError(f"{name} must be a finite number, got {value}.")


def box_iou(a: BoxXYXY, b: BoxXYXY) -> float:
    """Return the area that two boxes share over the area that they cover, in [0, 1]."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    inter = width * height
    area = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return inter / (area - inter)


def two_largest(boxes: Sequence[BoxXYXY]) -> str:
    """Return sizes and places of the first two of several boxes, the largest first, in words."""
    said = [
        f"{x1 - x0:.0f} x {y1 - y0:.0f} pixels at {x0:.0f},{y0:.0f},{x1:.0f},{y1:.0f}"
        for x0, y0, x1, y1 in boxes[:2]
    ]
    return f"{'the largest ' if len(boxes) > 2 else ''}{' and '.join(said)}"


def _probability(value: float | None) -> None:
    if value is not None and not 0.0 <= value <= 1.0:
        raise InputError(f"probability must lie in [0, 1], got {value}.")


def _quality(quality: float | None) -> None:
    if quality is not None and not 0.0 <= quality <= 1.0:
        raise InputError(f"quality must lie in [0, 1], got {quality}.")


def _unclear(verdict: str, reason: str | None) -> None:
    if (verdict == "unclear") != (reason is not None):
        raise InputError(f"an unclear verdict has a reason, and only that; got {verdict!r}.")


@dataclass(frozen=True, eq=False)
class Embedding:
    """One embedding and the embedder that made it.

    Attributes:
        vector: Shape (D,), float32, unit length.
        embedder_id: Name, weights digest and preprocessing version of the embedder.
        quality: The quality of the face it was made of, as `Face.quality`; None if not known.
        reason: Why that quality is low, in words; None where it is not.
    """

    vector: FloatArray
    embedder_id: str
    quality: float | None = None
    reason: str | None = None

    def __post_init__(self) -> None:
        _quality(self.quality)
        if self.vector.ndim != 1 or self.vector.size == 0:
            raise ShapeError(f"vector must have shape (D,), got {self.vector.shape}.")
        if not np.isfinite(self.vector).all():
            raise InputError("vector holds values that are not finite.")
        if not self.embedder_id:
            raise InputError("embedder_id must not be empty.")

    @property
    def dim(self) -> int:
        """Width D of the vector."""
        return int(self.vector.size)


@dataclass(frozen=True)
class Head:
    """The box of a head that does not stand upright in its photo: turned with the head.

    Attributes:
        centre_xy: The box's middle, in pixels of the photo.
        size_wh: Width and height along the head's own axes, in pixels of the photo.
        angle_deg: How far the head is turned clockwise in the photo, in (-180, 180].
    """

    centre_xy: tuple[float, float]
    size_wh: tuple[float, float]
    angle_deg: float

    def __post_init__(self) -> None:
        values = (*self.centre_xy, *self.size_wh, self.angle_deg)
        if not all(np.isfinite(values)) or min(self.size_wh) <= 0:
            raise InputError(f"a head needs finite numbers and a positive size, got {values}.")
        if not -180.0 < self.angle_deg <= 180.0:
            raise InputError(f"angle_deg must lie in (-180, 180], got {self.angle_deg}.")


@dataclass(frozen=True, eq=False)
class Face:
    """A face found in a photo.

    Attributes:
        box_xyxy: Pixels of the photo as shown; may reach beyond its edges.
        landmarks_xy: Shape (5, 2), float32, in pixels of the photo as shown: eye, eye, nose,
            mouth corner, mouth corner, the left one of the upright head first.
        score: The detector's confidence in [0, 1].
        embedding: f(x), when it was asked for.
        chip: Shape (S, S, 3), uint8 RGB: the aligned crop that the embedder read.
        head: The head's own box where it is turned; None where the face stands upright.
        quality: How well the face can be judged, in [0, 1]: the chance that it is recognised as
            its person's when it is compared with another, good photo. None if not known.
        reason: Why the quality is too low to judge by, in words; None where it is not.
    """

    box_xyxy: BoxXYXY
    landmarks_xy: FloatArray
    score: float
    embedding: Embedding | None = None
    chip: ImageArray | None = None
    head: Head | None = None
    quality: float | None = None
    reason: str | None = None

    def __post_init__(self) -> None:
        _quality(self.quality)
        x0, y0, x1, y1 = self.box_xyxy
        if not all(np.isfinite(self.box_xyxy)) or x1 <= x0 or y1 <= y0:
            raise InputError(
                f"box_xyxy must be finite with x1 > x0 and y1 > y0, got {self.box_xyxy}."
            )
        if self.landmarks_xy.shape != (5, 2):
            raise ShapeError(f"landmarks_xy must have shape (5, 2), got {self.landmarks_xy.shape}.")
        if not 0.0 <= self.score <= 1.0:
            raise InputError(f"score must lie in [0, 1], got {self.score}.")

    @property
    def rotation(self) -> float:
        """How far the head is turned clockwise in the photo as shown, degrees in (-180, 180].

        180 is upside down; 0 stands for upright within a few degrees.
        """
        return 0.0 if self.head is None else self.head.angle_deg

    @property
    def area(self) -> float:
        """Area of the box in square pixels."""
        x0, y0, x1, y1 = self.box_xyxy
        return (x1 - x0) * (y1 - y0)

    def to_json(self) -> dict[str, Any]:
        """Return all but the embedding and the chip as plain JSON values."""
        return {
            "box_xyxy": [round(float(v), 2) for v in self.box_xyxy],
            "landmarks_xy": [
                [round(float(x), 2), round(float(y), 2)] for x, y in self.landmarks_xy
            ],
            "score": round(float(self.score), 4),
            "rotation": round(float(self.rotation), 1),
            "quality": None if self.quality is None else round(float(self.quality), 4),
            "reason": self.reason,
        }


@dataclass(frozen=True)
class Pair:
    """The answer to "are these two the same person?" (1:1).

    Attributes:
        distance: Small means alike; on the scale of the head that judged.
        threshold: tau on the same scale; the verdict is ``same`` when distance <= threshold.
        probability: Calibrated probability that the two are the same person, in [0, 1], for faces
            of that quality; None where the embedder has no calibration.
        verdict: ``same``, ``different``, or ``unclear`` where a face cannot be judged.
        reason: Why it is unclear, in words; None where it is not.
    """

    distance: float
    threshold: float
    probability: float | None
    verdict: Verdict
    reason: str | None = None

    def __post_init__(self) -> None:
        _finite("distance", self.distance)
        _finite("threshold", self.threshold)
        _probability(self.probability)
        _unclear(self.verdict, self.reason)
        if self.verdict != "unclear" and (self.verdict == "same") != (
            self.distance <= self.threshold
        ):
            raise InputError(
                f"verdict {self.verdict!r} contradicts distance {self.distance} "
                f"and threshold {self.threshold}."
            )

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return {
            "verdict": self.verdict,
            "reason": self.reason,
            "distance": self.distance,
            "threshold": self.threshold,
            "probability": self.probability,
        }


@dataclass(frozen=True)
class Match:
    """The answer to "who is this?" for one face (1:K).

    Attributes:
        person: The nearest person's name when recognised, else None.
        distance: Distance to the nearest person: to the mean of their embeddings weighted by
            quality; None in an empty gallery.
        threshold: tau that was applied.
        probability: Calibrated probability that the nearest person is the right one; None where
            the embedder has no calibration.
        verdict: ``recognised``, ``not_recognised``, or ``unclear`` where the face, or the photo
            it was enrolled by, cannot be judged.
        nearest: The nearest person's name whatever the verdict; None in an empty gallery.
        reason: Why it is unclear, in words; None where it is not.
    """

    person: str | None
    distance: float | None
    threshold: float
    probability: float | None
    verdict: Recognition
    nearest: str | None = None
    reason: str | None = None

    def __post_init__(self) -> None:
        _finite("threshold", self.threshold)
        _probability(self.probability)
        _unclear(self.verdict, self.reason)
        if (self.verdict == "recognised") != (self.person is not None):
            raise InputError("a recognised match names a person, and only a recognised one does.")
        within = self.distance is not None and self.distance <= self.threshold
        if self.verdict != "unclear" and (self.verdict == "recognised") != within:
            raise InputError(
                f"verdict {self.verdict!r} contradicts distance {self.distance} "
                f"and threshold {self.threshold}."
            )

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return {
            "verdict": self.verdict,
            "reason": self.reason,
            "person": self.person,
            "distance": self.distance,
            "threshold": self.threshold,
            "probability": self.probability,
        }
