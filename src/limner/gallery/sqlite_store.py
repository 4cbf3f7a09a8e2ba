"""The SQLite store: WAL journal, every commit on the disk before it is acknowledged."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from limner.errors import InputError, NameTakenError
from limner.gallery.names import name_key, normalise_name, normalise_note
from limner.gallery.opening import create, now
from limner.gallery.records import PhotoRef, same_box
from limner.gallery.sqlite_edit import SQLiteEditor, vector_blob
from limner.gallery.sqlite_read import stored_box
from limner.gallery.store import (
    Absorbed,
    Added,
    Incoming,
    NewFace,
    OnConflict,
    embedder_mismatch,
    unknown_person,
)
from limner.types import BoxXYXY

_LISTED = 5

_INSERT_FACE = """INSERT INTO embeddings
    (person_id, vector, photo, photo_digest, x0, y0, x1, y1, score, quality, reason, created)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""

_Known = tuple[str | None, BoxXYXY | None, bytes]


class SQLiteStore(SQLiteEditor):
    """People and embeddings in one SQLite file. Not safe for several threads at once.

    Args:
        path: The file.
        create_missing: Make an empty gallery where there is none.

    Raises:
        GalleryError: If it cannot be opened or made, or is not a gallery.
    """

    def __init__(self, path: Path, *, create_missing: bool = False) -> None:
        if create_missing and not path.exists():
            create(path)
        super().__init__(path)

    # --- adding ------------------------------------------------------------------------

    def _pin(self, embedder_id: str, dim: int) -> None:
        """Check the embedder inside a transaction, or pin it if this is the first use."""
        pinned = self.meta("embedder_id")
        if pinned is None:
            self._connection.executemany(
                "INSERT INTO meta VALUES (?, ?)",
                [("embedder_id", embedder_id), ("dim", str(dim))],
            )
        elif pinned != embedder_id:
            raise embedder_mismatch(self.location, pinned, embedder_id)
        elif self.meta("dim") != str(dim):
            raise InputError(
                f"the gallery {self.location} holds embeddings of width {self.meta('dim')}, "
                f"got {dim}."
            )

    def _person(self, name: str, *, note: str = "", created: str | None = None) -> tuple[int, bool]:
        """Return a person's id, and whether the person was made just now."""
        key = name_key(name)
        row = self._connection.execute("SELECT id FROM people WHERE key = ?", (key,)).fetchone()
        if row is not None:
            return int(row[0]), False
        cursor = self._connection.execute(
            "INSERT INTO people (name, key, note, created) VALUES (?, ?, ?, ?)",
            (name, key, note, created or now()),
        )
        return int(cursor.lastrowid or 0), True

    def _insert(self, person_id: int, face: NewFace, created: str) -> int:
        photo = face.photo or PhotoRef(name="")
        box = photo.box_xyxy or (None, None, None, None)
        # A file name that is no valid Unicode is kept in a readable form.
        name = photo.name.encode("utf-8", "backslashreplace").decode() or None
        row = (person_id, vector_blob(face.vector), name, photo.digest, *box, photo.score)
        values = (*row, *face.judged, created)
        face_id = int(self._connection.execute(_INSERT_FACE, values).lastrowid or 0)
        if face.chip is not None:
            self._connection.execute("INSERT INTO chips VALUES (?, ?)", (face_id, face.chip))
        return face_id

    def _holders(self, digest: str) -> list[tuple[int, str, BoxXYXY | None]]:
        """Return who is enrolled from the photo of that digest, and which face of it."""
        rows = self._connection.execute(
            """SELECT p.id, p.name, e.x0, e.y0, e.x1, e.y1
            FROM embeddings e JOIN people p ON p.id = e.person_id WHERE e.photo_digest = ?""",
            (digest,),
        ).fetchall()
        return [(row[0], row[1], stored_box(row[2:6])) for row in rows]

    def add(
        self,
        name: str | int,
        faces: Sequence[NewFace],
        *,
        embedder_id: str,
        note: str | None = None,
    ) -> Added:
        """Add faces to a person, who is made if need be; somebody of an id must be there.

        A face whose photo this person is enrolled from already is skipped, and one whose embedding
        the person has to the last bit.

        Raises:
            UnknownNameError: If nobody has the id, now that it is written.
            InputError: If the name or the note cannot be stored.
            EmbedderMismatch: If the gallery belongs to another embedder.
            GalleryError: If it cannot be written.
        """
        name = name if isinstance(name, int) else normalise_name(name)
        clean_note = None if note is None else normalise_note(note)
        added: list[int] = []
        taken: list[int] = []
        skipped: list[str] = []
        shared: list[tuple[str, str]] = []
        with self._write() as connection:
            self._pin(embedder_id, int(faces[0].vector.size))
            if isinstance(name, int):
                there = self.find(name)
                if there is None:
                    raise unknown_person(self, name)
                person_id, created, name = there.id, False, there.name
            else:
                person_id, created = self._person(name)
            if clean_note is not None:
                connection.execute(
                    "UPDATE people SET note = ? WHERE id = ?", (clean_note, person_id)
                )
            holders = {
                digest: self._holders(digest)
                for digest in {f.photo.digest for f in faces if f.photo and f.photo.digest}
            }
            theirs = set() if created else {blob for _, _, blob in self._known(person_id)}
            for place, face in enumerate(faces):
                photo, blob = face.photo, vector_blob(face.vector)
                known = holders.get(photo.digest or "", []) if photo else []
                here = [h for h in known if photo and same_box(photo.box_xyxy, h[2])]
                if blob in theirs or any(holder == person_id for holder, _, _ in here):
                    skipped.append((photo and photo.name) or f"face {place + 1}")
                    continue
                theirs.add(blob)
                taken.append(place)
                if photo:
                    shared += [(photo.name, other) for _, other, _ in here]
                added.append(self._insert(person_id, face, now()))
                if photo and photo.digest and photo.box_xyxy:
                    known.append((person_id, name, photo.box_xyxy))
            stored, total = connection.execute(
                """SELECT name, (SELECT count(*) FROM embeddings WHERE person_id = people.id)
                FROM people WHERE id = ?""",
                (person_id,),
            ).fetchone()
        return Added(
            stored, tuple(added), tuple(taken), tuple(skipped), tuple(shared), total, created
        )

    def _known(self, person_id: int) -> list[_Known]:
        rows = self._connection.execute(
            "SELECT photo_digest, x0, y0, x1, y1, vector FROM embeddings WHERE person_id = ?",
            (person_id,),
        ).fetchall()
        return [(row[0], stored_box(row[1:5]), bytes(row[5])) for row in rows]

    @staticmethod
    def _is_known(face: NewFace, known: Sequence[_Known]) -> bool:
        photo, blob = face.photo, vector_blob(face.vector)
        for digest, box, vector in known:
            if vector == blob:
                return True
            same_photo = photo is not None and photo.digest and digest == photo.digest
            if same_photo and photo and same_box(photo.box_xyxy, box):
                return True
        return False

    def absorb(
        self,
        faces: Iterable[Incoming],
        *,
        embedder_id: str,
        on_conflict: OnConflict = "merge",
        calibration: str | None = None,
    ) -> Absorbed:
        """Add many faces of many people in one transaction.

        Args:
            faces: The faces; those that a person has already are skipped.
            embedder_id: The embedder of all of them.
            on_conflict: What to do with people who are in the gallery already.
            calibration: Taken over if the gallery is empty.

        Returns:
            How many were added and skipped.

        Raises:
            NameTakenError: If `on_conflict` is ``refuse`` and somebody is there already.
            EmbedderMismatch: If the gallery belongs to another embedder.
            GalleryError: If it cannot be written.
        """
        people: dict[str, tuple[int, list[_Known] | None]] = {}
        taken: list[str] = []
        added = skipped = 0
        with self._write() as connection:
            empty = not connection.execute("SELECT people FROM counts").fetchone()[0]
            if calibration is not None and empty:
                connection.execute(
                    "INSERT OR REPLACE INTO meta VALUES ('calibration', ?)", (calibration,)
                )
            for item in faces:
                person = people.get(item.name)
                if person is None:
                    if not people:
                        self._pin(embedder_id, int(item.face.vector.size))
                    name, note = normalise_name(item.name), normalise_note(item.note)
                    person_id, made = self._person(name, note=note, created=item.person_created)
                    person = (person_id, None if made else self._known(person_id))
                    people[item.name] = person
                    if not made and on_conflict == "refuse":
                        taken.append(name)
                person_id, known = person
                ours = known is not None and (
                    on_conflict == "skip" or self._is_known(item.face, known)
                )
                if ours or taken:
                    skipped += 1
                    continue
                self._insert(person_id, item.face, item.created or now())
                added += 1
            if taken:
                raise _taken(self.location, taken)
        return Absorbed(added, skipped)


def _taken(location: str, names: Sequence[str]) -> NameTakenError:
    listed = ", ".join(map(repr, names[:_LISTED]))
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return NameTakenError(
        f"{listed}{more} are in the gallery {location} already; nothing was imported. "
        "Say whether to merge them (on_conflict='merge') or to leave them as they are ('skip')."
    )
