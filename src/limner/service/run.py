"""Run the service until it is told to stop; then end what is under way."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn

from limner.errors import ServiceError
from limner.service.connections import Connections

if TYPE_CHECKING:
    from fastapi import FastAPI

    from limner.service.engine import Engine

GRACE_S = 30
_BACKLOG = 2048


class Server(uvicorn.Server):
    """A server that tells the engine of the stop signal before it waits for requests.

    Args:
        config: Of uvicorn.
        engine: The application's.
    """

    def __init__(self, config: uvicorn.Config, engine: Engine) -> None:
        super().__init__(config)
        self._engine = engine

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take no new work, let what is under way end."""
        self._engine.begin_stop()
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True  # a second Ctrl-C
        # uvicorn's own would raise the signal again at the end: a stop is no failure
        self.should_exit = True


def serve(app: FastAPI, *, on_address: Callable[[str], None] = lambda address: None) -> None:
    """Listen on the settings' address until Ctrl-C or SIGTERM.

    Requests under way get 30 s to end; the running job writes a checkpoint.

    Args:
        app: As `create_app` returns it.
        on_address: Told ``http://host:port`` once the port is open.

    Raises:
        ServiceError: If the address cannot be listened on.
    """
    engine: Engine = app.state.limner
    chosen = engine.settings
    listener = _listen(chosen.host, chosen.port)
    host, port = listener.getsockname()[:2]
    on_address(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")
    config = uvicorn.Config(
        app,
        http=Connections().protocol(),
        log_level="warning",
        access_log=False,  # the audit log has what is needed
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
        timeout_keep_alive=30,
        backlog=_BACKLOG,
    )
    try:
        Server(config, engine).run(sockets=[listener])
    finally:
        listener.close()


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(_BACKLOG)
            listener.setblocking(False)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise ServiceError(
            f"{host} port {port} cannot be listened on: {(error.strerror or str(error)).lower()}; "
            "choose another with --port."
        ) from error
    return listener
