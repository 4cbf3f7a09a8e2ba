"""Change a gallery's embedder: make every embedding anew, then swap them all at once.

The new embeddings come from the photos, if their folder is given, or from kept chips. They
replace the old ones in one transaction, so a kill or a full disk leaves the gallery as it
was, and other processes that have it open notice the change at their next question.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from limner.errors import FaceCountError, InputError
from limner.gallery.enrolment import photo_digest
from limner.gallery.gallery import Gallery
from limner.gallery.records import PhotoProblem, ReembedReport
from limner.gallery.store import FaceRow, Judged
from limner.types import BoxXYXY, Face, FloatArray, box_iou

if TYPE_CHECKING:
    from limner.faces import FaceAnalyzer
    from limner.images.sources import Source

_MIN_OVERLAP = 0.3
_LISTED = 5

Progress = Callable[[int, int], None]


@dataclass
class _Photos:
    """The photos of a folder by digest, by folder and name, and by name."""

    by_digest: dict[str, Path] = field(default_factory=dict)
    by_place: dict[tuple[str, str], Path] = field(default_factory=dict)
    by_name: dict[str, list[Path]] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: str | os.PathLike[str]) -> _Photos:
        from limner import images

        found = cls()
        for path in images.list_photos(folder):
            try:
                found.by_digest.setdefault(photo_digest(path), path)
            except InputError:
                continue
            found.by_place[(path.parent.name, path.name)] = path
            found.by_name.setdefault(path.name, []).append(path)
        return found

    def find(self, face: FaceRow) -> Path | None:
        """Return the photo that a face came from, None if it is not here.

        A photo whose bytes have changed is accepted if its folder has the same name, too; a
        name alone only if nothing is known of the bytes and it occurs once.
        """
        if face.digest is not None and face.digest in self.by_digest:
            return self.by_digest[face.digest]
        if face.photo is None:
            return None
        place = Path(face.photo)
        if place.parent.name and (place.parent.name, place.name) in self.by_place:
            return self.by_place[(place.parent.name, place.name)]
        same = self.by_name.get(place.name, [])
        return same[0] if face.digest is None and len(same) == 1 else None


def _same_face(faces: Sequence[Face], box: BoxXYXY | None, photo: str) -> Face:
    """Return the face that was enrolled."""
    from limner.faces import choose

    if box is None or not faces:
        return choose(faces, pick="one", photo=photo)[0]
    best = max(faces, key=lambda face: box_iou(face.box_xyxy, box))
    if box_iou(best.box_xyxy, box) < _MIN_OVERLAP:
        raise FaceCountError(
            f"none of the {len(faces)} faces of {photo} lies where the enrolled one was.",
            count=len(faces),
        )
    return best


def _central_face(faces: Sequence[Face], photo: str) -> Face:
    """Return the largest face: a kept chip shows one, and its neighbours only in part."""
    from limner.faces import choose

    return choose(faces, pick="largest", photo=photo)[0]


class _Maker:
    """Makes new embeddings, reading each photo once however many faces it holds."""

    def __init__(self, gallery: Gallery, analyzer: FaceAnalyzer, photos: _Photos | None) -> None:
        self._gallery = gallery
        self._analyzer = analyzer
        self._photos = photos
        self._last: tuple[Path, list[Face]] | None = None
        self.from_chips = self.from_photos = 0

    def vector(self, row: FaceRow) -> tuple[FloatArray, Judged]:
        """Return the new embedding of a face, and its quality.

        Raises:
            InputError: If neither its photo nor a chip gives one.
        """
        reason: InputError | None = None
        path = None if self._photos is None else self._photos.find(row)
        if path is not None:
            try:
                found = self._embed(_same_face(self._faces(path), row.box_xyxy, str(path)))
                self.from_photos += 1
                return found
            except InputError as error:
                reason = error
        if row.has_chip:
            with self._gallery.locked() as store:
                chip = store.chip(row.id)
            shown = f"the chip of {row.photo or row.person}"
            found = self._embed(_central_face(self._analyze(chip or b""), shown))
            self.from_chips += 1
            return found
        raise reason or InputError("no chip was kept and its photo was not found.")

    def _analyze(self, photo: Source) -> list[Face]:
        return self._analyzer.analyze(photo)

    def _faces(self, path: Path) -> list[Face]:
        if self._last is None or self._last[0] != path:
            self._last = (path, self._analyze(path))
        return self._last[1]

    @staticmethod
    def _embed(face: Face) -> tuple[FloatArray, Judged]:
        if face.embedding is None:
            raise InputError("the analyzer makes no embeddings; give it an embedder.")
        return face.embedding.vector, (face.quality, face.reason)


def re_embed(
    gallery: Gallery,
    analyzer: FaceAnalyzer,
    *,
    photos: str | os.PathLike[str] | None = None,
    drop_missing: bool = False,
    progress: Progress | None = None,
) -> ReembedReport:
    """Make every embedding of a gallery anew with another embedder.

    Args:
        gallery: It is left as it is if anything goes wrong.
        analyzer: With the new embedder.
        photos: The folder of the photos; they are recognised by digest or by place and name.
            Without it, or where a photo is missing, kept chips are used.
        drop_missing: Leave out faces that cannot be made anew, and people who keep none,
            instead of refusing.
        progress: Called with (done, all) faces.

    Returns:
        What was made from what, and what was dropped.

    Raises:
        InputError: If some faces cannot be made anew and `drop_missing` is false; the message
            counts and names them.
        GalleryError: If somebody else changed the gallery meanwhile, or it cannot be written.
    """
    with gallery.locked() as store:
        state = store.state()
        rows = list(store.faces())
    report = ReembedReport(state.embedder_id, analyzer.embedder_id, 0, 0)
    if state.embedder_id == analyzer.embedder_id:
        return report
    maker = _Maker(gallery, analyzer, None if photos is None else _Photos.of(photos))
    vectors: dict[int, tuple[FloatArray, Judged]] = {}
    missing: list[PhotoProblem] = []
    for number, row in enumerate(rows, start=1):
        try:
            vectors[row.id] = maker.vector(row)
        except InputError as error:
            missing.append(
                PhotoProblem(f"{row.person}: {row.photo or 'unnamed photo'}", str(error))
            )
        if progress is not None:
            progress(number, len(rows))
    if missing and not drop_missing:
        raise _cannot(gallery, missing, len(rows), photos is not None)
    embedder = analyzer.embedder
    with gallery.locked() as store:
        store.replace_vectors(
            vectors,
            embedder_id=analyzer.embedder_id,
            dim=embedder.dim if embedder is not None else 0,
            changes=state.changes,
        )
    gallery.discard_index()
    return ReembedReport(
        old_embedder_id=state.embedder_id,
        embedder_id=analyzer.embedder_id,
        from_chips=maker.from_chips,
        from_photos=maker.from_photos,
        dropped=tuple(missing),
    )


def _cannot(
    gallery: Gallery, missing: Sequence[PhotoProblem], count: int, photos_given: bool
) -> InputError:
    listed = "; ".join(f"{problem.photo} ({problem.reason})" for problem in missing[:_LISTED])
    more = f"; and {len(missing) - _LISTED} more" if len(missing) > _LISTED else ""
    way = "add the missing photos to the folder" if photos_given else "give the folder of photos"
    return InputError(
        f"{len(missing)} of {count} faces of the gallery {gallery.location} cannot be made anew: "
        f"{listed}{more}. Nothing was changed; {way} (--photos), or leave them out "
        "(--drop-missing)."
    )
