"""Servers in processes of their own, and pictures to send them."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from PIL import Image

from limner import Client

HERE = Path(__file__).parent


class Running:
    """A server in a process of its own.

    Args:
        folder: Of its gallery, state and log.
        script: What is run: with or without the page, or the page of a Space.
        preexec: Run in the child before the server.
        settings: Of the service.
    """

    def __init__(
        self, folder: Path, *, script: str = "serve_with.py", preexec: Any = None, **settings: Any
    ) -> None:
        self.script, self.preexec = script, preexec
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
        code = [sys.executable, str(HERE / self.script), json.dumps(self.settings)]
        self.log = open(self.folder / "log", "a")
        self.process = subprocess.Popen(
            code,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            env={**os.environ},
            preexec_fn=self.preexec,
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


def jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=92)
    return buffer.getvalue()
