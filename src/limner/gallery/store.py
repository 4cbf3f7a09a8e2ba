"""What a gallery needs of a database: `Store`. SQLite is the first one that has it.

A store keeps people and their embeddings and is the only truth; an index of it may be
lost at any moment. Every method that writes is one transaction: when it returns, the
change is on the disk; when it raises, nothing has changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from limner.errors import EmbedderMismatch, UnknownNameError
from limner.gallery.records import EnrolledPhoto, Person, PhotoRef
from limner.types import BoxXYXY, FloatArray

Ids = NDArray[np.int64]
OnConflict = Literal["refuse", "merge", "skip"]

Judged = tuple[float | None, str | None]
"""A face's quality in [0, 1], and why it is too low to judge by; None where not known, or not."""

NOT_JUDGED: Judged = (None, None)


@dataclass(frozen=True, eq=False)
class NewFace:
    """An embedding on its way into the store.

    Attributes:
        vector: Shape (D,), float32, unit length.
        photo: Where it came from.
        chip: A PNG of the face with a margin, if it is to be kept.
        judged: The face's quality, and why it is too low to judge by.
    """

    vector: FloatArray
    photo: PhotoRef | None = None
    chip: bytes | None = None
    judged: Judged = NOT_JUDGED


@dataclass(frozen=True)
class PersonRow:
    """A person as the store knows them."""

    id: int
    name: str
    note: str
    faces: int


@dataclass(frozen=True, eq=False)
class FaceRow:
    """A stored face with everything but its chip."""

    id: int
    person: str
    vector: FloatArray
    photo: str | None
    digest: str | None
    box_xyxy: BoxXYXY | None
    score: float | None
    created: str
    has_chip: bool
    judged: Judged = NOT_JUDGED


@dataclass(frozen=True, eq=False)
class Candidates:
    """Stored embeddings with their owners, as needed to rank them.

    Attributes:
        ids: The embeddings' ids, N of them.
        people: Whose they are now: id and name.
        vectors: Shape (N, D).
        judged: Quality and reason of each.
    """

    ids: list[int]
    people: list[tuple[int, str]]
    vectors: FloatArray
    judged: list[Judged]


@dataclass(frozen=True)
class State:
    """A snapshot of the figures that tell whether an index is up to date.

    Attributes:
        people: How many people.
        faces: How many embeddings.
        changes: Grows with every transaction that writes.
        last_face: The largest embedding id that was ever given.
        last_removal: The largest sequence number in the log of removals.
        epoch: Changes when every vector is replaced (re-embedding): old indexes are void.
        embedder_id: The pinned embedder; None before the first enrolment.
        dim: Width of the embeddings; None before the first enrolment.
    """

    people: int
    faces: int
    changes: int
    last_face: int
    last_removal: int
    epoch: str
    embedder_id: str | None
    dim: int | None


@dataclass(frozen=True)
class Added:
    """What one enrolment changed.

    Attributes:
        person: The name as stored.
        added: Ids of the new embeddings.
        taken: Which of the faces that came were added, by their places.
        skipped: Photos that this person has already.
        shared: (photo, other person) where the same face of the same photo is enrolled.
        total: How many embeddings the person has now.
        created: Whether the person is new.
    """

    person: str
    added: tuple[int, ...]
    taken: tuple[int, ...]
    skipped: tuple[str, ...]
    shared: tuple[tuple[str, str], ...]
    total: int
    created: bool


@dataclass(frozen=True, eq=False)
class Incoming:
    """A face that comes with its owner, from a portable file or a bulk load.

    Attributes:
        name: The person's name.
        face: The embedding.
        note: The person's note; used if the person is new or has none.
        person_created: When the person was enrolled first; None for now.
        created: When the face was enrolled; None for now.
    """

    name: str
    face: NewFace
    note: str = ""
    person_created: str | None = None
    created: str | None = None


@dataclass(frozen=True)
class Absorbed:
    """What a bulk load changed."""

    added: int
    skipped: int


class Store(Protocol):
    """People and embeddings on durable storage."""

    @property
    def location(self) -> str:
        """Where it is, for messages."""

    @property
    def read_only(self) -> bool:
        """Whether writes are refused."""

    @property
    def schema(self) -> int:
        """Version of the tables."""

    def size_bytes(self) -> int:
        """Return how much storage it takes."""

    def has_changed(self) -> bool:
        """Tell cheaply whether anything may have been written since the last call."""

    def state(self) -> State:
        """Return the current snapshot of figures."""

    def meta(self, key: str) -> str | None:
        """Return one setting."""

    def set_meta(self, values: Mapping[str, str | None]) -> None:
        """Change settings together; None removes one."""

    def find(self, who: str | int) -> PersonRow | None:
        """Return the person of that name, whatever its case, or of that id."""

    def people(self) -> list[Person]:
        """Return everybody, sorted by name."""

    def person(self, person_id: int) -> Person | None:
        """Return the person of that id."""

    def photos_of(self, person_id: int) -> list[EnrolledPhoto]:
        """Return a person's enrolled faces in the order of enrolment."""

    def similar_names(self, name: str) -> list[str]:
        """Return a few names that look like `name`, for messages."""

    def add(
        self, name: str | int, faces: Sequence[NewFace], *, embedder_id: str, note: str | None
    ) -> Added:
        """Add faces to a person; pins the embedder on first use.

        Somebody who is named is made if need be; somebody of an id must be there.
        """

    def absorb(
        self,
        faces: Iterable[Incoming],
        *,
        embedder_id: str,
        on_conflict: OnConflict,
        calibration: str | None = None,
    ) -> Absorbed:
        """Add many faces of many people in one transaction."""

    def await_turn(self) -> None:
        """Wait until no other process writes; needs no lock, and promises nothing."""

    def snapshot(self) -> AbstractContextManager[None]:
        """Read one state inside, whatever others write meanwhile."""

    def vectors_of(self, person_id: int) -> FloatArray:
        """Return a person's embeddings, shape (N, D), in the order of `photos_of`."""

    def judged_of(self, person_id: int) -> list[Judged]:
        """Return quality and reason of each of a person's embeddings, in the same order."""

    def digests_of(self, name: str) -> frozenset[str]:
        """Return the digests of a person's photos."""

    def candidates(self, ids: Sequence[int]) -> Candidates:
        """Return those of the embeddings that still exist."""

    def vectors_after(self, last_face: int, *, batch: int) -> Iterator[tuple[Ids, FloatArray]]:
        """Return the embeddings with larger ids, in batches, in the order of their ids."""

    def sample(self, count: int, *, offset: int = 0) -> FloatArray:
        """Return about `count` embeddings, spread over the whole store."""

    def removed_after(self, seq: int) -> tuple[Ids, int]:
        """Return the ids removed since, and the newest sequence number."""

    def faces(self) -> Iterator[FaceRow]:
        """Return every face in the order of enrolment."""

    def chip(self, face_id: int) -> bytes | None:
        """Return a face's kept chip as PNG."""

    def chips(self) -> int:
        """Return how many chips are kept."""

    def remove(self, name: str | int) -> int:
        """Delete a person and everything of theirs; return how many embeddings."""

    def remove_face(self, name: str | int, face_id: int) -> int:
        """Delete one embedding of a person; return how many the person has left."""

    def rename(self, old: str | int, new: str) -> str:
        """Give a person another name."""

    def merge(self, source: str | int, into: str | int) -> int:
        """Move the embeddings of one person to another and delete the first."""

    def set_note(self, name: str | int, note: str) -> None:
        """Replace a person's note."""

    def replace_vectors(
        self,
        vectors: Mapping[int, tuple[FloatArray, Judged]],
        *,
        embedder_id: str,
        dim: int,
        changes: int,
    ) -> None:
        """Replace every embedding and its quality, drop the rest, and pin another embedder."""

    def scrub(self) -> bool:
        """Remove what was deleted from logs as well; False if somebody was reading."""

    def vacuum(self) -> None:
        """Give unused space back to the file system."""

    def close(self) -> None:
        """Release the database."""


def embedder_mismatch(location: str, pinned: str, given: str) -> EmbedderMismatch:
    """Return the error of an embedding that does not belong into a gallery."""
    name = re.split(r"-[0-9a-f]{8,}", given, maxsplit=1)[0]
    name += " --mirror" if given.endswith("-m") else ""
    return EmbedderMismatch(
        f"the gallery {location} holds embeddings of {pinned}, got one of {given}; "
        f"use that embedder, or change the gallery with "
        f"`limner gallery re-embed --gallery {location} --embedder {name}`."
    )


class _Named(Protocol):
    @property
    def location(self) -> str: ...

    def similar_names(self, name: str) -> list[str]: ...


def unknown_person(store: _Named, name: str | int) -> UnknownNameError:
    """Return the error of a name, or an id, that nobody in a gallery has."""
    if isinstance(name, int):
        return UnknownNameError(f"nobody in the gallery {store.location} has the id {name}.")
    close = store.similar_names(name)
    hint = f"; did you mean {' or '.join(map(repr, close))}?" if close else "."
    return UnknownNameError(f"nobody in the gallery {store.location} is called {name!r}{hint}")
