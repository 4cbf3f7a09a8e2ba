"""What of Gradio's own routes the page needs, and nothing beside it.

Gradio answers far more than a page of ours asks for: it copies files that an event names, fetches
addresses, keeps links to a page's state and runs events without a queue. This middleware stands
before all of it, with keys or without, in the service as on a Space.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from starlette.requests import ClientDisconnect

from limner.errors import InputError
from limner.service.guard import Message, Receive, Scope, Send, is_foreign

_GET = re.compile(
    r"/|/(?:config|gradio_api/info|gradio_api/app_id)/?|/(?:gradio_api/)?theme\.css|/favicon\.ico"
    r"|/robots\.txt|/manifest\.json|/(?:static|assets|svelte)/.+"
    r"|/gradio_api/(?:startup-events|queue/data|upload_progress|heartbeat/[\w-]{1,64}|file=.+)"
)
_POST = re.compile(r"/gradio_api/(?:queue/join/?|upload|cancel|reset/?)")
_FILE, _UPLOAD = "/gradio_api/file=", "/gradio_api/upload"
_MOST_JSON_BYTES = 1 << 20
_FORM_BYTES = 64 * 1024
"""Room for the form around the files."""


class PageGuard:
    """Middleware around the page alone.

    Args:
        app: Gradio's application.
        uploads: The folder that uploads lie in; no other file is read or given away.
        max_bytes: Of the files of one upload, all together.
    """

    def __init__(self, app: Any, *, uploads: Path, max_bytes: int) -> None:
        self._app, self._uploads, self._max_bytes = app, uploads, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request of the page, or refuse it."""
        if scope["type"] != "http":  # the page opens no web socket
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = {n.decode("latin-1"): v.decode("latin-1") for n, v in scope["headers"]}
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await _refuse(send, *refusal)
            return
        most = self._most(scope["path"])
        length = headers.get("content-length", "0")
        if length.isascii() and length.isdigit() and int(length) > most:
            await _refuse(send, 413, f"the request is larger than {most:,} bytes.")
            return
        if scope["method"] == "POST" and scope["path"] != _UPLOAD:
            await self._checked(scope, receive, send, most)
            return
        body = _Body(receive, most)
        try:
            await self._app(scope, body.receive, _without_cors(send, body))
        except ClientDisconnect:
            if not body.is_too_large:
                raise
        if body.is_too_large:
            await _refuse(send, 413, f"the request is larger than {most:,} bytes.")

    def _most(self, path: str) -> int:
        return self._max_bytes + _FORM_BYTES if path == _UPLOAD else _MOST_JSON_BYTES

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str] | None:
        path, method = scope["path"], scope["method"]
        allowed = {"GET": _GET, "HEAD": _GET, "POST": _POST}.get(method)
        if allowed is None or not allowed.fullmatch(path):
            return 404, "the page has no such path."
        if is_foreign(headers, method):
            return 403, "requests from pages of other sites are refused."
        if path.startswith(_FILE):
            try:
                uploaded(path[len(_FILE) :], self._uploads)
            except InputError as error:
                return 403, str(error)
        return None

    async def _checked(self, scope: Scope, receive: Receive, send: Send, most: int) -> None:
        """Read a small JSON body, refuse one that names a foreign file, and pass it on."""
        data = bytearray()
        more = True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                return
            data += message.get("body", b"")
            if len(data) > most:
                await _refuse(send, 413, f"the request is larger than {most:,} bytes.")
                return
            more = message.get("more_body", False)
        try:
            check_files(json.loads(bytes(data)), self._uploads)
        except (ValueError, RecursionError) as error:
            known = isinstance(error, InputError)
            await _refuse(send, 422, str(error) if known else "the request is not valid JSON.")
            return
        given = [{"type": "http.request", "body": bytes(data), "more_body": False}]

        async def again() -> Message:
            return given.pop() if given else await receive()

        await self._app(scope, again, _without_cors(send))


class _Body:
    """Counts the bytes of a body as they come, and ends it where they are too many.

    The application then sees a visitor who has gone; what it says to that is not sent.
    """

    def __init__(self, receive: Receive, most: int) -> None:
        self._receive, self._most, self._count = receive, most, 0
        self.is_too_large = False

    async def receive(self) -> Message:
        message = await self._receive()
        self._count += len(message.get("body", b""))
        if self._count > self._most:
            self.is_too_large = True
            return {"type": "http.disconnect"}
        return message


def _without_cors(send: Send, body: _Body | None = None) -> Send:
    """Return a `send` that drops Gradio's CORS headers: other sites may read nothing."""

    async def stripped(message: Message) -> None:
        if body is not None and body.is_too_large:
            return
        if message["type"] == "http.response.start":
            headers = [
                (name, value)
                for name, value in message.get("headers", [])
                if not name.lower().startswith(b"access-control-")
            ]
            message = {**message, "headers": headers}
        await send(message)

    return stripped


def uploaded(path: object, uploads: Path) -> Path:
    """Return the path of an upload.

    Args:
        path: As Gradio names it.
        uploads: The folder that uploads lie in.

    Raises:
        InputError: If it is an address, or lies anywhere else.
    """
    if isinstance(path, str) and "\0" not in path and len(path) < 4096:
        try:
            found = Path(path).resolve()
        except OSError:
            found = Path("/")
        if Path(path).is_absolute() and found.is_relative_to(uploads.resolve()):
            return found
    raise InputError("only files that were uploaded to the page can be used.")


def check_files(document: Any, uploads: Path) -> None:
    """Refuse a document that names a file outside the uploads, however deep.

    Raises:
        InputError: If it does.
    """
    left = [document]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            if one.get("path") is not None:
                uploaded(one["path"], uploads)
            left += one.values()
        elif isinstance(one, list):
            left += one


async def _refuse(send: Send, status: int, words: str) -> None:
    body = json.dumps({"error": {"type": "Refused", "message": words}}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
