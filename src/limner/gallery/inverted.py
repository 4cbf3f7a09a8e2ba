"""The index of a large gallery: an inverted file, searched in three steps.

1. faiss scans the lists nearest to the query. Its codes are 4-bit product quantization of
   the directions in which the embeddings vary at all: 16 bytes for a 128-vector.
2. What it finds is ranked again by 8-bit codes of the same directions, kept in memory.
3. The few best are looked up in the store and ranked by the exact distance
   (`limner.gallery.search`).

By measurement (bench/gallery.py) this finds more in less time than 8-bit scalar codes in the
lists and than HNSW, and reading fewer rows from the store saves more than the second step
costs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limner.gallery.store import Ids
from limner.types import FloatArray

RANKED_AGAIN = 64
# How large a share of the lists a search looks into is tried out when an index is built: the
# smallest share that finds this part of 3,000 stored vectors from probes that lie at this
# squared distance from them (the median between two photos of one person).
PROBED_SHARES = (0.08, 0.1, 0.12, 0.14, 0.16, 0.18, 0.2, 0.25, 0.35, 0.5)
WANTED_RECALL = 0.999
"""Stricter than the 0.995 that searches should reach: trials are easier than real probes."""
_TRIED_DISTANCE = 0.4
_TRIED_NOISE = math.sqrt((1 - _TRIED_DISTANCE / 2) ** -2 - 1)
TRIED = 3_000
TRAINING_PER_LIST = 64
# Directions are kept until they hold this share of the variance: facenet's embeddings leave
# half of their directions unused.
_KEPT_VARIANCE = 0.999
_MAX_PARTS = 32
_ITERATIONS = 10
_SEED = 1234


class IvfIndex:
    """An inverted file and 8-bit codes of everything in it.

    Args:
        faiss_index: An `IndexIVFPQFastScan` over turned vectors; its ids are row numbers.
        turn: Shape (K, D): turns a vector into the K directions that matter.
        step: The value of one unit of the 8-bit codes.
        trained_on: How many embeddings the store had when it was trained.
        share: Of the lists, how many a search looks into.
        ids: Shape (N,), ascending: the embedding in each row.
        codes: Shape (N, K), int8.
    """

    def __init__(
        self,
        faiss_index: Any,
        *,
        turn: FloatArray,
        step: float,
        trained_on: int,
        share: float = PROBED_SHARES[-1],
        ids: Ids | None = None,
        codes: NDArray[np.int8] | None = None,
    ) -> None:
        self.faiss_index = faiss_index
        self.turn = turn
        self.step = np.float32(step)
        self.trained_on = trained_on
        self._ids: Ids = np.empty(0, np.int64) if ids is None else ids
        self._codes = np.empty((0, len(turn)), np.int8) if codes is None else codes
        self._rows = len(self._ids)
        self.share = share

    @property
    def kind(self) -> str:
        """What it is, for people."""
        lists, directions = self.faiss_index.nlist, len(self.turn)
        return (
            f"IVF of {lists} lists ({self.share:.0%} searched), 4-bit PQ of {directions} "
            "directions, exact re-ranking"
        )

    @property
    def dim(self) -> int:
        """Width of the embeddings."""
        return int(self.turn.shape[1])

    @property
    def size(self) -> int:
        """How many embeddings it holds."""
        return int(self.faiss_index.ntotal)

    @property
    def rows(self) -> int:
        """How many rows it has, those of removed embeddings included."""
        return self._rows

    @property
    def ids(self) -> Ids:
        """Shape (rows,): the embedding in each row."""
        return self._ids[: self._rows]

    @property
    def codes(self) -> NDArray[np.int8]:
        """Shape (rows, K): the 8-bit codes; zero in the rows of removed embeddings."""
        return self._codes[: self._rows]

    def add(self, ids: Ids, vectors: FloatArray) -> None:
        """Append embeddings of shape (N, D) whose ids are larger than all before."""
        if not len(ids):
            return
        start, end = self._rows, self._rows + len(ids)
        if end > len(self._ids):
            capacity = max(end, self._rows + self._rows // 8 + 1024)
            self._ids = _enlarged(self._ids, self._rows, capacity)
            self._codes = _enlarged(self._codes, self._rows, capacity)
        turned = np.ascontiguousarray(vectors @ self.turn.T)
        self._ids[start:end] = ids
        self._codes[start:end] = np.clip(np.rint(turned / self.step), -127, 127)
        self._rows = end
        self.faiss_index.add_with_ids(turned, np.arange(start, end))

    def remove(self, ids: Ids) -> None:
        """Drop embeddings; their codes are overwritten."""
        if not len(ids) or not self._rows:
            return
        rows = np.searchsorted(self.ids, ids).clip(max=self._rows - 1)
        rows = rows[self.ids[rows] == ids]
        self.faiss_index.remove_ids(rows)
        self._codes[rows] = 0

    def search(self, queries: FloatArray, k: int, *, effort: int = 1) -> Ids:
        """Return the ids of the k nearest found, shape (Q, k), -1 where there are none."""
        lists = self.faiss_index
        lists.nprobe = min(lists.nlist, math.ceil(self.share * lists.nlist) * effort)
        turned = np.ascontiguousarray(queries @ self.turn.T)
        found = lists.search(turned, min(max(RANKED_AGAIN, 4 * k), max(self.size, 1)))[1]
        ids: Ids = np.full((len(queries), k), -1, dtype=np.int64)
        for number, rows in enumerate(found):
            if rows[-1] < 0:
                rows = rows[rows >= 0]
            order = self._distances(turned[number], rows).argsort()[:k]
            ids[number, : len(order)] = self._ids[rows[order]]
        return ids

    def _distances(self, turned: FloatArray, rows: Ids) -> FloatArray:
        """Return the squared distances, by the 8-bit codes, of rows from a turned query."""
        gap = self._codes.take(rows, axis=0) * self.step
        gap -= turned
        distances: FloatArray = np.einsum("nk,nk->n", gap, gap)
        return distances

    def tune(self, trials: FloatArray) -> None:
        """Choose the smallest share of the lists that finds what is there.

        Args:
            trials: Shape (S, D): some of the embeddings in the index, not those that it was
                trained on, which lie nearer to the middle of their list than others.
        """
        rng = np.random.default_rng(_SEED)
        known = trials[:TRIED] @ self.turn.T
        length = np.linalg.norm(known, axis=1, keepdims=True)
        noise = rng.standard_normal(known.shape, dtype=np.float32)
        noise *= length * _TRIED_NOISE / np.linalg.norm(noise, axis=1, keepdims=True)
        probes = known + noise
        probes *= length / np.linalg.norm(probes, axis=1, keepdims=True)
        gap = np.einsum("nk,nk->n", probes - known, probes - known)
        for share in PROBED_SHARES:
            self.share = share
            self.faiss_index.nprobe = math.ceil(share * self.faiss_index.nlist)
            found = self.faiss_index.search(probes, min(RANKED_AGAIN, self.size))[1]
            nearest = [
                self._distances(probe, rows[rows >= 0]).min(initial=np.inf)
                for probe, rows in zip(probes, found, strict=True)
            ]
            if np.mean(nearest <= gap * 1.02) >= WANTED_RECALL:
                return


def _enlarged(array: NDArray[Any], used: int, capacity: int) -> NDArray[Any]:
    larger = np.zeros((capacity, *array.shape[1:]), dtype=array.dtype)
    larger[:used] = array[:used]
    return larger


def lists_for(count: int) -> int:
    """Return how many lists an inverted file of `count` embeddings should have."""
    return max(16, round(math.sqrt(count)))


def _turn(sample: FloatArray) -> FloatArray:
    """Return (K, D): the principal directions, turned at random so that all weigh the same."""
    dim = sample.shape[1]
    variances, directions = np.linalg.eigh(np.atleast_2d(np.cov(sample.T)))
    held = np.cumsum(variances[::-1].clip(0))
    used = int(np.searchsorted(held, _KEPT_VARIANCE * held[-1])) + 1
    step = 8 if used <= 2 * _MAX_PARTS else 32
    kept = min(dim, math.ceil(used / step) * step)
    noise = np.random.default_rng(_SEED).standard_normal((kept, kept))
    turn = np.linalg.qr(noise)[0] @ directions[:, ::-1][:, :kept].T
    return np.ascontiguousarray(turn, dtype=np.float32)


def _parts(kept: int) -> int:
    """Return into how many parts the codes of `kept` directions fall."""
    parts = max(1, kept // 2) if kept <= 2 * _MAX_PARTS else kept // 4
    return parts if kept % parts == 0 else kept


def train_ivf(
    sample: FloatArray,
    *,
    count: int,
    batches: Iterable[tuple[Ids, FloatArray]],
    trials: FloatArray,
) -> IvfIndex:
    """Build an inverted file.

    Args:
        sample: Shape (S, D): what to train on, about `TRAINING_PER_LIST` for each list.
        count: How many embeddings it is built for.
        batches: All of them, with ascending ids.
        trials: Shape (T, D): others of them, to try the index on.

    Returns:
        The filled index.
    """
    import faiss

    turn = _turn(sample)
    turned = np.ascontiguousarray(sample @ turn.T)
    lists, kept = min(lists_for(count), len(sample)), len(turn)
    inner: Any = faiss.index_factory(kept, f"IVF{lists},PQ{_parts(kept)}x4fs")
    # Codes of the vectors themselves: one look-up table serves all lists (twice as fast).
    inner.by_residual = False
    inner.cp.niter = inner.pq.cp.niter = _ITERATIONS
    inner.cp.seed = inner.pq.cp.seed = _SEED
    inner.cp.max_points_per_centroid = TRAINING_PER_LIST
    inner.cp.min_points_per_centroid = inner.pq.cp.min_points_per_centroid = 1
    inner.train(turned)
    step = 1.1 * float(np.abs(turned).max()) / 127
    built = IvfIndex(inner, turn=turn, step=step, trained_on=count)
    for ids, vectors in batches:
        built.add(ids, vectors)
    built.tune(trials)
    return built
