"""Jobs: work that takes longer than a request, one at a time, kept over a restart.

A job's inputs lie in a folder of its own until it ends, and are deleted then. A service that
is stopped, or killed, begins its open jobs again when it starts: from the last checkpoint
where the work writes one. A job whose inputs are gone, or that has ended the service three
times, is marked ``lost``. Nothing is shown before it is on the disk.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from limner import images
from limner.errors import LimnerError, ServiceError
from limner.service.job_rows import Job, JobRows, Status
from limner.service.keys import Key, now
from limner.service.pool import step_back, too_busy
from limner.service.settings import Settings
from limner.service.state import State, private_folder
from limner.types import ImageArray

LOG = logging.getLogger("limner.service")
MAX_ATTEMPTS = 3
_PURGE_EVERY_S = 60.0
_SAVE_EVERY_S = 1.0
_MOST_PAUSE_S = 30.0


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

    def read(self, name: str) -> ImageArray:
        """Return an input's pixels, (H, W, 3), uint8 RGB.

        Raises:
            ImageError: If it cannot be read.
        """
        return self._jobs.read((self.folder / name).read_bytes())

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
        read: Makes pixels of an upload.
    """

    def __init__(
        self,
        state: State,
        settings: Settings,
        *,
        read: Callable[[bytes], ImageArray] = images.read,
    ) -> None:
        self._rows, self._settings, self.read = JobRows(state), settings, read
        self._folder = private_folder(settings.state_folder / "jobs")
        self._jobs: dict[str, Job] = {}
        self._changed = threading.Condition(threading.RLock())
        self._thread: threading.Thread | None = None
        self._saved: dict[str, float] = {}
        self._served: dict[str, float] = {}  # owner -> when a job of theirs began last
        self._purge_at = 0.0
        self.stopping = threading.Event()

    # --- asking ------------------------------------------------------------------------

    @property
    def open(self) -> int:
        """How many wait or run."""
        return sum(job.is_open for job in list(self._jobs.values()))

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread is not None and self._thread.is_alive()

    def find(self, job_id: str, key: Key) -> Job:
        """Return a job of that key; an admin's key sees all.

        Raises:
            ServiceError: If there is none (404).
        """
        job = self._jobs.get(job_id)
        if job is None or not _sees(key, job):
            raise ServiceError("there is no such job.", status=404, kind="UnknownJob")
        return job

    def all(self, key: Key) -> list[Job]:
        """Return the jobs that a key may see, the newest first."""
        seen = [job for job in list(self._jobs.values()) if _sees(key, job)]
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
            ServiceError: If too many jobs wait, of all or of this key (429); if the service is
                stopping, or its disk is full (503).
        """
        if self.stopping.is_set():
            raise ServiceError("the service is stopping.", status=503, kind="Stopping")
        job = Job(
            secrets.token_urlsafe(18), kind, key.id, "queued", 0.0, "waiting", {**parameters}, 0,
            now(),
        )  # fmt: skip
        job.parameters["files"] = {name: len(data) for name, data in files.items()}
        with self._changed:
            self._check_room(key)
            self._rows.save(job)  # first: a folder that no row names is not ours
            try:
                folder = private_folder(self._folder / job.id)
                for name, data in files.items():
                    (folder / name).write_bytes(data)
            except (OSError, ServiceError) as error:
                self._remove(job)
                raise ServiceError(
                    "the job cannot be kept: the service's disk is full or cannot be written.",
                    status=503,
                    kind="Busy",
                    retry_after_s=60,
                ) from error
            self._jobs[job.id] = job
            self._changed.notify_all()
        return job

    def _check_room(self, key: Key) -> None:
        waiting = [job for job in self._jobs.values() if job.status == "queued"]
        if len(waiting) >= self._settings.max_jobs:
            raise too_busy(30)
        most = self._settings.max_key_jobs
        if sum(job.owner == key.id for job in waiting) >= most:
            raise ServiceError(
                f"{most} jobs of yours are waiting already, which is as many as there may be; try "
                "again when one has begun.",
                status=429,
                kind="TooManyJobs",
                retry_after_s=30,
            )

    def cancel(self, job: Job) -> None:
        """End a job early; what is finished stays as it is."""
        job.cancelled.set()
        with self._changed:
            if job.status == "queued":
                self._end(job, "cancelled", "cancelled before it began")

    def delete(self, job: Job) -> None:
        """Cancel a job and remove everything of it."""
        with self._changed:
            job.parameters["delete"] = True  # if it runs, its thread removes it
            self.cancel(job)
            if not job.is_open and job.id in self._jobs:
                self._remove(job)

    def report(self, job: Job, progress: float, message: str, preview: bytes | None) -> None:
        """Take down how far a job is; it reaches the disk once a second, if it can."""
        job.progress, job.message = min(max(progress, 0.0), 1.0), message
        job.preview = preview or job.preview
        job.version += 1
        if time.monotonic() - self._saved.get(job.id, 0.0) > _SAVE_EVERY_S:
            self._saved[job.id] = time.monotonic()
            with self._changed, contextlib.suppress(ServiceError):
                self._rows.save(job)

    # --- the thread --------------------------------------------------------------------

    def start(self) -> None:
        """Read the books, queue what is open, and start the thread."""
        self._recover()
        self._thread = threading.Thread(target=self._work, name="limner-jobs", daemon=True)
        self._thread.start()

    def begin_stop(self) -> None:
        """Ask the running job to write its checkpoint and end; it never waits itself."""
        self.stopping.set()

    def close(self) -> None:
        """Wait for the running job to end."""
        self.begin_stop()
        with self._changed:
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _recover(self) -> None:
        with self._changed:
            for job in self._rows.all():
                self._jobs[job.id] = job
                if not job.is_open:
                    self._drop_inputs(job)  # a kill may have come between the two
                    continue
                folder = self._folder / job.id
                whole = all(
                    (folder / name).is_file() and (folder / name).stat().st_size == size
                    for name, size in job.inputs.items()
                )
                if whole and job.attempts < MAX_ATTEMPTS:
                    self._rows.save(job, status="queued", message="waiting, after a restart")
                else:
                    self._end(job, "lost", "the service ended during this job; submit it again")
        self._purge()

    def _work(self) -> None:
        step_back()
        pause_s = 1.0
        while not self.stopping.is_set():
            try:
                if time.monotonic() >= self._purge_at:
                    self._purge()
                job = self._next()
                if job is not None:
                    self._run(job)
                pause_s = 1.0
            except BaseException:  # whatever it is, the next job must have its turn
                LOG.exception("the jobs go on in %g s, after a fault", pause_s)
                self.stopping.wait(pause_s)
                pause_s = min(2 * pause_s, _MOST_PAUSE_S)

    def _next(self) -> Job | None:
        """Return the next job: of the key that has waited longest for a turn, its oldest."""
        with self._changed:
            waiting = [job for job in self._jobs.values() if job.status == "queued"]
            if not waiting:
                self._changed.wait(_PURGE_EVERY_S)
                return None
            job = min(waiting, key=lambda job: self._served.get(job.owner, 0.0))
            self._served[job.owner] = time.monotonic()
            return job

    def _run(self, job: Job) -> None:
        from limner.service.work import KINDS

        with self._changed:
            if job.status != "queued" or self.stopping.is_set():
                return
            self._rows.save(job, status="running", attempts=job.attempts + 1, message="beginning")
        try:
            KINDS[job.kind](Running(self, job, self._folder / job.id))
        except Interrupted:
            if job.cancelled.is_set():
                self._conclude(job, "cancelled", "cancelled")
            else:  # the service stops; the next one goes on
                with self._changed:
                    self._rows.save(
                        job,
                        status="queued",
                        attempts=job.attempts - 1,
                        message="waiting for the service to start again",
                    )
        except LimnerError as error:
            from limner.service.errors import answer_to

            self._conclude(job, "failed", answer_to(error).message)
        except BaseException:
            LOG.exception("job %s failed", job.id)
            self._conclude(job, "failed", "an unexpected fault; the service's log has the trace")
        else:
            self._conclude(job, "done", "done")

    def _conclude(self, job: Job, status: Status, message: str) -> None:
        """End a job; where that cannot be written down, wait until it can, or until the stop."""
        pause_s = 1.0
        while True:
            try:
                self._end(job, status, message)
                return
            except Exception:
                LOG.exception("the end of job %s cannot be written down yet", job.id)
            if self.stopping.wait(pause_s):
                return  # the next service finds it running, and its inputs with it
            pause_s = min(2 * pause_s, _MOST_PAUSE_S)

    def _end(self, job: Job, status: Status, message: str) -> None:
        with self._changed:
            changes: dict[str, Any] = {"message": message, "ended": time.time(), "status": status}
            if status == "done":
                changes["progress"] = 1.0
            self._rows.write(job, **changes)
            self._drop_inputs(job)
            if status != "done":
                shutil.rmtree(self._folder / job.id, ignore_errors=True)
            job.preview = None
            job.change(**changes)
            if job.is_deleted:
                self._remove(job)
            self._drop_oldest(job.owner)

    def _drop_inputs(self, job: Job) -> None:
        for name in job.inputs:
            with contextlib.suppress(OSError):
                (self._folder / job.id / name).unlink(missing_ok=True)

    def _drop_oldest(self, owner: str) -> None:
        ended = [job for job in self._jobs.values() if job.owner == owner and not job.is_open]
        ended.sort(key=lambda job: job.ended or 0.0)
        for job in ended[: max(0, len(ended) - self._settings.max_results)]:
            self._remove(job)

    def _remove(self, job: Job) -> None:
        """Remove a job's files, then its row; where that fails, the next purge tries again."""
        folder = self._folder / job.id
        job.parameters["delete"] = True
        shutil.rmtree(folder, ignore_errors=True)
        if folder.exists():
            LOG.error("the files of job %s cannot be deleted yet", job.id)
            return
        self._rows.remove(job)
        self._jobs.pop(job.id, None)
        self._saved.pop(job.id, None)

    def _purge(self) -> None:
        """Remove jobs that ended long ago or were deleted; what is none of ours stays."""
        self._purge_at = time.monotonic() + _PURGE_EVERY_S
        oldest = time.time() - 3600 * self._settings.keep_results_h
        with self._changed:
            for job in list(self._jobs.values()):
                if job.is_deleted or (job.ended is not None and job.ended < oldest):
                    self._remove(job)
            owners = {job.owner for job in self._jobs.values()}
            self._served = {o: then for o, then in self._served.items() if o in owners}


def _sees(key: Key, job: Job) -> bool:
    return not job.is_deleted and (job.owner == key.id or key.allows("admin"))
