"""Questions to a pass over photos: what a picture excites, which units are alike, which pairs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from limner.errors import EmbedderMismatch, InputError
from limner.types import BoxXYXY
from limner.units import photos as framing
from limner.units.tally import TopPatches

if TYPE_CHECKING:
    from limner.images.sources import Source
    from limner.types import ImageArray
    from limner.units.network import Network

_FEWEST = 5  # photos below which nothing is said about how usual a value is
_SHARE = 2  # in how many pairs one channel may stand


@dataclass(frozen=True)
class Excited:
    """A unit that a picture excites.

    Attributes:
        layer: Its layer.
        unit: Its channel.
        value: Its largest activation in the picture.
        place: Where, row and column in the layer.
        box_xyxy: What it sees there, in pixels of the picture; may reach beyond it.
        strength: Deviations above the mean of the photos' largest activations.
        above: Share of the photos whose largest activation is smaller, in [0, 1].
    """

    layer: str
    unit: int
    value: float
    place: tuple[int, ...]
    box_xyxy: BoxXYXY
    strength: float
    above: float

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return {
            "layer": self.layer,
            "unit": self.unit,
            "value": round(self.value, 4),
            "place": list(self.place),
            "box_xyxy": [round(v, 2) for v in self.box_xyxy],
            "strength": round(self.strength, 3),
            "above": round(self.above, 4),
        }


@dataclass(frozen=True)
class Alike:
    """A unit that answers photos as another does.

    Attributes:
        layer: Its layer.
        unit: Its channel.
        similarity: Correlation of the two units' largest activations over the photos, -1 to 1.
    """

    layer: str
    unit: int
    similarity: float

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return {"layer": self.layer, "unit": self.unit, "similarity": round(self.similarity, 4)}


@dataclass(frozen=True)
class GramPair:
    """Two channels that go together in a painting.

    Attributes:
        layer: The style tap.
        units: The two channels.
        gram: Mean over places of the product of their positive activations.
        usual: Product of the two channels' root mean squares over photos: the entry of a photo
            of usual strength in which both always go together; 1 without photos.
        box_xyxy: Where in the painting the product is largest: what both see, in its pixels.
    """

    layer: str
    units: tuple[int, int]
    gram: float
    usual: float
    box_xyxy: BoxXYXY

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return {
            "layer": self.layer,
            "units": list(self.units),
            "gram": round(self.gram, 5),
            "usual": round(self.usual, 5),
            "box_xyxy": [round(v, 2) for v in self.box_xyxy],
        }


def check_same(net: Network, top: TopPatches) -> None:
    """Refuse patches that another network made.

    Raises:
        EmbedderMismatch: If name, weights or size differ.
    """
    if (net.name, net.digest, net.size_px) != (top.network, top.digest, top.size_px):
        raise EmbedderMismatch(
            f"the patches were made by {top.network} ({top.digest[:12]}, {top.size_px} px), the "
            f"network is {net.name} ({net.digest[:12]}, {net.size_px} px): load that one."
        )


def excites(
    source: Source | ImageArray,
    net: Network,
    top: TopPatches,
    *,
    layers: Iterable[str] | None = None,
    count: int = 12,
    region_xyxy: BoxXYXY | None = None,
) -> list[Excited]:
    """Return the units that a picture excites most, compared with what photos do to them.

    Args:
        source: The picture, as for `limner.images.read`.
        net: The network that made `top`.
        top: A pass over photos; their maxima say what is much for a unit.
        layers: Which of its layers; None for all.
        count: How many units.
        region_xyxy: The square that is read, in pixels; None for the largest in the middle.

    Returns:
        The strongest first. Dead units, and those that the photos never moved, are left out.

    Raises:
        EmbedderMismatch: If another network made the patches.
        InputError: If `count` is below 1 or the pass saw fewer than 5 photos.
    """
    import torch

    from limner.units.top import strongest

    check_same(net, top)
    if isinstance(count, bool) or count < 1:
        raise InputError(f"count must be at least 1, got {count!r}.")
    if len(top.responders) < _FEWEST:
        raise InputError(
            f"the patches are of {len(top.responders)} photos; at least {_FEWEST} are needed to "
            "say what is much for a unit."
        )
    names = list(top.layers) if layers is None else list(layers)
    tallies = [top.layer(name) for name in names]
    framed = framing.frame_photo(source, net.size_px, region_xyxy)
    with torch.no_grad():
        found = net.read(net.prepare(framed.pixels[None]), names)
    table = net.fields()
    rows: list[tuple[float, Excited]] = []
    for name, tally in zip(names, tallies, strict=True):
        values, places = strongest(found[name].cpu().float())
        known = tally.responses[: len(top.responders)].astype(np.float32)
        mean, deviation = known.mean(axis=0), known.std(axis=0)
        strength = (values[0] - mean) / np.maximum(deviation, 1e-6)
        strength[(tally.dead & (values[0] <= 0)) | (deviation < 1e-6)] = -np.inf
        above = (known < values[0]).mean(axis=0)
        for unit in np.argsort(-strength, kind="stable")[:count]:
            if not np.isfinite(strength[unit]):
                continue
            place = tuple(int(p) for p in places[0, unit])
            box = _box(table[name].frame(place, int(unit)), framed.region_xyxy, net.size_px)
            entry = Excited(
                name, int(unit), float(values[0, unit]), place, box, float(strength[unit]),
                float(above[unit]),
            )  # fmt: skip
            rows.append((entry.strength, entry))
    rows.sort(key=lambda row: -row[0])
    return [entry for _, entry in rows[:count]]


def _box(frame: tuple[int, ...], region: BoxXYXY, size_px: int) -> BoxXYXY:
    x0, y0, x1, y1 = frame
    return framing.to_photo((x0, y0, x1, y1), region, size_px)


def like(
    top: TopPatches,
    layer: str,
    unit: int,
    *,
    layers: Sequence[str] | None = None,
    count: int = 8,
) -> list[Alike]:
    """Return the units that answer the photos most as one unit does.

    Args:
        top: A pass over at least five photos.
        layer: The unit's layer.
        unit: Its channel.
        layers: Where to look; None for all of the pass.
        count: How many units.

    Raises:
        UnknownNameError: If there is no such layer.
        InputError: If there is no such unit, it never changes, or there are too few photos.
    """
    tally = top.check_unit(layer, unit)
    if len(top.responders) < _FEWEST:
        raise InputError(
            f"the patches are of {len(top.responders)} photos; at least {_FEWEST} are needed to "
            "compare units."
        )
    rows = len(top.responders)
    own = _standardised(tally.responses[:rows, unit : unit + 1])[:, 0]
    if not own.any():
        raise InputError(f"{layer} unit {unit} answers all photos alike: nothing to compare.")
    found: list[Alike] = []
    for name in layers or top.layers:
        values = own @ _standardised(top.layer(name).responses[:rows])
        for other in np.argsort(-values, kind="stable")[: count + 1]:
            if (name, int(other)) != (layer, unit):
                found.append(Alike(name, int(other), float(np.clip(values[other], -1, 1))))
    return sorted(found, key=lambda a: -a.similarity)[:count]


def _standardised(values: NDArray[np.float16]) -> NDArray[np.float32]:
    """Return columns of mean zero and length one; zeros for those that never change."""
    numbers = values.astype(np.float32)
    numbers -= numbers.mean(axis=0)
    length = np.sqrt((numbers * numbers).sum(axis=0))
    return np.asarray(numbers / np.where(length > 1e-6, length, np.inf), np.float32)


def similarities(top: TopPatches, layer: str) -> NDArray[np.float32]:
    """Return the correlations of all units of a layer, shape (U, U)."""
    columns = _standardised(top.layer(layer).responses[: len(top.responders)])
    result: NDArray[np.float32] = columns.T @ columns
    return result


def selectivity(top: TopPatches, layer: str) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Return how much each unit prefers one class, and which.

    Source: Morcos, Barrett, Rabinowitz and Botvinick (2018): (best - rest) / (best + rest),
    where `best` is the class with the largest mean and `rest` the mean of the others.
    Differs: the mean is of each photo's largest positive activation.

    Returns:
        Shape (U,), 0 to 1, and the number of the class; 0 for a dead unit.

    Raises:
        InputError: If there are fewer than two classes, or no class has two photos.
    """
    counts = np.bincount(top.class_of, minlength=len(top.classes))
    if len(top.classes) < 2 or counts.max() < 2:
        raise InputError(
            f"selectivity needs two classes, one of them with two photos; there are "
            f"{len(top.classes)} classes in {len(top.photos)} photos. Put each class in a folder."
        )
    means = top.class_means(layer)
    best = means.argmax(axis=1)
    largest = means.max(axis=1)
    rest = (means.sum(axis=1) - largest) / (means.shape[1] - 1)
    total = largest + rest
    return np.where(total > 0, (largest - rest) / np.where(total > 0, total, 1), 0.0), best


def gram_pairs(
    source: Source | ImageArray,
    net: Network,
    layer: str,
    *,
    top: TopPatches | None = None,
    count: int = 6,
) -> list[GramPair]:
    """Return the pairs of channels that weigh most in a painting's Gram matrix.

    With `top`, an entry is divided by what the two channels' energy over photos allows, so that
    the pairs are the painting's own and not those that are loud everywhere.
    A channel stands in at most two pairs.

    Args:
        source: The painting.
        net: The network.
        layer: The style tap.
        top: A pass over photos in which the layer took part; None to weigh the entries
            themselves.
        count: How many pairs.

    Raises:
        EmbedderMismatch: If another network made `top`.
        InputError: If the layer has no places, or `count` is below 1.
    """
    import torch

    if isinstance(count, bool) or count < 1:
        raise InputError(f"count must be at least 1, got {count!r}.")
    entry = net.fields()[layer]
    if len(entry.positions) != 2:
        raise InputError(f"{layer} has no places, so it has no Gram matrix; name a convolution.")
    framed = framing.frame_photo(source, net.size_px)
    with torch.no_grad():
        maps = net.read(net.prepare(framed.pixels[None]), [layer])[layer][0].clamp(min=0).cpu()
    flat = maps.flatten(1)
    gram = (flat @ flat.T / flat.shape[1]).numpy().astype(np.float64)
    usual, divisor = np.ones_like(gram), np.ones_like(gram)
    if top is not None:
        check_same(net, top)
        tally = top.layer(layer)
        energy = np.sqrt(tally.squares / max(tally.sampled, 1))
        floor = max(float(np.median(energy)), 1e-9)  # channels that hardly answer are no news
        usual, divisor = np.outer(energy, energy), np.outer(energy + floor, energy + floor)
    weight = np.triu(gram / divisor, k=1)
    pairs: list[GramPair] = []
    used = np.zeros(len(gram), int)
    for index in np.argsort(-weight, axis=None, kind="stable"):
        i, j = divmod(int(index), len(gram))
        if len(pairs) == count or weight[i, j] <= 0:
            break
        if max(used[i], used[j]) >= _SHARE:
            continue
        used[[i, j]] += 1
        spot = int((maps[i] * maps[j]).argmax())
        place = divmod(spot, maps.shape[2])
        box = _box(entry.frame(place, i), framed.region_xyxy, net.size_px)
        pairs.append(GramPair(layer, (i, j), float(gram[i, j]), float(usual[i, j]), box))
    return pairs
