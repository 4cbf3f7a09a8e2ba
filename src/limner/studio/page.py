"""The page: its tabs, and what fills each when it is opened first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from limner.studio import about, compare, lookalike, recognise, signals, style, units
from limner.studio.desk import Desk
from limner.studio.events import Outcome, html, on

TITLE = "limner"
_MOST_QUEUED = 64
_Build = Callable[[Desk], Outcome]
TABS: tuple[tuple[str, str, str, _Build], ...] = (
    ("recognise", "Recognise", "Who is in these photos?", recognise.build),
    ("compare", "Compare", "Do two photos show the same person?", compare.build),
    ("lookalike", "Look-alike", "Who looks most like this?", lookalike.build),
    ("style", "Style", "Paint a photo in the manner of a painting.", style.build),
    ("units", "Units", "What makes a unit of a network fire?", units.build),
    (
        "signals",
        "Signals & volumes",
        "What is it, and what did the network look at?",
        signals.build,
    ),
    ("about", "About", "What is inside, how sure it is, and where it ends.", about.build),
)
_HEADER = (
    '<header class="l-head"><h1>limner</h1><p>Know a face, paint a picture, see what the '
    "network sees. Everything stays on this machine.</p></header>"
)


def build_page(desk: Desk) -> Any:
    """Return the page as Gradio blocks.

    Args:
        desk: The engine, and what the page may do.
    """

    def leave(request: gr.Request) -> None:  # Gradio finds the request by its annotation
        desk.leave(request)

    with gr.Blocks(title=TITLE, analytics_enabled=False) as page:
        html(_HEADER)
        opened = [gr.State(False) for _ in TABS]
        with gr.Tabs(elem_id="tabs"):
            for number, (name, label, question, build) in enumerate(TABS):
                with gr.Tab(label, id=name, elem_id=f"tab-{name}") as tab:
                    html(f'<p class="l-question">{question}</p>')
                    first = build(desk)
                event = page.load if number == 0 else tab.select
                on(
                    event,
                    first.once,
                    [opened[number]],
                    [opened[number], *first.outputs],
                    quiet=number == 0,
                )
        if desk.strangers:
            page.unload(leave)
    return page.queue(max_size=_MOST_QUEUED)
