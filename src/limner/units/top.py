"""One pass over photos: the strongest place of every unit in every photo, the best kept.

Source: Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014: nine
patches a unit. Differs: at most one of several near-duplicates, which a fingerprint of the
picture finds, so that a burst of photos does not fill all nine places.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from limner.errors import ImageError, InputError, UnknownNameError
from limner.types import BoxXYXY
from limner.units import photos as framing
from limner.units.network import Network, unit_layers
from limner.units.tally import SAMPLE, LayerTally, TopPatches

if TYPE_CHECKING:
    from torch import Tensor

Progress = Callable[[str, int, int | None], None]
Labels = Literal["folder", "none"]

_MOST_RESPONSES = 2048
_SAVE_EVERY_S = 20.0


def top_patches(
    net: Network,
    source: str | Path | Sequence[str | Path],
    *,
    layers: Iterable[str] | None = None,
    count: int = 9,
    batch: int = 8,
    labels: Labels = "folder",
    regions: Mapping[str, BoxXYXY] | None = None,
    state: str | Path | None = None,
    progress: Progress | None = None,
) -> TopPatches:
    """Find the photos, and the places in them, that excite each unit most.

    Memory does not grow with the photos: of each unit the `count` best are kept, its
    histogram, and the maxima of at most 2048 photos, evenly chosen.

    Args:
        net: The network.
        source: A folder, looked through with the folders below it, or paths.
        layers: Names of layers; None for all convolutions.
        count: How many photos are kept a unit.
        batch: Photos a run; results do not depend on it, but for rounding.
        labels: `folder`: a photo's class is the name of its folder, or of its file where all
            lie in one; `none`: there are no classes.
        regions: By path, the square of the photo that the network reads, in its pixels; photos
            that are not in it are left out. None for the largest square in the middle.
        state: A file that the pass is saved to every 20 s, and goes on from.
        progress: Told ("photos", done, total).

    Returns:
        The places and numbers of every unit.

    Raises:
        InputError: If there is no photo, none can be read, `state` is of another run, or a
            layer gives values that are not finite.
        UnknownNameError: If there is no such layer.
    """
    names = unit_layers(net, layers)
    if labels not in get_args(Labels):
        raise UnknownNameError(f"labels must be 'folder' or 'none', got {labels!r}.")
    for what, number in (("count", count), ("batch", batch)):
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise InputError(f"{what} must be a whole number of at least 1, got {number!r}.")
    paths = _paths(source)
    kept = None if regions is None else {str(p) for p in regions}
    classes = _classes(paths, source, labels)
    run = _Run(net, names, paths, sorted(set(classes)), classes, regions, kept)
    top = run.begin(count, state)
    run.go(top, batch, state, progress)
    if not top.photos:
        first = next(iter(top.skipped.items()), ("", "no photo had a region"))
        raise InputError(f"none of the {len(paths)} photos could be used; {first[0]}: {first[1]}")
    _finish(top, net)
    if state is not None:
        top.save(state)
    return top


def _finish(top: TopPatches, net: Network) -> None:
    """Note what each kept place sees."""
    table = net.fields()
    for name, tally in top.layers.items():
        entry = table[name]
        top.facts[name] = entry.to_json()
        for unit, rank in np.argwhere(tally.photo >= 0):
            place = tuple(int(p) for p in tally.place[unit, rank])
            frame = entry.frame(place, int(unit))
            tally.box[unit, rank] = frame if len(frame) == 4 else (0, 0, *entry.sides[::-1])


def _paths(source: str | Path | Sequence[str | Path]) -> list[Path]:
    if not isinstance(source, str | Path):
        paths = [Path(p) for p in source]
        if not paths:
            raise InputError("no photo was given; give a folder or at least one path.")
        return paths
    from limner import images

    if Path(source).is_file():
        return [Path(source)]
    paths = images.list_photos(source)
    if not paths:
        known = ", ".join(sorted(s.lstrip(".") for s in images.PHOTO_SUFFIXES))
        raise InputError(f"the folder {source} holds no photo; its files may be {known}.")
    return paths


def _classes(
    paths: list[Path], source: str | Path | Sequence[str | Path], labels: Labels
) -> list[str]:
    if labels == "none":
        return [""] * len(paths)
    return framing.classes_of(paths, Path(source) if isinstance(source, str | Path) else None)


@dataclass
class _Run:
    """What one pass works with."""

    net: Network
    names: list[str]
    paths: list[Path]
    classes: list[str]
    class_names: list[str]
    regions: Mapping[str, BoxXYXY] | None
    kept: set[str] | None

    def begin(self, count: int, state: str | Path | None) -> TopPatches:
        """Return an empty result, or the one that `state` holds."""
        fingerprint = self._fingerprint(count)
        if state is not None and Path(state).exists():
            found = TopPatches.load(state)
            if found.fingerprint != fingerprint:
                raise InputError(
                    f"{state} is of another run: other photos, layers, network or options. "
                    "Delete it, or choose another place."
                )
            return found
        table = self.net.fields()
        top = TopPatches(
            network=self.net.name,
            digest=self.net.digest,
            size_px=self.net.size_px,
            count=count,
            classes=self.classes,
            fingerprint=fingerprint,
            total=len(self.paths),
        )
        for name in self.names:
            entry = table[name]
            top.layers[name] = LayerTally.empty(
                name,
                units=entry.channels,
                axes=len(entry.positions),
                count=count,
                classes=len(self.classes),
                responses=min(len(self.paths), _MOST_RESPONSES),
            )
        return top

    def _fingerprint(self, count: int) -> str:
        files = []
        for path in self.paths:
            try:
                status = path.stat()
                files.append([str(path), status.st_size, status.st_mtime_ns])
            except OSError:
                files.append([str(path), 0, 0])
        regions = None if self.regions is None else sorted(self.regions.items())
        document = [self.net.name, self.net.digest, self.net.size_px, self.names, count, files,
                    regions, self.classes]  # fmt: skip
        return hashlib.sha256(json.dumps(document).encode()).hexdigest()

    def go(
        self,
        top: TopPatches,
        batch: int,
        state: str | Path | None,
        progress: Progress | None,
    ) -> None:
        """Read the photos that are left and let them compete."""
        import torch

        rows = self._kept_in_full()
        saved = time.monotonic()
        for start, framed in self._framed(top.done, batch):
            good: list[tuple[int, framing.Framed]] = []
            for offset, found in enumerate(framed):
                if isinstance(found, framing.Framed):
                    good.append((start + offset, found))
                elif found is not None:
                    top.skipped[str(self.paths[start + offset])] = str(found)
            if good:
                with torch.no_grad():
                    self._take(top, good, rows)
            top.done = start + len(framed)
            if progress is not None:
                progress("photos", top.done, top.total)
            if state is not None and time.monotonic() - saved > _SAVE_EVERY_S:
                top.save(state)
                saved = time.monotonic()

    def _kept_in_full(self) -> set[int]:
        """Return which photos' maxima are kept, evenly chosen."""
        total = len(self.paths)
        chosen = np.linspace(0, total - 1, min(total, _MOST_RESPONSES)).round().astype(int)
        return {int(number) for number in chosen}

    def _framed(
        self, done: int, batch: int
    ) -> Iterator[tuple[int, list[framing.Framed | ImageError | None]]]:
        """Yield batches of framed photos, one being read while another is looked at."""

        def read(path: Path) -> framing.Framed | ImageError | None:
            if self.kept is not None and str(path) not in self.kept:
                return ImageError("it has no region, such as a face")
            region = None if self.regions is None else self.regions[str(path)]
            try:
                return framing.frame_photo(path, self.net.size_px, region)
            except ImageError as error:
                return error

        with ThreadPoolExecutor(1) as pool:
            starts = range(done, len(self.paths), batch)
            ahead = [pool.submit(read, p) for p in self.paths[done : done + batch]]
            for start in starts:
                after = self.paths[start + batch : start + 2 * batch]
                waiting, ahead = ahead, [pool.submit(read, p) for p in after]
                yield start, [w.result() for w in waiting]

    def _take(
        self, top: TopPatches, good: list[tuple[int, framing.Framed]], rows: set[int]
    ) -> None:
        first, row = len(top.photos), len(top.responders)
        for number, framed in good:
            mark = framing.fingerprint(framed.pixels)
            known = np.asarray(top.fingerprints, np.uint8).reshape(-1, len(mark))
            top.groups.append(framing.group_of(mark, known))
            top.fingerprints.append(mark.tolist())
            top.photos.append(str(self.paths[number]))
            top.regions_xyxy.append(framed.region_xyxy)
            top.photos_hw.append(framed.photo_hw)
            top.class_of.append(self.classes.index(self.class_names[number]))
            if number in rows:
                top.responders.append(len(top.photos) - 1)
        pixels = np.stack([framed.pixels for _, framed in good])
        found = self.net.read(self.net.prepare(pixels), self.names)
        # A group's number is that of its first photo, so a photo of a group leads back to it.
        groups = np.asarray([_leader(top.groups, g) for g in range(len(top.groups))])
        numbers = np.arange(first, first + len(good), dtype=np.int32)
        for name in self.names:
            tally = top.layers[name]
            values = found.pop(name).cpu().float()
            maxima, places = strongest(values)
            if not np.isfinite(maxima).all():
                raise InputError(f"the layer {name} gives values that are not finite.")
            tally.merge(maxima, places, numbers, groups)
            tally.count_values(_sampled(values))
            for i in range(len(good)):
                tally.by_class[:, top.class_of[first + i]] += np.maximum(maxima[i], 0)
            picked = [number - first for number in top.responders[row:]]
            tally.responses[row : row + len(picked)] = np.clip(maxima[picked], -65000, 65000)


def _leader(groups: list[int], number: int) -> int:
    while groups[number] != number:
        number = groups[number]
    return number


def strongest(values: Tensor) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Return the largest activation of each unit in each photo, and where it is.

    The largest of each row is found first, then the row, then the place in that one row: two
    quick passes instead of a search through all places. Of equals, the first in reading order.

    Args:
        values: Shape (N, U, *places), any number of axes.

    Returns:
        Values (N, U) and places (N, U, axes).
    """
    import torch

    axes = values.dim() - 2
    if axes == 0:
        return values.numpy(), np.zeros((*values.shape, 0), np.int32)
    if axes == 1:
        best, place = values.max(-1)
        return best.numpy(), place.numpy()[..., None].astype(np.int32)
    rows = values.flatten(2, -2)
    of_row = rows.amax(-1)
    row = of_row.argmax(-1)
    n, u = row.shape
    line = rows[torch.arange(n)[:, None], torch.arange(u), row]
    column = line.argmax(-1)
    best = of_row.amax(-1)
    leading = np.unravel_index(row.numpy(), values.shape[2:-1])
    return best.numpy(), np.stack([*leading, column.numpy()], axis=-1).astype(np.int32)


def _sampled(values: Tensor) -> Any:
    """Return activations at evenly spread places, at most 14 along each axis."""
    import torch

    for d in range(2, values.dim()):
        side = values.shape[d]
        if side > SAMPLE:
            chosen = ((torch.arange(SAMPLE) + 0.5) * side / SAMPLE).long()
            values = values.index_select(d, chosen)
    return values.flatten(2) if values.dim() > 2 else values[..., None]
