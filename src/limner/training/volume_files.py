"""Read volumes: npz, npy, NIfTI, folders of DICOM slices, and short videos.

Whatever a volume comes from, it becomes (C, D, H, W) float32. Scans are brought to cubic
voxels by their own spacing and to one size, the body keeping its proportions; a video is
depth = time, height, width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from limner.errors import InputError, MissingExtraError, UnknownNameError
from limner.training.array_files import (
    MAX_BYTES,
    Part,
    check_finite,
    check_size,
    npz_parts,
    read_npz,
)
from limner.training.extras import require
from limner.training.samples import FloatArray, Samples, from_names

Larger = Literal["refuse", "crop"]

DEFAULT_SIDE = 32
MAX_SIDE = 512
MAX_VOXELS = 512 * 512 * 512
VIDEO_ENDINGS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".gif")
_PARTS: tuple[Part, ...] = ("train", "val", "test")


@dataclass(frozen=True)
class VolumeOptions:
    """How volumes are read.

    Attributes:
        side: Voxels along each side of what the network reads; None keeps the arrays of an
            npz file as they are and takes `DEFAULT_SIDE` for files of other kinds.
        larger: `refuse` a volume of more than `MAX_VOXELS`, or `crop` its middle.
        frame: Which of the volumes of a 4-D NIfTI to read; None refuses 4-D files.
    """

    side: int | None = None
    larger: Larger = "refuse"
    frame: int | None = None

    def __post_init__(self) -> None:
        if self.side is not None and not 8 <= self.side <= MAX_SIDE:
            raise InputError(f"side must lie between 8 and {MAX_SIDE}, got {self.side}.")
        if self.larger not in get_args(Larger):
            raise UnknownNameError(f"larger must be 'refuse' or 'crop', got {self.larger!r}.")
        if self.frame is not None and self.frame < 0:
            raise InputError(f"frame must be 0 or larger, got {self.frame}.")


def read_volumes(
    source: str | Path, *, part: Part | None = None, options: VolumeOptions | None = None
) -> Samples:
    """Read labelled volumes from an npz file or a folder.

    Args:
        source: An npz file with ``values`` and ``labels`` or with ``train_images``,
            ``train_labels`` and so on; or a folder with one folder a class, or with
            ``train``, ``val`` and ``test`` folders of those. Inside a class: NIfTI, npy or
            video files, and folders of DICOM slices.
        part: Which part to read, where the source has parts.
        options: How to read.

    Raises:
        InputError: If nothing is there, a file cannot be read, labels are missing, or the
            set is too large.
        MissingExtraError: If a library for one of the files is not installed.
    """
    how = options or VolumeOptions()
    path = Path(source)
    if path.suffix == ".npz" and path.is_file():
        samples = read_npz(path, dims=3, part=part)
        check_finite(samples.values, path)
        if how.side is None or set(samples.shape[1:]) == {how.side}:
            return samples
        resized = np.stack([fit_cube(v, how.side) for v in samples.values])
        return Samples(resized, samples.labels, samples.classes, samples.names)
    if path.is_dir():
        return _read_folder(path / part if part else path, how)
    if path.exists():
        raise InputError(
            f"{path} is one volume without a label; training needs an npz file with labels or a "
            "folder with one folder a class."
        )
    raise InputError(f"{path} does not exist.")


def volume_parts(source: str | Path) -> tuple[Part, ...]:
    """Return which of train, val and test a source has."""
    path = Path(source)
    if path.suffix == ".npz" and path.is_file():
        return npz_parts(path)
    if path.is_dir():
        return tuple(p for p in _PARTS if (path / p).is_dir())
    return ()


def _read_folder(folder: Path, how: VolumeOptions) -> Samples:
    if not folder.is_dir():
        raise InputError(f"{folder} does not exist.")
    side = how.side or DEFAULT_SIDE
    found = [
        (kind.name, item)
        for kind in sorted(p for p in folder.iterdir() if p.is_dir())
        for item in sorted(kind.iterdir())
        if not item.name.startswith(".") and is_volume(item)
    ]
    if not found:
        raise InputError(
            f"{folder} holds no labelled volumes; expected one folder a class with NIfTI, npy or "
            "video files or folders of DICOM slices in it."
        )
    volumes = []
    for _, item in found:
        volumes.append(read_volume(item, options=VolumeOptions(side, how.larger, how.frame)))
        check_size(side**3 * len(volumes[0]) * len(found), f"{folder} at {side} voxels a side")
    channels = {v.shape[0] for v in volumes}
    if len(channels) > 1:
        raise InputError(f"{folder} mixes volumes of {sorted(channels)} channels; give one kind.")
    labels, items = [label for label, _ in found], [item for _, item in found]
    names = [str(item.relative_to(folder)) for item in items]
    return from_names(np.stack(volumes), labels, names=names)


def is_volume(path: Path) -> bool:
    """Tell by its name whether a file or folder is a volume that can be read."""
    if path.is_dir():
        return any(p.is_file() for p in path.iterdir())
    return path.name.lower().endswith((".nii", ".nii.gz", ".npy", *VIDEO_ENDINGS))


def read_volume(source: str | Path, *, options: VolumeOptions | None = None) -> FloatArray:
    """Read one volume.

    Args:
        source: A NIfTI file (``.nii``, ``.nii.gz``), an npy array (D, H, W) or (C, D, H, W),
            a folder of DICOM slices, or a video.
        options: How to read. With a `side`, the volume is brought into a cube.

    Returns:
        Shape (C, D, H, W), float32: the file's own values (Hounsfield units for CT), videos
        0..255 grey. NIfTI axes are in the file's order.

    Raises:
        InputError: If it cannot be read, is 4-D without a `frame`, holds values that are not
            finite, or is too large and must not be cropped.
        MissingExtraError: If nibabel, pydicom or av is not installed.
    """
    how = options or VolumeOptions()
    path = Path(source)
    name = path.name.lower()
    spacing: tuple[float, ...] = (1.0, 1.0, 1.0)
    if path.is_dir():
        values, spacing = _dicom(path, how)
    elif not path.is_file():
        raise InputError(f"{path} does not exist.")
    elif name.endswith((".nii", ".nii.gz")):
        values, spacing = _nifti(path, how)
    elif name.endswith(".npy"):
        values = _npy(path, how)
    elif name.endswith(VIDEO_ENDINGS):
        values = _video(path, how)
    else:
        raise InputError(
            f"{path} is not a volume: known are .nii, .nii.gz, .npy, a folder of DICOM slices "
            f"and videos ({', '.join(VIDEO_ENDINGS)})."
        )
    check_finite(values, path)
    if how.side is None:
        return values
    # Time is no length: a video's frames are brought to the side by themselves.
    proportions = None if name.endswith(VIDEO_ENDINGS) else spacing
    return fit_cube(values, how.side, spacing=proportions)


def fit_cube(
    volume: FloatArray, side: int, *, spacing: Sequence[float] | None = (1.0, 1.0, 1.0)
) -> FloatArray:
    """Bring a volume into a cube, by linear interpolation.

    Args:
        volume: Shape (C, D, H, W).
        side: Voxels along each side of the cube.
        spacing: Size of a voxel in each direction: the longest side of the body fills the
            cube, the others keep their proportion and are padded with the volume's smallest
            value. None stretches every side to the cube instead.

    Returns:
        Shape (C, side, side, side), float32.
    """
    import torch
    from torch.nn import functional

    lengths = np.array(volume.shape[1:], dtype=np.float64) * np.array(spacing or (1, 1, 1))
    sides = np.full(3, side)
    if spacing is not None:
        sides = np.maximum(1, np.round(lengths * side / lengths.max())).astype(int)
    if tuple(sides) == volume.shape[1:]:
        resized = volume
    else:
        shrinking = any(a > b for a, b in zip(volume.shape[1:], sides, strict=True))
        x = torch.from_numpy(np.array(volume, dtype=np.float32))[None]  # memory maps are read-only
        if shrinking:  # the mean over what a new voxel covers, so that nothing is skipped
            d, h, w = (min(a, int(b)) for a, b in zip(volume.shape[1:], sides, strict=True))
            x = functional.adaptive_avg_pool3d(x, (d, h, w))
        size = [int(s) for s in sides]
        x = functional.interpolate(x, size=size, mode="trilinear", align_corners=False)
        resized = x[0].numpy()
    pads = [((side - s) // 2, side - s - (side - s) // 2) for s in sides]
    floor = float(volume.min())
    return np.pad(resized, [(0, 0), *pads], constant_values=floor).astype(np.float32)


def _middle(shape: Sequence[int], how: VolumeOptions, path: Path) -> tuple[slice, ...]:
    """Return the part of a volume that is read: all of it, or its middle if it is too large."""
    if int(np.prod(shape)) <= MAX_VOXELS:
        return tuple(slice(0, n) for n in shape)
    if how.larger == "refuse":
        raise InputError(
            f"{path} has {' x '.join(map(str, shape))} voxels, more than the {MAX_VOXELS:,} that "
            "are read at once; shrink it, or ask for its middle to be cropped."
        )
    most = round(MAX_VOXELS ** (1 / 3))
    left = sorted(range(3), key=lambda axis: shape[axis])
    keep, room = list(shape), float(MAX_VOXELS)
    for number, axis in enumerate(left):  # the short sides whole, the long ones cut evenly
        most = int(room ** (1 / (3 - number)))
        keep[axis] = min(shape[axis], most)
        room /= keep[axis]
    return tuple(slice((n - k) // 2, (n - k) // 2 + k) for n, k in zip(shape, keep, strict=True))


def _nifti(path: Path, how: VolumeOptions) -> tuple[FloatArray, tuple[float, ...]]:
    require("nibabel")
    import nibabel

    try:
        image = cast(Any, nibabel.load(path))
        shape = tuple(int(n) for n in image.shape)
    except Exception as error:
        raise InputError(f"{path} cannot be read as NIfTI: {error}.") from error
    frame: tuple[int, ...] = ()
    if len(shape) == 4 and shape[3] == 1:
        frame = (0,)
    elif len(shape) == 4:
        if how.frame is None:
            raise InputError(
                f"{path} is 4-D ({' x '.join(map(str, shape))}): {shape[3]} volumes in one file; "
                f"choose one of them, 0 to {shape[3] - 1}."
            )
        if how.frame >= shape[3]:
            raise InputError(f"{path} has frames 0 to {shape[3] - 1}, got {how.frame}.")
        frame = (how.frame,)
    elif len(shape) != 3:
        raise InputError(f"{path} must be 3-D, got {len(shape)}-D ({shape}).")
    window = _middle(shape[:3], how, path)
    try:  # only the window is read from the disk
        values = np.asarray(image.dataobj[(*window, *frame)], dtype=np.float32)
    except Exception as error:
        raise InputError(f"{path} cannot be read as NIfTI: {error}.") from error
    zooms = tuple(float(z) for z in image.header.get_zooms()[:3])
    spacing = zooms if all(z > 0 for z in zooms) else (1.0, 1.0, 1.0)
    return values[None], spacing


def _npy(path: Path, how: VolumeOptions) -> FloatArray:
    try:
        mapped: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as an npy array: {error}.") from error
    if mapped.ndim not in (3, 4) or mapped.dtype.kind not in "biuf":
        raise InputError(
            f"{path} must hold numbers of shape (D, H, W) or (C, D, H, W), got {mapped.dtype} of "
            f"shape {mapped.shape}."
        )
    d, h, w = _middle(mapped.shape[-3:], how, path)
    values = np.asarray(mapped[..., d, h, w], dtype=np.float32)
    return values if values.ndim == 4 else values[None]


def _dicom(folder: Path, how: VolumeOptions) -> tuple[FloatArray, tuple[float, ...]]:
    """Read a folder of slices, in order of their place along the scan."""
    require("pydicom")
    from limner.training.dicom import read_slices

    return read_slices(folder, window=lambda shape: _middle(shape, how, folder))


def _video(path: Path, how: VolumeOptions) -> FloatArray:
    """Read a video's frames as grey slices, depth = time."""
    try:
        import av
    except ModuleNotFoundError:
        raise MissingExtraError(
            "videos need av, which is not installed: pip install 'limner[video]'."
        ) from None
    frames: list[NDArray[np.uint8]] = []
    held = 0
    try:
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                grey = frame.to_ndarray(format="gray")
                held += grey.size
                if held > MAX_VOXELS or held * 4 > MAX_BYTES:
                    if how.larger == "crop":
                        break
                    raise InputError(
                        f"{path} is longer than the {MAX_VOXELS:,} voxels that are read at once; "
                        "cut it, or ask for its beginning alone by cropping."
                    )
                frames.append(np.asarray(grey, dtype=np.uint8))
    except (OSError, ValueError, IndexError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} cannot be read as a video: {error}.") from error
    if not frames:
        raise InputError(f"{path} has no frames.")
    return np.stack(frames).astype(np.float32)[None]
