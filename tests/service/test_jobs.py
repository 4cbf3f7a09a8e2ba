"""Jobs: done, failed, cancelled, resumed after a restart, or lost. Toy work."""

from __future__ import annotations

import threading
import time

import pytest

from limner.errors import InputError, ServiceError
from limner.service import Settings, work
from limner.service.jobs import Interrupted, Jobs
from limner.service.keys import Key
from limner.service.state import State

ANN = Key("ann", "Ann", ("read",), "")
BOB = Key("bob", "Bob", ("read",), "")
ROOT = Key("root", "Root", ("admin",), "")


@pytest.fixture
def kinds(monkeypatch):
    gate = threading.Event()

    def good(running):
        assert (running.folder / "content").read_bytes() == b"photo"
        running.report(0.5, "half", b"jpeg")
        (running.folder / work.RESULT).write_bytes(b"png")

    def slow(running):
        marks = running.folder / work.CHECKPOINT
        done = int(marks.read_text()) if marks.exists() else 0
        while not gate.is_set():
            if running.must_end:
                marks.write_text(str(done))
                raise Interrupted
            done += 1
            running.report(done / 1e6, f"at {done}")
            time.sleep(0.005)
        (running.folder / work.RESULT).write_text(str(done))

    def bad(running):
        raise InputError("the picture /tmp/x is too small.")

    def broken(running):
        raise ZeroDivisionError("/etc/passwd")

    monkeypatch.setattr(work, "KINDS", {"good": good, "slow": slow, "bad": bad, "broken": broken})
    return gate


class House:
    def __init__(self, folder, **settings):
        self.state = State(folder / "state")
        self.jobs = Jobs(self.state, Settings(state=folder / "state", **settings))

    def close(self):
        self.jobs.close()
        self.state.close()


def wait_for(job, *statuses):
    began = time.monotonic()
    while job.status not in statuses:
        assert time.monotonic() - began < 60, (job.status, job.message)
        time.sleep(0.005)


@pytest.fixture
def house(tmp_path, kinds):
    made = House(tmp_path)
    made.jobs.start()
    yield made
    kinds.set()
    made.close()


def files(house, job):
    folder = house.jobs._folder / job.id
    return {path.name for path in folder.iterdir()} if folder.exists() else None


def test_a_job_is_done_and_keeps_its_result_but_not_its_photo(house):
    job = house.jobs.submit("good", {"size": 1}, {"content": b"photo"}, ANN)
    wait_for(job, "done")
    assert job.progress == 1.0
    assert job.preview is None, "what has ended takes no memory"
    assert files(house, job) == {work.RESULT}
    assert house.jobs.file(job, work.RESULT).read_bytes() == b"png"
    house.jobs.delete(job)
    assert files(house, job) is None
    with pytest.raises(ServiceError, match="no such job"):
        house.jobs.find(job.id, ANN)


def test_jobs_are_seen_by_their_owner_and_by_admins(house):
    job = house.jobs.submit("good", {}, {"content": b"photo"}, ANN)
    assert house.jobs.find(job.id, ANN) is job
    assert house.jobs.find(job.id, ROOT) is job
    with pytest.raises(ServiceError) as caught:
        house.jobs.find(job.id, BOB)
    assert caught.value.status == 404
    assert house.jobs.all(BOB) == []


def test_failures_say_why_but_no_paths(house):
    bad = house.jobs.submit("bad", {}, {"content": b"photo"}, ANN)
    broken = house.jobs.submit("broken", {}, {"content": b"photo"}, ANN)
    wait_for(bad, "failed")
    wait_for(broken, "failed")
    assert bad.message == "the picture is too small."
    assert "passwd" not in broken.message
    assert files(house, bad) is None


def test_a_running_and_a_waiting_job_can_be_cancelled(house):
    first = house.jobs.submit("slow", {}, {"content": b"photo"}, ANN)
    second = house.jobs.submit("slow", {}, {"content": b"photo"}, ANN)
    wait_for(first, "running")
    house.jobs.cancel(second)
    assert second.status == "cancelled"
    house.jobs.cancel(first)
    wait_for(first, "cancelled")
    assert files(house, first) is None


def test_too_many_waiting_jobs_are_refused(tmp_path, kinds):
    house = House(tmp_path, max_jobs=2)
    for _ in range(2):
        house.jobs.submit("slow", {}, {"content": b"photo"}, ANN)
    with pytest.raises(ServiceError) as caught:
        house.jobs.submit("slow", {}, {"content": b"photo"}, ANN)
    assert caught.value.status == 429
    house.close()


def test_a_stopped_job_goes_on_after_the_restart(tmp_path, kinds):
    house = House(tmp_path)
    house.jobs.start()
    job = house.jobs.submit("slow", {}, {"content": b"photo"}, ANN)
    wait_for(job, "running")
    while job.progress < 3e-6:
        time.sleep(0.005)
    house.close()
    assert job.status == "queued"
    before = round(job.progress * 1e6)
    kinds.set()
    again = House(tmp_path)
    again.jobs.start()
    found = again.jobs.find(job.id, ANN)
    wait_for(found, "done")
    assert int(again.jobs.file(found, work.RESULT).read_text()) >= before
    again.close()


def test_a_killed_job_is_begun_again_but_not_for_ever(tmp_path, kinds):
    kinds.set()
    for attempts, expected in ((1, "done"), (2, "done"), (3, "lost")):
        house = House(tmp_path / str(attempts))
        job = house.jobs.submit("slow", {}, {"content": b"photo"}, ANN)
        job.status, job.attempts = "running", attempts  # as a kill leaves it
        house.jobs._rows.save(job)
        house.close()
        again = House(tmp_path / str(attempts))
        again.jobs.start()
        found = again.jobs.find(job.id, ANN)
        wait_for(found, "done", "lost")
        assert found.status == expected
        again.close()


@pytest.mark.parametrize("harm", ["gone", "cut"])
def test_a_job_whose_inputs_are_gone_is_lost(tmp_path, kinds, harm):
    house = House(tmp_path)
    job = house.jobs.submit("good", {}, {"content": b"photo"}, ANN)
    path = house.jobs._folder / job.id / "content"
    path.unlink() if harm == "gone" else path.write_bytes(b"pho")
    house.close()
    again = House(tmp_path)
    again.jobs.start()
    found = again.jobs.find(job.id, ANN)
    assert found.status == "lost"
    assert "submit it again" in found.message
    assert files(again, found) is None
    again.close()


def test_old_results_are_removed_and_strange_folders_stay(tmp_path, kinds):
    house = House(tmp_path)
    house.jobs.start()
    job = house.jobs.submit("good", {}, {"content": b"photo"}, ANN)
    wait_for(job, "done")
    stray = house.jobs._folder / "stray"
    stray.mkdir()
    job.ended -= 25 * 3600
    house.jobs._purge()
    assert list(house.jobs._folder.iterdir()) == [stray], "it is none of ours"
    assert house.jobs.all(ROOT) == []
    house.close()
