"""How a body lies in an array, and the one way in which limner reads all bodies.

Every scan is turned by quarters and mirrored until its depth runs from the feet to the head,
its height from front to back and its width from the patient's right to the left, which is how
an axial CT comes from the scanner. Oblique scans are brought to the nearest such position,
without resampling.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limner.errors import InputError
from limner.training.samples import FloatArray

CANONICAL = "SPL"
"""Where depth, height and width grow to: superior, posterior, left (nibabel's letters)."""

Window = Callable[[Sequence[int]], tuple[slice, ...]]


@dataclass(frozen=True, eq=False)
class Turn:
    """What brings an array's axes into `CANONICAL` order.

    Attributes:
        stored: The directions in which the file's axes grow, such as ``RAS``.
        transform: nibabel's: for each stored axis its new place and 1 or -1.
        spacing: Size of a voxel along the new axes, millimetres.
    """

    stored: str
    transform: NDArray[Any]
    spacing: tuple[float, ...]

    def shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Return the canonical shape of a stored one."""
        return tuple(int(n) for n in self._to_canonical(list(shape)))

    def window(self, wanted: Sequence[slice], shape: Sequence[int]) -> tuple[slice, ...]:
        """Return the stored axes' slices that hold a window of the canonical array.

        Args:
            wanted: Three slices of the canonical array.
            shape: The stored shape.
        """
        found = []
        for (place, way), count in zip(self.transform, shape, strict=True):
            part = wanted[int(place)]
            back = slice(count - part.stop, count - part.start)
            found.append(part if way > 0 else back)
        return tuple(found)

    def apply(self, values: FloatArray) -> FloatArray:
        """Return a stored array (three axes) in canonical order."""
        from nibabel import orientations

        nibabel: Any = orientations  # its functions have no types
        return np.ascontiguousarray(nibabel.apply_orientation(values, self.transform))

    def _to_canonical(self, values: list[Any]) -> list[Any]:
        found = [values[0]] * 3
        for (place, _), value in zip(self.transform, values, strict=True):
            found[int(place)] = value
        return found


def turn_of(affine: NDArray[np.float64], path: Path) -> Turn:
    """Return how an array with this affine is turned.

    Args:
        affine: Shape (4, 4): from voxel to millimetres, right, anterior and superior
            positive (nibabel's convention).
        path: For the message.

    Raises:
        InputError: If an axis has no length or two point the same way.
    """
    from nibabel import orientations

    nibabel: Any = orientations  # its functions have no types
    sizes = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    if not np.isfinite(affine).all() or not (sizes > 0).all():
        words = " x ".join(f"{v:g}" for v in sizes)
        raise InputError(
            f"{path} gives its voxels the size {words} mm, which is no size; mend its header."
        )
    found = nibabel.io_orientation(affine)
    if np.isnan(found).any():
        raise InputError(f"{path}: two axes of its affine point the same way; mend its header.")
    turn = nibabel.ornt_transform(found, nibabel.axcodes2ornt(tuple(CANONICAL)))
    stored = "".join(str(letter) for letter in nibabel.aff2axcodes(affine))
    made = Turn(stored, turn, ())
    return Turn(stored, turn, tuple(float(v) for v in made._to_canonical(list(sizes))))
