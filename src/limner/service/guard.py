"""The guard before every request: size, origin, key, rate, room; and the books after it.

A plain ASGI middleware, so that it costs little and sees the body's bytes as they come.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import json
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from limner.errors import ServiceError
from limner.service.engine import Engine
from limner.service.errors import answer_to
from limner.service.keys import LOCAL, Key
from limner.service.pool import too_busy
from limner.service.rates import Buckets
from limner.service.settings import is_loopback

LOG = logging.getLogger("limner.service")
Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

OPEN_PATHS = ("/healthz", "/readyz")
API = "/v1/"
BODY_S = 60.0
"""How long a request may take to arrive."""

_SAFE = ("GET", "HEAD", "OPTIONS")
_FORWARDED = ("forwarded", "via", "x-real-ip")
_STOP_POLL_S = 0.5
_DRAIN_BYTES, _DRAIN_S = 1 << 20, 1.0
_REFUSALS_PER_MINUTE = 30
_PAGE_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' data: blob:; "
    "font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; object-src 'none'; "
    "base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
_API_POLICY = "default-src 'none'; frame-ancestors 'none'"
_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=(), payment=()",
}


def is_api(path: str) -> bool:
    """Tell whether a path belongs to the API, not to the page."""
    return path.startswith(API) or path in (*OPEN_PATHS, "/metrics", "/openapi.json")


def is_foreign(headers: dict[str, str], method: str) -> bool:
    """Tell whether a page of another site makes a visitor's browser ask.

    A link that somebody follows is a navigation, and may lead here; a picture, a script, a form or
    a `fetch` of that page may not, whatever the method.
    """
    if headers.get("sec-fetch-site") not in ("cross-site", "same-site"):
        return False
    return method not in _SAFE or headers.get("sec-fetch-mode") != "navigate"


class Guard:
    """Middleware around the whole application, the page included.

    Args:
        app: What it guards.
        engine: Keys, limits, measures and the audit log.
    """

    def __init__(self, app: Any, *, engine: Engine) -> None:
        self.app = app
        self.engine = engine
        chosen = engine.settings
        self._rates = Buckets(chosen.requests_per_minute)
        self._refused = Buckets(_REFUSALS_PER_MINUTE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or refuse it."""
        if scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        visit = _Visit(scope, receive, send, self.engine)
        measures = self.engine.measures
        measures.in_flight.inc()
        try:
            await self._answer(visit)
        finally:
            measures.in_flight.dec()
            visit.write_down()

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            headers = _headers(scope)
            self._check_origin(scope, headers, websocket=True)
            self._key(scope, headers)
        except ServiceError:
            await receive()
            await send({"type": "websocket.close", "code": 1008})
            return
        await self.app(scope, receive, send)

    async def _answer(self, visit: _Visit) -> None:
        entered = False
        try:
            headers = _headers(visit.scope)
            self._check_origin(visit.scope, headers)
            self._check_proxy(headers)
            visit.key = self._key(visit.scope, headers)
            self._check_rate(visit.key)
            visit.check_length(headers)
            if visit.is_work:
                if self.engine.under_way >= self.engine.settings.queue:
                    ready = self.engine.ready
                    raise too_busy(self.engine.pool.retry_after_s() if ready else 2)
                self.engine.under_way += 1
                entered = True
            visit.scope.setdefault("state", {})
            visit.scope["state"].update(key=visit.key, facts=visit.facts, request=visit.id)
            await self.app(visit.scope, visit.receive, visit.send)
        except ServiceError as error:
            await visit.refuse(error)
        except ClientDisconnect:
            return  # nobody is there to be answered
        except Exception as error:  # here, so that the answer has its id and its headers
            LOG.exception("request %s failed", visit.id)
            await visit.refuse(error)
        finally:
            if entered:
                self.engine.under_way -= 1

    # --- checks ------------------------------------------------------------------------

    def _check_origin(
        self, scope: Scope, headers: dict[str, str], *, websocket: bool = False
    ) -> None:
        """Refuse what another site makes a visitor's browser send, and rebound host names."""
        host = headers.get("host", "")
        if not self.engine.settings.keys_demanded:
            name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
            if not is_loopback(name.lower()) and self.engine.settings.demand_keys is None:
                raise _forbidden("this service answers to localhost and 127.0.0.1 only.")
        method = "WEBSOCKET" if websocket else scope["method"]
        if is_foreign(headers, method):
            raise _forbidden("requests from pages of other sites are refused.")
        origin = headers.get("origin")
        if method in _SAFE or origin is None:
            return
        if urlsplit(origin).netloc.lower() != host.lower():
            raise _forbidden("requests from pages of other sites are refused.")

    def _check_proxy(self, headers: dict[str, str]) -> None:
        """Refuse what came through a proxy where no key tells who is behind it; and a sub-path."""
        if not self.engine.settings.keys_demanded and any(
            name in _FORWARDED or name.startswith("x-forwarded-") for name in headers
        ):
            raise _forbidden(
                "this service was started without keys and is for this machine alone, but the "
                "request came through a proxy: start it with limner serve --keys."
            )
        if headers.get("x-forwarded-prefix", "/").strip("/") or headers.get("x-script-name"):
            raise ServiceError(
                "this service cannot lie below a path; give it a host name of its own.",
                status=422,
                kind="InvalidRequest",
            )

    def _key(self, scope: Scope, headers: dict[str, str]) -> Key | None:
        """Return who asks.

        Raises:
            ServiceError: If a key is needed and missing, or the one that came is not good.
        """
        path = scope["path"]
        sent = _sent_key(headers)
        if not sent:
            if path in OPEN_PATHS:
                return None
            if not self.engine.settings.keys_demanded:
                return LOCAL
        key = self.engine.keys.check(sent) if sent else None
        if key is None:  # only what is refused is slowed down: a good key always gets in
            address = (scope.get("client") or ("?",))[0]
            wait_s = self._refused.take(address)
            if wait_s:
                raise too_busy(wait_s)
            raise ServiceError(
                "an API key is needed: Authorization: Bearer KEY (`limner keys make`)."
                if not sent
                else "this API key is not known, or was revoked.",
                status=401,
                kind="Unauthorised",
            )
        if not is_api(path) and not key.allows("admin"):
            raise _forbidden("the page needs a key with the scope admin.")
        return key

    def _check_rate(self, key: Key | None) -> None:
        if key is None or key is LOCAL:
            return
        wait_s = self._rates.take(key.id)
        if wait_s:
            raise ServiceError(
                f"this key has made {self.engine.settings.requests_per_minute} requests in a "
                f"minute; try again in {wait_s} s.",
                status=429,
                kind="TooManyRequests",
                retry_after_s=wait_s,
            )


class _Visit:
    """One request on its way through: its id, its key, its status, its body's size."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, engine: Engine) -> None:
        self.scope, self._receive, self._send, self._engine = scope, receive, send, engine
        self.id = secrets.token_hex(8)
        self.key: Key | None = None
        self.facts: dict[str, Any] = {}
        self.status = 0
        self.began = time.perf_counter()
        self._body = 0
        self._ended = self._written = False

    @property
    def is_api(self) -> bool:
        """Whether it is for the API, not for the page."""
        return is_api(self.scope["path"])

    @property
    def is_work(self) -> bool:
        """Whether it may bring a photo, which needs room."""
        return bool(self.scope["path"].startswith(API) and self.scope["method"] == "POST")

    def check_length(self, headers: dict[str, str]) -> None:
        """Refuse a body that says it is too large, before any of it is read."""
        length = headers.get("content-length", "0")
        if self.is_api and length.isascii() and length.isdigit():
            self._check_bytes(int(length))

    def _check_bytes(self, count: int) -> None:
        most = self._engine.settings.max_bytes
        if count > most + 64 * 1024:  # room for the form around the files
            raise ServiceError(
                f"the request is larger than {most:,} bytes.", status=413, kind="TooLarge"
            )

    async def receive(self) -> Message:
        """Pass the body on, and stop where it grows too large or takes too long."""
        if self._ended:
            return await (self._receive() if self.is_api else self._receive_for_page())
        try:  # a slow sender must not hold a place for ever
            async with asyncio.timeout(BODY_S - (time.perf_counter() - self.began)):
                message = await self._receive()
        except TimeoutError as error:
            raise HTTPException(408, f"the request took longer than {BODY_S:g} s.") from error
        if message["type"] == "http.request":
            self._body += len(message.get("body", b""))
            self._ended = not message.get("more_body", False)
            if not self.is_api:  # the page has limits of its own
                return message
            try:
                self._check_bytes(self._body)
            except ServiceError as error:  # FastAPI lets only these through
                raise HTTPException(413, str(error)) from error
        return message

    async def _receive_for_page(self) -> Message:
        """Pass on what comes; when the service stops, tell an open page's streams to end."""
        coming = asyncio.ensure_future(self._receive())
        try:
            while not coming.done():
                await asyncio.wait({coming}, timeout=_STOP_POLL_S)
                if self._engine.stopping.is_set() and not coming.done():
                    return {"type": "http.disconnect"}
            return coming.result()
        finally:
            coming.cancel()

    async def send(self, message: Message) -> None:
        """Pass the answer on, with the security headers."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = list(message.get("headers", []))
            present = {name.lower() for name, _ in headers}
            extra = {**_HEADERS, "x-request-id": self.id}
            extra["content-security-policy"] = _API_POLICY if self.is_api else _PAGE_POLICY
            if self.is_api:
                extra["cache-control"] = "no-store"
            headers += [
                (name.encode(), value.encode("latin-1"))
                for name, value in extra.items()
                if name.encode() not in present
            ]
            message = {**message, "headers": headers}
        elif message["type"] == "http.response.body" and not message.get("more_body", False):
            self.write_down()  # whoever has read the answer finds it in the log
        await self._send(message)

    async def refuse(self, error: Exception) -> None:
        """Send an error's answer; what is left of a small body is read, so the line stays open."""
        if self.status:
            raise error
        answer = answer_to(error)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_S):
                while not self._ended and self._body < _DRAIN_BYTES:
                    message = await self._receive()
                    if message["type"] != "http.request":
                        break
                    self._body += len(message.get("body", b""))
                    self._ended = not message.get("more_body", False)
        words = {"type": answer.kind, "message": answer.message, "request": self.id}
        body = json.dumps({"error": words}).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
        ]
        if answer.retry_after_s is not None:
            headers.append((b"retry-after", str(answer.retry_after_s).encode()))
        if answer.status == 401:
            scheme = b"Bearer" if self.is_api else b'Basic realm="limner: key as password"'
            headers.append((b"www-authenticate", scheme))
        start = {"type": "http.response.start", "status": answer.status, "headers": headers}
        await self.send(start)
        await self.send({"type": "http.response.body", "body": body})

    def write_down(self) -> None:
        """Count the request once, and note it in the audit log if it was for the API."""
        if self._written:
            return
        self._written = True
        route = self.scope.get("route")
        name = getattr(route, "path", "other") if self.is_api else "page"
        measures = self._engine.measures
        measures.requests.labels(self.scope["method"], name, str(self.status)).inc()
        measures.seconds.labels(name).observe(time.perf_counter() - self.began)
        if not self.scope["path"].startswith(API):
            return
        address = (self.scope.get("client") or ("?",))[0]
        action = f"{self.scope['method']} {name}"
        self._engine.audit.note(self.key, address, action, self.status, self.id, **self.facts)


def _headers(scope: Scope) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


def _sent_key(headers: dict[str, str]) -> str:
    """Return the key that came: as a bearer, or as the password that a browser asks for."""
    scheme, _, rest = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip() or "?"
    if scheme.lower() == "basic":
        try:
            text = base64.b64decode(rest.strip(), validate=True).decode("utf-8")
        except (binascii.Error, UnicodeDecodeError):
            return "?"
        return text.partition(":")[2] or "?"
    return "?" if scheme else ""


def _forbidden(message: str) -> ServiceError:
    return ServiceError(message, status=403, kind="Forbidden")
