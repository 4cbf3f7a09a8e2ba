"""Which threshold and which probability belong to a gallery's distances.

The gallery's own calibration wins over the one that limner ships for its embedder.
Verification uses the calibrated tau; identification a stricter one, which grows stricter
with every enrolled photo, so that a stranger is not given somebody's name.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from limner.errors import InputError
from limner.similarity import Calibration, shipped
from limner.types import Match, Pair

MAX_DISTANCE = 4.0


@dataclass(eq=False)
class Verdicts:
    """Turns squared L2 distances into verdicts.

    Attributes:
        embedder_id: Whose distances these are.
        calibration: On the squared L2 scale; None where there is none.
        own: Whether the calibration is the gallery's own.
        location: The gallery, for messages.
    """

    embedder_id: str
    calibration: Calibration | None
    own: bool
    location: str
    _identify: tuple[int, float | None] = field(default=(-1, None), init=False)

    @classmethod
    def of(cls, embedder_id: str, own: Calibration | None, location: str) -> Verdicts:
        """Choose between the gallery's own calibration and the shipped one."""
        found = own if own is not None else shipped(embedder_id)
        usable = None if found is None else on_squared_l2(found)
        return cls(embedder_id, usable, own is not None, location)

    @property
    def words(self) -> str | None:
        """Where the thresholds come from, in words."""
        if self.calibration is None:
            return None
        whose = "this gallery's own" if self.own else "shipped"
        return f"{whose}: {self.calibration.fitted_on}"

    def verify_threshold(self) -> float | None:
        """Return the default tau of verification."""
        return None if self.calibration is None else self.calibration.head.threshold

    def identify_threshold(self, faces: int) -> float | None:
        """Return the default tau of identification among `faces` enrolled photos."""
        if self._identify[0] != faces:  # it is asked for every face, and rarely changes
            found = None if self.calibration is None else self.calibration.threshold_for(faces)
            self._identify = (faces, found)
        return self._identify[1]

    def probability(self, distance: float, *, tau: float | None = None) -> float | None:
        """Return the calibrated probability, 1/2 at `tau` (default: verification's)."""
        if self.calibration is None:
            return None
        return float(self.calibration.head.probability(distance, threshold=tau))

    def _chosen(self, threshold: float | None, default: float | None) -> float:
        if threshold is not None:
            return checked_threshold(threshold)
        if default is None:
            raise InputError(
                f"no threshold is known for embedder {self.embedder_id}: give one (--threshold), "
                f"or fit one with `limner gallery calibrate --gallery {self.location}` or "
                "`limner evaluate fit`."
            )
        return default

    def pair(self, distance: float, threshold: float | None) -> Pair:
        """Judge one pair; a given threshold moves the verdict, not the probability."""
        tau = self._chosen(threshold, self.verify_threshold())
        return Pair(
            distance=distance,
            threshold=tau,
            probability=self.probability(distance),
            verdict="same" if distance <= tau else "different",
        )

    def match(
        self, name: str | None, distance: float | None, threshold: float | None, *, faces: int
    ) -> Match:
        """Judge the nearest person; a given threshold moves the verdict, not the probability."""
        default = self.identify_threshold(faces)
        tau = self._chosen(threshold, default)
        within = distance is not None and distance <= tau
        probability: float | None = None if self.calibration is None else 0.0
        if distance is not None:
            probability = self.probability(distance, tau=default)
        return Match(
            person=name if within else None,
            distance=distance,
            threshold=tau,
            probability=probability,
            verdict="recognised" if within else "not_recognised",
            nearest=name,
        )


def checked_threshold(threshold: float) -> float:
    """Return a user's tau.

    Raises:
        InputError: If it is not a squared L2 distance of unit vectors.
    """
    value = float(threshold)
    if not np.isfinite(value) or not 0.0 <= value <= MAX_DISTANCE:
        raise InputError(
            f"threshold must lie between 0 and {MAX_DISTANCE:g} (squared distance of unit "
            f"vectors), got {threshold}."
        )
    return value


def on_squared_l2(calibration: Calibration) -> Calibration | None:
    """Return a calibration whose default head judges by squared L2; None if it has none.

    The table of false matches belongs to the default head and is dropped with it.
    """
    if calibration.head.kind == "squared_l2":
        return calibration
    head = calibration.heads.get("squared_l2")
    return None if head is None else replace(calibration, head=head, false_match=())
