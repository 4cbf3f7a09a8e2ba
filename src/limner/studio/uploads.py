"""The folder of the page's uploads: private, emptied at the start, swept by age."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
from pathlib import Path
from typing import Any

from limner.service.state import private_folder

KEPT_S = 1800.0
_EVERY_S = 60.0


class Uploads:
    """The one folder that the page reads files from.

    It lies in the state folder, which belongs to one service at a time: what an earlier one left
    behind, killed or not, is nobody's any more.

    Args:
        folder: Made anew.
        kept_s: How long a file stays, in seconds.
        every_s: How often the folder is looked through.
    """

    def __init__(self, folder: Path, *, kept_s: float = KEPT_S, every_s: float = _EVERY_S) -> None:
        self.folder = private_folder(folder).resolve()
        self._kept_s, self._every_s = kept_s, every_s
        self.sweep(kept_s=-1)

    def sweep(self, *, kept_s: float | None = None) -> None:
        """Delete every file that is older than it may be, half an upload included."""
        oldest = time.time() - (self._kept_s if kept_s is None else kept_s)
        for here, folders, files in os.walk(self.folder, topdown=False):
            for name in (*files, *folders):
                path = Path(here, name)
                with contextlib.suppress(OSError):
                    if path.lstat().st_mtime < oldest:
                        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()

    def watch(self, stopping: threading.Event) -> None:
        """Sweep from now on, and remove everything when the service stops."""

        def work() -> None:
            while not stopping.wait(self._every_s):
                self.sweep()
            shutil.rmtree(self.folder, ignore_errors=True)

        threading.Thread(target=work, name="limner-uploads", daemon=True).start()


def photo_input(**options: Any) -> Any:
    """Return an image component that gives the path of what was uploaded, unopened.

    Gradio's own opens a picture with every plugin that Pillow has (PostScript runs a program),
    before any limit of limner's. It is not derived by a `class` statement, because Gradio's
    metaclass writes a .pyi file beside the source of each class.
    """
    import abc

    import gradio as gr

    def preprocess(self: Any, payload: Any) -> str | None:
        return None if payload is None else str(payload.path)

    body = {"preprocess": preprocess, "is_template": True, "__module__": __name__}
    kind = abc.ABCMeta.__new__(type(gr.Image), "PhotoInput", (gr.Image,), body)
    return kind(type="filepath", **options)
