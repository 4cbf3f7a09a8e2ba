"""What every tab works with: the engine, who asks, and faces that were looked at."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner import images
from limner.errors import InputError, ServiceError
from limner.gallery.chips import cut_surroundings
from limner.service.keys import LOCAL, Key
from limner.studio.markup import data_uri
from limner.studio.page_guard import uploaded
from limner.types import Embedding, Face, ImageArray, Match

if TYPE_CHECKING:
    from limner.service.engine import Engine

_OPENING_S = 120.0
_SHOWN_PX = 1280
_THUMB_PX = 160


@dataclass(frozen=True, eq=False)
class SeenFace:
    """A face of a photo that somebody looked at.

    Attributes:
        face: With its embedding.
        surroundings: The face with a margin, uint8 RGB.
        thumb: The same as a ``data:`` address.
        match: Who it is, as of the last question; None before it.
    """

    face: Face
    surroundings: ImageArray
    thumb: str
    match: Match | None = None

    @property
    def embedding(self) -> Embedding:
        """The face's embedding."""
        if self.face.embedding is None:
            raise InputError("the face has no embedding.")
        return self.face.embedding


@dataclass(frozen=True, eq=False)
class SeenPhoto:
    """A photo that somebody looked at; only its reduced picture is kept, for the session.

    Attributes:
        name: As it was called.
        digest: SHA-256 of its bytes, or of its pixels.
        uri: The picture as a ``data:`` address.
        size_hw: Of the photo itself.
        faces: Largest first.
    """

    name: str
    digest: str
    uri: str
    size_hw: tuple[int, int]
    faces: tuple[SeenFace, ...]


@dataclass(frozen=True, eq=False)
class Desk:
    """What the tabs share.

    Attributes:
        engine: The service's.
        can_enrol: Whether people may be enrolled, renamed and forgotten from the page.
        strangers: Whether visitors do not know each other: then each has jobs of one's own,
            which end with the visit.
        uploads: The only folder that files are read from; None: none is.
    """

    engine: Engine
    can_enrol: bool = True
    strangers: bool = False
    uploads: Path | None = None
    thumbs: dict[int, str] = field(default_factory=dict)

    def wait(self) -> None:
        """Wait until weights and index are there.

        Raises:
            ServiceError: If they cannot be had.
        """
        until = time.monotonic() + _OPENING_S
        while not self.engine.ready:
            if self.engine.problem or self.engine.stopping.is_set() or time.monotonic() > until:
                raise ServiceError(self.engine.problem or "the service is not ready.", status=503)
            time.sleep(0.05)

    def look(self, source: Path | str | ImageArray, *, name: str | None = None) -> SeenPhoto:
        """Find and embed the faces of a photo.

        Args:
            source: A file that was uploaded, or pixels.
            name: How it is called; the file's name if None.

        Raises:
            ImageError: If it cannot be read.
            ServiceError: If the service is busy or not ready.
        """
        self.wait()
        if isinstance(source, str | Path):
            data: Any = self.read(source)
            name = name or Path(source).name
            digest = hashlib.sha256(data).hexdigest()
        else:
            data, digest = source, hashlib.sha256(source.tobytes()).hexdigest()
        looked = self.engine.pool.submit(data, keep_image=True).result()
        if looked.image is None:
            raise InputError("the photo was not kept.")
        pixels = looked.image
        faces = []
        for face in looked.faces:
            part = cut_surroundings(pixels, face.box_xyxy)
            faces.append(SeenFace(face, part, data_uri(part, longest=_THUMB_PX)))
        uri = data_uri(pixels, longest=_SHOWN_PX)
        return SeenPhoto(name or "photo", digest, uri, looked.size_hw, tuple(faces))

    def file(self, path: Path | str) -> Path:
        """Return the path of an upload.

        Raises:
            InputError: If the path lies anywhere but in the folder of uploads.
        """
        if self.uploads is None:
            raise InputError("this page takes no files.")
        return uploaded(str(path), self.uploads)

    def read(self, path: Path | str) -> bytes:
        """Return the bytes of an upload.

        Raises:
            InputError: If it is none, or is no longer there.
        """
        try:
            return self.file(path).read_bytes()
        except OSError as error:
            raise InputError("the upload is no longer there; choose the file again.") from error

    def who(self, request: Any) -> Key:
        """Return who sits before the page.

        The key that the browser sent; without one, this machine; or, where visitors do not know
        each other, whoever has this page open, and nobody else.
        """
        if self.strangers:
            page = hashlib.sha256(str(request.session_hash).encode()).hexdigest()[:32]
            return Key(f"visitor-{page}", "a visitor of the page", ("read",), "")
        starlette = getattr(request, "request", request)
        key = getattr(getattr(starlette, "state", None), "key", None)
        return key if isinstance(key, Key) else LOCAL

    def leave(self, request: Any) -> None:
        """Delete the jobs of a visitor who has gone."""
        for job in self.engine.jobs.all(self.who(request)):
            self.engine.jobs.delete(job)

    def name_faces(self, photos: list[SeenPhoto]) -> list[SeenPhoto]:
        """Return the photos with the gallery's present answers."""
        every = [face for photo in photos for face in photo.faces]
        if not every:
            return photos
        matches = iter(self.engine.gallery.identify([face.embedding for face in every]))
        return [
            replace(p, faces=tuple(replace(face, match=next(matches)) for face in p.faces))
            for p in photos
        ]

    def picture_of(self, name: str) -> str | None:
        """Return a kept chip of a person as a ``data:`` address; None if none is kept."""
        gallery = self.engine.gallery
        kept = next((photo.id for photo in gallery.photos(name) if photo.has_chip), None)
        if kept is None:
            return None
        if kept not in self.thumbs:
            with gallery.locked() as store:
                data = store.chip(kept)
            if data is None:
                return None
            self.thumbs[kept] = data_uri(images.read(data), longest=_THUMB_PX)
        return self.thumbs[kept]

    def note(self, request: Any, action: str, **facts: Any) -> None:
        """Write a change that was made on the page into the audit log."""
        client = getattr(request, "client", None)
        address = getattr(client, "host", "?")
        key = self.who(request)
        self.engine.audit.note(key, address, f"page: {action}", 200, "page", **facts)
