"""The demo's HTML page: one file, no script, nothing loaded from anywhere."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from limner.studio.pictures import thumbnail, to_jpeg
from limner.types import ImageArray

_AXIS_END = 2.6
_STYLE = """
:root { --ink: #23272b; --soft: #5d666e; --line: #dcd8cf; --paper: #faf8f4; --card: #ffffff;
  --yes: #0f6b63; --no: #a64c14; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 17px/1.55 Georgia, "Iowan Old Style", "DejaVu Serif", serif; }
main { max-width: 1080px; margin: 0 auto; padding: 56px 28px 80px; }
h1 { font-size: 2.3rem; line-height: 1.15; margin: 0 0 .4rem; letter-spacing: -.01em; }
h2 { font-size: 1.35rem; margin: 3.2rem 0 .3rem; }
p { max-width: 44rem; margin: .4rem 0 1rem; }
p.lead { font-size: 1.15rem; color: var(--soft); }
code, pre, .figure { font-family: ui-monospace, "SF Mono", Menlo, "DejaVu Sans Mono", monospace; }
.cards { display: grid; gap: 16px; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); }
.cards.large { grid-template-columns: repeat(auto-fill, minmax(200px, 1fr)); }
figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: 6px;
  overflow: hidden; display: flex; flex-direction: column; }
figure img { width: 100%; aspect-ratio: 1; object-fit: cover; object-position: 50% 25%;
  display: block; background: #eee; }
figcaption { padding: 9px 12px 11px; font-size: .86rem; line-height: 1.4; }
figcaption b { display: block; font-weight: 600; font-size: .95rem; }
.yes b { color: var(--yes); } .no b { color: var(--no); }
figcaption .what { color: var(--soft); }
.figure { font-size: .76rem; margin-top: 2px; color: var(--soft); }
p.under { font-size: .9rem; color: var(--soft); margin-top: .6rem; }
.wide { border: 1px solid var(--line); border-radius: 6px; width: 100%; height: auto;
  display: block; margin-top: .8rem; }
svg { display: block; width: 100%; height: auto; margin-top: 1rem; }
svg text { font: 13px Georgia, "DejaVu Serif", serif; fill: var(--soft); }
pre { background: #23272b; color: #f3efe6; padding: 18px 20px; border-radius: 6px;
  overflow-x: auto; font-size: .92rem; line-height: 1.7; }
pre i { color: #b9b2a3; font-style: normal; }
footer { margin-top: 3.5rem; padding-top: 1rem; border-top: 1px solid var(--line);
  color: var(--soft); font-size: .88rem; }
@media (max-width: 520px) { main { padding: 32px 16px 48px; } h1 { font-size: 1.8rem; } }
"""


@dataclass(frozen=True)
class Card:
    """A picture with limner's answer under it.

    Attributes:
        image: Shape (H, W, 3), uint8 RGB.
        title: The answer, in a few words.
        what: What the picture is.
        figures: Distance and probability; may be empty.
        known: True for recognised, False for not recognised, None for no verdict.
        distance: Where the answer stands on the axis; None for nowhere.
    """

    image: ImageArray
    title: str
    what: str
    figures: str = ""
    known: bool | None = None
    distance: float | None = None


def build_page(
    *,
    enrolled: Sequence[Card],
    views: Sequence[Card],
    strangers: Sequence[Card],
    faceless: Sequence[Card],
    group: ImageArray,
    group_note: str,
    threshold: float,
    basis: str,
    commands: Sequence[tuple[str, str]],
    version: str,
) -> str:
    """Return the page as a string of HTML."""
    said = sum(card.known is True for card in views)
    kept_out = sum(card.known is False for card in strangers)
    body = f"""
<h1>Two people, one photo each</h1>
<p class="lead">limner saw one photograph of {_names(enrolled)}. Then it was shown
{len(views)} worse ones and recognised {said}; and {len(strangers)} faces of strangers, of whom it
turned away {kept_out}.</p>
<img class="wide" alt="The group picture with a frame and a name on each face"
 src="{_source(group, 2000)}">
<p class="under">{escape(group_note)}</p>

<h2>What it was shown first</h2>
<div class="cards large">{_cards(enrolled, 460)}</div>

<h2>Harder views</h2>
<p>Each of these was compared with both enrolled people. Under each stand the distance to the
nearest of the two, where small means alike, and the probability that it is that person.</p>
<div class="cards">{_cards(views, 320)}</div>

<h2>Strangers</h2>
<p>People who were never enrolled. The right answer is a refusal: a system that always names
somebody is of no use.</p>
<div class="cards">{_cards(strangers, 240)}</div>
{_faceless(faceless)}
<h2>Where the line is drawn</h2>
<p>Every dot is the distance to the nearest enrolled person. {escape(basis)}</p>
{_axis(views, strangers, threshold)}

<h2>Now your own photos</h2>
<pre>{_commands(commands)}</pre>
<p>Nothing leaves this machine: photos are read, faces become vectors, and only the vectors
are kept, in one file that you can delete.</p>
<footer>limner {escape(version)}. Photographs: Eileen Collins (NASA) and portraits of strangers
(Labeled Faces in the Wild) from scikit-image's sample data, Grace Hopper (US Navy) from
matplotlib's.</footer>
"""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>limner: two people, one photo each</title>\n<style>{_STYLE}</style>\n"
        f"</head>\n<body>\n<main>{body}</main>\n</body>\n</html>\n"
    )


def _names(cards: Sequence[Card]) -> str:
    return " and one of ".join(escape(card.title) for card in cards)


def _cards(cards: Sequence[Card], side: int) -> str:
    parts = []
    for card in cards:
        style = {True: "yes", False: "no", None: ""}[card.known]
        figures = f'<div class="figure">{escape(card.figures)}</div>' if card.figures else ""
        parts.append(
            f'<figure class="{style}"><img alt="{escape(card.what)}" '
            f'src="{_source(card.image, side)}"><figcaption><b>{escape(card.title)}</b>'
            f'<span class="what">{escape(card.what)}</span>{figures}</figcaption></figure>'
        )
    return "".join(parts)


def _faceless(cards: Sequence[Card]) -> str:
    if not cards:
        return ""
    return (
        "<h2>No face, no answer</h2><p>Where there is no human face, limner finds none.</p>"
        f'<div class="cards">{_cards(cards, 240)}</div>'
    )


def _source(image: ImageArray, side: int) -> str:
    data = base64.b64encode(to_jpeg(thumbnail(image, side), quality=85)).decode("ascii")
    return f"data:image/jpeg;base64,{data}"


def _commands(commands: Sequence[tuple[str, str]]) -> str:
    return "\n".join(f"<i># {escape(why)}</i>\n{escape(command)}" for why, command in commands)


def _axis(views: Sequence[Card], strangers: Sequence[Card], threshold: float) -> str:
    """Return a small drawing: known people above, strangers below, tau between them."""
    width, left, right = 1000, 120, 20

    def x(distance: float) -> float:
        return left + (width - left - right) * min(distance, _AXIS_END) / _AXIS_END

    rows = []
    for label, cards, y, colour in (
        ("known", views, 40, "var(--yes)"),
        ("strangers", strangers, 84, "var(--no)"),
    ):
        rows.append(f'<text x="0" y="{y + 5}">{label}</text>')
        rows += [
            f'<circle cx="{x(card.distance):.1f}" cy="{y}" r="6.5" fill="{colour}" '
            f'fill-opacity=".72"><title>{escape(card.what)}: {card.distance:.2f}</title></circle>'
            for card in cards
            if card.distance is not None
        ]
    ticks = [
        f'<line x1="{x(t):.1f}" y1="112" x2="{x(t):.1f}" y2="118" stroke="#9aa0a5"/>'
        f'<text x="{x(t):.1f}" y="134" text-anchor="middle">{t:g}</text>'
        for t in (0, 0.5, 1, 1.5, 2, 2.5)
    ]
    tau = x(threshold)
    return (
        f'<svg viewBox="0 0 {width} 150" role="img" aria-label="Distances of known people and '
        f'of strangers, with the threshold at {threshold:.2f} between them">'
        f'<line x1="{left}" y1="112" x2="{width - right}" y2="112" stroke="#9aa0a5"/>'
        f'<line x1="{tau:.1f}" y1="14" x2="{tau:.1f}" y2="112" stroke="#23272b" '
        f'stroke-dasharray="5 4"/><text x="{tau + 8:.1f}" y="20">threshold {threshold:.2f}</text>'
        f"{''.join(ticks)}{''.join(rows)}</svg>"
    )
