"""Real servers on free ports, and real portraits to ask them about."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib.cbook
import pytest
import skimage.data
from PIL import Image

from limner import Client

HERE = Path(__file__).parent


class Running:
    """A server in a process of its own."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self.settings = {
            "port": 0,
            "gallery": str(folder / "g.limner"),
            "state": str(folder / "state"),
            **settings,
        }
        self.process: subprocess.Popen[str] | None = None
        self.address = ""

    def start(self, *, wait: bool = True) -> Running:
        code = [sys.executable, str(HERE / "serve_with.py"), json.dumps(self.settings)]
        self.log = open(self.folder / "log", "a")
        self.process = subprocess.Popen(
            code, stdout=subprocess.PIPE, stderr=self.log, text=True, env={**os.environ}
        )
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().strip()
        assert self.address.startswith("http://"), (self.folder / "log").read_text()
        if wait:
            with self.client() as client:
                began = time.monotonic()
                while not client.is_ready():
                    assert time.monotonic() - began < 240, (self.folder / "log").read_text()
                    time.sleep(0.05)
        return self

    def client(self, key: str | None = None, **options: Any) -> Client:
        return Client(self.address, key=key, **options)

    def end(self, how: int = signal.SIGTERM) -> int:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(how)
        status = self.process.wait(120)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.log.close()
        return status


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server on loopback, without keys."""
    running = Running(tmp_path_factory.mktemp("server")).start()
    yield running
    running.end()


@pytest.fixture
def client(server: Running) -> Iterator[Client]:
    """A client of that server; its gallery is emptied afterwards."""
    with server.client(patience_s=5, timeout_s=240) as found:
        yield found
        for person in found.people():
            found.forget(person.name)


@pytest.fixture(scope="session")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server that asks for keys and has narrow limits."""
    running = Running(
        tmp_path_factory.mktemp("strict"),
        demand_keys=True,
        queue=2,
        max_bytes=400_000,
        max_pixels=2_000_000,
        max_faces=2,
        max_people=2,
        max_photos=3,
        requests_per_minute=60,
    ).start()
    yield running
    running.end()


def jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def photos() -> dict[str, bytes]:
    """Two portraits, another view of each, a stranger, no face, and both in one photo."""
    collins = Image.fromarray(skimage.data.astronaut())
    path = matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)
    with contextlib.closing(Image.open(path)) as own:
        hopper = own.convert("RGB")
    both = Image.new("RGB", (1024, 600))
    both.paste(collins, (0, 0))
    both.paste(hopper, (512, 0))
    return {
        "collins": jpeg(collins),
        "collins2": jpeg(collins.transpose(Image.Transpose.FLIP_LEFT_RIGHT)),
        "hopper": jpeg(hopper),
        "hopper2": jpeg(hopper.rotate(10)),
        "stranger": jpeg(Image.fromarray(skimage.data.camera())),
        "coffee": jpeg(Image.fromarray(skimage.data.coffee()).resize((300, 200))),
        "both": jpeg(both),
    }
