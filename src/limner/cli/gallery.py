"""``limner gallery``: move, calibrate and look after a whole gallery."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from limner.cli import output
from limner.cli.options import (
    FindOptions,
    ForceOption,
    GalleryOption,
    JsonOption,
    ModelOptions,
    grouped,
)
from limner.errors import InputError

if TYPE_CHECKING:
    from limner.gallery import ImportReport, PhotoProblem
    from limner.gallery.enrolment import PhotoEvent

app = typer.Typer(
    help="Import, export, calibrate and re-embed a gallery.",
    no_args_is_help=True,
    add_completion=False,
)

_SHOWN = 20


@app.command("import")
@grouped
def import_(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A folder with a folder of photos for each person, or an exported file.",
        ),
    ],
    *,
    largest: Annotated[
        bool, typer.Option("--largest", help="Of several faces in a photo, take the largest.")
    ] = False,
    keep_chips: Annotated[
        bool,
        typer.Option(
            "--keep-chips", help="Keep the face crops, so that another embedder can read them."
        ),
    ] = False,
    force: ForceOption = False,
    on_conflict: Annotated[
        Literal["refuse", "merge", "skip"],
        typer.Option(
            "--on-conflict", help="Exported file: what to do with people who are there already."
        ),
    ] = "refuse",
    gallery: GalleryOption = None,
    model: ModelOptions,
    find: FindOptions,
    json: JsonOption = False,
) -> None:
    """Enrol a folder of people, or add an exported file.

    A folder can be interrupted and imported again: enrolled photos are recognised.
    """
    from limner.cli.galleries import open_gallery
    from limner.cli.photos import count, left_out, tell_left_out
    from limner.gallery.enrolment import import_folder
    from limner.gallery.people_folder import read_people_folder

    if not os.path.isdir(source):
        _import_file(source, gallery, on_conflict, json)
        return
    tell_left_out(source, unreadable=False)
    listing = read_people_folder(source)
    total = sum(map(len, listing.people.values()))
    with open_gallery(gallery, create=True) as opened:
        analyzer = opened.analyzer(find, model)
        with output.progress_bar("photos", total) as step:

            def progress(event: PhotoEvent) -> None:
                step()

            report = import_folder(
                opened.gallery,
                analyzer,
                source,
                pick="largest" if largest else "one",
                keep_chips=keep_chips,
                force=force,
                progress=progress,
            )
        opened.gallery.prepare()
    _say_left_out(report.failed)
    for sentence in report.warnings[:_SHOWN]:
        output.warn(sentence)
    if len(report.warnings) > _SHOWN:
        output.warn(f"{len(report.warnings) - _SHOWN} more warnings (--json lists them all)")
    _refuse_if_nothing_came(report)
    if json:
        plain = {"source": source, **report.to_json(), "left_out": left_out([source])}
        output.emit_json(plain)
    output.say(
        f"{count(report.added, 'face')} of {count(report.people, 'person', 'people')} enrolled, "
        f"{count(report.already, 'photo')} enrolled before, {len(report.failed)} left out."
    )


def _refuse_if_nothing_came(report: ImportReport) -> None:
    if report.added or report.already or not report.failed:
        return
    raise InputError(
        f"none of the {report.photos} photos could be enrolled; the first: "
        f"{report.failed[0].reason}"
    )


def _import_file(
    source: str, location: str | None, on_conflict: Literal["refuse", "merge", "skip"], json: bool
) -> None:
    from limner.cli.galleries import open_gallery
    from limner.cli.photos import count

    if not os.path.exists(source):
        raise InputError(f"{source} does not exist; give a folder of people or an exported file.")
    with open_gallery(location, create=True) as opened:
        report = opened.gallery.import_file(source, on_conflict=on_conflict)
        opened.gallery.prepare()
    if json:
        output.emit_json({"source": source, **report.to_json()})
    output.say(
        f"{count(report.added, 'face')} of {count(report.people, 'person', 'people')} added, "
        f"{report.skipped} skipped."
    )


def _say_left_out(problems: Sequence[PhotoProblem]) -> None:
    for problem in problems[:_SHOWN]:
        named = problem.photo in problem.reason
        output.warn(
            f"left out: {problem.reason if named else f'{problem.photo}: {problem.reason}'}"
        )
    if len(problems) > _SHOWN:
        output.warn(f"left out: {len(problems) - _SHOWN} more (--json lists them all)")


@app.command()
def export(
    file: Annotated[str, typer.Argument(metavar="FILE", help="The portable file to write.")],
    *,
    chips: Annotated[
        bool, typer.Option("--chips/--no-chips", help="Take kept face crops along.")
    ] = True,
    gallery: GalleryOption = None,
    json: JsonOption = False,
) -> None:
    """Write everything into one portable file."""
    from limner.cli.galleries import open_gallery
    from limner.cli.photos import count

    with open_gallery(gallery) as opened:
        report = opened.gallery.export(file, chips=chips)
    if json:
        output.emit_json(report.to_json())
    output.say(
        f"{count(report.people, 'person', 'people')}, {count(report.faces, 'face')}, "
        f"{count(report.chips, 'chip')} in {file} ({_size(report.bytes)}). "
        "It holds biometric data: keep it as safe as the photos."
    )


@app.command()
@grouped
def calibrate(
    folder: Annotated[
        str | None,
        typer.Argument(
            metavar="[FOLDER]",
            help="A folder of photos for each person. Default: the photos enrolled here.",
        ),
    ] = None,
    *,
    rate: Annotated[
        float,
        typer.Option(
            "--rate", metavar="R", help="False-match rate: wrong matches per comparison, at most."
        ),
    ] = 1e-3,
    reset: Annotated[
        bool, typer.Option("--reset", help="Go back to the thresholds that limner ships.")
    ] = False,
    gallery: GalleryOption = None,
    model: ModelOptions,
    find: FindOptions,
    json: JsonOption = False,
) -> None:
    """Fit this gallery's own threshold to photos whose people are known."""
    from limner.cli.galleries import open_gallery
    from limner.cli.photos import tell_left_out
    from limner.gallery.calibrate import calibrate_folder

    if folder is not None:
        tell_left_out(folder, unreadable=False)
    with open_gallery(gallery, create=folder is not None) as opened:
        if reset:
            opened.gallery.reset_calibration()
            if json:
                output.emit_json({"calibration": opened.gallery.info().calibration})
            output.say(f"thresholds: {opened.gallery.info().calibration or 'none'}.")
            return
        if folder is None:
            report = opened.gallery.calibrate(false_match_rate=rate)
        else:
            analyzer = opened.analyzer(find, model)
            with output.progress_bar("photos", None) as step:
                report = calibrate_folder(
                    opened.gallery,
                    analyzer,
                    folder,
                    false_match_rate=rate,
                    progress=lambda done, total: step(),
                )
    _say_left_out(report.left_out)
    if json:
        output.emit_json(report.to_json())
    rows = [
        ("threshold", f"{report.threshold:.4f}"),
        ("false matches", f"{report.false_matches:,} of {report.different_pairs:,} pairs"),
        ("false-match rate, 95 % bound", f"{report.false_match_upper:.2g}"),
        ("same person found", f"{100 * report.same_found:.1f} % of {report.same_pairs:,} pairs"),
        ("rests on", f"{report.photos:,} photos of {report.people:,} people"),
    ]
    output.print_table(["figure", "value"], rows)


@app.command("re-embed")
@grouped
def re_embed(
    *,
    photos: Annotated[
        str | None,
        typer.Option(
            "--photos", metavar="DIR", help="Folder of the enrolled photos. Default: kept chips."
        ),
    ] = None,
    drop_missing: Annotated[
        bool,
        typer.Option("--drop-missing", help="Leave out faces whose photo and chip are gone."),
    ] = False,
    mirror: Annotated[
        bool,
        typer.Option(
            "--mirror",
            help="Average mirrored chips in: more accurate, twice the work. duo always does.",
        ),
    ] = False,
    gallery: GalleryOption = None,
    model: ModelOptions,
    find: FindOptions,
    json: JsonOption = False,
) -> None:
    """Make every embedding anew with another embedder; all of them or none."""
    from limner.cli.galleries import open_gallery
    from limner.cli.photos import count, make_analyzer, tell_left_out
    from limner.gallery.reembed import re_embed as make_anew

    if model.embedder is None:
        raise InputError("say which embedder the gallery shall have: --embedder NAME.")
    if photos is not None:
        tell_left_out(photos)
    with open_gallery(gallery) as opened:
        analyzer = make_analyzer(find, model, mirror=mirror)
        with output.progress_bar("faces", opened.gallery.info().faces) as step:
            report = make_anew(
                opened.gallery,
                analyzer,
                photos=photos,
                drop_missing=drop_missing,
                progress=lambda done, total: step(),
            )
        opened.gallery.prepare()
    _say_left_out(report.dropped)
    if json:
        output.emit_json(report.to_json())
    output.say(
        f"{count(report.from_photos + report.from_chips, 'face')} made anew with "
        f"{report.embedder_id}: {report.from_photos} from photos, {report.from_chips} from chips, "
        f"{len(report.dropped)} left out."
    )


@app.command()
def info(*, gallery: GalleryOption = None, json: JsonOption = False) -> None:
    """Tell what a gallery holds, its embedder, and where its thresholds come from."""
    from limner.cli.galleries import open_gallery

    with open_gallery(gallery) as opened:
        found = opened.gallery.info()
    if json:
        output.emit_json(found.to_json())
    rows: list[tuple[str, Any]] = [
        ("gallery", found.location),
        ("size", _size(found.bytes) + (", read-only" if found.read_only else "")),
        ("people", f"{found.people:,}"),
        ("faces", f"{found.faces:,}"),
        ("chips kept", f"{found.chips:,}"),
        ("embedder", found.embedder_id or "none yet"),
        ("search", found.index),
        ("thresholds", found.calibration or "none"),
        ("verify at", _tau(found.verify_threshold)),
        ("identify at", _tau(found.identify_threshold)),
        ("created", found.created),
    ]
    output.print_table(["what", "value"], rows)


def _tau(threshold: float | None) -> str:
    return "needs --threshold" if threshold is None else f"distance <= {threshold:.3f}"


def _size(count: int) -> str:
    if count < 1_000_000:
        return f"{count / 1000:.0f} kB"
    return f"{count / 1e6:.1f} MB" if count < 1e9 else f"{count / 1e9:.2f} GB"
