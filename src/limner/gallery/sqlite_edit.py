"""The writing half of the SQLite store: one transaction a change."""

from __future__ import annotations

import contextlib
import secrets
import sqlite3
from collections.abc import Iterator, Mapping

import numpy as np

from limner.errors import GalleryError, InputError, NameTakenError, UnknownNameError
from limner.gallery.names import name_key, normalise_name, normalise_note
from limner.gallery.opening import BUSY_TIMEOUT_S
from limner.gallery.sqlite_read import VECTOR_DTYPE, SQLiteReader
from limner.gallery.store import Judged, unknown_person
from limner.types import FloatArray

_SCRUB_TIMEOUT_S = 2.0


def vector_blob(vector: FloatArray) -> bytes:
    """Return a vector as it is stored: little-endian float32."""
    return np.ascontiguousarray(vector, dtype=VECTOR_DTYPE).tobytes()


class SQLiteEditor(SQLiteReader):
    """Changes and deletes what is in a gallery file; every commit is on the disk."""

    def _check_writable(self) -> None:
        if self.read_only:
            raise GalleryError(
                f"the gallery {self.location} is on a read-only disk or folder; "
                "nothing was changed."
            )

    @contextlib.contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        """Run one transaction: all of it is on the disk afterwards, or none."""
        self._check_writable()
        connection = self._connection
        with self._sentences():
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("UPDATE counts SET changes = changes + 1")
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            self._written = True

    def set_meta(self, values: Mapping[str, str | None]) -> None:
        """Change settings together; None removes one."""
        with self._write() as connection:
            for key, value in values.items():
                if value is None:
                    connection.execute("DELETE FROM meta WHERE key = ?", (key,))
                else:
                    connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    # --- changing ----------------------------------------------------------------------

    def remove(self, name: str | int) -> int:
        """Delete a person, the embeddings and the chips; return how many embeddings.

        Raises:
            UnknownNameError: If there is no such person.
        """
        with self._write() as connection:
            person = self.find(name)
            if person is None:
                raise unknown_person(self, name)
            connection.execute("DELETE FROM embeddings WHERE person_id = ?", (person.id,))
            connection.execute("DELETE FROM people WHERE id = ?", (person.id,))
        return person.faces

    def remove_face(self, name: str | int, face_id: int) -> int:
        """Delete one embedding of a person; return how many the person has left.

        Raises:
            UnknownNameError: If there is no such person, or the person has no such embedding.
            InputError: If it is the person's only one.
        """
        with self._write() as connection:
            person = self.find(name)
            if person is None:
                raise unknown_person(self, name)
            done = connection.execute(
                "DELETE FROM embeddings WHERE id = ? AND person_id = ?", (face_id, person.id)
            )
            if not done.rowcount:
                raise UnknownNameError(f"{person.name!r} has no enrolled photo of id {face_id}.")
            if person.faces == 1:
                raise InputError(
                    f"it is the only photo of {person.name!r}; forget the person instead."
                )
        return person.faces - 1

    def rename(self, old: str | int, new: str) -> str:
        """Give a person another name; return it as stored.

        Raises:
            UnknownNameError: If there is no such person.
            NameTakenError: If somebody else has the new name.
        """
        fresh = normalise_name(new)
        with self._write() as connection:
            person, other = self.find(old), self.find(fresh)
            if person is None:
                raise unknown_person(self, old)
            if other is not None and other.id != person.id:
                raise NameTakenError(
                    f"somebody in the gallery {self.location} is called {other.name!r} already; "
                    f"if both are one person, merge {person.name!r} into {other.name!r}."
                )
            connection.execute(
                "UPDATE people SET name = ?, key = ? WHERE id = ?",
                (fresh, name_key(fresh), person.id),
            )
        return fresh

    def merge(self, source: str | int, into: str | int) -> int:
        """Move one person's embeddings to another; return how many the other has now.

        The other's note stays; where it is empty, the first one's is taken.

        Raises:
            UnknownNameError: If one of them does not exist.
            InputError: If both are the same person.
        """
        with self._write() as connection:
            first, second = self.find(source), self.find(into)
            if first is None or second is None:
                raise unknown_person(self, source if first is None else into)
            if first.id == second.id:
                raise InputError(f"{first.name!r} cannot be merged into itself.")
            connection.execute(
                "UPDATE embeddings SET person_id = ? WHERE person_id = ?", (second.id, first.id)
            )
            if first.note and not second.note:
                connection.execute(
                    "UPDATE people SET note = ? WHERE id = ?", (first.note, second.id)
                )
            connection.execute("DELETE FROM people WHERE id = ?", (first.id,))
        return first.faces + second.faces

    def set_note(self, name: str | int, note: str) -> None:
        """Replace a person's note.

        Raises:
            UnknownNameError: If there is no such person.
            InputError: If the note cannot be stored.
        """
        clean = normalise_note(note)
        with self._write() as connection:
            person = self.find(name)
            if person is None:
                raise unknown_person(self, name)
            connection.execute("UPDATE people SET note = ? WHERE id = ?", (clean, person.id))

    def replace_vectors(
        self,
        vectors: Mapping[int, tuple[FloatArray, Judged]],
        *,
        embedder_id: str,
        dim: int,
        changes: int,
    ) -> None:
        """Replace every embedding and pin another embedder; faces without one are dropped.

        Args:
            vectors: Embedding id -> shape (D,), and the face's quality and reason.
            embedder_id: The embedder of all of them.
            dim: Their width D.
            changes: `State.changes` at the time when the work began.

        Raises:
            GalleryError: If somebody has changed the gallery since.
        """
        with self._write() as connection:
            if connection.execute("SELECT changes FROM counts").fetchone()[0] != changes:
                raise GalleryError(
                    f"somebody else changed the gallery {self.location} in the meantime; "
                    "nothing was changed. Run the re-embedding again."
                )
            stored = [row[0] for row in connection.execute("SELECT id FROM embeddings").fetchall()]
            gone = [(face,) for face in stored if face not in vectors]
            connection.executemany("DELETE FROM embeddings WHERE id = ?", gone)
            connection.execute(
                "DELETE FROM people WHERE id NOT IN (SELECT person_id FROM embeddings)"
            )
            connection.executemany(
                "UPDATE embeddings SET vector = ?, quality = ?, reason = ? WHERE id = ?",
                ((vector_blob(new), *judged, face) for face, (new, judged) in vectors.items()),
            )
            connection.execute(
                "DELETE FROM meta WHERE key IN ('calibration', 'calibration_report')"
            )
            connection.executemany(
                "INSERT OR REPLACE INTO meta VALUES (?, ?)",
                [
                    ("embedder_id", embedder_id),
                    ("dim", str(dim)),
                    ("epoch", secrets.token_hex(8)),
                ],
            )

    # --- housekeeping ------------------------------------------------------------------

    def scrub(self) -> bool:
        """Fold the log into the file and empty it, so that nothing deleted stays in it.

        Returns:
            False if another process was reading; then the log is emptied later.
        """
        with self._sentences():
            self._connection.execute(f"PRAGMA busy_timeout = {int(_SCRUB_TIMEOUT_S * 1000)}")
            try:
                row = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            finally:
                self._connection.execute(f"PRAGMA busy_timeout = {int(BUSY_TIMEOUT_S * 1000)}")
        return not row[0]

    def vacuum(self) -> None:
        """Give unused space back to the file system."""
        self._check_writable()
        with self._sentences():
            self._connection.execute("VACUUM")
        self.scrub()
