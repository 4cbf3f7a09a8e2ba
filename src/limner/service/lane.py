"""The slow lane: one thread for the answers that need torch, so that faces never wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from limner.service.pool import step_back, too_busy

_T = TypeVar("_T")
_MOST_WAITING = 8
_KEPT = 3


class SlowLane:
    """One thread, and the few networks that it has loaded."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(
            1, thread_name_prefix="limner-slow", initializer=step_back
        )
        self._waiting = 0
        self._kept: dict[str, Any] = {}

    async def run(self, work: Callable[..., _T], *args: Any) -> _T:
        """Run something on the thread.

        Raises:
            ServiceError: If eight others wait (429).
        """
        if self._waiting >= _MOST_WAITING:
            raise too_busy(10)
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread, work, *args)
        finally:
            self._waiting -= 1

    def keep(self, name: str, load: Callable[[], _T]) -> _T:
        """Return what `load` made, made once; three such things are kept. Call it in `run`."""
        found: _T = self._kept.pop(name) if name in self._kept else load()
        self._kept[name] = found  # the newest last
        while len(self._kept) > _KEPT:
            del self._kept[next(iter(self._kept))]
        return found

    def close(self) -> None:
        """Finish what waits and end the thread."""
        self._thread.shutdown(wait=True)
        self._kept.clear()
