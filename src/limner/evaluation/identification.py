"""Open-set identification: who is it, if anybody of the gallery?

Everybody with two photos or more is enrolled from the first; the other photos are probes.
People of one photo are strangers, whom nobody may be taken for. A probe counts as identified
when the nearest enrolled person is the right one and the distance <= tau, where tau is set by
the share of strangers that are taken for somebody (FPIR).

Source: ISO/IEC 19795-1; Grother, Ngan, Hanaoka, NIST FRVT part 2 (TPIR = 1 - FNIR).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from limner.errors import InputError, ShapeError, TooFewPairsError
from limner.evaluation import bootstrap, curves
from limner.evaluation.curves import RateAt

FPIRS = (1e-1, 1e-2, 1e-3)
RANKS = (1, 5, 10, 20)
_BLOCK = 1024


@dataclass(frozen=True, eq=False)
class IdentificationScores:
    """What the identification protocol gives.

    Attributes:
        rank: Shape (P,), 1-based place of the right person for each probe, ties counted
            against it; 0 where the probe has no face or its person could not be enrolled.
        mate_distance: Shape (P,), distance to the right person; inf where `rank` is 0.
        stranger_distance: Shape (S,), distance to the nearest person; inf without a face.
        probe_photo: Shape (P,), index of each probe's photo.
        nearest_photo: Shape (P,), index of the nearest enrolled photo; -1 without a face.
        rank1: Share of probes whose nearest person is the right one.
        rank1_interval: 95 % interval, resampled over people.
        cmc: Share of probes at each of `ranks` or better.
        ranks: The places of `cmc`.
        tpir_at_fpir: TPIR at each FPIR, with intervals.
        enrolled: How many people are enrolled.
        not_enrolled: How many have two photos or more, but no face in any.
        no_face: How many photos have no face: probes and strangers.
    """

    rank: NDArray[np.int64]
    mate_distance: NDArray[np.float64]
    stranger_distance: NDArray[np.float64]
    probe_photo: NDArray[np.int64]
    nearest_photo: NDArray[np.int64]
    rank1: float
    rank1_interval: tuple[float, float]
    cmc: tuple[float, ...]
    ranks: tuple[int, ...]
    tpir_at_fpir: tuple[RateAt, ...]
    enrolled: int
    not_enrolled: int
    no_face: tuple[int, int]

    def det(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return (FPIR, TPIR) at every distance at which a stranger is taken for somebody."""
        found = np.sort(self.mate_distance[self.rank == 1])
        strangers = np.sort(self.stranger_distance)
        strangers = strangers[np.isfinite(strangers)]
        fpir = np.arange(strangers.size) / self.stranger_distance.size
        tpir = np.searchsorted(found, strangers, side="left") / self.rank.size
        return fpir, tpir

    def to_json(self) -> dict[str, Any]:
        """Return the figures as plain JSON values."""
        return {
            "rank1": self.rank1,
            "rank1_interval": list(self.rank1_interval),
            "cmc": {str(r): c for r, c in zip(self.ranks, self.cmc, strict=True)},
            "tpir_at_fpir": {f"{rate.bound:g}": rate.to_json() for rate in self.tpir_at_fpir},
            "enrolled": self.enrolled,
            "not_enrolled": self.not_enrolled,
            "probes": int(self.rank.size),
            "strangers": int(self.stranger_distance.size),
            "no_face": {"probes": self.no_face[0], "strangers": self.no_face[1]},
        }


@dataclass(frozen=True, eq=False)
class _Roles:
    """Photo indices by their part in the protocol.

    Attributes:
        gallery: One photo for each enrolled person.
        probes: The other photos of people with two or more.
        mates: Shape (P,), place in `gallery` of each probe's person; -1 if not enrolled.
        people: Shape (P,), a number for each probe's person.
        strangers: Photos of people with one.
        failed: How many people with two photos or more have no face in any.
    """

    gallery: NDArray[np.int64]
    probes: NDArray[np.int64]
    mates: NDArray[np.int64]
    people: NDArray[np.int64]
    strangers: NDArray[np.int64]
    failed: int


def _assign(people: Sequence[str], found: NDArray[np.bool_]) -> _Roles:
    members: dict[str, list[int]] = {}
    for index, person in enumerate(people):
        members.setdefault(person, []).append(index)
    gallery: list[int] = []
    probes: list[tuple[int, int, int]] = []
    strangers: list[int] = []
    failed = 0
    for number, photos in enumerate(members.values()):
        if len(photos) == 1:
            strangers += photos
            continue
        first = next((p for p in photos if found[p]), None)
        mate = -1 if first is None else len(gallery)
        failed += first is None
        if first is not None:
            gallery.append(first)
        # without any face there is still one photo less to probe with
        spent = photos[0] if first is None else first
        probes += [(p, mate, number) for p in photos if p != spent]
    if not gallery or not probes:
        raise TooFewPairsError(
            "identification needs people with two photos or more that show a face; there is none."
        )
    if not strangers:
        raise TooFewPairsError(
            "open-set identification needs strangers (people with one photo); there is none."
        )
    photo, mates, numbers = np.array(probes, dtype=np.int64).T
    return _Roles(np.array(gallery), photo, mates, numbers, np.array(strangers), failed)


def score_identification(
    embeddings: ArrayLike,
    people: Sequence[str],
    *,
    found: ArrayLike | None = None,
    fpirs: Sequence[float] = FPIRS,
    ranks: Sequence[int] = RANKS,
    resamples: int = bootstrap.RESAMPLES,
    seed: int = 0,
) -> IdentificationScores:
    """Run the protocol on embeddings; distances are squared L2.

    A probe without a face, or of a person none of whose photos shows one, is missed; a
    stranger without one is taken for nobody. The first photo that shows a face is enrolled.

    Args:
        embeddings: Shape (N, D), unit rows; a row is not looked at where `found` is false.
        people: Whose photo each row is, N names.
        found: Shape (N,), whether the photo shows a face; default: all do.
        fpirs: False-positive rates at which the TPIR is stated, or refused where there are
            too few strangers: finer than 1/S is refused, finer than 10/S is flagged.
        ranks: Places of the cumulative match curve.
        resamples: Bootstrap resamples, over people.
        seed: Of the bootstrap.

    Raises:
        ShapeError: If shapes differ.
        InputError: If a rank is below 1.
        TooFewPairsError: If nobody has two photos, or nobody has one.
    """
    rows = np.asarray(embeddings, dtype=np.float32)
    faces = np.ones(len(rows), bool) if found is None else np.asarray(found).astype(bool)
    if rows.ndim != 2 or len(people) != len(rows) or faces.shape != (len(rows),):
        raise ShapeError(
            f"embeddings, people and found must be of N photos, got {rows.shape}, "
            f"{len(people)} and {faces.shape}."
        )
    if any(r < 1 for r in ranks):
        raise InputError(f"ranks must be 1 or larger, got {tuple(ranks)}.")
    roles = _assign(people, faces)
    gallery = rows[roles.gallery]
    rank, mate, nearest = _search(rows, gallery, roles, faces)
    strangers = _nearest(rows, gallery, roles.strangers, faces)
    hit = rank == 1
    drawn = _resample(roles, hit, mate, strangers, fpirs, resamples, seed)
    return IdentificationScores(
        rank=rank,
        mate_distance=mate,
        stranger_distance=strangers,
        probe_photo=roles.probes,
        nearest_photo=np.where(nearest >= 0, roles.gallery[nearest], -1),
        rank1=float(hit.mean()),
        rank1_interval=bootstrap.interval(drawn[:, 0]),
        cmc=tuple(float(np.mean((rank >= 1) & (rank <= r))) for r in ranks),
        ranks=tuple(int(r) for r in ranks),
        tpir_at_fpir=_rates(hit, mate, strangers, fpirs, drawn[:, 1:]),
        enrolled=len(gallery),
        not_enrolled=roles.failed,
        no_face=(int((~faces[roles.probes]).sum()), int((~faces[roles.strangers]).sum())),
    )


def _distances(rows: NDArray[np.float32], gallery: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return squared L2 of unit rows, 2 - 2 a.b, (N, G)."""
    product = rows @ gallery.T
    return np.asarray(np.maximum(np.float32(2) - np.float32(2) * product, 0), dtype=np.float32)


def _search(
    rows: NDArray[np.float32],
    gallery: NDArray[np.float32],
    roles: _Roles,
    faces: NDArray[np.bool_],
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Return rank, distance to the right person, and place of the nearest, for each probe."""
    count = roles.probes.size
    rank = np.zeros(count, dtype=np.int64)
    mate = np.full(count, np.inf)
    nearest = np.full(count, -1, dtype=np.int64)
    seen = np.flatnonzero(faces[roles.probes])
    for start in range(0, seen.size, _BLOCK):
        block = seen[start : start + _BLOCK]
        table = _distances(rows[roles.probes[block]], gallery)
        nearest[block] = table.argmin(axis=1)
        known = roles.mates[block] >= 0
        block, table = block[known], table[known]
        own = table[np.arange(block.size), roles.mates[block]]
        mate[block] = own
        rank[block] = (table <= own[:, None]).sum(axis=1)
    return rank, mate, nearest


def _nearest(
    rows: NDArray[np.float32],
    gallery: NDArray[np.float32],
    photos: NDArray[np.int64],
    faces: NDArray[np.bool_],
) -> NDArray[np.float64]:
    best = np.full(photos.size, np.inf)
    seen = np.flatnonzero(faces[photos])
    for start in range(0, seen.size, _BLOCK):
        block = seen[start : start + _BLOCK]
        best[block] = _distances(rows[photos[block]], gallery).min(axis=1)
    return best


def _rates(
    hit: NDArray[np.bool_],
    mate: NDArray[np.float64],
    strangers: NDArray[np.float64],
    fpirs: Sequence[float],
    drawn: NDArray[np.float64],
) -> tuple[RateAt, ...]:
    scored = np.where(hit, mate, np.inf)
    rates = []
    for column, fpir in enumerate(fpirs):
        stated, note = curves.support(strangers.size, fpir, what="strangers")
        count = curves.allowed(strangers.size, fpir)
        if not stated:
            rates.append(RateAt(fpir, None, count, note=note))
            continue
        low, high = bootstrap.interval(drawn[:, column])
        value = curves.accepted_at(scored, strangers, fpir)
        rates.append(RateAt(fpir, value, count, low, high, note))
    return tuple(rates)


def _resample(
    roles: _Roles,
    hit: NDArray[np.bool_],
    mate: NDArray[np.float64],
    strangers: NDArray[np.float64],
    fpirs: Sequence[float],
    resamples: int,
    seed: int,
) -> NDArray[np.float64]:
    """Resample people (with all their probes) and strangers: (B, 1 + F) of rank-1 and TPIR."""
    if resamples < 1:
        raise InputError(f"resamples must be 1 or larger, got {resamples}.")
    generator = np.random.default_rng(seed)
    _, person = np.unique(roles.people, return_inverse=True)
    total = int(person.max()) + 1
    probes_of = np.bincount(person, minlength=total)
    order = np.argsort(np.where(hit, mate, np.inf), kind="stable")
    found = np.where(hit, mate, np.inf)[order]
    found = found[np.isfinite(found)]
    owner = person[order][: found.size]
    ascending = np.sort(strangers)
    out = np.empty((resamples, 1 + len(fpirs)))
    row = 0
    for part in bootstrap.chunks(resamples, max(found.size, strangers.size, total)):
        drawn = bootstrap.counts(generator, total, part)
        probes = drawn @ probes_of
        hits = np.zeros((part, found.size + 1), dtype=np.int64)
        np.cumsum(drawn[:, owner], axis=1, out=hits[:, 1:])
        out[row : row + part, 0] = hits[:, -1] / probes
        passed = np.cumsum(bootstrap.counts(generator, strangers.size, part), axis=1)
        for column, fpir in enumerate(fpirs):
            # the limit is the first stranger that one too many would be let through with
            k = curves.allowed(strangers.size, fpir)
            limit = ascending[np.minimum((passed <= k).sum(axis=1), strangers.size - 1)]
            accepted = np.searchsorted(found, limit, side="left")
            out[row : row + part, 1 + column] = hits[np.arange(part), accepted] / probes
        row += part
    return out
