"""The HTTP source against a real server on this machine."""

from __future__ import annotations

import bz2
import hashlib
import socket
import threading
import time

import pytest

from limner.errors import DigestError, WeightsError
from limner.weights import download, fetch
from limner.weights.registry import Source
from limner.weights.store import ensure


def leftovers(folder):
    """Names in a model's folder besides the lock."""
    return sorted(p.name for p in folder.iterdir() if p.name != ".lock")


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "toy"
    path.mkdir()
    return path


@pytest.fixture(autouse=True)
def _no_mirror(monkeypatch):
    monkeypatch.delenv("LIMNER_WEIGHTS_URL", raising=False)


def url_source(server, path="/toy.bin", **extra):
    return Source(kind="url", url=server.url + path, **extra)


def test_a_whole_file(server, make_spec, body, folder):
    server.files["/toy.bin"] = body
    spec = make_spec(body, url_source(server))
    told = []
    source = fetch.fetch(spec, folder, progress=lambda *a: told.append(a))
    assert source == f"{server.url}/toy.bin"
    assert (folder / "toy.bin").read_bytes() == body
    assert leftovers(folder) == ["toy.bin"]
    assert told[0][1:] == (0, len(body))
    assert told[-1][1:] == (len(body), len(body))
    assert "toy" in told[0][0]
    assert "127.0.0.1" in told[0][0]


def test_bz2_is_unpacked_and_the_digest_is_of_the_wanted_file(server, make_spec, body, folder):
    server.files["/toy.bin.bz2"] = bz2.compress(body)
    spec = make_spec(body, url_source(server, "/toy.bin.bz2", unpack="bz2"))
    fetch.fetch(spec, folder)
    assert (folder / "toy.bin").read_bytes() == body
    assert leftovers(folder) == ["toy.bin"]


@pytest.mark.parametrize(
    ("packed", "reason"),
    [
        (lambda b: b"not bz2 at all" * 9, "not a bz2 file"),
        (lambda b: bz2.compress(b)[:-10], "cut off"),
        (lambda b: bz2.compress(b + b"x"), "more than the wanted"),
        (lambda b: bz2.compress(b[:-1]), "SHA-256"),
        (lambda b: b"", "cut off"),
    ],
)
def test_bad_bz2(server, make_spec, body, folder, packed, reason):
    server.files["/toy.bin.bz2"] = packed(body)
    spec = make_spec(body, url_source(server, "/toy.bin.bz2", unpack="bz2"))
    with pytest.raises(WeightsError, match=reason):
        fetch.fetch(spec, folder)
    assert leftovers(folder) == []


def test_a_bz2_bomb_is_not_unpacked(server, make_spec, folder):
    bomb = bz2.compress(bytes(60_000_000))
    assert len(bomb) < 2000
    server.files["/toy.bin.bz2"] = bomb
    spec = make_spec(b"small", url_source(server, "/toy.bin.bz2", unpack="bz2"))
    start = time.monotonic()
    with pytest.raises(WeightsError, match="more than the wanted 5 bytes"):
        fetch.fetch(spec, folder)
    assert time.monotonic() - start < 2
    assert leftovers(folder) == []


def test_a_broken_connection_is_resumed_where_it_broke(server, make_spec, body, folder):
    server.files["/toy.bin"] = body
    server.cut_after = [300_000, 200_000]
    fetch.fetch(make_spec(body, url_source(server)), folder)
    assert (folder / "toy.bin").read_bytes() == body
    ranges = [r for _, r in server.requests]
    assert ranges == [None, "bytes=300000-", "bytes=500000-"]


def test_part_of_an_earlier_run_is_used(server, make_spec, body, folder):
    server.files["/toy.bin"] = body
    server.cut_after = [400_000, 0]  # the second attempt makes no headway: give up
    spec = make_spec(body, url_source(server))
    with pytest.raises(WeightsError, match="400000"):
        fetch.fetch(spec, folder)
    assert not (folder / "toy.bin").exists()
    server.requests.clear()
    fetch.fetch(spec, folder)
    assert server.requests == [("/toy.bin", "bytes=400000-")]
    assert (folder / "toy.bin").read_bytes() == body
    assert leftovers(folder) == ["toy.bin"]


def test_a_changed_file_is_not_glued_to_the_old_half(server, make_spec, body, folder):
    server.files["/toy.bin"] = body[::-1]
    server.cut_after = [400_000, 0]
    spec = make_spec(body, url_source(server))
    with pytest.raises(WeightsError):
        fetch.fetch(spec, folder)
    server.files["/toy.bin"], server.etag = body, '"v2"'
    server.requests.clear()
    fetch.fetch(spec, folder)  # If-Range makes the server send the whole
    assert len(server.requests) == 1
    assert (folder / "toy.bin").read_bytes() == body


def test_a_wrong_half_without_etag_is_fetched_once_more(server, make_spec, body, folder):
    server.files["/toy.bin"], server.etag = body[::-1], None
    server.cut_after = [400_000, 0]
    spec = make_spec(body, url_source(server))
    with pytest.raises(WeightsError):
        fetch.fetch(spec, folder)
    server.files["/toy.bin"] = body
    server.requests.clear()
    fetch.fetch(spec, folder)
    assert [r for _, r in server.requests] == ["bytes=400000-", None]
    assert (folder / "toy.bin").read_bytes() == body


def test_a_server_without_ranges(server, make_spec, body, folder):
    server.files["/toy.bin"], server.ranges = body, False
    server.cut_after = [300_000]
    fetch.fetch(make_spec(body, url_source(server)), folder)
    assert (folder / "toy.bin").read_bytes() == body


def test_a_server_that_resumes_at_another_place(server, make_spec, body, folder):
    server.files["/toy.bin"], server.lie_about_range = body, True
    server.cut_after = [300_000]
    spec = make_spec(body, url_source(server))
    with pytest.raises(WeightsError):
        fetch.fetch(spec, folder)
    assert not (folder / "toy.bin").exists()
    fetch.fetch(spec, folder)
    assert (folder / "toy.bin").read_bytes() == body


def test_a_part_that_is_complete_already(server, make_spec, body, folder):
    server.files["/toy.bin"] = body
    spec = make_spec(body, url_source(server))
    tag = hashlib.sha256(spec.sources[0].url.encode()).hexdigest()[:8]
    (folder / f"toy.bin.{tag}.part").write_bytes(body)  # killed just before the rename
    fetch.fetch(spec, folder)
    assert leftovers(folder) == ["toy.bin"]


def test_without_a_length_the_digest_decides(server, make_spec, body, folder):
    server.files["/toy.bin"], server.chunked = body, True
    fetch.fetch(make_spec(body, url_source(server)), folder)
    server.cut_after = [1000]
    (folder / "toy.bin").unlink()
    with pytest.raises(DigestError):
        fetch.fetch(make_spec(body, url_source(server)), folder)
    assert leftovers(folder) == []


def test_a_wrong_digest_never_leaves_a_file(server, make_spec, body, folder):
    server.files["/toy.bin"] = body[:-1] + b"\0"
    with pytest.raises(DigestError, match=r"SHA-256 is [0-9a-f]{12}"):
        fetch.fetch(make_spec(body, url_source(server)), folder)
    assert leftovers(folder) == []


@pytest.mark.parametrize("chunked", [False, True])
def test_a_file_that_is_too_long_is_refused_early(server, make_spec, body, folder, chunked):
    server.files["/toy.bin"], server.chunked = body + b"x" * 5_000_000, chunked
    reason = "sent more than the wanted" if chunked else r"offers \d+ bytes"
    with pytest.raises(WeightsError, match=reason):
        fetch.fetch(make_spec(body, url_source(server)), folder)
    assert leftovers(folder) == []


def test_404_then_the_next_source(server, make_spec, body, folder):
    server.files["/right"] = body
    spec = make_spec(body, url_source(server, "/wrong"), url_source(server, "/right"))
    assert fetch.fetch(spec, folder).endswith("/right")


def test_every_failure_is_in_the_one_error(server, make_spec, body, folder):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    server.files["/other"] = b"other bytes"
    spec = make_spec(
        body,
        url_source(server, "/gone"),
        Source(kind="url", url=f"http://127.0.0.1:{port}/closed"),
        url_source(server, "/other"),
    )
    with pytest.raises(WeightsError) as caught:
        fetch.fetch(spec, folder)
    message = str(caught.value)
    assert "/gone: HTTP status 404" in message
    assert "/closed: Connection refused" in message
    assert "/other: SHA-256" in message
    assert "limner weights pull toy" in message
    assert "\n" not in message


def test_a_hanging_server_costs_one_short_time_out(server, make_spec, body, folder, monkeypatch):
    monkeypatch.setattr(download, "READ_TIMEOUT_S", 0.4)
    server.hang = True
    start = time.monotonic()
    with pytest.raises(WeightsError, match="no answer in time"):
        fetch.fetch(make_spec(body, url_source(server)), folder)
    assert 0.3 < time.monotonic() - start < 3
    assert len(server.requests) == 1


def test_a_server_that_stops_in_the_middle(server, make_spec, body, folder, monkeypatch):
    monkeypatch.setattr(download, "READ_TIMEOUT_S", 0.3)
    server.files["/toy.bin"], server.hold = body, threading.Event()
    server.ranges = False
    with pytest.raises(WeightsError, match="no answer in time"):
        fetch.fetch(make_spec(body, url_source(server)), folder)
    assert not (folder / "toy.bin").exists()


def test_a_trickle_counts_as_hanging(server, make_spec, body, folder, monkeypatch):
    monkeypatch.setattr(download, "SLOW_WINDOW_S", -1.0)
    monkeypatch.setattr(download, "SLOW_BYTES", 10**9)
    server.files["/toy.bin"] = body
    with pytest.raises(WeightsError, match="too slow"):
        fetch.fetch(make_spec(body, url_source(server)), folder)


def test_the_users_mirror_comes_first(server, make_spec, body, folder, monkeypatch):
    server.files["/mirror/toy.bin"] = body
    monkeypatch.setenv("LIMNER_WEIGHTS_URL", f"{server.url}/mirror/")
    assert fetch.fetch(make_spec(body), folder) == f"{server.url}/mirror/toy.bin"


def test_a_mirror_that_is_no_address(make_spec, body, folder, monkeypatch):
    monkeypatch.setenv("LIMNER_WEIGHTS_URL", "/mnt/weights")
    with pytest.raises(WeightsError, match="LIMNER_WEIGHTS_URL must be an http"):
        fetch.fetch(make_spec(body), folder)


def test_too_little_room_is_said_before_anything_is_fetched(
    server, make_spec, body, folder, monkeypatch
):
    import shutil
    from types import SimpleNamespace

    server.files["/toy.bin"] = body
    monkeypatch.setattr(shutil, "disk_usage", lambda p: SimpleNamespace(free=1_000_000))
    with pytest.raises(WeightsError, match=r"need 3 MB .* 1 MB are free"):
        fetch.fetch(make_spec(body, url_source(server)), folder)
    assert server.requests == []


def test_ensure_says_where_from_and_remembers(server, make_spec, body, home):
    server.files["/toy.bin"] = body
    spec = make_spec(body, url_source(server))
    first = ensure(spec)
    again = ensure(spec, offline=True)
    assert first == again
    assert first.source == f"{server.url}/toy.bin"
    assert first.files["onnx"].read_bytes() == body
    assert len(server.requests) == 1
