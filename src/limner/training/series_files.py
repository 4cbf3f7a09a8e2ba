"""Read labelled series: UCR text and CSV, npz, and WFDB records, whole or cut into beats."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from limner.errors import InputError, UnknownNameError
from limner.training.array_files import check_finite, read_npz
from limner.training.samples import Layout, Samples, renumbered
from limner.training.series_options import SeriesOptions
from limner.training.series_records import find_records, read_records
from limner.training.series_text import read_text

TEXT_ENDINGS = (".txt", ".tsv", ".csv", ".ucr")


def read_series(
    source: str | Path,
    *,
    options: SeriesOptions | None = None,
    length: int | None = None,
    layout: Layout | None = None,
) -> Samples:
    """Read labelled series from a file or folder.

    Args:
        source: A UCR text or CSV file; an npz file with ``values`` (N, L) or (N, C, L) and
            ``labels`` (N,); a WFDB record (``100``, ``100.hea`` or ``100.dat``); or a folder
            with one ``*_TRAIN`` text file or with WFDB records, at any depth.
        options: How to read.
        length: With it, labels may be missing: a line of so many numbers is samples only,
            an npz file needs no labels, and R peaks of a record are found where none are
            annotated. Such items get the class ``?``.
        layout: How a model's training records were read; records are read like them.

    Returns:
        Values (N, C, L), unscaled. Beats of a record are in time. Records that cannot be used
        are left out and named in the notes.

    Raises:
        InputError: If nothing is there, a line is not numbers, labels are missing, lengths
            differ, or samples are missing, and the options do not allow it.
        MissingExtraError: If a WFDB record is given and wfdb is not installed.
    """
    how = options or SeriesOptions()
    path = Path(source)
    if path.is_dir():
        samples = _read_folder(path, how, length, layout)
    elif path.suffix == ".npz":
        samples = read_npz(path, dims=1, labelled=length is None)
    elif path.suffix.lower() in TEXT_ENDINGS and path.is_file():
        samples = read_text(path, how, length)
    elif (record := _record(path)) is not None:
        samples = read_records([record], how, folder=record.parent, layout=layout, length=length)
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


def _read_folder(
    folder: Path, how: SeriesOptions, length: int | None, layout: Layout | None
) -> Samples:
    text = _train_file(folder)
    if text is not None:
        return read_text(text, how, length)
    records = find_records(folder)
    if not records:
        raise InputError(
            f"{folder} holds no series: neither a *_TRAIN file ({', '.join(TEXT_ENDINGS)}) nor "
            "WFDB records (.hea)."
        )
    return read_records(records, how, folder=folder, layout=layout, length=length)


def _record(path: Path) -> Path | None:
    """Return a WFDB record's name without ending, if there is a header."""
    bare = path.with_suffix("") if path.suffix in (".hea", ".dat", ".atr") else path
    return bare if bare.with_name(bare.name + ".hea").is_file() else None


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
    rows = [i for i in range(len(samples)) if set(samples.words(i)) & set(classes)]
    return renumbered(samples.take(rows), classes)
