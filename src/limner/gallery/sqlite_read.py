"""The reading half of the SQLite store."""

from __future__ import annotations

import contextlib
import difflib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from limner.errors import GalleryError
from limner.gallery.names import name_key, normalise_name
from limner.gallery.opening import gallery_error, open_file, user_version
from limner.gallery.records import EnrolledPhoto, Person
from limner.gallery.store import Candidates, FaceRow, Ids, Judged, PersonRow, State
from limner.types import BoxXYXY, FloatArray

VECTOR_DTYPE = np.dtype("<f4")
_MARKS = (4, 32, 256)
_CHUNK = _MARKS[-1]
_CANDIDATES = {
    marks: f"""SELECT e.id, e.person_id, p.name, e.vector, e.quality, e.reason
    FROM embeddings e JOIN people p ON p.id = e.person_id
    WHERE e.id IN ({",".join("?" * marks)})"""
    for marks in _MARKS
}
_MAX_COMPARED_NAMES = 5_000
_PERSON = """SELECT name, (SELECT count(*) FROM embeddings WHERE person_id = people.id),
    note, created, id FROM people"""


class SQLiteReader:
    """Reads a gallery file; not safe for several threads at once.

    Args:
        path: An existing gallery.

    Raises:
        GalleryError: If it cannot be opened or is not a gallery.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection, self._mode = open_file(path)
        self._data_version = -1
        self._signature: tuple[object, ...] = ()
        self._written = True

    # --- the file ----------------------------------------------------------------------

    @property
    def location(self) -> str:
        """The path, for messages."""
        return str(self._path)

    @property
    def read_only(self) -> bool:
        """Whether writes are refused."""
        return self._mode != "rw"

    @property
    def schema(self) -> int:
        """Version of the tables."""
        with self._sentences():
            return user_version(self._connection)

    def size_bytes(self) -> int:
        """Return the size of the database file; its log is not counted."""
        try:
            return self._path.stat().st_size
        except OSError:
            return 0

    def close(self) -> None:
        """Close the connection; the last one folds the log into the file."""
        self._connection.close()

    @contextlib.contextmanager
    def _sentences(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.ProgrammingError as error:
            if "closed" in str(error).lower():
                raise GalleryError(f"the gallery {self._path} has been closed.") from error
            raise
        except sqlite3.Error as error:
            raise gallery_error(self._path, error) from error

    def _stat(self) -> tuple[object, ...]:
        """Return what changes when somebody else writes to a file that we cannot lock."""
        found: list[object] = []
        for name in (self._path, Path(f"{self._path}-wal")):
            try:
                status = os.stat(name)
                found.append((status.st_ino, status.st_size, status.st_mtime_ns))
            except OSError:
                found.append(None)
        return tuple(found)

    def has_changed(self) -> bool:
        """Tell whether this or another connection has written since the last call."""
        with self._sentences():
            if self._mode == "immutable":
                signature = self._stat()
                if self._signature and signature != self._signature:
                    self._connection.close()
                    self._connection, self._mode = open_file(self._path)
                    self._written = True
                self._signature = signature
            version = int(self._connection.execute("PRAGMA data_version").fetchone()[0])
        changed = self._written or version != self._data_version
        self._data_version, self._written = version, False
        return changed

    # --- figures and settings ----------------------------------------------------------

    def state(self) -> State:
        """Return the figures by which an index knows whether it is up to date."""
        with self._sentences():
            row = self._connection.execute(
                """SELECT people, faces, changes,
                    (SELECT value FROM meta WHERE key = 'epoch'),
                    (SELECT value FROM meta WHERE key = 'embedder_id'),
                    (SELECT value FROM meta WHERE key = 'dim'),
                    coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'embeddings'), 0),
                    coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'removed'), 0)
                FROM counts"""
            ).fetchone()
        return State(
            people=row[0],
            faces=row[1],
            changes=row[2],
            epoch=row[3] or "",
            embedder_id=row[4],
            dim=None if row[5] is None else int(row[5]),
            last_face=row[6],
            last_removal=row[7],
        )

    def meta(self, key: str) -> str | None:
        """Return one setting, None where it is not set."""
        with self._sentences():
            row = self._connection.execute("SELECT value FROM meta WHERE key = ?", (key,))
            found = row.fetchone()
        return None if found is None else str(found[0])

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        """Read one state of the gallery inside, whatever others write meanwhile."""
        with self._sentences():
            self._connection.execute("BEGIN")
        try:
            yield
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    # --- people ------------------------------------------------------------------------

    def find(self, who: str | int) -> PersonRow | None:
        """Return the person of that name, whatever its case, or of that id.

        Raises:
            InputError: If it cannot be anybody's name.
        """
        column = "id" if isinstance(who, int) else "key"
        wanted = who if isinstance(who, int) else name_key(normalise_name(who))
        with self._sentences():
            row = self._connection.execute(
                f"""SELECT id, name, note,
                    (SELECT count(*) FROM embeddings WHERE person_id = people.id)
                FROM people WHERE {column} = ?""",
                (wanted,),
            ).fetchone()
        return None if row is None else PersonRow(*row)

    def people(self) -> list[Person]:
        """Return everybody, sorted by name without regard to case."""
        with self._sentences():
            rows = self._connection.execute(f"{_PERSON} ORDER BY key").fetchall()
        return [Person(*row) for row in rows]

    def person(self, person_id: int) -> Person | None:
        """Return the person of that id, None where there is none."""
        with self._sentences():
            row = self._connection.execute(f"{_PERSON} WHERE id = ?", (person_id,)).fetchone()
        return None if row is None else Person(*row)

    def photos_of(self, person_id: int) -> list[EnrolledPhoto]:
        """Return a person's enrolled faces in the order of enrolment."""
        with self._sentences():
            rows = self._connection.execute(
                """SELECT id, photo, photo_digest, x0, y0, x1, y1, score, created,
                    EXISTS (SELECT 1 FROM chips WHERE embedding_id = embeddings.id),
                    quality, reason
                FROM embeddings WHERE person_id = ? ORDER BY id""",
                (person_id,),
            ).fetchall()
        return [
            EnrolledPhoto(
                id=row[0],
                photo=row[1],
                digest=row[2],
                box_xyxy=stored_box(row[3:7]),
                score=row[7],
                created=row[8],
                has_chip=bool(row[9]),
                quality=row[10],
                reason=row[11],
            )
            for row in rows
        ]

    def similar_names(self, name: str) -> list[str]:
        """Return up to three names that look like `name`; none in a very large gallery."""
        with self._sentences():
            rows = self._connection.execute(
                "SELECT key, name FROM people LIMIT ?", (_MAX_COMPARED_NAMES + 1,)
            ).fetchall()
        if len(rows) > _MAX_COMPARED_NAMES:
            return []
        names = dict(rows)
        close = difflib.get_close_matches(name_key(normalise_name(name)), names, n=3)
        return [names[key] for key in close]

    def digests_of(self, name: str) -> frozenset[str]:
        """Return the digests of the photos that a person is enrolled from."""
        person = self.find(name)
        if person is None:
            return frozenset()
        with self._sentences():
            rows = self._connection.execute(
                """SELECT DISTINCT photo_digest FROM embeddings
                WHERE person_id = ? AND photo_digest IS NOT NULL""",
                (person.id,),
            ).fetchall()
        return frozenset(row[0] for row in rows)

    # --- embeddings --------------------------------------------------------------------

    def _matrix(self, blobs: Sequence[bytes]) -> FloatArray:
        """Stack stored vectors.

        Raises:
            GalleryError: If one of them is not as wide as the first.
        """
        if not blobs:
            return np.empty((0, 0), dtype=np.float32)
        width = len(blobs[0])
        if width == 0 or width % VECTOR_DTYPE.itemsize or any(len(b) != width for b in blobs):
            raise GalleryError(
                f"the gallery {self._path} is damaged (embeddings of different widths); "
                "restore it from a backup or an export."
            )
        joined = np.frombuffer(b"".join(blobs), dtype=VECTOR_DTYPE)
        return joined.reshape(len(blobs), -1).astype(np.float32, copy=False)

    def vectors_of(self, person_id: int) -> FloatArray:
        """Return a person's embeddings, shape (N, D)."""
        with self._sentences():
            rows = self._connection.execute(
                "SELECT vector FROM embeddings WHERE person_id = ? ORDER BY id", (person_id,)
            ).fetchall()
        return self._matrix([row[0] for row in rows])

    def judged_of(self, person_id: int) -> list[Judged]:
        """Return quality and reason of each of a person's embeddings, in the order of enrolment."""
        with self._sentences():
            rows = self._connection.execute(
                "SELECT quality, reason FROM embeddings WHERE person_id = ? ORDER BY id",
                (person_id,),
            ).fetchall()
        return [(row[0], row[1]) for row in rows]

    def candidates(self, ids: Sequence[int]) -> Candidates:
        """Return those of the embeddings that still exist, with their present owners."""
        rows: list[tuple[int, int, str, bytes, float | None, str | None]] = []
        with self._sentences():
            for start in range(0, len(ids), _CHUNK):
                chunk = list(ids[start : start + _CHUNK])
                # Few distinct statements, so that they stay prepared.
                marks = next(size for size in _MARKS if size >= len(chunk))
                chunk += [-1] * (marks - len(chunk))
                rows += self._connection.execute(_CANDIDATES[marks], chunk).fetchall()
        return Candidates(
            [row[0] for row in rows],
            [(row[1], row[2]) for row in rows],
            self._matrix([row[3] for row in rows]),
            [(row[4], row[5]) for row in rows],
        )

    def vectors_after(self, last_face: int, *, batch: int) -> Iterator[tuple[Ids, FloatArray]]:
        """Return the embeddings with larger ids, in batches, in the order of their ids."""
        while True:
            with self._sentences():
                rows = self._connection.execute(
                    "SELECT id, vector FROM embeddings WHERE id > ? ORDER BY id LIMIT ?",
                    (last_face, batch),
                ).fetchall()
            if not rows:
                return
            last_face = rows[-1][0]
            ids = np.fromiter((row[0] for row in rows), dtype=np.int64, count=len(rows))
            yield ids, self._matrix([row[1] for row in rows])

    def sample(self, count: int, *, offset: int = 0) -> FloatArray:
        """Return about `count` embeddings, spread evenly over the ids; an offset, others."""
        state = self.state()
        step = max(1, state.faces // max(count, 1))
        with self._sentences():
            rows = self._connection.execute(
                "SELECT vector FROM embeddings WHERE id % ? = ?", (step, offset % step)
            ).fetchall()
        return self._matrix([row[0] for row in rows])

    def removed_after(self, seq: int) -> tuple[Ids, int]:
        """Return the ids removed since, and the newest sequence number."""
        with self._sentences():
            rows = self._connection.execute(
                "SELECT seq, embedding_id FROM removed WHERE seq > ? ORDER BY seq", (seq,)
            ).fetchall()
        ids = np.fromiter((row[1] for row in rows), dtype=np.int64, count=len(rows))
        return ids, (rows[-1][0] if rows else seq)

    def faces(self, *, batch: int = 5_000) -> Iterator[FaceRow]:
        """Return every face with its owner, in the order of enrolment."""
        last = 0
        while True:
            with self._sentences():
                rows = self._connection.execute(
                    """SELECT e.id, p.name, e.vector, e.photo, e.photo_digest,
                        e.x0, e.y0, e.x1, e.y1, e.score, e.created,
                        EXISTS (SELECT 1 FROM chips WHERE embedding_id = e.id),
                        e.quality, e.reason
                    FROM embeddings e JOIN people p ON p.id = e.person_id
                    WHERE e.id > ? ORDER BY e.id LIMIT ?""",
                    (last, batch),
                ).fetchall()
            if not rows:
                return
            last = rows[-1][0]
            for row in rows:
                yield FaceRow(
                    id=row[0],
                    person=row[1],
                    vector=np.frombuffer(row[2], dtype=VECTOR_DTYPE),
                    photo=row[3],
                    digest=row[4],
                    box_xyxy=stored_box(row[5:9]),
                    score=row[9],
                    created=row[10],
                    has_chip=bool(row[11]),
                    judged=(row[12], row[13]),
                )

    def chip(self, face_id: int) -> bytes | None:
        """Return a face's kept chip as PNG, None if it was not kept."""
        with self._sentences():
            row = self._connection.execute(
                "SELECT png FROM chips WHERE embedding_id = ?", (face_id,)
            ).fetchone()
        return None if row is None else bytes(row[0])

    def chips(self) -> int:
        """Return how many chips are kept."""
        with self._sentences():
            return int(self._connection.execute("SELECT count(*) FROM chips").fetchone()[0])


def stored_box(values: Sequence[float | None]) -> BoxXYXY | None:
    """Return four columns as a box, None where they are empty."""
    x0, y0, x1, y1 = values
    if x0 is None or y0 is None or x1 is None or y1 is None:
        return None
    return x0, y0, x1, y1
