"""Of several calls at once, the one that began last answers."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import gradio as gr
import pytest
from gradio.helpers import special_args

from limner.studio.events import Turns, _in_turn


def page(name):
    return SimpleNamespace(session_hash=name)


def is_skip(value):
    return isinstance(value, dict) and value == gr.skip()


def test_a_slow_earlier_call_does_not_overwrite_a_later_one():
    began, may_end = threading.Event(), threading.Event()

    def work(value: str) -> str:
        if value == "old":
            began.set()
            assert may_end.wait(10)
        return value

    run = _in_turn(work, Turns(), 1)
    late = []
    thread = threading.Thread(target=lambda: late.append(run(page("a"), "old")))
    thread.start()
    assert began.wait(10)
    assert run(page("a"), "new") == "new"
    may_end.set()
    thread.join()
    assert is_skip(late[0])


def test_pages_do_not_disturb_each_other_and_several_outputs_stay():
    turns = Turns()

    def work(inner: str) -> tuple[str, str]:
        if inner:
            run(page(inner), "")
        return "x", "y"

    run = _in_turn(work, turns, 2)
    assert run(page("a"), "b") == ("x", "y")
    assert all(is_skip(v) for v in run(page("a"), "a"))


def test_pages_that_were_left_are_forgotten(monkeypatch):
    monkeypatch.setattr(Turns, "_PAGES", 3)
    turns = Turns()
    for name in "abcde":
        turns.take(name)
    assert len(turns._last) == 3


@pytest.mark.parametrize("work", [lambda a, b: (a, b), lambda: ()])
def test_gradio_reads_the_request_first(work):
    run = _in_turn(work, Turns(), 2)
    given = list("ab"[: work.__code__.co_argcount])
    asker = page("a")
    assert special_args(run, list(given), request=asker)[0] == [asker, *given]


def test_gradio_still_gives_the_event():
    def work(name: str, event: gr.EventData) -> str:
        return f"{name} {event._data}"

    run = _in_turn(work, Turns(), 1)
    inputs, _, place, _ = special_args(
        run, ["n"], request=page("a"), event_data=gr.EventData(None, "d")
    )
    assert place == 2
    assert run(*inputs) == "n d"
