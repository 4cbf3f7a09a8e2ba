"""Read a folder of DICOM slices as one volume."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from limner.errors import InputError
from limner.training.samples import FloatArray

Window = Callable[[Sequence[int]], tuple[slice, ...]]


def read_slices(folder: Path, *, window: Window) -> tuple[FloatArray, tuple[float, ...]]:
    """Read the slices of one series, in order of their place along the scan.

    Args:
        folder: DICOM files, with any ending; files of other kinds are passed over.
        window: Given (slices, rows, columns), the part to read.

    Returns:
        The volume (1, slices, rows, columns) in the modality's units (Hounsfield units for
        CT), and the spacing (slice, row, column) in millimetres.

    Raises:
        InputError: If there is no DICOM file, slices of several series or sizes are mixed, a
            file is not readable, or pixels are missing.
    """
    heads = _headers(folder)
    shapes = {(int(h.Rows), int(h.Columns)) for _, h in heads}
    series = {str(getattr(h, "SeriesInstanceUID", "")) for _, h in heads}
    if len(series) > 1 or len(shapes) > 1:
        mixed = f"{len(series)} series" if len(series) > 1 else f"slices of sizes {sorted(shapes)}"
        raise InputError(f"{folder} mixes {mixed}; put each series into a folder of its own.")
    places = [_place(h, number) for number, (_, h) in enumerate(heads)]
    order = np.argsort(places, kind="stable")
    rows, columns = shapes.pop()
    deep, high, wide = window((len(heads), rows, columns))
    slices = [_pixels(heads[i][0])[high, wide] for i in order[deep]]
    first = heads[order[0]][1]
    row, column = (float(v) for v in getattr(first, "PixelSpacing", (1.0, 1.0)))
    steps = np.diff(np.sort(np.array(places, dtype=np.float64)))
    step = float(np.median(steps)) if len(steps) and np.median(steps) > 0 else 0.0
    thickness = step or float(getattr(first, "SliceThickness", 0) or row)
    return np.stack(slices)[None], (thickness, row, column)


def _headers(folder: Path) -> list[tuple[Path, Any]]:
    import pydicom
    from pydicom.errors import InvalidDicomError

    heads = []
    for path in sorted(p for p in folder.iterdir() if p.is_file()):
        try:
            head = pydicom.dcmread(path, stop_before_pixels=True)
        except (InvalidDicomError, OSError):
            continue
        if hasattr(head, "Rows") and hasattr(head, "Columns"):
            heads.append((path, head))
    if not heads:
        raise InputError(f"{folder} holds no DICOM slices.")
    return heads


def _place(head: Any, number: int) -> float:
    """Return how far along the scan a slice lies, in millimetres, or its number."""
    position = getattr(head, "ImagePositionPatient", None)
    turn = getattr(head, "ImageOrientationPatient", None)
    if position is not None and turn is not None:
        across = np.cross([float(v) for v in turn[:3]], [float(v) for v in turn[3:]])
        return float(np.dot(across, [float(v) for v in position]))
    return float(getattr(head, "InstanceNumber", None) or number)


def _pixels(path: Path) -> FloatArray:
    """Return one slice in the modality's units."""
    import pydicom

    try:
        data = pydicom.dcmread(path)
        pixels = data.pixel_array
    except Exception as error:  # pydicom raises what its decoders raise
        raise InputError(f"{path}: the pixels cannot be read: {error}.") from error
    if pixels.ndim != 2:
        raise InputError(f"{path} is no single grey slice: its pixels have shape {pixels.shape}.")
    slope = float(getattr(data, "RescaleSlope", 1) or 1)
    return np.asarray(pixels * slope + float(getattr(data, "RescaleIntercept", 0) or 0), np.float32)
