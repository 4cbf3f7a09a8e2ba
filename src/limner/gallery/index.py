"""Indexes over embeddings: they propose candidates, the store decides.

An index answers "which stored embeddings may be the nearest?" by id. What it proposes is
looked up in the store and ranked there by the exact distance, so an index that is wrong
or out of date can miss somebody but never name somebody wrongly, nor anybody deleted.

`ExactIndex` compares with everything and cannot miss. `limner.gallery.inverted.IvfIndex`
looks into a part of its lists, for galleries in which that takes too long.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from limner.gallery.store import Ids
from limner.types import FloatArray

# Measured by bench/gallery.py: above this size the exact search takes longer than 1 ms.
EXACT_BELOW = 20_000
_QUERIES_AT_ONCE = 64


class Index(Protocol):
    """Proposes the ids of embeddings that may be nearest to a query."""

    @property
    def kind(self) -> str:
        """What it is, for people."""

    @property
    def size(self) -> int:
        """How many embeddings it holds."""

    def add(self, ids: Ids, vectors: FloatArray) -> None:
        """Append embeddings."""

    def remove(self, ids: Ids) -> None:
        """Drop embeddings; ids that it does not hold are ignored."""

    def search(self, queries: FloatArray, k: int, *, effort: int = 1) -> Ids:
        """Return for each query the ids of its k nearest, nearest first, -1 where there are none.

        Args:
            queries: Shape (Q, D).
            k: How many.
            effort: Multiplies the work of an approximate index.

        Returns:
            Shape (Q, k).
        """


class ExactIndex:
    """Every embedding in one contiguous matrix, compared by one matrix product.

    Args:
        dim: Width of the embeddings.
    """

    def __init__(self, dim: int) -> None:
        self._matrix: FloatArray = np.empty((256, dim), dtype=np.float32)
        self._ids: Ids = np.empty(256, dtype=np.int64)
        self._size = 0

    @property
    def kind(self) -> str:
        """What it is, for people."""
        return "exact"

    @property
    def size(self) -> int:
        """How many embeddings it holds."""
        return self._size

    def add(self, ids: Ids, vectors: FloatArray) -> None:
        """Append embeddings of shape (N, D)."""
        if self._size == 0 and vectors.shape[1] != self._matrix.shape[1]:
            # The index of an empty gallery was made before anybody knew the width.
            self._matrix = np.empty((len(self._ids), vectors.shape[1]), dtype=np.float32)
        needed = self._size + len(ids)
        if needed > len(self._ids):
            capacity = max(needed, 2 * len(self._ids))
            matrix = np.empty((capacity, self._matrix.shape[1]), dtype=np.float32)
            matrix[: self._size] = self._matrix[: self._size]
            self._matrix = matrix
            self._ids = np.resize(self._ids, capacity)
        self._matrix[self._size : needed] = vectors
        self._ids[self._size : needed] = ids
        self._size = needed

    def remove(self, ids: Ids) -> None:
        """Drop embeddings, and overwrite where they were."""
        if not len(ids):
            return
        kept = ~np.isin(self._ids[: self._size], ids)
        count = int(kept.sum())
        if count == self._size:
            return
        self._matrix[:count] = self._matrix[: self._size][kept]
        self._ids[:count] = self._ids[: self._size][kept]
        self._matrix[count : self._size] = 0
        self._size = count

    def search(self, queries: FloatArray, k: int, *, effort: int = 1) -> Ids:
        """Return the ids of the k nearest, shape (Q, k), nearest first, -1 beyond the last."""
        found: Ids = np.full((len(queries), k), -1, dtype=np.int64)
        count = min(k, self._size)
        if count == 0:
            return found
        vectors, ids = self._matrix[: self._size], self._ids[: self._size]
        for start in range(0, len(queries), _QUERIES_AT_ONCE):
            block = queries[start : start + _QUERIES_AT_ONCE]
            # For unit vectors the nearest is the one with the largest inner product.
            likeness = (vectors @ block[0])[None] if len(block) == 1 else block @ vectors.T
            np.negative(likeness, out=likeness)
            if count < self._size:
                best = np.argpartition(likeness, count - 1, axis=1)[:, :count]
            else:
                best = np.broadcast_to(np.arange(count), (len(block), count))
            order = np.argsort(np.take_along_axis(likeness, best, axis=1), axis=1, kind="stable")
            found[start : start + len(block), :count] = ids[np.take_along_axis(best, order, axis=1)]
        return found
