"""One portable file of a whole gallery: export and import.

The file is a zip archive of exactly these members, read by these names only, so that no
path in an archive is ever followed and nothing is unpickled:

``manifest.json``    format, embedder, counts, calibration, SHA-256 and size of each member
``people.jsonl``     one person a line: name, note, created
``faces.jsonl``      one face a line: index of the person, photo, digest, box, score, created,
                     bytes of its chip
``vectors.f32``      the embeddings, row after row, little-endian float32
``chips.bin``        the PNG chips, one after the other

Everything is checked before the first row is written, and the import is one transaction.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import numpy as np

from limner.errors import GalleryError, InputError, LimnerError
from limner.gallery.names import normalise_name, normalise_note
from limner.gallery.opening import now
from limner.gallery.private_parts import Part, bundle_parts, private_parts
from limner.gallery.records import PhotoRef, TransferReport
from limner.gallery.sqlite_read import VECTOR_DTYPE
from limner.gallery.store import FaceRow, Incoming, Judged, NewFace, OnConflict, Store
from limner.similarity import Calibration

FORMAT = 1
KIND = "limner gallery"
MANIFEST = "manifest.json"
PEOPLE, FACES, VECTORS, CHIPS = "people.jsonl", "faces.jsonl", "vectors.f32", "chips.bin"
_MEMBERS = (PEOPLE, FACES, VECTORS, CHIPS)
_MAX_MANIFEST_BYTES = 1 << 20
_MAX_LINE_BYTES = 1 << 20
_MAX_CHIP_BYTES = 64 << 20
_MAX_DIM = 65_536
_BLOCK = 1 << 20
_MAX_PHOTO_NAME = 4096
_UNIT_TOLERANCE = 1e-3
_EMBEDDER = re.compile(r"[\x21-\x7e]{1,300}")


def export_gallery(store: Store, path: Path, *, chips: bool = True) -> TransferReport:
    """Write everything that a gallery holds into one file.

    Args:
        store: The gallery.
        path: The file; it is replaced as a whole when the new one is complete.
        chips: Whether kept chips go along.

    Returns:
        What was written.

    Raises:
        GalleryError: If the file cannot be written.
        InputError: If `path` is a folder or the gallery itself.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder; give the name of a file.")
    if path.exists() and os.path.exists(store.location) and os.path.samefile(path, store.location):
        raise InputError(f"{path} is the gallery itself; export to another file.")
    try:
        with private_parts(path) as folder:
            with store.snapshot():
                parts = {name: Part(folder / name) for name in _MEMBERS}
                manifest = _write_parts(store, parts, chips=chips)
            size = bundle_parts(folder / "whole", {MANIFEST: manifest}, parts)
            os.replace(folder / "whole", path)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise GalleryError(f"the export {path} cannot be written: {reason}.") from error
    return TransferReport(
        path=str(path),
        people=manifest["people"],
        faces=manifest["faces"],
        chips=manifest["chips"],
        bytes=size,
    )


def _write_parts(store: Store, parts: dict[str, Part], *, chips: bool) -> dict[str, Any]:
    """Fill the members and return the manifest."""
    numbers: dict[str, int] = {}
    for person in store.people():
        numbers[person.name] = len(numbers)
        parts[PEOPLE].line({"name": person.name, "note": person.note, "created": person.created})
    faces = kept = 0
    for face in store.faces():
        chip = store.chip(face.id) if chips and face.has_chip else None
        parts[FACES].line(_face_line(face, numbers[face.person], chip))
        parts[VECTORS].write(np.ascontiguousarray(face.vector, dtype=VECTOR_DTYPE).tobytes())
        if chip is not None:
            parts[CHIPS].write(chip)
            kept += 1
        faces += 1
    calibration = store.meta("calibration")
    state = store.state()
    return {
        "kind": KIND,
        "format": FORMAT,
        "written": now(),
        "embedder_id": state.embedder_id,
        "dim": state.dim,
        "people": len(numbers),
        "faces": faces,
        "chips": kept,
        "calibration": None if calibration is None else json.loads(calibration),
        "members": {name: part.close() for name, part in parts.items()},
    }


def _face_line(face: FaceRow, person: int, chip: bytes | None) -> dict[str, Any]:
    return {
        "person": person,
        "photo": face.photo,
        "digest": face.digest,
        "box_xyxy": None if face.box_xyxy is None else list(face.box_xyxy),
        "score": face.score,
        "quality": face.judged[0],
        "reason": face.judged[1],
        "created": face.created,
        "chip": 0 if chip is None else len(chip),
    }


# --- reading -------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Source:
    """An opened and verified portable file."""

    path: Path
    bundle: zipfile.ZipFile
    manifest: dict[str, Any]

    def fault(self, what: str) -> GalleryError:
        return GalleryError(f"{self.path} is not a sound gallery export: {what}.")


@contextmanager
def _opened(path: Path) -> Iterator[_Source]:
    """Open a portable file and check its digests before anything in it is used."""
    try:
        with zipfile.ZipFile(path) as bundle:
            source = _Source(path, bundle, _manifest(path, bundle))
            for name in _MEMBERS:
                _verify(source, name)
            yield source
    except FileNotFoundError as error:
        raise GalleryError(f"{path} does not exist.") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        if isinstance(error, LimnerError):
            raise
        raise GalleryError(
            f"{path} is not a gallery export: it is no archive, or a damaged one ({error})."
        ) from error
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise GalleryError(f"{path} cannot be read: {reason}.") from error


def _manifest(path: Path, bundle: zipfile.ZipFile) -> dict[str, Any]:
    names = bundle.namelist()
    packed = [n for n in (VECTORS, CHIPS) if n in names and bundle.getinfo(n).compress_type]
    if packed:  # what is not stored as it is could unpack to a thousand times its size
        raise GalleryError(f"{path} is not a gallery export: its {packed[0]} is compressed.")
    if sorted(names) != sorted((MANIFEST, *_MEMBERS)):
        strange = sorted(set(names) - {MANIFEST, *_MEMBERS})
        what = f"it holds {strange[0]!r}" if strange else "a part is missing or there twice"
        raise GalleryError(f"{path} is not a gallery export: {what}.")
    if bundle.getinfo(MANIFEST).file_size > _MAX_MANIFEST_BYTES:
        raise GalleryError(f"{path} is not a gallery export: its manifest is too large.")
    try:
        document = json.loads(bundle.read(MANIFEST))
        if document["kind"] != KIND:
            raise ValueError
        newest = int(document["format"])
        counts = [int(document[key]) for key in ("people", "faces", "chips")]
        members = {n: (int(document["members"][n]["bytes"]), n) for n in _MEMBERS}
        dim = int(document["dim"] or 0)
        embedder = document["embedder_id"]
        known = embedder is None or bool(_EMBEDDER.fullmatch(embedder))
    except (ValueError, KeyError, TypeError) as error:
        raise GalleryError(f"{path} is not a gallery export: its manifest is not one.") from error
    if newest > FORMAT:
        raise GalleryError(
            f"{path} was written by a newer limner (format {newest}, this one reads {FORMAT}); "
            "upgrade limner to import it."
        )
    if not known or min(counts) < 0 or not 0 <= dim <= _MAX_DIM or counts[0] > counts[1]:
        raise GalleryError(f"{path} is not a gallery export: its manifest is not one.")
    if members[VECTORS][0] != counts[1] * dim * VECTOR_DTYPE.itemsize:
        raise GalleryError(f"{path} is damaged: its embeddings are not as many as it says.")
    return dict(document)


def _verify(source: _Source, name: str) -> None:
    """Check size and digest of a member, without trusting what the archive says of it."""
    wanted = source.manifest["members"][name]
    if source.bundle.getinfo(name).file_size != wanted["bytes"]:
        raise source.fault(f"{name} has another size than its manifest says")
    digest, size = hashlib.sha256(), 0
    with source.bundle.open(name) as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
            size += len(block)
            if size > wanted["bytes"]:
                break
    if size != wanted["bytes"] or digest.hexdigest() != wanted["sha256"]:
        raise source.fault(f"the digest of {name} is not the one in its manifest")


def _lines(source: _Source, name: str) -> Iterator[dict[str, Any]]:
    with source.bundle.open(name) as stream:
        while line := stream.readline(_MAX_LINE_BYTES):
            if not line.endswith(b"\n"):
                raise source.fault(f"a line of {name} is cut short or too long")
            try:
                document = json.loads(line)
            except ValueError as error:
                raise source.fault(f"a line of {name} is not JSON") from error
            if not isinstance(document, dict):
                raise source.fault(f"a line of {name} is not an object")
            yield document


def _people(source: _Source) -> list[tuple[str, str, str]]:
    people: list[tuple[str, str, str]] = []
    for document in _lines(source, PEOPLE):
        if len(people) >= source.manifest["people"]:
            raise source.fault("it holds more people than it says")
        try:
            name, note = normalise_name(document["name"]), normalise_note(document["note"])
            people.append((name, note, _time(document["created"])))
        except (KeyError, ValueError) as error:
            raise source.fault(f"a person in it cannot be read ({error})") from error
    return people


def _time(value: object) -> str:
    """Return a time as it is stored: ISO 8601."""
    if not isinstance(value, str) or len(value) > 40:
        raise ValueError("a time is no text of 40 characters at most")
    datetime.fromisoformat(value)
    return value


def _incoming(source: _Source) -> Iterator[Incoming]:
    """Yield the faces; whatever is not as it should be ends the import."""
    people = _people(source)
    dim = int(source.manifest["dim"] or 0)
    with source.bundle.open(VECTORS) as vectors, source.bundle.open(CHIPS) as chips:
        count = 0
        for document in _lines(source, FACES):
            try:
                name, note, created = people[_index(document["person"], len(people))]
                photo = _photo(document)
                chip = _chip(source, chips, document["chip"])
                face = NewFace(_vector(source, vectors, dim), photo, chip, _judged(document))
                yield Incoming(name, face, note, created, _time(document["created"]))
            except (KeyError, TypeError, ValueError) as error:
                raise source.fault(f"face {count} cannot be read ({error})") from error
            count += 1
    if count != source.manifest["faces"]:
        raise source.fault(f"it says {source.manifest['faces']} faces and holds {count}")


def _index(value: object, count: int) -> int:
    if not isinstance(value, int) or not 0 <= value < count:
        raise ValueError(f"person {value!r} of {count}")
    return value


def _photo(document: dict[str, Any]) -> PhotoRef | None:
    box = document["box_xyxy"]
    if box is not None:
        x0, y0, x1, y1 = (float(v) for v in box)
        box = (x0, y0, x1, y1)
    name, digest, score = document["photo"], document["digest"], document["score"]
    if name is None and digest is None and box is None and score is None:
        return None
    shown = "" if name is None else str(name)
    if len(shown) > _MAX_PHOTO_NAME or any(ord(c) < 32 for c in shown):
        raise ValueError("a photo's name has control characters, or too many")
    return PhotoRef(
        name=shown,
        digest=None if digest is None else str(digest),
        box_xyxy=box,
        score=None if score is None else float(score),
    )


def _judged(document: dict[str, Any]) -> Judged:
    """Return what an export of before quality was known lacks as not judged."""
    quality, reason = document.get("quality"), document.get("reason")
    number = None if quality is None else float(quality)
    if number is not None and not 0.0 <= number <= 1.0:
        raise ValueError(f"quality {number}")
    return number, None if reason is None else str(reason)


def _vector(source: _Source, stream: IO[bytes], dim: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    data = stream.read(dim * VECTOR_DTYPE.itemsize)
    vector = np.frombuffer(data, dtype=VECTOR_DTYPE)
    # `not (... <= ...)` also catches what is not a number.
    if vector.size != dim or not abs(float(np.linalg.norm(vector)) - 1.0) <= _UNIT_TOLERANCE:
        raise source.fault("an embedding does not have length 1")
    return vector.astype(np.float32, copy=False)


def _chip(source: _Source, stream: IO[bytes], size: object) -> bytes | None:
    if not isinstance(size, int) or not 0 <= size <= _MAX_CHIP_BYTES:
        raise source.fault("a chip has an impossible size")
    if size == 0:
        return None
    data = stream.read(size)
    if len(data) != size or not data.startswith(b"\x89PNG\r\n\x1a\n"):
        raise source.fault("a chip is not a PNG")
    return data


def import_gallery(
    store: Store, path: Path, *, on_conflict: OnConflict = "refuse"
) -> TransferReport:
    """Add everybody from a portable file, or nobody.

    Args:
        store: The gallery.
        path: A file that `export_gallery` wrote.
        on_conflict: For people who are in the gallery already: ``refuse`` the whole import,
            ``merge`` the embeddings that they lack, or ``skip`` them. The file's calibration is
            taken over by an empty gallery only: others keep the thresholds they have.

    Returns:
        What was added and skipped.

    Raises:
        GalleryError: If the file is no export, damaged, or of a newer limner.
        EmbedderMismatch: If it belongs to another embedder.
        NameTakenError: If somebody is there already and `on_conflict` is ``refuse``.
        InputError: If `on_conflict` is another word.
    """
    if on_conflict not in ("refuse", "merge", "skip"):
        raise InputError(f"on_conflict must be 'refuse', 'merge' or 'skip', got {on_conflict!r}.")
    with _opened(path) as source:
        manifest = source.manifest
        calibration = _calibration(source)
        if manifest["faces"]:
            absorbed = store.absorb(
                _incoming(source),
                embedder_id=str(manifest["embedder_id"]),
                on_conflict=on_conflict,
                calibration=calibration,
            )
            added, skipped = absorbed.added, absorbed.skipped
        else:
            added = skipped = 0
    return TransferReport(
        path=str(path),
        people=manifest["people"],
        faces=manifest["faces"],
        added=added,
        skipped=skipped,
        chips=manifest["chips"],
        bytes=path.stat().st_size,
    )


def _calibration(source: _Source) -> str | None:
    document = source.manifest.get("calibration")
    if document is None:
        return None
    try:
        calibration = Calibration.from_json(document)
        calibration.require(str(source.manifest["embedder_id"]))
    except InputError as error:
        raise source.fault(f"its calibration cannot be read ({error})") from error
    return json.dumps(calibration.to_json())
