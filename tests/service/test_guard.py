"""The guard alone, around a small application."""

from __future__ import annotations

import asyncio
import json

import pytest

from limner.service import Settings, create_app, guard


@pytest.fixture
def app(tmp_path):
    made = create_app(Settings(state=tmp_path / "state", gallery=tmp_path / "g.limner"))
    yield made
    made.state.limner.close()


def ask(app, chunks, *, path="/v1/calibrate", pause_s=0.0, **headers):
    """Send one POST, chunk by chunk; return status, headers and body."""
    sent = []
    left = list(chunks)

    async def receive():
        if not left:
            await asyncio.sleep(3600)
        await asyncio.sleep(pause_s)
        body = left.pop(0)
        return {"type": "http.request", "body": body, "more_body": body != b""}

    async def send(message):
        sent.append(message)

    given = {"host": "127.0.0.1", "content-type": "application/json", **headers}
    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(k.replace("_", "-").encode(), v.encode()) for k, v in given.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
        "scheme": "http",
        "http_version": "1.1",
        "root_path": "",
    }
    asyncio.run(app(scope, receive, send))
    body = b"".join(message.get("body", b"") for message in sent)
    return sent[0]["status"], dict(sent[0]["headers"]), json.loads(body)


def test_a_slow_sender_gives_its_place_back(app, monkeypatch):
    monkeypatch.setattr(guard, "BODY_S", 0.2)
    status, _, answer = ask(app, [b"{"] * 50, pause_s=0.02)
    assert (status, answer["error"]["type"]) == (408, "TooSlow")
    status, _, answer = ask(app, [b'{"false_match_rate": 0.1}', b""])
    assert (status, answer["error"]["type"]) == (503, "NotReady"), "places are free again"


def test_a_full_house_refuses_before_the_body_is_read(app, monkeypatch):
    monkeypatch.setattr(guard, "BODY_S", 0.05)

    settings = app.state.limner.settings.model_copy(update={"queue": 1})
    app.state.limner.settings = settings
    seen = []

    async def both():
        async def one():
            seen.append(await asyncio.to_thread(ask, app, [b"{"] * 50, pause_s=0.02))

        await asyncio.gather(one(), one())

    asyncio.run(both())
    assert sorted(status for status, _, _ in seen) == [408, 429]
    busy = next(found for found in seen if found[0] == 429)
    assert int(busy[1][b"retry-after"]) >= 1


def test_a_length_that_lies_does_not_help(app):
    status, _, answer = ask(app, [b"x" * 1_000_000] * 30, content_length="10")
    assert (status, answer["error"]["type"]) == (413, "TooLarge")
    status, _, _ = ask(app, [b"x"], content_length="99999999999")
    assert status == 413


def test_websockets_of_other_sites_are_closed(app):
    sent = []

    async def receive():
        return {"type": "websocket.connect"}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "websocket",
        "path": "/",
        "headers": [(b"host", b"127.0.0.1"), (b"origin", b"https://elsewhere.example")],
        "client": ("127.0.0.1", 1),
    }
    asyncio.run(app(scope, receive, send))
    assert sent == [{"type": "websocket.close", "code": 1008}]
