"""Files of pairs: LFW's two kinds, and a plain CSV.

LFW view 2 (``pairs.txt``) begins with ``folds<TAB>pairs``; each fold has that many lines
``name i j`` (one person) and then as many ``name1 i name2 j`` (two people). View 1
(``pairsDevTrain.txt``) begins with one count, or, as it is often copied, with none.
A CSV has lines ``path1,path2,same[,fold]`` and may begin with that heading.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from limner.errors import ProtocolError
from limner.images import PHOTO_SUFFIXES

_TRUE = frozenset({"1", "true", "same", "yes"})
_FALSE = frozenset({"0", "false", "different", "no"})
_FORMS = {
    None: "'name i j' or 'name1 i name2 j'",
    True: "'name i j'",
    False: "'name1 i name2 j'",
}
_LISTED = 3  # how many names a message lists


@dataclass(frozen=True)
class Reference:
    """One photo as a pairs file names it.

    Attributes:
        person: Whose photo it is; None in a CSV.
        path: Relative to the image folder, without a suffix where LFW's form was used.
    """

    person: str | None
    path: str

    @property
    def name(self) -> str:
        """Return the photo's name for people to read."""
        return Path(self.path).name if self.person is not None else self.path


@dataclass(frozen=True, eq=False)
class PairList:
    """Pairs of photos and what is true of them.

    Attributes:
        photos: Every photo that occurs, once, in order of appearance.
        left: Shape (N,), int: index into `photos`.
        right: Shape (N,), int: index into `photos`.
        same: Shape (N,), bool.
        fold: Shape (N,), int, 0-based; all -1 where the file has no folds.
        source: The file they came from.
        form: ``lfw-view2``, ``lfw-view1`` or ``csv``.
    """

    photos: tuple[Reference, ...]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    same: NDArray[np.bool_]
    fold: NDArray[np.int64]
    source: str
    form: str

    def __len__(self) -> int:
        return int(self.same.size)

    @property
    def has_folds(self) -> bool:
        """Whether the file divides its pairs into folds."""
        return bool(self.fold.size) and int(self.fold[0]) >= 0

    def locate(self, images: str | Path) -> list[Path]:
        """Find the photos below a folder.

        ``Name/Name_0001.jpg`` and ``Name_0001.jpg`` are looked for, with any known suffix.

        Args:
            images: The folder.

        Returns:
            One path for each of `photos`.

        Raises:
            ProtocolError: If photos are missing; says how many, and the first ones.
        """
        root = Path(images)
        if not root.is_dir():
            raise ProtocolError(f"the image folder {root} does not exist or is not a folder.")
        found = [_locate(root, reference) for reference in self.photos]
        missing = [r.path for r, path in zip(self.photos, found, strict=True) if path is None]
        if missing:
            first = ", ".join(missing[:_LISTED]) + (", ..." if len(missing) > _LISTED else "")
            raise ProtocolError(
                f"{len(missing):,} of the {len(found):,} photos that {self.source} names are not "
                f"in {root}: {first}."
            )
        return [path for path in found if path is not None]


def _locate(root: Path, reference: Reference) -> Path | None:
    if reference.person is None:
        path = root / reference.path
        return path if path.is_file() else None
    for base in (root / reference.path, root / Path(reference.path).name):
        usual = base.with_name(base.name + ".jpg")
        if usual.is_file():
            return usual
        for suffix in sorted(PHOTO_SUFFIXES):
            path = base.with_name(base.name + suffix)
            if path.is_file():
                return path
    return None


@dataclass
class _Reader:
    """Collects pairs and says where a line breaks the rules."""

    source: str
    numbers: dict[Reference, int]
    rows: list[tuple[int, int, bool, int]]

    def error(self, line: int, message: str) -> ProtocolError:
        return ProtocolError(f"{self.source}, line {line}: {message}")

    def add(self, a: Reference, b: Reference, same: bool, fold: int, line: int) -> None:
        if a == b:
            raise self.error(line, f"a pair must be of two photos, got {a.name!r} twice.")
        left = self.numbers.setdefault(a, len(self.numbers))
        right = self.numbers.setdefault(b, len(self.numbers))
        self.rows.append((left, right, same, fold))

    def finish(self, form: str) -> PairList:
        if not self.rows:
            raise ProtocolError(f"{self.source} holds no pairs.")
        left, right, same, fold = (np.array(column) for column in zip(*self.rows, strict=True))
        if same.all() or not same.any():
            kind = "two people" if same.all() else "one person"
            raise ProtocolError(f"{self.source} holds no pair of {kind}; both kinds are needed.")
        return PairList(
            photos=tuple(self.numbers),
            left=left.astype(np.int64),
            right=right.astype(np.int64),
            same=same.astype(bool),
            fold=fold.astype(np.int64),
            source=self.source,
            form=form,
        )


def read_pairs(path: str | Path) -> PairList:
    """Read a file of pairs.

    Args:
        path: LFW view 1 or view 2, or a CSV; UTF-8.

    Returns:
        The pairs, in the file's order.

    Raises:
        ProtocolError: If the file cannot be read or a line breaks the form; the message has
            the line number.
    """
    source = str(path)
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ProtocolError(f"the pairs file {source} cannot be read: {reason}.") from error
    except UnicodeDecodeError as error:
        raise ProtocolError(f"{source} is not a pairs file: it is not text in UTF-8.") from error
    lines = [(n, line.strip()) for n, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines:
        raise ProtocolError(f"{source} holds no pairs.")
    reader = _Reader(source, {}, [])
    if lines[0][1].count(",") >= 2:
        return _read_csv(reader, lines)
    return _read_lfw(reader, lines)


def _read_csv(reader: _Reader, lines: Sequence[tuple[int, str]]) -> PairList:
    folds: dict[str, int] = {}
    width = 0
    for position, (number, line) in enumerate(lines):
        fields = [field.strip() for field in next(csv.reader([line], skipinitialspace=True))]
        if position == 0 and fields[:3] == ["path1", "path2", "same"]:
            continue
        if len(fields) not in (3, 4) or (width and len(fields) != width):
            wanted = f"{width}" if width else "3 or 4 (path1,path2,same[,fold])"
            raise reader.error(number, f"wanted {wanted} fields, got {len(fields)}.")
        width = len(fields)
        truth = fields[2].lower()
        if truth not in _TRUE | _FALSE:
            raise reader.error(number, f"same must be 1 or 0, got {fields[2]!r}.")
        if not fields[0] or not fields[1]:
            raise reader.error(number, "a path is empty.")
        fold = folds.setdefault(fields[3], len(folds)) if width == 4 else -1
        pair = Reference(None, fields[0]), Reference(None, fields[1])
        reader.add(*pair, truth in _TRUE, fold, number)
    return reader.finish("csv")


def _read_lfw(reader: _Reader, lines: Sequence[tuple[int, str]]) -> PairList:
    header = re.fullmatch(r"(\d+)(?:\s+(\d+))?", lines[0][1])
    if header is None:
        for number, line in lines:
            _add_lfw(reader, number, line, -1, None)
        return reader.finish("lfw-view1")
    first, second = int(header[1]), header[2]
    folds, count = (1, first) if second is None else (first, int(second))
    if folds < 1 or count < 1:
        raise reader.error(lines[0][0], f"the counts must be at least 1, got {lines[0][1]!r}.")
    expected = folds * 2 * count
    if len(lines) - 1 != expected:
        raise ProtocolError(
            f"{reader.source} has {len(lines) - 1:,} pairs; its first line promises {folds} x "
            f"{2 * count:,} = {expected:,}."
        )
    body = iter(lines[1:])
    for fold, same in _plan(folds, count):
        number, line = next(body)
        _add_lfw(reader, number, line, -1 if second is None else fold, same)
    return reader.finish("lfw-view1" if second is None else "lfw-view2")


def _plan(folds: int, count: int) -> Iterator[tuple[int, bool]]:
    for fold in range(folds):
        for same in (True, False):
            for _ in range(count):
                yield fold, same


def _add_lfw(reader: _Reader, number: int, line: str, fold: int, same: bool | None) -> None:
    fields = line.split("\t") if "\t" in line else line.split()
    if len(fields) not in (3, 4) or (same is not None and len(fields) != (3 if same else 4)):
        raise reader.error(number, f"wanted {_FORMS[same]}, got {line!r}.")
    if len(fields) == 3:
        a, i, j = fields
        b = a
    else:
        a, i, b, j = fields
        if a == b:
            raise reader.error(number, f"a pair of two people names {a!r} twice.")
    left, right = _photo(reader, number, a, i), _photo(reader, number, b, j)
    reader.add(left, right, a == b, fold, number)


def _photo(reader: _Reader, number: int, name: str, index: str) -> Reference:
    name, index = name.strip(), index.strip()
    if not (index.isascii() and index.isdigit() and int(index) >= 1):
        raise reader.error(number, f"a photo's number must be 1 or larger, got {index!r}.")
    if not name or "/" in name or "\\" in name or name in (".", ".."):
        raise reader.error(number, f"a person's name must name a folder, got {name!r}.")
    return Reference(name, f"{name}/{name}_{int(index):04d}")
