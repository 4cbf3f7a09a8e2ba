"""Photos into a gallery: one person's, or a folder with a folder for each person."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from limner.errors import ImageError, InputError, LimnerError
from limner.gallery.chips import cut_surroundings
from limner.gallery.gallery import Gallery
from limner.gallery.names import normalise_name
from limner.gallery.people_folder import read_people_folder
from limner.gallery.records import EnrollResult, ImportReport, PhotoProblem, PhotoRef
from limner.gallery.store import embedder_mismatch
from limner.gallery.together import far_sentence, refuse_poor
from limner.types import BoxXYXY, Embedding, Face, ImageArray

if TYPE_CHECKING:
    from limner.faces import FaceAnalyzer, Pick
    from limner.images import Limits
    from limner.images.sources import Source

_COMMIT_FACES = 32
_BLOCK = 1 << 20


@dataclass(frozen=True)
class PhotoEvent:
    """What became of one photo of an import; ``added`` means that it is on the disk.

    Attributes:
        photo: Its path.
        person: Whose folder it is in.
        status: ``added``, ``already`` (enrolled before) or ``failed``.
        reason: Why it failed.
    """

    photo: str
    person: str
    status: Literal["added", "already", "failed"]
    reason: str | None = None


Progress = Callable[[PhotoEvent], None]
Confirm = Callable[[str], bool]
"""Is told what is strange about a photo; says whether to enrol it all the same."""


def photo_digest(source: Source) -> str:
    """Return the SHA-256 of a photo's bytes, or of an array's pixels, in hexadecimal.

    Raises:
        ImageError: If the file cannot be read.
    """
    from limner import images

    digest = hashlib.sha256()
    if isinstance(source, str | os.PathLike):
        try:
            with open(source, "rb") as stream:
                while block := stream.read(_BLOCK):
                    digest.update(block)
        except (OSError, ValueError) as error:
            reason = (getattr(error, "strerror", None) or str(error)).lower()
            raise ImageError(f"{images.describe(source)} cannot be read: {reason}.") from error
    elif isinstance(source, bytes | bytearray):
        digest.update(source)
    else:
        pixels = images.read(source)
        digest.update(f"{pixels.shape} ".encode())
        digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def _settled(source: Source, limits: Limits) -> Source:
    """Return a source that can be read twice: a stream becomes its picture."""
    from limner import images

    if isinstance(source, str | os.PathLike | bytes | bytearray):
        return source
    return images.read(source, limits=limits)


def _embedding(face: Face) -> Embedding:
    if face.embedding is None:
        raise InputError("the analyzer makes no embeddings; give it an embedder.")
    return face.embedding


def check_embedder(gallery: Gallery, analyzer: FaceAnalyzer) -> None:
    """Refuse an analyzer of another embedder, before any photo is read.

    Raises:
        EmbedderMismatch: If the gallery belongs to another embedder.
    """
    pinned = gallery.embedder_id
    if pinned is not None and analyzer.embedder_id != pinned:
        raise embedder_mismatch(gallery.location, pinned, analyzer.embedder_id)


def _chips(photo: Source, faces: Sequence[Face], limits: Limits) -> list[ImageArray | None]:
    from limner import images

    image = images.read(photo, limits=limits)
    return [cut_surroundings(image, face.box_xyxy) for face in faces]


def enroll_photos(
    gallery: Gallery,
    analyzer: FaceAnalyzer,
    name: str,
    photos: Sequence[Source],
    *,
    pick: Pick | BoxXYXY = "one",
    keep_chips: bool = False,
    note: str | None = None,
    force: bool = False,
    confirm: Confirm | None = None,
) -> EnrollResult:
    """Enrol a person from photos. Photos that cannot be used are reported, not fatal.

    Args:
        gallery: Where to.
        analyzer: Finds and embeds the faces.
        name: The person.
        photos: Paths, bytes, arrays or Pillow images.
        pick: Which face of a photo: ``one`` (there must be exactly one), ``largest``, ``all``,
            or the one at a box.
        keep_chips: Keep each face with a margin, so that another embedder can read it later.
        note: Replaces the person's note.
        force: Take photos that are too poor to be recognised by, and ask nothing.
        confirm: Asked before a photo far from the person's other ones is enrolled: the photos that
            came together count as each other's. Those it answers no to are left out. Without it
            they are enrolled, with a warning.

    Returns:
        What was added, with the photos that failed and why.

    Raises:
        LimnerError: The first photo's error, if no photo could be used.
        InputError: If no photo was given.
        EmbedderMismatch: If the gallery belongs to another embedder.
    """
    from limner import images
    from limner.faces import choose
    from limner.images.sources import is_one

    clean = normalise_name(name)
    given: list[Any] = [photos] if is_one(photos) else list(photos)
    if not given:
        raise InputError(f"no photo was given to enrol {clean!r} from.")
    check_embedder(gallery, analyzer)
    embeddings: list[Embedding] = []
    refs: list[PhotoRef] = []
    chips: list[ImageArray | None] = []
    failed: list[PhotoProblem] = []
    first: LimnerError | None = None
    for source in given:
        shown = images.describe(source)
        try:
            photo = _settled(source, analyzer.limits)
            digest = photo_digest(photo)
            faces = choose(analyzer.analyze(photo), pick=pick, photo=shown)
            if not force:
                refuse_poor(faces, shown)
            chips += _chips(photo, faces, analyzer.limits) if keep_chips else [None] * len(faces)
        except InputError as error:
            first = first or error
            failed.append(PhotoProblem(shown, str(error)))
            continue
        embeddings += [_embedding(face) for face in faces]
        refs += [PhotoRef(shown, digest, face.box_xyxy, face.score) for face in faces]
    if embeddings and confirm is not None and not force:
        no = _unconfirmed(gallery, clean, embeddings, refs, confirm)
        kept = [place for place in range(len(refs)) if place not in no]
        failed += [PhotoProblem(refs[place].name, reason) for place, reason in no.items()]
        first = first or next((InputError(reason) for reason in no.values()), None)
        embeddings, refs = [embeddings[i] for i in kept], [refs[i] for i in kept]
        chips = [chips[i] for i in kept]
    if first is not None and not embeddings:
        raise first
    done = gallery.enroll(clean, embeddings, photo=refs, note=note, chips=chips)
    return replace(done, failed=tuple(failed))


def _unconfirmed(
    gallery: Gallery,
    name: str,
    embeddings: Sequence[Embedding],
    refs: Sequence[PhotoRef],
    confirm: Confirm,
) -> dict[int, str]:
    """Ask about faces far from the person's others; return which to leave out, and why."""
    known = gallery.person(name).name if name in gallery else name
    said = {
        far.place: far_sentence(refs[far.place].name, known, far)
        for far in gallery.far(name, embeddings)
    }
    return {
        place: f"{sentence.rstrip('.')}; it was not confirmed."
        for place, sentence in said.items()
        if not confirm(sentence)
    }


# --- a folder of people --------------------------------------------------------------------


@dataclass(frozen=True)
class _Task:
    person: str
    photo: Path
    digest: str


class _Import:
    """One run of `import_folder`: what is waiting to be committed, and the report so far."""

    def __init__(
        self, gallery: Gallery, progress: Progress | None, keep_chips: bool, limits: Limits
    ) -> None:
        self.gallery = gallery
        self.limits = limits
        self.progress = progress
        self.keep_chips = keep_chips
        self.waiting: list[tuple[_Task, Face]] = []
        self.added = self.already = 0
        self.failed: list[PhotoProblem] = []
        self.warnings: dict[str, None] = {}

    def report(self, task: _Task, status: Any, reason: str | None = None) -> None:
        if self.progress is not None:
            self.progress(PhotoEvent(str(task.photo), task.person, status, reason))

    def fail(self, task: _Task, error: LimnerError) -> None:
        self.flush()  # events keep the order of the photos
        self.failed.append(PhotoProblem(str(task.photo), str(error)))
        self.report(task, "failed", str(error))

    def skip(self, task: _Task) -> None:
        self.already += 1
        self.report(task, "already")

    def take(self, task: _Task, face: Face) -> None:
        if self.waiting and (
            self.waiting[0][0].person != task.person or len(self.waiting) >= _COMMIT_FACES
        ):
            self.flush()
        self.waiting.append((task, face))

    def flush(self) -> None:
        """Commit what is waiting, and only then say that it was added."""
        batch, self.waiting = self.waiting, []
        if not batch:
            return
        chips: list[ImageArray | None] | None = None
        if self.keep_chips:
            chips = [_chips(task.photo, [face], self.limits)[0] for task, face in batch]
        done = self.gallery.enroll(
            batch[0][0].person,
            [_embedding(face) for _, face in batch],
            photo=[
                PhotoRef(str(task.photo), task.digest, face.box_xyxy, face.score)
                for task, face in batch
            ],
            chips=chips,
        )
        self.added += done.added
        self.warnings |= dict.fromkeys(done.warnings)
        skipped = set(done.skipped)
        for task in dict.fromkeys(task for task, _ in batch):
            if str(task.photo) in skipped:
                self.already += 1
            self.report(task, "already" if str(task.photo) in skipped else "added")


def import_folder(
    gallery: Gallery,
    analyzer: FaceAnalyzer,
    folder: str | os.PathLike[str],
    *,
    pick: Pick = "one",
    keep_chips: bool = False,
    force: bool = False,
    progress: Progress | None = None,
) -> ImportReport:
    """Enrol a folder that holds one folder of photos for each person.

    It can be interrupted at any moment and run again: photos that are enrolled already are
    recognised by their digests and not analysed again. A photo that cannot be used is
    reported and left out.

    Args:
        gallery: Where to.
        analyzer: Finds and embeds the faces.
        folder: ``folder/Ada Lovelace/anything.jpg``.
        pick: Which face of a photo: ``one`` (there must be exactly one), ``largest`` or ``all``.
        keep_chips: Keep each face with a margin, so that another embedder can read it later.
        force: Take photos that are too poor to be recognised by.
        progress: Called once a photo; when it hears ``added``, the photo's faces are on the
            disk. Additions come in the order of the folder.

    Returns:
        What was added and what was left out, with the reasons.

    Raises:
        InputError: If the folder holds nobody's photos.
        EmbedderMismatch: If the gallery belongs to another embedder.
        GalleryError: If the gallery cannot be written; what was reported as added stays.
    """
    from limner.faces import choose

    check_embedder(gallery, analyzer)
    listing = read_people_folder(folder)
    run = _Import(gallery, progress, keep_chips, analyzer.limits)
    run.failed += listing.problems
    tasks: list[_Task] = []  # handed to the analyzer, not yet answered

    def new_photos() -> Iterator[Path]:
        for person, photos in listing.people.items():
            with gallery.locked() as store:
                known = set(store.digests_of(person))
            for path in photos:
                try:
                    task = _Task(person, path, photo_digest(path))
                except ImageError as error:
                    run.fail(_Task(person, path, ""), error)
                    continue
                if task.digest in known:
                    run.skip(task)
                    continue
                known.add(task.digest)  # a copy under another name is the same photo
                tasks.append(task)
                yield path

    for found in analyzer.analyze_many(new_photos(), on_error="yield"):
        task = tasks.pop(0)
        try:
            if found.error is not None:
                raise found.error
            chosen = choose(found.faces or [], pick=pick, photo=str(task.photo))
            if not force:
                refuse_poor(chosen, str(task.photo))
        except InputError as error:
            run.fail(task, error)
            continue
        for face in chosen:
            run.take(task, face)
    run.flush()
    return ImportReport(
        people=len(listing.people),
        photos=sum(map(len, listing.people.values())),
        added=run.added,
        already=run.already,
        failed=tuple(run.failed),
        warnings=tuple(run.warnings),
    )
