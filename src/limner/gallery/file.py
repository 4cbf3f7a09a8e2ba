"""Open, close and describe a gallery: the half of `Gallery` that asks and changes nothing."""

from __future__ import annotations

import contextlib
import json
import math
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from limner.errors import (
    GalleryError,
    InputError,
    ShapeError,
    UnknownNameError,
    ZeroNormError,
)
from limner.gallery.accepted import Known, embeddings_of
from limner.gallery.cache import IndexCache
from limner.gallery.records import (
    EnrolledPhoto,
    ExportNote,
    FarFace,
    GalleryInfo,
    Person,
    ReviewedPhoto,
)
from limner.gallery.search import Searcher
from limner.gallery.sqlite_store import SQLiteStore
from limner.gallery.store import State, Store, embedder_mismatch, unknown_person
from limner.gallery.together import far_ones, nearest_other, reviewed
from limner.similarity import Calibration
from limner.similarity.verdicts import Verdicts
from limner.types import Embedding, FloatArray

if TYPE_CHECKING:
    from typing import Self

GALLERY_VARIABLE = "LIMNER_GALLERY"
FILE_NAME = "faces.limner"
_UNIT_TOLERANCE = 1e-3


def default_location() -> Path:
    """Return the gallery that is used where none is named: `LIMNER_GALLERY`, or user data."""
    named = os.environ.get(GALLERY_VARIABLE)
    if named:
        return Path(named)
    import platformdirs

    return Path(platformdirs.user_data_dir("limner", appauthor=False)) / FILE_NAME


class GalleryFile:
    """An open gallery file: its store, its index, its thresholds, and one lock around them.

    Args:
        store: Where people and embeddings are kept.
        cache: Where a large index is saved; None to keep it in memory.
    """

    def __init__(self, store: Store, cache: IndexCache | None = None) -> None:
        self._store = store
        self._cache = cache
        self._searcher = Searcher(store, cache)
        self._lock = threading.RLock()
        self._scrub_pending = False
        self._verdicts: tuple[tuple[str, str | None], Verdicts] | None = None
        self._calibration: tuple[int, str | None] | None = None

    @classmethod
    def open(
        cls,
        location: str | os.PathLike[str] | None = None,
        *,
        embedder_id: str | None = None,
        create: bool = False,
    ) -> Self:
        """Open a gallery.

        Args:
            location: The file. Default: `LIMNER_GALLERY`, or ``faces.limner`` in the folder for
                user data.
            embedder_id: Refuse a gallery of another embedder; a new gallery is pinned by its
                first enrolment.
            create: Make an empty gallery where there is none.

        Returns:
            The gallery; close it, or use it in a ``with`` statement.

        Raises:
            GalleryError: If there is none, or it cannot be opened.
            EmbedderMismatch: If it belongs to another embedder.
            InputError: If `location` is not a file name.
        """
        path = default_location() if location is None else Path(location)
        if "://" in str(location):
            raise InputError(f"a gallery is a file, such as faces.limner; got {location}.")
        if location is None and create and GALLERY_VARIABLE not in os.environ:
            with contextlib.suppress(OSError):
                path.parent.mkdir(parents=True, exist_ok=True)
        if not create and not path.exists():
            raise GalleryError(
                f"there is no gallery at {path}; `limner enroll NAME PHOTO` makes one "
                "(in Python: Gallery.open(..., create=True))."
            )
        store = SQLiteStore(path, create_missing=create)
        gallery = cls(store, IndexCache(path, read_only=store.read_only))
        try:
            pinned = gallery.embedder_id
            if embedder_id is not None and pinned is not None and pinned != embedder_id:
                raise embedder_mismatch(store.location, pinned, embedder_id)
        except BaseException:
            gallery.close()
            raise
        return gallery

    def close(self) -> None:
        """Save what the index has learnt and release the file."""
        with self._lock:
            with contextlib.suppress(GalleryError):
                if self._scrub_pending:
                    self._scrub()
                self._searcher.close()
            self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # --- what it is --------------------------------------------------------------------

    @property
    def location(self) -> str:
        """The file."""
        return self._store.location

    @property
    def embedder_id(self) -> str | None:
        """The embedder that the gallery belongs to; None before the first enrolment."""
        with self._lock:
            return self._searcher.state().embedder_id

    @property
    def read_only(self) -> bool:
        """Whether the gallery can only be read from here."""
        return self._store.read_only

    def __len__(self) -> int:
        """Return how many people there are."""
        with self._lock:
            return self._searcher.state().people

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        with self._lock, contextlib.suppress(InputError):
            self._searcher.state()
            return self._store.find(name) is not None
        return False

    def people(self) -> list[Person]:
        """Return everybody, sorted by name."""
        with self._lock:
            self._searcher.state()  # sees what others have written to a read-only file
            return self._store.people()

    def person(self, which: str | int) -> Person:
        """Return one person, by name or by id.

        Raises:
            UnknownNameError: If there is none.
        """
        with self._lock:
            self._searcher.state()
            if isinstance(which, str):
                row = self._store.find(which)
                if row is None:
                    raise unknown_person(self._store, which)
                which = row.id
            found = self._store.person(which)
        if found is None:
            raise UnknownNameError(f"nobody in the gallery {self.location} has the id {which}.")
        return found

    def photos(self, name: str) -> list[EnrolledPhoto]:
        """Return a person's enrolled faces in the order of enrolment.

        Raises:
            UnknownNameError: If there is no such person.
        """
        with self._lock:
            return self._store.photos_of(self.person(name).id)

    def review(self, name: str | int) -> list[ReviewedPhoto]:
        """Return a person's enrolled faces with their qualities, and mark those that look odd.

        A face is odd when even the nearest of the person's other faces is further away than
        verification allows: it may be somebody else.

        Args:
            name: The person, by name or by id.

        Raises:
            UnknownNameError: If there is no such person.
        """
        with self._lock, self._store.snapshot():
            state, person = self._searcher.state(), self.person(name)
            photos = self._store.photos_of(person.id)
            distances = nearest_other(self._store.vectors_of(person.id))
            tau = self._judge(str(state.embedder_id), state).verify_threshold()
        return [
            reviewed(photo, float(distance), tau)
            for photo, distance in zip(photos, distances, strict=True)
        ]

    def far(self, name: str | int, faces: Known | Sequence[Known]) -> list[FarFace]:
        """Tell which faces are far from a person's others, before they are enrolled.

        Args:
            name: The person, by name or by id; may be new.
            faces: Of one person, it is said. They count as each other's others.

        Returns:
            Those whose nearest other is further away than verification allows; none where the
            person would have a single face, or the embedder has no calibration.
        """
        many = embeddings_of(faces, call="far")
        if not many:
            return []
        with self._lock:
            embedder_id, vectors, state = self._checked(many)
            tau = self._judge(embedder_id, state).verify_threshold()
            known = self._store.find(name)
            theirs = vectors[:0] if known is None else self._store.vectors_of(known.id)
        return [] if tau is None else far_ones(vectors, theirs, tau)

    def exports(self) -> list[ExportNote]:
        """Return the exports that were made of this gallery, the oldest first.

        They may still hold people who were forgotten since.
        """
        from limner.gallery.exports import read_exports

        with self._lock:
            return read_exports(self._store)

    def info(self) -> GalleryInfo:
        """Return what the gallery is, how large, and where its thresholds come from."""
        with self._lock:
            state = self._searcher.state()
            verdicts = None if state.embedder_id is None else self._judge(state.embedder_id, state)
            return GalleryInfo(
                location=self.location,
                embedder_id=state.embedder_id,
                dim=state.dim,
                people=state.people,
                faces=state.faces,
                chips=self._store.chips(),
                created=self._store.meta("created") or "",
                bytes=self._store.size_bytes(),
                read_only=self.read_only,
                schema=self._store.schema,
                index=self._index_words(),
                calibration=None if verdicts is None else verdicts.words,
                verify_threshold=None if verdicts is None else verdicts.verify_threshold(),
                identify_threshold=(
                    None if verdicts is None else verdicts.identify_threshold(state.faces)
                ),
            )

    def _index_words(self) -> str:
        if self._searcher.index is not None:
            return self._searcher.index.kind
        return "approximate, saved" if self._cache is not None and self._cache.exists else "exact"

    @property
    def own_calibration(self) -> Calibration | None:
        """The calibration that was fitted for this gallery, if any."""
        with self._lock:
            text = self._store.meta("calibration")
        return None if text is None else self._calibration_of(text)

    def _calibration_of(self, text: str) -> Calibration:
        try:
            return Calibration.from_json(json.loads(text))
        except ValueError as error:  # InputError is one
            raise GalleryError(
                f"the gallery {self.location} is damaged: its calibration cannot be read. Fit it "
                "anew with `limner gallery calibrate`, or go back to the shipped one with --reset."
            ) from error

    def _judge(self, embedder_id: str, state: State) -> Verdicts:
        """Return the thresholds in force; they are parsed again only when they changed."""
        if self._calibration is None or self._calibration[0] != state.changes:
            self._calibration = (state.changes, self._store.meta("calibration"))
        key = (embedder_id, self._calibration[1])
        if self._verdicts is None or self._verdicts[0] != key:
            own = None if key[1] is None else self._calibration_of(key[1])
            if own is not None and own.embedder_id != embedder_id:
                own = None
            self._verdicts = (key, Verdicts.of(embedder_id, own, self.location))
        return self._verdicts[1]

    def _scrub(self) -> None:
        self._scrub_pending = True
        with contextlib.suppress(GalleryError):
            self._scrub_pending = not self._store.scrub()

    def discard_index(self) -> None:
        """Throw the saved index away; it is made anew when it is needed."""
        with self._lock:
            if self._cache is not None:
                self._cache.discard()
            self._scrub()

    def _checked(self, embeddings: Sequence[Embedding]) -> tuple[str, FloatArray, State]:
        """Return the embedder and the vectors (N, D) of embeddings that may come in here."""
        state = self._searcher.state()
        embedder_id, dim = embeddings[0].embedder_id, state.dim or embeddings[0].dim
        for embedding in embeddings:
            if state.embedder_id is not None and embedding.embedder_id != state.embedder_id:
                raise embedder_mismatch(self.location, state.embedder_id, embedding.embedder_id)
            if embedding.embedder_id != embedder_id:
                raise InputError(
                    f"embeddings of two embedders came together: {embedder_id} and "
                    f"{embedding.embedder_id}."
                )
            if embedding.dim != dim:
                raise ShapeError(f"embeddings must have width {dim}, got {embedding.dim}.")
            length = math.sqrt(float(embedding.vector @ embedding.vector))
            if length == 0:
                raise ZeroNormError("an embedding of length zero has no direction.")
            if abs(length - 1) > _UNIT_TOLERANCE:
                raise InputError(
                    f"an embedding must have length 1, got {length:.4g}; "
                    "scale it with limner.similarity.normalise."
                )
        vectors = np.array([e.vector for e in embeddings], dtype=np.float32)
        return embedder_id, vectors, state

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Take the gallery for a change; questions are answered while another process writes."""
        self._store.await_turn()
        with self._lock:
            yield

    @contextlib.contextmanager
    def locked(self) -> Iterator[Store]:
        """Give the modules of this room the store while no other thread uses it."""
        with self._lock:
            yield self._store
