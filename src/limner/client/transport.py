"""The client's connection: requests, patience with a busy service, limner's own errors."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from limner.client.wire import error_of, part_of
from limner.errors import MissingExtraError, ServiceError

if TYPE_CHECKING:
    from typing import Self

    import httpx


class Transport:
    """Sends requests; the base of `limner.Client`."""

    def __init__(
        self,
        address: str = "http://127.0.0.1:8000",
        *,
        key: str | None = None,
        timeout_s: float = 60.0,
        patience_s: float = 30.0,
    ) -> None:
        try:
            import httpx
        except ImportError as error:
            raise MissingExtraError(
                "the client needs httpx: pip install 'limner[studio]'."
            ) from error
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        self.address = address.rstrip("/")
        self._patience_s = patience_s
        self._http: httpx.Client = httpx.Client(
            base_url=self.address, headers=headers, timeout=timeout_s, trust_env=False
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # --- the wire ----------------------------------------------------------------------

    def _post(
        self, path: str, files: Mapping[str, Any], form: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        parts = [
            (name, part_of(one))
            for name, given in files.items()
            for one in (given if isinstance(given, list) else [given])
        ]
        filled = {name: str(v) for name, v in (form or {}).items() if v is not None}
        found: dict[str, Any] = self._send("POST", path, files=parts, data=filled).json()
        return found

    def _ask(
        self, method: str, path: str, *, body: Any = None, params: Mapping[str, Any] | None = None
    ) -> Any:
        answer = self._send(method, path, json=body, params=params)
        return answer.json() if answer.content else None

    def _send(self, method: str, path: str, **given: Any) -> httpx.Response:
        """Send a request, again while the service says that it is busy."""
        import httpx

        until = time.monotonic() + self._patience_s
        while True:
            try:
                answer = self._http.request(method, path, **given)
            except httpx.TransportError as error:
                raise self._unreachable(error) from error
            if answer.is_success:
                return answer
            found = error_of(answer)
            wait_s = getattr(found, "retry_after_s", None)
            if wait_s is None or time.monotonic() + wait_s > until:
                raise found
            time.sleep(wait_s)

    def _unreachable(self, error: Exception) -> ServiceError:
        words = str(error) or type(error).__name__
        return ServiceError(f"{self.address} cannot be reached: {words}.", kind="Unreachable")
