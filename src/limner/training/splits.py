"""Hold a part of the data out for testing, so that its figures mean something.

Items of one record or one patient resemble each other; where some train and others test, a
network that knows them by heart looks as if it understood. So they stay together, unless
something else is asked for by name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from limner.errors import InputError
from limner.training.samples import Samples

ITEM, TIME = "item", "time"


def split(
    samples: Samples, share: float, *, seed: int, group: str | None = None
) -> tuple[Samples, Samples, str]:
    """Split a set in two.

    Args:
        samples: At least two items.
        share: Of the second part, in (0, 1).
        seed: Of the random draw.
        group: What stays together: ``item`` draws single items, class by class; ``time``
            holds out the last `share` of every record; otherwise the word of the set's own
            groups (``record``, ``patient``, a column's name). None takes the groups where
            the set has them, and single items where it has none.

    Returns:
        The first and the second part, and what the second is, in words. Drawn by item, every
        class with two items or more is in both, and a class with one item stays in the first.
        Notes about what the figures do not show are added to the first.

    Raises:
        InputError: If `share` is out of range, `group` is not what the set has, all items
            belong to one group, or either part would be empty.
    """
    if not 0.0 < share < 1.0:
        raise InputError(f"the share that is held out must lie between 0 and 1, got {share}.")
    _check_word(samples, group)
    notes: list[str] = []
    if group == TIME:
        second, words = _last(samples, share), f"the last {share:.0%} in time of every record"
        notes.append(f"{words} tests what the rest trained; that says nothing of other people.")
    elif group == ITEM or not samples.groups:
        second, words = _items(samples, share, seed), f"{share:.0%} held out"
        if samples.groups:
            both = _shared(samples.groups, second)
            if both:
                notes.append(
                    f"{both} of {len(set(samples.groups))} {samples.grouped_by}s are in training "
                    "and test: the figures are too good for any other."
                )
        elif samples.dims == 3:
            notes.append(
                "the volumes do not say whose they are: if a person has several, put them into "
                "CLASS/PERSON/, or the figures are too good."
            )
    else:
        second, words = _groups(samples, share, seed)
    first = np.setdiff1d(np.arange(len(samples)), second)
    if not len(first) or not len(second):
        raise InputError(
            f"{len(samples)} items are too few to hold {share:.0%} of them out; "
            "give more, or test data of their own."
        )
    train = samples.take(first)
    absent = sorted(
        samples.classes[i] for i in set(samples.labels[second]) - set(samples.labels[first])
    )
    if absent:
        notes.append(f"of {', '.join(absent)} there is test data only; nothing can learn it.")
    return replace(train, notes=(*train.notes, *notes)), samples.take(second), words


def leaks(train: Samples, test: Samples) -> tuple[str, ...]:
    """Return sentences about what is in training and test data at once."""
    notes = []
    if train.grouped_by == test.grouped_by:
        both = sorted(set(train.groups) & set(test.groups))
        if both:
            some = ", ".join(both[:3]) + (", ..." if len(both) > 3 else "")
            notes.append(
                f"{len(both)} {train.grouped_by}s are in training and test ({some}): the figures "
                "are too good for any other."
            )
    held = {_digest(v) for v in train.values}
    same = sum(_digest(v) in held for v in test.values)
    if same:
        notes.append(f"{same} of {len(test)} test items are in the training data, value by value.")
    return tuple(notes)


def _digest(values: NDArray[np.float32]) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(values).data, digest_size=16).digest()


def _check_word(samples: Samples, group: str | None) -> None:
    own = samples.grouped_by
    known = [ITEM, *([TIME] if samples.in_time else []), *([own] if own else [])]
    if group is not None and group not in known:
        raise InputError(
            f"this data can be held out by {' or '.join(known)}, got --group {group}."
            + ("" if own else " It does not say whose each item is.")
        )
    if group is None and samples.in_time and not own:
        raise InputError(
            "these items follow each other in time, and neighbours are too alike to be drawn "
            "apart; give test data, or ask for --group time."
        )
    if group in (None, own) and own and len(set(samples.groups)) < 2:
        way = "--group time (the last part of each record)" if samples.in_time else "--group item"
        raise InputError(
            f"all items are of one {own} ({samples.groups[0]}), so that no other is left to test "
            f"on; give test data, or ask for {way}, which says nothing of other {own}s."
        )


def _items(samples: Samples, share: float, seed: int) -> NDArray[np.int64]:
    """Draw items at random, class by class."""
    rng = np.random.default_rng(seed)
    held: list[NDArray[np.int64]] = []
    for label in range(samples.kinds):
        rows = rng.permutation(np.flatnonzero(samples.labels == label))
        count = round(len(rows) * share)
        if len(rows) > 1 and count == 0:
            count = 1
        held.append(rows[: min(count, len(rows) - 1)] if len(rows) else rows)
    return np.sort(np.concatenate(held))


def _last(samples: Samples, share: float) -> NDArray[np.int64]:
    """Return the last items of every record."""
    groups = np.array(samples.groups or [""] * len(samples))
    held = []
    for name in dict.fromkeys(groups):
        rows = np.flatnonzero(groups == name)
        held.append(rows[round(len(rows) * (1 - share)) :])
    return np.sort(np.concatenate(held))


def _groups(samples: Samples, share: float, seed: int) -> tuple[NDArray[np.int64], str]:
    """Draw whole groups, so that the classes stay in proportion."""
    from sklearn.model_selection import StratifiedGroupKFold

    groups = np.array(samples.groups)
    kinds = len(set(samples.groups))
    parts = min(kinds, max(2, round(1 / min(share, 1 - share))))
    folder = StratifiedGroupKFold(parts, shuffle=True, random_state=seed)
    counts = np.bincount(samples.labels)
    labels = samples.labels if counts.max() >= parts else np.zeros_like(samples.labels)
    folds = []
    for rest, fold in folder.split(np.zeros(len(labels)), labels, groups):
        held = fold if share <= 0.5 else rest
        if 0 < len(held) < len(labels):
            other = np.setdiff1d(np.arange(len(labels)), held)
            both = set(samples.labels[held]) & set(samples.labels[other])
            folds.append((-len(both), abs(len(held) / len(labels) - share), held))
    if not folds:
        raise InputError(f"{kinds} {samples.grouped_by}s cannot be split; give test data.")
    best = min(folds, key=lambda fold: fold[:2])[2]
    names = sorted({str(groups[i]) for i in best})
    some = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
    words = f"{len(names)} of {kinds} {samples.grouped_by}s held out ({some})"
    return np.sort(best), words


def _shared(groups: Sequence[str], second: NDArray[np.int64]) -> int:
    held = {groups[i] for i in second}
    rest = {g for i, g in enumerate(groups) if i not in set(second.tolist())}
    return len(held & rest)
