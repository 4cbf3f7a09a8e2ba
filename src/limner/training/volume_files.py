"""Read volumes: npz, npy, NIfTI, folders of DICOM slices, and short videos.

Whatever a volume comes from, it becomes (C, D, H, W) float32. Scans are brought to cubic
voxels by their own spacing and to one size, the body keeping its proportions; a video is
depth = time, height, width.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limner.errors import InputError, MissingExtraError
from limner.training import nifti
from limner.training.array_files import (
    MAX_BYTES,
    Part,
    check_finite,
    check_size,
    npz_parts,
    read_npz,
)
from limner.training.dicom import is_dicom
from limner.training.dicom_stack import NoSuchSeriesError, read_dicom
from limner.training.orientation import CANONICAL
from limner.training.samples import FloatArray, Layout, Samples, from_names
from limner.training.volume_items import KNOWN, VIDEO_ENDINGS, Item, find_items
from limner.training.volume_options import DEFAULT_SIDE, MAX_VOXELS, Scan, VolumeOptions, middle

_PARTS: tuple[Part, ...] = ("train", "val", "test")


def read_volumes(
    source: str | Path, *, part: Part | None = None, options: VolumeOptions | None = None
) -> Samples:
    """Read labelled volumes from an npz file or a folder.

    Args:
        source: An npz file with ``values`` and ``labels`` or with ``train_images``,
            ``train_labels`` and so on; or a folder with one folder a class, or with
            ``train``, ``val`` and ``test`` folders of those. Inside a class: volumes as
            `read_volume` takes them, in folders below too (CLASS/PATIENT/SERIES/*.dcm).
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
        if how.gaps == "fill":
            samples = replace(samples, values=np.stack([fill_gaps(v) for v in samples.values]))
        check_finite(samples.values, path)
        if how.side is None or set(samples.shape[1:]) == {how.side}:
            return samples
        resized = np.stack([fit_cube(v, how.side) for v in samples.values])
        return replace(samples, values=resized)
    if path.is_dir():
        return _read_folder(path / part if part else path, how)
    if path.exists():
        raise InputError(
            f"{path} is a single file without a label; training needs an npz file with labels or "
            "a folder with one folder a class."
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
    found, passed = [], []
    for kind in sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")):
        items, others = find_items(kind)
        found += [(kind.name, item) for item in items]
        passed += others
    if not found:
        raise InputError(
            f"{folder} holds no labelled volumes; expected one folder a class with "
            f"{KNOWN} in it{_names_of(passed, folder)}."
        )
    scans, labels, names = [], [], []
    for label, item in found:
        try:
            scan = _cube(read_item(item, how), side)
        except NoSuchSeriesError:
            passed.append(item.path)
            continue
        check_size(side**3 * len(scan.values) * len(found), f"{folder} at {side} voxels a side")
        scans.append(replace(scan, patient=scan.patient or item.patient))
        labels.append(label)
        names.append(str(item.path.relative_to(folder)))
    if not scans:
        raise InputError(f"no folder of {folder} has the series {how.series!r}.")
    channels = {s.values.shape[0] for s in scans}
    if len(channels) > 1:
        raise InputError(f"{folder} mixes volumes of {sorted(channels)} channels; give one kind.")
    lies, said = _orientation(scans, names, folder)
    notes = [*_passed_over(passed, folder), *said, *(n for s in scans for n in s.notes)]
    patients = [s.patient for s in scans]
    return replace(
        from_names(np.stack([s.values for s in scans]), labels, names=names, notes=notes),
        layout=Layout(orientation=lies),
        groups=tuple(patients) if all(patients) else (),
        grouped_by="patient" if all(patients) else "",
    )


def _orientation(
    scans: Sequence[Scan], names: Sequence[str], folder: Path
) -> tuple[str, list[str]]:
    """Return how a set of scans lies, and sentences about what was turned or is unknown."""
    stored = Counter(s.stored for s in scans if s.orientation)
    notes = []
    if len(stored) > 1:
        kinds = ", ".join(f"{n} {word}" for word, n in stored.most_common())
        notes.append(f"{folder}: the volumes lay differently ({kinds}); all were turned alike.")
    unknown = [n for n, s in zip(names, scans, strict=True) if not s.orientation]
    if stored and unknown:
        raise InputError(
            f"{folder}: {len(unknown)} of {len(scans)} volumes do not say how the body lies in "
            f"them, such as {unknown[0]}, the others do; give their headers an orientation, or "
            "train on one kind alone."
        )
    scanned = any(s.spacing is not None for s in scans)
    if unknown and scanned and any(not n.endswith((".npy", *VIDEO_ENDINGS)) for n in unknown):
        notes.append(
            f"{folder}: {len(unknown)} volumes do not say how the body lies in them, such as "
            f"{unknown[0]}; they were read as they are stored."
        )
    return (CANONICAL if stored else ""), notes


def _passed_over(passed: Sequence[Path], folder: Path) -> list[str]:
    """Return a sentence about what was not read, if there is any."""
    if not passed:
        return []
    return [
        f"{folder}: {len(passed)} files are no volumes that can be read{_names_of(passed, folder)}."
    ]


def _names_of(passed: Sequence[Path], folder: Path) -> str:
    if not passed:
        return ""
    names = ", ".join(str(p.relative_to(folder)) for p in passed[:5])
    return f" and were left out: {names}{', ...' if len(passed) > 5 else ''}"


def read_volume(source: str | Path, *, options: VolumeOptions | None = None) -> FloatArray:
    """Read one volume.

    Args:
        source: A NIfTI, Analyze, FreeSurfer or MINC file, an npy array (D, H, W) or
            (C, D, H, W), a folder of DICOM slices or one DICOM file, or a video.
        options: How to read. With a `side`, the volume is brought into a cube.

    Returns:
        Shape (C, D, H, W), float32: the file's own values (Hounsfield units for CT), videos
        0..255 grey. Where the file says how the body lies, depth runs from the feet to the
        head, height from front to back and width from the patient's right to the left.

    Raises:
        InputError: If it cannot be read, holds several volumes and no `frame` is chosen, its
            slices do not belong together, values are missing and must not be filled, or it
            is too large and must not be cropped.
        MissingExtraError: If nibabel, pydicom, a decoder or av is not installed.
    """
    return read_scan(source, options=options).values


def read_scan(source: str | Path, *, options: VolumeOptions | None = None) -> Scan:
    """Read one volume as `read_volume` does, with what its file says of it."""
    how = options or VolumeOptions()
    path = Path(source)
    scan = read_item(Item(path), how)
    return scan if how.side is None else _cube(scan, how.side)


def read_item(item: Item, how: VolumeOptions) -> Scan:
    """Read one volume with its own sides."""
    path, name = item.path, item.path.name.lower()
    if item.files:
        scan = read_dicom(item.files, path, how)
    elif path.is_dir():
        scan = read_dicom(sorted(p for p in path.iterdir() if p.is_file()), path, how)
    elif not path.is_file():
        raise InputError(f"{path} does not exist.")
    elif name.endswith(nifti.ENDINGS):
        scan = nifti.read_scan(path, how)
    elif name.endswith(".npy"):
        scan = Scan(_npy(path, how))
    elif name.endswith(VIDEO_ENDINGS):
        scan = Scan(_video(path, how), spacing=None)
    elif is_dicom(path):
        scan = read_dicom([path], path, how)
    else:
        raise InputError(f"{path} is no volume that can be read; known are {KNOWN}.")
    return _without_gaps(scan, how, path)


def _without_gaps(scan: Scan, how: VolumeOptions, path: Path) -> Scan:
    """Refuse values that are missing, or fill them as outside the field of view."""
    missing = int((~np.isfinite(scan.values)).sum())
    if how.gaps == "refuse":
        check_finite(scan.values, path, "mend it, or ask for gaps to be filled (--gaps fill)")
    elif missing == scan.values.size:
        raise InputError(f"{path} holds no finite value at all.")
    elif missing:
        note = f"{path}: {missing} voxels are missing and were given its smallest value."
        return replace(scan, values=fill_gaps(scan.values), notes=(*scan.notes, note))
    return scan


def fill_gaps(values: FloatArray) -> FloatArray:
    """Return an array with its smallest finite value where it is not finite."""
    known = np.isfinite(values)
    if known.all() or not known.any():
        return values
    return np.where(known, values, values[known].min())


def _cube(scan: Scan, side: int) -> Scan:
    # Time is no length: a video's frames are brought to the side by themselves.
    return replace(scan, values=fit_cube(scan.values, side, spacing=scan.spacing))


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
    d, h, w = middle(mapped.shape[-3:], how, path)
    values = np.asarray(mapped[..., d, h, w], dtype=np.float32)
    return values if values.ndim == 4 else values[None]


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
