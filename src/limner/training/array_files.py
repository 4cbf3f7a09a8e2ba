"""Read arrays of labelled items from npz files, looking at their size before reading."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from limner.errors import InputError
from limner.training.samples import FloatArray, Samples, from_names

Part = Literal["train", "val", "test"]

MAX_BYTES = 4 * 2**30
"""What one read may need in memory as float32; larger is refused."""

UNKNOWN = "?"
"""The class of items without a label."""

_VALUES = ("values", "images", "x", "data")
_LABELS = ("labels", "y", "targets")


def check_finite(
    values: FloatArray, source: Path | str, advice: str = "mend or leave out these items"
) -> None:
    """Refuse values that are missing or infinite.

    Args:
        values: The first axis counts items.
        source: Of them, for the message.
        advice: What to do, for the message.

    Raises:
        InputError: If there are some; says how many and in which item the first is.
    """
    bad = ~np.isfinite(values)
    if bad.any():
        first = int(np.flatnonzero(bad.reshape(len(values), -1).any(axis=1))[0])
        raise InputError(
            f"{source}: {int(bad.sum())} values are NaN or infinite, the first in item {first}; "
            f"{advice}."
        )


def check_size(count: int, what: str) -> None:
    """Refuse data that would not fit in memory.

    Args:
        count: Number of values.
        what: Of what, for the message.

    Raises:
        InputError: If they need more than `MAX_BYTES` as float32.
    """
    need = count * 4
    if need > MAX_BYTES:
        raise InputError(
            f"{what} needs {need / 2**30:.1f} GiB in memory, more than the {MAX_BYTES / 2**30:.0f} "
            "GiB that are allowed; crop or shrink it first."
        )


def npz_parts(path: Path) -> tuple[Part, ...]:
    """Return which of train, val and test an npz file has (MedMNIST's naming)."""
    with _open(path) as archive:
        names = set(archive.files)
    parts: tuple[Part, ...] = ("train", "val", "test")
    return tuple(p for p in parts if f"{p}_images" in names)


def read_npz(
    path: Path, *, dims: Literal[1, 3], part: Part | None = None, labelled: bool = True
) -> Samples:
    """Read an npz file of labelled items.

    Args:
        path: Holds ``values`` and ``labels``, or ``train_images`` and ``train_labels`` and
            so on. Values are (N, sides...), channels before or after the sides: a second
            axis of at most 4 is channels first, a last one channels last.
        dims: 1 for series, 3 for volumes.
        part: Which part to read; None for the whole of a file without parts, else train.
        labelled: Whether labels must be there; without them the class is `UNKNOWN`.

    Raises:
        InputError: If it cannot be read, lacks values or labels, or is too large.
    """
    with _open(path) as archive:
        prefix = f"{part}_" if part else ("train_" if "train_images" in archive.files else "")
        values_name = _first(archive.files, prefix, _VALUES)
        labels_name = _first(archive.files, prefix, _LABELS)
        if values_name is None:
            raise InputError(
                f"{path} has no array {prefix}{_VALUES[0]} (or {', '.join(_VALUES[1:])}); "
                f"it has {', '.join(archive.files)}."
            )
        if labels_name is None and labelled:
            raise InputError(
                f"{path} has no labels: an array {prefix}{_LABELS[0]} is missing; "
                f"it has {', '.join(archive.files)}."
            )
        for name in filter(None, (values_name, labels_name)):
            check_size(_size(path, name), f"{path}, {name},")
        read = _numbers(archive, values_name, path)
        labels = np.full(len(read), UNKNOWN) if labels_name is None else archive[labels_name]
    values = _channels_first(read, dims, path)
    if labels.reshape(len(labels), -1).shape[1:] != (1,) or len(labels) != len(values):
        raise InputError(
            f"{path}: {len(values)} items need one label each, got labels of shape {labels.shape}."
        )
    words = [str(v.item() if hasattr(v, "item") else v) for v in labels.reshape(-1)]
    names = [f"{path.name}:{prefix}{i}" for i in range(len(values))]
    return from_names(values, words, names=names)


def _open(path: Path) -> Any:
    try:
        archive = np.load(path, allow_pickle=False)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} cannot be read as an npz file: {error}.") from error
    names = getattr(archive, "files", [])  # without their endings, so two may be called alike
    if len(names) != len(set(names)):
        archive.close()
        raise InputError(f"{path} holds two arrays of one name; write the file anew.")
    return archive


def _first(files: list[str], prefix: str, words: tuple[str, ...]) -> str | None:
    return next((prefix + word for word in words if prefix + word in files), None)


def _size(path: Path, name: str) -> int:
    """Return how many values of 4 bytes an array would take, by its header alone."""
    from numpy.lib import format as npy

    try:
        with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as stream:
            version = npy.read_magic(stream)
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, _, dtype = read(stream)
    except (KeyError, ValueError) as error:
        raise InputError(f"{path}: {name} is not a stored array ({error}).") from error
    return math.prod(map(int, shape)) * max(4, dtype.itemsize) // 4


def _numbers(archive: Any, name: str, path: Path) -> NDArray[Any]:
    try:
        values: NDArray[Any] = archive[name]
    except ValueError as error:  # objects would need pickle
        raise InputError(f"{path}: {name} does not hold plain numbers ({error}).") from error
    if values.dtype.kind not in "biuf":
        raise InputError(f"{path}: {name} must hold numbers, got {values.dtype}.")
    return values


def _channels_first(values: NDArray[Any], dims: int, path: Path) -> FloatArray:
    """Return (N, C, sides...) float32."""
    if values.ndim == dims + 1:
        shaped = values[:, None]
    elif values.ndim == dims + 2 and values.shape[-1] <= 4 < values.shape[1]:
        shaped = np.moveaxis(values, -1, 1)
    elif values.ndim == dims + 2:
        shaped = values
    else:
        wanted = "(N, L) or (N, C, L)" if dims == 1 else "(N, D, H, W) or (N, C, D, H, W)"
        raise InputError(f"{path}: values must have shape {wanted}, got {values.shape}.")
    return np.ascontiguousarray(shaped, dtype=np.float32)
