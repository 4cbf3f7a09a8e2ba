"""The tab Compare: do two photos show the same person?"""

from __future__ import annotations

import functools

import gradio as gr

from limner.errors import FaceCountError, LimnerError
from limner.similarity import compare as judge
from limner.studio import markup, pictures
from limner.studio.desk import Desk, SeenFace, SeenPhoto
from limner.studio.events import Outcome, Turns, html, on
from limner.studio.uploads import photo_input
from limner.types import ImageArray, Pair


def build(desk: Desk) -> Outcome:
    """Lay the tab out; return what fills it when it is opened first."""
    with gr.Row():
        first = photo_input(format="png", label="One photo", elem_id="compare-a", height=260)
        second = photo_input(format="png", label="Another photo", elem_id="compare-b", height=260)
    with gr.Row(elem_classes="l-samples"):
        same = gr.Button(
            "Sample: the same person, dark and turned", size="md", elem_id="sample-same"
        )
        other = gr.Button("Sample: two people", size="md", elem_id="sample-two")
    answer = html(elem_id="compared")

    def from_files(a: str | None, b: str | None) -> str:
        if a is None or b is None:
            return markup.notice(
                "Two photos are needed.", "Drop one on each side; the largest face of each counts."
            )
        return _answer(desk, a, b)

    # One listener writes the answer, whoever changed the pictures: none overtakes another.
    # Not `clear` and `input`: they come while the old picture is still there.
    changed = functools.partial(gr.on, [first.change, second.change])
    on(changed, from_files, [first, second], [answer], turns=Turns())
    on(same.click, lambda: sample("same"), [], [first, second])
    on(other.click, lambda: sample("two"), [], [first, second])
    return Outcome(lambda request: sample("same"), [first, second])


def sample(which: str) -> tuple[ImageArray, ImageArray]:
    """Return two pictures: ``same`` person or ``two`` people."""
    people = pictures.portraits()
    collins = people[pictures.COLLINS]
    if which == "two":
        return collins, people[pictures.HOPPER]
    worse = {v.title: v.image for v in pictures.harder_views(pictures.COLLINS, collins)}
    return collins, worse["small, turned and dark"]


def _answer(desk: Desk, a: str, b: str) -> str:
    try:
        one, two = desk.look(a, name="the first photo"), desk.look(b, name="the second photo")
        first, second = _largest(one), _largest(two)
        own = desk.engine.gallery.own_calibration
        pair = judge(first.embedding, second.embedding, calibration=own)
        return render(desk, one, two, pair)
    except LimnerError as error:
        return markup.problem(error)


def _largest(photo: SeenPhoto) -> SeenFace:
    if not photo.faces:
        raise FaceCountError(f"no face was found in {photo.name}.", count=0)
    return photo.faces[0]


_SAID: dict[str, tuple[markup.Tone, str]] = {
    "same": ("yes", "The same person"),
    "different": ("no", "Two different people"),
    "unclear": ("no", "Unclear"),
}


def render(desk: Desk, one: SeenPhoto, two: SeenPhoto, pair: Pair) -> str:
    """Return the verdict with both faces, the scale and the probability in words."""
    tone, title = _SAID[pair.verdict]
    faces = "".join(
        f'<figure><img src="{photo.faces[0].thumb}" alt="Largest face of {photo.name}">'
        f"<figcaption>{_which(photo)}</figcaption></figure>"
        for photo in (one, two)
    )
    chance = markup.percent(pair.probability)
    said = (
        f"It cannot be told: {pair.reason}." if pair.reason else markup.in_words(pair.probability)
    )
    return (
        f'<section class="l-verdict l-{tone}" aria-live="polite"><div class="l-pair">{faces}</div>'
        f"<div><h2>{title}</h2><p>{said} "
        f'<span class="l-soft">Probability that they are one person: {chance}.</span></p>'
        f"{markup.scale(pair.distance, pair.threshold)}"
        f'<p class="l-soft">Distance {pair.distance:.3f}, threshold &tau; {pair.threshold:.3f}: '
        "at or below it, two faces count as one person.</p></div></section>"
    )


def _which(photo: SeenPhoto) -> str:
    count = len(photo.faces)
    return photo.name if count == 1 else f"{photo.name}: the largest of {count} faces"
