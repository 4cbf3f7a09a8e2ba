"""Stops, kills and restarts of the real server."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import threading
import time

import pytest
from PIL import Image
from servers import Running, jpeg

from limner.errors import LimnerError, ServiceError


def test_acknowledged_enrolments_survive_kill_9(tmp_path, photos):
    running = Running(tmp_path).start()
    acknowledged = []

    def enrol():
        with running.client(patience_s=0) as client:
            for number in range(1_000):
                try:
                    client.enroll(f"person {number}", photos["collins"])
                except LimnerError:
                    return
                acknowledged.append(f"person {number}")

    thread = threading.Thread(target=enrol)
    thread.start()
    began = time.monotonic()
    while len(acknowledged) < 5:
        assert time.monotonic() - began < 240
        time.sleep(0.01)
    running.end(signal.SIGKILL)
    thread.join()
    running.start()
    with running.client() as client:
        names = {person.name for person in client.people()}
        assert set(acknowledged) <= names
        assert len(names) <= len(acknowledged) + 1
        assert client.identify(photos["collins"]).faces[0].match.person in names
    assert running.end() == 0, "a stop is no failure"


@pytest.mark.slow
def test_a_killed_job_is_done_by_the_next_server(tmp_path, photos):
    running = Running(tmp_path).start()
    with running.client() as client:
        job = client.style(photos["coffee"], photos["collins"], size=96, steps=60)
        for state in client.events(job):
            if state.progress > 0.1:
                break
    running.end(signal.SIGKILL)
    running.start()
    with running.client() as client:
        assert client.job(job).is_open, "the job was begun again"
        assert client.wait(job).status == "done"
    running.end()


@pytest.mark.slow
def test_a_stop_lets_requests_end_and_keeps_the_job(tmp_path, photos):
    running = Running(tmp_path).start()
    with Image.open(io.BytesIO(photos["both"])) as both:
        large = jpeg(both.resize((3072, 1800)))  # seconds of work
    answers = []

    def ask():
        with running.client(patience_s=0) as client:
            answers.append(client.identify(large))

    with running.client(timeout_s=20) as client:
        job = client.style(photos["coffee"], photos["collins"], size=256, steps=2000)
        events = client.events(job)
        while next(events).progress == 0:
            pass
        thread = threading.Thread(target=ask)
        thread.start()
        time.sleep(0.5)
        running.process.send_signal(signal.SIGTERM)
        assert list(events)[-1].is_open, "the stream ends with the service"
    thread.join()
    began = time.monotonic()
    assert running.end() == 0
    assert time.monotonic() - began < 40
    assert len(answers[0].faces) == 2
    assert "Traceback" not in (tmp_path / "log").read_text()
    folders = list((tmp_path / "state" / "jobs").iterdir())
    assert [folder.name for folder in folders] == [job.id]
    assert (folders[0] / "checkpoint").exists()
    running.start(wait=True)
    with running.client() as client:
        for state in client.events(job):
            if state.status == "running" and state.progress > 0:
                break
        client.delete_job(job)
        began = time.monotonic()
        while any((tmp_path / "state" / "jobs").iterdir()):
            assert time.monotonic() - began < 10
            time.sleep(0.05)
    running.end()


def test_a_gallery_that_cannot_be_opened_is_not_ready_but_alive(tmp_path):
    (tmp_path / "g.limner").write_bytes(b"not a database, but long enough to be one" * 50)
    running = Running(tmp_path).start(wait=False)
    with running.client(patience_s=0) as client:
        time.sleep(2)
        assert not client.is_ready()
        with pytest.raises(ServiceError, match="not ready") as caught:
            client.people()
        assert caught.value.status == 503
        assert str(tmp_path) not in str(caught.value)
    running.end()


# --- the command line ------------------------------------------------------------------


def limner(*words, **given):
    code = "from limner.cli.main import run; run()"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        **given,
    )


def test_another_address_without_a_key_is_refused(tmp_path):
    where = ("--state", tmp_path / "state", "--gallery", tmp_path / "g.limner", "--no-page")
    done = limner("serve", "--host", "0.0.0.0", "--port", 0, *where)
    assert done.returncode == 2
    assert "limner keys make" in done.stderr
    assert done.stderr.count("\n") == 1


def test_keys_are_made_listed_and_revoked(tmp_path):
    where = ("--state", tmp_path / "state", "--json")
    made = json.loads(limner("keys", "make", "kiosk", "--scope", "enrol", *where).stdout)
    assert made["key"].startswith(f"limner_{made['id']}_")
    listed = json.loads(limner("keys", "list", *where).stdout)["keys"]
    assert [(key["id"], key["scopes"], key["revoked"]) for key in listed] == [
        (made["id"], ["enrol"], None)
    ]
    assert made["key"] not in json.dumps(listed)
    assert json.loads(limner("keys", "revoke", made["id"], *where).stdout)["revoked"]
    assert limner("keys", "revoke", "none", *where).returncode == 2


def test_serve_prints_its_address_and_ends_with_status_0(tmp_path):
    code = "from limner.cli.main import run; run()"
    words = ["serve", "--no-page", "--port", "0", "--json"]
    where = ["--state", str(tmp_path / "state"), "--gallery", str(tmp_path / "g.limner")]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words, *where],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    lines = [process.stdout.readline() for _ in range(4)]
    assert json.loads("".join(lines))["address"].startswith("http://127.0.0.1:")
    taken = json.loads("".join(lines))["address"].rsplit(":", 1)[1]
    again = limner("serve", "--no-page", "--port", "0", *where)
    assert again.returncode == 2
    assert "another service uses the state folder" in again.stderr
    other = ["--state", str(tmp_path / "other"), *where[2:]]
    busy = limner("serve", "--no-page", "--port", taken, *other)
    assert busy.returncode == 2
    assert "cannot be listened on" in busy.stderr
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "Traceback" not in err
