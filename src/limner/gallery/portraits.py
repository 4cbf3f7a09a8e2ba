"""What an enrolled person looks like: a kept chip, or the photo that they were enrolled from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from limner.errors import LimnerError
from limner.gallery.chips import cut_surroundings
from limner.gallery.enrolment import photo_digest
from limner.types import ImageArray

if TYPE_CHECKING:
    from limner.gallery.gallery import Gallery
    from limner.types import Embedding


def portrait(gallery: Gallery, name: str, *, like: Embedding | None = None) -> ImageArray | None:
    """Return a picture of an enrolled person.

    Args:
        gallery: Who is enrolled.
        name: The person.
        like: Of several enrolled faces the one nearest to this embedding is shown; else the first.

    Returns:
        Shape (H, W, 3), uint8 RGB, the face with a margin: the chip that was kept; else, where the
        enrolled photo still lies where it was, unchanged, the face is cut out of it. None where
        neither is.

    Raises:
        UnknownNameError: If there is no such person.
    """
    from limner import images

    with gallery.locked() as store:
        photos = gallery.photos(name)
        vectors = store.vectors_of(gallery.person(name).id)
        order = range(len(photos))
        if like is not None:
            order = np.argsort(-(vectors @ like.vector), kind="stable").tolist()
        for place in order:
            data = store.chip(photos[place].id) if photos[place].has_chip else None
            if data is not None:
                return images.read(data)
    for place in order:
        one = photos[place]
        path, box = one.photo, one.box_xyxy
        if path is None or box is None or one.digest is None or not Path(path).is_file():
            continue
        try:
            if photo_digest(path) != one.digest:  # another photo has taken its place
                continue
            return cut_surroundings(images.read(path), box)
        except LimnerError:
            continue
    return None
