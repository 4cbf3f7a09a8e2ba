"""What may be handed to a gallery as a face, and what to say of anything else."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np

from limner.errors import FaceCountError, InputError
from limner.gallery.records import PhotoRef
from limner.gallery.store import NewFace
from limner.types import Embedding, Face, FloatArray, ImageArray

Known: TypeAlias = "Embedding | Face"
"""A face as a gallery takes it: its embedding, or the face that has one."""

Photo: TypeAlias = "PhotoRef | str | None"
"""Where a face came from, as a gallery takes it: a reference, a name, or nothing."""


def embeddings_of(given: Any, *, call: str) -> list[Embedding]:
    """Return the embeddings of whatever holds faces, in their order.

    Args:
        given: An `Embedding`, a `Face` that has one, the `PhotoFaces` of `analyze_many`, or any
            number of them.
        call: How the method is called in the message, such as ``identify``.

    Raises:
        InputError: If it is something else; the message says what to pass.
    """
    if isinstance(given, Embedding):
        return [given]
    if isinstance(given, Face):
        if given.embedding is None:
            raise InputError(
                f"{call} got a face without an embedding: it was found with embed=False, or with "
                "embedder=None; analyze the photo with an embedder."
            )
        return [given.embedding]
    if _is_photo_faces(given):
        if given.faces is None:
            raise InputError(f"{call} got a photo that could not be read: {given.error}")
        return [found for face in given.faces for found in embeddings_of(face, call=call)]
    if isinstance(given, np.ndarray | np.generic):
        shape = "x".join(map(str, given.shape)) or "of no axes"
        raise InputError(
            f"{call} got an array {shape}, which does not say what embedder made it: "
            "pass limner.Embedding(vector, embedder_id=...), one for each row."
        )
    if isinstance(given, str | os.PathLike | bytes | bytearray):
        shown = "the bytes of a file" if isinstance(given, bytes | bytearray) else repr(str(given))
        raise InputError(
            f"{call} takes faces, not photos, got {shown}: pass the faces that "
            "FaceAnalyzer().analyze(photo) finds."
        )
    if not isinstance(given, Iterable) or isinstance(given, dict):
        raise InputError(
            f"{call} takes a Face, an Embedding, PhotoFaces, or a list of them, "
            f"got {type(given).__name__}."
        )
    return [found for one in given for found in embeddings_of(one, call=call)]


def embedding_of(given: Any, *, call: str) -> Embedding:
    """Return the embedding of what holds one face.

    Raises:
        FaceCountError: If it holds none, or several.
        InputError: If it is something else.
    """
    found = embeddings_of(given, call=call)
    if len(found) != 1:
        raise FaceCountError(f"{call} takes one face, got {len(found)}.", count=len(found))
    return found[0]


def _is_photo_faces(given: Any) -> bool:
    from limner.faces.analyzer import PhotoFaces

    return isinstance(given, PhotoFaces)


def photo_refs(photo: Photo | Sequence[Photo], count: int) -> list[PhotoRef | None]:
    """Return where each of `count` embeddings came from.

    Raises:
        InputError: If they are not as many.
    """
    several = isinstance(photo, Sequence) and not isinstance(photo, str)
    given: list[Any] = list(photo) if several else [photo] * count  # type: ignore[arg-type]
    if len(given) != count:
        raise InputError(f"photo must be one, or one for each of {count} embeddings.")
    return [PhotoRef(name=p) if isinstance(p, str) else p for p in given]


def encode_chips(chips: Sequence[ImageArray | None] | None, count: int) -> list[bytes | None]:
    """Return pictures of `count` faces as they are stored, as PNG.

    Raises:
        InputError: If they are not as many.
    """
    if chips is None:
        return [None] * count
    if len(chips) != count:
        raise InputError(f"chips must be one for each of {count} embeddings, got {len(chips)}.")
    from limner.gallery.chips import encode_chip

    return [None if chip is None else encode_chip(chip) for chip in chips]


def new_face(
    embedding: Embedding, vector: FloatArray, photo: PhotoRef | None, chip: bytes | None = None
) -> NewFace:
    """Return an embedding as it is stored: `vector`, where it came from, and its quality."""
    return NewFace(vector, photo, chip, (embedding.quality, embedding.reason))
