"""The service's own small database: keys, who enrolled whom, jobs. Never photos."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

from limner.errors import ServiceError

FILE_NAME = "service.db"

_TABLES = (
    """CREATE TABLE IF NOT EXISTS keys (
        id TEXT PRIMARY KEY,
        label TEXT NOT NULL,
        salt BLOB NOT NULL,
        digest BLOB NOT NULL,
        scopes TEXT NOT NULL,
        created TEXT NOT NULL,
        revoked TEXT
    )""",
    """CREATE TABLE IF NOT EXISTS enrolled (
        person INTEGER PRIMARY KEY,
        key TEXT NOT NULL
    )""",
    """CREATE TABLE IF NOT EXISTS jobs (
        id TEXT PRIMARY KEY,
        kind TEXT NOT NULL,
        owner TEXT NOT NULL,
        status TEXT NOT NULL,
        progress REAL NOT NULL,
        message TEXT NOT NULL,
        parameters TEXT NOT NULL,
        attempts INTEGER NOT NULL,
        created TEXT NOT NULL,
        ended REAL
    )""",
)


def private_folder(path: Path) -> Path:
    """Make a folder that only this user can read.

    Raises:
        ServiceError: If it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        if os.name == "posix":
            path.chmod(0o700)
    except OSError as error:
        raise ServiceError(
            f"the folder {path} cannot be used for the service's state: {error.strerror}; "
            "name another one with --state."
        ) from error
    return path


class State:
    """The database of a state folder. Safe for threads and for several processes.

    Args:
        folder: Made if it is missing, readable by this user only.

    Raises:
        ServiceError: If it cannot be opened.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = private_folder(folder)
        self._lock = threading.RLock()
        path = self.folder / FILE_NAME
        try:
            self._connection = sqlite3.connect(
                path, timeout=10, check_same_thread=False, isolation_level=None
            )
            with contextlib.suppress(OSError):
                path.chmod(0o600)
            for pragma in ("journal_mode = WAL", "synchronous = FULL", "secure_delete = ON"):
                self._connection.execute(f"PRAGMA {pragma}")
            for table in _TABLES:
                self._connection.execute(table)
        except sqlite3.Error as error:
            raise ServiceError(f"the service's database {path} cannot be opened: {error}.") from (
                error
            )

    @contextlib.contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Run one transaction."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def rows(self, query: str, *values: object) -> list[tuple[object, ...]]:
        """Return the rows of a question."""
        with self._lock:
            return self._connection.execute(query, values).fetchall()

    def close(self) -> None:
        """Release the database."""
        with self._lock:
            self._connection.close()
