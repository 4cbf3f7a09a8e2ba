"""Which exports were made of a gallery: files that may hold people who are forgotten here."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from limner.errors import GalleryError
from limner.gallery.opening import now
from limner.gallery.records import ExportNote, TransferReport
from limner.gallery.store import Store

_KEY = "exports"
_KEPT = 1_000


def note_export(store: Store, report: TransferReport) -> None:
    """Write an export down; a gallery that can only be read keeps no note of it."""
    note = ExportNote(Path(report.path).name, now(), report.people)
    notes = [known.to_json() for known in read_exports(store)[1 - _KEPT :]]
    with contextlib.suppress(GalleryError):
        store.set_meta({_KEY: json.dumps([*notes, note.to_json()])})


def read_exports(store: Store) -> list[ExportNote]:
    """Return the exports that were made, the oldest first."""
    text = store.meta(_KEY)
    return [] if text is None else [ExportNote(**note) for note in json.loads(text)]
