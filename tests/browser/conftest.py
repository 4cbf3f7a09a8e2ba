"""The studio in Debian's Chromium: one server and one browser for all tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

CHROMIUM = next(
    (p for p in ("/usr/bin/chromium", "/usr/bin/chromium-browser") if Path(p).exists()), None
)
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking")
HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def studio(tmp_path_factory):
    """The address of a studio with an empty gallery."""
    if CHROMIUM is None:
        pytest.skip("chromium is absent: apt-get install chromium")
    yield from serve_page(tmp_path_factory.mktemp("studio"))


def serve_page(folder, **settings):
    """Serve a studio from a folder, and check at its end that nothing went wrong."""
    log = open(folder / "log", "w")
    process = subprocess.Popen(
        [sys.executable, str(HERE / "serve_page.py"), str(folder), json.dumps(settings)],
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "2"},
    )
    assert process.stdout is not None
    address = process.stdout.readline().strip()
    assert address.startswith("http://127.0.0.1:"), (folder / "log").read_text()
    until = time.monotonic() + 120
    while time.monotonic() < until:
        try:
            if b'"ready"' in urllib.request.urlopen(f"{address}/readyz").read():
                break
        except OSError:
            pass
        time.sleep(0.1)
    yield address
    process.terminate()
    assert process.wait(timeout=20) == 0  # even with a page open
    process.stdout.close()
    log.close()
    assert "Traceback" not in (folder / "log").read_text()


@pytest.fixture
def locked(tmp_path):
    """The address of a studio that demands keys, an admin's key and a reader's."""
    from limner.service.keys import Keys
    from limner.service.settings import Settings
    from limner.service.state import State

    folder = tmp_path / "locked"
    folder.mkdir()
    state = State(Settings(state=folder / "state").state_folder)
    keys = Keys(state)
    secrets = [keys.make(scope, [scope])[1] for scope in ("admin", "read")]
    state.close()
    serving = serve_page(folder, demand_keys=True)
    yield next(serving), *secrets
    next(serving, None)


@pytest.fixture(scope="session")
def launch():
    """Start Debian's Chromium, with more flags if need be."""
    from playwright.sync_api import sync_playwright

    if CHROMIUM is None:
        pytest.skip("chromium is absent: apt-get install chromium")
    with sync_playwright() as play:
        yield lambda *more: play.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, *more])


@pytest.fixture(scope="session")
def browser(launch):
    """Debian's Chromium."""
    running = launch()
    yield running
    running.close()


class Sheet:
    """A page of the studio, and every address that it asked for."""

    def __init__(self, browser, address, *, width=1280, scheme="light", **options):
        self.context = browser.new_context(
            viewport={"width": width, "height": 900 if width > 600 else 844},
            color_scheme=scheme,
            **options,
        )
        self.page = self.context.new_page()
        self.page.set_default_timeout(60_000)
        self.asked, self.faults = [], []
        self.context.on("request", lambda request: self.asked.append(request.url))
        self.watched = True
        self.page.on("pageerror", lambda error: self.blame(str(error)))
        self.page.on("console", lambda m: self.blame(m.text) if m.type == "error" else None)
        self.address = address
        self.page.goto(address)
        self.page.wait_for_selector("#recognised .l-picture")

    def blame(self, fault):
        """Note what the page complains of."""
        if self.watched:
            self.faults.append(fault)

    def outlive_the_service(self):
        """Hold that all was well so far; that the service is gone may then be complained of."""
        assert self.faults == []
        self.watched = False

    def open(self, tab):
        """Open a tab, out of the menu where the screen is narrow."""
        at = self.page.get_by_role("tab", name=tab, exact=True)
        if at.is_visible():
            at.click()
        else:
            self.page.get_by_role("button", name="More tabs").click()
            self.page.locator(".overflow-dropdown button", has_text=tab).click()

    def close(self):
        self.context.close()

    def strangers(self):
        """Return what was asked of other machines."""
        allowed = (self.address, self.address.replace("http", "ws"), "data:", "blob:")
        return [url for url in self.asked if not url.startswith(allowed)]


@pytest.fixture
def sheet(browser, studio):
    """Open the page; at the end nothing failed and nothing left the machine."""
    opened = []

    def make(*, address=studio, by=browser, **options):
        opened.append(Sheet(by, address, **options))
        return opened[-1]

    yield make
    for one in opened:
        one.close()
        assert one.strangers() == []
        assert one.faults == []
