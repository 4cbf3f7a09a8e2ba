"""Whether a person's photos go together, and what is said of those that may not."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict

import numpy as np

from limner.errors import InputError
from limner.gallery.records import EnrolledPhoto, FarFace, PhotoRef, ReviewedPhoto
from limner.similarity import squared_l2
from limner.types import Embedding, Face, FloatArray


def nearest_other(vectors: FloatArray, *, first: int | None = None) -> FloatArray:
    """Return how far each embedding is from the nearest of the others.

    Args:
        vectors: Shape (N, D), unit rows.
        first: Ask about so many of them only, from the first on.

    Returns:
        Shape (N,) or (first,), squared L2; infinite where there is no other.
    """
    asked = vectors if first is None else vectors[:first]
    found = np.full(len(asked), np.inf, np.float32)
    for place, vector in enumerate(asked):
        distances = squared_l2(np.broadcast_to(vector, vectors.shape), vectors)
        distances[place] = np.inf
        found[place] = distances.min()
    return found


def far_ones(new: FloatArray, theirs: FloatArray, tau: float) -> list[FarFace]:
    """Return which of a person's new embeddings are far from all the others.

    Args:
        new: Shape (N, D). The very same embedding twice is no other.
        theirs: Shape (M, D), what the person has already.
        tau: The largest distance that is not far.
    """
    distinct, which = np.unique(new, axis=0, return_inverse=True)
    nearest = nearest_other(np.concatenate([distinct, theirs]), first=len(distinct))
    return [
        FarFace(place, float(nearest[row]), tau)
        for place, row in enumerate(which.ravel().tolist())
        if tau < nearest[row] < np.inf
    ]


def reviewed(photo: EnrolledPhoto, distance: float, tau: float | None) -> ReviewedPhoto:
    """Return an enrolled face with how far it is from the person's others."""
    alone = not np.isfinite(distance)
    return ReviewedPhoto(
        **asdict(photo),
        distance=None if alone else distance,
        threshold=tau,
        odd=not alone and tau is not None and distance > tau,
    )


def refuse_poor(faces: Sequence[Face], photo: str) -> None:
    """Refuse faces that nobody could be recognised by.

    Args:
        faces: Of one photo.
        photo: How the photo is called.

    Raises:
        InputError: If one of them brings a reason; the message says what to do.
    """
    from limner.faces.quality import better_photo

    for face in faces:
        if face.reason is not None:
            raise InputError(
                f"{photo} is too poor to enrol, {face.reason}: use {better_photo(face.reason)}, "
                "or enrol it all the same with --force (force=True)."
            )


def far_sentence(shown: str, person: str, far: FarFace) -> str:
    """Return what is said of a face that is far from the person's others."""
    return (
        f"{shown} is far from the other photos of {person!r} (distance {far.distance:.3f}, "
        f"threshold {far.threshold:.3f}), so it may show somebody else."
    )


def alike(name: str | int, others: Mapping[str, float], tau: float) -> list[str]:
    """Return the warnings about other people at a distance below tau, the nearest first."""
    return [
        f"{name!r} looks like {other!r}: distance {distance:.3f}, threshold {tau:.3f}. If both "
        f"are one person, merge them; if not, they may be mistaken for each other."
        for other, distance in sorted(others.items(), key=lambda item: item[1])
    ]


def remarks(
    person: str,
    faces: Sequence[Embedding],
    photos: Sequence[PhotoRef | None],
    far: Sequence[FarFace],
    taken: Collection[int],
) -> list[str]:
    """Return the warnings about the faces that a person was given.

    Args:
        person: The name.
        faces: All that came.
        photos: Where they came from.
        far: Those far from the person's others.
        taken: The places of those that were added.
    """
    shown = [(ref and ref.name) or f"face {place}" for place, ref in enumerate(photos, start=1)]
    said = [
        f"{shown[place]} is too poor to judge by, {faces[place].reason}: {person!r} will often not "
        "be recognised by it."
        for place in sorted(taken)
        if faces[place].reason is not None
    ]
    return said + [far_sentence(shown[one.place], person, one) for one in far if one.place in taken]
