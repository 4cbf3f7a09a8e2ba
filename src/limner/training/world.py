"""How many processes share a training, and which of them this is: asked in one place."""

from __future__ import annotations

import os
from dataclasses import dataclass

from limner.errors import InputError


@dataclass(frozen=True)
class World:
    """The processes of one training.

    Attributes:
        local: On this machine.
        nodes: Machines.
    """

    local: int = 1
    nodes: int = 1

    @property
    def size(self) -> int:
        """Processes in all."""
        return self.local * self.nodes


def world(processes: int = 1) -> World:
    """Return the processes that share a training.

    Args:
        processes: What was asked for on this machine. Under ``torchrun`` 1 means as many as
            it started, and any other number must be that.

    Raises:
        InputError: If a number is below 1, or contradicts ``torchrun``.
    """
    if processes < 1:
        raise InputError(f"processes must be 1 or larger, got {processes}.")
    if not _is_launched():
        return World(processes)
    size = int(os.environ["WORLD_SIZE"])
    local = int(os.environ.get("LOCAL_WORLD_SIZE", size))
    if processes not in (1, local):
        raise InputError(
            f"torchrun started {local} processes on this machine, but {processes} are asked for "
            "(--processes); leave --processes out."
        )
    return World(local, max(1, size // local))


def rank() -> int:
    """Return which of all processes this is, on whatever machine; 0 writes the model."""
    for name in ("RANK", "LOCAL_RANK"):
        if os.environ.get(name, "").isdigit():
            return int(os.environ[name])
    return 0


def _is_launched() -> bool:
    """Tell whether ``torchrun`` (or the like) started this process; Lightning sets no RANK."""
    return "RANK" in os.environ and os.environ.get("WORLD_SIZE", "").isdigit()
