"""How a pair is judged when its faces are poor: by quality as well as by distance.

Two poor faces are alike whoever they are of: blurred, turned away or covered, they all lie in one
corner of the space of embeddings. So tau falls with the quality of the better of the two; at one
good face it is the usual one. This tau is a cautious one: it keeps strangers apart whatever was
done to their photos. The probability is the likeliest one instead, and moves by itself.
(A face too poor to judge at all brings a reason; see `limner.faces.quality`.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, astuple, dataclass, field
from typing import Any

import numpy as np

from limner.errors import InputError

Qualities = tuple[float | None, float | None]
"""Of the two faces of a pair, in [0, 1]; None where not known, which counts as good."""


@dataclass(frozen=True)
class Drop:
    """How much something falls for a face of a quality of one less than good.

    Attributes:
        worse: By the worse face of a pair.
        better: By the better one.
    """

    worse: float = 0.0
    better: float = 0.0

    def of(self, shortfalls: tuple[float, float]) -> float:
        """Return the fall for the shortfalls of the worse and of the better face."""
        return self.worse * shortfalls[0] + self.better * shortfalls[1]


@dataclass(frozen=True)
class QualityRule:
    """What quality does to a head, with ``u = max(0, good - quality)`` of both faces.

    The verdict is ``same`` where ``d <= tau - tau_drop u_better``; the probability is
    ``sigma(slope e^-s (tau - m - d))`` with s and m each a sum over both faces' u. Good faces are
    judged by the head as it is.

    Attributes:
        good: From this quality on a face counts as good. In [0, 1].
        tau_drop: By how much the verdict's tau falls for a better face of a quality of one less.
        slope_drop: s: the probability grows less certain.
        middle_drop: m: the distance at which the probability is one half falls; negative drops
            raise it, as for one poor face, which lies farther from its own person.
        figures: What was measured on held-out people, as plain JSON values.
    """

    good: float
    tau_drop: float
    slope_drop: Drop = Drop()
    middle_drop: Drop = Drop()
    figures: dict[str, Any] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        slope, middle = self.slope_drop, self.middle_drop
        values = (self.good, self.tau_drop, *(x for d in (slope, middle) for x in astuple(d)))
        if not np.isfinite(values).all() or min(values[:2]) < 0 or self.good > 1:
            raise InputError(
                "a quality rule needs good in [0, 1], a drop of tau that is not negative, and "
                f"finite drops, got {values}."
            )

    def _shortfalls(self, qualities: Qualities) -> tuple[float, float]:
        """Return u of the worse and of the better face."""
        short = [0.0 if q is None else max(0.0, self.good - q) for q in qualities]
        return max(short), min(short)

    def threshold(self, tau: float, qualities: Qualities) -> float:
        """Return the verdict's tau for two faces of such qualities; never below 0."""
        return max(0.0, tau - self.tau_drop * self._shortfalls(qualities)[1])

    def middle(self, tau: float, qualities: Qualities) -> float:
        """Return the distance at which two faces of such qualities have a probability of 1/2."""
        return tau - self.middle_drop.of(self._shortfalls(qualities))

    def slope(self, slope: float, qualities: Qualities) -> float:
        """Return the slope of the probability for two faces of such qualities."""
        return float(slope * np.exp(-self.slope_drop.of(self._shortfalls(qualities))))

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return {
            "good": self.good,
            "tau_drop": self.tau_drop,
            "slope_drop": asdict(self.slope_drop),
            "middle_drop": asdict(self.middle_drop),
            "figures": self.figures,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> QualityRule:
        """Rebuild a rule from `to_json`'s values.

        Raises:
            KeyError: If a value is missing.
            TypeError: If one is of another kind.
            InputError: If one is not usable.
        """
        drops = {name: document[name] for name in ("slope_drop", "middle_drop") if name in document}
        if not isinstance(drops["slope_drop"], Mapping):  # as it was before the middle moved
            drops["slope_drop"] = {"worse": float(drops["slope_drop"])}
            drops["middle_drop"] = {"better": float(document["tau_drop"])}
        return cls(
            good=float(document["good"]),
            tau_drop=float(document["tau_drop"]),
            slope_drop=Drop(**drops["slope_drop"]),
            middle_drop=Drop(**drops["middle_drop"]),
            figures=dict(document.get("figures", {})),
        )
