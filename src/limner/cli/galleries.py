"""An open gallery with the embedder that it was made with."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from limner.cli.options import FindOptions, ModelOptions

if TYPE_CHECKING:
    from limner.faces import FaceAnalyzer
    from limner.gallery import Gallery


@dataclass(frozen=True)
class OpenGallery:
    """A gallery, and how to make the analyzer that fits it."""

    gallery: Gallery

    def person(self, name: str) -> str:
        """Return a person's name as stored, before any photo is read.

        Raises:
            UnknownNameError: If there is no such person.
        """
        from limner.gallery.store import unknown_person

        with self.gallery.locked() as store:
            found = store.find(name)
            if found is None:
                raise unknown_person(store, name)
            return found.name

    def analyzer(self, find: FindOptions, model: ModelOptions) -> FaceAnalyzer:
        """Build the analyzer: the embedder that was asked for, else the gallery's own.

        Raises:
            EmbedderMismatch: If the gallery belongs to another embedder.
        """
        from limner.cli.photos import make_analyzer
        from limner.gallery.store import embedder_mismatch
        from limner.weights.registry import MIRRORED, embedder_named

        pinned = self.gallery.embedder_id
        if model.embedder is None:
            model = replace(model, embedder=embedder_named(pinned))
        analyzer = make_analyzer(find, model, mirror=(pinned or "").endswith(MIRRORED))
        if pinned is not None and analyzer.embedder_id != pinned:
            raise embedder_mismatch(self.gallery.location, pinned, analyzer.embedder_id)
        return analyzer


@contextlib.contextmanager
def open_gallery(location: str | None, *, create: bool = False) -> Iterator[OpenGallery]:
    """Open the gallery that the options name, and close it again.

    Raises:
        GalleryError: If there is none, or it cannot be opened.
    """
    from limner.gallery import Gallery

    with Gallery.open(location, create=create) as gallery:
        yield OpenGallery(gallery)
