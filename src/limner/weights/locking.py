"""One fetch at a time per model, across processes and threads.

The operating system holds the lock and lets go of it when its process ends, however it
ends, so that no lock can be stale.
"""

from __future__ import annotations

import contextlib
import errno
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from limner.errors import WeightsError
from limner.weights.cache import disk_errors

_POLL_S = 0.1
TIMEOUT_S = 3600.0
_BUSY = {errno.EACCES, errno.EAGAIN, errno.EDEADLK}

if sys.platform == "win32":
    import msvcrt

    def _try_lock(file: IO[bytes]) -> None:
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _try_lock(file: IO[bytes]) -> None:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextlib.contextmanager
def locked(path: Path, *, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold the lock file for the length of the block.

    A file system without locks is used without: files are still renamed into place whole.

    Args:
        path: The lock file; made if absent and left in place.
        waiting: Called once if another process holds the lock.

    Raises:
        WeightsError: If the file cannot be made, or the lock was not to be had in an hour.
    """
    with disk_errors(path.parent):
        file = path.open("ab")
    with file:
        deadline = time.monotonic() + TIMEOUT_S
        told = False
        while True:
            try:
                _try_lock(file)
                break
            except OSError as error:
                if error.errno not in _BUSY:
                    break
            if not told and waiting is not None:
                waiting()
            told = True
            if time.monotonic() > deadline:
                raise WeightsError(
                    f"Another process has held {path} for an hour; end it and try again."
                )
            time.sleep(_POLL_S)
        yield
