"""The tab Recognise: who is in these photos?"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import gradio as gr

from limner.errors import InputError, LimnerError
from limner.studio import markup, people, pictures
from limner.studio.desk import Desk, SeenFace, SeenPhoto
from limner.studio.events import Outcome, Turns, html, on
from limner.studio.uploads import photo_input

_KINDS = ["image", ".heic", ".heif", ".avif", ".jxl"]
_FIRST = threading.Lock()


def build(desk: Desk) -> Outcome:
    """Lay the tab out; return what fills it when the page is opened."""
    seen = gr.State([], time_to_live=3600)
    photos, webcam, portraits, group, everybody, answer = _lay_out()

    def show(found: list[SeenPhoto], problems: str = "", said: str = "") -> tuple[Any, ...]:
        named = desk.name_faces(found)
        return named, problems + render(named, can_enrol=desk.can_enrol), people.listing(desk, said)

    def safely(found: list[SeenPhoto], problems: str = "", said: str = "") -> tuple[Any, ...]:
        try:
            return show(found, problems, said)
        except LimnerError as error:
            return found, markup.problem(error), ""

    def from_files(paths: Sequence[str] | str | None) -> tuple[Any, ...]:
        chosen = [paths] if isinstance(paths, str) else list(paths or [])
        if not chosen:
            return safely([])
        found, problems = [], ""
        most = desk.engine.settings.max_photos
        if len(chosen) > most:
            problems = markup.notice(
                f"The first {most} of {len(chosen)} photos are shown.", tone="no"
            )
        for path in chosen[:most]:
            try:
                found.append(desk.look(path))
            except LimnerError as error:
                problems += markup.problem(error)
        return safely(found, problems)

    def from_sample(which: str) -> tuple[Any, ...]:
        try:
            return show(list(_sample(desk, which)))
        except LimnerError as error:
            return [], markup.problem(error), ""

    def on_face(found: list[SeenPhoto], request: gr.Request, event: gr.EventData) -> Any:
        data = event._data
        try:
            photo, face = _pick(found, data)
            return safely(found, said=people.enrol(desk, data["name"], photo, face, request))
        except LimnerError as error:
            return safely(found, said=markup.problem(error))

    def on_person(found: list[SeenPhoto], request: gr.Request, event: gr.EventData) -> Any:
        try:
            return safely(found, said=people.change(desk, event._data, request))
        except LimnerError as error:
            return safely(found, said=markup.problem(error))

    outputs = [seen, answer, everybody]
    turns = Turns()
    for event, given in ((photos.upload, photos), (photos.clear, photos), (webcam.input, webcam)):
        on(event, from_files, [given], outputs, turns=turns)
    on(portraits.click, lambda: from_sample("portraits"), [], outputs, turns=turns)
    on(group.click, lambda: from_sample("group"), [], outputs, turns=turns)
    if desk.can_enrol:
        on(answer.submit, on_face, [seen], outputs, quiet=True)
        on(everybody.submit, on_person, [seen], outputs, quiet=True)
    return Outcome(lambda request: from_sample("portraits"), outputs)


def _lay_out() -> tuple[Any, ...]:
    """Return photos, webcam, the two samples, the list of people and the answer."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=300):
            photos = gr.File(
                label="Photos: drop them here, or choose",
                file_count="multiple",
                file_types=_KINDS,
                elem_id="photos",
                height=150,
            )
            with gr.Accordion("Use the webcam", open=False):
                webcam = photo_input(sources=["webcam"], label="Webcam", elem_id="webcam")
            with gr.Row(elem_classes="l-samples"):
                portraits = gr.Button(
                    "Sample: two portraits", size="md", elem_id="sample-portraits"
                )
                group = gr.Button("Sample: a group", size="md", elem_id="sample-group")
            everybody = html(elem_id="people")
        with gr.Column(scale=3, min_width=320):
            answer = html(elem_id="recognised")
    return photos, webcam, portraits, group, everybody, answer


def _pick(found: Sequence[SeenPhoto], data: dict[str, str]) -> tuple[SeenPhoto, SeenFace]:
    try:
        photo = found[int(data["photo"])]
        return photo, photo.faces[int(data["face"])]
    except (IndexError, KeyError, ValueError):
        raise InputError("this page is out of date; open the photo again.") from None


_SAMPLES: dict[tuple[int, str], list[SeenPhoto]] = {}


def _sample(desk: Desk, which: str) -> list[SeenPhoto]:
    """Return the faces of a sample; found once, whoever asks first."""
    with _FIRST:
        key = (id(desk.engine), which)
        if key not in _SAMPLES:
            if which == "portraits":
                shown = pictures.portraits()
            else:
                shown = {"A group, made of two known people and strangers": group_picture()}
            _SAMPLES[key] = [
                desk.look(image, name=name if which == "group" else f"{name}, sample")
                for name, image in shown.items()
            ]
        return _SAMPLES[key]


def group_picture() -> Any:
    """Return harder views of the two portraits among strangers, as one picture."""
    known = [
        view
        for name, image in pictures.portraits().items()
        for view in pictures.harder_views(name, image)
    ]
    strangers = pictures.strangers()
    rows = [[known[0], strangers[0], known[7]], [*strangers[2:6], known[5]]]
    return pictures.group_photo(rows).image


def render(found: Sequence[SeenPhoto], *, can_enrol: bool) -> str:
    """Return the photos with names over them, and a card for each face."""
    if not found:
        return markup.notice(
            "No photo yet.",
            "Drop photos on the left, take one with the webcam, or look at a sample.",
        )
    shown = "".join(_photo(photo, n, can_enrol=can_enrol) for n, photo in enumerate(found))
    return f'<div class="l-photos">{shown}</div>'


def _photo(photo: SeenPhoto, number: int, *, can_enrol: bool) -> str:
    count = len(photo.faces)
    marks = [
        markup.Mark(seen.face.box_xyxy, _title(seen), "yes" if _known(seen) else "no")
        for seen in photo.faces
    ]
    known = sum(_known(seen) for seen in photo.faces)
    faces = "1 face" if count == 1 else f"{count} faces"
    words = f"{faces}, {known} recognised" if count else "no face found"
    shown = markup.picture(
        photo.uri,
        alt=f"{photo.name}: {words}",
        size_hw=photo.size_hw,
        marks=marks,
        caption=f"{markup.esc(photo.name)} · {words}",
    )
    if not count:
        advice = (
            "A face must be wider than about 20 pixels, lit, and not hidden. "
            "Try a larger version of the photo."
        )
        nothing = markup.notice("No face was found in this photo.", advice)
        return f"<div>{shown}{nothing}</div>"
    cards = "".join(
        _card(seen, number, n, can_enrol=can_enrol) for n, seen in enumerate(photo.faces)
    )
    return f'<div>{shown}<ol class="l-faces">{cards}</ol></div>'


def _known(seen: SeenFace) -> bool:
    return seen.match is not None and seen.match.person is not None


def _title(seen: SeenFace) -> str:
    if seen.match is None or seen.match.person is None:
        return "not known"
    return f"{seen.match.person} · {markup.percent(seen.match.probability)}"


def _card(seen: SeenFace, photo: int, number: int, *, can_enrol: bool) -> str:
    match = seen.match
    tone, title, detail = "no", "Not known", "Nobody is enrolled yet."
    form = ""
    field = f"name-{photo}-{number}"
    if match is not None and match.person is not None:
        tone, title = "yes", match.person
        detail = (
            f"{markup.percent(match.probability)} · distance {match.distance:.3f} "
            f"of {match.threshold:.3f} allowed"
        )
    elif match is not None and match.distance is not None:
        detail = (
            f"Nearest is {match.nearest}, at distance {match.distance:.3f}; "
            f"{match.threshold:.3f} is allowed."
        )
    if tone == "no" and can_enrol:
        form = (
            f'<form data-do="enrol" data-photo="{photo}" data-face="{number}">'
            f'<label class="l-hidden" for="{field}">Name of face {number + 1}</label>'
            f'<input id="{field}" name="name" required maxlength="200" autocomplete="off" '
            f'placeholder="Who is it?"><button class="l-button l-primary">Enrol</button></form>'
        )
    return (
        f'<li class="l-face l-{tone}"><img src="{seen.thumb}" alt=""><div>'
        f"<b>{number + 1}. {markup.esc(title)}</b>"
        f'<span class="l-soft">{markup.esc(detail)}</span>{form}</div></li>'
    )
