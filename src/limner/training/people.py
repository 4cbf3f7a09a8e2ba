"""A folder of people: who is on which photo, and which photos train, validate and test.

`person/photo.jpg` below one folder, or below `train/`, `val/` and `test/` where the split is
given. A split *by photo* has the same people on every side (closed set: who of these is it?),
one *by identity* has different people (open set: are these two the same?). A photo, or in the
open set a person, on two sides is a leak and is refused: figures from it would be wrong.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from limner import images
from limner.errors import ImageError, InputError, UnknownNameError

SIDES = ("train", "val", "test")
By = Literal["photo", "identity"]
Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class People:
    """The photos of a folder of people.

    Attributes:
        root: The folder.
        names: The people, sorted.
        photos: One path for each photo, sorted by person.
        labels: Shape (N,), int64: index into `names` of each photo.
        side: The side that the folder itself puts each photo on; empty where it gives none.
        notes: What was left out, in words.
    """

    root: Path
    names: tuple[str, ...]
    photos: tuple[Path, ...]
    labels: Indices
    side: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())

    def counts(self) -> Indices:
        """Return how many photos each person has, shape (K,)."""
        return np.bincount(self.labels, minlength=len(self.names)).astype(np.int64)

    def take(self, keep: NDArray[np.bool_], *notes: str) -> People:
        """Return the people of the photos that are kept, numbered anew."""
        kept = np.flatnonzero(keep)
        numbers, labels = np.unique(self.labels[kept], return_inverse=True)
        return People(
            self.root,
            tuple(self.names[i] for i in numbers),
            tuple(self.photos[i] for i in kept),
            labels.astype(np.int64),
            tuple(self.side[i] for i in kept) if self.side else (),
            (*self.notes, *notes),
        )


@dataclass(frozen=True, eq=False)
class Split:
    """Which photos are on which side.

    Attributes:
        by: `photo` (closed set) or `identity` (open set).
        train: Indices of photos.
        val: Indices of photos.
        test: Indices of photos; may be empty.
    """

    by: By
    train: Indices
    val: Indices
    test: Indices


def natural(text: str) -> tuple[object, ...]:
    """Return a sorting key that puts `photo2` before `photo10`."""
    return tuple(int(p) if p.isdigit() else p for p in re.split(r"(\d+)", text.lower()))


def read_people(
    folder: str | Path, *, min_photos: int = 1, max_people: int | None = None
) -> People:
    """Read a folder of people.

    Args:
        folder: `person/photo.jpg`, or `train|val|test/person/photo.jpg`.
        min_photos: People with fewer photos are left out.
        max_people: Only so many people, those with the most photos.

    Returns:
        The photos. A person's folder without a photo is left out, and said in the notes; so is
        a second copy of a photo of the same person.

    Raises:
        ImageError: If the folder cannot be read.
        InputError: If it holds fewer than two people, or one file under two names, or on two
            sides.
    """
    root = Path(folder)
    photos = images.list_photos(root)
    below = sorted(d.name for d in root.iterdir() if d.is_dir() and not d.name.startswith("."))
    given = set(below) <= set(SIDES) and {"train", "val"} <= set(below)
    found: list[tuple[str, str, Path]] = []
    loose = 0
    for photo in photos:
        parts = photo.relative_to(root).parts
        depth = 2 if given else 1
        if len(parts) <= depth:
            loose += 1
            continue
        found.append((parts[depth - 1], parts[0] if given else "", photo))
    names = sorted({person for person, _, _ in found})
    folders = _person_folders(root, given)
    notes = _notes_on(folders - set(names), loose)
    if not found:
        raise InputError(
            f"{root} holds no folder of a person with photos; wanted {root}/NAME/photo.jpg."
        )
    found.sort(key=lambda row: (row[0], row[1], natural(str(row[2]))))
    number = {name: i for i, name in enumerate(names)}
    people = People(
        root,
        tuple(names),
        tuple(p for _, _, p in found),
        np.array([number[n] for n, _, _ in found], np.int64),
        tuple(s for _, s, _ in found) if given else (),
        notes,
    )
    people = _without_copies(people)
    people = _with_enough(people, min_photos, max_people)
    if len(people.names) < 2:
        raise InputError(
            f"{root} holds {_count(len(people.names), 'person', 'people')} with "
            f"{_count(min_photos, 'photo', 'photos')} or more; training needs two people at least."
        )
    return people


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


def _person_folders(root: Path, given: bool) -> set[str]:
    parents = [root / side for side in SIDES if (root / side).is_dir()] if given else [root]
    return {d.name for p in parents for d in p.iterdir() if d.is_dir() and d.name[0] != "."}


def _notes_on(empty: set[str], loose: int) -> tuple[str, ...]:
    notes = []
    if empty:
        first = ", ".join(sorted(empty)[:3]) + (", ..." if len(empty) > 3 else "")
        notes.append(f"left out, no photo: {first} ({_count(len(empty), 'folder', 'folders')}).")
    if loose:
        notes.append(f"left out, in no person's folder: {_count(loose, 'photo', 'photos')}.")
    return tuple(notes)


def _without_copies(people: People) -> People:
    """Drop second copies of a file; refuse one file as two people or on two sides."""
    sizes = [p.stat().st_size for p in people.photos]
    shared = {size for size, count in Counter(sizes).items() if count > 1}
    first: dict[str, int] = {}
    keep = np.ones(len(people.photos), bool)
    for i, photo in enumerate(people.photos):
        if sizes[i] not in shared:
            continue
        digest = hashlib.sha256(photo.read_bytes()).hexdigest()
        j = first.setdefault(digest, i)
        if j == i:
            continue
        if people.labels[i] != people.labels[j]:
            raise InputError(
                f"{people.photos[j]} and {photo} are the same file under two names; "
                "remove the one that is wrong."
            )
        if people.side and people.side[i] != people.side[j]:
            raise InputError(
                f"{people.photos[j]} and {photo} are the same file, in {people.side[j]} and in "
                f"{people.side[i]}: a leak; remove one of them."
            )
        keep[i] = False
    if keep.all():
        return people
    dropped = int((~keep).sum())
    return people.take(keep, f"left out, second copies: {_count(dropped, 'photo', 'photos')}.")


def _with_enough(people: People, min_photos: int, max_people: int | None) -> People:
    if min_photos < 1:
        raise InputError(f"min_photos must be 1 or larger, got {min_photos}.")
    counts = people.counts()
    few = counts < min_photos
    if few.any() and not few.all():
        note = f"left out, fewer than {_count(min_photos, 'photo', 'photos')}: " + _count(
            int(few.sum()), "person.", "people."
        )
        people = people.take(~few[people.labels], note)
    elif few.all():
        people = people.take(np.zeros(len(people.photos), bool))
    if max_people is not None and len(people.names) > max_people:
        if max_people < 2:
            raise InputError(f"max_people must be 2 or larger, got {max_people}.")
        counts = people.counts()
        most = np.argsort(-counts, kind="stable")[:max_people]
        people = people.take(np.isin(people.labels, most))
    return people


def split_people(
    people: People,
    *,
    by: By,
    shares: Sequence[float] = (0.6, 0.2, 0.2),
    seed: int = 0,
) -> Split:
    """Put every photo on one side, at random, or where the folder itself puts it.

    Args:
        people: The photos.
        by: `photo`: of every person's photos the shares go to each side, one at least where
            the share is not 0. `identity`: whole people do.
        shares: Of train, val and test, summing to 1.
        seed: Of the choice.

    Returns:
        The sides.

    Raises:
        UnknownNameError: If `by` is another word.
        InputError: If the shares are not shares, a person has too few photos, a class is
            missing on a side, or a given split leaks.
    """
    if by not in get_args(By):
        raise UnknownNameError(f"by must be 'photo' or 'identity', got {by!r}.")
    given = tuple(float(s) for s in shares)
    if len(given) != 3 or min(given) < 0 or abs(sum(given) - 1) > 1e-6 or min(given[:2]) == 0:
        raise InputError(
            "shares must be three numbers that sum to 1, train and val larger than 0, got "
            f"{tuple(shares)}."
        )
    if people.side:
        side = np.array([SIDES.index(s) for s in people.side])
    else:
        generator = np.random.default_rng(seed)
        assign = _assign_photos if by == "photo" else _assign_people
        side = assign(people, given, generator)
    split = Split(by, *(np.flatnonzero(side == i).astype(np.int64) for i in range(3)))
    check_split(people, split)
    return split


def _quota(count: int, shares: tuple[float, ...], *, least: int = 1) -> list[int]:
    """Share out `count` things: at least so many for every share that is not 0."""
    val, test = (max(least, round(count * s)) if s > 0 else 0 for s in shares[1:])
    return [count - val - test, val, test]


def _assign_photos(
    people: People, shares: tuple[float, ...], generator: np.random.Generator
) -> NDArray[np.int64]:
    side = np.zeros(len(people.photos), np.int64)
    least = sum(s > 0 for s in shares)
    for number, name in enumerate(people.names):
        own = np.flatnonzero(people.labels == number)
        if own.size < least:
            raise InputError(
                f"{name} has {_count(own.size, 'photo', 'photos')}, too few for {least} sides "
                f"(train, validation, test); leave such people out with min_photos {least}, or "
                "split by identity."
            )
        quota = _quota(own.size, shares)
        side[generator.permutation(own)] = np.repeat([0, 1, 2], quota)
    return side


def _assign_people(
    people: People, shares: tuple[float, ...], generator: np.random.Generator
) -> NDArray[np.int64]:
    count = len(people.names)
    quota = _quota(count, shares, least=2)
    if quota[0] < 2:
        raise InputError(
            f"{count} people are too few to split by identity; training and validation (and test, "
            "where it has a share) need two people each: add people, or split the photos of "
            "everybody with --set split=photo."
        )
    of_person = np.empty(count, np.int64)
    of_person[generator.permutation(count)] = np.repeat([0, 1, 2], quota)
    return np.asarray(of_person[people.labels], np.int64)


def check_split(people: People, split: Split) -> None:
    """Refuse a split that leaks, or that lacks somebody.

    Raises:
        InputError: If a photo is on two sides, a side is empty, a person is on two sides of a
            split by identity, or is missing on one of a split by photo.
    """
    sides = {"train": split.train, "val": split.val, "test": split.test}
    for name, verb in (("train", "train"), ("val", "validate")):
        if not sides[name].size:
            raise InputError(f"there is no photo to {verb} on.")
    everything = np.concatenate(list(sides.values()))
    if np.unique(everything).size != everything.size:
        twice = int(np.flatnonzero(np.bincount(everything) > 1)[0])
        raise InputError(f"{people.photos[twice]} is on two sides of the split: a leak.")
    on = {name: set(people.labels[rows].tolist()) for name, rows in sides.items() if rows.size}
    if split.by == "identity":
        for a, b in (("train", "val"), ("train", "test"), ("val", "test")):
            both = on.get(a, set()) & on.get(b, set())
            if both:
                raise InputError(
                    f"{people.names[min(both)]} is in {a} and in {b}: in an open set nobody may "
                    "be on two sides."
                )
        return
    for name in on:
        missing = set(range(len(people.names))) - on[name]
        if missing:
            raise InputError(
                f"{people.names[min(missing)]} has no photo in {name}: in a closed set everybody "
                "is on every side; add one, or remove the person."
            )


def drop_unreadable(people: People, reasons: Sequence[str | None]) -> People:
    """Leave out photos that cannot be read or show no face, and say so.

    Args:
        people: The photos.
        reasons: Why each is of no use; None where it is of use.

    Raises:
        ImageError: If none is left.
    """
    keep = np.array([reason is None for reason in reasons])
    if keep.all():
        return people
    if not keep.any():
        raise ImageError(
            f"none of the {len(keep):,} photos in {people.root} can be used: {reasons[0]}"
        )
    first = next(i for i, reason in enumerate(reasons) if reason is not None)
    dropped = int((~keep).sum())
    note = (
        f"left out, unreadable or without a face: {_count(dropped, 'photo', 'photos')} "
        f"({people.photos[first].name}: {str(reasons[first]).rstrip('.')})."
    )
    return people.take(keep, note)
