"""Read dlib's five-point shape predictor (`.dat`) into arrays, without dlib.

The file is a list of numbers. An integer is one control byte (low nibble: count of bytes, high
bit: sign) and that many little-endian bytes; a float is two integers, mantissa and binary
exponent. They make up: version 1; the mean shape; the trees of each stage, each with its splits
(two pixels and a threshold) and its leaves (a correction of the shape); for each stage the landmark
that each pixel hangs on, and its offset from there. Nothing in the file is executed, and every
count is held against what is possible before it is believed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limner.errors import WeightsError
from limner.weights.read_dlib import bytes_of

_POINTS, _VALUES = 5, 10  # x and y of each
_MAX_STAGES, _MAX_TREES, _MAX_DEPTH, _MAX_PIXELS = 64, 5_000, 8, 10_000
_MAX_EXPONENT = 100  # dlib marks infinities and NaN by exponents far beyond


class _Numbers:
    """Reads one number after the other."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def damaged(self, what: str) -> WeightsError:
        return WeightsError(f"The dlib landmark file is damaged: {what} at byte {self.at}.")

    def integer(self) -> int:
        data, at = self.data, self.at
        if at >= len(data):
            raise self.damaged("it ends")
        control = data[at]
        count = control & 0x0F
        if control & 0x70 or not 0 < count <= 8 or at + 1 + count > len(data):
            raise self.damaged("no number")
        self.at = at + 1 + count
        value = int.from_bytes(data[at + 1 : self.at], "little")
        return -value if control & 0x80 else value

    def real(self) -> float:
        mantissa, exponent = self.integer(), self.integer()
        if abs(exponent) > _MAX_EXPONENT:
            raise self.damaged("a number that is not finite or far too large")
        value: float = mantissa * 2.0**exponent
        return value

    def count(self, what: str, *, most: int) -> int:
        value = self.integer()
        if not 0 < value <= most:
            raise self.damaged(f"{value} {what}, at most {most} are possible,")
        return value

    def column(self) -> list[float]:
        # A matrix's sizes are written as negative numbers: rows, then columns.
        if (self.integer(), self.integer()) != (-_VALUES, -1):
            raise self.damaged("a shape that is not five points")
        return [self.real() for _ in range(_VALUES)]


def read_points(path: Path) -> dict[str, NDArray[Any]]:
    """Return what `limner.faces.five_points.FivePoints` reads.

    Returns:
        With S stages of T trees of depth D and P pixels: ``mean`` (10,), x and y of each
        point in turn; ``pixels`` (S, T, 2^D - 1, 2), int32, the two pixels of a split;
        ``thresholds`` (S, T, 2^D - 1); ``leaves`` (S, T, 2^D, 10); ``anchors`` (S, P), int32, the
        landmark of a pixel; ``offsets`` (S, P, 2). Floats are float32, lengths in box sides.

    Raises:
        WeightsError: If the file cannot be read or is not such a predictor.
    """
    numbers = _Numbers(bytes_of(path, "five-point predictor"))
    if numbers.integer() != 1:
        raise numbers.damaged("not version 1")
    mean = numbers.column()
    stages = [_stage(numbers) for _ in range(numbers.count("stages", most=_MAX_STAGES))]
    anchors = _lists(numbers, len(stages), numbers.integer)
    offsets = _lists(numbers, len(stages), lambda: (numbers.real(), numbers.real()))
    if numbers.at != len(numbers.data):
        raise numbers.damaged("more than a predictor")
    try:
        arrays: dict[str, NDArray[Any]] = {
            "mean": np.array(mean, np.float32),
            "pixels": np.array([s[0] for s in stages], np.int32),
            "thresholds": np.array([s[1] for s in stages], np.float32),
            "leaves": np.array([s[2] for s in stages], np.float32),
            "anchors": np.array(anchors, np.int32),
            "offsets": np.array(offsets, np.float32),
        }
    except (ValueError, OverflowError) as error:  # lists of unequal length, or a huge index
        raise WeightsError(
            "The dlib landmark file is damaged: its stages or trees differ in size."
        ) from error
    _check(arrays)
    return arrays


def _stage(numbers: _Numbers) -> tuple[list[object], list[object], list[object]]:
    pixels: list[object] = []
    thresholds: list[object] = []
    leaves: list[object] = []
    for _ in range(numbers.count("trees", most=_MAX_TREES)):
        splits = numbers.count("splits", most=2**_MAX_DEPTH - 1)
        rows = [(numbers.integer(), numbers.integer(), numbers.real()) for _ in range(splits)]
        pixels.append([row[:2] for row in rows])
        thresholds.append([row[2] for row in rows])
        if numbers.integer() != splits + 1:
            raise numbers.damaged("a tree that is not full")
        leaves.append([numbers.column() for _ in range(splits + 1)])
    return pixels, thresholds, leaves


def _lists(numbers: _Numbers, stages: int, read: Callable[[], object]) -> list[list[object]]:
    if numbers.integer() != stages:
        raise numbers.damaged("another number of stages")
    return [
        [read() for _ in range(numbers.count("pixels", most=_MAX_PIXELS))] for _ in range(stages)
    ]


def _check(arrays: dict[str, NDArray[Any]]) -> None:
    """Refuse indices that point outside, and trees that are not full."""
    splits = arrays["thresholds"].shape[2]
    inside = (
        splits & (splits + 1) == 0
        and 0 <= arrays["anchors"].min()
        and arrays["anchors"].max() < _POINTS
        and 0 <= arrays["pixels"].min()
        and arrays["pixels"].max() < arrays["anchors"].shape[1]
    )
    if not inside or not all(np.isfinite(a).all() for a in arrays.values()):
        raise WeightsError(
            "The dlib landmark file is damaged: a tree is not full or points outside."
        )
