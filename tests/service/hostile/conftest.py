"""Servers that are attacked: the service with its page, and a Space."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import httpx
import pytest
from page_client import PageClient
from servers import Running


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The service and its page on loopback, without keys."""
    running = Running(tmp_path_factory.mktemp("house"), script="serve_page.py").start()
    yield running
    assert running.end() == 0
    assert "Traceback" not in (running.folder / "log").read_text()


@pytest.fixture(scope="session")
def space(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The page of a Space, for everybody."""
    running = Running(tmp_path_factory.mktemp("space"), script="serve_space.py")
    running.start(wait=False)
    until = time.monotonic() + 120
    while httpx.get(running.address).status_code != 200:
        assert time.monotonic() < until
        time.sleep(0.1)
    yield running
    assert running.end() == 0


@pytest.fixture(params=["house", "space"])
def attacked(request: pytest.FixtureRequest) -> Iterator[PageClient]:
    """A visitor of each."""
    with PageClient(request.getfixturevalue(request.param)) as visitor:
        yield visitor


@pytest.fixture
def visitor() -> Iterator[Callable[[Running], PageClient]]:
    """Makes visitors of a page."""
    made: list[PageClient] = []

    def make(running: Running) -> PageClient:
        made.append(PageClient(running))
        return made[-1]

    yield make
    for one in made:
        one.close()
