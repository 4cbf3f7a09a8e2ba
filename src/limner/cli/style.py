"""``limner style``: paint a picture in the manner of others."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from limner.cli import output, overwriting, style_fast
from limner.cli.options import JsonOption, grouped
from limner.cli.style_fast import FastLook
from limner.cli.style_options import LookOptions, RunOptions
from limner.cli.style_preview import previewed
from limner.errors import InputError
from limner.types import FloatArray

if TYPE_CHECKING:
    from limner.style import Step, StyleOptions, StyleResult


@grouped
def style(
    pictures: Annotated[
        list[str] | None,
        typer.Argument(metavar="CONTENT STYLE...", help="The content, then one style or more."),
    ] = None,
    *,
    out: Annotated[
        str | None,
        typer.Option("--out", "-o", metavar="OUT", help="PNG, JPEG, WebP or TIFF file to write."),
    ] = None,
    look: LookOptions,
    fast: FastLook,
    run: RunOptions,
    bits: Annotated[int, typer.Option("--bits", help="8, or 16 for PNG and TIFF.")] = 8,
    quality: Annotated[int, typer.Option("--quality", help="Of JPEG and WebP, 1 to 100.")] = 95,
    again: Annotated[
        str | None,
        typer.Option("--again", metavar="PICTURE", help="Repeat the run that painted PICTURE."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Paint the content in the manner of one or several styles."""
    if again is not None:
        if fast != FastLook():
            raise InputError("--again repeats a run as it was: give no look with it.")
        _repeat(again, out, look, run, pictures, bits, quality)
        return
    if pictures is None or len(pictures) < 2:
        raise InputError("Give a content picture and at least one style: CONTENT STYLE... -o OUT.")
    out = out or _named_after(pictures)
    if look.preset == "fast":
        look, fast = replace(look, preset="default"), replace(fast, fast=True)
    if fast.fast:
        _paint_fast(pictures, out, look, fast, run, bits, quality)
        return
    if fast != FastLook():
        raise InputError("--steady is for --fast.")
    _check_still(pictures[0])
    options, start = _options(look, run)
    job = _Job(pictures, start, _weights(look.style_weights), look.mask, look.colours_of_mask)
    _paint(job, options, out, run, bits, quality)


def _named_after(pictures: list[str]) -> str:
    """Return where a picture goes if nobody says: `a-in-the-style-of-b.png`, here."""
    from limner.style import video_files

    content, style = Path(pictures[0]), Path(pictures[1])
    moves = video_files.is_moving(content)
    suffix = content.suffix if moves else "" if content.is_dir() else ".png"
    return f"{content.stem}-in-the-style-of-{style.stem.replace(':', '-')}{suffix}"


def _check_still(content: str) -> None:
    """Refuse what has more than one picture: that is for `--fast`."""
    from limner.style import video_files

    if Path(content).is_dir() or video_files.is_moving(content):
        kind = "a folder" if Path(content).is_dir() else "a moving picture"
        raise InputError(
            f"{content} is {kind}, and the optimiser paints one picture at a time. Add --fast to "
            "paint all of it, or give one photo or frame."
        )


def _paint_fast(
    pictures: list[str],
    out: str,
    look: LookOptions,
    fast: FastLook,
    run: RunOptions,
    bits: int,
    quality: int,
) -> None:
    """Hand over to the feed-forward networks; options that they do not have are refused."""
    taken = replace(look, strength=None, size=None, style_weights=None, colour=None)
    taken = replace(taken, mask=None, mask_colours=None)
    if taken != LookOptions() or replace(run, device="cpu") != RunOptions(device="cpu"):
        raise InputError(
            "--fast takes --strength, --size, --style-weights, --colour, --mask, --mask-colours "
            "and --steady; the other options are for the optimiser."
        )
    if run.device not in ("auto", "cpu"):
        raise InputError(f"--fast runs on the CPU, got --device {run.device}.")
    style_fast.fast(
        pictures,
        out,
        options=style_fast.options_of(
            strength=look.strength,
            size_px=look.size,
            colour=look.colour,
            mask=look.mask,
            mask_colours=look.colours_of_mask,
        ),
        shares=_weights(look.style_weights),
        steady=fast.steady,
        bits=_bits(bits),
        quality=quality,
    )


def _options(look: LookOptions, run: RunOptions) -> tuple[StyleOptions, str | None]:
    """Return the preset with the changes of the command line, and the start picture."""
    from limner.style import preset
    from limner.style.taps import parse_weighted

    changes: dict[str, Any] = {
        name: getattr(group, name)
        for group, names in (
            (look, "size strength style_scale alpha beta smoothness seed"),
            (look, "colour underpainting brush guidance"),
            (run, "encoder pooling border optimiser history line_search precision tile"),
            (run, "report_every skim"),
        )
        for name in names.split()
    }
    changes |= {
        "content_kind": look.content_cost,
        "style_kind": look.style_cost,
        "noise": look.noise_ratio,
    }
    if look.layers is not None:
        changes["style_layers"] = parse_weighted(look.layers)
    if look.content_layers is not None:
        changes["content_layers"] = parse_weighted(look.content_layers)
    start = None
    if look.start is not None:
        known = look.start in ("strokes", "content", "noise", "fast")
        changes["start"] = look.start if known else "picture"
        start = None if known else look.start
    options = preset(look.preset, **{k: v for k, v in changes.items() if v is not None})
    if run.optimiser is not None and look.preset == "notes" and run.optimiser == "adam":
        options = replace(options, rate=0.02)
    return (options if run.steps is None else options.with_calls(run.steps)), start


def _weights(text: str | None) -> list[float] | None:
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise InputError(f"--style-weights must be numbers and commas, got {text!r}.") from error


def _repeat(
    again: str,
    out: str | None,
    look: LookOptions,
    run: RunOptions,
    pictures: list[str] | None,
    bits: int,
    quality: int,
) -> None:
    """Repeat a run from its provenance, and tell whether the picture is the same."""
    from limner.style import StyleOptions, provenance

    if look != LookOptions() or pictures:
        raise InputError("--again repeats a run as it was: give no pictures and no look with it.")
    document = provenance.read(again)
    old = Path(again)
    target = out or str(old.with_name(f"{old.stem}-again{old.suffix}"))
    overwriting.refuse(target, [str(path) for path in provenance.inputs_of(document)])
    if document.get("mode") == "fast":
        style_fast.again(document, target, bits=_bits(bits), quality=quality)
        return
    options = StyleOptions.from_json(document["options"])
    used = document["encoder"]
    options = replace(options, encoder=str(used["name"]), precision=used["precision"])
    paths = [str(path) for path in provenance.inputs_of(document)]
    colours = document.get("mask_colours")
    mask = paths.pop() if colours is not None else None
    start = paths.pop() if options.start == "picture" else None
    weights = document["style_weights"] if mask is None else None
    _paint(
        _Job(paths, start, weights, mask, colours), options, target, run, bits, quality, document
    )


@dataclass(frozen=True)
class _Job:
    """What a picture is made of."""

    pictures: list[str]
    start: str | None
    weights: list[float] | None
    mask: str | None
    mask_colours: Sequence[str] | None

    def preview(self, out: str, options: StyleOptions) -> AbstractContextManager[None]:
        return previewed(
            self.pictures,
            out,
            options=options,
            weights=self.weights,
            mask=self.mask,
            mask_colours=self.mask_colours,
        )


def _paint(
    job: _Job,
    options: StyleOptions,
    out: str,
    run: RunOptions,
    bits: int,
    quality: int,
    wanted: dict[str, Any] | None = None,
) -> None:
    """Paint, save, and report."""
    from limner.style import saving, stylize

    saving.check_target(out, bits=bits)
    kept = saving.keepsakes(job.pictures[0])
    checkpoint = Path(f"{out}.checkpoint")
    quick = run.preview and not run.resume and wanted is None
    shown = job.preview(out, options) if quick else contextlib.nullcontext()
    with shown, output.fetch_progress() as progress, _progress(options) as (on_start, on_step):
        result = stylize(
            job.pictures[0],
            job.pictures[1:],
            options=options,
            style_weights=job.weights,
            start=job.start,
            mask=job.mask,
            mask_colours=job.mask_colours,
            device=run.device,
            progress=progress,
            on_start=on_start,
            on_step=on_step,
            checkpoint=checkpoint,
            resume=run.resume,
        )
    for remark in result.provenance["remarks"]:
        output.note(remark)
    place = saving.save_somewhere(
        out, result.pixels, result.provenance, kept=kept, bits=_bits(bits), quality=quality
    )
    seen = None
    if options.preset == "portrait" and result.finished:
        from limner.cli.style_likeness import likeness

        seen = {"likeness": likeness(job.pictures[0], result.image)}
    _report(result, place, out, checkpoint, wanted, seen)


def _bits(bits: int) -> Literal[8, 16]:
    return 16 if bits == 16 else 8


def _report(
    result: StyleResult,
    place: Path,
    out: str,
    checkpoint: Path,
    wanted: dict[str, Any] | None,
    seen: dict[str, Any] | None,
) -> None:
    if place != Path(out):
        output.warn(f"{out} could not be written; the picture is in {place}.")
    document: dict[str, Any] = {
        "picture": str(place),
        "size_hw": list(result.image.shape[:2]),
        "seconds": round(result.seconds, 2),
        "finished": result.finished,
        "provenance": result.provenance,
        **(seen or {}),
    }
    same = None
    if wanted is not None:
        same = wanted.get("pixels_sha256") == result.provenance["pixels_sha256"]
        document["same"] = same
    if output.wants_json():
        output.emit_json(document)
    height, width = result.image.shape[:2]
    output.say(f"{place}: {width} x {height} px, {result.seconds:.1f} s.")
    if same is not None:
        output.say(
            "The picture is the same, bit for bit."
            if same
            else "The picture differs from the first one: see `versions` and `threads` in both."
        )
    if not result.finished:
        output.note(
            f"interrupted: this is the best picture so far. --resume goes on from {checkpoint}."
        )
        raise typer.Exit(output.INTERRUPTED)


@contextlib.contextmanager
def _progress(
    options: StyleOptions,
) -> Iterator[tuple[Callable[[FloatArray], None], Callable[[Step], None]]]:
    """Yield what is called for each size of the strokes and after each closure call.

    They move the bar; the second says the costs.
    """
    from limner.style.strokes import SIZES

    began = time.perf_counter()
    coats = SIZES if options.start == "strokes" else 0
    with output.progress_bar("painting", coats + options.calls) as advance:

        def on_start(picture: FloatArray) -> None:
            nonlocal coats
            if coats:
                coats -= 1
                advance()

        def on_step(step: Step) -> None:
            nonlocal coats
            for _ in range(coats + 1):  # a small picture was laid in at fewer sizes
                advance()
            coats = 0
            if options.report_every and step.call % options.report_every == 0:
                output.note(_costs(step, options, time.perf_counter() - began))

        yield on_start, on_step


def _costs(step: Step, options: StyleOptions, seconds: float) -> str:
    """Return the line on a closure call's costs; the parts with their weights add up."""
    terms = step.terms
    content, style = options.alpha * terms.content, options.style_weight * terms.style
    if options.preset == "notes":  # as the notes print it
        return (
            f"Epoch = {step.call}, Content Loss = {content}, Style Loss = {style}, "
            f"Total Loss = {terms.total}"
        )
    return (
        f"{step.call}/{step.calls}  total {terms.total:.6g}  content {content:.6g}  "
        f"style {style:.6g}  {seconds:.0f} s"
    )
