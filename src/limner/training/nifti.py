"""Read NIfTI, Analyze, FreeSurfer's and MINC's volumes, by nibabel."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np

from limner.errors import InputError
from limner.training.extras import require
from limner.training.orientation import CANONICAL, turn_of
from limner.training.volume_options import Scan, VolumeOptions, middle

ENDINGS = (".nii", ".nii.gz", ".mgz", ".mgh", ".hdr", ".mnc")


def read_scan(path: Path, how: VolumeOptions) -> Scan:
    """Read one volume, in canonical order.

    Args:
        path: One of `ENDINGS`; a ``.hdr`` needs its ``.img`` beside it.
        how: Which frame, and what happens to large ones.

    Raises:
        InputError: If it cannot be read, is 4-D without a frame, or has no voxel size.
        MissingExtraError: If nibabel is not installed.
    """
    require("nibabel")
    import nibabel

    kind = "NIfTI" if path.name.lower().endswith((".nii", ".nii.gz")) else "a volume"
    try:
        image = cast(Any, nibabel.load(path))
        shape = tuple(int(n) for n in image.shape)
        affine = np.asarray(image.affine, dtype=np.float64)
    except Exception as error:
        raise InputError(f"{path} cannot be read as {kind}: {error}.") from error
    frame = _frame(shape, how, path)
    turn = turn_of(affine, path)
    known = _says_how_it_lies(image)
    window = turn.window(middle(turn.shape(shape[:3]), how, path), shape[:3])
    try:  # only the window is read from the disk
        values = np.asarray(image.dataobj[(*window, *frame)], dtype=np.float32)
    except Exception as error:
        raise InputError(f"{path} cannot be read as {kind}: {error}.") from error
    return Scan(
        turn.apply(values)[None],
        turn.spacing,
        CANONICAL if known else "",
        turn.stored if known else "",
    )


def _frame(shape: tuple[int, ...], how: VolumeOptions, path: Path) -> tuple[int, ...]:
    """Return the index into the axes after the third one."""
    if len(shape) == 3:
        return ()
    if len(shape) != 4:
        raise InputError(f"{path} must be 3-D, got {len(shape)}-D ({shape}).")
    if shape[3] == 1:
        return (0,)
    if how.frame is None:
        raise InputError(
            f"{path} is 4-D ({' x '.join(map(str, shape))}): {shape[3]} volumes in one file; "
            f"choose one of them, --frame 0 to {shape[3] - 1}."
        )
    if how.frame >= shape[3]:
        raise InputError(f"{path} has frames 0 to {shape[3] - 1}, got {how.frame}.")
    return (how.frame,)


def _says_how_it_lies(image: Any) -> bool:
    """Tell whether the header says it, or nibabel's affine is only its custom."""
    from nibabel.analyze import AnalyzeImage
    from nibabel.freesurfer.mghformat import MGHImage
    from nibabel.nifti1 import Nifti1Pair

    if isinstance(image, Nifti1Pair):
        return int(image.header["sform_code"]) > 0 or int(image.header["qform_code"]) > 0
    if isinstance(image, MGHImage):
        return int(image.header["goodRASFlag"]) == 1
    return not isinstance(image, AnalyzeImage)
