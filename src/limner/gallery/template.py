"""A person as one embedding: what several enrolled photos say together.

Chosen on the photos of LFW View 1, 237 people with two to four photos enrolled and one asked for,
strangers beside them: the mean weighted by quality recognises 98.9 % at one stranger in a hundred,
the nearest photo 98.7 %; where one of the enrolled photos is spoiled, 98.4 % and 98.1 %
(``python bench/fit_quality.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from limner.gallery.search import Near
from limner.gallery.store import Judged, Store
from limner.similarity import squared_l2
from limner.types import FloatArray

IN_QUESTION = 3
"""How many people are ranked by their templates: those with the nearest single embeddings."""

IN_QUESTION = 3
"""How many people are ranked by their templates: those with the nearest single embeddings."""

_LEAST = 1e-3
"""The weight of a face of quality 0, so that somebody enrolled by such alone has a template too."""


def pool(vectors: FloatArray, judged: Sequence[Judged]) -> tuple[FloatArray, Judged]:
    """Return a person's template and how good a face it stands for.

    Args:
        vectors: Shape (N, D), N >= 1, unit rows: the person's embeddings.
        judged: Quality and reason of each; a quality that is not known counts as 1.

    Returns:
        The unit vector along the mean weighted by quality, shape (D,), or where that has no
        direction the best single embedding; and the mean quality weighted alike (None where none
        is known), with a reason only where every photo has one.
    """
    known = [1.0 if quality is None else quality for quality, _ in judged]
    best = int(np.argmax(known))
    if len(vectors) == 1:
        return vectors[0], judged[0]
    weights = np.maximum(np.asarray(known, np.float32), _LEAST)
    mean = weights @ vectors / weights.sum()
    length = float(np.linalg.norm(mean))
    template = vectors[best] if length < 1e-3 else (mean / length).astype(np.float32)
    quality = None
    if any(one is not None for one, _ in judged):
        quality = min(1.0, float(weights @ weights / weights.sum()))
    poor = all(reason is not None for _, reason in judged)
    return template, (quality, judged[best][1] if poor else None)


def rank_by_template(
    store: Store, vectors: FloatArray, found: Sequence[Sequence[Near]]
) -> list[list[Near]]:
    """Return people again, by the distance of their templates, nearest first.

    Args:
        store: Whose people they are.
        vectors: Shape (Q, D), unit rows: the queries.
        found: For each query the people in question, by their single embeddings.
    """
    templates: dict[int, tuple[FloatArray, Judged]] = {}
    for person in {hit.person_id for near in found for hit in near}:
        templates[person] = pool(store.vectors_of(person), store.judged_of(person))
    ranked = []
    for vector, near in zip(vectors, found, strict=True):
        again = []
        for hit in near:
            template, judged = templates[hit.person_id]
            distance = float(squared_l2(vector[None], template[None])[0])
            again.append(replace(hit, distance=distance, judged=judged))
        ranked.append(sorted(again, key=lambda hit: (hit.distance, hit.name)))
    return ranked
