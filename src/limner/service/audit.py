"""The audit log: who did what, when. Never a photo, a name or an embedding."""

from __future__ import annotations

import json
import os
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from limner.service.keys import Key, now
from limner.service.state import private_folder

FILE_NAME = "audit.jsonl"
MAX_BYTES = 32 * 1024 * 1024
KEPT = 8


class _PrivateFile(RotatingFileHandler):
    """A rotating file that only this user can read."""

    def _open(self) -> Any:
        def private(path: str, flags: int) -> int:
            return os.open(path, flags, 0o600)

        return open(self.baseFilename, self.mode, encoding="utf-8", opener=private)


class Audit:
    """One JSON object a line in ``audit.jsonl``; rotated at 32 MiB, eight old files kept.

    People are named by their ids, so that the log need not be rewritten when one is forgotten.

    Args:
        folder: The state folder.
    """

    def __init__(self, folder: Path) -> None:
        self.path = private_folder(folder) / FILE_NAME
        self._file = _PrivateFile(self.path, maxBytes=MAX_BYTES, backupCount=KEPT, delay=True)
        self._file.createLock()

    def note(
        self, key: Key | None, address: str, action: str, status: int, request: str, **facts: Any
    ) -> None:
        """Write one line.

        Args:
            key: Who asked; None where the key was not good.
            address: Where the request came from.
            action: What was asked, such as ``POST /v1/identify``.
            status: The answer's status.
            request: Its id, which the answer bears as well.
            facts: Ids and counts.
        """
        import logging

        who = None if key is None else key.id
        line = {"when": now(), "who": who, "from": address, "what": action, "status": status}
        text = json.dumps({**line, "request": request, **facts}, ensure_ascii=False)
        self._file.handle(logging.LogRecord("audit", logging.INFO, "", 0, text, None, None))

    def close(self) -> None:
        """Close the file."""
        self._file.close()
