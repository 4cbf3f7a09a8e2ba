"""Which heart beat, or which scan, is most like this one: embeddings of arrays compared.

Embeddings of signals and volumes are `limner.types.Embedding`: `Gallery`, the distances and
the pair heads take them as they take those of faces.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from limner.errors import InputError, TooFewPairsError
from limner.similarity import PairHead, fit_pair_head
from limner.similarity.distances import pairwise_squared_l2
from limner.similarity.heads import HeadKind
from limner.training.array_model import ArrayModel
from limner.training.samples import Samples, same_classes

PAIRS = 4000
"""Pairs of each kind, at most, that a head is fitted on."""


@dataclass(frozen=True)
class Near:
    """One item of the training set, as an answer to "what is most like this one?".

    Attributes:
        number: Of the item in the training set.
        name: Where it came from.
        label: Its class.
        distance: Squared distance of the embeddings, in [0, 4]; small means alike.
        probability: That both are of one class, if the question is drawn half the time from
            each case; None where the model has no pair head.
    """

    number: int
    name: str
    label: str
    distance: float
    probability: float | None

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return {
            "name": self.name,
            "label": self.label,
            "distance": self.distance,
            "probability": self.probability,
        }


def most_alike(model: ArrayModel, samples: Samples, *, top: int = 5) -> list[list[Near]]:
    """Return, for each item, the training items most like it.

    Args:
        model: Whose training items are searched.
        samples: What is asked about.
        top: How many at most.

    Returns:
        For each item its neighbours, nearest first.

    Raises:
        InputError: If `top` is below 1.
        ShapeError: If the items have another shape than the model reads.
    """
    if top < 1:
        raise InputError(f"top must be 1 or larger, got {top}.")
    distances = pairwise_squared_l2(model.vectors(samples.values), model.reference)
    order = np.argsort(distances, axis=1, kind="stable")[:, :top]
    return [
        [_near(model, int(i), float(distances[row, i])) for i in picks]
        for row, picks in enumerate(order)
    ]


def _near(model: ArrayModel, number: int, distance: float) -> Near:
    head = model.head
    return Near(
        number=number,
        name=model.reference_names[number],
        label=model.net.classes[int(model.reference_labels[number])],
        distance=distance,
        probability=None if head is None else float(head.probability(distance)),
    )


def fit_head(
    model: ArrayModel, samples: Samples, *, kind: HeadKind = "squared_l2", seed: int = 0
) -> PairHead | None:
    """Fit a pair head: from two embeddings to the probability that both are of one class.

    Args:
        model: Whose embeddings are compared.
        samples: Labelled items that the model was not trained on; each is paired with items
            of the training set.
        kind: The head.
        seed: Of the pairs that are drawn.

    Returns:
        The head, or None where there are too few pairs, or pairs of one class are no nearer
        than others.
    """
    known = same_classes(samples, model.net.classes)
    same = known.labels[:, None] == model.reference_labels[None, :]
    rng = np.random.default_rng(seed)
    rows: list[Any] = []
    for wanted in (True, False):
        found = np.flatnonzero(same.reshape(-1) == wanted)
        rows.append(rng.permutation(found)[:PAIRS])
    picks = np.concatenate(rows)
    left, right = np.unravel_index(picks, same.shape)
    vectors = model.vectors(known.values)
    try:
        return fit_pair_head(kind, vectors[left], model.reference[right], same[left, right])
    except (TooFewPairsError, InputError):
        return None
