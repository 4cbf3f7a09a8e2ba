"""Gallery: people, their embeddings, and who is who."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from limner.errors import InputError
from limner.gallery.accepted import (
    Known,
    Photo,
    embedding_of,
    embeddings_of,
    encode_chips,
    new_face,
    photo_refs,
)
from limner.gallery.file import GalleryFile
from limner.gallery.names import normalise_name
from limner.gallery.records import (
    CalibrationReport,
    EnrollResult,
    LookAlike,
    PhotoRef,
    TransferReport,
)
from limner.gallery.store import (
    NOT_JUDGED,
    Incoming,
    OnConflict,
    unknown_person,
)
from limner.gallery.template import IN_QUESTION, pool, rank_by_template
from limner.gallery.together import alike, remarks
from limner.similarity import PairHead
from limner.similarity.verdicts import checked_threshold
from limner.types import Embedding, FloatArray, ImageArray, Match, Pair

_BULK = 20_000


class Gallery(GalleryFile):
    """People and their embeddings in one file. Safe for threads; open it with `open`.

    Distances are squared L2 of unit vectors, in [0, 4]; small means alike. A gallery belongs
    to one embedder, which the first enrolment pins, and refuses embeddings of any other.
    """

    # --- taking in ---------------------------------------------------------------------

    def enroll(
        self,
        name: str | int,
        embeddings: Known | Sequence[Known],
        *,
        photo: Photo | Sequence[Photo] = None,
        note: str | None = None,
        chips: Sequence[ImageArray | None] | None = None,
    ) -> EnrollResult:
        """Add embeddings to a person, who is made if need be.

        Args:
            name: Any script, whatever its case; or the id of somebody who is there already.
            embeddings: One or several, unit length; or faces that have them.
            photo: Where they came from, one for all or one for each. A photo that the person
                is enrolled from already (same digest and same face, or the very same embedding)
                is skipped.
            note: Replaces the person's note.
            chips: Pictures of the faces with a margin, uint8 RGB, to be kept for re-embedding.

        Returns:
            What was added, when it is on the disk, with warnings: look-alikes, faces too poor to
            judge by, and faces far from the person's others. Nothing is refused for them.

        Raises:
            UnknownNameError: If nobody has the id.
            EmbedderMismatch: If the gallery belongs to another embedder.
            InputError: If the name cannot be stored or the embeddings are not unit vectors.
            GalleryError: If the gallery cannot be written.
        """
        many = embeddings_of(embeddings, call="enroll")
        if not many:
            raise InputError("enrolment needs at least one embedding, got none.")
        clean = name if isinstance(name, int) else normalise_name(name)
        photos = photo_refs(photo, len(many))
        pictures = encode_chips(chips, len(many))
        with self._writing():
            embedder_id, vectors, state = self._checked(many)
            faces = list(map(new_face, many, vectors, photos, pictures))
            # Identification's tau: verification's would let 1 in 100 pairs of strangers
            # through, so that in a large gallery everybody would be warned about.
            tau = self._judge(embedder_id, state).identify_threshold(state.faces)
            warnings = [] if tau is None else self._too_close(clean, vectors, tau)
            far = self.far(clean, many)
            done = self._store.add(clean, faces, embedder_id=embedder_id, note=note)
        warnings += remarks(done.person, many, photos, far, done.taken)
        for shown, other in done.shared:
            warnings.append(f"the same face of {shown} is enrolled as {other!r} too.")
        return EnrollResult(
            person=done.person,
            added=len(done.added),
            total=done.total,
            warnings=tuple(warnings) if done.added else (),
            skipped=done.skipped,
            created=done.created,
        )

    def _too_close(self, name: str | int, vectors: FloatArray, tau: float) -> list[str]:
        """Return a warning for each other person whom `identify` would take them for."""
        known = self._store.find(name)
        exclude, name = (None, name) if known is None else (known.id, known.name)
        closest: dict[str, float] = {}
        for near in self._searcher.nearest(vectors, 1, exclude=exclude):
            for hit in near:
                if hit.distance <= tau:
                    closest[hit.name] = min(hit.distance, closest.get(hit.name, np.inf))
        return alike(name, closest, tau)

    def enroll_many(
        self,
        items: Iterable[tuple[str, Known] | tuple[str, Known, PhotoRef | None]],
        *,
        progress: Callable[[int], None] | None = None,
    ) -> int:
        """Add very many embeddings quickly, in batches of 20,000; nobody is warned about.

        Args:
            items: (name, embedding) or (name, embedding, photo). What a person has already is
                skipped, so an interrupted run can be repeated.
            progress: Called with the number of embeddings that are on the disk so far.

        Returns:
            How many were added.
        """
        stream, added, seen = iter(items), 0, 0
        while batch := list(islice(stream, _BULK)):
            with self._writing():
                many = [embedding_of(item[1], call="enroll_many") for item in batch]
                embedder_id, vectors, _ = self._checked(many)
                incoming = (
                    Incoming(item[0], new_face(one, vector, item[2] if len(item) > 2 else None))
                    for item, one, vector in zip(batch, many, vectors, strict=True)
                )
                added += self._store.absorb(
                    incoming, embedder_id=embedder_id, on_conflict="merge"
                ).added
            seen += len(batch)
            if progress is not None:
                progress(seen)
        return added

    # --- asking ------------------------------------------------------------------------

    def verify(
        self,
        name: str,
        embedding: Known,
        *,
        threshold: float | None = None,
        head: PairHead | None = None,
        accept_unclear: bool = False,
    ) -> Pair:
        """Tell whether an embedding is a person's (1:1), by the mean of theirs weighted by quality.

        Args:
            name: The person.
            embedding: Of the face in question, or that face.
            threshold: Another tau than the calibrated one.
            head: Another pair head than the calibrated squared distance; it must have been
                fitted to the gallery's embedder. It judges by the photo that is nearest on it.
            accept_unclear: Judge faces that are too poor for it, too, instead of saying so.

        Raises:
            UnknownNameError: If there is no such person.
            EmbedderMismatch: If the embedding is of another embedder.
            InputError: If no threshold is known for the embedder.
        """
        asked = embedding_of(embedding, call="verify")
        with self._lock:
            embedder_id, vectors, state = self._checked([asked])
            verdicts = self._judge(embedder_id, state)
            person = self._store.find(name)
            if person is None:
                raise unknown_person(self._store, name)
            theirs = self._store.vectors_of(person.id)
            judged = self._store.judged_of(person.id)
        if head is None:
            enrolled, quality = pool(theirs, judged)
        else:
            nearest = int(head.distance(np.broadcast_to(vectors, theirs.shape), theirs).argmin())
            enrolled, quality = theirs[nearest], judged[nearest]
        return verdicts.compare(
            Embedding(enrolled, embedder_id, *quality),
            asked,
            threshold=threshold,
            head=head,
            accept_unclear=accept_unclear,
        )

    def identify(
        self,
        embeddings: Known | Sequence[Known],
        *,
        threshold: float | None = None,
        accept_unclear: bool = False,
    ) -> list[Match]:
        """Tell who each face is (1:K), or that it is nobody in the gallery.

        The default tau is stricter than verification's and grows stricter with the number of
        enrolled photos, so that 99 of 100 strangers stay unnamed at any size.

        Args:
            embeddings: One or several; or faces that have them.
            threshold: Another tau. It moves the verdict; the probability stays calibrated.
            accept_unclear: Judge faces that are too poor for it, too, instead of saying so.

        Returns:
            One match an embedding, in their order.

        Raises:
            EmbedderMismatch: If an embedding is of another embedder.
            InputError: If no threshold is known for the embedder.
        """
        many = embeddings_of(embeddings, call="identify")
        if not many:
            return []
        if threshold is not None:
            checked_threshold(threshold)
        with self._lock:
            embedder_id, vectors, state = self._checked(many)
            verdicts = self._judge(embedder_id, state)
            found = self._searcher.nearest(vectors, IN_QUESTION)
            nearest = rank_by_template(self._store, vectors, found)
        return [
            verdicts.match(
                probe,
                near[0].name if near else None,
                near[0].distance if near else None,
                threshold,
                faces=state.faces,
                enrolled=near[0].judged if near else NOT_JUDGED,
                accept_unclear=accept_unclear,
            )
            for probe, near in zip(many, nearest, strict=True)
        ]

    def lookalike(self, embedding: Known, *, top: int = 5) -> list[LookAlike]:
        """Return the people who look most alike, nearest first, without a verdict.

        Args:
            embedding: Of the face in question, or that face.
            top: How many at most.

        Raises:
            EmbedderMismatch: If the embedding is of another embedder.
            InputError: If `top` is not positive.
        """
        if top < 1:
            raise InputError(f"top must be 1 or larger, got {top}.")
        asked = embedding_of(embedding, call="lookalike")
        with self._lock:
            embedder_id, vectors, state = self._checked([asked])
            verdicts = self._judge(embedder_id, state)
            near = self._searcher.nearest(vectors, top)[0]
        return [
            LookAlike(
                hit.name,
                hit.distance,
                verdicts.probability(hit.distance, qualities=(asked.quality, hit.judged[0])),
            )
            for hit in near
        ]

    # --- changing ----------------------------------------------------------------------

    def forget(self, name: str | int) -> int:
        """Delete a person, by name or by id: database, log and index keep nothing of theirs.

        Returns:
            How many embeddings were deleted.

        Raises:
            UnknownNameError: If there is no such person.
        """
        with self._writing():
            count = self._store.remove(name)
            self._scrub()
            self._searcher.erase_removed()
        return count

    def remove_photo(self, name: str | int, photo_id: int) -> int:
        """Delete one enrolled face of a person; nothing of it is kept.

        Args:
            name: The person, by name or by id.
            photo_id: As `photos` lists it.

        Returns:
            How many the person has left.

        Raises:
            UnknownNameError: If there is no such person or photo.
            InputError: If it is the only one: then forget the person.
        """
        with self._writing():
            left = self._store.remove_face(name, photo_id)
            self._scrub()
            self._searcher.erase_removed()
        return left

    def rename(self, old: str | int, new: str) -> str:
        """Give a person, by name or by id, another name; return it as stored.

        Raises:
            UnknownNameError: If there is no such person.
            NameTakenError: If somebody else has that name: then merge them.
        """
        with self._writing():
            return self._store.rename(old, new)

    def merge(self, source: str | int, into: str | int) -> int:
        """Make two people, by names or by ids, one; return how many embeddings `into` has now.

        Raises:
            UnknownNameError: If one of them does not exist.
            InputError: If both are the same person.
        """
        with self._writing():
            return self._store.merge(source, into)

    def set_note(self, name: str | int, note: str) -> None:
        """Replace a person's note, by name or by id.

        Raises:
            UnknownNameError: If there is no such person.
        """
        with self._writing():
            self._store.set_note(name, note)

    def vacuum(self) -> None:
        """Give unused space back to the file system."""
        with self._lock:
            self._store.vacuum()

    def prepare(self) -> None:
        """Load, build or update the index now instead of at the first question."""
        with self._lock:
            self._searcher.refresh()

    # --- the rest of the room ----------------------------------------------------------

    def export(self, path: str | os.PathLike[str], *, chips: bool = True) -> TransferReport:
        """Write everything into one portable file; see `limner.gallery.transfer`."""
        from limner.gallery.exports import note_export
        from limner.gallery.transfer import export_gallery

        with self._lock:
            report = export_gallery(self._store, Path(path), chips=chips)
            note_export(self._store, report)
        return report

    def import_file(
        self, path: str | os.PathLike[str], *, on_conflict: OnConflict = "refuse"
    ) -> TransferReport:
        """Add what a portable file holds; see `limner.gallery.transfer`."""
        from limner.gallery.transfer import import_gallery

        with self._writing():
            return import_gallery(self._store, Path(path), on_conflict=on_conflict)

    def calibrate(
        self,
        labelled: Mapping[str, Sequence[Known]] | None = None,
        *,
        false_match_rate: float = 1e-3,
        fitted_on: str | None = None,
    ) -> CalibrationReport:
        """Fit tau and the pair head to labelled faces; see `limner.gallery.calibrate`."""
        from limner.gallery.calibrate import calibrate_gallery

        return calibrate_gallery(
            self, labelled, false_match_rate=false_match_rate, fitted_on=fitted_on
        )

    def reset_calibration(self) -> None:
        """Forget the gallery's own calibration; the shipped one is used again."""
        with self._writing():
            self._store.set_meta({"calibration": None})
