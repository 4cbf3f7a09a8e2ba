"""Calibration: which threshold and probability belong to an embedder's distances.

A calibration is bound to one `embedder_id` and states what it was fitted on. Beside the
pair heads it carries a table of false-match rates, measured on pairs of different people,
from which `Calibration.choose_threshold` takes a stricter tau for larger galleries.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

from limner.errors import EmbedderMismatch, InputError
from limner.similarity.heads import PairHead
from limner.similarity.quality_rule import QualityRule

FORMAT = 1
DEFAULT_FPIR = 0.01
_TAIL_SPAN = 100.0
"""The slope of the tail is that of the table's rows up to this many times its finest rate."""


def normal_quantile(rate: float) -> float:
    """Return z with Phi(z) = rate, for a rate in (0, 1)."""
    return NormalDist().inv_cdf(rate)


@dataclass(frozen=True)
class ChosenThreshold:
    """A threshold for a gallery of a certain size.

    Attributes:
        threshold: tau.
        rate: False-match rate per comparison that tau was chosen for.
        extrapolated: True when `rate` is finer than the pairs of different people could
            show, so that tau rests on the slope of the table's tail.
    """

    threshold: float
    rate: float
    extrapolated: bool


@dataclass(frozen=True, eq=False)
class Calibration:
    """Pair heads and false-match rates of one embedder.

    Attributes:
        embedder_id: The embedder whose distances these are.
        fitted_on: The data, in words.
        same_pairs: How many pairs of one person the heads were fitted on.
        different_pairs: How many pairs of two people the heads were fitted on.
        head: The head that judges by default.
        heads: Every fitted head, by kind; contains `head`.
        false_match: (rate, tau) rows, both ascending, on the scale of `head`; may be empty.
        figures: What was measured on held-out pairs, as plain JSON values.
        quality: How the quality of the worse face moves the default head; None where quality
            was not fitted.
    """

    embedder_id: str
    fitted_on: str
    same_pairs: int
    different_pairs: int
    head: PairHead
    heads: dict[str, PairHead] = field(default_factory=dict)
    false_match: tuple[tuple[float, float], ...] = ()
    figures: dict[str, Any] = field(default_factory=dict)
    quality: QualityRule | None = None

    def __post_init__(self) -> None:
        if not self.embedder_id:
            raise InputError("embedder_id must not be empty.")
        if self.same_pairs < 0 or self.different_pairs < 0:
            raise InputError(
                f"pair counts must not be negative, got {self.same_pairs} "
                f"and {self.different_pairs}."
            )
        table = np.asarray(self.false_match, dtype=np.float64).reshape(-1, 2)
        rates, taus = table[:, 0], table[:, 1]
        if not np.isfinite(table).all() or (rates <= 0).any() or (rates >= 1).any():
            raise InputError("false_match must hold finite (rate, tau) rows with 0 < rate < 1.")
        if (np.diff(rates) <= 0).any() or (np.diff(taus) < 0).any():
            raise InputError("false_match must ascend, in the rate and in tau.")

    @property
    def threshold(self) -> float:
        """The tau of 1:1 verification, where the probability is 1/2."""
        return self.head.threshold

    def choose_threshold(self, people: int, *, fpir: float = DEFAULT_FPIR) -> ChosenThreshold:
        """Return the threshold at which a gallery of `people` keeps strangers out.

        A stranger compared with `people` others is taken for one of them with probability
        1 - (1 - r)^people, so the rate per comparison must be r = 1 - (1 - fpir)^(1/people).
        tau is interpolated in the table of false matches, linearly in the normal quantile of
        r: the distances of different people are close to normal, so their table is close to
        a straight line there. Below the finest rate the slope of the table's finest two
        decades is carried on.

        Args:
            people: How many others a face is compared with (count photos if several a
                person are enrolled). 0 gives the threshold of verification.
            fpir: Share of strangers that may be recognised as somebody, in (0, 1).

        Returns:
            A tau that never exceeds the threshold of verification.

        Raises:
            InputError: If `people` is negative or `fpir` not in (0, 1).

        Source:
            ISO/IEC 19795-1: false-positive identification rate of N independent comparisons.

        Differs:
            Comparisons of one probe are not independent, so the true FPIR is a little lower.
        """
        if people < 0:
            raise InputError(f"people must be 0 or larger, got {people}.")
        if not 0 < fpir < 1:
            raise InputError(f"fpir must lie between 0 and 1, both excluded, got {fpir}.")
        rate = float(-np.expm1(np.log1p(-fpir) / max(people, 1)))
        verification = self.head.threshold
        if people == 0 or not self.false_match:
            return ChosenThreshold(verification, rate, extrapolated=people > 0)
        tau, extrapolated = self._tau_at(rate)
        return ChosenThreshold(min(tau, verification), rate, extrapolated)

    def threshold_for(self, people: int, *, fpir: float = DEFAULT_FPIR) -> float:
        """Return the tau of `choose_threshold`."""
        return self.choose_threshold(people, fpir=fpir).threshold

    def _tau_at(self, rate: float) -> tuple[float, bool]:
        table = np.asarray(self.false_match, dtype=np.float64)
        quantiles = np.array([normal_quantile(r) for r in table[:, 0]])
        taus, wanted = table[:, 1], normal_quantile(rate)
        if wanted >= quantiles[0] - 1e-9:
            return float(np.interp(wanted, quantiles, taus)), False
        tail = table[:, 0] <= _TAIL_SPAN * table[0, 0]
        x, y = quantiles[tail] - quantiles[tail].mean(), taus[tail] - taus[tail].mean()
        slope = float(x @ y / (x @ x)) if x.size > 1 else 0.0
        tau = float(taus[0] + slope * (wanted - quantiles[0]))
        if self.head.kind in ("squared_l2", "cosine"):
            tau = max(tau, 0.0)
        return tau, True

    def require(self, embedder_id: str) -> None:
        """Check that this calibration belongs to an embedder.

        Raises:
            EmbedderMismatch: If it belongs to another one.
        """
        if embedder_id != self.embedder_id:
            raise EmbedderMismatch(
                f"this calibration belongs to embedder {self.embedder_id}, not to "
                f"{embedder_id}; calibrate again with the embedder in use."
            )

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return {
            "format": FORMAT,
            "embedder_id": self.embedder_id,
            "fitted_on": self.fitted_on,
            "same_pairs": self.same_pairs,
            "different_pairs": self.different_pairs,
            "head": self.head.kind,
            "heads": {
                name: head.to_json()
                for name, head in {self.head.kind: self.head, **self.heads}.items()
            },
            "false_match": [[float(rate), float(tau)] for rate, tau in self.false_match],
            "figures": self.figures,
            "quality": None if self.quality is None else self.quality.to_json(),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Calibration:
        """Rebuild a calibration from `to_json`'s values.

        Raises:
            InputError: If a key is missing, a value is not usable, or the format is unknown.
        """
        try:
            if document["format"] != FORMAT:
                raise InputError(
                    f"this calibration has format {document['format']!r}; "
                    f"this version of limner reads format {FORMAT}."
                )
            rule = document.get("quality")
            heads = {str(k): PairHead.from_json(v) for k, v in document["heads"].items()}
            return cls(
                embedder_id=str(document["embedder_id"]),
                fitted_on=str(document["fitted_on"]),
                same_pairs=int(document["same_pairs"]),
                different_pairs=int(document["different_pairs"]),
                head=heads[document["head"]],
                heads=heads,
                false_match=tuple((float(r), float(t)) for r, t in document["false_match"]),
                figures=dict(document.get("figures", {})),
                quality=None if rule is None else QualityRule.from_json(rule),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"this is not a calibration: {error!r}.") from error

    def save(self, path: str | Path) -> None:
        """Write the calibration as JSON, to a temporary name first, then renamed.

        Raises:
            InputError: If the file cannot be written.
        """
        target = Path(path)
        text = json.dumps(self.to_json(), indent=1, allow_nan=False) + "\n"
        temporary: str | None = None
        try:
            handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write(text)
            # mkstemp makes the file private; a calibration holds nothing secret.
            os.chmod(temporary, 0o644)
            os.replace(temporary, target)
        except OSError as error:
            if temporary is not None:
                Path(temporary).unlink(missing_ok=True)
            raise InputError(f"cannot write {target}: {error.strerror}.") from error

    @classmethod
    def load(cls, path: str | Path) -> Calibration:
        """Read a calibration that `save` wrote.

        Raises:
            InputError: If the file cannot be read or is not a calibration.
        """
        try:
            document = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}.") from error
        except ValueError as error:
            raise InputError(f"{path} is not a calibration: it is not JSON.") from error
        try:
            return cls.from_json(document)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
