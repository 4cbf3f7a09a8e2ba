"""From a query embedding to the nearest people: index for candidates, store for the truth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from limner.gallery import index as indexes
from limner.gallery.cache import IndexCache, Stamp
from limner.gallery.index import ExactIndex, Index
from limner.gallery.inverted import TRAINING_PER_LIST, TRIED, IvfIndex, lists_for, train_ivf
from limner.gallery.store import Ids, State, Store
from limner.similarity import squared_l2
from limner.types import FloatArray

CANDIDATES = 4
_WIDEN = 4
_BATCH = 20_000
_FULL_EFFORT = 1_000
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
            holes = self._index.rows > 2 * self._index.size
            return grown or holes or state.faces < indexes.EXACT_BELOW // 2
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
        self._index = train_ivf(
            self._store.sample(lists_for(state.faces) * TRAINING_PER_LIST),
            count=state.faces,
            batches=self._new_faces(),
            trials=self._store.sample(TRIED, offset=1),
        )
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
                dim=self._index.dim,
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
        self, queries: FloatArray, top: int, *, exclude: int | None = None
    ) -> list[list[Near]]:
        """Return for each query the nearest people, nearest first.

        Args:
            queries: Shape (Q, D), unit rows.
            top: How many people are wanted.
            exclude: The id of a person who does not count.

        Returns:
            Q lists of at most `top` people, each with the distance of the nearest embedding.
        """
        self.refresh()
        index = self._index
        if index is None or index.size == 0:
            return [[] for _ in queries]
        wanted = max(CANDIDATES, _WIDEN * top)
        ids = index.search(queries, min(wanted, index.size))
        ranked = self._rank_all(queries, ids, exclude)
        for number, found in enumerate(ranked):
            if len(found) < top:
                query = queries[number : number + 1]
                ranked[number] = self._widen(query, top, exclude, wanted)
        return [found[:top] for found in ranked]

    def _widen(self, query: FloatArray, top: int, exclude: int | None, wanted: int) -> list[Near]:
        """Look further while too few people came: one person may have many embeddings."""
        index, effort = self._index, 1
        while index is not None:
            wanted, effort = wanted * _WIDEN, effort * _WIDEN
            everything = wanted >= index.size
            if everything:
                wanted, effort = index.size, _FULL_EFFORT
            found = self._rank_all(query, index.search(query, wanted, effort=effort), exclude)[0]
            if len(found) >= top or everything:
                return found
        return []

    def _rank_all(self, queries: FloatArray, ids: Ids, exclude: int | None) -> list[list[Near]]:
        """Return for each query the people among its candidates, nearest first."""
        rows = self._store.candidates(sorted({face for face in ids.ravel().tolist() if face >= 0}))
        if not rows.ids:
            return [[] for _ in queries]
        if len(queries) == 1:
            return [_rank(queries[0], rows.people, rows.vectors, exclude)]
        place = {face: number for number, face in enumerate(rows.ids)}
        ranked = []
        for query, mine in zip(queries, ids.tolist(), strict=True):
            picked = [place[face] for face in mine if face in place]
            owners = [rows.people[number] for number in picked]
            ranked.append(_rank(query, owners, rows.vectors[picked], exclude))
        return ranked


def _rank(
    query: FloatArray,
    owners: Sequence[tuple[int, str]],
    vectors: FloatArray,
    exclude: int | None,
) -> list[Near]:
    """Return the owners of embeddings, each with the nearest of theirs, nearest first."""
    if not owners:
        return []
    distances = squared_l2(np.broadcast_to(query, vectors.shape), vectors).tolist()
    best: dict[tuple[int, str], float] = {}
    for owner, distance in zip(owners, distances, strict=True):
        if distance < best.get(owner, np.inf) and owner[0] != exclude:
            best[owner] = distance
    found = [Near(person, name, distance) for (person, name), distance in best.items()]
    found.sort(key=lambda near: (near.distance, near.name))
    return found
