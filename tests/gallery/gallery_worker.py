"""Run in its own process by test_gallery_faults.py: works on a gallery and says what is done.

A line "did ..." is an acknowledgement: whatever happens afterwards, it must stay true.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from gallery_helpers import DIM, OTHER_EMBEDDER, emb, open_new, toy_analyzer, unit

from limner.errors import LimnerError
from limner.gallery import Gallery
from limner.gallery import index as indexes
from limner.gallery.enrolment import PhotoEvent, import_folder


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")  # at once: a kill must not cut a line
    sys.stdout.flush()


def run_import(path: Path, folder: Path) -> None:
    def progress(event: PhotoEvent) -> None:
        if event.status == "added":
            say("did", event.photo)

    with Gallery.open(path, create=True) as gallery:
        say("ready")
        report = import_folder(gallery, toy_analyzer(), folder, progress=progress)
    say("end", report.added, report.already)


def run_churn(path: Path, seed: int) -> None:
    """Add and forget people, with an index on the disk, until killed."""
    indexes.EXACT_BELOW = 100
    rng = np.random.default_rng(seed)
    with Gallery.open(path, create=True) as gallery:
        say("ready")
        known = [p.name for p in gallery.people()]
        for turn in range(10_000):
            if len(known) > 150 or (known and rng.random() < 0.3):
                name = known.pop(int(rng.integers(len(known))))
                gallery.forget(name)
                say("did forget", name)
            else:
                names = [f"S{seed}T{turn}N{i}" for i in range(int(rng.integers(1, 30)))]
                rows = unit(len(names), seed=turn)
                gallery.enroll_many((n, emb(r)) for n, r in zip(names, rows, strict=True))
                known += names
                say("did add", *names)
            gallery.prepare()


def run_enrol(path: Path, label: str, count: int) -> None:
    rows = unit(count, seed=len(label))
    with Gallery.open(path, create=True) as gallery:
        say("ready")
        sys.stdin.readline()
        for number in range(count):
            gallery.enroll(f"{label}{number}", emb(rows[number]))
            say("did", f"{label}{number}")


def run_become_nobody(path: Path, action: str) -> None:
    """Do something as a user who may not write (root may write everywhere)."""
    with tempfile.TemporaryDirectory() as folder, open_new(Path(folder)) as warm:
        # Import everything now: that user may not be able to read it.
        warm.enroll("Ada", emb(unit(1)[0]))
        warm.identify(emb(unit(1)[0]), threshold=0.1)
    if os.geteuid() == 0:
        os.setgid(65534)
        os.setuid(65534)
    try:
        with Gallery.open(path, create=action == "create") as gallery:
            if action == "read":
                say("did", gallery.identify(emb(unit(1)[0]), threshold=0.1)[0].person)
                say("did", [p.name for p in gallery.people()], gallery.read_only)
            elif action == "watch":
                for _ in range(3):
                    say("did", [p.name for p in gallery.people()])
                    sys.stdin.readline()
            else:
                gallery.enroll("Eve", emb(unit(3)[2]))
                say("did")
    except LimnerError as error:
        say(type(error).__name__, error)


def run_small_disk(path: Path, limit: int) -> None:
    """Enrol until a file may not grow any more."""
    import resource
    import signal

    with Gallery.open(path, create=True) as gallery:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        rows = unit(2_000, dim=DIM)
        try:
            for number, row in enumerate(rows):
                gallery.enroll(f"P{number}", emb(row), note="x" * 500)
                say("did", f"P{number}")
        except LimnerError as error:
            say(type(error).__name__, error)
        say("people", len(gallery.people()))


def run_reembed(path: Path, folder: Path) -> None:
    from limner.gallery.reembed import re_embed

    with Gallery.open(path) as gallery:
        say("ready")
        re_embed(gallery, toy_analyzer(OTHER_EMBEDDER, dim=8, seed=9), photos=folder)
        say("did")


if __name__ == "__main__":
    mode, place, *rest = sys.argv[1:]
    if mode == "import":
        run_import(Path(place), Path(rest[0]))
    elif mode == "churn":
        run_churn(Path(place), int(rest[0]))
    elif mode == "enrol":
        run_enrol(Path(place), rest[0], int(rest[1]))
    elif mode == "nobody":
        run_become_nobody(Path(place), rest[0])
    elif mode == "small-disk":
        run_small_disk(Path(place), int(rest[0]))
    elif mode == "re-embed":
        run_reembed(Path(place), Path(rest[0]))
    else:
        raise SystemExit(f"unknown mode {mode}")
