"""From a query embedding to the nearest people: index for candidates, store for the truth."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from limner.gallery import index as indexes
from limner.gallery.cache import IndexCache, Stamp
from limner.gallery.index import ExactIndex, Index, IvfIndex, lists_for, train_ivf
from limner.gallery.store import Candidate, Ids, State, Store
from limner.similarity import squared_l2
from limner.types import FloatArray

CANDIDATES = 16
_WIDEN = 4
_BATCH = 20_000
# An index that is this many faces behind is saved again; a fresh process catches up faster
# with fewer than it takes to write the file.
_SAVE_AFTER = 5_000
# Lists grow with the gallery; when it has grown by this factor, new ones are trained.
_RETRAIN_GROWTH = 4


@dataclass(frozen=True)
class Near:
    """The nearest embedding of one person."""

    person_id: int
    name: str
    distance: float


class Searcher:
    """Keeps an index in step with a store and answers with people.

    Args:
        store: The truth.
        cache: Where a large index is saved; None to keep it in memory only.
    """

    def __init__(self, store: Store, cache: IndexCache | None) -> None:
        self._store = store
        self._cache = cache
        self._index: Index | None = None
        self._epoch = ""
        self._last_face = 0
        self._last_removal = 0
        self._unsaved = 0
        self._state: State | None = None

    @property
    def index(self) -> Index | None:
        """The index in memory, if one was needed yet."""
        return self._index

    def state(self) -> State:
        """Return the store's figures, read again only when something was written."""
        if self._store.has_changed() or self._state is None:
            self._state = self._store.state()
        return self._state

    # --- keeping in step ---------------------------------------------------------------

    def refresh(self) -> State:
        """Bring the index up to date with what any process has written; return the figures."""
        state = self.state()
        behind = (self._last_face, self._last_removal) != (state.last_face, state.last_removal)
        if self._index is None or self._epoch != state.epoch:
            self._load(state)
        elif behind:
            self._catch_up()
            if self._unfit(state):
                self._load(state, saved=False)
        else:
            return state
        # What was read above may be newer than the figures, never older.
        self._last_face = max(self._last_face, state.last_face)
        self._last_removal = max(self._last_removal, state.last_removal)
        return state

    def _unfit(self, state: State) -> bool:
        """Tell whether the gallery has outgrown its kind of index, or shrunk below it."""
        if isinstance(self._index, IvfIndex):
            grown = state.faces > _RETRAIN_GROWTH * self._index.trained_on
            return grown or state.faces < indexes.EXACT_BELOW // 2
        return state.faces >= 2 * indexes.EXACT_BELOW

    def _load(self, state: State, *, saved: bool = True) -> None:
        self._epoch = state.epoch
        self._last_face = self._last_removal = self._unsaved = 0
        self._index = None
        if state.dim is None:  # nobody was ever enrolled: not even the width is known
            return
        if state.faces < indexes.EXACT_BELOW:
            self._index = ExactIndex(state.dim)
            self._last_removal = state.last_removal
            self._catch_up()
            return
        loaded = self._cache.load() if saved and self._cache else None
        if loaded is not None and loaded[1].epoch == state.epoch:
            index, stamp = loaded
            self._index = index
            self._last_face, self._last_removal = stamp.last_face, stamp.last_removal
            self._catch_up()
            if not self._unfit(state):
                if self._unsaved > _SAVE_AFTER:
                    self.save()
                return
        self._build(state)

    def _build(self, state: State) -> None:
        """Train and fill an index of everything, and save it."""
        self._last_face, self._last_removal = 0, state.last_removal
        sample = self._store.sample(lists_for(state.faces) * indexes.TRAINING_PER_LIST)
        self._index = train_ivf(sample, count=state.faces, batches=self._new_faces())
        self._follow_removals()
        self.save()

    def _new_faces(self) -> Iterator[tuple[Ids, FloatArray]]:
        for ids, vectors in self._store.vectors_after(self._last_face, batch=_BATCH):
            yield ids, vectors
            self._last_face = int(ids[-1])
            self._unsaved += len(ids)

    def _catch_up(self) -> None:
        """Add what is new, then drop what was removed: in this order nothing is missed."""
        if self._index is None:
            return
        for ids, vectors in self._new_faces():
            self._index.add(ids, vectors)
        self._follow_removals()

    def _follow_removals(self) -> None:
        gone, self._last_removal = self._store.removed_after(self._last_removal)
        if len(gone) and self._index is not None:
            self._index.remove(gone)
            self._unsaved += len(gone)

    # --- the saved index ---------------------------------------------------------------

    def save(self) -> None:
        """Save an approximate index; exact ones are read from the store faster."""
        if self._cache is None or not isinstance(self._index, IvfIndex):
            return
        for _ in range(3):
            stamp = Stamp(
                epoch=self._epoch,
                dim=int(self._index.faiss_index.d),
                last_face=self._last_face,
                last_removal=self._last_removal,
                trained_on=self._index.trained_on,
            )
            if not self._cache.save(self._index, stamp):
                return
            self._unsaved = 0
            # Somebody may have been forgotten while the file was written: not even the
            # codes of a deleted embedding may stay on the disk.
            before = self._last_removal
            self._follow_removals()
            if self._last_removal == before:
                return

    def erase_removed(self) -> None:
        """Make the saved index forget what the store has forgotten."""
        if self._cache is None or not self._cache.exists:
            return
        self.refresh()
        self.save()
        if self._unsaved or not isinstance(self._index, IvfIndex):
            self._cache.discard()  # it could not be written, or is not needed any more

    def close(self) -> None:
        """Save an index that has fallen far behind."""
        if self._unsaved > _SAVE_AFTER:
            self.save()

    # --- searching ---------------------------------------------------------------------

    def nearest(
        self, queries: FloatArray, top: int, *, exclude: str | None = None
    ) -> list[list[Near]]:
        """Return for each query the nearest people, nearest first.

        Args:
            queries: Shape (Q, D), unit rows.
            top: How many people are wanted.
            exclude: A person who does not count.

        Returns:
            Q lists of at most `top` people, each with the distance of the nearest embedding.
        """
        self.refresh()
        index = self._index
        if index is None or index.size == 0:
            return [[] for _ in queries]
        wanted = max(CANDIDATES, _WIDEN * top)
        ids = index.search(queries, min(wanted, index.size))
        results = self._rank_all(queries, ids, top, exclude)
        for number, found in enumerate(results):
            if len(found) < top:
                results[number] = self._widen(queries[number : number + 1], top, exclude, wanted)
        return results

    def _widen(self, query: FloatArray, top: int, exclude: str | None, wanted: int) -> list[Near]:
        """Look further while too few people came: one person may have many embeddings."""
        index, effort = self._index, 1
        while index is not None:
            wanted, effort = wanted * _WIDEN, effort * _WIDEN
            ids = index.search(query, min(wanted, index.size), effort=effort)
            found = self._rank_all(query, ids, top, exclude)[0]
            if len(found) >= top or wanted >= index.size:
                return found
        return []

    def _rank_all(
        self, queries: FloatArray, ids: Ids, top: int, exclude: str | None
    ) -> list[list[Near]]:
        unique = sorted({int(face) for face in ids.ravel() if face >= 0})
        rows = {row.id: row for row in self._store.candidates(unique)}
        ranked = []
        for query, mine in zip(queries, ids, strict=True):
            known = [rows[face] for face in mine.tolist() if face in rows]
            ranked.append(_rank(query, known, top, exclude))
        return ranked


def _rank(
    query: FloatArray, rows: Iterable[Candidate], top: int, exclude: str | None
) -> list[Near]:
    """Return the nearest people among candidates, by exact distance, ties by name."""
    kept = [row for row in rows if row.name != exclude]
    if not kept:
        return []
    vectors = np.stack([row.vector for row in kept])
    distances = squared_l2(np.broadcast_to(query, vectors.shape), vectors).tolist()
    best: dict[int, Near] = {}
    for row, distance in zip(kept, distances, strict=True):
        seen = best.get(row.person_id)
        if seen is None or distance < seen.distance:
            best[row.person_id] = Near(row.person_id, row.name, distance)
    return sorted(best.values(), key=lambda near: (near.distance, near.name))[:top]
