"""Read numpy arrays out of a pickle without unpickling it.

Unpickling runs whatever the file says. Here its instructions are only read, by
`pickletools.genops`, and followed by a machine of our own that knows dictionaries, strings,
numbers, tuples and the names with which numpy writes an array. Anything else is refused;
nothing is imported and nothing is called.
"""

from __future__ import annotations

import math
import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limner.errors import WeightsError

LARGEST_BYTES = 1 << 30
_EMPTY = ("numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct")
_NAMES = (*_EMPTY, "numpy ndarray", "numpy dtype")
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_LITERALS = {"BINUNICODE", "BININT", "BININT1", "BININT2", "BINBYTES", "SHORT_BINBYTES"}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_MARK = object()


def read_arrays(path: Path) -> dict[str, NDArray[np.float32]]:
    """Return the float32 arrays of a pickled, nested dictionary.

    Args:
        path: A pickle of dictionaries with strings as keys and numpy arrays as leaves.

    Returns:
        By the keys on the way to each, such as `VGG16_0/Conv_0/kernel`.

    Raises:
        WeightsError: If the file cannot be read, is damaged, or holds anything else.
    """
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise WeightsError(f"{path} is too large for a weight file.")
        data = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}.") from error
    try:
        found: dict[str, NDArray[np.float32]] = {}
        _flatten("", _Machine().run(data), found)
    except Exception as error:  # genops raises what a damaged byte leads it to
        raise WeightsError(f"{path} is not a pickle of float32 arrays: {error}.") from error
    return found


@dataclass(frozen=True)
class _Name:
    """A name that the file mentions; never looked up."""

    name: str


@dataclass
class _Type:
    """numpy's dtype: its code, and the byte order that comes after it."""

    code: str
    order: str = ""


@dataclass
class _Array:
    """An array: empty at first, as numpy writes it, then filled."""

    values: NDArray[np.float32] | None = None


class _Machine:
    """Follows a pickle's instructions with a stack and a memory, as Python's own does."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memory: dict[int, Any] = {}
        self.steps: dict[str, Callable[[], None]] = {
            "EMPTY_DICT": lambda: self.stack.append({}),
            "MARK": lambda: self.stack.append(_MARK),
            "TUPLE": lambda: self.stack.append(tuple(self._above_mark())),
            "SETITEM": lambda: self._set_items([self.stack.pop(), self.stack.pop()][::-1]),
            "SETITEMS": lambda: self._set_items(self._above_mark()),
            "REDUCE": self._reduce,
            "BUILD": self._build,
        }

    def run(self, data: bytes) -> Any:
        """Return what the pickle describes."""
        for operation, argument, _ in pickletools.genops(data):
            name = operation.name
            if name == "STOP":
                (result,) = self.stack
                return result
            if name in _LITERALS:
                self.stack.append(argument)
            elif name in _CONSTANTS:
                self.stack.append(_CONSTANTS[name])
            elif name in ("BINPUT", "LONG_BINPUT"):
                self.memory[int(argument or 0)] = self.stack[-1]
            elif name in ("BINGET", "LONG_BINGET"):
                self.stack.append(self.memory[int(argument or 0)])
            elif name in _TUPLES:
                count = _TUPLES[name]
                self.stack[len(self.stack) - count :] = [
                    tuple(self.stack[-count:] if count else ())
                ]
            elif name == "GLOBAL" and argument in _NAMES:
                self.stack.append(_Name(argument))
            elif name in self.steps:
                self.steps[name]()
            elif name != "PROTO":
                raise ValueError(f"{name} {argument or ''}".strip() + " has no place in one")
        raise ValueError("it has no end")

    def _above_mark(self) -> list[Any]:
        at = max(i for i, value in enumerate(self.stack) if value is _MARK)
        taken = self.stack[at + 1 :]
        del self.stack[at:]
        return taken

    def _set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict) or len(items) % 2:
            raise ValueError("keys and values do not pair")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, str) or not isinstance(value, dict | _Array):
                raise ValueError("only arrays and dictionaries of them are read")
            target[key] = value

    def _reduce(self) -> None:
        """Stand in for the two calls that numpy writes: an empty array, and a type."""
        arguments, callee = self.stack.pop(), self.stack.pop()
        if callee == _Name("numpy dtype"):
            self.stack.append(_Type(str(arguments[0])))
        elif isinstance(callee, _Name) and callee.name in _EMPTY:
            self.stack.append(_Array())
        else:
            raise ValueError("something is called that is no array")

    def _build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, _Type):
            target.order = str(state[1])
        elif isinstance(target, _Array):
            target.values = _values(*state)
        else:
            raise ValueError("something is filled that is no array")


def _values(
    version: int, shape: tuple[int, ...], kind: object, fortran: bool, data: bytes
) -> NDArray[np.float32]:
    if version != 1 or kind != _Type("f4", "<") or fortran is not False:
        raise ValueError("only little-endian float32 arrays in C order are read")
    sides = tuple(int(side) for side in shape)
    if min(sides, default=1) < 0 or len(data) != 4 * math.prod(sides):
        raise ValueError(f"an array of shape {sides} has not as many numbers")
    return np.frombuffer(data, "<f4").reshape(sides)


def _flatten(prefix: str, value: Any, found: dict[str, NDArray[np.float32]]) -> None:
    if isinstance(value, _Array) and value.values is not None:
        found[prefix] = value.values
    elif isinstance(value, dict):
        for key, inner in value.items():
            _flatten(f"{prefix}/{key}" if prefix else key, inner, found)
    else:
        raise ValueError("only arrays and dictionaries of them are read")
