"""The command: enrol two people, ask who is who, say what was expected, show it."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from limner.cli import output
from limner.cli.options import FindOptions, JsonOption, ModelOptions
from limner.errors import InputError

if TYPE_CHECKING:
    from limner.cli.demo.asking import Row
    from limner.gallery import GalleryInfo
    from limner.types import ImageArray

MIN_STRANGERS = 20
COMMANDS = (
    ("enrol somebody from one photo", 'limner enroll "Ada Lovelace" ada.jpg'),
    ("who is in this photo?", "limner identify party.jpg --draw named.jpg"),
    ("many people at once: a folder with one folder each", "limner gallery import people/"),
)


def next_commands() -> tuple[tuple[str, str], ...]:
    """Return what to type next, with the path of limner where the shell would not find it."""
    program = Path(sys.argv[0])
    if program.name != "limner" or shutil.which("limner") is not None:
        return COMMANDS
    path = os.path.relpath(program)
    shown = str(program) if path.startswith("..") else path
    return tuple((why, command.replace("limner", shown, 1)) for why, command in COMMANDS)


def demo(
    *,
    out: Annotated[
        str, typer.Option("--out", metavar="FOLDER", help="Where the page and pictures go.")
    ] = "limner-demo",
    serve: Annotated[
        bool, typer.Option("--serve", help="Serve the studio on these people; Ctrl-C ends it.")
    ] = False,
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Of the studio; 0 takes a free one.")
    ] = 8000,
    json: JsonOption = False,
) -> None:
    """Enrol two people from one photo each and recognise them among strangers."""
    from limner.cli.demo.asking import ask, ask_group
    from limner.cli.photos import make_analyzer
    from limner.gallery import Gallery
    from limner.gallery.enrolment import enroll_photos
    from limner.studio import pictures

    folder = _prepare(Path(out))
    people = pictures.portraits()
    analyzer = make_analyzer(FindOptions(), ModelOptions())
    (first, photo_1), (second, photo_2) = people.items()
    views = [view for name, photo in people.items() for view in pictures.harder_views(name, photo)]
    strangers = pictures.strangers()
    known = views[: len(views) // 2][:3] + views[len(views) // 2 :][:3]
    group = pictures.group_photo(
        [[known[0], known[4], strangers[0], known[2], known[5]], strangers[1:7], strangers[10:16]]
    )
    with Gallery.open(folder / "demo.limner", create=True) as gallery:
        enroll_photos(gallery, analyzer, first, [photo_1])
        output.say(f"Enrolled {first} from one photo.")
        unmet = pictures.View(f"{second}, not yet enrolled", photo_2, "a stranger")
        before = ask(gallery, analyzer, [unmet])
        output.say(f"Shown {second}, who is not enrolled yet: {before[0].answer}.")
        enroll_photos(gallery, analyzer, second, [photo_2])
        output.say(f"Enrolled {second} from one photo.\n")
        parts = {
            "views": ask(gallery, analyzer, views),
            "strangers": before + ask(gallery, analyzer, strangers),
            "faceless": ask(gallery, analyzer, pictures.faceless()),
        }
        parts["group"], drawn = ask_group(gallery, analyzer, group)
        info = gallery.info()
    _write(folder, people, parts, drawn, info)
    problems = _report(folder, parts, json=json)
    _studio(folder, port, serve=serve, json=json)
    raise typer.Exit(output.NO if problems else output.OK)


def _prepare(folder: Path) -> Path:
    """Make the folder, and remove the gallery of an earlier run."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("demo.limner*"):
            old.unlink()
    except OSError as error:
        raise InputError(f"the folder {folder} cannot be written: {error.strerror}.") from error
    return folder


def _write(
    folder: Path,
    people: dict[str, ImageArray],
    parts: dict[str, list[Row]],
    drawn: ImageArray,
    info: GalleryInfo,
) -> None:
    """Write the annotated group picture and the page."""
    from importlib.metadata import version

    from limner import images
    from limner.cli.demo.page import Card, build_page

    images.write(folder / "group.jpg", drawn)
    tau = info.identify_threshold or 0.0
    seen = parts["group"]
    page = build_page(
        enrolled=[Card(photo, name, "enrolled from this photo") for name, photo in people.items()],
        views=[row.card() for row in parts["views"]],
        strangers=[row.card() for row in parts["strangers"] if row.match is not None],
        faceless=[row.card() for row in parts["faceless"]],
        group=drawn,
        group_note=(
            f"One picture, {sum(row.match is not None for row in seen)} faces. Solid frames are "
            "recognised, dashed ones are not."
        ),
        threshold=tau,
        basis=f"The threshold of {tau:.2f} comes from a calibration ({info.calibration}), made "
        "stricter so that 99 of 100 strangers stay unnamed in a gallery of this size.",
        commands=next_commands(),
        version=version("limner"),
    )
    try:
        (folder / "index.html").write_text(page, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{folder / 'index.html'} cannot be written: {error.strerror}.") from error


def _report(folder: Path, parts: dict[str, list[Row]], *, json: bool) -> list[str]:
    """Print the table, the paths and what to type next; return what was wrong."""
    from limner.cli.demo.asking import NO_FACE, UNCLEAR

    rows = [row for part in parts.values() for row in part]
    wrong = [row for row in rows if row.verdict == "WRONG"]
    # A stranger in whose picture no face was found, or none that can be judged, proves nothing:
    # enough must be found.
    met = [row for row in parts["strangers"] if row.answer not in (NO_FACE, UNCLEAR)]
    problems = [f"{row.photo}: expected {row.expected}, got {row.answer}" for row in wrong]
    if len(met) < MIN_STRANGERS:
        problems.append(f"only {len(met)} strangers' faces were found")
    page, picture = folder / "index.html", folder / "group.jpg"
    if json:
        answers = {name: [row.to_json() for row in part] for name, part in parts.items()}
        shown = {"page": str(page), "picture": str(picture)}
        output.emit_json({"ok": not problems, "problems": problems, **shown, "answers": answers})
    columns = ["photo", "expected", "answer", "distance", "probability", "verdict"]
    output.print_table(columns, [row.cells() for row in rows], right=columns[3:5])
    output.say()
    for name, part in parts.items():
        right = sum(row.verdict == "right" for row in part)
        missed = [
            f", {count} {word}"
            for word in ("not found", "not judged")
            if (count := sum(row.verdict == word for row in part))
        ]
        output.say(f"{name}: {right} of {len(part)} right{''.join(missed)}.")
    for problem in problems:
        output.note(f"wrong: {problem}")
    output.say(f"\nAnnotated picture: {picture}")
    output.say(f"Everything on a page: {page.resolve().as_uri()}\n")
    output.say("Next, on your own photos:")
    commands = next_commands()
    width = max(len(command) for _, command in commands)
    for why, command in commands:
        output.say(f"  {command:<{width}}  # {why}")
    return problems


def _studio(folder: Path, port: int, *, serve: bool, json: bool) -> None:
    """Serve the page on the demo's gallery until Ctrl-C, or say where it would be."""
    from limner.cli.serve import make_settings, run_service

    gallery = folder / "demo.limner"
    if not serve:
        if not json:
            program = next_commands()[0][1].split(" enroll ")[0]
            output.say(f"\nThe studio on these people, at http://127.0.0.1:{port}:")
            output.say(f"  {program} serve --gallery {gallery} --port {port}")
        return
    output.say("\nThe studio on these people, in the browser:")
    settings = make_settings(gallery=gallery, state=folder / "service", port=port)
    run_service(settings, page=True, json=json)
