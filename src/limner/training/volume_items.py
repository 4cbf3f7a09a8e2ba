"""Which files of a folder are volumes, and whose they are."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from limner.training import nifti
from limner.training.dicom import is_dicom, list_slices
from limner.training.extras import require

VIDEO_ENDINGS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".gif")
KNOWN = (
    "NIfTI (.nii, .nii.gz), .mgz, .mgh, .hdr with .img, .mnc, .npy, DICOM files or folders of them "
    "and videos"
)


@dataclass(frozen=True)
class Item:
    """One volume that a folder holds.

    Attributes:
        path: A file, or a folder of DICOM slices.
        files: The slices, where it is of DICOM; else empty.
        patient: Whose it is, as far as its place or name says.
    """

    path: Path
    files: tuple[Path, ...] = ()
    patient: str = ""


def find_items(kind: Path) -> tuple[list[Item], list[Path]]:
    """Return the volumes in the folder of a class, and the files that are none.

    A folder below with DICOM files is one volume, however deep it lies. Loose DICOM files in
    the class's own folder are one volume a series.
    """
    items: list[Item] = []
    passed: list[Path] = []
    for here, below, files in os.walk(kind):
        below[:] = sorted(b for b in below if not b.startswith("."))
        place = Path(here)
        parts = place.relative_to(kind).parts
        patient = parts[0] if parts else ""
        others = []
        for name in sorted(f for f in files if not f.startswith(".")):
            path = place / name
            if name.lower().endswith(".img") and path.with_suffix(".hdr").exists():
                continue  # the other half of an Analyze or NIfTI pair
            if has_known_ending(path):
                items.append(Item(path, (), patient or _subject(name)))
            else:
                others.append(path)
        slices = [p for p in others if is_dicom(p)]
        if slices and parts:
            items.append(Item(place, tuple(others), patient if len(parts) > 1 else ""))
        elif slices:
            items += [Item(found[0], tuple(found)) for found in _by_series(slices)]
            passed += [p for p in others if p not in slices]
        else:
            passed += others
    return sorted(items, key=lambda item: item.path), passed


def _subject(name: str) -> str:
    """Return the subject that a file's name begins with, as BIDS has it."""
    found = re.match(r"sub-[A-Za-z0-9]+", name)
    return found[0] if found else ""


def _by_series(files: Sequence[Path]) -> list[list[Path]]:
    """Return loose DICOM files series by series."""
    require("pydicom")
    found: dict[str, list[Path]] = {}
    slices, others = list_slices(files)
    for item in slices:
        held = found.setdefault(item.series[0], [])
        if item.path not in held:
            held.append(item.path)
    return [*found.values(), *([path] for path in others)]


def is_volume(path: Path) -> bool:
    """Tell whether a file or folder is a volume that can be read."""
    if path.is_dir():
        return any(p.is_file() for p in path.iterdir())
    return has_known_ending(path) or is_dicom(path)


def has_known_ending(path: Path) -> bool:
    """Tell whether a file's name says that it is a volume."""
    return path.name.lower().endswith((*nifti.ENDINGS, ".npy", *VIDEO_ENDINGS))
