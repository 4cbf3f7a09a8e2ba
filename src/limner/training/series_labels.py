"""Labels of whole records: from a CSV file, as PTB-XL has it, or from a record's header."""

from __future__ import annotations

import ast
import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from limner.errors import InputError
from limner.training.series_options import SeriesOptions

REFERENCE = "REFERENCE.csv"
"""The name that PhysioNet's challenges give to a CSV file of labels beside the records."""

_PLACE_WORDS = ("filename", "file", "path", "record", "filename_lr", "filename_hr", "name")
_LABEL_WORDS = ("label", "labels", "class", "diagnosis", "scp_codes")
_PATIENT_WORDS = ("patient_id", "patient", "subject_id", "subject")
_HEADER_WORD = "Dx"


@dataclass(frozen=True)
class RecordLabels:
    """What a CSV file says of records.

    Attributes:
        source: The file.
        labels: Label or labels of each record, by the record's path without ending.
        patients: Whose each record is, likewise; empty where the file does not say.
        column: The labels' column.
    """

    source: Path
    labels: dict[Path, tuple[str, ...]]
    patients: dict[Path, str] = field(default_factory=dict)
    column: str = ""

    def of(self, record: Path) -> tuple[str, ...]:
        """Return a record's labels, none where the file does not list it."""
        return self.labels.get(record.resolve(), ())

    def patient(self, record: Path) -> str:
        """Return whose a record is, "" where the file does not say."""
        return self.patients.get(record.resolve(), "")


def read_labels(path: Path, how: SeriesOptions, *, folder: Path) -> RecordLabels:
    """Read a CSV file of labels.

    Args:
        path: With headings: a column of the records' paths (relative to the file or to
            `folder`), one of labels, maybe one of patients. Without: paths, then labels.
        how: `label` and `group` name columns, where their headings are not the usual ones.
        folder: Of the records.

    Raises:
        InputError: If the file cannot be read, or lacks a column.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as stream:
            rows = [row for row in csv.reader(stream) if any(cell.strip() for cell in row)]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as a CSV file of labels: {error}.") from error
    if not rows or len(rows[0]) < 2:
        raise InputError(f"{path} holds no labels: a record and its label are wanted in each line.")
    headings = [cell.strip() for cell in rows[0]]
    first = _record_of(rows[0][0], path, folder)
    who: int | None = None
    if first is not None:  # no headings
        places, label, column = [0], 1, "the second column"
    else:
        places = [i for i, h in enumerate(headings) if h.lower() in _PLACE_WORDS]
        if not places:
            raise InputError(
                f"{path} has no column of records ({', '.join(_PLACE_WORDS)}); it has "
                f"{', '.join(headings)}."
            )
        label = _column(path, headings, how.label, _LABEL_WORDS, "--label")
        column = headings[label]
        named = [i for i, h in enumerate(headings) if h.lower() in _PATIENT_WORDS]
        who = named[0] if named else None
        if how.group in headings:
            who = headings.index(how.group)
        rows = rows[1:]
    labels: dict[Path, tuple[str, ...]] = {}
    patients: dict[Path, str] = {}
    for row in rows:
        for place in places:
            record = _record_of(row[place], path, folder) if place < len(row) else None
            if record is None or label >= len(row):
                continue
            labels[record] = _words(row[label])
            if who is not None and who < len(row) and row[who].strip():
                patients[record] = row[who].strip().removesuffix(".0")
    if not labels:
        raise InputError(
            f"{path} names no record that is there, such as {rows[0][places[0]]!r}; its paths are "
            f"looked for beside it and in {folder}."
        )
    return RecordLabels(path, labels, patients, column)


def _column(
    path: Path, headings: Sequence[str], word: str | None, usual: Sequence[str], option: str
) -> int:
    if word is not None:
        if word in headings:
            return headings.index(word)
        raise InputError(f"{path} has no column {word!r}; it has {', '.join(headings)}.")
    found = [i for i, h in enumerate(headings) if h.lower() in usual]
    if len(found) != 1:
        raise InputError(
            f"{path}: it is not clear which column holds the labels; name it with {option}, one of "
            f"{', '.join(headings)}."
        )
    return found[0]


def _record_of(cell: str, source: Path, folder: Path) -> Path | None:
    """Return the record that a cell names, without ending, where it is there."""
    name = cell.strip()
    if not name:
        return None
    for root in (source.parent, folder):
        bare = root / name.removesuffix(".hea").removesuffix(".dat").removesuffix(".mat")
        if bare.with_name(bare.name + ".hea").is_file():
            return bare.resolve()
    return None


def _words(cell: str) -> tuple[str, ...]:
    """Return the labels in a cell: one word, several by ; or |, or a dictionary's keys.

    PTB-XL writes ``{'NORM': 100.0, 'SR': 0.0}``: statements with their likelihoods.
    """
    text = cell.strip()
    if text[:1] in "{[" and text[-1:] in "}]" and text:
        try:
            return tuple(str(word) for word in ast.literal_eval(text))
        except (ValueError, SyntaxError):
            return (text,)
    parts = [part.strip() for part in text.replace("|", ";").split(";")]
    return tuple(part for part in parts if part)


def header_labels(comments: Sequence[str], word: str | None) -> tuple[str, ...]:
    """Return the labels that a record's header has.

    Args:
        comments: Of the header, such as ``Dx: 426783006,164889003``.
        word: Before the colon; None for ``Dx``, PhysioNet's.
    """
    wanted = (word or _HEADER_WORD).lower()
    for line in comments:
        key, colon, value = line.strip().lstrip("#").partition(":")
        if colon and key.strip().lower() == wanted:
            parts = value.split(",") if word is None else value.split(";")
            return tuple(part.strip() for part in parts if part.strip())
    return ()
