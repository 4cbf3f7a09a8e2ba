"""The commands of ``limner units`` that ask about one unit, one layer or one picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from limner.cli import output
from limner.cli import units_options as shared
from limner.cli.options import DeviceOption, JsonOption, grouped
from limner.cli.writing import check_writable
from limner.errors import InputError


@grouped
def ideal(
    layer: shared.LayerArgument,
    unit: shared.UnitArgument,
    *,
    net: shared.NetOptions,
    out: Annotated[
        str, typer.Option("-o", "--out", metavar="FILE.png", help="Where the picture goes.")
    ] = "ideal.png",
    steps: Annotated[int, typer.Option("--steps", min=1, help="Steps of the climb.")] = 128,
    jitter: Annotated[
        int, typer.Option("--jitter", min=0, help="Pixels that the picture is moved by.")
    ] = 4,
    seed: Annotated[int, typer.Option("--seed", help="Of the first picture.")] = 0,
    json: JsonOption = False,
) -> None:
    """Make the picture that a unit likes best, from nothing."""
    from limner import images
    from limner.units.ideal import ideal as climb

    check_writable(out)
    network = net.load()
    found = climb(network, layer, unit, steps=steps, jitter=jitter, seed=seed)
    enlarged = max(1, 224 // max(found.image.shape[:2]))
    images.write(out, found.image.repeat(enlarged, 0).repeat(enlarged, 1))
    if output.wants_json():
        output.emit_json(
            {
                "network": network.name,
                "layer": layer,
                "unit": unit,
                "activation": found.value,
                "at_first": found.start,
                "size_px": list(found.image.shape[:2]),
                "picture": out,
            }
        )
    output.say(
        f"{layer} unit {unit}: activation {found.value:.4g}, at first {found.start:.4g}; {out}"
    )


def why(
    layer: shared.LayerArgument,
    unit: shared.UnitArgument,
    *,
    patches: shared.PatchesOption,
    weights: shared.WeightsOption = None,
    device: DeviceOption = "auto",
    out: Annotated[
        str, typer.Option("-o", "--out", metavar="FILE.png", help="Where the picture goes.")
    ] = "why.png",
    json: JsonOption = False,
) -> None:
    """Show what in a unit's patches excites it: guided backpropagation, deconvnet, gradient."""
    from limner import images
    from limner.units.sheet import draw_why

    check_writable(out)
    top = shared.load_patches(patches)
    top.check_unit(layer, unit)
    images.write(out, draw_why(top, shared.network_of(top, weights, device), layer, unit, side=128))
    if output.wants_json():
        kept = top.kept(layer, unit)
        values = [float(v) for v in top.layer(layer).value[unit, :kept]]
        output.emit_json({"layer": layer, "unit": unit, "values": values, "picture": out})
    output.say(f"rows: patches, guided backpropagation, deconvnet, gradient; {out}")


def excites(
    photo: Annotated[str, typer.Argument(metavar="PHOTO", help="A picture.")],
    *,
    patches: shared.PatchesOption,
    layers: Annotated[
        str | None, typer.Option("--layers", metavar="A,B", help="Only units of these layers.")
    ] = None,
    count: shared.CountOption = 9,
    weights: shared.WeightsOption = None,
    device: DeviceOption = "auto",
    out: shared.PictureOption = None,
    json: JsonOption = False,
) -> None:
    """Tell which units a picture excites more than other photos do, with their patches."""
    from limner import images
    from limner.units import excites as ask
    from limner.units.sheet import draw_excited

    if out is not None:
        check_writable(out)
    top = shared.load_patches(patches)
    pixels = images.read(photo)
    network = shared.network_of(top, weights, device)
    found = ask(pixels, network, top, layers=shared.names_of(layers), count=count)
    if out is not None:
        images.write(out, draw_excited(pixels, found, top))
    if output.wants_json():
        output.emit_json({"photo": photo, "units": [e.to_json() for e in found], "picture": out})
    rows = [
        (e.layer, e.unit, f"{e.value:.4g}", f"{e.strength:.1f}", f"{100 * e.above:.0f} %")
        for e in found
    ]
    columns = ("layer", "unit", "activation", "deviations", "above")
    output.print_table(columns, rows, right=columns[1:])


def like(
    layer: shared.LayerArgument,
    unit: shared.UnitArgument,
    *,
    patches: shared.PatchesOption,
    layers: Annotated[
        str | None, typer.Option("--layers", metavar="A,B", help="Look in these layers only.")
    ] = None,
    count: shared.CountOption = 8,
    json: JsonOption = False,
) -> None:
    """Find units that answer photos as one unit does."""
    from limner.units import like as ask

    top = shared.load_patches(patches)
    found = ask(top, layer, unit, layers=shared.names_of(layers), count=count)
    if output.wants_json():
        output.emit_json({"layer": layer, "unit": unit, "units": [a.to_json() for a in found]})
    rows = [(a.layer, a.unit, f"{a.similarity:.3f}") for a in found]
    output.print_table(("layer", "unit", "similarity"), rows, right=("unit", "similarity"))


def stats(
    layer: shared.LayerArgument,
    *,
    patches: shared.PatchesOption,
    count: shared.CountOption = 12,
    json: JsonOption = False,
) -> None:
    """Print a layer's numbers: dead units, activations, selectivity by class."""
    from limner.units.search import selectivity

    top = shared.load_patches(patches)
    tally = top.layer(layer)
    share = tally.active / max(tally.sampled, 1)
    mean = tally.total / max(tally.sampled, 1)
    preferred: list[tuple[float, str]] | None = None
    reason = ""
    try:
        values, classes = selectivity(top, layer)
        preferred = [(float(v), top.classes[int(c)]) for v, c in zip(values, classes, strict=True)]
    except InputError as error:
        reason = str(error)
    if output.wants_json():
        units = []
        for unit in range(tally.units):
            row = {
                "unit": unit,
                "largest": float(tally.value[unit, 0]),
                "mean": float(mean[unit]),
                "active": float(share[unit]),
                "dead": bool(tally.dead[unit]),
                "histogram": tally.histogram[unit],
            }
            if preferred is not None:
                row["selectivity"], row["class"] = preferred[unit]
            units.append(row)
        dead = int(tally.dead.sum())
        document = {"layer": layer, "units": units, "dead": dead, "share_dead": dead / tally.units}
        output.emit_json({**document, "selectivity": reason or "by class"})
    output.say(
        f"{layer}: {tally.units} units, {int(tally.dead.sum())} dead "
        f"({100 * tally.dead.mean():.1f} %), {len(top.photos)} photos"
    )
    if reason:
        output.note(reason)
    order = sorted(range(tally.units), key=lambda u: -(preferred[u][0] if preferred else share[u]))
    rows = []
    for unit in order[:count]:
        value, name = preferred[unit] if preferred is not None else (None, None)
        rows.append(
            (
                unit,
                f"{tally.value[unit, 0]:.4g}",
                f"{mean[unit]:.3g}",
                f"{100 * share[unit]:.1f} %",
                None if value is None else f"{value:.2f}",
                name,
            )
        )
    columns = ("unit", "largest", "mean", "active", "selectivity", "class")
    output.print_table(columns, rows, right=columns[:5])


def sheet(
    layer: shared.LayerArgument,
    *,
    patches: shared.PatchesOption,
    units: Annotated[
        str | None,
        typer.Option("--units", metavar="N,M", help="Which units. Default: nine unlike ones."),
    ] = None,
    out: Annotated[
        str, typer.Option("-o", "--out", metavar="FILE.png", help="Where the sheet goes.")
    ] = "sheet.png",
    json: JsonOption = False,
) -> None:
    """Draw a sheet of units by their nine patches, as PNG."""
    from limner import images
    from limner.units.sheet import choose_units, draw_sheet

    check_writable(out)
    top = shared.load_patches(patches)
    top.layer(layer)
    chosen = choose_units(top, layer) if units is None else _numbers(units)
    images.write(out, draw_sheet(top, layer, chosen))
    if output.wants_json():
        output.emit_json({"layer": layer, "units": chosen, "picture": out})
    output.say(f"{layer}, units {', '.join(map(str, chosen))}: {out}")


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise InputError(f"--units must be numbers such as 3,17,42, got {text!r}.") from error


def gram(
    painting: Annotated[str, typer.Argument(metavar="PAINTING", help="A picture.")],
    *,
    layer: Annotated[str, typer.Option("--layer", help="The style tap.")] = "conv3_1",
    patches: shared.PatchesOption,
    count: shared.CountOption = 6,
    weights: shared.WeightsOption = None,
    device: DeviceOption = "auto",
    out: shared.PictureOption = None,
    json: JsonOption = False,
) -> None:
    """Show which channels go together in a painting: the pairs that weigh most in its Gram."""
    from limner import images
    from limner.units import gram_pairs
    from limner.units.sheet import draw_gram

    if out is not None:
        check_writable(out)
    top = shared.load_patches(patches)
    pixels = images.read(painting)
    network = shared.network_of(top, weights, device)
    pairs = gram_pairs(pixels, network, layer, top=top, count=count)
    if out is not None:
        images.write(out, draw_gram(pixels, pairs, top))
    if output.wants_json():
        name = Path(painting).name
        output.emit_json({"painting": name, "pairs": [p.to_json() for p in pairs], "picture": out})
    rows = [
        (f"{p.units[0]} x {p.units[1]}", f"{p.gram:.4g}", f"{p.gram / p.usual:.2f}") for p in pairs
    ]
    output.print_table(("pair", "gram", "of usual"), rows, right=("gram", "of usual"))
