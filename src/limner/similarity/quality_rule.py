"""How a pair is judged when its faces are poor: by quality as well as by distance.

Two poor faces are alike whoever they are of: blurred, turned away or covered, they all lie in one
corner of the space of embeddings. So tau falls with the quality of the better of the two, at one
good face it is the usual one; and with the worse of the two the probability grows less certain.
(A face too poor to judge at all brings a reason; see `limner.faces.quality`.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from limner.errors import InputError

Qualities = tuple[float | None, float | None]
"""Of the two faces of a pair, in [0, 1]; None where not known, which counts as good."""


@dataclass(frozen=True)
class QualityRule:
    """What quality does to a head: ``P = sigma(slope e^(-k u_worse) (tau - t u_better - d))``.

    ``u = max(0, good - quality)`` of the worse and of the better face: good faces are judged by
    the head as it is.

    Attributes:
        good: From this quality on a face counts as good. In [0, 1].
        tau_drop: t, by how much tau falls for a better face of a quality of one less.
        slope_drop: k, how fast the slope falls with the worse face.
        figures: What was measured on held-out people, as plain JSON values.
    """

    good: float
    tau_drop: float
    slope_drop: float
    figures: dict[str, Any] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        values = (self.good, self.tau_drop, self.slope_drop)
        if not np.isfinite(values).all() or min(values) < 0 or self.good > 1:
            raise InputError(
                "a quality rule needs good in [0, 1] and drops that are not negative, "
                f"got {values}."
            )

    def _shortfalls(self, qualities: Qualities) -> tuple[float, float]:
        """Return u of the better and of the worse face."""
        short = [0.0 if q is None else max(0.0, self.good - q) for q in qualities]
        return min(short), max(short)

    def threshold(self, tau: float, qualities: Qualities) -> float:
        """Return the tau for two faces of such qualities; never below 0."""
        return max(0.0, tau - self.tau_drop * self._shortfalls(qualities)[0])

    def slope(self, slope: float, qualities: Qualities) -> float:
        """Return the slope for two faces of such qualities."""
        return float(slope * np.exp(-self.slope_drop * self._shortfalls(qualities)[1]))

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return {
            "good": self.good,
            "tau_drop": self.tau_drop,
            "slope_drop": self.slope_drop,
            "figures": self.figures,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> QualityRule:
        """Rebuild a rule from `to_json`'s values.

        Raises:
            KeyError: If a value is missing.
            InputError: If one is not usable.
        """
        return cls(
            good=float(document["good"]),
            tau_drop=float(document["tau_drop"]),
            slope_drop=float(document["slope_drop"]),
            figures=dict(document.get("figures", {})),
        )
