"""What a job is, and how jobs are written down."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from limner.service.state import State

Status = Literal["queued", "running", "done", "failed", "cancelled", "lost"]
OPEN: tuple[Status, ...] = ("queued", "running")
_COLUMNS = (
    "id", "kind", "owner", "status", "progress", "message", "parameters", "attempts", "created",
    "ended",
)  # fmt: skip


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
        preview: A JPEG of the picture as it forms, if the work shows one; None at the end.
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

    @property
    def is_deleted(self) -> bool:
        """Whether it was deleted, and is only here until its files are gone as well."""
        return bool(self.parameters.get("delete")) and not self.is_open

    @property
    def inputs(self) -> dict[str, int]:
        """The names of its uploads and their sizes in bytes."""
        return cast("dict[str, int]", self.parameters["files"])

    def change(self, **changes: Any) -> None:
        """Make changes that everybody sees."""
        for name, value in changes.items():
            setattr(self, name, value)
        self.version += 1

    def to_json(self) -> dict[str, Any]:
        """Return what a client may know."""
        return {
            "id": self.id,
            "kind": self.kind,
            "status": self.status,
            "progress": round(self.progress, 4),
            "message": self.message,
            "created": self.created,
            "has_preview": self.preview is not None or self.status == "done",
        }


class JobRows:
    """The table of jobs.

    Args:
        state: The database.
    """

    def __init__(self, state: State) -> None:
        self._state = state

    def all(self) -> list[Job]:
        """Return every job, the oldest first."""
        found = []
        for row in self._state.rows(
            f"SELECT {', '.join(_COLUMNS)} FROM jobs ORDER BY created, rowid"
        ):
            job = Job(*cast("tuple[Any, ...]", row))
            job.parameters = json.loads(cast("str", row[6]))
            found.append(job)
        return found

    def save(self, job: Job, **changes: Any) -> None:
        """Write a job down with some changes, and make them only when they are on the disk.

        Raises:
            ServiceError: If they cannot be written; the job is as it was.
        """
        self.write(job, **changes)
        job.change(**changes)

    def write(self, job: Job, **changes: Any) -> None:
        """Write a job down as it is to be, and leave it as it is.

        Raises:
            ServiceError: If that cannot be written.
        """
        values = {name: changes.get(name, getattr(job, name)) for name in _COLUMNS}
        values["parameters"] = json.dumps(values["parameters"])
        assignments = ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS[1:])
        with self._state.write() as connection:
            connection.execute(
                f"INSERT INTO jobs ({', '.join(_COLUMNS)}) VALUES "
                f"({', '.join('?' * len(_COLUMNS))}) ON CONFLICT (id) DO UPDATE SET {assignments}",
                [values[name] for name in _COLUMNS],
            )

    def remove(self, job: Job) -> None:
        """Forget a job.

        Raises:
            ServiceError: If that cannot be written.
        """
        with self._state.write() as connection:
            connection.execute("DELETE FROM jobs WHERE id = ?", (job.id,))
