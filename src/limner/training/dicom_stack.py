"""Make one volume of DICOM slices, or say in one sentence why they are none.

A stack that is silently wrong (two time points interleaved, a gap closed, a tilted gantry
sheared) trains and answers as if nothing were the matter, so everything that the slices say of
themselves is compared first.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from limner.errors import InputError
from limner.training.array_files import check_finite
from limner.training.dicom import Pixels, Slice, Vector, list_slices
from limner.training.extras import require
from limner.training.orientation import CANONICAL, Turn, turn_of
from limner.training.samples import FloatArray
from limner.training.volume_options import Scan, VolumeOptions, middle

SAME_PLACE_MM = 0.01
UNEVEN = 0.15
"""Share of the usual distance by which one of two slices may differ."""
DRIFT_PX = 0.5
"""Sideways drift over the whole series, in pixels, from which slices are moved back."""


class NoSuchSeriesError(InputError):
    """A folder of slices lacks the series that was asked for."""


def read_dicom(files: Sequence[Path], source: Path, how: VolumeOptions) -> Scan:
    """Read the slices of one series, in canonical order.

    Args:
        files: Candidates; those that are no DICOM are passed over, and counted.
        source: The folder or file, for messages.
        how: Which series and frame, and what happens to gaps and large volumes.

    Raises:
        InputError: If there is no slice, they do not belong together (series, patients,
            sizes, pixel spacings, orientations), several lie at one place, some are missing,
            or a file is damaged.
        MissingExtraError: If pydicom or a decoder is not installed.
    """
    require("pydicom", "nibabel")
    slices, passed = list_slices(files)
    if not slices:
        raise InputError(f"{source} holds no DICOM slices.")
    notes = []
    if passed:
        names = ", ".join(p.name for p in passed[:3])
        notes.append(
            f"{source}: {len(passed)} files are no DICOM slices and were left out: {names}."
        )
    slices = _of_one_series(slices, source, how)
    _check_alike(slices, source)
    slices, places, said = _in_order(slices, source, how)
    notes += said
    spacing = _pixel_spacing(slices[0], source, notes)
    step = _step(slices, places, spacing, source, how, notes)
    stack = _Stack(slices, places, spacing, step, source, notes)
    values, turn = stack.read(how)
    who = next((word for word in slices[0].patient if word), "")
    if turn is None:
        return Scan(values[None], (step, *spacing), patient=who, notes=tuple(notes))
    return Scan(values[None], turn.spacing, CANONICAL, turn.stored, who, tuple(notes))


def _of_one_series(slices: list[Slice], source: Path, how: VolumeOptions) -> list[Slice]:
    found = Counter(s.series for s in slices)
    if how.series is not None:
        slices = [s for s in slices if how.series.strip() in s.series]
        if not slices:
            raise NoSuchSeriesError(
                f"{source} has no series {how.series!r}; it has {_series_words(list(found))}."
            )
        found = Counter(s.series for s in slices)
    if len({series[0] for series in found}) > 1:
        raise InputError(
            f"{source} mixes {len(found)} series; choose one with --series: "
            f"{_series_words(list(found))}."
        )
    return slices


def _series_words(found: Sequence[tuple[str, str, str]]) -> str:
    lines = [f"{n or uid}{f' ({words})' if words else ''}" for uid, n, words in sorted(found)]
    return ", ".join(lines[:6]) + (", ..." if len(lines) > 6 else "")


def _check_alike(slices: Sequence[Slice], source: Path) -> None:
    """Refuse slices that do not belong together."""
    _one(
        slices,
        lambda s: s.patient,
        source,
        "are of another patient",
        "give each patient a folder of their own",
    )
    _one(
        slices,
        lambda s: s.shape,
        source,
        "have another size",
        "put them into a folder of their own",
    )
    _one(
        slices,
        lambda s: s.spacing and tuple(float(f"{v:.3g}") for v in s.spacing),
        source,
        "have another PixelSpacing",
        "put them into a folder of their own",
    )
    usual = Counter(_rounded(s.turn) for s in slices).most_common(1)[0][0]
    _one(
        slices,
        lambda s: s.turn is not None and bool(usual) and _apart(s.turn, usual),
        source,
        "lie in another orientation (a scout?)",
        "take them out of the folder, or choose with --series",
    )


def _one(
    slices: Sequence[Slice],
    key: Callable[[Slice], Hashable],
    source: Path,
    what: str,
    advice: str,
) -> None:
    keys = [key(s) for s in slices]
    counts = Counter(keys)
    if len(counts) < 2:
        return
    usual = counts.most_common(1)[0][0]
    odd = next(s for s, k in zip(slices, keys, strict=True) if k != usual)
    number = len(slices) - counts[usual]
    raise InputError(
        f"{source}: {number} of {len(slices)} slices {what}, such as {odd.name}; {advice}."
    )


def _rounded(turn: Vector | None) -> tuple[float, ...]:
    return () if turn is None else tuple(np.round(turn, 2))


def _apart(turn: Vector, usual: tuple[float, ...]) -> bool:
    """Tell whether a direction differs by more than about two degrees."""
    return bool(np.abs(turn - np.array(usual)).max() > 0.035)


def _in_order(
    slices: list[Slice], source: Path, how: VolumeOptions
) -> tuple[list[Slice], Vector, list[str]]:
    """Return one slice a place, sorted, with places in millimetres, and what was left out."""
    places = _places(slices, source)
    order = np.argsort(places, kind="stable")
    slices, places = [slices[i] for i in order], places[order]
    groups: list[list[Slice]] = []
    kept: list[float] = []
    for item, place in zip(slices, places, strict=True):
        if kept and place - kept[-1] < SAME_PLACE_MM:
            groups[-1].append(item)
        else:
            groups.append([item])
            kept.append(float(place))
    notes = []
    if max(map(len, groups)) > 1:
        whole = len(slices)
        groups = _without_copies(groups)
        dropped = whole - sum(map(len, groups))
        if dropped:
            notes.append(f"{source}: {dropped} slices are copies of others and were left out.")
    counts = sorted({len(g) for g in groups})
    if counts == [1]:
        if how.frame:
            raise InputError(f"{source} has one slice at each place, got --frame {how.frame}.")
        return [g[0] for g in groups], np.array(kept), notes
    if len(counts) > 1:
        odd = next(g for g in groups if len(g) != counts[0])
        raise InputError(
            f"{source} holds {counts[0]} slices at some places and {counts[-1]} at others, such as "
            f"{odd[0].name} and {odd[1].name}; give one volume whole."
        )
    if how.frame is None or how.frame >= counts[0]:
        got = "" if how.frame is None else f", got {how.frame}"
        raise InputError(
            f"{source} holds {counts[0]} different slices at each of its {len(groups)} places "
            f"(time points, echoes or repetitions); choose one with --frame 0 to "
            f"{counts[0] - 1}{got}."
        )
    chosen = [sorted(g, key=lambda s: s.moment)[how.frame] for g in groups]
    return chosen, np.array(kept), notes


def _places(slices: Sequence[Slice], source: Path) -> Vector:
    """Return how far along the scan each slice lies, in millimetres."""
    known = [s.position is not None and s.turn is not None for s in slices]
    if all(known):
        return np.array([_along(s) for s in slices])
    if any(known):
        odd = slices[known.index(False)]
        raise InputError(
            f"{source}: {known.count(False)} of {len(slices)} slices do not say where they lie, "
            f"such as {odd.name}; give the series whole."
        )
    if len(slices) == 1:
        return np.zeros(1)
    if any(s.number is None for s in slices):
        raise InputError(
            f"{source}: its slices say neither where they lie (ImagePositionPatient) nor what "
            "number they have (InstanceNumber), so that they cannot be put in order."
        )
    thickness = slices[0].thickness or (slices[0].spacing or (1.0,))[0]
    return np.array([float(s.number or 0) * thickness for s in slices])


def _along(item: Slice) -> float:
    assert item.turn is not None
    assert item.position is not None
    return float(np.cross(item.turn[:3], item.turn[3:]) @ item.position)


def _without_copies(groups: list[list[Slice]]) -> list[list[Slice]]:
    """Drop slices that are there twice: the same instance, or the same pixels everywhere."""
    read = Pixels()

    def digest(item: Slice) -> str:
        return hashlib.sha256(read(item).tobytes()).hexdigest()

    found = []
    alike = True
    for group in groups:
        if len(group) == 1:
            found.append(group)
            continue
        marked = {(s.uid, s.frame, digest(s)): s for s in reversed(group)}
        found.append(list(marked.values())[::-1])
        alike &= len({mark[2] for mark in marked}) == 1
    return [group[:1] for group in found] if alike else found


def _pixel_spacing(item: Slice, source: Path, notes: list[str]) -> tuple[float, float]:
    if item.spacing is None:
        notes.append(f"{source} does not say how large its pixels are; they are taken as 1 mm.")
        return 1.0, 1.0
    if not min(item.spacing) > 0:
        raise InputError(
            f"{source} gives its pixels the size {item.spacing[0]:g} x {item.spacing[1]:g} mm "
            "(PixelSpacing), which is no size; mend its header."
        )
    return item.spacing


def _step(
    slices: Sequence[Slice],
    places: Vector,
    spacing: tuple[float, float],
    source: Path,
    how: VolumeOptions,
    notes: list[str],
) -> float:
    """Return the distance of neighbours, having refused (or noted) uneven ones."""
    first = slices[0]
    if len(slices) == 1 or first.position is None:
        if first.thickness is None:
            notes.append(
                f"{source} does not say how far apart its slices lie; taken as {spacing[0]:g} mm, "
                "as its pixels are."
            )
        usual = first.thickness or spacing[0]
        if len(slices) == 1:
            return usual
    steps = np.diff(places)
    step = float(np.median(steps))
    worst = int(np.abs(steps - step).argmax())
    if abs(steps[worst] - step) <= UNEVEN * step:
        return float(np.mean(steps))
    if how.gaps == "refuse":
        missing = round(steps[worst] / step) - 1
        guess = f", as if {missing} were missing" if missing > 0 else ""
        raise InputError(
            f"{source}: its slices are not evenly spaced: from {slices[worst].name} to "
            f"{slices[worst + 1].name} it is {steps[worst]:g} mm, elsewhere {step:g} mm{guess}; "
            "give the series whole, or ask for gaps to be filled (--gaps fill)."
        )
    notes.append(f"{source}: gaps between slices were filled by straight lines.")
    return step


@dataclass(eq=False)
class _Stack:
    """Slices in order, about to be read."""

    slices: Sequence[Slice]
    places: Vector
    spacing: tuple[float, float]
    step: float
    source: Path
    notes: list[str]

    def read(self, how: VolumeOptions) -> tuple[FloatArray, Turn | None]:
        """Return the volume (D, H, W), and how it was turned, where the slices say."""
        drift = self._drift()
        before = np.ceil(np.maximum(0, -drift.min(axis=0))).astype(int)
        after = np.ceil(np.maximum(0, drift.max(axis=0))).astype(int)
        rows, columns = np.array(self.slices[0].shape) + before + after
        shape = (len(self.slices), int(rows), int(columns))
        turn = self._turn()
        if turn is None:
            window = middle(shape, how, self.source)
        else:
            window = turn.window(middle(turn.shape(shape), how, self.source), shape)
        deep, high, wide = window
        read, found = Pixels(), []
        for item, offset in list(zip(self.slices, drift, strict=True))[deep]:
            pixels = read(item)
            if how.gaps == "refuse":
                check_finite(pixels[None], item.path)
            found.append(_moved(pixels, offset + before, shape[1:])[high, wide])
        values = np.stack(found)
        finite = np.isfinite(values)
        if not finite.all():  # outside the slices, or outside the field of view
            values = np.where(finite, values, values[finite].min() if finite.any() else 0)
        values = self._evenly(values.astype(np.float32), self.places[deep])
        return (values, None) if turn is None else (turn.apply(values), turn)

    def _turn(self) -> Turn | None:
        way = self.slices[0].turn
        if way is None:
            return None
        affine = np.eye(4)
        affine[:3, 0] = np.cross(way[:3], way[3:]) * self.step
        affine[:3, 1], affine[:3, 2] = way[3:] * self.spacing[0], way[:3] * self.spacing[1]
        affine[:2] *= -1  # DICOM counts to the left and back, nibabel to the right and front
        return turn_of(affine, self.source)

    def _drift(self) -> NDArray[np.float64]:
        """Return how far each slice lies beside the first, in (rows, columns)."""
        first = self.slices[0]
        none = np.zeros((len(self.slices), 2))
        if first.position is None or first.turn is None:
            return none
        ways = np.stack([first.turn[3:] / self.spacing[0], first.turn[:3] / self.spacing[1]])
        steps = np.array([s.position for s in self.slices]) - first.position
        drift: NDArray[np.float64] = steps @ ways.T
        if np.abs(drift).max() <= DRIFT_PX:
            return none
        sideways = np.linalg.norm(drift[-1] * self.spacing)
        angle = np.degrees(np.arctan2(sideways, self.places[-1] - self.places[0]))
        self.notes.append(
            f"{self.source}: its slices lie askew by {angle:.1f} degrees (a tilted gantry); each "
            "was moved to where it says that it lies."
        )
        return drift

    def _evenly(self, values: FloatArray, places: Vector) -> FloatArray:
        """Return slices at even places, between neighbours on a straight line."""
        steps = np.diff(places)
        if not len(steps) or np.abs(steps - self.step).max() <= UNEVEN * self.step:
            return values
        wanted = places[0] + self.step * np.arange(round((places[-1] - places[0]) / self.step) + 1)
        left = np.clip(np.searchsorted(places, wanted, side="right") - 1, 0, len(places) - 2)
        share = np.clip((wanted - places[left]) / steps[left], 0, 1)[:, None, None]
        return np.asarray(values[left] * (1 - share) + values[left + 1] * share, np.float32)


def _moved(pixels: FloatArray, offset: Vector, shape: tuple[int, ...]) -> FloatArray:
    """Return a slice on a larger canvas, moved by parts of pixels; NaN where it is not."""
    if shape == pixels.shape:
        return pixels
    from scipy.ndimage import shift

    whole = np.floor(offset).astype(int)
    canvas = np.full(shape, np.nan, np.float32)
    top, left = whole
    canvas[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    rest = offset - whole
    if not rest.any():
        return canvas
    moved = shift(np.pad(pixels, ((0, 1), (0, 1)), mode="edge"), rest, order=1, mode="nearest")
    high, wide = min(shape[0] - top, moved.shape[0]), min(shape[1] - left, moved.shape[1])
    canvas[top : top + high, left : left + wide] = moved[:high, :wide]
    return canvas
