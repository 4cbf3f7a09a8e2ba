"""``limner people``: who is in the gallery, and by which photos."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from limner.cli import output
from limner.cli.options import GalleryOption, JsonOption, NameArgument

if TYPE_CHECKING:
    from limner.gallery import ReviewedPhoto

app = typer.Typer(add_completion=False)


@app.callback(invoke_without_command=True)
def people(
    context: typer.Context, *, gallery: GalleryOption = None, json: JsonOption = False
) -> None:
    """List the people in the gallery; show or remove the photos of one."""
    from limner.cli.galleries import open_gallery
    from limner.cli.photos import count

    if context.invoked_subcommand is not None:
        context.obj = gallery  # `limner people --gallery G show NAME`
        return
    with open_gallery(gallery) as opened:
        found = opened.gallery.people()
    if json:
        output.emit_json({"people": [person.to_json() for person in found]})
    if found:
        rows = [
            [person.name, person.photos, person.created[:10], person.note.replace("\n", " ")]
            for person in found
        ]
        output.print_table(["name", "photos", "since", "note"], rows, right=["photos"])
    output.say(f"{count(len(found), 'person', 'people')}.")


def _chosen(context: typer.Context, gallery: str | None) -> str | None:
    """Return the gallery that was named, after the command or before it."""
    source = context.get_parameter_source("gallery")
    named_here = source is not None and source.name == "COMMANDLINE"
    return gallery if named_here or context.obj is None else str(context.obj)


@app.command()
def show(
    context: typer.Context,
    name: NameArgument,
    *,
    gallery: GalleryOption = None,
    json: JsonOption = False,
) -> None:
    """List a person's enrolled photos, how good they are, and the odd one out."""
    from limner.cli.galleries import open_gallery
    from limner.cli.photos import count

    with open_gallery(_chosen(context, gallery)) as opened:
        person = opened.gallery.person(name)
        photos = opened.gallery.review(person.name)
    if json:
        plain = [photo.to_json() for photo in photos]
        output.emit_json({"person": person.to_json(), "photos": plain})
    columns = ["id", "photo", "quality", "distance", "remark"]
    output.print_table(
        columns, [_row(photo) for photo in photos], right=[columns[0], *columns[2:4]]
    )
    odd = sum(photo.odd for photo in photos)
    tail = "none is odd" if not odd else f"{odd} far from the others"
    output.say(f"{person.name}: {count(len(photos), 'photo')}, {tail}.")


def _row(photo: ReviewedPhoto) -> list[object]:
    remarks = [photo.reason] if photo.reason is not None else []
    if photo.odd:
        remarks.insert(0, f"odd: further than {photo.threshold:.3f} from all others")
    return [
        photo.id,
        photo.photo,
        None if photo.quality is None else f"{photo.quality:.2f}",
        None if photo.distance is None else f"{photo.distance:.3f}",
        "; ".join(remarks),
    ]


@app.command("remove-photo")
def remove_photo(
    context: typer.Context,
    name: NameArgument,
    photo: Annotated[
        int, typer.Argument(metavar="ID", min=0, help="As `limner people show` lists it.")
    ],
    *,
    gallery: GalleryOption = None,
    json: JsonOption = False,
) -> None:
    """Delete one enrolled photo of a person, who must have others."""
    from limner.cli.galleries import open_gallery
    from limner.cli.photos import count

    with open_gallery(_chosen(context, gallery)) as opened:
        person = opened.gallery.person(name)
        left = opened.gallery.remove_photo(person.id, photo)
    if json:
        output.emit_json({"person": person.name, "removed": photo, "photos": left})
    output.say(f"Photo {photo} is removed; {person.name} has {count(left, 'photo')} left.")
