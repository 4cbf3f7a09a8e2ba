"""What a pass over photos leaves: the strongest places of every unit, and its numbers.

`LayerTally` is one layer's share and grows batch by batch in memory that does not depend on how
many photos there are; `TopPatches` is the whole, and is saved as one safetensors file.
"""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from limner.errors import InputError, UnknownNameError
from limner.types import BoxXYXY, ImageArray
from limner.units import photos as framing

if TYPE_CHECKING:
    from torch import Tensor

_VERSION = 1
BINS = 48
LOWEST, HIGHEST = -4.0, 12.0  # deviations from the mean that the histogram spans
SAMPLE = 14  # rows and columns of places that the numbers are taken from
_EMPTY = -np.inf

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]


@dataclass
class LayerTally:
    """One layer's strongest places and numbers; U units, K places kept, C classes.

    Attributes:
        name: The layer.
        value: Shape (U, K), the activations, largest first; -inf where there is none yet.
        photo: Shape (U, K), which photo; -1 where there is none.
        place: Shape (U, K, axes), row and column in the layer.
        box: Shape (U, K, 4), what each place sees, (x0, y0, x1, y1) in pixels of the network's
            square; may reach beyond it. Known once the pass is complete.
        mean: Shape (U,), of the first batch: the histogram's zero.
        deviation: Shape (U,), of the first batch: the histogram's unit.
        histogram: Shape (U, 48), counts of sampled places, -4 to 12 deviations.
        total: Shape (U,), sum of the sampled activations.
        squares: Shape (U,), of their squares.
        active: Shape (U,), how many of them were positive.
        sampled: How many places of a unit were sampled in all.
        by_class: Shape (U, C), sums over photos of the positive part of the maximum.
        responses: Shape (R, U), float16, the maxima of up to R photos.
    """

    name: str
    value: F32
    photo: I32
    place: I32
    box: I32
    mean: F32
    deviation: F32
    histogram: NDArray[np.int64]
    total: NDArray[np.float64]
    squares: NDArray[np.float64]
    active: NDArray[np.int64]
    by_class: NDArray[np.float64]
    responses: NDArray[np.float16]
    sampled: int = 0

    @classmethod
    def empty(
        cls, name: str, *, units: int, axes: int, count: int, classes: int, responses: int
    ) -> LayerTally:
        """Return a tally that has seen nothing."""
        return cls(
            name=name,
            value=np.full((units, count), _EMPTY, np.float32),
            photo=np.full((units, count), -1, np.int32),
            place=np.zeros((units, count, axes), np.int32),
            box=np.zeros((units, count, 4), np.int32),
            mean=np.zeros(units, np.float32),
            deviation=np.zeros(units, np.float32),
            histogram=np.zeros((units, BINS), np.int64),
            total=np.zeros(units),
            squares=np.zeros(units),
            active=np.zeros(units, np.int64),
            by_class=np.zeros((units, classes)),
            responses=np.full((responses, units), np.nan, np.float16),
        )

    @property
    def units(self) -> int:
        """How many units the layer has."""
        return len(self.value)

    def merge(self, maxima: F32, places: I32, numbers: I32, groups: NDArray[np.int64]) -> None:
        """Let a batch's strongest places compete with those that are kept.

        Args:
            maxima: Shape (N, U).
            places: Shape (N, U, axes).
            numbers: Shape (N,), the photos' numbers.
            groups: Of every photo so far, what it is a near-duplicate of: of each group the
                strongest place stays.
        """
        count = self.value.shape[1]
        new = np.broadcast_to(numbers, (self.units, len(numbers)))
        value = np.concatenate([self.value, maxima.T], axis=1)
        photo = np.concatenate([self.photo, new], axis=1)
        place = np.concatenate([self.place, places.transpose(1, 0, 2)], axis=1)
        # Equal values: the photo that came first wins, whatever the batches were.
        order = np.lexsort((photo, -value), axis=1)
        value = np.take_along_axis(value, order, 1)
        photo = np.take_along_axis(photo, order, 1)
        place = np.take_along_axis(place, order[..., None], 1)
        if len(np.unique(groups)) < len(groups):
            kind = np.where(photo >= 0, groups[photo], -1 - np.arange(photo.shape[1]))
            again = np.zeros_like(value, bool)
            for later in range(1, value.shape[1]):
                again[:, later] = (kind[:, :later] == kind[:, later : later + 1]).any(axis=1)
            last = np.argsort(again, axis=1, kind="stable")
            value = np.take_along_axis(np.where(again, _EMPTY, value), last, 1)
            photo = np.take_along_axis(np.where(again, -1, photo), last, 1)
            place = np.take_along_axis(place, last[..., None], 1)
        self.value = np.ascontiguousarray(value[:, :count])
        self.photo = np.ascontiguousarray(photo[:, :count].astype(np.int32))
        self.place = np.ascontiguousarray(place[:, :count].astype(np.int32))

    def count_values(self, sample: Tensor) -> None:
        """Add sampled activations to the numbers.

        Args:
            sample: Shape (N, U, P).
        """
        import torch

        flat = sample.transpose(0, 1).flatten(1)
        if not self.sampled:
            self.mean = flat.mean(1).numpy()
            self.deviation = flat.std(1, correction=0).clamp(min=1e-6).numpy()
        self.sampled += flat.shape[1]
        self.total += flat.sum(1, dtype=torch.float64).numpy()
        self.squares += (flat * flat).sum(1, dtype=torch.float64).numpy()
        self.active += (flat > 0).sum(1).numpy()
        scaled = (flat - torch.from_numpy(self.mean)[:, None]) / torch.from_numpy(self.deviation)[
            :, None
        ]
        bins = ((scaled - LOWEST) * (BINS / (HIGHEST - LOWEST))).clamp(0, BINS - 1).long()
        bins += torch.arange(self.units)[:, None] * BINS
        counts = torch.bincount(bins.flatten(), minlength=self.units * BINS)
        self.histogram += counts.reshape(self.units, BINS).numpy()

    @property
    def dead(self) -> NDArray[np.bool_]:
        """Shape (U,), whether a unit was positive nowhere in any photo."""
        dead: NDArray[np.bool_] = ~(self.value[:, 0] > 0)
        return dead


@dataclass
class TopPatches:
    """The strongest places of the units of some layers, over a set of photos.

    Attributes:
        network: Name of the network.
        digest: Of its weights.
        size_px: Side of the square that the network read.
        count: How many photos are kept a unit.
        photos: Paths, in the order in which they were read.
        regions_xyxy: The square of each photo that was read, in its pixels.
        photos_hw: Height and width of each photo.
        groups: Shape (photos,), the first photo that each nearly duplicates; its own number
            for most.
        fingerprints: Shape (photos, 20), what the groups were made from.
        classes: Names of the classes, in order.
        class_of: Shape (photos,), each photo's class.
        responders: Numbers of the photos whose maxima are kept, one for each row of
            `LayerTally.responses`.
        skipped: Why photos were left out, by path.
        layers: The layers' tallies by name.
        facts: By layer, the row of the table of receptive fields.
        fingerprint: What tells this run from another.
        done: How many files of the list have been looked at.
        total: How many there are.
    """

    network: str
    digest: str
    size_px: int
    count: int
    classes: list[str]
    fingerprint: str
    total: int
    photos: list[str] = field(default_factory=list)
    regions_xyxy: list[BoxXYXY] = field(default_factory=list)
    photos_hw: list[tuple[int, int]] = field(default_factory=list)
    groups: list[int] = field(default_factory=list)
    fingerprints: list[list[int]] = field(default_factory=list)
    class_of: list[int] = field(default_factory=list)
    responders: list[int] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    done: int = 0
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    layers: dict[str, LayerTally] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether every file has been looked at."""
        return self.done >= self.total

    @property
    def duplicates(self) -> int:
        """How many photos nearly duplicate an earlier one."""
        return sum(group != number for number, group in enumerate(self.groups))

    def layer(self, name: str) -> LayerTally:
        """Return one layer's tally.

        Raises:
            UnknownNameError: If the layer was not among those of the pass.
        """
        if name not in self.layers:
            raise UnknownNameError(
                f"these patches are of {', '.join(self.layers)}; there is none of {name!r}."
            )
        return self.layers[name]

    def check_unit(self, layer: str, unit: int) -> LayerTally:
        """Return a layer's tally, or refuse a unit that it does not have.

        Raises:
            UnknownNameError: If there is no such layer.
            InputError: If there is no such unit.
        """
        tally = self.layer(layer)
        if isinstance(unit, bool) or not 0 <= unit < tally.units:
            raise InputError(f"{layer} has units 0 to {tally.units - 1}, got {unit!r}.")
        return tally

    def class_means(self, layer: str) -> NDArray[np.float64]:
        """Return (U, classes): the mean over a class's photos of the positive maximum."""
        counts = np.bincount(self.class_of, minlength=len(self.classes))
        means: NDArray[np.float64] = self.layer(layer).by_class / np.maximum(counts, 1)
        return means

    def kept(self, layer: str, unit: int) -> int:
        """Return how many places of a unit are kept: fewer than `count` where photos are few."""
        return int((self.check_unit(layer, unit).photo[unit] >= 0).sum())

    def box_in_photo(self, layer: str, unit: int, rank: int) -> BoxXYXY:
        """Return what a unit sees in its `rank`-th photo, in that photo's pixels."""
        tally = self.check_unit(layer, unit)
        x0, y0, x1, y1 = (float(v) for v in tally.box[unit, rank])
        region = self.regions_xyxy[int(tally.photo[unit, rank])]
        return framing.to_photo((x0, y0, x1, y1), region, self.size_px)

    def photo_pixels(self, number: int) -> ImageArray:
        """Return the square of a photo that the network read, shape (S, S, 3), read anew."""
        framed = framing.frame_photo(self.photos[number], self.size_px, self.regions_xyxy[number])
        return framed.pixels

    def save(self, path: str | Path) -> None:
        """Write everything to one safetensors file, whole or not at all.

        Raises:
            InputError: If it cannot be written.
        """
        from safetensors.numpy import save as serialise

        tensors: dict[str, Any] = {}
        note: dict[str, Any] = {"version": _VERSION, "layers": {}}
        for entry in fields(self):
            if entry.name != "layers":
                note[entry.name] = getattr(self, entry.name)
        for name, tally in self.layers.items():
            note["layers"][name] = tally.sampled
            for entry in fields(tally):
                if entry.name not in ("name", "sampled"):
                    tensors[f"{name}/{entry.name}"] = np.ascontiguousarray(
                        getattr(tally, entry.name)
                    )
        target = Path(path)
        part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            part.write_bytes(serialise(tensors, {"limner_units": json.dumps(note)}))
            os.replace(part, target)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise InputError(f"{target} cannot be written: {error.strerror}.") from error

    @classmethod
    def load(cls, path: str | Path) -> TopPatches:
        """Read what `save` wrote.

        Raises:
            InputError: If it is not such a file.
        """
        from safetensors import safe_open

        try:
            with safe_open(str(path), framework="numpy") as stream:
                note = json.loads((stream.metadata() or {})["limner_units"])
                arrays = {key: stream.get_tensor(key) for key in stream.keys()}
        except FileNotFoundError as error:
            raise InputError(f"{path} does not exist; `limner units top` writes it.") from error
        except Exception as error:
            raise InputError(f"{path} holds no patches of units: {error}.") from error
        if note.pop("version") != _VERSION:
            raise InputError(f"{path} is of another version of limner; make it again.")
        sampled = note.pop("layers")
        note["regions_xyxy"] = [tuple(box) for box in note["regions_xyxy"]]
        note["photos_hw"] = [tuple(size) for size in note["photos_hw"]]
        found = cls(**note)
        for name, number in sampled.items():
            own = {k.split("/")[-1]: v for k, v in arrays.items() if k.rpartition("/")[0] == name}
            found.layers[name] = LayerTally(name=name, sampled=number, **own)
        return found
