"""How honest quality and probability are: ``python bench/hard.py --calibration``.

Pairs of photos of people on whom nothing was fitted: both sharp, one spoiled, and both spoiled
alike, a third each; as many pairs of one person as of two. To each pair of one person belongs one
of two people spoiled in the same two ways, so that quality tells nothing about who is who.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from common import machine
from hard_data import LFW, SEED, Portrait, find_portraits, free_people
from hard_look import embedding_of, judge, look
from limner.evaluation import read_pairs
from limner.evaluation.photos import central_face
from limner.faces import FaceAnalyzer
from limner.similarity import brier_score, expected_calibration_error
from limner.types import Face, Pair
from spoil import CLEAN, KINDS, drawn

PHOTOS = 5
"""Of one person at most, so that a few people don't decide everything."""
GROUP = 16
"""People whose photos are spoiled in the same ways; strangers are met within a group."""
VERSIONS = 3
"""Ways in which the photos of a group are spoiled."""
DISCARDED = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)


@dataclass(frozen=True, eq=False)
class Judged:
    """Pairs and what limner said of them.

    Attributes:
        same: Shape (N,), whether both photos show one person.
        said_same: Shape (N,), whether the distance is within the threshold, unclear or not.
        unclear: Shape (N,), whether the verdict was ``unclear``.
        probability: Shape (N,).
        quality: Shape (N,), of the worse face; None where faces have no quality.
    """

    same: NDArray[np.bool_]
    said_same: NDArray[np.bool_]
    unclear: NDArray[np.bool_]
    probability: NDArray[np.float64]
    quality: NDArray[np.float64] | None

    @property
    def wrong(self) -> NDArray[np.bool_]:
        """Shape (N,), whether the threshold was on the wrong side."""
        return self.said_same != self.same

    def part(self, chosen: NDArray[Any]) -> Judged:
        """Return the pairs of a mask or of a list of places."""
        quality = None if self.quality is None else self.quality[chosen]
        return Judged(
            self.same[chosen],
            self.said_same[chosen],
            self.unclear[chosen],
            self.probability[chosen],
            quality,
        )


def calibration(judged: Judged) -> dict[str, Any]:
    """Return pairs, calibration error (ten bins), Brier score and both error rates."""
    same, said = judged.same, judged.said_same
    return {
        "pairs": len(same),
        "calibration_error": expected_calibration_error(judged.probability, same),
        "brier": brier_score(judged.probability, same),
        "false_matches": float(said[~same].mean()) if (~same).any() else None,
        "false_non_matches": float((~said[same]).mean()) if same.any() else None,
        "unclear": float(judged.unclear.mean()),
    }


def by_tercile(judged: Judged) -> list[dict[str, Any]]:
    """Return `calibration` of the worst, the middle and the best third by quality."""
    if judged.quality is None:
        return []
    # Equal qualities must not be torn apart: a third begins where a new value does.
    low, high = np.quantile(judged.quality, (1 / 3, 2 / 3))
    thirds = (
        judged.quality <= low,
        (judged.quality > low) & (judged.quality <= high),
        judged.quality > high,
    )
    return [
        {
            "quality": [float(own.min()), float(own.max())],
            **calibration(judged.part(third)),
        }
        for third in thirds
        if (own := judged.quality[third]).size
    ]


def discard_curve(
    judged: Judged, shares: Sequence[float] = DISCARDED
) -> list[dict[str, float | None]]:
    """Return the error rates that remain when the pairs of lowest quality are left out.

    Args:
        judged: Pairs with their quality.
        shares: How much to leave out, each in [0, 1).

    Source: Grother and Tabassi, "Performance of Biometric Quality Measures", PAMI 2007.
    """
    if judged.quality is None:
        return []
    order = np.argsort(judged.quality, kind="stable")
    rows: list[dict[str, float | None]] = []
    for share in shares:
        left = judged.part(order[round(share * len(order)) :])
        same = left.same
        rows.append(
            {
                "discarded": share,
                "errors": float(left.wrong.mean()),
                "false_matches": float(left.wrong[~same].mean()) if (~same).any() else None,
                "false_non_matches": float(left.wrong[same].mean()) if same.any() else None,
            }
        )
    return rows


def auc_of_quality(judged: Judged) -> dict[str, float | None]:
    """Return how well low quality predicts an error: 1 perfectly, 0.5 not at all.

    It is the chance that a wrong pair has a lower quality than a right one, of all pairs and
    of each sort; None where there is no error or nothing else.
    """

    def auc(part: Judged) -> float | None:
        if part.quality is None or part.wrong.all() or not part.wrong.any():
            return None
        return float(roc_auc_score(part.wrong, -part.quality))

    return {
        "all": auc(judged),
        "of_one_person": auc(judged.part(judged.same)),
        "of_two_people": auc(judged.part(~judged.same)),
    }


def plan_pairs(people: Sequence[int], groups: Sequence[int]) -> list[tuple[int, int, int, int]]:
    """Return pairs as (photo, version, other photo, its version); of one person and of two in turn.

    Args:
        people: Whose each photo is.
        groups: Which group each photo's person is in.

    Returns:
        For each two photos of a person and each way of spoiling: both sharp, the second spoiled,
        both spoiled alike; after each the same with a photo of somebody else of the group for
        the second, drawn by seed. Version 0 is the clean photo.
    """
    whose, where = np.asarray(people), np.asarray(groups)
    generator = np.random.default_rng(SEED)
    plan = []
    for person in np.unique(whose):
        own = np.flatnonzero(whose == person)
        others = np.flatnonzero((where == where[own[0]]) & (whose != person))
        if not others.size:
            continue
        for a, b in combinations(own.tolist(), 2):
            for version in range(1, VERSIONS + 1):
                for first, second in ((0, 0), (0, version), (version, version)):
                    plan.append((a, first, b, second))
                    plan.append((a, first, int(generator.choice(others)), second))
    return plan


def read_versions(
    analyzer: FaceAnalyzer, portraits: Sequence[Portrait], groups: Sequence[int]
) -> dict[tuple[int, int], Face]:
    """Embed each photo clean and in each of its group's ways of being spoiled.

    Each group takes the next kinds of spoiling, each of a strength drawn by seed.
    """
    faces: dict[tuple[int, int], Face] = {}
    kinds = list(KINDS)
    for group in sorted(set(groups)):
        own = [i for i, number in enumerate(groups) if number == group]
        for version in range(VERSIONS + 1):
            turn = group * VERSIONS + version
            row = CLEAN if version == 0 else drawn(SEED + turn, kinds[turn % len(kinds)])
            for i, face in zip(own, look(analyzer, [portraits[i] for i in own], row), strict=True):
                if face is not None:
                    faces[i, version] = face
        print(f"group {group + 1} of {max(groups) + 1}", flush=True)
    return faces


def judge_plan(
    plan: Sequence[tuple[int, int, int, int]],
    people: Sequence[int],
    faces: dict[tuple[int, int], Face],
) -> Judged:
    """Judge a plan's pairs; where one of a pair's faces was not found, its twin goes too."""
    pairs: list[tuple[bool, Pair, float | None]] = []
    for own, strange in zip(plan[::2], plan[1::2], strict=True):
        both = [[faces.get((p[0], p[1])), faces.get((p[2], p[3]))] for p in (own, strange)]
        if any(face is None for pair in both for face in pair):
            continue
        for (i, _, j, _), (a, b) in zip((own, strange), both, strict=True):
            worth = [getattr(face, "quality", None) for face in (a, b)]
            worse = None if None in worth else min(worth)
            pairs.append((people[i] == people[j], judge(embedding_of(a), embedding_of(b)), worse))
    known = [quality for _, _, quality in pairs if quality is not None]
    return Judged(
        same=np.array([same for same, _, _ in pairs]),
        said_same=np.array([pair.distance <= pair.threshold for _, pair, _ in pairs]),
        unclear=np.array([pair.verdict == "unclear" for _, pair, _ in pairs]),
        probability=np.array([pair.probability for _, pair, _ in pairs], np.float64),
        quality=np.array(known) if len(known) == len(pairs) else None,
    )


def sharp_unclear(analyzer: FaceAnalyzer) -> dict[str, Any]:
    """Return how many photos of LFW View 2, as they are, show a face too poor to judge.

    View 2 shares people with View 1, on whom quality is fitted; the others are counted by
    themselves, too.
    """
    pairs = read_pairs(LFW.parent / "pairs.txt")
    paths = pairs.locate(LFW)
    free = free_people()
    counts = {who: {"photos": 0, "not_found": 0, "unclear": 0} for who in ("all", "not_fitted")}
    reasons: dict[str, int] = {}
    for path, photo in zip(paths, analyzer.analyze_many(paths), strict=True):
        face = central_face(photo.faces or [], photo.size_hw or (0, 0))
        reason = None if face is None else getattr(face, "reason", None)
        if reason is not None:
            reasons[reason] = reasons.get(reason, 0) + 1
        for who in ("all", "not_fitted") if path.parent.name in free else ("all",):
            counts[who]["photos"] += 1
            counts[who]["not_found"] += face is None
            counts[who]["unclear"] += reason is not None
    return {**counts, "reasons": reasons}


def measure_quality(analyzer: FaceAnalyzer) -> dict[str, Any]:
    """Return calibration by quality, the discard curve, the AUC, and sharp faces refused."""
    several = {name: photos[:PHOTOS] for name, photos in free_people().items() if len(photos) > 1}
    names = [str(n) for n in np.random.default_rng(SEED).permutation(sorted(several))]
    seen = find_portraits(several)
    portraits, people, groups = [], [], []
    for number, name in enumerate(names):
        for portrait in seen.get(name, ()):
            portraits.append(portrait)
            people.append(number)
            groups.append(number // GROUP)
    faces = read_versions(analyzer, portraits, groups)
    judged = judge_plan(plan_pairs(people, groups), people, faces)
    return {
        "embedder": analyzer.embedder_id,
        "machine": machine(),
        "people": len(seen),
        "photos": len(portraits),
        "not_found": (VERSIONS + 1) * len(portraits) - len(faces),
        "all": calibration(judged),
        "terciles": by_tercile(judged),
        "discard": discard_curve(judged),
        "auc": auc_of_quality(judged),
        "sharp": sharp_unclear(analyzer) if "reason" in Face.__dataclass_fields__ else None,
    }
