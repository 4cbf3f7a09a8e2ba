"""From a query embedding to the nearest people: index for candidates, store for the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from limner.gallery import index as indexes
from limner.gallery.cache import IndexCache, Stamp
from limner.gallery.index import ExactIndex, Index
from limner.gallery.inverted import TRAINING_PER_LIST, TRIED, IvfIndex, lists_for, train_ivf
from limner.gallery.store import NOT_JUDGED, Ids, Judged, State, Store
from limner.similarity import squared_l2
from limner.types import FloatArray

CANDIDATES = 4
_WIDEN = 4
_BATCH = 20_000
_FULL_EFFORT = 1_000
_SAVE_ATTEMPTS = 3
# An index that is this many faces behind is saved again; a fresh process catches up faster
# with fewer than it takes to write the file.
_SAVE_AFTER = 5_000
# Lists grow with the gallery; when it has grown by this factor, new ones are trained.
_RETRAIN_GROWTH = 4


# How far an index has followed a store: epoch, last embedding, last removal.
Mark = tuple[str, int, int]


def _mark(state: State) -> Mark:
    return state.epoch, state.last_face, state.last_removal


@dataclass(frozen=True)
class Near:
    """The nearest embedding of one person, and how good a face it is of."""

    person_id: int
    name: str
    distance: float
    judged: Judged = NOT_JUDGED


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
        self._mark: Mark = ("", 0, 0)
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
        if self._index is not None and self._mark == _mark(state):
            return state
        try:
            with self._store.snapshot():
                self._state = state = self._store.state()
                to_save = self._follow(state)
        except BaseException:
            self._index = None  # half-way: begin anew next time
            raise
        if to_save and not self.save():
            self._unsaved = 0  # the disk does not take it: try again after as many changes
        return state

    def _follow(self, state: State) -> bool:
        """Load, build or update the index; return whether it should be saved."""
        built = False
        if self._index is None or self._mark[0] != state.epoch:
            built = self._load(state)
        else:
            self._catch_up()
        if self._unfit(state):
            built = self._load(state, saved=False)
        self._mark = _mark(state)
        return built or self._unsaved > _SAVE_AFTER

    def _unfit(self, state: State) -> bool:
        """Tell whether the gallery has outgrown its kind of index, or shrunk below it."""
        if isinstance(self._index, IvfIndex):
            grown = state.faces > _RETRAIN_GROWTH * self._index.trained_on
            holes = self._index.rows > 2 * self._index.size
            return grown or holes or state.faces < indexes.EXACT_BELOW // 2
        return state.faces >= 2 * indexes.EXACT_BELOW

    def _load(self, state: State, *, saved: bool = True) -> bool:
        """Make the index, from the saved one if it can be used; return whether it was built."""
        self._mark = (state.epoch, 0, 0)
        self._index, self._unsaved = None, 0
        if state.dim is None:  # nobody was ever enrolled: not even the width is known
            return False
        if state.faces >= indexes.EXACT_BELOW:
            loaded = self._cache.load() if saved and self._cache else None
            if loaded is None or loaded[1].epoch != state.epoch:
                self._build(state)
                return True
            self._index, stamp = loaded
            self._mark = (stamp.epoch, stamp.last_face, stamp.last_removal)
        else:
            self._index = ExactIndex(state.dim)
            self._mark = (state.epoch, 0, state.last_removal)
        self._catch_up()
        return False

    def _build(self, state: State) -> None:
        """Train and fill an index of everything."""
        self._index = train_ivf(
            self._store.sample(lists_for(state.faces) * TRAINING_PER_LIST),
            count=state.faces,
            batches=self._store.vectors_after(0, batch=_BATCH),
            trials=self._store.sample(TRIED, offset=1),
        )

    def _catch_up(self) -> None:
        """Add what is new since the mark, and drop what was removed since."""
        if self._index is None:
            return
        epoch, last_face, last_removal = self._mark
        for ids, vectors in self._store.vectors_after(last_face, batch=_BATCH):
            self._index.add(ids, vectors)
            self._unsaved += len(ids)
            last_face = int(ids[-1])
        gone, last_removal = self._store.removed_after(last_removal)
        self._index.remove(gone)
        self._unsaved += len(gone)
        self._mark = (epoch, last_face, last_removal)

    # --- the saved index ---------------------------------------------------------------

    def save(self) -> bool:
        """Save an approximate index; exact ones are read from the store faster.

        Returns:
            Whether a saved index is there now, and holds nothing that was removed.
        """
        if self._cache is None or not isinstance(self._index, IvfIndex):
            return False
        for _ in range(_SAVE_ATTEMPTS):
            epoch, last_face, last_removal = self._mark
            stamp = Stamp(
                epoch=epoch,
                dim=self._index.dim,
                last_face=last_face,
                last_removal=last_removal,
                trained_on=self._index.trained_on,
            )
            if not self._cache.save(self._index, stamp):
                return False
            self._unsaved = 0
            # Somebody may have been forgotten while the file was written: not even the
            # codes of a deleted embedding may stay on the disk.
            gone, last_removal = self._store.removed_after(last_removal)
            if not len(gone):
                return True
            self._index.remove(gone)
            self._mark = (epoch, last_face, last_removal)
        return False

    def erase_removed(self) -> None:
        """Make the saved index forget what the store has forgotten."""
        if self._cache is None or not self._cache.exists:
            return
        self.refresh()
        if not self.save():
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
            return [_rank(queries[0], rows.people, rows.vectors, rows.judged, exclude)]
        place = {face: number for number, face in enumerate(rows.ids)}
        ranked = []
        for query, mine in zip(queries, ids.tolist(), strict=True):
            picked = [place[face] for face in mine if face in place]
            owners = [rows.people[number] for number in picked]
            judged = [rows.judged[number] for number in picked]
            ranked.append(_rank(query, owners, rows.vectors[picked], judged, exclude))
        return ranked


def _rank(
    query: FloatArray,
    owners: Sequence[tuple[int, str]],
    vectors: FloatArray,
    judged: Sequence[Judged],
    exclude: int | None,
) -> list[Near]:
    """Return the owners of embeddings, each with the nearest of theirs, nearest first."""
    if not owners:
        return []
    distances = squared_l2(np.broadcast_to(query, vectors.shape), vectors).tolist()
    best: dict[tuple[int, str], Near] = {}
    for owner, distance, quality in zip(owners, distances, judged, strict=True):
        if owner[0] != exclude and (owner not in best or distance < best[owner].distance):
            best[owner] = Near(*owner, distance, quality)
    return sorted(best.values(), key=lambda near: (near.distance, near.name))
