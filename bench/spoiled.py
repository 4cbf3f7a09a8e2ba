"""View 1's photos, spoiled by seed, through every network: what quality and nuisance are fitted on.

Photos of people with two or more in View 1, each as it is and spoiled five times; the people are
halved by seed, and what is fitted on the one half is checked on the other.
"""

from __future__ import annotations

import hashlib
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from common import REPOSITORY
from crops import photos_of_view_1
from limner import images
from limner.evaluation.photos import CentralFace
from limner.faces import NetworkEmbedder, YuNet, load_embedder
from limner.faces.quality import photo_signals
from limner.faces.upright import Upright
from spoil import Row, drawn, motion_row

NETWORKS = ("sface", "facenet", "dlib")
PHOTOS, EACH, OF_ONE = 1600, 4, 5
LEVEL = EACH + 1
"""The last turn of a photo: shaken level, all of them alike, as by one hand or one road."""
CACHE = REPOSITORY / "out" / "cache" / "spoiled.npz"


@dataclass(frozen=True, eq=False)
class Spoiled:
    """Faces of spoiled photos.

    Attributes:
        photo: Shape (N,), which of the photos each is of.
        person: Shape (N,), whose.
        row: Shape (N,), what was done to it; ``clean`` for nothing.
        kind: Shape (N,), the same without the strength.
        fitted: Shape (N,), whether the person belongs to the half that is fitted on.
        signals: Shape (N, S), what the photo itself tells.
        raw: By network: shapes (N, D), what it gives for the chip and for its mirror image.
    """

    photo: np.ndarray
    person: np.ndarray
    row: np.ndarray
    kind: np.ndarray
    fitted: np.ndarray
    signals: np.ndarray
    raw: dict[str, tuple[np.ndarray, np.ndarray]]


def chosen_photos() -> list[Path]:
    """Return photos of people with two or more in View 1, at most five of each."""
    paths, people = photos_of_view_1(every=True)
    of: dict[str, list[Path]] = {}
    for path, person in zip(paths, people, strict=True):
        of.setdefault(str(person), []).append(path)
    several = [p for found in of.values() if len(found) > 1 for p in found[:OF_ONE]]
    order = np.random.default_rng(20261127).permutation(len(several))
    kept = {several[int(i)].parent.name for i in order[:PHOTOS]}
    return [path for path in several if path.parent.name in kept][:PHOTOS]


def spoiled_faces() -> Spoiled:
    """Return the faces, from the cache if they lie there (delete it after a change)."""
    if not CACHE.is_file():
        _make()
    with np.load(CACHE) as found:
        person = found["person"]
        names = np.unique(person)
        fitted = set(np.random.default_rng(1).permutation(names)[: len(names) // 2])
        return Spoiled(
            photo=found["photo"],
            person=person,
            row=found["row"],
            kind=np.array([re.sub(r"[ 0-9.-]+( px)?$", "", row) for row in found["row"]]),
            fitted=np.array([name in fitted for name in person]),
            signals=found["signals"],
            raw={n: (found[f"{n}-straight"], found[f"{n}-mirrored"]) for n in NETWORKS},
        )


def level_shake(seed: int) -> Row:
    """Return a motion blur of 8 to 24 pixels that is level within 5 degrees."""
    chance = np.random.default_rng(seed)
    length, degrees = float(chance.uniform(8, 24)), float(chance.uniform(-5, 5))
    return replace(motion_row(length, degrees), name=f"level motion blur {length:g}")


def _make() -> None:
    detector = Upright(CentralFace(YuNet(threads=1)))
    networks = {name: load_embedder(name, threads=1) for name in NETWORKS}
    if not all(isinstance(network, NetworkEmbedder) for network in networks.values()):
        raise TypeError("single networks are needed.")

    def work(job: tuple[int, Path, int]) -> tuple | None:
        number, path, turn = job
        photo = images.read(path)
        clean = detector.detect(photo)
        if not clean:
            return None
        seed = int.from_bytes(hashlib.sha256(f"{path.name} {turn}".encode()).digest()[:4])
        row = drawn(seed) if turn else None
        if turn == LEVEL:
            row = level_shake(seed)
        spoiled = photo if row is None else row(photo, clean[0], seed)
        found = detector.detect(spoiled)
        if not found:
            return None
        raw = []
        for network in networks.values():
            chip = network.chip(spoiled, found[0])
            raw.append(network.engine(np.stack([chip, chip[:, ::-1]])))
        name = row.name if row else "clean"
        return number, path.parent.name, name, photo_signals(spoiled, found[0]), raw

    jobs = [(n, p, turn) for n, p in enumerate(chosen_photos()) for turn in range(LEVEL + 1)]
    with ThreadPoolExecutor(2) as pool:
        done = [row for row in pool.map(work, jobs) if row is not None]
    print(f"{len(done)} faces found in {len(jobs)} photos")
    arrays = {
        "photo": np.array([row[0] for row in done]),
        "person": np.array([row[1] for row in done]),
        "row": np.array([row[2] for row in done]),
        "signals": np.stack([row[3] for row in done]),
    }
    for place, name in enumerate(NETWORKS):
        for side, word in enumerate(("straight", "mirrored")):
            arrays[f"{name}-{word}"] = np.stack([row[4][place][side] for row in done])
    CACHE.parent.mkdir(parents=True, exist_ok=True)
    np.savez(CACHE, **arrays)


if __name__ == "__main__":
    spoiled_faces()
