"""Jobs: work that takes longer than a request, one at a time, kept over a restart.

A job's inputs lie in a folder of its own until it ends, and are deleted then. A service that
is stopped, or killed, begins its open jobs again when it starts: from the last checkpoint
where the work writes one. A job whose inputs are gone, or that has ended the service three
times, is marked ``lost``.
"""

from __future__ import annotations

import json
import logging
import queue
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from limner.errors import LimnerError, ServiceError
from limner.service.keys import Key, now
from limner.service.pool import step_back, too_busy
from limner.service.settings import Settings
from limner.service.state import State, private_folder

LOG = logging.getLogger("limner.service")
Status = Literal["queued", "running", "done", "failed", "cancelled", "lost"]
OPEN: tuple[Status, ...] = ("queued", "running")
MAX_ATTEMPTS = 3
_PURGE_EVERY_S = 60.0
_SAVE_EVERY_S = 1.0


@dataclass
class Job:
    """One job.

    Attributes:
        id: Unguessable.
        kind: What is done, such as ``style``.
        owner: Id of the key that asked for it.
        status: See `Status`.
        progress: From 0 to 1.
        message: One sentence about where it stands, or why it failed.
        parameters: What was asked for.
        attempts: How often it was begun.
        created: UTC, ISO 8601.
        ended: Seconds since 1970; None while it is open.
        preview: A JPEG of the picture as it forms, if the work shows one.
        version: Grows with every change.
    """

    id: str
    kind: str
    owner: str
    status: Status
    progress: float
    message: str
    parameters: dict[str, Any]
    attempts: int
    created: str
    ended: float | None = None
    preview: bytes | None = None
    version: int = 0
    cancelled: threading.Event = field(default_factory=threading.Event, repr=False)

    @property
    def is_open(self) -> bool:
        """Whether it waits or runs."""
        return self.status in OPEN

    def to_json(self) -> dict[str, Any]:
        """Return what a client may know."""
        return {
            "id": self.id,
            "kind": self.kind,
            "status": self.status,
            "progress": round(self.progress, 4),
            "message": self.message,
            "created": self.created,
            "has_preview": self.preview is not None,
        }


class Interrupted(Exception):
    """The work ended early because the job was cancelled or the service stops."""


class Running:
    """What the work of a job is given.

    Attributes:
        job: The job.
        folder: Its folder: inputs, checkpoint and results.
    """

    def __init__(self, jobs: Jobs, job: Job, folder: Path) -> None:
        self._jobs, self.job, self.folder = jobs, job, folder

    def read(self, name: str) -> bytes:
        """Return an input."""
        return (self.folder / name).read_bytes()

    @property
    def must_end(self) -> bool:
        """Whether the work should end at the next opportunity."""
        return self.job.cancelled.is_set() or self._jobs.stopping.is_set()

    def report(self, progress: float, message: str, preview: bytes | None = None) -> None:
        """Say how far it is."""
        self._jobs.report(self.job, progress, message, preview)


Work = Callable[[Running], None]


class Jobs:
    """The jobs of a service and the one thread that does them.

    Args:
        state: Where they are written down.
        settings: Limits.
    """

    def __init__(self, state: State, settings: Settings) -> None:
        self._state, self._settings = state, settings
        self._folder = private_folder(settings.state_folder / "jobs")
        self._jobs: dict[str, Job] = {}
        self._queue: queue.Queue[str | None] = queue.Queue()
        self._lock = threading.RLock()
        self._thread: threading.Thread | None = None
        self._saved: dict[str, float] = {}
        self.stopping = threading.Event()

    # --- asking ------------------------------------------------------------------------

    @property
    def open(self) -> int:
        """How many wait or run."""
        return sum(job.is_open for job in list(self._jobs.values()))

    def find(self, job_id: str, key: Key) -> Job:
        """Return a job of that key; an admin's key sees all.

        Raises:
            ServiceError: If there is none (404).
        """
        job = self._jobs.get(job_id)
        if job is None or not (job.owner == key.id or key.allows("admin")):
            raise ServiceError("there is no such job.", status=404, kind="UnknownJob")
        return job

    def all(self, key: Key) -> list[Job]:
        """Return the jobs that a key may see, the newest first."""
        seen = [j for j in list(self._jobs.values()) if j.owner == key.id or key.allows("admin")]
        return sorted(seen, key=lambda job: job.created, reverse=True)

    def file(self, job: Job, name: str) -> Path | None:
        """Return a result's path; None while there is none."""
        path = self._folder / job.id / name
        return path if job.status == "done" and path.is_file() else None

    # --- changing ----------------------------------------------------------------------

    def submit(
        self, kind: str, parameters: Mapping[str, Any], files: Mapping[str, bytes], key: Key
    ) -> Job:
        """Queue a job.

        Args:
            kind: A name in `limner.service.work.KINDS`.
            parameters: Plain JSON values.
            files: Its inputs by name; they are kept until it ends.
            key: Who asks.

        Raises:
            ServiceError: If too many jobs wait (429), or the service is stopping (503).
        """
        if self.stopping.is_set():
            raise ServiceError("the service is stopping.", status=503, kind="Stopping")
        job = Job(
            secrets.token_urlsafe(18), kind, key.id, "queued", 0.0, "waiting", {**parameters}, 0,
            now(),
        )  # fmt: skip
        job.parameters["files"] = {name: len(data) for name, data in files.items()}
        with self._lock:
            if sum(j.status == "queued" for j in self._jobs.values()) >= self._settings.max_jobs:
                raise too_busy(30)
            folder = private_folder(self._folder / job.id)
            for name, data in files.items():
                (folder / name).write_bytes(data)
            self._save(job)
            self._jobs[job.id] = job
        self._queue.put(job.id)
        return job

    def cancel(self, job: Job) -> None:
        """End a job early; what is finished stays as it is."""
        job.cancelled.set()
        with self._lock:
            if job.status == "queued":
                self._end(job, "cancelled", "cancelled before it began")

    def delete(self, job: Job) -> None:
        """Cancel a job and remove everything of it."""
        self.cancel(job)
        with self._lock:
            if not job.is_open:
                self._remove(job)
            else:
                job.parameters["delete"] = True  # its thread removes it

    def report(self, job: Job, progress: float, message: str, preview: bytes | None) -> None:
        """Take down how far a job is; it reaches the disk once a second."""
        job.progress, job.message = min(max(progress, 0.0), 1.0), message
        job.preview = preview or job.preview
        job.version += 1
        if time.monotonic() - self._saved.get(job.id, 0.0) > _SAVE_EVERY_S:
            with self._lock:
                self._save(job)

    # --- the thread --------------------------------------------------------------------

    def start(self) -> None:
        """Read the books, queue what is open, and start the thread."""
        self._recover()
        self._thread = threading.Thread(target=self._work, name="limner-jobs", daemon=True)
        self._thread.start()

    def begin_stop(self) -> None:
        """Ask the running job to write its checkpoint and end."""
        self.stopping.set()
        self._queue.put(None)

    def close(self) -> None:
        """Wait for the running job to end."""
        self.begin_stop()
        if self._thread is not None:
            self._thread.join()

    def _recover(self) -> None:
        for row in self._state.rows(
            """SELECT id, kind, owner, status, progress, message, parameters, attempts, created,
                ended FROM jobs ORDER BY created, id"""
        ):
            job = Job(*cast("tuple[Any, ...]", row))
            job.parameters = json.loads(cast("str", row[6]))
            self._jobs[job.id] = job
            if not job.is_open:
                continue
            folder = self._folder / job.id
            whole = all(
                (folder / name).is_file() and (folder / name).stat().st_size == size
                for name, size in job.parameters["files"].items()
            )
            if whole and job.attempts < MAX_ATTEMPTS:
                job.status, job.message = "queued", "waiting, after a restart"
                self._save(job)
                self._queue.put(job.id)
            else:
                self._end(job, "lost", "the service ended during this job; submit it again")
        self._purge()

    def _work(self) -> None:
        step_back()
        while not self.stopping.is_set():
            try:
                job_id = self._queue.get(timeout=_PURGE_EVERY_S)
            except queue.Empty:
                self._purge()
                continue
            job = self._jobs.get(job_id or "")
            if job is not None and job.status == "queued" and not self.stopping.is_set():
                self._run(job)

    def _run(self, job: Job) -> None:
        from limner.service.work import KINDS

        with self._lock:
            job.status, job.attempts, job.message = "running", job.attempts + 1, "beginning"
            self._save(job)
        try:
            KINDS[job.kind](Running(self, job, self._folder / job.id))
        except Interrupted:
            with self._lock:
                if job.cancelled.is_set():
                    self._end(job, "cancelled", "cancelled")
                else:  # the service stops; the next one goes on
                    job.status, job.attempts = "queued", job.attempts - 1
                    job.message = "waiting for the service to start again"
                    self._save(job)
        except LimnerError as error:
            from limner.service.errors import answer_to

            self._end(job, "failed", answer_to(error).message)
        except Exception:
            LOG.exception("job %s failed", job.id)
            self._end(job, "failed", "an unexpected fault; the service's log has the trace")
        else:
            job.progress = 1.0
            self._end(job, "done", "done")

    def _end(self, job: Job, status: Status, message: str) -> None:
        with self._lock:
            job.status, job.message, job.ended = status, message, time.time()
            folder = self._folder / job.id
            for name in job.parameters["files"]:
                (folder / name).unlink(missing_ok=True)
            if status != "done":
                job.preview = None
                shutil.rmtree(folder, ignore_errors=True)
            self._save(job)
            if job.parameters.get("delete"):
                self._remove(job)

    def _remove(self, job: Job) -> None:
        shutil.rmtree(self._folder / job.id, ignore_errors=True)
        self._jobs.pop(job.id, None)
        self._saved.pop(job.id, None)
        with self._state.write() as connection:
            connection.execute("DELETE FROM jobs WHERE id = ?", (job.id,))

    def _purge(self) -> None:
        """Remove jobs that ended long ago, and folders of none."""
        oldest = time.time() - 3600 * self._settings.keep_results_h
        with self._lock:
            for job in list(self._jobs.values()):
                if job.ended is not None and job.ended < oldest:
                    self._remove(job)
            for folder in self._folder.iterdir():
                if folder.name not in self._jobs:
                    shutil.rmtree(folder, ignore_errors=True)

    def _save(self, job: Job) -> None:
        self._saved[job.id] = time.monotonic()
        job.version += 1
        with self._state.write() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO jobs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    job.id,
                    job.kind,
                    job.owner,
                    job.status,
                    job.progress,
                    job.message,
                    json.dumps(job.parameters),
                    job.attempts,
                    job.created,
                    job.ended,
                ),
            )
