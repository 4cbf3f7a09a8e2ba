"""``limner nets``: which networks there are, what they cost, and what their blocks do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from limner.cli import output
from limner.cli.options import JsonOption

if TYPE_CHECKING:
    from torch import Tensor

app = typer.Typer(add_completion=False)

_SIDE = 96


def _millions(count: int) -> str:
    return f"{count / 1e6:.2f}"


def _entry(name: str, parameters: int, flops: int) -> dict[str, Any]:
    from limner.training.architectures import architecture

    found = architecture(name)
    return {
        "name": name,
        "family": found.family,
        "library": found.library,
        "size_px": found.size_px,
        "parameters": parameters,
        "flops": flops,
        "idea": found.idea,
        "paper": found.paper,
    }


@app.callback(invoke_without_command=True)
def networks(context: typer.Context, *, json: JsonOption = False) -> None:
    """List the networks that can be trained; count them, their blocks and gradients."""
    if context.invoked_subcommand is None:
        list_networks(json=json)


@app.command("list")
def list_networks(*, json: JsonOption = False) -> None:
    """List the networks with their parameters and FLOPs (multiply-adds for one picture)."""
    from limner.training.counts import COUNTS

    entries = [_entry(name, *counts) for name, counts in COUNTS.items()]
    if json:
        output.emit_json({"networks": entries})
        return
    columns = ("name", "family", "from", "pixels", "M parameters", "M FLOPs", "block")
    rows = [
        (
            e["name"],
            e["family"],
            e["library"],
            e["size_px"],
            _millions(e["parameters"]),
            f"{e['flops'] / 1e6:,.0f}",
            e["idea"],
        )
        for e in entries
    ]
    output.print_table(columns, rows, right=columns[3:6])


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A network.")],
    *,
    json: JsonOption = False,
) -> None:
    """Build one network, count it anew, and say what it reads and where its weights come from."""
    from limner.training.architectures import architecture
    from limner.training.backbones import build, describe, input_of

    found = architecture(name)
    counted = describe(name)
    net = build(name, head="embedding", width_or_classes=128)
    last = sum(p.numel() for module in net.last_block() for p in module.parameters())
    reads = input_of(name)
    document = {
        **_entry(found.name, counted.parameters, counted.flops),
        "features": net.width,
        "last_block": list(found.last_block),
        "last_block_parameters": last,
        "input": reads.to_json(),
        "weights": _weights(found),
    }
    if json:
        output.emit_json(document)
        return
    normal = (
        "each picture minus its own mean, over its own deviation"
        if reads.kind == "standardise"
        else f"minus {_numbers(reads.mean)}, over {_numbers(reads.std)}"
    )
    output.say(f"{found.name}: {found.family}, {found.idea} ({found.paper})")
    size = reads.size_px
    output.say(f"  reads       RGB, {size} x {size}, {normal}")
    output.say(f"  features    {net.width} wide")
    output.say(f"  parameters  {counted.parameters:,}, of them {last:,} in the last block")
    output.say(f"  FLOPs       {counted.flops:,} multiply-adds for one picture")
    output.say(f"  weights     {document['weights']}")


def _numbers(values: tuple[float, ...]) -> str:
    return "(" + ", ".join(f"{v:g}" for v in values) + ")"


def _weights(found: Any) -> str:
    if found.weights:
        return f"{found.weights} in limner's registry"
    if found.library == "limner":
        return "none: it is trained here"
    return f"{found.library}'s own, ImageNet, where its address answers"


@app.command()
def blocks(
    *,
    width: Annotated[int, typer.Option("--width", help="Channels in and out.")] = 256,
    side: Annotated[int, typer.Option("--side", help="Height and width of the maps.")] = 14,
    json: JsonOption = False,
) -> None:
    """Print what each block costs at one width and size: grouped, depth-wise, residual, dense."""
    from limner.nets.blocks import measure

    rows = measure(width=width, side=side)
    if json:
        output.emit_json(
            {
                "width": width,
                "side": side,
                "blocks": [
                    {
                        "name": row.block.name,
                        "form": row.block.form,
                        "found_in": row.block.found_in,
                        "parameters": row.parameters,
                        "flops": row.flops,
                        "share": row.flops / rows[0].flops,
                    }
                    for row in rows
                ],
            }
        )
        return
    columns = ("block", "parameters", "M FLOPs", "of a convolution", "what it computes", "in")
    cells = [
        (
            row.block.name,
            f"{row.parameters:,}",
            f"{row.flops / 1e6:.2f}",
            f"{row.flops / rows[0].flops:.3f}",
            row.block.form,
            row.block.found_in,
        )
        for row in rows
    ]
    output.print_table(columns, cells, right=columns[1:4])


@app.command()
def gradients(
    photos: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PHOTO...]", help="Photos, 2 to 64. Default: coloured noise."),
    ] = None,
    *,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="How often weights are drawn.")] = 2,
    draw: Annotated[
        str | None, typer.Option("--draw", metavar="OUT.png", help="Draw the norms, save here.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Compare gradients layer by layer, before any training: plain-34, ResNet-34, sigmoid, tanh."""
    from limner.nets.plain import compare

    if draw is not None:
        from limner.cli import writing

        writing.check_writable(draw)
    pictures, labels = _pictures(photos or [])
    found = compare(pictures, labels, seeds=seeds)
    if draw is not None:
        from limner.training.network_plots import plot_gradients

        plot_gradients(draw, found)
        output.note(f"drawn: {draw}")
    if json:
        output.emit_json(
            {
                name: [{"layer": r.layer, "name": r.name, "norm": r.norm} for r in rows]
                for name, rows in found.items()
            }
        )
        return
    columns = ("layer", *found, "where")
    lines = list(zip(*found.values(), strict=True))
    cells = [(row[0].layer, *(f"{r.norm:.2g}" for r in row), row[0].name) for row in lines]
    ends = [f"{rows[0].norm / rows[-1].norm:.2g}" for rows in found.values()]
    output.print_table(columns, [*cells, ("1 / 33", *ends, "first over last")], right=columns[:-1])


@app.command()
def degradation(
    folder: Annotated[
        str | None,
        typer.Argument(
            metavar="[DIR]", help="Pictures, DIR/KIND/x.jpg. Default: scikit-learn's 1,797 digits."
        ),
    ] = None,
    *,
    layers: Annotated[
        str, typer.Option("--layers", metavar="N,N", help="Depths, 6 n + 2 each.")
    ] = "20,56",
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="Passes over the pictures.")] = 14,
    batch: Annotated[int, typer.Option("--batch", min=2, help="Pictures in a batch.")] = 64,
    rate: Annotated[float, typer.Option("--lr", help="Learning rate at first.")] = 0.02,
    side: Annotated[
        int, typer.Option("--side", min=8, help="Side of a folder's pictures, pixels.")
    ] = 32,
    seed: Annotated[int, typer.Option("--seed", help="Of everything.")] = 0,
    draw: Annotated[
        str | None, typer.Option("--draw", metavar="OUT.png", help="Draw the errors, save here.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Train plain and residual networks of several depths; compare their errors, epoch by epoch."""
    from limner.errors import InputError
    from limner.training.degradation import digits, folder_of_kinds, train_depths

    if draw is not None:
        from limner.cli import writing

        writing.check_writable(draw)
    try:
        depths = [int(word) for word in layers.split(",")]
    except ValueError:
        raise InputError(f"--layers wants numbers such as 20,56, got {layers!r}.") from None
    pictures = (
        digits(seed=seed) if folder is None else folder_of_kinds(folder, side=side, seed=seed)
    )

    def tell(name: str, row: dict[str, float]) -> None:
        if int(row["epoch"]) in (1, epochs) or int(row["epoch"]) % 5 == 0:
            output.note(
                f"{name}  epoch {int(row['epoch'])}/{epochs}  training error "
                f"{row['train_error']:.3f}  validation error {row['val_error']:.3f}"
            )

    found = train_depths(
        pictures, layers=depths, epochs=epochs, batch=batch, rate=rate, seed=seed, tell=tell
    )
    if draw is not None:
        from limner.training.network_plots import plot_degradation

        plot_degradation(draw, found)
        output.note(f"drawn: {draw}")
    if json:
        output.emit_json({"pictures": pictures.what, "seed": seed, "networks": found})
        return
    columns = ("network", "training error", "validation error", "seconds")
    cells = [
        (
            name,
            f"{100 * rows[-1]['train_error']:.2f} %",
            f"{100 * rows[-1]['val_error']:.2f} %",
            f"{sum(row['seconds'] for row in rows):.0f}",
        )
        for name, rows in found.items()
    ]
    output.print_table(columns, cells, right=columns[1:])
    output.say(f"{pictures.what}, a quarter held out; errors after {epochs} epochs.")


def _pictures(photos: list[str]) -> tuple[Tensor, Tensor]:
    """Return photos (N, 3, 96, 96), normalised, with labels in turn; noise where none are given."""
    import torch
    from torch.nn import functional

    from limner import images
    from limner.errors import InputError

    if photos and not 2 <= len(photos) <= 64:
        raise InputError(f"2 to 64 photos are needed, got {len(photos)}.")
    if photos:
        rows = [torch.from_numpy(images.read(p)).permute(2, 0, 1)[None].float() for p in photos]
        sized = [
            functional.interpolate(r, size=(_SIDE, _SIDE), mode="bilinear", antialias=True)
            for r in rows
        ]
        pictures = torch.cat(sized) / 255
    else:
        # smooth at several sizes, as photographs are
        generator = torch.Generator().manual_seed(0)
        pictures = torch.zeros(8, 3, _SIDE, _SIDE)
        for side in (3, 6, 12, 24, 48, 96):
            noise = torch.randn(8, 3, side, side, generator=generator)
            pictures += functional.interpolate(noise, size=(_SIDE, _SIDE), mode="bilinear")
    mean, std = pictures.mean(dim=(0, 2, 3)), pictures.std(dim=(0, 2, 3))
    pictures = (pictures - mean[:, None, None]) / std[:, None, None].clamp_min(1e-6)
    return pictures, torch.arange(len(pictures)) % 10
