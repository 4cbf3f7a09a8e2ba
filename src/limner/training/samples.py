"""Labelled signals and volumes in memory, and how they are split.

A set of series is (N, C, L): N items, C leads, L samples. A set of volumes is
(N, C, D, H, W). Both are float32 and finite; labels are numbers into `classes`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limner.errors import InputError, ShapeError

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]

_WORDS = {1: "series", 3: "volumes"}


@dataclass(frozen=True)
class Layout:
    """How items were read: what two sets must share before they may be compared.

    Attributes:
        orientation: Of volumes: `limner.training.orientation.CANONICAL` where the files say
            how the body lies; "" where they don't.
        leads: Of records: names of the channels, in order.
        rate_hz: Of records: samples per second.
        item: Of records: whether an item is one of its ``beats`` or the whole of ``records``.
        before_s: Of beats: seconds before the R peak.
        after_s: Of beats: seconds after it.
    """

    orientation: str = ""
    leads: tuple[str, ...] = ()
    rate_hz: float | None = None
    item: str = ""
    before_s: float = 0.0
    after_s: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the layout as plain JSON values."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Layout:
        """Return what `to_json` wrote."""
        plain: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v
            for k, v in values.items()
            if k in cls.__dataclass_fields__
        }
        return cls(**plain)


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
        layout: How the items were read.
        groups: Shape (N,): whose each item is (a record, a patient), so that a split keeps
            them together; empty where it is not known.
        grouped_by: What the groups are, in a word; "" where there are none.
        several: Where items may be of several classes at once: which, shape (N, classes);
            `labels` is then the first of each. None where each item is of one class.
    """

    values: FloatArray
    labels: IntArray
    classes: tuple[str, ...]
    names: tuple[str, ...]
    in_time: bool = False
    notes: tuple[str, ...] = ()
    layout: Layout = field(default_factory=Layout)
    groups: tuple[str, ...] = ()
    grouped_by: str = ""
    several: NDArray[np.bool_] | None = None

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
            groups=tuple(self.groups[i] for i in index) if self.groups else (),
            several=None if self.several is None else self.several[index],
        )

    def words(self, row: int) -> tuple[str, ...]:
        """Return the class or classes of one item."""
        if self.several is None:
            return (self.classes[self.labels[row]],)
        return tuple(
            name for name, is_so in zip(self.classes, self.several[row], strict=True) if is_so
        )

    def counts(self) -> dict[str, int]:
        """Return how many items each class has."""
        found = np.bincount(self.labels, minlength=self.kinds)
        if self.several is not None:
            found = self.several.sum(axis=0)
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


def same_classes(samples: Samples, classes: Sequence[str]) -> Samples:
    """Return the set with its labels renumbered to another set's classes.

    Raises:
        InputError: If a class that has items is not among `classes`.
    """
    held = {name for name, count in samples.counts().items() if count}
    strange = sorted(held - set(classes))
    if strange:
        raise InputError(
            f"the test data has the class {strange[0]!r}, which the training data lacks; "
            f"known are {', '.join(classes)}."
        )
    return renumbered(samples, classes)


def renumbered(samples: Samples, classes: Sequence[str]) -> Samples:
    """Return the set with the given classes; items of none of them must not be there."""
    number = {name: i for i, name in enumerate(classes)}
    table = np.array([number.get(name, 0) for name in samples.classes], dtype=np.int64)
    several = None
    if samples.several is not None:
        several = np.zeros((len(samples), len(classes)), dtype=np.bool_)
        for i, name in enumerate(samples.classes):
            if name in number:
                several[:, number[name]] = samples.several[:, i]
    labels = table[samples.labels] if several is None else several.argmax(axis=1)
    return replace(
        samples, labels=np.asarray(labels, np.int64), classes=tuple(classes), several=several
    )


def from_names(
    values: FloatArray,
    labels: Sequence[str | tuple[str, ...]],
    *,
    names: Sequence[str],
    in_time: bool = False,
    notes: Sequence[str] = (),
) -> Samples:
    """Return a set from class names; numbers sort as numbers, other names as words.

    A tuple names all the classes of one item, of which there is at least one.
    """
    words = [(label,) if isinstance(label, str) else label for label in labels]
    classes = sort_classes({word for item in words for word in item})
    number = {name: i for i, name in enumerate(classes)}
    several = None
    if any(len(item) > 1 for item in words):
        several = np.zeros((len(words), len(classes)), dtype=np.bool_)
        for row, item in enumerate(words):
            several[row, [number[word] for word in item]] = True
    return Samples(
        values=values,
        labels=np.array([number[item[0]] for item in words], dtype=np.int64),
        classes=classes,
        names=tuple(names),
        in_time=in_time,
        notes=tuple(notes),
        several=several,
    )


def sort_classes(found: set[str]) -> tuple[str, ...]:
    """Return class names in order: by value where all are numbers, else as words."""
    try:
        return tuple(sorted(found, key=float))
    except ValueError:
        return tuple(sorted(found))
