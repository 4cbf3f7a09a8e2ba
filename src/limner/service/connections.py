"""Connections: how long the head of a request may take, how large it is, and how many there are.

uvicorn waits for a head without end and takes every connection; a few hundred half requests are
then enough to keep everybody else out.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

HEAD_S = 10.0
"""How long the head of a request may take to arrive, in seconds."""
HEAD_BYTES = 64 * 1024
_FILES_KEPT = 96  # for the gallery, the jobs, the workers and the weights
_MOST, _FEWEST = 2048, 16
_FULL = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 2\r\nconnection: close\r\n\r\n"
_SLOW = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n\r\n"
_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n\r\n"


def most_connections() -> int:
    """Return how many connections fit beside the files that the service needs itself."""
    try:
        import resource
    except ImportError:  # not on this system
        return _MOST
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if allowed == resource.RLIM_INFINITY:
        return _MOST
    return max(_FEWEST, min(_MOST, allowed - _FILES_KEPT))


class Connections:
    """The connections of one server, counted by address.

    Args:
        most: How many there may be; None: as many as fit.
    """

    def __init__(self, most: int | None = None) -> None:
        self._most = most_connections() if most is None else most
        self._from: Counter[str] = Counter()

    def enter(self, address: str) -> bool:
        """Count a connection; False: there are too many, of all or of this address.

        Half of the places are for any one address: behind a proxy everybody has the same.
        """
        if self._from.total() >= self._most or self._from[address] >= max(1, self._most // 2):
            return False
        self._from[address] += 1
        return True

    def leave(self, address: str) -> None:
        """Give a place back."""
        self._from[address] -= 1
        if self._from[address] <= 0:
            del self._from[address]

    def protocol(self) -> type[asyncio.Protocol]:
        """Return the protocol for uvicorn's `Config(http=...)`."""
        return type("LimnerProtocol", (_Protocol,), {"places": self})


class _Protocol(HttpToolsProtocol):
    """uvicorn's protocol with a clock and a scale for heads, and a limited number of places."""

    places: Connections
    _address: str | None = None
    _clock: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _in_head = True

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._under_way: list[RequestResponseCycle] = []
        address = self.client[0] if self.client else "?"
        if not self.places.enter(address):
            transport.write(_FULL)
            transport.close()
            return
        self._address = address
        self._begin_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_head()
        if self._address is not None:
            self.places.leave(self._address)
            self._address = None
        super().connection_lost(exc)
        self._abandon()

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        was_in_head = self._in_head
        super().data_received(data)
        if was_in_head and self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES and not self.transport.is_closing():
                self._close(_LARGE)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._begin_head()

    def on_headers_complete(self) -> None:
        self._end_head()
        super().on_headers_complete()
        self._under_way = [one for one in self._under_way if not one.response_complete]
        if self.cycle is not None:
            self._under_way.append(self.cycle)

    def send_400_response(self, msg: str) -> None:
        super().send_400_response(msg)
        self._abandon()

    def _abandon(self) -> None:
        """Let every request under way know that nobody listens, before it writes to a closed line.

        uvicorn tells the last one alone, where several came at once.
        """
        for cycle in self._under_way:
            if not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
        self._under_way.clear()

    def _begin_head(self) -> None:
        if self._clock is None:
            self._head_bytes = 0
            self._clock = self.loop.call_later(HEAD_S, self._close, _SLOW)
        self._in_head = True

    def _end_head(self) -> None:
        self._in_head = False
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None

    def _close(self, answer: bytes) -> None:
        if not self.transport.is_closing():
            if self.cycle is None or self.cycle.response_complete:
                self.transport.write(answer)
            self.transport.close()
            self._abandon()
