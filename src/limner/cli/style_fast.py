"""What ``limner style --fast`` does: one photo, a folder of photos, or a moving picture."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from limner.cli import output
from limner.errors import InputError, LimnerError

if TYPE_CHECKING:
    from limner.style.colour import Colour
    from limner.style.fast_paint import FastOptions, FastPainter


def _option(*names: str, help: str, metavar: str | None = None) -> Any:
    return typer.Option(*names, help=help, metavar=metavar, rich_help_panel="In one pass")


def fast(
    pictures: Sequence[str],
    out: str,
    *,
    options: FastOptions,
    shares: Sequence[float] | None = None,
    steady: float | None = None,
    bits: Literal[8, 16] = 8,
    quality: int = 95,
) -> None:
    """Paint with a feed-forward network.

    Args:
        pictures: The content, then the styles. A content that is a folder is painted photo by
            photo into the folder `out`; a video or an animation frame by frame.
        out: The file or folder to write.
        options: The look.
        shares: How much of each style.
        steady: How much of a previous frame's result is kept where it can be followed; for a
            folder it says that its photos are the frames of one scene.
        bits: 8, or 16 for PNG and TIFF.
        quality: Of JPEG and WebP.
    """
    from limner.style import saving, video_files
    from limner.style.fast_paint import FastPainter

    content = pictures[0]
    moving = video_files.is_moving(content)
    folder = Path(content).is_dir()
    if not moving and not folder:
        if steady is not None:
            raise InputError("--steady is for videos, animations and folders of frames.")
        saving.check_target(out, bits=bits)
    with output.fetch_progress() as progress:
        painter = FastPainter(pictures[1:], shares=shares, options=options, progress=progress)
    if moving or (folder and steady is not None):
        _clip(content, painter, out, steady)
    elif folder:
        _folder(content, painter, out, bits, quality)
    else:
        document = _photo(content, painter, Path(out), bits, quality)
        if output.wants_json():
            output.emit_json(document)


def again(
    document: dict[str, Any], out: str, *, bits: Literal[8, 16] = 8, quality: int = 95
) -> None:
    """Repeat a fast picture from its provenance, and say whether it is the same.

    Args:
        document: The provenance.
        out: The file to write.
        bits: 8, or 16 for PNG and TIFF.
        quality: Of JPEG and WebP.
    """
    from limner.style import saving
    from limner.style.fast_paint import FastPainter, recorded

    content, styles, options = recorded(document)
    saving.check_target(out, bits=bits)
    with output.fetch_progress() as progress:
        painter = FastPainter(
            styles, shares=document["style_weights"], options=options, progress=progress
        )
    done = _photo(str(content), painter, Path(out), bits, quality)
    same = done["provenance"]["pixels_sha256"] == document.get("pixels_sha256")
    if output.wants_json():
        output.emit_json({**done, "same": same})
    output.say(
        "The picture is the same, bit for bit."
        if same
        else "The picture differs from the first one: see `versions` in both."
    )


@dataclass(frozen=True)
class FastLook:
    """Options of `limner style` that belong to `--fast`."""

    fast: Annotated[
        bool,
        _option(
            "--fast",
            help="Paint in a second, in one pass. Styles: paintings, built-in names or an .onnx.",
        ),
    ] = False
    steady: Annotated[
        float | None,
        _option("--steady", help="Of videos: 0 (frame by frame) to 0.99; 0.75 if not given."),
    ] = None


def options_of(
    *,
    strength: float | None,
    size_px: int | None,
    colour: Colour | None,
    mask: str | None,
    mask_colours: Sequence[str] | None,
) -> FastOptions:
    """Return what the painter takes; what was not asked for is left as it is."""
    from limner.style.fast_paint import FastOptions

    return FastOptions(
        strength=1.0 if strength is None else strength,
        colour=colour or "style",
        size_px=size_px,
        mask=mask,
        mask_colours=tuple(mask_colours or ()),
    )


def _photo(
    content: str, painter: FastPainter, out: Path, bits: Literal[8, 16], quality: int
) -> dict[str, Any]:
    from limner.images import read_float
    from limner.style import saving

    began = time.perf_counter()
    kept = saving.keepsakes(content)
    result = painter(read_float(content))
    seconds = time.perf_counter() - began
    provenance = painter.describe(content, result, seconds)
    place = saving.save_somewhere(out, result, provenance, kept=kept, bits=bits, quality=quality)
    if place != out:
        output.warn(f"{out} could not be written; the picture is in {place}.")
    height, width = result.shape[:2]
    output.say(f"{place}: {width} x {height} px, {seconds:.1f} s.")
    return {
        "picture": str(place),
        "size_hw": [height, width],
        "seconds": round(seconds, 3),
        "provenance": provenance,
    }


def _folder(
    content: str, painter: FastPainter, out: str, bits: Literal[8, 16], quality: int
) -> None:
    from limner.cli.photos import report_folder

    photos = report_folder(content).photos
    if not photos:
        raise InputError(f"{content} holds no photos.")
    suffix = {".jpg": ".jpg", ".jpeg": ".jpg", ".webp": ".webp", ".tif": ".tif", ".tiff": ".tif"}
    documents: list[dict[str, Any]] = []
    failed: list[dict[str, str]] = []
    taken: set[Path] = set()
    with output.progress_bar("painting", len(photos)) as advance:
        for photo in photos:
            kind = ".png" if bits == 16 else suffix.get(photo.suffix.lower(), ".png")
            target = Path(out) / photo.relative_to(content).with_suffix(kind)
            if target in taken:  # a.png and a.gif
                target = target.with_name(f"{photo.name}{kind}")
            taken.add(target)
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                documents.append(_photo(str(photo), painter, target, bits, quality))
            except LimnerError as error:
                output.warn(output.one_line(error))
                failed.append({"photo": str(photo), "error": output.one_line(error)})
            advance()
    if output.wants_json():
        output.emit_json({"pictures": documents, "failed": failed})
    output.say(f"{len(documents)} of {len(photos)} photos painted into {out}.")
    if failed and not documents:  # as every command: an error only if nothing could be read
        raise typer.Exit(output.ERROR)


def _clip(content: str, painter: FastPainter, out: str, steady: float | None) -> None:
    import numpy as np

    from limner.style import video, video_files
    from limner.style.fast_paint import resized

    began = time.perf_counter()
    clip = video_files.open_clip(content)
    size = painter.options.size_px
    frames = (
        resized(np.asarray(f / np.float32(255), np.float32), size)
        for f in video_files.frames_of(clip)
    )
    figures: list[tuple[float, float]] = []
    amount = video.STEADY if steady is None else steady
    with (
        output.progress_bar("painting", clip.count) as advance,
        video_files.Writer(out, rate=clip.rate) as writer,
    ):
        for frame in video.stylize_frames(frames, painter, steady=amount):
            writer.add(frame.image)
            if frame.flicker is not None and frame.alone_flicker is not None:
                figures.append((frame.flicker, frame.alone_flicker))
            advance()
        count = writer.count
    seconds = time.perf_counter() - began
    mean = [float(v) for v in np.mean(figures, axis=0)] if figures else [0.0, 0.0]
    if output.wants_json():
        output.emit_json(
            {
                "clip": out,
                "frames": count,
                "seconds": round(seconds, 2),
                "steady": amount,
                "flicker": round(mean[0], 5),
                "flicker_frame_by_frame": round(mean[1], 5),
            }
        )
    output.say(f"{out}: {count} frames, {seconds:.1f} s.")
    output.say(f"Flicker {mean[0]:.4f}; frame by frame it would be {mean[1]:.4f}.")
