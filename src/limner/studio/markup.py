"""The page's own HTML: pictures with boxes, scales, cards, notices. Pure functions of values."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from limner.errors import FaceCountError, ImageError, InputError, LimnerError, ServiceError
from limner.types import BoxXYXY, ImageArray

_FEW = 4
AXIS_END = 2.4
Tone = Literal["yes", "no", "plain"]


def esc(text: object) -> str:
    """Return a text as HTML; braces and dollars too, which Gradio's templates would read."""
    escaped = html.escape(str(text), quote=True)
    for letter in "{}$`\\":
        escaped = escaped.replace(letter, f"&#{ord(letter)};")
    return escaped


def data_uri(
    image: ImageArray, *, longest: int = 1280, kind: Literal["JPEG", "PNG"] = "JPEG"
) -> str:
    """Return a picture as a ``data:`` address, reduced to `longest` pixels."""
    from PIL import Image

    picture = Image.fromarray(image)
    picture.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=86)
    return as_uri(buffer.getvalue(), "JPEG")


def as_uri(data: bytes, kind: Literal["JPEG", "PNG"]) -> str:
    """Return the bytes of a picture as a ``data:`` address."""
    return f"data:image/{kind.lower()};base64,{base64.b64encode(data).decode('ascii')}"


@dataclass(frozen=True)
class Mark:
    """A frame on a picture.

    Attributes:
        box_xyxy: In pixels of the picture.
        text: The short label.
        tone: `yes` recognised, `no` not recognised, `plain` neither.
    """

    box_xyxy: BoxXYXY
    text: str
    tone: Tone


def picture(
    uri: str, *, alt: str, size_hw: tuple[int, int], marks: Sequence[Mark] = (), caption: str = ""
) -> str:
    """Return a figure with frames over the picture.

    The frames are HTML over the picture, so that their text is as large on a small screen as on
    a large one. Where there are many, each has a number, which the list below repeats.
    """
    frames = "".join(_frame(m, n, size_hw, len(marks)) for n, m in enumerate(marks, start=1))
    under = f"<figcaption>{caption}</figcaption>" if caption else ""
    height, width = size_hw
    return (
        f'<figure class="l-picture"><div class="l-canvas" style="aspect-ratio:{width}/{height}">'
        f'<img src="{uri}" alt="{esc(alt)}" width="{width}" height="{height}">{frames}</div>'
        f"{under}</figure>"
    )


def _frame(mark: Mark, number: int, size_hw: tuple[int, int], count: int) -> str:
    height, width = size_hw
    x0, x1 = (min(max(v / width, 0.0), 1.0) for v in (mark.box_xyxy[0], mark.box_xyxy[2]))
    y0, y1 = (min(max(v / height, 0.0), 1.0) for v in (mark.box_xyxy[1], mark.box_xyxy[3]))
    text = f"<b>{number}</b>" + (f" {esc(mark.text)}" if count <= _FEW else "")
    side = "l-left" if x0 < 0.5 else "l-right"
    edge = "l-above" if y1 > 0.9 else "l-below"
    return (
        f'<div class="l-frame l-{mark.tone}" aria-hidden="true" style="left:{100 * x0:.2f}%;'
        f'top:{100 * y0:.2f}%;width:{100 * (x1 - x0):.2f}%;height:{100 * (y1 - y0):.2f}%">'
        f'<span class="l-plate {side} {edge}">{text}</span></div>'
    )


def scale(distance: float, tau: float | None, *, end: float = AXIS_END) -> str:
    """Return the distance on a line from alike to different, with tau marked."""
    at = 100 * min(max(distance / end, 0.0), 1.0)
    tone = "plain" if tau is None else ("yes" if distance <= tau else "no")
    words = f"Distance {distance:.3f} on a scale from 0, alike, to {end:g}, different."
    limit = ""
    if tau is not None:
        where = 100 * min(max(tau / end, 0.0), 1.0)
        words += f" The threshold tau is {tau:.3f}."
        limit = (
            f'<i class="l-near" style="width:{where:.2f}%"></i>'
            f'<i class="l-tau" style="left:{where:.2f}%"><b>&tau; {tau:.2f}</b></i>'
        )
    return (
        f'<div class="l-scale" role="img" aria-label="{esc(words)}"><div class="l-line">{limit}'
        f'<i class="l-dot l-{tone}" style="left:{at:.2f}%"><b>{distance:.2f}</b></i></div>'
        '<div class="l-ends"><span>alike</span><span>different</span></div></div>'
    )


def percent(share: float | None) -> str:
    """Return a probability so that nothing but certainty reads as certain."""
    if share is None:
        return "no probability"
    if share > 0.999:
        return "over 99.9 %"
    if share < 0.001:
        return "below 0.1 %"
    return f"{100 * share:.1f} %"


def in_words(share: float | None) -> str:
    """Return the probability that two faces are one person's, in words."""
    if share is None:
        return "No probability: this embedder has no calibration."
    steps = (
        (0.999, "Almost certainly the same person."),
        (0.95, "Very probably the same person."),
        (0.7, "Probably the same person."),
        (0.3, "It could be either; use a better photo."),
        (0.05, "Probably two different people."),
        (0.001, "Very probably two different people."),
    )
    return next((words for least, words in steps if share >= least), _CERTAINLY_TWO)


_CERTAINLY_TWO = "Almost certainly two different people."


def notice(title: str, words: str = "", *, tone: Tone = "plain") -> str:
    """Return a quiet message; `no` is announced by screen readers as an alert."""
    role = "alert" if tone == "no" else "status"
    more = f"<p>{esc(words)}</p>" if words else ""
    return f'<div class="l-notice l-{tone}" role="{role}"><strong>{esc(title)}</strong>{more}</div>'


def problem(error: LimnerError) -> str:
    """Return what went wrong, without paths, and what to do about it."""
    from limner.service.errors import answer_to

    message = answer_to(error).message
    said = message[:1].upper() + message[1:]
    if isinstance(error, FaceCountError) and error.count == 0:
        advice = (
            "Try a photo in which the face is lit, turned to the camera and wider than 20 pixels."
        )
    elif isinstance(error, ImageError):
        advice = "Try the photo as JPEG, PNG, WebP or HEIC."
    elif isinstance(error, ServiceError):
        advice = "Nothing is lost; try again in a moment."
    elif isinstance(error, InputError):
        advice = ""
    else:
        advice = "The terminal in which the studio runs may say more."
    return notice(said, advice, tone="no")


def definition(rows: Iterable[tuple[str, str]]) -> str:
    """Return pairs of a word and its (HTML) meaning."""
    return (
        '<dl class="l-facts">'
        + "".join(f"<div><dt>{esc(name)}</dt><dd>{value}</dd></div>" for name, value in rows)
        + "</dl>"
    )


def before_after(before: str, after: str, *, size_hw: tuple[int, int], alt: str) -> str:
    """Return two pictures on each other and a slider between them; both are ``data:`` addresses."""
    height, width = size_hw
    return (
        f'<figure class="l-picture l-ba" style="--at:50%"><div class="l-canvas" '
        f'style="aspect-ratio:{width}/{height}"><img src="{after}" alt="{esc(alt)}">'
        f'<img class="l-before" src="{before}" alt=""><i aria-hidden="true"></i></div>'
        '<label class="l-slide"><span>before</span><input type="range" min="0" max="100" '
        'value="50" aria-label="Share of the picture that shows the original" data-slide>'
        "<span>after</span></label></figure>"
    )


def progress(share: float, words: str) -> str:
    """Return a bar with a sentence."""
    value = round(100 * min(max(share, 0.0), 1.0))
    return (
        f'<div class="l-progress"><progress max="100" value="{value}" '
        f'aria-label="Progress">{value} %</progress><span>{esc(words)}</span></div>'
    )
