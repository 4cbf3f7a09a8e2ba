"""How many requests a minute: a bucket of tokens for each key."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

_MOST = 10_000


class Buckets:
    """Token buckets that hold a minute's requests and refill evenly.

    Args:
        per_minute: Tokens of a full bucket.
        clock: Seconds that only grow.
    """

    def __init__(self, per_minute: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = float(per_minute)
        self._clock = clock
        self._left: dict[str, tuple[float, float]] = {}

    def _now(self, name: str) -> tuple[float, float]:
        now = self._clock()
        left, then = self._left.get(name, (self._most, now))
        return min(self._most, left + (now - then) * self._most / 60), now

    def take(self, name: str) -> int:
        """Take a token; return 0, or the whole seconds until there is one."""
        left, now = self._now(name)
        if left < 1:
            return max(1, math.ceil((1 - left) * 60 / self._most))
        if len(self._left) >= _MOST:  # full buckets need no memory
            self._left = {n: kept for n, kept in self._left.items() if self._now(n)[0] < self._most}
        self._left[name] = (left - 1, now)
        return 0
