"""Read series from text: UCR files and CSV files, with headings or without."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from limner.errors import InputError
from limner.training.array_files import UNKNOWN
from limner.training.samples import FloatArray, Samples, from_names
from limner.training.series_options import SeriesOptions

FIRST, LAST = "first", "last"
_LABEL_WORDS = ("label", "labels", "class", "classes", "target", "category", "y", "diagnosis")
_GROUP_WORDS = ("patient", "patient_id", "subject", "subject_id", "record", "record_id", "person")


@dataclass(frozen=True)
class _Columns:
    """Which columns are what.

    Attributes:
        label: Place of the label; None where there is none.
        group: Place of what keeps items together; None where there is none.
        group_name: Its heading.
        notes: What was taken for what, in sentences.
    """

    label: int | None
    group: int | None = None
    group_name: str = ""
    notes: tuple[str, ...] = ()


def read_text(path: Path, how: SeriesOptions, length: int | None) -> Samples:
    """Read one series a line.

    Without headings the label comes first, as in UCR files, unless `how.label` says ``last``.
    With headings the label's column is the one that `how.label` names, or the only one that
    is called label, class, target or the like.

    Args:
        path: The file; cells are separated by commas, semicolons, tabs or spaces.
        how: Where the label is, and what happens to gaps and other lengths.
        length: With it, labels may be missing: a line of so many numbers is samples only.

    Raises:
        InputError: If the file is no such text, or it is not clear which column is the label.
    """
    lines = _cells(path)
    if not lines:
        raise InputError(f"{path} holds no series.")
    headings = lines[0][1] if _is_headings(lines[0][1], [c for _, c in lines[1:]]) else None
    if headings is None:
        columns = _without_headings(path, [c for _, c in lines], how, length)
    else:
        columns, lines = _with_headings(path, headings, how, length), lines[1:]
    rows: list[FloatArray] = []
    labels: list[str] = []
    groups: list[str] = []
    for number, cells in lines:
        label, group, samples = _take(cells, columns, length if headings is None else None)
        rows.append(_without_tail(_numbers(path, number, cells, samples)))
        labels.append(UNKNOWN if label is None else _label(label, path, number))
        groups.append(group)
    names = [f"{path.name}:{number}" for number, _ in lines]
    if not rows:
        raise InputError(f"{path} holds no series.")
    rows, gap_notes = mend_gaps(rows, names, how)
    stacked, notes = same_length(rows, names, how, length)
    notes = [*columns.notes, *gap_notes, *notes]
    read = from_names(stacked[:, None], labels, names=names, notes=notes)
    if columns.group is None:
        return read
    return replace(read, groups=tuple(groups), grouped_by=columns.group_name)


def _cells(path: Path) -> list[tuple[int, list[str]]]:
    """Return the lines that are not empty, with their numbers, cut into cells."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not a text file of series.") from error
    held = [(number, line) for number, line in enumerate(lines, start=1) if line.strip(" ,;\t")]
    first = held[0][1] if held else ""
    mark = next((m for m in ",;" if m in first), None)
    if mark is None and held and all("\t" in line for _, line in held):
        mark = "\t"
    if mark is None:
        return [(number, line.split()) for number, line in held]
    read = csv.reader((line for _, line in held), delimiter=mark)
    cut = [[cell.strip() for cell in cells] for cells in read]
    return [(number, cells) for (number, _), cells in zip(held, cut, strict=True)]


def _is_number(cell: str) -> bool:
    try:
        _number(cell)
    except ValueError:
        return False
    return True


def _is_headings(cells: Sequence[str], others: Sequence[Sequence[str]]) -> bool:
    """Tell whether a first line names columns: words above numbers."""
    words = [i for i, cell in enumerate(cells) if not _is_number(cell)]
    if not others or not words:
        return False
    below = others[0]
    return len(words) > 1 or any(i >= len(below) or _is_number(below[i]) for i in words)


def _with_headings(
    path: Path, headings: Sequence[str], how: SeriesOptions, length: int | None
) -> _Columns:
    lower = [h.lower() for h in headings]
    notes = []
    group = _named(path, headings, how.group) if how.group in headings else None
    if group is None:
        found = [i for i, word in enumerate(lower) if word in _GROUP_WORDS]
        group = found[0] if len(found) == 1 else None
    if how.label in (FIRST, LAST) and how.label not in headings:
        label: int | None = 0 if how.label == FIRST else len(headings) - 1
    elif how.label is not None:
        label = _named(path, headings, how.label)
    else:
        found = [i for i, word in enumerate(lower) if word in _LABEL_WORDS]
        label = found[0] if len(found) == 1 else None
        if label is not None:
            notes.append(f"{path.name}: the labels are in the column {headings[label]!r}.")
    if group is not None and group == label:
        group = None
    samples = [h for i, h in enumerate(headings) if i not in (label, group)]
    if label is None and length != len(samples):
        raise InputError(
            f"{path}: no heading says which column is the label; name it with --label, one of "
            f"{_some(headings)}."
        )
    odd = _odd_headings(samples)
    if odd:
        raise InputError(
            f"{path}: {_some(odd)} do not look like samples, as the other columns do; take "
            "them out of the file, or name them with --label or --group."
        )
    if group is not None:
        notes.append(f"{path.name}: items with equal {headings[group]!r} are kept together.")
    name = "" if group is None else headings[group]
    return _Columns(label, group, name, tuple(notes))


def _named(path: Path, headings: Sequence[str], word: str | None) -> int:
    places = [i for i, h in enumerate(headings) if h == word]
    if len(places) != 1:
        raise InputError(
            f"{path} has {'no' if not places else 'several'} columns {word!r}; it has "
            f"{_some(headings)}."
        )
    return places[0]


def _odd_headings(headings: Sequence[str]) -> list[str]:
    """Return the headings that differ from a series of numbered ones, where there is one."""
    stems = [re.sub(r"[\d.]+$", "", h) if re.search(r"\d$", h) else None for h in headings]
    usual, count = (
        Counter(s for s in stems if s is not None).most_common(1)[0]
        if any(s is not None for s in stems)
        else ("", 0)
    )
    if count * 2 < len(headings):
        return []
    return [h for h, stem in zip(headings, stems, strict=True) if stem != usual]


def _some(words: Sequence[str]) -> str:
    return ", ".join(words) if len(words) < 7 else f"{', '.join(words[:3])}, ..., {words[-1]}"


def _without_headings(
    path: Path, rows: Sequence[Sequence[str]], how: SeriesOptions, length: int | None
) -> _Columns:
    if how.label is not None and how.label not in (FIRST, LAST):
        raise InputError(
            f"{path} has no headings, so that no column is called {how.label!r}; give --label "
            "first or --label last."
        )
    if how.label == LAST:
        return _Columns(-1)
    if how.label == FIRST or all(len(cells) == length for cells in rows):
        return _Columns(0)
    if _looks_labelled(rows, 0) and _looks_labelled(rows, -1) and not _all_whole(rows):
        raise InputError(
            f"{path}: the first and the last column could both be labels; say which with "
            "--label first or --label last."
        )
    return _Columns(0)


def _looks_labelled(rows: Sequence[Sequence[str]], place: int) -> bool:
    cells = [row[place] for row in rows]
    whole = all(_is_number(c) and _number(c).is_integer() for c in cells)
    return whole and 2 <= len(set(cells)) <= max(2, len(cells) // 2)


def _all_whole(rows: Sequence[Sequence[str]]) -> bool:
    inner = [cell for row in rows[:50] for cell in row[1:-1]]
    return all(
        not _is_number(c) or not np.isfinite(_number(c)) or _number(c).is_integer() for c in inner
    )


def _take(
    cells: Sequence[str], columns: _Columns, length: int | None
) -> tuple[str | None, str, list[str]]:
    """Return a line's label, its group and its samples."""
    label = columns.label
    if label is not None and len(cells) == length:
        label = None  # samples only
    place = None if label is None else label % max(1, len(cells))
    group = columns.group
    samples = [cell for i, cell in enumerate(cells) if i not in (place, group)]
    word = "" if group is None or group >= len(cells) else cells[group]
    return (None if place is None or not cells else cells[place]), word, samples


def _numbers(path: Path, number: int, cells: Sequence[str], samples: list[str]) -> FloatArray:
    try:
        values = np.array([_number(cell) for cell in samples], dtype=np.float32)
    except ValueError:
        raise InputError(
            f"{path}, line {number}: a series is a label and numbers, got {' '.join(cells)[:60]!r}."
        ) from None
    if len(values) < 2:
        raise InputError(
            f"{path}, line {number}: a series needs a label and at least two samples, "
            f"got {len(cells)} values."
        )
    return values


def _number(cell: str) -> float:
    return float("nan") if cell in ("", "?", "NA") else float(cell)


def _label(cell: str, path: Path, number: int) -> str:
    """Return a label's name: 1.0000e+00 and 1 are the same class."""
    if cell == UNKNOWN:
        return cell
    try:
        value = _number(cell)
    except ValueError:
        return cell
    if not np.isfinite(value):
        raise InputError(
            f"{path}, line {number}: the label is missing ({cell or 'an empty cell'})."
        )
    if not value.is_integer():
        raise InputError(
            f"{path}, line {number}: a label is a whole number or a word, got {cell}; if the label "
            "is not in the first column, say where with --label; if there is none, labels are "
            "missing."
        )
    return str(int(value))


def _without_tail(values: FloatArray) -> FloatArray:
    """Drop the missing samples at the end, which UCR files of different lengths have."""
    known = np.flatnonzero(~np.isnan(values))
    return values[: known[-1] + 1] if len(known) else values


def mend_gaps(
    rows: Sequence[FloatArray], names: Sequence[str], how: SeriesOptions
) -> tuple[list[FloatArray], list[str]]:
    """Refuse samples that are missing, or fill them on straight lines.

    Args:
        rows: Shape (L,) each, of different lengths.
        names: Of them, for messages.
        how: `gaps` decides.

    Returns:
        Finite rows, and sentences about what was done.
    """
    mended, count = [], 0
    for row, name in zip(rows, names, strict=True):
        bad = ~np.isfinite(row)
        if not bad.any():
            mended.append(row)
            continue
        if how.gaps == "refuse" or bad.all():
            word = "NaN" if np.isnan(row[bad]).any() else "infinite"
            raise InputError(
                f"{name}: {int(bad.sum())} of {len(row)} samples are missing ({word}); give the "
                "series whole, or ask for gaps to be filled."
            )
        places = np.arange(len(row))
        mended.append(np.interp(places, places[~bad], row[~bad]).astype(np.float32))
        count += 1
    return mended, [f"gaps in {count} series were filled by straight lines."] if count else []


def same_length(
    rows: Sequence[FloatArray], names: Sequence[str], how: SeriesOptions, length: int | None
) -> tuple[FloatArray, list[str]]:
    """Refuse series of different lengths, or make them equal.

    Args:
        rows: Shape (..., L) each; time is the last axis.
        names: Of them, for messages.
        how: `other_length` decides.
        length: The length that is wanted; None for the longest (`pad`) or shortest (`crop`).

    Returns:
        One array, and sentences about what was done.
    """
    lengths = np.array([row.shape[-1] for row in rows])
    crop = how.other_length == "crop"
    wanted = length or int(lengths.min() if crop else lengths.max())
    if how.other_length == "pad":
        wanted = max(int(lengths.max()), length or 0)
    if (lengths == wanted).all():
        return np.stack(list(rows)), []
    if how.other_length == "refuse" or (crop and (lengths < wanted).any()):
        usual = length or int(np.bincount(lengths).argmax())
        odd = int(np.flatnonzero(lengths != usual)[0])
        raise InputError(
            f"{names[odd]} has {lengths[odd]} samples where others have {usual}; make them equal, "
            "or ask for shorter series to be padded or longer ones to be cropped "
            "(--other-length pad or crop)."
        )
    if crop:
        longer = int((lengths > wanted).sum())
        return np.stack([row[..., :wanted] for row in rows]), [
            f"{longer} series were cropped to {wanted} samples."
        ]
    padded = [_padded(row, wanted) for row in rows]
    short = int((lengths < wanted).sum())
    return np.stack(padded), [f"{short} series were padded to {wanted} samples."]


def _padded(row: FloatArray, length: int) -> FloatArray:
    return np.pad(row, [(0, 0)] * (row.ndim - 1) + [(0, length - row.shape[-1])], mode="edge")
