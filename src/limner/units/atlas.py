"""The atlas: a folder of pages that shows every unit of every layer, and needs no server."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from limner.errors import InputError
from limner.types import ImageArray
from limner.units import atlas_page as html
from limner.units.patches import cut_patches, mosaic
from limner.units.search import check_same, like, selectivity
from limner.units.sheet import TIMES, choose_units, draw_sheet, draw_why, patch_side
from limner.units.tally import BINS, HIGHEST, LOWEST, LayerTally, TopPatches

if TYPE_CHECKING:
    from limner.units.network import Network

Progress = Callable[[str, int, int | None], None]

_QUALITY = 74
_THUMB, _SMALL_THUMB, _MANY = 180, 112, 1200
_EXPLAINED_SIDE = 96
_SHARES = "photos"


@dataclass(frozen=True)
class Atlas:
    """What was written.

    Attributes:
        folder: Where.
        index: Its first page.
        sheets: PNG sheets, one a layer.
        bytes: Of all files, by layer; `photos` are shared.
    """

    folder: Path
    index: Path
    sheets: tuple[Path, ...]
    bytes: dict[str, int]


def write_atlas(
    top: TopPatches,
    folder: str | Path,
    *,
    net: Network | None = None,
    explained: int = 0,
    ideals: int = 0,
    progress: Progress | None = None,
) -> Atlas:
    """Write an atlas: an index, a page a layer with its units, and PNG sheets.

    Args:
        top: A complete pass; its photos must still be there.
        folder: Where to; made if it does not exist. Files of the same names are replaced.
        net: The network, where explanations or ideal pictures are wanted.
        explained: Of how many units a layer guided backpropagation, deconvnet and gradient
            are shown beside the patches.
        ideals: Of how many units a layer the ideal picture is made; 1 to 60 s each.
        progress: Told (layer, units done, units).

    Raises:
        InputError: If the pass is not complete, the folder cannot be written, or the network
            is missing or another.
        ImageError: If a photo is no longer there.
    """
    if not top.complete or not top.facts:
        raise InputError("the pass over the photos is not complete; finish it first.")
    if explained or ideals:
        if net is None:
            raise InputError("explanations and ideal pictures need the network.")
        check_same(net, top)
    root = Path(folder)
    try:
        (root / "sheets").mkdir(parents=True, exist_ok=True)
        (root / "photos").mkdir(exist_ok=True)
        for name in ("atlas.css", "atlas.js"):
            text = resources.files("limner.units").joinpath("pages", name).read_text("utf-8")
            (root / name).write_text(text, "utf-8")
        return _Writer(top, root, net, explained, ideals, progress).write()
    except OSError as error:
        raise InputError(f"{root} cannot be written: {error.strerror or error}.") from error


def slug(layer: str) -> str:
    """Return a layer's name as a file name."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", layer)


def _webp(path: Path, image: ImageArray, quality: int = _QUALITY) -> None:
    from PIL import Image

    Image.fromarray(image).save(path, "WEBP", quality=quality, method=2)


@dataclass
class _Writer:
    top: TopPatches
    root: Path
    net: Network | None
    explained: int
    ideals: int
    progress: Progress | None

    def write(self) -> Atlas:
        """Write everything."""
        pages = [(name, f"{slug(name)}.html") for name in self.top.layers]
        cards, sheets, sizes = [], [], {}
        used: set[int] = set()
        for name, target in pages:
            directory = self.root / slug(name)
            directory.mkdir(exist_ok=True)
            self._write_units(name, directory)
            sheet = self.root / "sheets" / f"{slug(name)}.png"
            chosen = choose_units(self.top, name)
            self._write_sheet(name, sheet, chosen)
            text = self._layer_page(name, pages)
            (self.root / target).write_text(text, "utf-8")
            cards.append(self._card(name, target, directory, chosen))
            sheets.append(sheet)
            used |= {int(p) for p in np.unique(self.top.layer(name).photo) if p >= 0}
            sizes[name] = _size(directory) + len(text.encode()) + sheet.stat().st_size
        self._write_photos(sorted(used))
        sizes[_SHARES] = _size(self.root / "photos")
        index = self.root / "index.html"
        index.write_text(self._index(cards), "utf-8")
        return Atlas(self.root, index, tuple(sheets), sizes)

    def _write_units(self, name: str, directory: Path) -> None:
        tally = self.top.layer(name)
        side = patch_side(self.top, name)
        across = min(3, self.top.count)
        tell = choose_units(self.top, name, self.explained) if self.explained else []
        dream = choose_units(self.top, name, self.ideals) if self.ideals else []
        for start in range(0, tally.units, 128):
            units = list(range(start, min(start + 128, tally.units)))
            tiles = cut_patches(self.top, name, units, side=side)
            for unit, own in zip(units, tiles, strict=True):
                _webp(directory / f"{unit}.webp", mosaic(own, across))
                if self.net is not None and unit in tell:
                    _webp(directory / f"why-{unit}.webp", self._why(name, unit))
                if self.net is not None and unit in dream:
                    self._write_ideal(name, unit, directory)
            if self.progress is not None:
                self.progress(name, units[-1] + 1, tally.units)

    def _why(self, name: str, unit: int) -> ImageArray:
        """Return the patches of a unit with three explanations below each."""
        assert self.net is not None
        return draw_why(self.top, self.net, name, unit, side=_EXPLAINED_SIDE)

    def _write_ideal(self, name: str, unit: int, directory: Path) -> None:
        from limner.units.ideal import ideal

        assert self.net is not None
        found = ideal(self.net, name, unit)
        enlarged = max(1, 150 // found.image.shape[0])
        image = found.image.repeat(enlarged, 0).repeat(enlarged, 1)
        _webp(directory / f"ideal-{unit}.webp", image, 90)
        (directory / f"ideal-{unit}.txt").write_text(f"{found.value:.4g}", "utf-8")

    def _write_sheet(self, name: str, path: Path, chosen: list[int]) -> None:
        from limner.images import write

        if chosen:
            write(path, draw_sheet(self.top, name, chosen))
        else:  # nothing was ever active: the first nine, so that there is a sheet to look at
            units = list(range(min(9, self.top.layer(name).units)))
            write(path, draw_sheet(self.top, name, units))

    def _card(self, name: str, target: str, directory: Path, chosen: list[int]) -> dict[str, str]:
        units = (chosen or [0]) * 9
        tiles = cut_patches(self.top, name, units[:9], side=96)[:, 0]
        _webp(directory / "cover.webp", mosaic(tiles, 3))
        tally = self.top.layer(name)
        return {
            "name": name,
            "href": target,
            "image": f"{slug(name)}/cover.webp",
            "line": f"{tally.units} units, each sees {_size_words(self.top.facts[name])}",
            "more": f"{int(tally.dead.sum())} of them never active",
        }

    def _index(self, cards: list[dict[str, str]]) -> str:
        top = self.top
        lead = (
            "For each unit of each layer, the nine patches of real photographs that excite it "
            "most. Choose a layer; early ones see edges and colours, deep ones parts of things."
        )
        figures = html.facts(
            [
                ("layers", str(len(top.layers))),
                ("units", f"{sum(t.units for t in top.layers.values()):,}"),
                ("photos", f"{len(top.photos):,}"),
                ("near-duplicates set aside", str(top.duplicates)),
            ]
        )
        return html.index_page(top.network, lead, figures, cards)

    def _layer_page(self, name: str, pages: Sequence[tuple[str, str]]) -> str:
        tally, row = self.top.layer(name), self.top.facts[name]
        preference = _preference(self.top, name)
        figures = html.field_drawing(self.top.size_px, row["size"] or [1]) + html.facts(
            [
                ("seen by a unit", _size_words(row)),
                ("step", _step_words(row)),
                ("units", str(tally.units)),
                ("never active", str(int(tally.dead.sum()))),
                ("photos", f"{len(self.top.photos):,}"),
            ]
        )
        strength = (tally.value[:, 0] - tally.mean) / np.maximum(tally.deviation, 1e-6)
        active = tally.active / max(tally.sampled, 1)
        cards = [
            {
                "n": unit,
                "dead": bool(tally.dead[unit]),
                "strength": f"{strength[unit]:.3f}",
                "select": f"{preference[0][unit]:.4f}" if preference else "0",
                "active": f"{active[unit]:.4f}",
                "label": f"{tally.value[unit, 0]:.4g}",
            }
            for unit in range(tally.units)
        ]
        sorts = [("n", "by number"), ("strength", "strongest first"), ("active", "most active")]
        if preference:
            sorts.append(("select", "most selective"))
        return html.layer_page(
            network=self.top.network,
            layer=name,
            directory=slug(name),
            figures=figures,
            pages=pages,
            units=cards,
            data=self._data(name, tally, preference),
            sheet=f"sheets/{slug(name)}.png",
            sorts=sorts,
        )

    def _data(
        self,
        name: str,
        tally: LayerTally,
        preference: tuple[NDArray[np.float64], NDArray[np.intp]] | None,
    ) -> dict[str, Any]:
        """Return what the page's script reads."""
        used = sorted({int(p) for p in np.unique(tally.photo) if p >= 0})
        return {
            "layer": name,
            "dir": slug(name),
            "zero": round(-LOWEST / (HIGHEST - LOWEST) * BINS),
            "photos": {str(p): os.path.basename(self.top.photos[p]) for p in used},
            "units": [self._unit(name, tally, unit, preference) for unit in range(tally.units)],
        }

    def _unit(
        self,
        name: str,
        tally: LayerTally,
        unit: int,
        preference: tuple[NDArray[np.float64], NDArray[np.intp]] | None,
    ) -> dict[str, Any]:
        top = self.top
        kept = top.kept(name, unit)
        boxes = []
        for rank in range(kept):
            height, width = top.photos_hw[int(tally.photo[unit, rank])]
            x0, y0, x1, y1 = top.box_in_photo(name, unit, rank)
            shares = (x0 / width, y0 / height, x1 / width, y1 / height)
            boxes.append([round(min(max(v, 0.0), 1.0), 4) for v in shares])
        directory = self.root / slug(name)
        entry: dict[str, Any] = {
            "p": tally.photo[unit, :kept].tolist(),
            "v": [float(f"{v:.4g}") for v in tally.value[unit, :kept]],
            "b": boxes,
            "h": tally.histogram[unit].tolist(),
            "a": f"{100 * tally.active[unit] / max(tally.sampled, 1):.1f} %",
            "m": f"{tally.total[unit] / max(tally.sampled, 1):.3g}",
            "l": self._alike(name, unit),
        }
        if preference and not tally.dead[unit]:
            means = top.class_means(name)[unit]
            entry["c"] = [top.classes[i] for i in np.argsort(-means, kind="stable")[:3]]
            entry["s"] = f"{preference[0][unit]:.2f}"
        if self.explained and (directory / f"why-{unit}.webp").exists():
            entry["x"] = 1
        note = directory / f"ideal-{unit}.txt"
        if self.ideals and note.exists():
            entry["i"] = note.read_text("utf-8")
        return entry

    def _alike(self, name: str, unit: int) -> list[list[Any]]:
        try:
            found = like(self.top, name, unit, layers=[name], count=5)
        except InputError:  # it never changes, or photos are few
            return []
        return [[a.layer, a.unit, f"{slug(a.layer)}.html", f"{a.similarity:.2f}"] for a in found]

    def _write_photos(self, numbers: list[int]) -> None:
        from PIL import Image

        from limner import images

        most = _SMALL_THUMB if len(numbers) > _MANY else _THUMB
        for number in numbers:
            picture = Image.fromarray(images.read(self.top.photos[number]))
            picture.thumbnail((most * 2, most), Image.Resampling.BICUBIC)
            _webp(self.root / "photos" / f"{number}.webp", np.asarray(picture), 68)


def _preference(top: TopPatches, name: str) -> tuple[NDArray[np.float64], NDArray[np.intp]] | None:
    try:
        return selectivity(top, name)
    except InputError:  # no classes in this folder
        return None


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def _size_words(row: dict[str, Any]) -> str:
    if row["whole"] and None in row["stride"]:
        return "all of the picture"
    return f" {TIMES} ".join(map(str, dict.fromkeys(row["size"]))) + " px"


def _step_words(row: dict[str, Any]) -> str:
    steps = [s for s in dict.fromkeys(row["stride"]) if s is not None]
    return f" {TIMES} ".join(f"{s:g}" for s in steps) + " px" if steps else "none"
