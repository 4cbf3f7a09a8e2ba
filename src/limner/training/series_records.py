"""Read WFDB records: cut into beats, or whole; leads by their names, one sampling rate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from limner.errors import InputError
from limner.training.array_files import UNKNOWN, check_size
from limner.training.extras import require
from limner.training.samples import FloatArray, Layout, Samples, from_names
from limner.training.series_labels import REFERENCE, RecordLabels, header_labels, read_labels
from limner.training.series_options import Cut, SeriesOptions
from limner.training.series_text import mend_gaps, same_length

# The annotation codes that are beats (WFDB's own table); the others are rhythm changes,
# noise and comments.
BEATS = frozenset("NLRBAaJSVrFejnE/fQ?")


@dataclass(frozen=True, eq=False)
class _Record:
    """One record as it was read.

    Attributes:
        path: Without ending.
        signal: Shape (leads, samples), float32.
        leads: Names of the leads.
        rate: Samples per second.
        labels: Of the whole record; empty where there are none.
        places: Of its annotated beats; None where it has no annotations.
        symbols: Of them.
        patient: Whose it is; "" where nothing says so.
    """

    path: Path
    signal: FloatArray
    leads: tuple[str, ...]
    rate: float
    labels: tuple[str, ...]
    places: NDArray[np.int64] | None
    symbols: Sequence[str]
    patient: str


def find_records(folder: Path) -> list[Path]:
    """Return the records of a folder and the folders in it, without ending."""
    return sorted(p.with_suffix("") for p in folder.rglob("*.hea") if not p.name.startswith("."))


def read_records(
    records: Sequence[Path],
    how: SeriesOptions,
    *,
    folder: Path,
    layout: Layout | None = None,
    length: int | None = None,
) -> Samples:
    """Read records, leaving out (and naming) those that cannot be used.

    Args:
        records: Without ending; at least one.
        how: How to cut and label them.
        folder: Where they lie.
        layout: How a model's training records were read: leads, rate and cut are its, and
            labels may be missing.
        length: Samples that the model reads.

    Raises:
        InputError: If no record can be used; says why for the first.
        MissingExtraError: If wfdb is not installed.
    """
    require("wfdb")
    asked = layout is not None or length is not None
    given = layout if layout is not None and layout.item else None
    listed = _listed(how, folder)
    bad: list[tuple[str, str]] = []
    read: list[_Record] = []
    held = 0
    for path in records:
        try:
            found = _read(path, how, listed, folder)
        except InputError as error:
            bad.append((path.name, str(error)))
            continue
        held += found.signal.size
        check_size(held, f"{folder} with its {len(records)} records")
        read.append(found)
    cut = _cut(read, how, listed, given, asked=asked)
    read, notes = _usable(read, how, given, cut, bad, asked=asked)
    if not read:
        name, reason = bad[0] if bad else (str(folder), "it holds no record")
        raise InputError(reason if name in reason else f"{name}: {reason}")
    if bad:
        some = "; ".join(f"{name}: {reason}" for name, reason in bad[:3])
        notes.append(f"{len(bad)} of {len(records)} records were left out: {some}")
    made = _beats if cut == "beats" else _whole
    window = (
        (given.before_s, given.after_s) if given and cut == "beats" else (how.before_s, how.after_s)
    )
    samples = made(read, replace(how, before_s=window[0], after_s=window[1]), length)
    laid = Layout(
        leads=read[0].leads,
        rate_hz=read[0].rate,
        item=cut,
        before_s=window[0] if cut == "beats" else 0.0,
        after_s=window[1] if cut == "beats" else 0.0,
    )
    return replace(samples, layout=laid, notes=(*notes, *samples.notes))


def _listed(how: SeriesOptions, folder: Path) -> RecordLabels | None:
    """Return the labels of a CSV file that is given, or lies beside the records."""
    if how.labels is not None:
        return read_labels(how.labels, how, folder=folder)
    beside = folder / REFERENCE
    return read_labels(beside, how, folder=folder) if beside.is_file() else None


def _read(path: Path, how: SeriesOptions, listed: RecordLabels | None, folder: Path) -> _Record:
    import wfdb

    try:
        read = wfdb.rdrecord(str(path))
    except Exception as error:  # wfdb raises what its parsers raise
        raise InputError(f"{path}.hea cannot be read as a WFDB record: {error}.") from error
    if read.p_signal is None or not read.p_signal.size or not read.fs:
        raise InputError(f"{path}.hea describes no signal.")
    places, symbols = None, []
    if path.with_name(path.name + ".atr").is_file():
        try:
            marks = wfdb.rdann(str(path), "atr")
        except Exception as error:
            raise InputError(f"{path}.atr cannot be read: {error}.") from error
        places, symbols = np.asarray(marks.sample, np.int64), list(marks.symbol)
    if listed is None:
        labels, patient = header_labels(read.comments or [], how.label), ""
    else:
        labels, patient = listed.of(path), listed.patient(path)
    parts = path.relative_to(folder).parts if path.is_relative_to(folder) else ()
    if not patient and len(parts) > 1 and listed is None:
        patient = parts[0]
    names = tuple(str(name or f"lead {i}") for i, name in enumerate(read.sig_name or []))
    signal = np.ascontiguousarray(read.p_signal.T, dtype=np.float32)
    return _Record(path, signal, names, float(read.fs), labels, places, symbols, patient)


def _cut(
    read: Sequence[_Record],
    how: SeriesOptions,
    listed: RecordLabels | None,
    given: Layout | None,
    *,
    asked: bool,
) -> Cut:
    """Return whether items are beats or whole records."""
    if given is not None:
        return "records" if given.item == "records" else "beats"
    if how.cut is not None:
        return how.cut
    if how.labels is not None or how.label is not None:
        return "records"
    if any(r.places is not None for r in read) or asked:
        return "beats"
    return "records" if listed is not None or any(r.labels for r in read) else "beats"


def _usable(
    read: Sequence[_Record],
    how: SeriesOptions,
    given: Layout | None,
    cut: Cut,
    bad: list[tuple[str, str]],
    *,
    asked: bool,
) -> tuple[list[_Record], list[str]]:
    """Return records with the same leads and rate, and labels where they must be there."""
    leads = how.leads or (given.leads if given else ())
    if not leads and read:
        leads = Counter(tuple(sorted(r.leads)) for r in read).most_common(1)[0][0]
        leads = next(r.leads for r in read if tuple(sorted(r.leads)) == leads)
    rate = given.rate_hz if given else None
    if rate is None and read:
        rate = Counter(r.rate for r in read).most_common(1)[0][0]
    found, turned, resampled = [], 0, 0
    for record in read:
        reason = _unusable(record, leads, cut, asked=asked)
        if reason:
            bad.append((record.path.name, reason))
            continue
        if record.leads != leads:
            places = [record.leads.index(name) for name in leads]
            record = replace(record, signal=record.signal[places], leads=leads)
            turned += 1
        if rate and record.rate != rate:
            record, resampled = _at_rate(record, rate), resampled + 1
        found.append(record)
    notes = []
    if turned:
        notes.append(
            f"{turned} records had other leads or another order; {', '.join(leads)} were taken."
        )
    if resampled:
        notes.append(f"{resampled} records were brought to {rate:g} samples a second.")
    return found, notes


def _unusable(record: _Record, leads: Sequence[str], cut: Cut, *, asked: bool) -> str:
    """Return why a record cannot be used; "" where it can."""
    if record.leads != tuple(leads):
        absent = [name for name in leads if name not in record.leads]
        if absent:
            return (
                f"it has the leads {', '.join(record.leads)}, not {', '.join(absent)}; choose "
                "common ones with --leads."
            )
        if len(set(record.leads)) < len(record.leads):
            return "several of its leads have one name."
    if asked:
        return ""
    if cut == "records" and not record.labels:
        return (
            "it has no label; give a CSV file with --labels, or --label and a word of its header."
        )
    if cut == "beats" and record.places is None:
        return (
            f"{record.path.name}.atr is missing, so that no beat has a label; give labels of whole "
            "records with --labels, or leave it out."
        )
    return ""


def _at_rate(record: _Record, rate: float) -> _Record:
    from scipy.signal import resample_poly

    share = Fraction(rate / record.rate).limit_denominator(2000)
    signal = resample_poly(record.signal, share.numerator, share.denominator, axis=1)
    places = record.places
    if places is not None:
        places = np.round(places * rate / record.rate).astype(np.int64)
    return replace(record, signal=np.asarray(signal, np.float32), rate=rate, places=places)


def _beats(read: Sequence[_Record], how: SeriesOptions, length: int | None) -> Samples:
    """Cut records around their R peaks, annotated or found."""
    values: list[FloatArray] = []
    labels: list[str] = []
    names: list[str] = []
    records: list[_Record] = []
    notes: list[str] = []
    dropped = searched = 0
    for record in read:
        before, after = round(how.before_s * record.rate), round(how.after_s * record.rate)
        places, symbols = record.places, record.symbols
        if places is None:
            try:
                places, searched = _peaks(record), searched + 1
            except InputError as error:  # one bad record does not stop the others
                notes.append(str(error))
                continue
            symbols = [UNKNOWN] * len(places)
        for place, symbol in zip(places, symbols, strict=True):
            if symbol not in BEATS:
                continue
            start, stop = place - before, place + after
            window = record.signal[:, max(start, 0) : stop]
            if start < 0 or stop > record.signal.shape[1] or not np.isfinite(window).all():
                dropped += 1
                continue
            values.append(window)
            labels.append(symbol)
            names.append(f"{record.path.name} at {place / record.rate:.2f} s")
            records.append(record)
    if not values:
        word = "R peaks that could be found" if searched else "annotated beats"
        raise InputError(f"{read[0].path} has no {word}." if not notes else notes[0])
    if dropped:
        notes.append(f"{dropped} beats at an end of the record or with gaps were left out.")
    if searched:
        notes.append(f"the R peaks of {searched} records are not annotated; XQRS found them.")
    samples = from_names(np.stack(values), labels, names=names, in_time=True, notes=notes)
    return _grouped(samples, records)


def _peaks(record: _Record) -> NDArray[np.int64]:
    """Find R peaks in the first lead.

    Source: wfdb's XQRS, after Pan and Tompkins (1985).
    """
    from wfdb import processing

    signal = record.signal[0].astype(np.float64)
    signal = np.nan_to_num(signal, nan=float(np.nanmean(signal)))
    radius = max(1, int(record.rate * 0.05))
    try:
        found = processing.xqrs_detect(signal, fs=record.rate, verbose=False)
        if not len(found):
            return np.zeros(0, np.int64)
        # XQRS marks the steepest place; the peak is the largest within 50 ms of it.
        found = processing.correct_peaks(
            signal, found, search_radius=radius, smooth_window_size=radius, peak_dir="compare"
        )
    except Exception as error:  # it fails on signals that are too short or flat
        raise InputError(f"{record.path}: no R peaks can be found: {error}.") from error
    return np.unique(np.asarray(found)[np.isfinite(found)].astype(np.int64))


def _whole(read: Sequence[_Record], how: SeriesOptions, length: int | None) -> Samples:
    """Take records whole."""
    signals: list[FloatArray] = []
    kept: list[_Record] = []
    notes: list[str] = []
    filled = 0
    for record in read:
        lines = [f"{record.path.name}, {lead}" for lead in record.leads]
        try:
            rows, said = mend_gaps(list(record.signal), lines, how)
        except InputError as error:  # one bad record does not stop the others
            if len(read) == 1:
                raise
            notes.append(f"left out: {error}")
            continue
        filled += bool(said)
        signals.append(np.stack(rows))
        kept.append(record)
    names = [record.path.name for record in kept]
    if not kept:
        raise InputError(notes[0])
    if filled:
        notes.append(f"gaps in {filled} records were filled by straight lines.")
    values, said = same_length(signals, names, how, length)
    labels = [r.labels or (UNKNOWN,) for r in kept]
    return _grouped(from_names(values, labels, names=names, notes=[*notes, *said]), kept)


def _grouped(samples: Samples, records: Sequence[_Record]) -> Samples:
    patients = [r.patient for r in records]
    if all(patients):
        return replace(samples, groups=tuple(patients), grouped_by="patient")
    return replace(samples, groups=tuple(r.path.name for r in records), grouped_by="record")
