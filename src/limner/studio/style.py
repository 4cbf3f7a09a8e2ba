"""The tab Style: a photo painted in the manner of paintings, as one watches."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr
import numpy as np

from limner import images
from limner.errors import InputError, LimnerError, MissingExtraError
from limner.service.job_rows import Job
from limner.service.work import CONTENT, RESULT
from limner.studio import markup, pictures
from limner.studio.crops import photographs
from limner.studio.desk import Desk
from limner.studio.events import Outcome, html, on
from limner.studio.paintings import painting
from limner.studio.uploads import photo_input
from limner.style import preset
from limner.types import ImageArray

COLOURS = {
    "The painting's": "style",
    "The photo's": "content",
    "The painting's, matched to the photo's": "histogram",
}
CARE = {"A sketch": 24, "A painting": 0}
_MOST = 4
_POLL_S = 0.25
_THUMB_PX = 200
_SIDES = (256, 384, 512, 768, 1024)


@dataclass(frozen=True)
class Wish:
    """What the controls say."""

    strength: float
    colour: str
    size: int
    brush: float
    care: str

    def parameters(self) -> dict[str, Any]:
        """Return the parameters of the service's job ``style``."""
        return {
            "method": "optimise",
            "look": None,
            "preset": "default",
            "size": self.size,
            "strength": self.strength,
            "colour": COLOURS[self.colour],
            "style_scale": self.brush,
            "steps": CARE[self.care] or None,
            "seed": 0,
        }


def build(desk: Desk) -> Outcome:
    """Lay the tab out; return what fills it when it is opened first."""
    job = gr.State("")
    content, paintings, strength, size, colour, brush, care, paint, stop, stage, history = _lay_out(
        desk
    )
    given = [content, paintings, strength, colour, size, brush, care]

    def start(*values: Any, request: gr.Request) -> Iterator[tuple[Any, ...]]:
        yield from _paint(desk, values[0], values[1], Wish(*_ordered(values[2:])), request)

    def run(  # Gradio finds the request by its annotation
        a: Any, b: Any, c: Any, d: Any, e: Any, f: Any, g: Any, request: gr.Request
    ) -> Iterator[tuple[Any, ...]]:
        yield from start(a, b, c, d, e, f, g, request=request)

    def end(number: str, request: gr.Request) -> None:
        try:
            desk.engine.jobs.cancel(desk.engine.jobs.find(number, desk.who(request)))
        except LimnerError:
            return  # it has ended

    def reopen(request: gr.Request, event: gr.EventData) -> str:
        try:
            return _finished(
                desk, desk.engine.jobs.find(event._data["job"], desk.who(request)), None
            )
        except LimnerError as error:
            return markup.problem(error)

    def first(request: gr.Request) -> Iterator[tuple[Any, ...]]:
        photo, works = samples()
        works_shown = [(image, title) for title, image in works.items()][:1]
        kept = past(desk, request)
        yield photo, works_shown, markup.progress(0.3, "a first idea"), kept
        try:
            desk.wait()
            idea = _idea(photo, [works_shown[0][0]], Wish(0.5, "The painting's", 384, 1.0, ""))
        except LimnerError as error:
            yield photo, works_shown, markup.problem(error), kept
            return
        yield photo, works_shown, _preview(photo, idea), kept

    on(paint.click, run, given, [stage, history, job], quiet=True, many=True)
    on(stop.click, end, [job], [], quiet=True, many=True)
    on(history.submit, reopen, [], [stage])
    return Outcome(first, [content, paintings, stage, history])


def _lay_out(desk: Desk) -> tuple[Any, ...]:
    """Return the controls, the stage and the history."""
    sides = [n for n in _SIDES if n <= desk.engine.settings.max_style_px] or [64]
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=300):
            content = photo_input(format="png", label="Photo", elem_id="style-content", height=220)
            paintings = gr.Gallery(
                label="Paintings, one to four",
                type="filepath",
                columns=4,
                height=190,
                interactive=True,
                sources=["upload", "clipboard"],
                file_types=["image"],
                elem_id="style-paintings",
                buttons=[],
                object_fit="cover",
            )
            strength = gr.Slider(0, 1, 0.5, step=0.05, label="Strength", elem_id="style-strength")
            size = gr.Radio(sides, value=sides[min(1, len(sides) - 1)], label="Longer side, pixels")
            with gr.Accordion("Colour, brush and care", open=False):
                colour = gr.Radio(list(COLOURS), value="The painting's", label="Colours")
                brush = gr.Slider(0.5, 2, 1, step=0.1, label="Brush size")
                care = gr.Radio(list(CARE), value="A painting", label="Care")
            with gr.Row():
                paint = gr.Button("Paint", variant="primary", elem_id="style-paint")
                stop = gr.Button("Stop", elem_id="style-stop")
        with gr.Column(scale=3, min_width=320):
            stage = html(elem_id="stage")
            history = html(elem_id="style-history")
    return content, paintings, strength, size, colour, brush, care, paint, stop, stage, history


def _ordered(values: tuple[Any, ...]) -> tuple[Any, ...]:
    strength, colour, size, brush, care = values
    return float(strength), str(colour), int(size), float(brush), str(care)


def samples() -> tuple[ImageArray, dict[str, ImageArray]]:
    """Return a photo and paintings of limner's own making."""
    try:
        photo = photographs()["chelsea"]
    except MissingExtraError:
        photo = pictures.portraits()[pictures.HOPPER]
    return photo, {title: painting(title) for title in ("Dusk", "Meadow")}


def _paint(
    desk: Desk, content: str | None, chosen: Any, wish: Wish, request: gr.Request
) -> Iterator[tuple[Any, ...]]:
    """Yield the stage, the history and the job's id, from the first idea to the end."""
    job: Job | None = None
    kept = past(desk, request)
    try:
        works = [item[0] for item in chosen or []]
        _check(content, works)
        yield markup.progress(0.0, "a first idea"), kept, ""
        desk.wait()
        files = {CONTENT: desk.read(str(content))}
        files |= {f"style{n}": desk.read(path) for n, path in enumerate(works)}
        photo, *styles = map(desk.engine.read_now, files.values())
        idea = _idea(photo, styles, wish)
        yield _preview(photo, idea), kept, ""
        job = desk.engine.jobs.submit("style", wish.parameters(), files, desk.who(request))
        desk.note(request, "style", job=job.id)
        seen = -1
        while job.is_open:
            if job.version != seen:
                seen = job.version
                yield _forming(job, idea), kept, job.id
            time.sleep(_POLL_S)
        before = markup.data_uri(photo, longest=wish.size)
        yield _finished(desk, job, before), past(desk, request), ""
    except LimnerError as error:
        yield markup.problem(error), kept, ""


def _check(content: str | None, works: list[Any]) -> None:
    if content is None:
        raise InputError("there is no photo yet: drop one on the left.")
    if not works:
        raise InputError("there is no painting yet: drop one to four under the photo.")
    if len(works) > _MOST:
        raise InputError(f"up to {_MOST} paintings are blended, got {len(works)}.")


def _idea(photo: ImageArray, styles: list[ImageArray], wish: Wish) -> ImageArray:
    """Paint quickly, by the feed-forward network."""
    from limner.style.preview import preview

    options = preset(
        "default", size=min(wish.size, 512), strength=wish.strength, colour=COLOURS[wish.colour]
    )
    pixels = preview(photo, styles, options=options, offline=True)
    return np.asarray(np.rint(np.clip(pixels, 0, 1) * 255), np.uint8)


def _preview(photo: ImageArray, idea: ImageArray) -> str:
    size = (int(idea.shape[0]), int(idea.shape[1]))
    shown = markup.before_after(
        markup.data_uri(photo, longest=max(size)),
        markup.data_uri(idea),
        size_hw=size,
        alt="A first idea of the painting",
    )
    return shown + markup.notice(
        "A first idea.",
        "A fast network made it at once. Paint works it out properly: half a minute or more.",
    )


def _forming(job: Job, idea: ImageArray) -> str:
    picture = job.preview
    size = (int(idea.shape[0]), int(idea.shape[1]))
    uri = markup.as_uri(picture, "JPEG") if picture else markup.data_uri(idea)
    alt = "The painting as it forms" if picture else "A first idea of the painting"
    shown = markup.picture(uri, alt=alt, size_hw=size)
    return markup.progress(job.progress, job.message) + shown


def _finished(desk: Desk, job: Job, before: str | None) -> str:
    """Return the painted picture beside the photo, to be downloaded; or why there is none."""
    path = desk.engine.jobs.file(job, RESULT)
    if path is None:
        if job.status == "cancelled":
            return markup.notice("Stopped.", "Change what you like and press Paint again.")
        return markup.notice(f"The painting {job.status}.", job.message, tone="no")
    data = path.read_bytes()
    image = images.read(data)
    height, width = int(image.shape[0]), int(image.shape[1])
    uri = markup.as_uri(data, "PNG")
    alt = "The painted picture"
    shown = (
        markup.picture(uri, alt=alt, size_hw=(height, width))
        if before is None
        else markup.before_after(before, uri, size_hw=(height, width), alt=alt)
    )
    return (
        f'{shown}<p class="l-under"><a class="l-button l-primary" download="painted.png" '
        f'href="{uri}">Download</a><span class="l-soft">{width} x {height} pixels, PNG</span></p>'
    )


def past(desk: Desk, request: gr.Request) -> str:
    """Return the finished paintings of whoever asks, the newest first; nothing to strangers."""
    if desk.strangers:
        return ""
    done = [
        job
        for job in desk.engine.jobs.all(desk.who(request))
        if job.kind == "style" and desk.engine.jobs.file(job, RESULT) is not None
    ][:12]
    if not done:
        return ""
    buttons = "".join(_past(desk, job) for job in done)
    hours = desk.engine.settings.keep_results_h
    return (
        f'<h2>Before <span class="l-soft">kept for {hours:g} hours</span></h2>'
        f'<div class="l-strip">{buttons}</div>'
    )


def _past(desk: Desk, job: Job) -> str:
    path = desk.engine.jobs.file(job, RESULT)
    if path is None:
        return ""
    uri = markup.data_uri(images.read(path.read_bytes()), longest=_THUMB_PX)
    when = markup.esc(job.created[11:16])
    return (
        f'<button class="l-thumb" data-do="open" data-job="{markup.esc(job.id)}" '
        f'aria-label="Open the painting of {when}"><img src="{uri}" alt=""></button>'
    )
