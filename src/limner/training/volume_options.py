"""How volumes are read, and what one of them is once it is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from limner.errors import InputError, UnknownNameError
from limner.training.samples import FloatArray

Larger = Literal["refuse", "crop"]
Gaps = Literal["refuse", "fill"]

DEFAULT_SIDE = 32
MAX_SIDE = 512
MAX_VOXELS = 512 * 512 * 512


@dataclass(frozen=True)
class VolumeOptions:
    """How volumes are read.

    Attributes:
        side: Voxels along each side of what the network reads; None keeps the arrays of an
            npz file as they are and takes `DEFAULT_SIDE` for files of other kinds.
        larger: `refuse` a volume of more than `MAX_VOXELS`, or `crop` its middle.
        frame: Which of the volumes of a 4-D NIfTI, or of a DICOM series that holds several
            at the same places (time points, echoes); None refuses them.
        gaps: `refuse` voxels that are missing (NaN, infinite) and slices that are, or `fill`
            them: voxels by the volume's smallest value, as outside the field of view;
            slices on a straight line between their neighbours.
        series: Which series of DICOM folders that mix several: a SeriesInstanceUID,
            SeriesNumber or SeriesDescription; None refuses mixtures.
    """

    side: int | None = None
    larger: Larger = "refuse"
    frame: int | None = None
    gaps: Gaps = "refuse"
    series: str | None = None

    def __post_init__(self) -> None:
        if self.side is not None and not 8 <= self.side <= MAX_SIDE:
            raise InputError(f"side must lie between 8 and {MAX_SIDE}, got {self.side}.")
        if self.larger not in get_args(Larger):
            raise UnknownNameError(f"larger must be 'refuse' or 'crop', got {self.larger!r}.")
        if self.gaps not in get_args(Gaps):
            raise UnknownNameError(f"gaps must be 'refuse' or 'fill', got {self.gaps!r}.")
        if self.frame is not None and self.frame < 0:
            raise InputError(f"frame must be 0 or larger, got {self.frame}.")


@dataclass(frozen=True, eq=False)
class Scan:
    """One volume as it was read.

    Attributes:
        values: Shape (C, D, H, W), float32, the file's own values.
        spacing: Size of a voxel along D, H and W in millimetres; None where sides are no
            lengths (videos).
        orientation: `limner.training.orientation.CANONICAL`, or "" where the file does not
            say how the body lies in it.
        stored: How the file's own axes lay, such as ``RAS``; "" where it does not say.
        patient: Who was scanned, as far as the file says.
        notes: What was done to it, in sentences.
    """

    values: FloatArray
    spacing: tuple[float, ...] | None = (1.0, 1.0, 1.0)
    orientation: str = ""
    stored: str = ""
    patient: str = ""
    notes: tuple[str, ...] = ()


def middle(shape: Sequence[int], how: VolumeOptions, path: Path) -> tuple[slice, ...]:
    """Return the part of a volume that is read: all of it, or its middle if it is too large.

    Raises:
        InputError: If it is too large and must not be cropped.
    """
    import math

    if math.prod(shape) <= MAX_VOXELS:
        return tuple(slice(0, n) for n in shape)
    if how.larger == "refuse":
        raise InputError(
            f"{path} has {' x '.join(map(str, shape))} voxels, more than the {MAX_VOXELS:,} that "
            "are read at once; shrink it, or ask for its middle to be cropped (--larger crop)."
        )
    left = sorted(range(3), key=lambda axis: shape[axis])
    keep, room = list(shape), float(MAX_VOXELS)
    for number, axis in enumerate(left):  # the short sides whole, the long ones cut evenly
        most = int(room ** (1 / (3 - number)))
        keep[axis] = min(shape[axis], most)
        room /= keep[axis]
    return tuple(slice((n - k) // 2, (n - k) // 2 + k) for n, k in zip(shape, keep, strict=True))
