"""Matrix and tone-curve ICC profiles in floating point, where Pillow would keep 8 bits only.

Source: ICC.1:2022, annex F.3 (three-component matrix-based profiles), 10.6 and 10.18.
Differs: no chromatic adaptation beyond the profile's own (both sides are relative to D50),
and out-of-range results are clipped.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_CURVE_POINTS = 65536
_HEADER = 128
# XYZ (D50) of linear sRGB's primaries, as in the ICC's own sRGB profiles: columns R, G, B.
_SRGB_TO_XYZ = np.array(
    [
        [0.43606567, 0.38514709, 0.14306641],
        [0.22248840, 0.71687317, 0.06060791],
        [0.01391602, 0.09707642, 0.71409607],
    ]
)


@dataclass(frozen=True, eq=False)
class MatrixProfile:
    """Three tone curves and three primaries.

    Attributes:
        curves: Shape (3, 65536): linear light in [0, 1] for every 16-bit value.
        to_xyz: Shape (3, 3), linear RGB to XYZ relative to D50.
    """

    curves: NDArray[np.float32]
    to_xyz: NDArray[np.float64]

    def to_srgb(self, rgb: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return pixels, shape (H, W, 3) in [0, 1], in sRGB; same shape and range."""
        matrix = (np.linalg.inv(_SRGB_TO_XYZ) @ self.to_xyz).astype(np.float32)
        out = np.empty_like(rgb)
        for row in range(rgb.shape[0]):  # a row at a time keeps the temporaries small
            index = np.rint(np.clip(rgb[row], 0, 1) * (_CURVE_POINTS - 1)).astype(np.int32)
            light = np.stack([self.curves[k][index[:, k]] for k in range(3)], axis=-1)
            out[row] = _encode_srgb(np.clip(light @ matrix.T, 0, 1))
        return out


def _encode_srgb(light: NDArray[np.float32]) -> NDArray[np.float32]:
    curved = np.float32(1.055) * np.power(light, np.float32(1 / 2.4)) - np.float32(0.055)
    return np.where(light <= np.float32(0.0031308), np.float32(12.92) * light, curved)


@lru_cache(maxsize=16)
def matrix_profile(profile: bytes) -> MatrixProfile | None:
    """Read a profile's primaries and curves; None where it is of another kind or broken."""
    try:
        if profile[16:20] != b"RGB " or profile[20:24] != b"XYZ ":
            return None
        tags = _tags(profile)
        if b"A2B0" in tags:  # a table says more than the matrix
            return None
        columns = [_xyz(tags[key]) for key in (b"rXYZ", b"gXYZ", b"bXYZ")]
        curves = [_curve(tags[key]) for key in (b"rTRC", b"gTRC", b"bTRC")]
    except (KeyError, ValueError, struct.error, IndexError, OverflowError):
        return None
    return MatrixProfile(np.stack(curves).astype(np.float32), np.array(columns).T)


def _tags(profile: bytes) -> dict[bytes, bytes]:
    (count,) = struct.unpack_from(">I", profile, _HEADER)
    found = {}
    for k in range(min(count, 100)):
        key, offset, size = struct.unpack_from(">4sII", profile, _HEADER + 4 + 12 * k)
        found[key] = profile[offset : offset + size]
    return found


def _xyz(tag: bytes) -> list[float]:
    if tag[:4] != b"XYZ ":
        raise ValueError("not an XYZ tag")
    return [v / 65536 for v in struct.unpack_from(">3i", tag, 8)]


def _curve(tag: bytes) -> NDArray[np.float64]:
    x = np.linspace(0, 1, _CURVE_POINTS)
    if tag[:4] == b"curv":
        (count,) = struct.unpack_from(">I", tag, 8)
        if count == 0:
            return x
        if count == 1:
            return np.asarray(x ** (struct.unpack_from(">H", tag, 12)[0] / 256))
        table = np.frombuffer(tag, dtype=">u2", count=count, offset=12) / 65535
        return np.interp(x, np.linspace(0, 1, count), table)
    if tag[:4] != b"para":
        raise ValueError("not a curve")
    (kind,) = struct.unpack_from(">H", tag, 8)
    count = (1, 3, 4, 5, 7)[kind]
    g, *rest = (v / 65536 for v in struct.unpack_from(f">{count}i", tag, 12))
    return np.clip(_parametric(x, kind, g, rest), 0, 1)


def _parametric(
    x: NDArray[np.float64], kind: int, g: float, rest: list[float]
) -> NDArray[np.float64]:
    """Functions 0 to 4 of ICC.1:2022, table 68."""
    if kind == 0:
        return np.asarray(x**g)
    a, b = rest[0], rest[1]
    power = np.maximum(a * x + b, 0) ** g
    if kind == 1:
        return np.where(x >= -b / a, power, 0.0) if a else power
    c = rest[2]
    if kind == 2:
        return np.where(x >= -b / a, power + c, c) if a else power + c
    d = rest[3]
    if kind == 3:
        return np.where(x >= d, power, c * x)
    e, f = rest[4], rest[5]
    return np.where(x >= d, power + e, c * x + f)
