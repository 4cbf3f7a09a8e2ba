"""Read labelled series: UCR text and CSV, npz, and WFDB records cut into beats.

A UCR file has one series a line, the label first, then the samples, separated by commas,
tabs or spaces. A WFDB record is a header ``.hea`` with its ``.dat`` and ``.atr``; every
annotated beat becomes one series, from `BEFORE_S` before its R peak to `AFTER_S` after.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from limner.errors import InputError, UnknownNameError
from limner.training.array_files import UNKNOWN, check_finite, read_npz
from limner.training.extras import require
from limner.training.samples import FloatArray, Samples, from_names

OtherLength = Literal["refuse", "pad"]
Gaps = Literal["refuse", "fill"]

BEFORE_S = 1.0
AFTER_S = 0.5
# The annotation codes that are beats (WFDB's own table); the others are rhythm changes,
# noise and comments.
BEATS = frozenset("NLRBAaJSVrFejnE/fQ?")
TEXT_ENDINGS = (".txt", ".tsv", ".csv", ".ucr")


@dataclass(frozen=True)
class SeriesOptions:
    """How series are read.

    Attributes:
        other_length: `refuse` series of different lengths, or `pad` the shorter ones with
            their last sample.
        gaps: `refuse` samples that are missing (NaN), or `fill` them on a straight line
            between their neighbours.
        classes: Keep only these labels; empty for all.
        before_s: Seconds of a beat before its R peak (WFDB).
        after_s: Seconds after it.
    """

    other_length: OtherLength = "refuse"
    gaps: Gaps = "refuse"
    classes: tuple[str, ...] = ()
    before_s: float = BEFORE_S
    after_s: float = AFTER_S

    def __post_init__(self) -> None:
        if self.other_length not in get_args(OtherLength):
            raise UnknownNameError(
                f"other_length must be 'refuse' or 'pad', got {self.other_length!r}."
            )
        if self.gaps not in get_args(Gaps):
            raise UnknownNameError(f"gaps must be 'refuse' or 'fill', got {self.gaps!r}.")
        if self.before_s < 0 or self.after_s <= 0:
            raise InputError(
                "a beat's window needs before_s of 0 or more and after_s above 0, got "
                f"{self.before_s} and {self.after_s} seconds."
            )


def read_series(
    source: str | Path, *, options: SeriesOptions | None = None, length: int | None = None
) -> Samples:
    """Read labelled series from a file or folder.

    Args:
        source: A UCR text or CSV file; an npz file with ``values`` (N, L) or (N, C, L) and
            ``labels`` (N,); a WFDB record (``100``, ``100.hea`` or ``100.dat``); or a folder
            with one ``*_TRAIN`` text file or with WFDB records.
        options: How to read.
        length: With it, labels may be missing: a line of so many numbers is samples only,
            and an npz file needs no labels. Such items get the class ``?``.

    Returns:
        Values (N, C, L), unscaled. Beats of a record are in time.

    Raises:
        InputError: If nothing is there, a line is not numbers, labels are missing, lengths
            differ, or samples are missing, and the options do not allow it.
        MissingExtraError: If a WFDB record is given and wfdb is not installed.
    """
    how = options or SeriesOptions()
    path = Path(source)
    if path.is_dir():
        samples = _read_folder(path, how, length)
    elif path.suffix == ".npz":
        samples = read_npz(path, dims=1, labelled=length is None)
    elif path.suffix.lower() in TEXT_ENDINGS and path.is_file():
        samples = _read_text(path, how, length)
    elif (record := _record(path)) is not None:
        samples = _read_records([record], how)
    elif path.exists():
        raise InputError(
            f"{path} is not a series file: known are {', '.join(TEXT_ENDINGS)}, .npz and WFDB "
            "records (.hea)."
        )
    else:
        raise InputError(f"{path} does not exist.")
    return _keep_classes(samples, how.classes, path)


def find_test_file(source: str | Path) -> Path | None:
    """Return the ``*_TEST`` file beside a UCR ``*_TRAIN`` file or in its folder, if any."""
    path = Path(source)
    train = _train_file(path) if path.is_dir() else path
    if train is None or "_TRAIN" not in train.name:
        return None
    test = train.with_name(train.name.replace("_TRAIN", "_TEST"))
    return test if test.is_file() else None


def _train_file(folder: Path) -> Path | None:
    found = [
        p
        for p in sorted(folder.iterdir())
        if p.stem.endswith("_TRAIN") and p.suffix.lower() in TEXT_ENDINGS
    ]
    if len(found) > 1:
        raise InputError(
            f"{folder} holds {len(found)} *_TRAIN files; give one of them: {found[0].name}."
        )
    return found[0] if found else None


def _read_folder(folder: Path, how: SeriesOptions, length: int | None) -> Samples:
    text = _train_file(folder)
    if text is not None:
        return _read_text(text, how, length)
    records = [p.with_suffix("") for p in sorted(folder.glob("*.hea"))]
    if not records:
        raise InputError(
            f"{folder} holds no series: neither a *_TRAIN file ({', '.join(TEXT_ENDINGS)}) nor "
            "WFDB records (.hea)."
        )
    return _read_records(records, how)


def _record(path: Path) -> Path | None:
    """Return a WFDB record's name without ending, if there is a header."""
    bare = path.with_suffix("") if path.suffix in (".hea", ".dat", ".atr") else path
    return bare if bare.with_name(bare.name + ".hea").is_file() else None


def _read_text(path: Path, how: SeriesOptions, length: int | None) -> Samples:
    rows: list[FloatArray] = []
    labels: list[str] = []
    names: list[str] = []
    for number, line in enumerate(_lines(path), start=1):
        cells = line.replace(",", " ").replace("\t", " ").split()
        if not cells:
            continue
        if len(cells) == length:
            cells = [UNKNOWN, *cells]
        try:
            values = np.array([_number(cell) for cell in cells[1:]], dtype=np.float32)
        except ValueError:
            if not rows and number == 1:
                continue  # a line of headings
            raise InputError(
                f"{path}, line {number}: a series is a label and numbers, got {line[:60]!r}."
            ) from None
        if len(values) < 2:
            raise InputError(
                f"{path}, line {number}: a series needs a label and at least two samples, "
                f"got {len(cells)} values."
            )
        rows.append(_without_tail(values))
        labels.append(_label(cells[0], path, number))
        names.append(f"{path.name}:{number}")
    if not rows:
        raise InputError(f"{path} holds no series.")
    rows, gap_notes = _mend_gaps(rows, names, how)
    stacked, notes = _same_length(rows, names, how, length)
    return from_names(stacked[:, None], labels, names=names, notes=[*gap_notes, *notes])


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not a text file of series.") from error


def _number(cell: str) -> float:
    return float("nan") if cell in ("?", "NA") else float(cell)


def _label(cell: str, path: Path, number: int) -> str:
    """Return a label's name: 1.0000e+00 and 1 are the same class."""
    if cell == UNKNOWN:
        return cell
    try:
        value = float(cell)
    except ValueError:
        return cell
    if not np.isfinite(value):
        raise InputError(
            f"{path}, line {number}: the label, which comes first, is missing ({cell})."
        )
    if not value.is_integer():
        raise InputError(
            f"{path}, line {number}: the label comes first and is a whole number or a word, got "
            f"{cell}; if the file has samples only, labels are missing."
        )
    return str(int(value))


def _without_tail(values: FloatArray) -> FloatArray:
    """Drop the missing samples at the end, which UCR files of different lengths have."""
    known = np.flatnonzero(~np.isnan(values))
    return values[: known[-1] + 1] if len(known) else values


def _mend_gaps(
    rows: list[FloatArray], names: Sequence[str], how: SeriesOptions
) -> tuple[list[FloatArray], list[str]]:
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


def _same_length(
    rows: list[FloatArray], names: Sequence[str], how: SeriesOptions, length: int | None
) -> tuple[FloatArray, list[str]]:
    lengths = np.array([len(row) for row in rows])
    longest = max(int(lengths.max()), length or 0)
    if (lengths == longest).all():
        return np.stack(rows), []
    if how.other_length == "refuse":
        usual = length or int(np.bincount(lengths).argmax())
        odd = int(np.flatnonzero(lengths != usual)[0])
        raise InputError(
            f"{names[odd]} has {lengths[odd]} samples where others have {usual}; make them equal, "
            "or ask for shorter series to be padded."
        )
    padded = [np.pad(row, (0, longest - len(row)), mode="edge") for row in rows]
    short = int((lengths < longest).sum())
    return np.stack(padded), [f"{short} series were padded to {longest} samples."]


def _read_records(records: Sequence[Path], how: SeriesOptions) -> Samples:
    require("wfdb")
    values: list[FloatArray] = []
    labels: list[str] = []
    names: list[str] = []
    dropped = 0
    for record in records:
        signal, rate, places, symbols = _wfdb(record)
        before, after = round(how.before_s * rate), round(how.after_s * rate)
        for place, symbol in zip(places, symbols, strict=True):
            if symbol not in BEATS:
                continue
            start, stop = place - before, place + after
            window = signal[:, max(start, 0) : stop]
            if start < 0 or stop > signal.shape[1] or not np.isfinite(window).all():
                dropped += 1
                continue
            values.append(window)
            labels.append(symbol)
            names.append(f"{record.name} at {place / rate:.2f} s")
    if not values:
        raise InputError(f"{records[0]} has no annotated beats.")
    shapes = {v.shape for v in values}
    if len(shapes) > 1:
        raise InputError(
            "the records differ in leads or sampling rate, so that their beats do not fit "
            f"together: (leads, samples) {', '.join(map(str, sorted(shapes)))}."
        )
    notes = [f"{dropped} beats at an end of the record or with gaps were left out."]
    return from_names(
        np.stack(values), labels, names=names, in_time=True, notes=notes if dropped else []
    )


def _wfdb(record: Path) -> tuple[FloatArray, float, Any, Sequence[str]]:
    """Return (leads, samples), samples per second, R peaks and their symbols."""
    import wfdb

    try:
        read = wfdb.rdrecord(str(record))
    except Exception as error:
        raise InputError(f"{record}.hea cannot be read as a WFDB record: {error}.") from error
    try:
        marks = wfdb.rdann(str(record), "atr")
    except Exception as error:
        raise InputError(
            f"{record}.atr is missing or cannot be read, so that no beat has a label: {error}."
        ) from error
    signal = np.ascontiguousarray(read.p_signal.T, dtype=np.float32)
    return signal, float(read.fs), marks.sample, marks.symbol


def _keep_classes(samples: Samples, classes: Sequence[str], path: Path) -> Samples:
    """Return the items of the named classes, numbered in the order of the names."""
    check_finite(samples.values, path)
    if not classes:
        return samples
    unknown = [name for name in classes if name not in samples.classes]
    if unknown:
        raise UnknownNameError(
            f"{path} has no class {unknown[0]!r}; it has {', '.join(samples.classes)}."
        )
    rows = [i for i, label in enumerate(samples.labels) if samples.classes[label] in classes]
    kept = samples.take(rows)
    number = {name: i for i, name in enumerate(classes)}
    labels = np.array([number[samples.classes[label]] for label in kept.labels], dtype=np.int64)
    return Samples(
        values=kept.values,
        labels=labels,
        classes=tuple(classes),
        names=kept.names,
        in_time=kept.in_time,
        notes=kept.notes,
    )
