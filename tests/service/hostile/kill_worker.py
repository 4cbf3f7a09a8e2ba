"""Run in its own process by test_hostile_figures.py: does one thing until it is killed."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from limner.gallery import Gallery
from limner.gallery.store import NOT_JUDGED
from limner.types import Embedding

IDS = ("toy-0123456789ab-p1", "toy-ba9876543210-p1")
PEOPLE, EACH, DIM = 120, 5, 32


def vectors(seed: int, dim: int = DIM) -> np.ndarray:
    """Return the gallery's faces, five of a person close to each other; (600, dim)."""
    rng = np.random.default_rng(seed)
    centres = np.repeat(rng.standard_normal((PEOPLE, dim)), EACH, axis=0)
    rows = centres + 0.15 * rng.standard_normal(centres.shape)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def fill(path: Path, embedder_id: str = IDS[0], dim: int = DIM) -> None:
    """Make the gallery that is worked on."""
    with Gallery.open(path, create=True) as gallery:
        rows = vectors(0, dim)
        gallery.enroll_many(
            (f"Person {n // EACH}", Embedding(row, embedder_id)) for n, row in enumerate(rows)
        )


def work(mode: str, path: Path) -> None:
    """Do it for ever."""
    with Gallery.open(path) as gallery:
        print("ready", flush=True)
        for turn in range(1_000_000):
            if mode == "calibrate":
                gallery.calibrate(false_match_rate=(0.01, 0.05)[turn % 2])
            elif mode == "re-embed":
                with gallery.locked() as store:
                    state = store.state()
                    ids = [face.id for face in store.faces()]
                    other = IDS[1 - IDS.index(state.embedder_id or IDS[0])]
                    rows = [(row, NOT_JUDGED) for row in vectors(turn)]
                    fresh = dict(zip(ids, rows, strict=True))
                    store.replace_vectors(fresh, embedder_id=other, dim=DIM, changes=state.changes)
                gallery.discard_index()
            elif mode == "export":
                gallery.export(path.with_name("all.zip"))
            else:
                copy = path.with_name(f"copy-{turn % 3}.limner")
                for end in ("", "-wal", "-shm"):
                    Path(f"{copy}{end}").unlink(missing_ok=True)
                with Gallery.open(copy, create=True) as target:
                    target.import_file(path.with_name("all.zip"))
            print("did", turn, flush=True)


if __name__ == "__main__":
    work(sys.argv[1], Path(sys.argv[2]))
