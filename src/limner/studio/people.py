"""Changes to the gallery that the page makes: enrol, rename, forget; and the list of people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from limner.gallery import PhotoRef
from limner.gallery.names import normalise_name
from limner.gallery.together import refuse_poor
from limner.service.keys import LOCAL
from limner.studio import markup
from limner.studio.desk import Desk, SeenFace, SeenPhoto

if TYPE_CHECKING:
    from limner.gallery import Person

_SHOWN = 200
_PICTURED = 60


def enrol(desk: Desk, name: str, photo: SeenPhoto, face: SeenFace, request: Any) -> str:
    """Enrol one face under a name; return the notice.

    Raises:
        InputError: If the name cannot be stored, or the face is too poor to be recognised by.
        GalleryError: If the gallery cannot be written.
    """
    engine, key = desk.engine, desk.who(request)
    clean = normalise_name(name)
    refuse_poor([face.face], photo.name)
    if key is not LOCAL and clean not in engine.gallery:
        engine.keys.check_room(key, engine.settings.max_people)
    ref = PhotoRef(photo.name, photo.digest, face.face.box_xyxy, face.face.score)
    kept = face.surroundings if engine.settings.keep_chips else None
    done = engine.gallery.enroll(clean, face.embedding, photo=ref, chips=[kept])
    number = engine.gallery.person(done.person).id
    if done.created:
        engine.note_person(number, key)
    desk.note(request, "enrol", person=number, added=done.added)
    if not done.added:
        return markup.notice(f"{done.person} is enrolled from this photo already.")
    photos = "1 photo" if done.total == 1 else f"{done.total} photos"
    title = f"{done.person} is enrolled from {photos}."
    said = " ".join(done.warnings)
    return markup.notice(title, said, tone="plain" if said else "yes")


def change(desk: Desk, wanted: dict[str, str], request: Any) -> str:
    """Rename or forget a person; return the notice.

    Args:
        desk: The desk.
        wanted: `do` is ``rename`` or ``forget``; `person` is an id; `name` the new name.
        request: Who asks.

    Raises:
        UnknownNameError: If the person is gone.
        NameTakenError: If somebody else has the new name.
    """
    gallery = desk.engine.gallery
    person = gallery.person(int(wanted["person"]))
    if wanted["do"] == "rename":
        name = gallery.rename(person.id, wanted["name"])
        desk.note(request, "rename", person=person.id)
        return markup.notice(f"{person.name} is called {name} now.", tone="yes")
    count = gallery.forget(person.id)
    desk.engine.drop_person(person.id)
    desk.note(request, "forget", person=person.id)
    what = "embedding is" if count == 1 else "embeddings are"
    return markup.notice(
        f"{person.name} is forgotten.", f"{count} {what} deleted from the file and the index."
    )


def listing(desk: Desk, said: str = "") -> str:
    """Return the list of people with counts, and what can be done about each."""
    people = desk.engine.gallery.people()
    if not people:
        more = "Write a name under a face and press Enrol: one photo is enough."
        if not desk.can_enrol:
            more = "This public page keeps nobody."
        return f"{said}<h2>People</h2>{markup.notice('Nobody is enrolled yet.', more)}"
    faces = sum(person.photos for person in people)
    rows = "".join(_row(desk, person, n < _PICTURED) for n, person in enumerate(people[:_SHOWN]))
    rest = len(people) - _SHOWN
    more = f'<p class="l-soft">and {rest:,} more.</p>' if rest > 0 else ""
    count = f'<span class="l-soft">{len(people):,} · {_photos(faces)}</span>'
    return f'{said}<h2>People {count}</h2><ul class="l-people">{rows}</ul>{more}'


def _photos(count: int) -> str:
    return "1 photo" if count == 1 else f"{count:,} photos"


def _row(desk: Desk, person: Person, pictured: bool) -> str:
    name = markup.esc(person.name)
    uri = desk.picture_of(person.name) if pictured else None
    initial = markup.esc(person.name[:1].upper())
    face = f'<img src="{uri}" alt="">' if uri else f'<i aria-hidden="true">{initial}</i>'
    head = f'{face}<span class="l-name">{name}</span>'
    head += f'<span class="l-soft">{_photos(person.photos)}</span>'
    if not desk.can_enrol:
        return f'<li class="l-person">{head}</li>'
    return (
        f'<li class="l-person">{head}<details><summary aria-label="Change {name}">Change</summary>'
        f'<form data-do="rename" data-person="{person.id}"><label>Name '
        f'<input name="name" value="{name}" required maxlength="200" autocomplete="off"></label>'
        f'<button class="l-button">Rename</button></form>'
        f'<p class="l-soft">Forgetting deletes the name and every embedding, for good.</p>'
        f'<button class="l-button l-danger" data-do="forget" data-person="{person.id}">'
        f"Forget {name}</button></details></li>"
    )
