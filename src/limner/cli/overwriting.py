"""No command writes over what it reads: one rule, asked before every command begins."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from limner.errors import InputError

WRITES = frozenset({"out", "draw", "plot"})
"""The parameters of all commands that name what is written."""

ALSO_WRITES = {"export": frozenset({"file"})}
"""Parameters of single commands that do so too."""

FREE_NAMES = frozenset({"draw"})
"""Those that, given a folder, choose names in it that no file has that was read."""

_READ_FOLDERS = frozenset({"photos", "images", "patches", "test", "train"})
_KEPT_APART = (".json",)


def guard(command: Any) -> Any:
    """Return a command, or group of commands, that asks `check` before it begins."""
    for inner in getattr(command, "commands", {}).values():
        guard(inner)
    if hasattr(command, "commands"):
        return command
    begin = command.invoke

    def invoke(context: Any) -> Any:
        arguments = {p.name for p in command.params if p.param_type_name == "argument"}
        check(str(command.name), context.params, arguments)
        return begin(context)

    command.invoke = invoke
    return command


def check(command: str, values: Mapping[str, Any], arguments: set[str]) -> None:
    """Refuse to write over an input.

    Args:
        command: Its name.
        values: Its parameters.
        arguments: The names of those that are no options.

    Raises:
        InputError: If what is to be written is a file that is read, or lies in a folder that
            is read, or is that folder.
    """
    writes = WRITES | ALSO_WRITES.get(command, frozenset())
    for name in sorted(writes & set(values)):
        target = values[name]
        if not isinstance(target, str) or not os.path.exists(target):
            continue
        for other, path in _paths(values, skip=writes):
            if os.path.samefile(path, target):
                if os.path.isdir(target) and (name in FREE_NAMES or other not in arguments):
                    continue
                what = "the folder" if os.path.isdir(target) else "the file"
                raise InputError(
                    f"{target} is {what} that is read, and would be written over; give another "
                    "name for the result."
                )
            read_whole = other in arguments or other in _READ_FOLDERS
            if read_whole and _lies_in(target, path):
                raise InputError(
                    f"{target} lies in the folder {path} that is read, and would be written over; "
                    "give another name for the result."
                )


def _paths(values: Mapping[str, Any], *, skip: frozenset[str]) -> Iterator[tuple[str, str]]:
    """Yield every value that names something on the disk, with its parameter."""
    for name, value in values.items():
        if name in skip:
            continue
        several: Sequence[Any] = value if isinstance(value, list | tuple) else [value]
        for one in several:
            if isinstance(one, str | Path) and str(one) and os.path.exists(one):
                yield name, str(one)


def _lies_in(target: str, folder: str) -> bool:
    if not os.path.isfile(target) or not os.path.isdir(folder) or target.endswith(_KEPT_APART):
        return False
    return Path(target).resolve().is_relative_to(Path(folder).resolve())


def refuse(target: str, read: Sequence[str]) -> None:
    """Refuse to write over a file that a record of an earlier run names.

    Raises:
        InputError: If `target` is one of the files in `read`.
    """
    if is_any(Path(target), read):
        raise InputError(
            f"{target} is the file that is read, and would be written over; give another name for "
            "the result."
        )


def is_any(path: Path, others: Sequence[str]) -> bool:
    """Tell whether a path is one of some files, by whatever name."""
    return path.exists() and any(
        os.path.exists(other) and os.path.samefile(path, other) for other in others
    )
