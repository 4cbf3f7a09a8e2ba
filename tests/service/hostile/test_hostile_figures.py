"""The large figures: 2,000 malformed requests, hostile galleries, 20 kills of each kind.

A small part of each always runs; the whole is `slow` (``pytest -m slow tests/service/hostile``).
"""

from __future__ import annotations

import contextlib
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import zipfile
from collections import Counter
from pathlib import Path

import httpx
import kill_worker
import malformed
import pytest
from servers import Running

from limner.gallery import Gallery
from limner.service.keys import Keys
from limner.service.state import State
from limner.weights import registry

HERE = Path(__file__).parent


# --- malformed requests -------------------------------------------------------


def answer(address, data):
    """Send bytes, end the sending side, and return all that comes back."""
    found = b""
    with contextlib.suppress(OSError), socket.create_connection(address, timeout=15) as line:
        with contextlib.suppress(OSError):
            line.sendall(data)
            line.shutdown(socket.SHUT_WR)
        while len(found) < 1 << 20 and (part := line.recv(65536)):
            found += part
    return found


def figures(pid):
    """Return resident MiB and open descriptors."""
    status = Path(f"/proc/{pid}/status").read_text()
    rss = int(status.split("VmRSS:")[1].split()[0]) / 1024
    return rss, len(list(Path(f"/proc/{pid}/fd").iterdir()))


def attack(tmp_path, count, *, page):
    state = State(tmp_path / "state")
    keys = [Keys(state).make(scope, [scope])[1] for scope in ("read", "enrol", "admin")]
    state.close()
    script = "serve_page.py" if page else "serve_with.py"
    running = Running(
        tmp_path, script=script, demand_keys=True, requests_per_minute=1_000_000, threads=1
    ).start()
    port = int(running.address.rsplit(":", 1)[1])
    secrets = [key.rsplit("_", 1)[1].encode() for key in keys]
    secrets += [str(tmp_path).encode(), str(Path.home()).encode() + b"/", b"Traceback", b"root:x:"]
    statuses, seen = Counter(), []
    for number, (kind, data) in enumerate(malformed.requests(count, "127.0.0.1", keys)):
        came = answer(("127.0.0.1", port), data)
        for block in came.split(b"HTTP/1.1 ")[1:]:
            status = int(block[:3])
            statuses[status] += 1
            assert status < 500, (kind, data[:300], block[:600])
        for secret in secrets:
            assert secret not in came, (kind, data[:300])
        if number in (count // 4, count - 1):
            seen.append(figures(running.process.pid))
    with running.client(keys[2], patience_s=0) as client:
        assert client.is_ready()
        assert client.people() == []
    log = (tmp_path / "log").read_text()
    assert running.end() == 0
    assert "Traceback" not in log, log[-3000:]
    print(dict(sorted(statuses.items())), "RSS MiB and descriptors after a quarter and all:", seen)
    (rss, files), (rss_end, files_end) = seen
    assert rss_end < rss + 30
    assert files_end < files + 20
    return statuses


def test_malformed_requests_are_answered_and_leak_nothing(tmp_path):
    assert attack(tmp_path, 200, page=False).total() > 100


@pytest.mark.slow
@pytest.mark.parametrize("page", [False, True])
def test_two_thousand_malformed_requests(tmp_path, page):
    attack(tmp_path, 2_000, page=page)


# --- hostile galleries --------------------------------------------------------


HARMS = {
    "words": (
        "UPDATE people SET name = '<script>' || char(27) || '[31m' WHERE id = 1",
        "UPDATE people SET note = hex(zeroblob(2000000)) WHERE id = 2",
        "UPDATE embeddings SET created = 'never', photo = char(27), score = 1e999 WHERE id < 9",
    ),
    "calibration": ("INSERT OR REPLACE INTO meta VALUES ('calibration', '{\"format\": 1e999}')",),
    "numbers": (
        "UPDATE embeddings SET vector = zeroblob(length(vector)) WHERE id % 5 = 0",
        f"UPDATE embeddings SET vector = x'{'0000c07f' * 128}' WHERE id % 3 = 0",  # NaN
        "CREATE TRIGGER evil AFTER UPDATE ON counts BEGIN "
        "UPDATE people SET name = name || 'x'; END",
    ),
    "widths": ("UPDATE embeddings SET vector = x'00' WHERE id % 7 = 0",),
    "bytes": (),
}


def spoil(path, harm):
    """Make a gallery of somebody who wishes the reader ill."""
    known = registry.spec("facenet")
    kill_worker.fill(path, known.embedder_id, known.dim)
    with contextlib.closing(sqlite3.connect(path)) as database:
        for statement in HARMS[harm]:
            database.execute(statement)
        database.commit()
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    if harm == "bytes":
        data, r = bytearray(path.read_bytes()), random.Random(1)
        for _ in range(40):
            data[r.randrange(8192, len(data))] ^= r.randrange(1, 256)
        path.write_bytes(data)


@pytest.mark.parametrize(
    "harm", ["words", *(pytest.param(h, marks=pytest.mark.slow) for h in HARMS if h != "words")]
)
def test_a_hostile_gallery_is_refused_or_served_without_a_leak(tmp_path, harm, photos):
    spoil(tmp_path / "g.limner", harm)
    running = Running(tmp_path, threads=1).start(wait=False)
    until = time.monotonic() + 60
    statuses = Counter()
    with httpx.Client(base_url=running.address, timeout=60) as client:
        while client.get("/readyz").status_code != 200 and time.monotonic() < until:
            if "could not start" in client.get("/readyz").text:
                break
            time.sleep(0.1)
        for path in ("/v1/people", "/v1/people/1", "/v1/people/2", "/v1/info", "/metrics"):
            got = client.get(path)
            statuses[got.status_code] += 1
            assert got.status_code != 500, (path, got.text[:300])
            assert str(tmp_path) not in got.text
            assert "\x1b" not in got.text
        for path in ("/v1/identify", "/v1/lookalike", "/v1/detect"):
            got = client.post(path, files={"photo": ("a.jpg", photos["collins"])})
            statuses[got.status_code] += 1
            assert got.status_code != 500, (path, got.text[:300])
            assert str(tmp_path) not in got.text
        assert client.get("/healthz").status_code == 200
    assert running.end(signal.SIGTERM) == 0
    print(harm, dict(statuses))
    assert "Fatal" not in (tmp_path / "log").read_text()


# --- kills --------------------------------------------------------------------


def sound(path):
    with contextlib.closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        people, faces = database.execute("SELECT people, faces FROM counts").fetchone()
        assert database.execute("SELECT count(*) FROM people").fetchone()[0] == people
        assert database.execute("SELECT count(*) FROM embeddings").fetchone()[0] == faces
    return people, faces


# a few times as long as it takes, so that kills fall into the writing as well
WITHIN_S = {"calibrate": 4.0, "re-embed": 0.5, "export": 0.5, "copy": 0.5}
MODES = tuple(WITHIN_S)


def killed(mode, tmp_path, times, seed):
    """Kill the work at random moments; look at what is left each time."""
    path, exported = tmp_path / "g.limner", tmp_path / "all.zip"
    kill_worker.fill(path)
    if mode == "copy":
        with Gallery.open(path) as gallery:
            gallery.export(exported)
    whole = (kill_worker.PEOPLE, kill_worker.PEOPLE * kill_worker.EACH)
    r, done = random.Random(seed), 0
    for _ in range(times):
        process = subprocess.Popen(
            [sys.executable, str(HERE / "kill_worker.py"), mode, str(path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        threading.Timer(r.random() * WITHIN_S[mode], process.kill).start()
        done += sum(line.startswith("did") for line in process.stdout)
        assert process.stderr.read() == ""
        process.wait()
        process.stdout.close()
        process.stderr.close()
        assert sound(path) == whole, "nothing is lost"
        with Gallery.open(path) as gallery:
            own = gallery.own_calibration
            assert own is None or own.embedder_id in kill_worker.IDS
            assert gallery.embedder_id in kill_worker.IDS
            some = gallery.person("Person 7")
            assert some.photos == kill_worker.EACH
        if exported.exists():
            with zipfile.ZipFile(exported) as bundle:
                assert bundle.testzip() is None
        for copy in tmp_path.glob("copy-*.limner"):
            assert sound(copy) in ((0, 0), whole), "all or nothing"
    with Gallery.open(path) as gallery:
        gallery.export(exported)
    left = [p.name for p in tmp_path.iterdir() if p.name.startswith(".") and p.is_dir()]
    assert left == [], "what killed exports left is swept"
    return done


@pytest.mark.parametrize("mode", MODES)
def test_a_kill_loses_nothing(tmp_path, mode):
    killed(mode, tmp_path, times=1, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_twenty_kills_lose_nothing(tmp_path, mode):
    print(mode, killed(mode, tmp_path, times=20, seed=2), "times done between the kills")
