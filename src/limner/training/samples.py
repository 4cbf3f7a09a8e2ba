"""Labelled signals and volumes in memory, and how they are split.

A set of series is (N, C, L): N items, C leads, L samples. A set of volumes is
(N, C, D, H, W). Both are float32 and finite; labels are numbers into `classes`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limner.errors import InputError, ShapeError

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]

_WORDS = {1: "series", 3: "volumes"}


@dataclass(frozen=True, eq=False)
class Samples:
    """Items of one shape with their classes.

    Attributes:
        values: Shape (N, C, L) or (N, C, D, H, W), float32, finite.
        labels: Shape (N,), int64, into `classes`.
        classes: Names in the order of the labels.
        names: Shape (N,): where each item comes from, for people to read.
        in_time: Whether the items follow each other in time, so that a fair split cuts once
            instead of shuffling neighbours apart.
        notes: What was done to the data while reading, in sentences.
    """

    values: FloatArray
    labels: IntArray
    classes: tuple[str, ...]
    names: tuple[str, ...]
    in_time: bool = False
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.values.ndim not in (3, 5):
            raise ShapeError(
                "values must have shape (N, C, L) for series or (N, C, D, H, W) for volumes, "
                f"got {self.values.shape}."
            )
        if self.labels.shape != (len(self.values),) or len(self.names) != len(self.values):
            raise ShapeError(
                f"{len(self.values)} items need as many labels and names, got "
                f"{self.labels.shape} labels and {len(self.names)} names."
            )
        if len(self.labels) and not (0 <= self.labels.min() <= self.labels.max() < self.kinds):
            raise InputError(f"labels must lie in 0..{self.kinds - 1}.")

    def __len__(self) -> int:
        return len(self.values)

    @property
    def dims(self) -> int:
        """1 for series, 3 for volumes."""
        return self.values.ndim - 2

    @property
    def kinds(self) -> int:
        """How many classes there are."""
        return len(self.classes)

    @property
    def shape(self) -> tuple[int, ...]:
        """Channels and sides of one item."""
        return tuple(self.values.shape[1:])

    def take(self, rows: Sequence[int] | NDArray[Any]) -> Samples:
        """Return some of the items, in that order."""
        index = np.asarray(rows, dtype=np.int64)
        return replace(
            self,
            values=self.values[index],
            labels=self.labels[index],
            names=tuple(self.names[i] for i in index),
        )

    def counts(self) -> dict[str, int]:
        """Return how many items each class has."""
        found = np.bincount(self.labels, minlength=self.kinds)
        return {name: int(n) for name, n in zip(self.classes, found, strict=True)}


def check_trainable(samples: Samples) -> None:
    """Refuse a set that no classifier can learn from.

    Raises:
        InputError: If there are fewer than two classes with items.
    """
    held = [name for name, n in samples.counts().items() if n]
    word = _WORDS[samples.dims]
    if len(held) < 2:
        raise InputError(
            f"training needs {word} of at least two classes, got {len(held)}"
            f"{f' ({held[0]})' if held else ''}; label some of another kind."
        )


def split(samples: Samples, share: float, *, seed: int) -> tuple[Samples, Samples]:
    """Split a set in two.

    Items that follow each other in time are cut once: the second part holds the last `share`
    of them. Others are drawn at random, class by class.

    Args:
        samples: At least two items.
        share: Of the second part, in (0, 1).
        seed: Of the random draw.

    Returns:
        The first and the second part. Drawn at random, every class with two items or more is
        in both, and a class with one item stays in the first.

    Raises:
        InputError: If `share` is out of range or either part would be empty.
    """
    if not 0.0 < share < 1.0:
        raise InputError(f"the share that is held out must lie between 0 and 1, got {share}.")
    if samples.in_time:
        cut = round(len(samples) * (1 - share))
        first, second = np.arange(cut), np.arange(cut, len(samples))
    else:
        rng = np.random.default_rng(seed)
        held: list[NDArray[np.int64]] = []
        for label in range(samples.kinds):
            rows = rng.permutation(np.flatnonzero(samples.labels == label))
            count = round(len(rows) * share)
            if len(rows) > 1 and count == 0:
                count = 1
            held.append(rows[: min(count, len(rows) - 1)] if len(rows) else rows)
        second = np.sort(np.concatenate(held))
        first = np.setdiff1d(np.arange(len(samples)), second)
    if not len(first) or not len(second):
        raise InputError(
            f"{len(samples)} items are too few to hold {share:.0%} of them out; "
            "give more, or test data of their own."
        )
    return samples.take(first), samples.take(second)


def same_classes(samples: Samples, classes: Sequence[str]) -> Samples:
    """Return the set with its labels renumbered to another set's classes.

    Raises:
        InputError: If a class that has items is not among `classes`.
    """
    held = {samples.classes[i] for i in np.unique(samples.labels)}
    strange = sorted(held - set(classes))
    if strange:
        raise InputError(
            f"the test data has the class {strange[0]!r}, which the training data lacks; "
            f"known are {', '.join(classes)}."
        )
    number = {name: i for i, name in enumerate(classes)}
    table = np.array([number.get(name, 0) for name in samples.classes], dtype=np.int64)
    return replace(samples, labels=table[samples.labels], classes=tuple(classes))


def from_names(
    values: FloatArray,
    labels: Sequence[str],
    *,
    names: Sequence[str],
    in_time: bool = False,
    notes: Sequence[str] = (),
) -> Samples:
    """Return a set from class names; numbers sort as numbers, other names as words."""
    classes = sort_classes(set(labels))
    number = {name: i for i, name in enumerate(classes)}
    return Samples(
        values=values,
        labels=np.array([number[label] for label in labels], dtype=np.int64),
        classes=classes,
        names=tuple(names),
        in_time=in_time,
        notes=tuple(notes),
    )


def sort_classes(found: set[str]) -> tuple[str, ...]:
    """Return class names in order: by value where all are numbers, else as words."""
    try:
        return tuple(sorted(found, key=float))
    except ValueError:
        return tuple(sorted(found))
