"""Real servers on free ports, and real portraits to ask them about."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import matplotlib.cbook
import pytest
import skimage.data
from PIL import Image
from servers import Running, jpeg

from limner import Client


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


@pytest.fixture(scope="session")
def photos() -> dict[str, bytes]:
    """Two portraits, another view of each, a stranger turned away, no face, and both together."""
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
