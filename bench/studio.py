"""How soon the page is of use: Chromium against a server on loopback, both on this machine.

Useful means: the tabs can be read and clicked, and a photo can be dropped. Warm means that the
server runs and the browser has seen the page before. Run: python bench/studio.py
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from typing import Any

from common import REPOSITORY, machine, save

ROUNDS = 7
SERVER = REPOSITORY / "tests" / "browser" / "serve_page.py"
USEFUL = (
    "document.querySelector('#photos input[type=file]') && "
    "document.querySelectorAll('[role=tab]').length > 5"
)
PAINTED = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"


def visit(context: Any, address: str) -> dict[str, float]:
    """Open the page once; return seconds since the address was entered."""
    page = context.new_page()
    began = time.perf_counter()
    page.goto(address, wait_until="commit")
    page.wait_for_function(USEFUL, polling=20)
    useful = time.perf_counter() - began
    page.wait_for_selector("#recognised .l-picture")
    sample = time.perf_counter() - began
    painted = page.evaluate(PAINTED)
    page.close()
    return {"painted_s": painted / 1000, "useful_s": useful, "sample_s": sample}


def run(address: str) -> dict[str, Any]:
    """Visit the page in a fresh browser, then again and again."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path="/usr/bin/chromium",
            args=["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        first = visit(context, address)
        warm = [visit(context, address) for _ in range(ROUNDS)]
        browser.close()
    figures = {
        name: {
            "median": statistics.median(one[name] for one in warm),
            "lowest": min(one[name] for one in warm),
            "highest": max(one[name] for one in warm),
        }
        for name in first
    }
    return {"first": first, "warm": figures, "rounds": ROUNDS, "load": os.getloadavg()[0]}


def wait_until_ready(address: str) -> None:
    """Ask until the weights are loaded; 503 says that they are not yet."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        try:
            urllib.request.urlopen(f"{address}/readyz").close()
            return
        except OSError:
            time.sleep(0.2)
    raise TimeoutError("the server was not ready within 120 s")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        server = subprocess.Popen(
            [sys.executable, str(SERVER), folder], stdout=subprocess.PIPE, text=True
        )
        assert server.stdout is not None
        address = server.stdout.readline().strip()
        try:
            wait_until_ready(address)
            results = {"machine": machine(), "page": run(address)}
        finally:
            server.terminate()
            server.wait()
    path = save("studio", results)
    print(path)
    print(results["page"])


if __name__ == "__main__":
    main()
