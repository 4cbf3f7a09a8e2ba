"""Requests that want in without a key, keep others out, or hold a line open."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time

import httpx
import pytest
import uvicorn

from limner.cli.serve import make_settings
from limner.errors import InputError
from limner.service import Settings, connections, create_app
from limner.service.connections import Connections
from limner.service.keys import Keys
from limner.service.run import Server
from limner.service.state import State


@contextlib.contextmanager
def serving(app, **options):
    """Serve an application on a thread; yield its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="error", lifespan="off", **options)
    server = Server(config, app.state.limner)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    until = time.monotonic() + 20
    while not server.started:
        assert time.monotonic() < until
        time.sleep(0.01)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join()
    listener.close()


def made(tmp_path, **settings):
    return create_app(Settings(state=tmp_path / "state", gallery=tmp_path / "g.limner", **settings))


@pytest.fixture
def keyless(tmp_path):
    app = made(tmp_path)
    with serving(app) as address, httpx.Client(base_url=address) as client:
        yield client
    app.state.limner.close()


@pytest.fixture
def keyed(tmp_path):
    app = made(tmp_path, demand_keys=True)
    key = app.state.limner.keys.make("good", ["read"])[1]
    with serving(app) as address, httpx.Client(base_url=address) as client:
        yield client, {"authorization": f"Bearer {key}"}
    app.state.limner.close()


# --- H4: a proxy in front -----------------------------------------------------

FORWARDED = (
    {"x-forwarded-for": "203.0.113.7"},
    {"via": "1.1 nginx"},
    {"forwarded": "for=203.0.113.7"},
    {"x-forwarded-proto": "https"},
    {"x-forwarded-host": "127.0.0.1"},
    {"x-forwarded-anything": ""},
    {"x-real-ip": "203.0.113.7"},
)


@pytest.mark.parametrize("headers", FORWARDED)
def test_without_keys_nothing_comes_through_a_proxy(keyless, headers):
    for path in ("/v1/people", "/metrics", "/healthz", "/"):
        answer = keyless.get(path, headers=headers)
        assert answer.status_code == 403, path
        assert "--keys" in answer.text


def test_with_keys_a_proxy_is_welcome(keyed):
    client, good = keyed
    for headers in FORWARDED:
        assert client.get("/v1/jobs", headers=headers).status_code == 401
        assert client.get("/v1/jobs", headers={**headers, **good}).status_code == 200


def test_a_path_below_a_host_is_refused_in_words(keyed):
    client, good = keyed
    for headers in ({"x-forwarded-prefix": "/limner"}, {"x-script-name": "/limner"}):
        answer = client.get("/v1/jobs", headers={**headers, **good})
        assert answer.status_code == 422
        assert "host name of its own" in answer.text
    root = {"x-forwarded-prefix": "/", **good}
    assert client.get("/v1/jobs", headers=root).status_code == 200


def test_keys_are_demanded_on_this_machine_when_told():
    assert make_settings(demand_keys=True).keys_demanded
    assert not make_settings(demand_keys=None).keys_demanded


# --- H5: wrong keys -----------------------------------------------------------


def test_wrong_keys_never_lock_out_a_right_one(keyed):
    client, good = keyed
    statuses = []
    for number in range(120):
        wrong = {"authorization": f"Bearer limner_{number:012x}_{'x' * 43}"}
        statuses.append(client.get("/v1/jobs", headers=wrong if number % 2 else {}).status_code)
        if number % 4 == 0:
            assert client.get("/v1/jobs", headers=good).status_code == 200
            assert client.get("/healthz", headers=good).status_code == 200
            assert client.get("/healthz").status_code == 200
    assert statuses[:30] == [401] * 30
    assert set(statuses[40:]) <= {429, 401}
    assert statuses.count(429) >= 80


# --- H6, M10: pages of other sites --------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE", "HEAD"])
@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_pages_of_other_sites_ask_nothing(keyless, method, site):
    for path in ("/v1/units/alexnet", "/v1/people", "/metrics"):
        headers = {"sec-fetch-site": site, "sec-fetch-mode": "no-cors"}
        assert keyless.request(method, path, headers=headers).status_code == 403
        form = {"sec-fetch-site": site, "sec-fetch-mode": "navigate"}
        if method not in ("GET", "HEAD"):
            assert keyless.request(method, path, headers=form).status_code == 403


# --- L1, L2, L5 ---------------------------------------------------------------


def test_the_wrong_method_is_told_the_right_ones(keyless):
    for path, methods in (
        ("/v1/people", "GET, POST"),
        ("/v1/people/1", "DELETE, GET, PATCH"),
        ("/healthz", "GET"),
        ("/v1/calibrate", "DELETE, POST"),
    ):
        answer = keyless.put(path)
        assert (answer.status_code, answer.headers["allow"]) == (405, methods)


def test_an_unexpected_fault_has_an_id_headers_and_a_line_in_the_books(tmp_path):
    app = made(tmp_path)
    engine = app.state.limner

    def broken(*given):
        raise ZeroDivisionError("/etc/passwd")

    engine.jobs.all = broken
    with serving(app) as address:
        answer = httpx.get(f"{address}/v1/jobs")
    assert answer.status_code == 500
    assert "passwd" not in answer.text
    assert answer.headers["x-request-id"] == answer.json()["error"]["request"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    line = json.loads((tmp_path / "state" / "audit.jsonl").read_text().splitlines()[-1])
    assert (line["status"], line["request"]) == (500, answer.headers["x-request-id"])
    assert 'status="500"' in engine.measures.text().decode()
    engine.close()


def test_every_address_of_this_machine_is_this_machine(keyless):
    for host in ("127.0.0.2", "127.0.0.1:9", "localhost", "LOCALHOST:80", "[::1]", "[::1]:8000"):
        assert keyless.get("/healthz", headers={"host": host}).status_code == 200, host
    for host in ("evil.example", "127.0.0.1.evil.example", "128.0.0.1", "localhost.evil", ""):
        assert keyless.get("/healthz", headers={"host": host}).status_code == 403, host


def test_an_impossible_host_is_said_in_words():
    with pytest.raises(InputError, match=r"^host must be an address"):
        make_settings(host="a b")


# --- M2: lines that are held open ---------------------------------------------


@pytest.fixture
def hurried(tmp_path, monkeypatch):
    """A server whose heads have 0.4 s, with places for 8 lines."""
    monkeypatch.setattr(connections, "HEAD_S", 0.4)
    app = made(tmp_path)
    with serving(app, http=Connections(8).protocol()) as address:
        yield "127.0.0.1", int(address.rsplit(":", 1)[1])
    app.state.limner.close()


def open_line(where, data=b""):
    line = socket.create_connection(where, timeout=10)
    line.sendall(data)
    return line


HALF = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n"


def read_all(line):
    """Read until the server closes."""
    found = b""
    with contextlib.suppress(ConnectionError):
        while part := line.recv(4096):
            found += part
    line.close()
    return found


@pytest.mark.parametrize("data", [b"", b"G", HALF, HALF + b"X: " + b"y" * 1000])
def test_a_head_that_does_not_end_is_ended(hurried, data):
    began = time.monotonic()
    assert read_all(open_line(hurried, data)).startswith(b"HTTP/1.1 408")
    assert time.monotonic() - began < 5


def test_a_head_that_trickles_is_ended(hurried):
    line = open_line(hurried, HALF)
    began = time.monotonic()
    with contextlib.suppress(ConnectionError):
        while time.monotonic() - began < 5:
            line.sendall(b"X-a: b\r\n")
            time.sleep(0.05)
    assert time.monotonic() - began < 5
    line.close()


def test_the_second_head_of_a_line_has_a_clock_too(hurried):
    line = open_line(hurried, HALF + b"\r\n")
    assert b"200 OK" in line.recv(4096)
    line.sendall(HALF)
    assert read_all(line).endswith(b"connection: close\r\n\r\n")


def test_an_endless_head_is_cut(hurried):
    line = open_line(hurried, HALF)
    with contextlib.suppress(ConnectionError):
        for _ in range(200):
            line.sendall(b"X-a: " + b"y" * 1000 + b"\r\n")
    assert read_all(line)[:12] in (b"HTTP/1.1 431", b"")


def test_a_request_whose_head_has_come_may_take_its_time(hurried):
    line = open_line(
        hurried,
        b"POST /v1/calibrate HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n",
    )
    time.sleep(0.8)
    line.sendall(b"{}")
    assert b"503" in line.recv(4096)[:20], "it was read: the service is not ready"
    line.close()


def test_one_address_has_half_of_the_places(hurried):
    held = [open_line(hurried, HALF) for _ in range(4)]
    assert read_all(open_line(hurried)).startswith(b"HTTP/1.1 503")
    for line in held:
        read_all(line)
    fresh = open_line(hurried, HALF + b"\r\n")
    assert b"200 OK" in fresh.recv(4096)
    fresh.close()


def test_places_are_counted():
    places = Connections(4)
    assert [places.enter("a") for _ in range(3)] == [True, True, False]
    assert [places.enter("b") for _ in range(3)] == [True, True, False]
    assert not places.enter("c")
    places.leave("a")
    assert places.enter("c")


# --- M1: nobody waits for a lock on the loop ----------------------------------


def test_a_good_key_is_known_while_another_process_writes(tmp_path):
    import sqlite3

    state = State(tmp_path / "state")
    keys = Keys(state)
    text = keys.make("good")[1]
    other = sqlite3.connect(tmp_path / "state" / "service.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    writer = threading.Thread(target=_try, args=(keys,))
    writer.start()
    began = time.monotonic()
    assert keys.check(text) is not None
    assert time.monotonic() - began < 1
    other.execute("ROLLBACK")
    other.close()
    writer.join()
    state.close()


def _try(keys):
    keys.make("other")
