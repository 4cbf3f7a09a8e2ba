"""The values that cross limner's borders: frozen, validated once, on construction.

Conventions: pictures are ``uint8`` RGB, shape (H, W, 3); a box is
``(x0, y0, x1, y1)`` in pixels of the upright photo, the right and bottom edges
exclusive, and may reach beyond the photo; landmarks are five (x, y) points in the
order eye, eye, nose, mouth corner, mouth corner, the left one in the picture first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from limner.errors import InputError, ShapeError

ImageArray = NDArray[np.uint8]
FloatArray = NDArray[np.float32]
BoxXYXY = tuple[float, float, float, float]
Verdict = Literal["same", "different"]
Recognition = Literal["recognised", "not_recognised"]


def _finite(name: str, value: float) -> None:
    if not np.isfinite(value):
        raise InputError(f"{name} must be a finite number, got {value}.")


def _probability(value: float | None) -> None:
    if value is not None and not 0.0 <= value <= 1.0:
        raise InputError(f"probability must lie in [0, 1], got {value}.")


@dataclass(frozen=True, eq=False)
class Embedding:
    """One embedding and the embedder that made it.

    Attributes:
        vector: Shape (D,), float32, unit length.
        embedder_id: Name, weights digest and preprocessing version of the embedder.
    """

    vector: FloatArray
    embedder_id: str

    def __post_init__(self) -> None:
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


@dataclass(frozen=True, eq=False)
class Face:
    """A face found in a photo.

    Attributes:
        box_xyxy: Pixels of the upright photo; may reach beyond its edges.
        landmarks_xy: Shape (5, 2), float32, the left point in the picture first.
        score: The detector's confidence in [0, 1].
        embedding: f(x), when it was asked for.
        chip: Shape (S, S, 3), uint8 RGB: the aligned crop that the embedder read.
    """

    box_xyxy: BoxXYXY
    landmarks_xy: FloatArray
    score: float
    embedding: Embedding | None = None
    chip: ImageArray | None = None

    def __post_init__(self) -> None:
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
    def area(self) -> float:
        """Area of the box in square pixels."""
        x0, y0, x1, y1 = self.box_xyxy
        return (x1 - x0) * (y1 - y0)

    def to_json(self) -> dict[str, Any]:
        """Return box, landmarks and score as plain JSON values."""
        return {
            "box_xyxy": [round(float(v), 2) for v in self.box_xyxy],
            "landmarks_xy": [
                [round(float(x), 2), round(float(y), 2)] for x, y in self.landmarks_xy
            ],
            "score": round(float(self.score), 4),
        }


@dataclass(frozen=True)
class Pair:
    """The answer to "are these two the same person?" (1:1).

    Attributes:
        distance: Small means alike; on the scale of the head that judged.
        threshold: tau on the same scale; the verdict is ``same`` when distance <= threshold.
        probability: Calibrated probability that the two are the same person, in [0, 1]; None
            where the embedder has no calibration.
        verdict: ``same`` or ``different``.
    """

    distance: float
    threshold: float
    probability: float | None
    verdict: Verdict

    def __post_init__(self) -> None:
        _finite("distance", self.distance)
        _finite("threshold", self.threshold)
        _probability(self.probability)
        if (self.verdict == "same") != (self.distance <= self.threshold):
            raise InputError(
                f"verdict {self.verdict!r} contradicts distance {self.distance} "
                f"and threshold {self.threshold}."
            )

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return {
            "verdict": self.verdict,
            "distance": self.distance,
            "threshold": self.threshold,
            "probability": self.probability,
        }


@dataclass(frozen=True)
class Match:
    """The answer to "who is this?" for one face (1:K).

    Attributes:
        person: The nearest person's name when recognised, else None.
        distance: Distance to the nearest person's nearest embedding; None in an empty gallery.
        threshold: tau that was applied.
        probability: Calibrated probability that the nearest person is the right one; None where
            the embedder has no calibration.
        verdict: ``recognised`` or ``not_recognised``.
        nearest: The nearest person's name whatever the verdict; None in an empty gallery.
    """

    person: str | None
    distance: float | None
    threshold: float
    probability: float | None
    verdict: Recognition
    nearest: str | None = None

    def __post_init__(self) -> None:
        _finite("threshold", self.threshold)
        _probability(self.probability)
        if (self.verdict == "recognised") != (self.person is not None):
            raise InputError("a recognised match names a person, and only a recognised one does.")
        within = self.distance is not None and self.distance <= self.threshold
        if (self.verdict == "recognised") != within:
            raise InputError(
                f"verdict {self.verdict!r} contradicts distance {self.distance} "
                f"and threshold {self.threshold}."
            )

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return {
            "verdict": self.verdict,
            "person": self.person,
            "distance": self.distance,
            "threshold": self.threshold,
            "probability": self.probability,
        }
