"""Speaks to the page as a browser's script does, or as somebody who writes such a script."""

from __future__ import annotations

import functools
import json
import secrets
from typing import Any

import httpx
from servers import Running


class PageClient(httpx.Client):
    """One visitor of a page."""

    def __init__(self, running: Running, **options: Any) -> None:
        super().__init__(base_url=running.address, timeout=120, **options)
        self.running = running
        self.session = secrets.token_hex(6)

    @functools.cached_property
    def config(self) -> dict[str, Any]:
        """What Gradio tells of the page's parts and events."""
        return dict(self.get("/config").json())

    def component(self, elem_id: str) -> int:
        """Return the number of a component."""
        return next(
            c["id"] for c in self.config["components"] if c["props"].get("elem_id") == elem_id
        )

    def event(self, elem_id: str, *names: str) -> int:
        """Return the number of an event of a component."""
        number = self.component(elem_id)
        return next(
            d["id"]
            for d in self.config["dependencies"]
            for target, name in d["targets"]
            if target == number and name in names
        )

    def upload(self, name: str, data: bytes) -> str:
        """Upload a file; return its path on the server."""
        answer = self.post("/gradio_api/upload", files={"files": (name, data)})
        assert answer.status_code == 200, answer.text
        return str(answer.json()[0])

    def join(self, event: int, *data: Any, **more: Any) -> httpx.Response:
        """Ask for an event."""
        body = {"fn_index": event, "session_hash": self.session, "data": list(data), **more}
        return self.post("/gradio_api/queue/join", json=body)

    def run(self, event: int, *data: Any, **more: Any) -> list[Any]:
        """Ask for an event and return what it answered at last."""
        answer = self.join(event, *data, **more)
        assert answer.status_code == 200, answer.text
        return list(self.answers())[-1]

    def answers(self) -> Any:
        """Yield what the events of this visit answer, until they are done."""
        where = f"/gradio_api/queue/data?session_hash={self.session}"
        with self.stream("GET", where) as stream:
            for line in stream.iter_lines():
                if not line.startswith("data: "):
                    continue
                message = json.loads(line[6:])
                if message["msg"] in ("process_generating", "process_completed"):
                    yield message["output"].get("data", message["output"])
                if message["msg"] == "process_completed":
                    return


def file(path: str) -> dict[str, Any]:
    """Return a file as the page's script names it in an event."""
    return {"path": path, "meta": {"_type": "gradio.FileData"}}
