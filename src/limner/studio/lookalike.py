"""The tab Look-alike: who looks most like this? A ranking without a verdict."""

from __future__ import annotations

import functools
import threading
from dataclasses import dataclass
from typing import Any

import gradio as gr
import numpy as np

from limner.errors import FaceCountError, LimnerError
from limner.similarity import squared_l2
from limner.studio import markup, pictures
from limner.studio.desk import Desk, SeenFace
from limner.studio.events import Outcome, Turns, html, on
from limner.studio.uploads import photo_input

MINE, SAMPLES = "My people", "24 sample portraits"
_LOCK = threading.Lock()
_STRANGERS: dict[int, list[SeenFace]] = {}


@dataclass(frozen=True)
class Rank:
    """One line of the ranking."""

    name: str
    distance: float
    probability: float | None
    uri: str | None


def build(desk: Desk) -> Outcome:
    """Lay the tab out; return what fills it when it is opened first."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=300):
            photo = photo_input(format="png", label="A photo", elem_id="alike-photo", height=300)
            among = gr.Radio([MINE, SAMPLES], value=SAMPLES, label="Among", elem_id="alike-among")
            top = gr.Slider(1, 20, value=6, step=1, label="How many", elem_id="alike-top")
        with gr.Column(scale=3, min_width=320):
            answer = html(elem_id="alike")

    def rank(path: str | None, where: str, count: int) -> str:
        if path is None:
            return markup.notice("No photo yet.", "Drop one on the left; its largest face counts.")
        return _answer(desk, path, where, int(count))

    def first(request: gr.Request) -> tuple[Any, ...]:
        image = pictures.portraits()[pictures.HOPPER]
        try:
            desk.wait()
            where = MINE if len(desk.engine.gallery) > 1 else SAMPLES
        except LimnerError as error:
            return None, SAMPLES, markup.problem(error)
        return image, where, gr.skip()  # the change of the photo asks for the answer

    events = [photo.change, among.input, top.release]
    asked = functools.partial(gr.on, events)
    on(asked, rank, [photo, among, top], [answer], turns=Turns())
    return Outcome(first, [photo, among, answer])


def _answer(desk: Desk, source: Any, where: str, count: int) -> str:
    try:
        seen = desk.look(source, name="the photo")
        if not seen.faces:
            raise FaceCountError("no face was found in the photo.", count=0)
        face = seen.faces[0]
        ranks = _mine(desk, face, count) if where == MINE else _samples(desk, face, count)
        return render(face, ranks)
    except LimnerError as error:
        return markup.problem(error)


def _mine(desk: Desk, face: SeenFace, count: int) -> list[Rank]:
    found = desk.engine.gallery.lookalike(face.embedding, top=count)
    return [
        Rank(one.person, one.distance, one.probability, desk.picture_of(one.person))
        for one in found
    ]


def _samples(desk: Desk, face: SeenFace, count: int) -> list[Rank]:
    """Rank small portraits of strangers; they are embedded once, whoever asks first."""
    with _LOCK:
        key = id(desk.engine)
        if key not in _STRANGERS:
            looked = [desk.look(v.image, name=v.title) for v in pictures.strangers()[1:]]
            _STRANGERS[key] = [photo.faces[0] for photo in looked if photo.faces]
        strangers = _STRANGERS[key]
    vectors = np.stack([one.embedding.vector for one in strangers])
    distances = squared_l2(np.broadcast_to(face.embedding.vector, vectors.shape), vectors)
    order = np.argsort(distances)[:count]
    return [Rank(f"Portrait {i + 1}", float(distances[i]), None, strangers[i].thumb) for i in order]


def render(face: SeenFace, ranks: list[Rank]) -> str:
    """Return the ranking with pictures where there are any."""
    if not ranks:
        return markup.notice(
            "Nobody is enrolled yet.",
            "Enrol people on the tab Recognise, or rank the sample portraits.",
        )
    rows = "".join(_row(n, rank) for n, rank in enumerate(ranks, start=1))
    return (
        f'<div class="l-asked"><img src="{face.thumb}" alt="The face that is compared"><p>'
        "<b>Looks most like</b><span class='l-soft'>The smaller the distance, the more alike. "
        "This is a ranking, not a verdict.</span></p></div>"
        f'<ol class="l-ranks">{rows}</ol>'
    )


def _row(number: int, rank: Rank) -> str:
    initial = markup.esc(rank.name[:1].upper())
    face = f'<img src="{rank.uri}" alt="">' if rank.uri else f'<i aria-hidden="true">{initial}</i>'
    chance = (
        "" if rank.probability is None else f" · same person {markup.percent(rank.probability)}"
    )
    width = 100 * max(0.02, 1 - rank.distance / markup.AXIS_END)
    return (
        f"<li>{face}<div><b>{number}. {markup.esc(rank.name)}</b>"
        f'<span class="l-bar" aria-hidden="true"><i style="width:{width:.1f}%"></i></span>'
        f'<span class="l-soft">distance {rank.distance:.3f}{chance}</span></div></li>'
    )
