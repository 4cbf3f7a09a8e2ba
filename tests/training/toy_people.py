"""Folders of made-up people: each a colour and a stripe, which a small network can learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from limner import images


def portrait(person: int, photo: int, size: int = 48) -> np.ndarray:
    generator = np.random.default_rng(1000 * person + photo)
    base = np.array([40 + 50 * (person % 4), 200 - 45 * (person % 5), 30 + 70 * (person % 3)])
    picture = np.broadcast_to(base, (size, size, 3)).astype(float).copy()
    picture[:, (person * 7) % size : (person * 7) % size + 6] += 60
    picture += generator.normal(0, 12, picture.shape) + generator.uniform(-15, 15)
    return picture.clip(0, 255).astype(np.uint8)


def make_people(root: Path, *, people: int = 4, photos: int = 6) -> Path:
    for person in range(people):
        for photo in range(photos):
            target = root / f"p{person}" / f"{photo}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            images.write(target, portrait(person, photo))
    return root


def no_tell(what: str, done: int, total: int | None) -> None:
    """Say nothing."""
