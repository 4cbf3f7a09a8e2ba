"""``limner units``: what the units of a convnet see."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from limner.cli import output, units_ask
from limner.cli.options import JsonOption, grouped
from limner.cli.units_options import PATCHES, NetOptions, bars, names_of
from limner.errors import InputError

if TYPE_CHECKING:
    from limner.types import BoxXYXY
    from limner.units import TopPatches

app = typer.Typer(help="What the units of a convnet see.", no_args_is_help=True)


@app.command()
def field(
    net: Annotated[str, typer.Argument(metavar="NET", help="vgg19, resnet18, facenet, ...")],
    *,
    size: Annotated[
        int | None, typer.Option("--size", min=1, help="Side of the picture, pixels.")
    ] = None,
    layers: Annotated[
        str | None, typer.Option("--layers", metavar="A,B", help="Only these layers.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Print what each layer's units see: size, stride and offset of their receptive fields."""
    from limner.units import load_network

    table = load_network(net, weights="random", size=size, device="cpu").fields()
    wanted = names_of(layers)
    rows = table.layers if wanted is None else [table[name] for name in wanted]
    for line in table.notes:
        output.note(line)
    if output.wants_json():
        output.emit_json(
            {
                "network": net,
                "size_px": list(table.sides),
                "layers": [row.to_json() for row in rows],
                "notes": list(table.notes),
            }
        )
    cells = [
        (
            row.layer,
            row.kind,
            row.channels,
            _joined(row.positions),
            _joined(row.size) + (" (whole)" if row.whole else ""),
            _joined(row.stride),
            _joined(row.offset),
        )
        for row in rows
    ]
    columns = ("layer", "kind", "units", "places", "sees px", "stride", "offset")
    output.print_table(columns, cells, right=columns[2:])


def _joined(values: Sequence[float | None]) -> str:
    """Return one number where all axes agree, else all of them."""
    words = ["-" if v is None else f"{v:g}" for v in values]
    if not words:
        return "-"
    return words[0] if len(set(words)) == 1 else " x ".join(words)


@app.command()
@grouped
def top(
    photos: Annotated[str, typer.Argument(metavar="DIR", help="A folder of photos.")],
    *,
    net: NetOptions,
    layers: Annotated[
        str | None,
        typer.Option("--layers", metavar="A,B", help="Which layers. Default: all convolutions."),
    ] = None,
    out: Annotated[
        str, typer.Option("-o", "--out", metavar="DIR", help="Where the atlas goes.")
    ] = "units",
    count: Annotated[int, typer.Option("--count", min=1, max=25, help="Patches a unit.")] = 9,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Photos a run.")] = 8,
    labels: Annotated[
        Literal["folder", "none"],
        typer.Option("--labels", help="Classes: the photos' folders (or names), or none."),
    ] = "folder",
    faces: Annotated[
        bool | None,
        typer.Option(
            "--faces/--no-faces",
            help="Read the largest face of each photo instead of its middle. Default: for "
            "networks of faces.",
        ),
    ] = None,
    explain: Annotated[
        int, typer.Option("--explain", min=0, help="Units a layer to explain pixel by pixel.")
    ] = 0,
    ideal_pictures: Annotated[
        int, typer.Option("--ideal", min=0, help="Units a layer to make the ideal picture of.")
    ] = 0,
    json: JsonOption = False,
) -> None:
    """Find the patches that excite each unit most, and write an atlas and PNG sheets."""
    import time

    from limner.cli.photos import tell_left_out
    from limner.units import top_patches
    from limner.units.atlas import write_atlas

    _check_folder(out)
    tell_left_out(photos)
    network = net.load()
    started = time.monotonic()
    with bars() as progress:
        use_faces = network.faces if faces is None else faces
        regions = _face_regions(photos, progress) if use_faces else None
        found = top_patches(
            network,
            photos,
            layers=names_of(layers),
            count=count,
            batch=batch,
            labels=labels,
            regions=regions,
            state=Path(out) / PATCHES,
            progress=progress,
        )
        searched = time.monotonic() - started
        atlas = write_atlas(
            found, out, net=network, explained=explain, ideals=ideal_pictures, progress=progress
        )
    for path, reason in list(found.skipped.items())[:5]:
        output.warn(f"left out: {path}: {reason}")
    if len(found.photos) < count:
        output.warn(f"there are {len(found.photos)} photos, so units have fewer than {count}.")
    if output.wants_json():
        output.emit_json(_top_json(found, str(atlas.index), atlas.bytes, searched))
    names = ", ".join(found.layers)
    output.say(
        f"{sum(t.units for t in found.layers.values())} units of {names} over "
        f"{len(found.photos)} photos, {len(found.skipped)} left out, {found.duplicates} "
        f"near-duplicates set aside.\natlas: {atlas.index}"
    )


def _top_json(
    found: TopPatches, index: str, sizes: dict[str, int], seconds: float
) -> dict[str, object]:
    return {
        "network": found.network,
        "sha256": found.digest,
        "size_px": found.size_px,
        "photos": len(found.photos),
        "skipped": found.skipped,
        "near_duplicates": found.duplicates,
        "layers": {
            name: {**found.facts[name], "dead": int(tally.dead.sum())}
            for name, tally in found.layers.items()
        },
        "seconds": round(seconds, 2),
        "atlas": index,
        "bytes": sizes,
    }


def _check_folder(out: str) -> None:
    """Refuse a folder that cannot be written, before the long work begins."""
    target = Path(out)
    if target.is_file():
        raise InputError(f"{out} is a file; give the name of a folder.")
    if not target.exists() and not target.absolute().parent.is_dir():
        raise InputError(f"the folder {target.parent} for {out} does not exist; make it first.")


def _face_regions(
    folder: str, progress: Callable[[str, int, int | None], None]
) -> dict[str, BoxXYXY]:
    """Return the square around each photo's largest face, 1.2 times its box."""
    from limner import weights
    from limner.faces import FaceAnalyzer
    from limner.images import list_photos

    with output.fetch_progress() as fetching:
        weights.load("yunet", progress=fetching)
    paths = [str(p) for p in list_photos(folder)]
    found: dict[str, BoxXYXY] = {}
    analyzer = FaceAnalyzer("yunet", None)
    answers = analyzer.analyze_many(paths, embed=False, on_error="yield")
    for done, (path, answer) in enumerate(zip(paths, answers, strict=True), 1):
        if answer.faces:
            x0, y0, x1, y1 = max(answer.faces, key=lambda f: f.area).box_xyxy
            half = 0.6 * max(x1 - x0, y1 - y0)
            cx, cy = (x0 + x1) / 2, (y0 + y1) / 2
            found[path] = (cx - half, cy - half, cx + half, cy + half)
        progress("faces", done, len(paths))
    if paths and not found:
        raise InputError(f"no photo in {folder} shows a face; --no-faces reads their middles.")
    return found


for _ask in (
    units_ask.ideal,
    units_ask.why,
    units_ask.excites,
    units_ask.like,
    units_ask.stats,
    units_ask.sheet,
    units_ask.gram,
):
    app.command()(_ask)
