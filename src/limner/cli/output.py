"""What every command prints, and how it ends.

Results go to standard output, everything else (progress, notes, warnings, errors) to
standard error. With ``--json`` standard output holds exactly one JSON document, also
when the command fails: ``{"error": {"type": "ImageError", "message": "..."}}``.

Exit statuses: 0 same, recognised or done; 1 different or not recognised; 2 error;
130 interrupted; 141 the reader of the output went away.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.errors import LimnerError

if TYPE_CHECKING:
    from rich.console import Console

OK = 0
NO = 1
ERROR = 2
INTERRUPTED = 130
PIPE_CLOSED = 141

DEBUG_VARIABLE = "LIMNER_DEBUG"

Progress = Callable[[str, int, int | None], None]


@dataclass
class _State:
    """What the running command was asked for; reset before each command."""

    json: bool = False


STATE = _State()


def wants_json() -> bool:
    """Tell whether the running command was given ``--json``."""
    return STATE.json


def _plain_value(value: object) -> object:
    """Turn the few non-JSON values that limner's types hold into JSON ones."""
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "to_json"):
        return value.to_json()
    if hasattr(value, "tolist"):  # numpy arrays and scalars
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON.")


def emit_json(document: object) -> None:
    """Print one JSON document on standard output (UTF-8 names stay readable where they can)."""
    encoding = (sys.stdout.encoding or "ascii").lower().replace("-", "")
    text = json.dumps(
        document,
        ensure_ascii=encoding != "utf8",
        indent=2,
        allow_nan=False,
        default=_plain_value,
    )
    # File names that are not UTF-8 arrive as lone surrogates, which no stream can encode.
    print(text.encode("utf-8", "backslashreplace").decode("utf-8"), flush=True)


def printable(text: object) -> str:
    """Return `text` with control characters and lone surrogates made harmless.

    A file or person name must not move the cursor, colour the terminal or break a line.
    """
    safe = str(text).encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in safe)


def say(text: str = "") -> None:
    """Print lines of the result on standard output; silent with ``--json``."""
    if not STATE.json:
        print("\n".join(printable(line) for line in text.split("\n")))


def note(text: str) -> None:
    """Print one line for the person at the terminal on standard error."""
    print(printable(text), file=sys.stderr)


def warn(text: str) -> None:
    """Print a warning on standard error; it does not change the exit status."""
    note(f"warning: {text}")


def can_ask() -> bool:
    """Tell whether somebody sits at the terminal who can answer; with ``--json`` nobody does."""
    return not STATE.json and sys.stdin.isatty() and sys.stderr.isatty()


def ask(sentence: str) -> bool:
    """Say a sentence and ask whether to go on all the same; Enter alone means no."""
    import typer

    return typer.confirm(f"{printable(sentence)} Enrol it all the same?", default=False, err=True)


def console() -> Console:
    """Return a rich console on standard error (rich is imported here, not before)."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, markup=False)


def print_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    right: Sequence[str] = (),
) -> None:
    """Print rows as aligned columns on standard output; silent with ``--json``.

    Args:
        columns: Headings.
        rows: Cells, as long as `columns`; None prints as a dash.
        right: Headings of the columns that are aligned to the right (figures).
    """
    if STATE.json:
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    terminal = sys.stdout.isatty()
    for column in columns:
        table.add_column(
            Text(column), justify="right" if column in right else "left", no_wrap=not terminal
        )
    for row in rows:
        table.add_row(*(Text("-" if cell is None else printable(cell)) for cell in row))
    # A pipe has no width: give it room instead of folding names in the middle.
    Console(highlight=False, width=None if terminal else 10_000).print(table, crop=terminal)


@contextlib.contextmanager
def progress_bar(label: str, total: int | None) -> Iterator[Callable[[], None]]:
    """Show a bar on standard error while the block runs; call the yielded function per step.

    Nothing is drawn when standard error is not a terminal or for fewer than three steps.
    """
    if not sys.stderr.isatty() or (total is not None and total < 3):
        yield lambda: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Remaining())
    with Progress(*columns, console=console(), transient=True) as bars:
        task = bars.add_task(label, total=total)
        yield lambda: bars.advance(task)


@contextlib.contextmanager
def fetch_progress() -> Iterator[Progress]:
    """Yield a callback ``(label, done_bytes, total_bytes | None)`` for `limner.weights.load`.

    On a terminal it draws one bar per label; elsewhere it says each label once.
    """
    if not sys.stderr.isatty():
        seen: set[str] = set()

        def once(label: str, done: int, total: int | None) -> None:
            if label not in seen:
                seen.add(label)
                note(label)

        yield once
        return
    from rich.progress import BarColumn, DownloadColumn, TaskID, TextColumn
    from rich.progress import Progress as Bars

    tasks: dict[str, TaskID] = {}
    with Bars(
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), console=console()
    ) as bars:

        def advance(label: str, done: int, total: int | None) -> None:
            if label not in tasks:
                tasks[label] = bars.add_task(label.replace("[", "\\["), total=total)
            bars.update(tasks[label], completed=done, total=total)

        yield advance


def one_line(error: BaseException) -> str:
    """Return an error's message on one line."""
    return " ".join(str(error).split()) or type(error).__name__


def report_error(kind: str, message: str) -> None:
    """Say ``error: message`` on standard error and, with ``--json``, also as JSON on output."""
    if STATE.json:
        try:
            emit_json({"error": {"type": kind, "message": message}})
        except OSError:  # standard output itself is what failed
            drop_stdout()
    note(f"error: {message}")


def report_exception(error: Exception) -> None:
    """Report any exception on one line; the trace only when ``LIMNER_DEBUG`` is set."""
    message = one_line(error)
    if not isinstance(error, LimnerError):
        message = f"{_unexpected(error)}: {message}"
        if not os.environ.get(DEBUG_VARIABLE) and not isinstance(error, OSError):
            message += f" (set {DEBUG_VARIABLE}=1 to see the trace)"
    if os.environ.get(DEBUG_VARIABLE):
        traceback.print_exception(error, file=sys.stderr)
    report_error(type(error).__name__, message)


def _unexpected(error: Exception) -> str:
    """Name an exception that limner did not raise on purpose."""
    if isinstance(error, OSError):
        return "the system refused"  # a full disk, a closed stream
    if isinstance(error, MemoryError):
        return "out of memory"
    return f"unexpected {type(error).__name__}, which is a fault of limner"


def drop_stdout() -> None:
    """Point standard output at nothing, so that a closed pipe is not reported at exit."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _json_asked(value: bool) -> bool:
    STATE.json = STATE.json or value
    return value


def json_callback(value: Any) -> bool:
    """Remember ``--json`` as soon as it is parsed, so that errors are JSON as well."""
    return _json_asked(bool(value))
