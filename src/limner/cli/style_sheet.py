"""``limner style-sheet``: one picture painted several times, with one choice changed."""

from __future__ import annotations

import json as json_text
import time
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from limner.cli import output
from limner.cli.options import JsonOption
from limner.errors import InputError

_SIZE, _LARGEST = 320, 1024


def style_sheet(
    kind: Annotated[
        Literal["depth", "layers", "beta", "sizes"],
        typer.Argument(metavar="KIND", help="depth, layers, beta or sizes."),
    ],
    content: Annotated[str, typer.Argument(metavar="CONTENT", help="The content.")],
    style: Annotated[str, typer.Argument(metavar="STYLE", help="The painting.")],
    *,
    out: Annotated[
        str,
        typer.Option("--out", "-o", metavar="OUT", help="PNG, JPEG, WebP or TIFF file to write."),
    ],
    preset: Annotated[
        str | None,
        typer.Option("--preset", help="As for style; classic for depth and layers if not given."),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option("--size", metavar="PX", help="Of each picture (320); of sizes the largest."),
    ] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", help="Closure calls for each picture.")
    ] = None,
    start: Annotated[
        Literal["strokes", "content", "noise", "fast"] | None,
        typer.Option("--start", help="What each picture begins with."),
    ] = None,
    encoder: Annotated[
        str | None, typer.Option("--encoder", help="auto, vgg19, vgg16, vgg16_oxford or vgg16_hed.")
    ] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda, ...")] = "auto",
    json: JsonOption = False,
) -> None:
    """Show what the content's depth, the style's layers, beta or the size do, in one sheet."""
    from limner import images
    from limner.style import preset as preset_of
    from limner.style import saving, sheets
    from limner.style.checkpoint import write_whole

    if encoder == "alexnet":
        raise InputError("A sheet needs five blocks of layers: vgg19 or a vgg16.")
    saving.check_target(out)
    changes: dict[str, Any] = {"start": start, "encoder": encoder}
    changes["size"] = size or (_LARGEST if kind == "sizes" else _SIZE)
    preset = preset or sheets.PRESETS[kind]
    options = preset_of(preset, **{k: v for k, v in changes.items() if v is not None})
    if steps is not None:
        options = options.with_calls(steps)
    began = time.perf_counter()
    count = options.calls * len(sheets.variants(kind, options))
    with output.fetch_progress() as progress, output.progress_bar("painting", count) as advance:
        sheet = sheets.style_sheet(
            kind,
            content,
            style,
            options=options,
            device=device,
            progress=progress,
            on_step=lambda step: advance(),
        )
    document = sheet.to_json()
    images.write(out, sheet.image)
    write_whole(Path(f"{out}.json"), json_text.dumps(document, indent=2).encode())
    for remark in sheet.tiles[0].result.provenance["remarks"]:
        output.note(remark)
    if output.wants_json():
        output.emit_json({"sheet": out, **document})
    output.say(f"{out}: {len(sheet.tiles)} pictures, {time.perf_counter() - began:.0f} s.")
