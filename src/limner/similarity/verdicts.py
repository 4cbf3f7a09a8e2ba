"""Who is who: from distances and qualities to verdicts, in one place for every surface.

A gallery's own calibration wins over the one that limner ships for its embedder.
Verification uses the calibrated tau; identification a stricter one, which grows stricter
with every enrolled photo, so that a stranger is not given somebody's name. Both fall with the
quality of the better face, so that one good face leaves them as they are, and a face that brings a
reason why it is too poor is not judged: the verdict is ``unclear``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from limner.errors import EmbedderMismatch, InputError
from limner.similarity.calibration import Calibration
from limner.similarity.distances import squared_l2
from limner.similarity.heads import PairHead
from limner.similarity.quality_rule import Qualities
from limner.similarity.shipped import shipped
from limner.types import Embedding, Match, Pair

MAX_DISTANCE = 4.0

UNKNOWN: Qualities = (None, None)


@dataclass(eq=False)
class Verdicts:
    """Turns squared L2 distances into verdicts.

    Attributes:
        embedder_id: Whose distances these are.
        calibration: On the squared L2 scale; None where there is none.
        own: Whether the calibration is the gallery's own.
        location: The gallery, for messages; empty without one.
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

    def probability(
        self, distance: float, *, tau: float | None = None, qualities: Qualities = UNKNOWN
    ) -> float | None:
        """Return the calibrated probability.

        Args:
            distance: Squared L2.
            tau: Where a pair of good faces has 1/2; default: verification's.
            qualities: Of the two faces.

        Returns:
            In [0, 1]; None without a calibration.
        """
        if self.calibration is None:
            return None
        head, rule = self.calibration.head, self.calibration.quality
        middle = head.threshold if tau is None else tau
        if rule is not None:
            head = replace(head, slope=rule.slope(head.slope, qualities))
            middle = rule.middle(middle, qualities)
        return float(head.probability(distance, threshold=middle))

    def _chosen(
        self, threshold: float | None, default: float | None, qualities: Qualities
    ) -> float:
        """Return a user's own tau, or the default one for two faces of such qualities."""
        if threshold is not None:
            return checked_threshold(threshold)
        if default is None:
            where = f" --gallery {self.location}" if self.location else ""
            raise InputError(
                f"no threshold is known for embedder {self.embedder_id}: give one (--threshold, "
                f"squared distance of unit vectors, 0 to 4), or fit one with `limner gallery "
                f"calibrate{where}` or `limner evaluate fit`."
            )
        rule = None if self.calibration is None else self.calibration.quality
        return default if rule is None else rule.threshold(default, qualities)

    def _too_close(
        self, distance: float, tau: float, default: float | None, threshold: float | None
    ) -> str | None:
        """Return why a distance tells nothing that good faces would be one person at."""
        if threshold is None and default is not None and tau < distance <= default:
            return "neither face is good enough for so close a call"
        return None

    def compare(
        self,
        a: Embedding,
        b: Embedding,
        *,
        threshold: float | None = None,
        head: PairHead | None = None,
        accept_unclear: bool = False,
    ) -> Pair:
        """Tell whether two faces are one person's (1:1).

        Args:
            a: Of one face.
            b: Of the other.
            threshold: Another tau. It moves the verdict; the probability stays calibrated.
            head: Another pair head than the squared distance; quality only makes it unclear.
            accept_unclear: Judge faces that are too poor for it, too.

        Raises:
            EmbedderMismatch: If one of them is of another embedder.
            InputError: If no threshold is known.
        """
        for one in (a, b):
            if one.embedder_id != self.embedder_id:
                raise EmbedderMismatch(
                    f"embeddings of {one.embedder_id} cannot be compared with embeddings of "
                    f"{self.embedder_id}; embed both photos with the same embedder."
                )
        reason = None if accept_unclear else pair_reason(a, b)
        if head is not None:
            pair = head.judge(a.vector, b.vector, threshold=threshold)
            return pair if reason is None else replace(pair, verdict="unclear", reason=reason)
        distance = float(squared_l2(a.vector[None], b.vector[None])[0])
        qualities = (a.quality, b.quality)
        default = self.verify_threshold()
        tau = self._chosen(threshold, default, qualities)
        if reason is None and not accept_unclear:
            reason = self._too_close(distance, tau, default, threshold)
        return Pair(
            distance=distance,
            threshold=tau,
            probability=self.probability(distance, qualities=qualities),
            verdict="unclear" if reason else "same" if distance <= tau else "different",
            reason=reason,
        )

    def match(
        self,
        probe: Embedding,
        name: str | None,
        distance: float | None,
        threshold: float | None,
        *,
        faces: int,
        enrolled: tuple[float | None, str | None] = (None, None),
        accept_unclear: bool = False,
    ) -> Match:
        """Judge the nearest person.

        Args:
            probe: Of the face in question.
            name: The nearest person; None in an empty gallery.
            distance: To that person.
            threshold: Another tau. It moves the verdict; the probability stays calibrated.
            faces: How many are enrolled.
            enrolled: Quality and reason of the enrolled face that was nearest, if known.
            accept_unclear: Judge faces that are too poor for it, too.
        """
        qualities = (probe.quality, enrolled[0])
        default = self.identify_threshold(faces)
        tau = self._chosen(threshold, default, qualities)
        within = distance is not None and distance <= tau
        reason = probe.reason
        if reason is None and within and enrolled[1] is not None:
            reason = f"in the enrolled photo of {name}, {enrolled[1]}"
        if reason is None and distance is not None:
            reason = self._too_close(distance, tau, default, threshold)
        if accept_unclear:
            reason = None
        probability: float | None = None if self.calibration is None else 0.0
        if distance is not None:
            probability = self.probability(distance, tau=default, qualities=qualities)
        return Match(
            person=name if within and reason is None else None,
            distance=distance,
            threshold=tau,
            probability=probability,
            verdict="unclear" if reason else "recognised" if within else "not_recognised",
            nearest=name,
            reason=reason,
        )


def pair_reason(a: Embedding, b: Embedding) -> str | None:
    """Return why two faces cannot be compared, in words; None if they can."""
    if a.reason is None and b.reason is None:
        return None
    if a.reason is not None and b.reason is not None:
        return f"in the first photo {a.reason}, in the second {b.reason}"
    return f"in the first photo {a.reason}" if a.reason else f"in the second photo {b.reason}"


def compare(
    a: Embedding,
    b: Embedding,
    *,
    threshold: float | None = None,
    head: PairHead | None = None,
    calibration: Calibration | None = None,
    accept_unclear: bool = False,
) -> Pair:
    """Tell whether two faces are one person's, by the calibration of their embedder.

    Args:
        a: Of one face.
        b: Of the other.
        threshold: Another tau. It moves the verdict; the probability stays calibrated.
        head: Another pair head than the squared distance.
        calibration: A gallery's own; None, or one of another embedder, for the shipped one.
        accept_unclear: Judge faces that are too poor for it, too.

    Raises:
        EmbedderMismatch: If the embeddings are of two embedders.
        InputError: If no threshold is known for their embedder.
    """
    own = calibration if calibration and calibration.embedder_id == a.embedder_id else None
    verdicts = Verdicts.of(a.embedder_id, own, "")
    return verdicts.compare(a, b, threshold=threshold, head=head, accept_unclear=accept_unclear)


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
