"""Gradio's events as the page uses them: private, quiet, without an API of their own."""

from __future__ import annotations

import inspect
import threading
import typing
from collections import OrderedDict
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


class Turns:
    """Whose call is the last one, for each page that is open.

    Two changes close together are two calls at once, and either may end first; of those that
    share a `Turns`, only the one that began last may show its answer.
    """

    _PAGES = 10_000

    def __init__(self) -> None:
        self._last: OrderedDict[str, int] = OrderedDict()
        self._lock = threading.Lock()
        self._count = 0

    def take(self, page: str) -> int:
        """Return the number of a call that begins."""
        with self._lock:
            self._count += 1
            self._last[page] = self._count
            self._last.move_to_end(page)
            if len(self._last) > self._PAGES:
                self._last.popitem(last=False)
            return self._count

    def holds(self, page: str, turn: int) -> bool:
        """Tell whether no call began after this one."""
        with self._lock:
            return self._last.get(page, turn) == turn


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
    turns: Turns | None = None,
) -> Any:
    """Join an event and a function.

    Args:
        event: Such as `button.click`.
        work: Called with the inputs' values.
        inputs: Components.
        outputs: Components.
        quiet: No sign of work over the outputs: it shows its own, or takes no time.
        many: Several may run at once, such as those that only wait for a job.
        turns: Leaves the outputs as they are if a later call with the same `Turns` has begun;
            and no call is dropped because an earlier one still runs.
    """
    return event(
        work if turns is None else _in_turn(work, turns, len(outputs)),
        inputs=list(inputs),
        outputs=list(outputs),
        show_progress="hidden" if quiet else "minimal",
        api_visibility="private",
        concurrency_limit=None if many else 2,
        trigger_mode="multiple" if turns else None,
    )


def _in_turn(work: Callable[..., Any], turns: Turns, outputs: int) -> Callable[..., Any]:
    """Return the function with the request before its parameters, as Gradio reads them."""

    def run(request: gr.Request, *given: Any) -> Any:
        page = str(request.session_hash)
        turn = turns.take(page)
        values = work(*given)
        if turns.holds(page, turn):
            return values
        return gr.skip() if outputs == 1 else tuple(gr.skip() for _ in range(outputs))

    first = inspect.Parameter("request", inspect.Parameter.POSITIONAL_ONLY)
    own = inspect.signature(work).parameters.values()
    run.__signature__ = inspect.Signature([first, *own])  # type: ignore[attr-defined]
    plain = getattr(work, "func", work)  # of a partial
    run.__annotations__ = {**typing.get_type_hints(plain), "request": gr.Request}
    return run
