"""The state folder and its jobs: nothing strange is touched, no fault ends the jobs for good."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time

import pytest
from servers import Running

from limner.errors import ServiceError
from limner.service import Settings, create_app, work
from limner.service import state as state_module
from limner.service.jobs import Jobs
from limner.service.keys import Key
from limner.service.state import FILE_NAME, State

ANN, BOB = Key("ann", "Ann", ("read",), ""), Key("bob", "Bob", ("read",), "")


class House:
    def __init__(self, folder, **settings):
        self.settings = Settings(state=folder / "state", **settings)
        self.state = State(self.settings.state_folder)
        self.jobs = Jobs(self.state, self.settings)

    def close(self):
        self.jobs.close()
        self.state.close()


def wait_until(true, seconds=60):
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.fixture
def gate(monkeypatch):
    """Jobs that write their result once the gate is open, and note whose turn it was."""
    opened, turns = threading.Event(), []

    def paint(running):
        turns.append(running.job.owner)
        running.report(0.5, "half", b"x" * 1000)
        assert opened.wait(60)
        (running.folder / work.RESULT).write_bytes(b"png")

    monkeypatch.setattr(work, "KINDS", {"style": paint})
    opened.turns = turns
    return opened


def submit(house, key=ANN):
    return house.jobs.submit("style", {}, {"content": b"photo"}, key)


@contextlib.contextmanager
def locked(folder):
    """Another process that has begun to write and does not end."""
    other = sqlite3.connect(folder / "state" / FILE_NAME, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    yield
    other.execute("ROLLBACK")
    other.close()


# --- H1: whose folder it is ---------------------------------------------------


def test_a_folder_has_one_service(tmp_path):
    first = State(tmp_path / "state", exclusive=True)
    with pytest.raises(ServiceError, match="another service uses the state folder"):
        State(tmp_path / "state", exclusive=True)
    State(tmp_path / "state").close()  # the commands about keys may
    first.close()
    State(tmp_path / "state", exclusive=True).close()


def test_a_second_service_leaves_the_firsts_jobs_alone(tmp_path, gate):
    app = create_app(Settings(state=tmp_path / "state", gallery=tmp_path / "g.limner"))
    jobs = app.state.limner.jobs
    jobs.start()
    gate.set()
    job = jobs.submit("style", {}, {"content": b"photo"}, ANN)
    wait_until(lambda: job.status == "done")
    with pytest.raises(ServiceError, match="another service"):
        create_app(Settings(state=tmp_path / "state", gallery=tmp_path / "other.limner"))
    jobs._purge()
    assert jobs.file(job, work.RESULT).read_bytes() == b"png"
    app.state.limner.close()


def test_a_killed_service_gives_the_folder_back(tmp_path):
    code = f"""
import time
from pathlib import Path
from limner.service.state import State
held = State(Path({str(tmp_path / "state")!r}), exclusive=True)
print("held", flush=True)
time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    with pytest.raises(ServiceError, match="another service"):
        State(tmp_path / "state", exclusive=True)
    process.kill()
    process.wait()
    process.stdout.close()
    State(tmp_path / "state", exclusive=True).close()


@pytest.mark.parametrize("name", ["thesis", "jobs"])
def test_a_folder_with_other_things_is_refused_and_stays_as_it_is(tmp_path, name):
    chapter = tmp_path / "mine" / name / "thesis" / "ch1"
    chapter.parent.mkdir(parents=True)
    chapter.write_text("years of work")
    (tmp_path / "mine").chmod(0o1777)
    with pytest.raises(ServiceError, match="holds other things"):
        State(tmp_path / "mine")
    assert chapter.read_text() == "years of work"
    assert (tmp_path / "mine").stat().st_mode & 0o7777 == 0o1777
    assert not (tmp_path / "mine" / FILE_NAME).exists()


def test_strange_folders_among_the_jobs_stay(tmp_path, gate):
    house = House(tmp_path)
    strange = house.settings.state_folder / "jobs" / "thesis"
    strange.mkdir()
    (strange / "ch1").write_text("years of work")
    house.jobs.start()
    house.jobs._purge()
    assert (strange / "ch1").exists()
    house.close()


def test_only_what_was_made_is_made_private(tmp_path):
    (tmp_path / "there").mkdir(mode=0o755)
    State(tmp_path / "there").close()
    State(tmp_path / "new").close()
    if os.name == "posix":
        assert (tmp_path / "there").stat().st_mode & 0o777 == 0o755
        assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
        assert (tmp_path / "there" / FILE_NAME).stat().st_mode & 0o777 == 0o600


# --- H2: faults of the thread -------------------------------------------------


def test_a_locked_database_ends_no_thread_and_done_is_told_when_it_is_written(
    tmp_path, gate, monkeypatch
):
    monkeypatch.setattr(state_module, "_PATIENCE_S", 0.1)
    house = House(tmp_path)
    house.jobs.start()
    job = submit(house)
    wait_until(lambda: job.status == "running")
    with locked(tmp_path):
        gate.set()
        time.sleep(0.6)
        assert job.status == "running", "not done before it is on the disk"
        with pytest.raises(ServiceError, match="cannot be written") as caught:
            submit(house)
        assert caught.value.status == 503
        assert house.jobs.alive
    wait_until(lambda: job.status == "done")
    again = submit(house)
    wait_until(lambda: again.status == "done")
    house.close()


def test_a_job_that_was_told_done_is_done_after_a_power_cut(tmp_path, gate):
    gate.set()
    house = House(tmp_path)
    house.jobs.start()
    job = submit(house)
    wait_until(lambda: job.status == "done")
    copy = tmp_path / "after"
    shutil.copytree(tmp_path / "state", copy / "state")  # the disk as it is at this moment
    after = House(copy)
    after.jobs.start()
    found = after.jobs.find(job.id, ANN)
    assert found.status == "done"
    assert after.jobs.file(found, work.RESULT).read_bytes() == b"png"
    after.close()
    house.close()


@pytest.mark.parametrize("fault", [OSError(24, "Too many open files"), MemoryError(), SystemExit()])
def test_no_exception_ends_the_jobs(tmp_path, gate, monkeypatch, fault):
    gate.set()
    house = House(tmp_path)
    purge, faults = house.jobs._purge, [fault, fault]

    def failing():
        if faults:
            raise faults.pop()
        purge()

    house.jobs.start()
    monkeypatch.setattr(house.jobs, "_purge", failing)
    house.jobs._purge_at = 0.0
    job = submit(house)
    wait_until(lambda: job.status == "done")
    assert house.jobs.alive
    assert not faults
    house.close()


def test_a_dead_thread_is_not_ready(tmp_path):
    app = create_app(Settings(state=tmp_path / "state", gallery=tmp_path / "g.limner"))
    engine = app.state.limner
    engine.open()
    assert engine.ready
    engine.jobs.stopping.set()
    with engine.jobs._changed:
        engine.jobs._changed.notify_all()
    engine.jobs._thread.join()
    assert not engine.ready
    engine.close()


# --- M7: one key among others -------------------------------------------------


def test_one_key_does_not_take_all_places_nor_all_turns(tmp_path, gate):
    house = House(tmp_path, max_key_jobs=3)
    house.jobs.start()
    first = submit(house)
    wait_until(lambda: first.status == "running")
    for _ in range(3):
        submit(house)
    with pytest.raises(ServiceError, match="3 jobs of yours are waiting") as caught:
        submit(house)
    assert (caught.value.status, caught.value.kind) == (429, "TooManyJobs")
    last = submit(house, BOB)
    gate.set()
    wait_until(lambda: last.status == "done")
    assert gate.turns[:2] == ["ann", "bob"], "whoever came once need not wait for all others"
    house.close()


def test_old_results_of_a_key_make_room_and_previews_are_dropped(tmp_path, gate):
    gate.set()
    house = House(tmp_path, max_results=2)
    house.jobs.start()
    jobs = []
    for _ in range(4):
        jobs.append(submit(house))
        wait_until(lambda: jobs[-1].status == "done")
    other = submit(house, BOB)
    wait_until(lambda: other.status == "done")
    kept = {job.id for job in house.jobs.all(ANN)}
    assert kept == {job.id for job in jobs[2:]}
    assert set(os.listdir(house.settings.state_folder / "jobs")) == {*kept, other.id}
    assert all(job.preview is None for job in house.jobs.all(ANN))
    house.close()


def test_a_full_disk_refuses_a_job_and_leaves_nothing(tmp_path, gate, monkeypatch):
    house = House(tmp_path)

    def full(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(ServiceError, match="disk is full") as caught:
        submit(house)
    assert caught.value.status == 503
    assert house.jobs.all(ANN) == []
    assert os.listdir(house.settings.state_folder / "jobs") == []
    house.close()


# --- few descriptors ----------------------------------------------------------


@pytest.mark.slow
def test_half_sent_requests_keep_nobody_out(tmp_path):
    """240 of them at 256 descriptors ended the jobs and filled the service for good."""
    import resource
    import socket

    def few():
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))

    running = Running(tmp_path, preexec=few).start()
    port = int(running.address.rsplit(":", 1)[1])
    held, refused = [], 0
    for _ in range(240):
        line = socket.create_connection(("127.0.0.1", port))
        line.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX-")
        held.append(line)
    time.sleep(0.5)
    for line in held:
        line.setblocking(False)
        with contextlib.suppress(BlockingIOError, ConnectionError):
            refused += line.recv(100).startswith(b"HTTP/1.1 503")
    assert refused >= 100
    with running.client(patience_s=0) as client:
        wait_until(client.is_ready, seconds=30)  # heads have 10 s
    for line in held:
        line.close()
    assert "Too many open files" not in (tmp_path / "log").read_text()
    assert running.end(signal.SIGTERM) == 0
