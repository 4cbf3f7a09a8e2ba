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
LOCK_NAME = "service.lock"
_PATIENCE_S = 10.0

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
    """Make a folder that only this user can read; one that is there keeps its permissions.

    Raises:
        ServiceError: If it cannot be made.
    """
    try:
        if not path.is_dir():
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            if os.name == "posix":
                path.chmod(0o700)
    except OSError as error:
        raise ServiceError(
            f"the folder {path} cannot be used for the service's state: {error.strerror}; "
            "name another one with --state."
        ) from error
    return path


def _state_folder(path: Path) -> Path:
    """Return a folder that is a service's, or empty, or made; leave any other alone."""
    try:
        foreign = path.is_dir() and not (path / FILE_NAME).exists() and any(path.iterdir())
    except OSError:
        foreign = False  # said by the next line
    if foreign:
        raise ServiceError(
            f"the folder {path} holds other things and no service's state; name an empty folder, "
            "or one that does not exist yet, with --state."
        )
    return private_folder(path)


class State:
    """The database of a state folder. Safe for threads, and for commands beside a service.

    Args:
        folder: Made if it is missing, then readable by this user only.
        exclusive: Whether this is the folder's service, of which there is one at a time.

    Raises:
        ServiceError: If it cannot be opened, belongs to something else, or another service
            has it.
    """

    def __init__(self, folder: Path, *, exclusive: bool = False) -> None:
        self.folder = _state_folder(folder)
        self._lock, self._read_lock = threading.RLock(), threading.Lock()
        path = self.folder / FILE_NAME
        self._holder = _hold(self.folder) if exclusive else None
        try:
            self._connection = _connect(path)
            with contextlib.suppress(OSError):
                path.chmod(0o600)
            for pragma in ("journal_mode = WAL", "synchronous = FULL", "secure_delete = ON"):
                self._connection.execute(f"PRAGMA {pragma}")
            for table in _TABLES:
                self._connection.execute(table)
            # Questions never wait for whoever writes, in this process or in another.
            self._reader = _connect(path)
            self._reader.execute("PRAGMA query_only = ON")
        except sqlite3.Error as error:
            raise ServiceError(f"the service's database {path} cannot be opened: {error}.") from (
                error
            )

    @contextlib.contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Run one transaction: all of it is on the disk afterwards, or none.

        Raises:
            ServiceError: If another process has the database, or the disk is full (503).
        """
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException as error:
                with contextlib.suppress(sqlite3.Error):
                    if self._connection.in_transaction:
                        self._connection.execute("ROLLBACK")
                if isinstance(error, sqlite3.OperationalError):
                    raise ServiceError(
                        f"the service's own database cannot be written: {error}; nothing was "
                        "changed. Try again.",
                        status=503,
                        kind="Busy",
                        retry_after_s=5,
                    ) from error
                raise

    def rows(self, query: str, *values: object) -> list[tuple[object, ...]]:
        """Return the rows of a question, as of the last transaction that ended."""
        with self._read_lock:
            return self._reader.execute(query, values).fetchall()

    def close(self) -> None:
        """Release the database and the folder."""
        with self._lock, self._read_lock:
            self._connection.close()
            self._reader.close()
            if self._holder is not None:
                self._holder.close()


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=_PATIENCE_S, check_same_thread=False, isolation_level=None)


def _hold(folder: Path) -> sqlite3.Connection:
    """Take a folder for one service; the system gives it back however the service ends.

    A locked database is a lock that every system has, and that other threads of this process
    respect as well.

    Raises:
        ServiceError: If another service has it.
    """
    path = folder / LOCK_NAME
    holder = sqlite3.connect(path, timeout=0, check_same_thread=False, isolation_level=None)
    try:
        with contextlib.suppress(OSError):
            path.chmod(0o600)
        holder.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error as error:
        holder.close()
        raise ServiceError(
            f"another service uses the state folder {folder}; stop it, or name another folder with "
            "--state."
        ) from error
    return holder
