"""Made-up embeddings for the gallery's benchmark, shaped after real ones.

``faces`` has the moments of facenet's embeddings of LFW (1,655 photos of 450 people, measured
once): 62 of 128 directions carry all the variance, three quarters of it between people with a
spectrum that decays exponentially, the rest within a person, evenly spread. There the squared
distances are (5 %, median, 95 %): one person 0.19, 0.43, 0.86; two people 1.53, 2.01, 2.45.

``hard`` spreads people and noise over all 128 directions with a slow decay, which no real
embedder does; ``uniform`` has no structure at all, and a probe is near one enrolled vector.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float32]
DIM = 128
VIEWS = 4
_BLOCK = 25_000


@dataclass(frozen=True)
class Shape:
    """How people and their photos vary."""

    live: int
    between: Rows
    within: Rows
    spread: float


def _faces() -> Shape:
    live = 62
    between = np.exp(-0.06 * np.arange(live))
    return Shape(
        live,
        np.sqrt(0.75 * between / between.sum()).astype(np.float32),
        np.full(live, np.sqrt(0.19 / live), np.float32),
        0.4,
    )


def _hard() -> Shape:
    decay = np.arange(1, DIM + 1) ** -0.5
    scale = np.sqrt(decay / decay.sum())
    return Shape(DIM, scale.astype(np.float32), (0.5 * scale).astype(np.float32), 0.3)


SHAPES: dict[str, Callable[[], Shape]] = {"faces": _faces, "hard": _hard}


@dataclass(frozen=True)
class Sample:
    """Enrolled rows, and probes of enrolled people.

    Attributes:
        rows: (N, 128), unit; person i // VIEWS.
        probes: (Q, 128), unit: new views of enrolled people.
        owners: (Q,), whose.
    """

    rows: Rows
    probes: Rows
    owners: NDArray[np.int64]


def _unit(rows: Rows) -> Rows:
    rows /= np.linalg.norm(rows, axis=-1, keepdims=True)
    return rows


def _views(shape: Shape, centres: Rows, count: int, rng: np.random.Generator) -> Rows:
    people = len(centres)
    size = np.exp(shape.spread * rng.standard_normal((people, count, 1), dtype=np.float32))
    noise = rng.standard_normal((people, count, shape.live), dtype=np.float32)
    rows = _unit(centres[:, None] + size * noise * shape.within)
    full = np.zeros((people * count, DIM), np.float32)
    full[:, : shape.live] = rows.reshape(-1, shape.live)
    return full


def make(kind: str, count: int, probes: int, seed: int = 0) -> Sample:
    """Return `count` enrolled rows and `probes` probes of one kind."""
    rng = np.random.default_rng(seed)
    people = count // VIEWS
    owners = rng.choice(people, probes, replace=False)
    if kind == "uniform":
        rows = _unit(rng.standard_normal((people * VIEWS, DIM), dtype=np.float32))
        chosen = rows[owners * VIEWS]
        noise = _unit(rng.standard_normal((probes, DIM), dtype=np.float32))
        return Sample(rows, _unit(0.79 * chosen + np.float32(0.613) * noise), owners)
    shape = SHAPES[kind]()
    parts, seen = [], np.empty((probes, DIM), np.float32)
    for start in range(0, people, _BLOCK):
        size = min(_BLOCK, people - start)
        centres = rng.standard_normal((size, shape.live), dtype=np.float32) * shape.between
        parts.append(_views(shape, centres, VIEWS, rng))
        here = np.flatnonzero((owners >= start) & (owners < start + size))
        if here.size:
            seen[here] = _views(shape, centres[owners[here] - start], 1, rng)
    return Sample(np.concatenate(parts), seen, owners)


def names(count: int) -> Iterator[str]:
    """Yield the person of each row."""
    for number in range(count):
        yield f"Person {number // VIEWS}"
