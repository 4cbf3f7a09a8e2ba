"""Open, create and recognise SQLite gallery files; say in one sentence what is wrong.

A new gallery is made under a temporary name and linked into place when it is complete,
so a file that carries a gallery's name is always a whole gallery.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from limner.errors import GalleryError
from limner.gallery import schema

BUSY_TIMEOUT_S = 30.0
_CACHE_KIB = 65_536
_MAX_REASON = 200
_WAL_KEPT_BYTES = 64 * 1024 * 1024


def now() -> str:
    """Return the present time, UTC, ISO 8601, whole seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def gallery_error(path: Path, error: sqlite3.Error) -> GalleryError:
    """Turn what SQLite reports into one sentence."""
    code = getattr(error, "sqlite_errorcode", None)
    primary = None if code is None else code & 0xFF
    text = " ".join(str(error).split())[:_MAX_REASON]
    if primary == sqlite3.SQLITE_FULL:
        return GalleryError(
            f"the disk of the gallery {path} is full; nothing was changed. "
            "Free some space, then repeat."
        )
    if primary == sqlite3.SQLITE_READONLY:
        return GalleryError(f"the gallery {path} is read-only; nothing was changed.")
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return GalleryError(
            f"another process has been writing to the gallery {path} for "
            f"{BUSY_TIMEOUT_S:.0f} s; nothing was changed. Try again later."
        )
    if primary == sqlite3.SQLITE_NOTADB:
        return GalleryError(f"{path} is not a limner gallery: it is not a database.")
    if primary == sqlite3.SQLITE_CORRUPT:
        return GalleryError(
            f"the gallery {path} is damaged ({text}); restore it from a backup or an export."
        )
    if primary == sqlite3.SQLITE_IOERR:
        return GalleryError(
            f"the disk of the gallery {path} failed or is full ({text}); nothing was changed."
        )
    if primary in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH):
        return GalleryError(f"the gallery {path} cannot be opened: {text}.")
    return GalleryError(f"the gallery {path} failed: {text}.")


def connect(path: Path, *, mode: str) -> sqlite3.Connection:
    """Open one connection; transactions are begun and ended by hand.

    Args:
        path: The file.
        mode: ``rw``, ``rwc``, ``ro``, or ``immutable`` for a file that nobody can change.
    """
    suffix = "mode=ro&immutable=1" if mode == "immutable" else f"mode={mode}"
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?{suffix}",
        uri=True,
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
    )
    try:
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA cell_size_check = ON")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        connection.execute(f"PRAGMA journal_size_limit = {_WAL_KEPT_BYTES}")
    except BaseException:
        connection.close()
        raise
    return connection


def user_version(connection: sqlite3.Connection) -> int:
    """Return the version of the schema in the file."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def migrate(
    connection: sqlite3.Connection,
    migrations: Sequence[Sequence[str]] | None = None,
) -> None:
    """Bring a database to the newest schema, in one transaction."""
    steps = schema.MIGRATIONS if migrations is None else migrations
    connection.execute("BEGIN IMMEDIATE")
    try:
        for version in range(user_version(connection), len(steps)):
            for statement in steps[version]:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {version + 1}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def create(path: Path) -> None:
    """Make an empty gallery at `path`, unless somebody else made one in the meantime.

    Raises:
        GalleryError: If the folder does not exist or cannot be written.
    """
    if not path.parent.is_dir():
        raise GalleryError(
            f"the folder {path.parent} for the gallery {path.name} does not exist; make it first."
        )
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.new")
    try:
        # Embeddings are biometric data: for the owner's eyes, until he decides otherwise.
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        with contextlib.closing(connect(temporary, mode="rw")) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
            migrate(connection)
            connection.executemany(
                "INSERT INTO meta VALUES (?, ?)",
                [("created", now()), ("epoch", secrets.token_hex(8))],
            )
        _link(temporary, path)
    except OSError as error:
        raise GalleryError(
            f"the gallery {path} cannot be made: {(error.strerror or str(error)).lower()}."
        ) from error
    except sqlite3.Error as error:
        raise gallery_error(path, error) from error
    finally:
        for leftover in (temporary, *(Path(f"{temporary}{end}") for end in ("-wal", "-shm"))):
            with contextlib.suppress(OSError):
                leftover.unlink()


def _link(temporary: Path, path: Path) -> None:
    """Give the finished file its name; leave a file that has the name already alone."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        return
    except OSError:  # a file system without links
        if not path.exists():
            os.rename(temporary, path)
    with contextlib.suppress(OSError):
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def open_file(path: Path) -> tuple[sqlite3.Connection, str]:
    """Open an existing gallery, for writing where that is possible.

    Returns:
        The connection and its mode: ``rw``, ``ro`` or ``immutable``.

    Raises:
        GalleryError: If it is not a gallery, damaged, or of a newer limner.
    """
    if path.is_dir():
        raise GalleryError(f"{path} is a folder; a gallery is a file, such as {path}/faces.limner.")
    try:
        size = path.stat().st_size
    except OSError as error:
        raise GalleryError(
            f"there is no gallery at {path}: {(error.strerror or str(error)).lower()}."
        ) from error
    if size == 0:
        raise GalleryError(f"{path} is empty (0 bytes), not a limner gallery.")
    if not os.access(path, os.R_OK):
        raise GalleryError(f"the gallery {path} cannot be opened: permission denied.")
    mode = _mode(path)
    connection: sqlite3.Connection | None = None
    try:
        connection = connect(path, mode=mode)
        _recognise(connection, path, mode)
    except BaseException as error:
        if connection is not None:
            connection.close()
        if isinstance(error, sqlite3.OperationalError) and mode == "ro":
            raise GalleryError(
                f"the gallery {path} has changes in {path.name}-wal that a read-only disk does "
                "not let limner read; copy both files to a folder that can be written."
            ) from error
        if isinstance(error, sqlite3.Error):
            raise gallery_error(path, error) from error
        raise
    return connection, mode


def _mode(path: Path) -> str:
    if os.access(path, os.W_OK) and os.access(path.parent, os.W_OK):
        return "rw"
    wal = Path(f"{path}-wal")
    with contextlib.suppress(OSError):
        if wal.stat().st_size > 0:
            return "ro"
    return "immutable"


def _recognise(connection: sqlite3.Connection, path: Path, mode: str) -> None:
    application = int(connection.execute("PRAGMA application_id").fetchone()[0])
    if application != schema.APPLICATION_ID:
        raise GalleryError(f"{path} is a database, but not a limner gallery.")
    version = user_version(connection)
    newest = len(schema.MIGRATIONS)
    if version > newest:
        raise GalleryError(
            f"the gallery {path} was written by a newer limner (schema {version}, this one "
            f"knows up to {newest}); upgrade limner to open it."
        )
    if mode == "rw":
        connection.execute("PRAGMA journal_mode = WAL")
        if version < newest:
            migrate(connection)
    elif version < newest:
        raise GalleryError(
            f"the gallery {path} has the older schema {version} and is read-only; "
            "open it once where it can be written."
        )
    connection.execute("SELECT people, faces, changes FROM counts").fetchone()
