"""A run between two closure calls, as one file: what `--resume` goes on from.

The file is safetensors with plain JSON in its header, written whole or not at all. No pickle.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

_VERSION = 1


@dataclass(frozen=True)
class Checkpoint:
    """Where a run stands.

    Attributes:
        fingerprint: Of the options, inputs and encoder; another run is refused.
        level: Index into the levels.
        done: Closure calls that were made at this level.
        tensors: The optimiser's, and the best picture so far (`best`).
        numbers: The optimiser's plain numbers.
        best: Lowest cost at this level.
        trace: One entry a closure call so far.
        seconds: Spent so far.
    """

    fingerprint: str
    level: int
    done: int
    tensors: dict[str, Tensor]
    numbers: dict[str, Any]
    best: float
    trace: list[dict[str, Any]]
    seconds: float


def fingerprint_of(document: object) -> str:
    """Return a SHA-256 over a JSON document's canonical text."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def save(path: Path, point: Checkpoint) -> None:
    """Write a checkpoint, whole or not at all.

    Raises:
        InputError: If the disk refuses.
    """
    from safetensors.torch import save as serialise

    note = {
        "version": _VERSION,
        "fingerprint": point.fingerprint,
        "level": point.level,
        "done": point.done,
        "numbers": point.numbers,
        "best": point.best,
        "trace": point.trace,
        "seconds": point.seconds,
    }
    tensors = {name: value.detach().clone().contiguous() for name, value in point.tensors.items()}
    data = serialise(tensors, {"limner": json.dumps(note)})
    write_whole(path, data)


def keep(path: Path, point: Checkpoint, remarks: list[str]) -> None:
    """Write a checkpoint; where the disk refuses, the run goes on and a remark says so."""
    try:
        save(path, point)
    except InputError as error:
        remark = f"The run cannot be resumed: {error}"
        if remark not in remarks:
            remarks.append(remark)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that it appears whole or not at all.

    Raises:
        InputError: If the disk refuses.
    """
    temporary = path.with_name(f".{secrets.token_hex(8)}.part")  # beside it: renaming is whole
    try:
        try:
            temporary.write_bytes(data)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InputError(f"{path} cannot be written: {reason}.") from error


def read(path: Path, *, fingerprint: str) -> Checkpoint:
    """Read a checkpoint of the run with this fingerprint.

    Raises:
        InputError: If there is none, it is damaged, or it is of another run.
    """
    from safetensors import safe_open

    if not path.exists():
        raise InputError(f"There is no checkpoint {path} to resume from; start without --resume.")
    try:
        with safe_open(path, framework="pt") as file:
            note = json.loads((file.metadata() or {})["limner"])
            # Copies, because sums depend in their last bit on how memory is aligned.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}
        found = Checkpoint(
            str(note["fingerprint"]),
            int(note["level"]),
            int(note["done"]),
            tensors,
            dict(note["numbers"]),
            float(note["best"]),
            list(note["trace"]),
            float(note["seconds"]),
        )
        version = note["version"]
    except Exception as error:
        raise InputError(f"The checkpoint {path} is damaged: {error}.") from error
    if version != _VERSION or found.fingerprint != fingerprint:
        raise InputError(
            f"The checkpoint {path} belongs to a run with other pictures, options or weights; "
            "resume that one, or start without --resume."
        )
    return found
