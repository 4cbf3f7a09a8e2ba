"""Gradio's events as the page uses them: private, quiet, without an API of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from limner.studio.look import script


@dataclass(frozen=True)
class Outcome:
    """What fills a tab when it is opened first.

    Attributes:
        work: Called with the request; returns or yields a value for each output.
        outputs: What it fills.
        again: Whether it is done at every opening, not at the first one only.
    """

    work: Callable[[gr.Request], Any]
    outputs: Sequence[Any]
    again: bool = False

    def once(self, opened: bool, request: gr.Request) -> Iterator[tuple[Any, ...]]:
        """Yield the values at the first opening, and leave everything as it is later."""
        if opened and not self.again:
            yield True, *(gr.skip() for _ in self.outputs)
            return
        result = self.work(request)
        for values in result if isinstance(result, Iterator) else (result,):
            yield True, *(values if isinstance(values, tuple) else (values,))


def html(value: str = "", **options: Any) -> Any:
    """Return an HTML component whose forms, buttons and sliders work by `submit`."""
    return gr.HTML(value, js_on_load=script("events.js"), apply_default_css=False, **options)


def on(
    event: Any,
    work: Callable[..., Any],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    *,
    quiet: bool = False,
    many: bool = False,
) -> Any:
    """Join an event and a function.

    Args:
        event: Such as `button.click`.
        work: Called with the inputs' values.
        inputs: Components.
        outputs: Components.
        quiet: No sign of work over the outputs: it shows its own, or takes no time.
        many: Several may run at once, such as those that only wait for a job.
    """
    return event(
        work,
        inputs=list(inputs),
        outputs=list(outputs),
        show_progress="hidden" if quiet else "minimal",
        api_visibility="private",
        concurrency_limit=None if many else 2,
    )
