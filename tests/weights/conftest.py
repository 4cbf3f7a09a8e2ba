"""A scriptable web server, small made-up models, and a cache folder of one's own."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from limner import weights
from limner.weights.registry import ModelSpec, Source


@dataclass
class WebServer:
    """Serves `files`; the attributes say how it misbehaves.

    Attributes:
        url: Where it listens.
        files: Bodies by path.
        cut_after: Close the connection after so many body bytes, once per entry.
        ranges: Whether Range is honoured.
        etag: Sent when set; `If-Range` is compared with it.
        hang: Accept and never answer.
        hold: When set, the body stops half-way until the event is set.
        requests: (path, Range header) of each request.
    """

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    cut_after: list[int] = field(default_factory=list)
    ranges: bool = True
    etag: str | None = '"v1"'
    lie_about_range: bool = False
    hang: bool = False
    chunked: bool = False
    hold: threading.Event | None = None
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)


def _handler(state: WebServer) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            state.requests.append((self.path, wanted))
            if state.hang:
                state.released.wait(30)
                return
            body = state.files.get(self.path)
            if body is None:
                self.send_error(404)
                return
            start, total = 0, len(body)
            fresh = self.headers.get("If-Range") in (None, state.etag)
            if wanted and state.ranges and fresh:
                start = int(wanted.removeprefix("bytes=").removesuffix("-"))
                if start >= total:
                    self.send_error(416)
                    return
                self.send_response(206)
                shown = start - 1 if state.lie_about_range else start
                self.send_header("Content-Range", f"bytes {shown}-{total - 1}/{total}")
            else:
                self.send_response(200)
            if state.etag:
                self.send_header("ETag", state.etag)
            if not state.chunked:
                self.send_header("Content-Length", str(total - start))
            self.end_headers()
            self._send(body[start:])

        def _send(self, body: bytes) -> None:
            try:
                if state.cut_after:
                    self.wfile.write(body[: state.cut_after.pop(0)])
                elif state.hold is not None:
                    self.wfile.write(body[: len(body) // 2])
                    self.wfile.flush()
                    state.hold.wait(30)
                    self.wfile.write(body[len(body) // 2 :])
                else:
                    self.wfile.write(body)
            except OSError:
                pass  # the client went away, as some tests want it to

    return Handler


@pytest.fixture
def server() -> Iterator[WebServer]:
    state = WebServer()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(state)) as httpd:
        httpd.daemon_threads = True
        state.url = f"http://127.0.0.1:{httpd.server_address[1]}"
        thread = threading.Thread(target=httpd.serve_forever, args=(0.05,))
        thread.start()
        yield state
        state.released.set()
        if state.hold is not None:
            state.hold.set()
        httpd.shutdown()
        thread.join()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty LIMNER_HOME, and no mirror."""
    folder = tmp_path / "home"
    monkeypatch.setenv("LIMNER_HOME", str(folder))
    monkeypatch.delenv("LIMNER_WEIGHTS_URL", raising=False)
    return folder


BODY = bytes(range(256)) * 4096  # 1 MiB, no two neighbouring blocks of it alike by accident


@pytest.fixture
def body() -> bytes:
    return BODY


def spec_of(body: bytes, *sources: Source, name: str = "toy") -> ModelSpec:
    """A made-up model that is used as it comes."""
    return ModelSpec(
        name=name,
        title="made up",
        task="detector",
        architecture="none",
        converter="as_is",
        licence="CC0-1.0",
        training_data="none",
        paper="none",
        published="none",
        input="float32_nchw",
        colour="rgb",
        value_range=(0.0, 255.0),
        normalisation="none",
        preprocessing=1,
        file=f"{name}.bin",
        sha256=hashlib.sha256(body).hexdigest(),
        bytes=len(body),
        sources=sources or (Source(kind="url", url="http://127.0.0.1:9/none"),),
    )


@pytest.fixture
def make_spec() -> Callable[..., ModelSpec]:
    return spec_of


@pytest.fixture(scope="session")
def original() -> Callable[[str], Path]:
    """The original file of a model, from the real cache."""

    def find(name: str) -> Path:
        spec = weights.load(name, thorough=True).spec
        return weights.model_dir(spec) / spec.file

    return find
