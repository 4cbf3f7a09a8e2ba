"""Small signals and volumes that a network learns in seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from limner.training.samples import Samples, from_names

LENGTH, SIDE = 48, 12


def toy_series(count: int = 60, *, seed: int = 0) -> Samples:
    """Two kinds of bump in noise: a narrow one, and two of them; the place is random."""
    rng = np.random.default_rng(seed)
    places = np.arange(LENGTH)
    values, labels = [], []
    for i in range(count):
        kind = i % 2
        centre = rng.uniform(12, 26)
        signal = np.exp(-((places - centre) ** 2) / 8)
        if kind:
            signal += np.exp(-((places - centre - 12) ** 2) / 8)
        values.append(signal + 0.05 * rng.standard_normal(LENGTH))
        labels.append(("one", "two")[kind])
    names = [f"toy {i}" for i in range(count)]
    return from_names(np.array(values, np.float32)[:, None], labels, names=names)


def toy_volumes(count: int = 40, *, side: int = SIDE, seed: int = 0) -> Samples:
    """Balls and rods of about the same size, somewhere near the middle."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), axis=-1)
    values, labels = [], []
    for i in range(count):
        gap = np.abs(grid - side / 2 - rng.uniform(-1, 1, 3))
        if i % 2:
            body = (gap[..., 0] < side * 0.4) & (gap[..., 1:].max(axis=-1) < side * 0.12)
        else:
            body = (gap**2).sum(axis=-1) < (side * 0.25) ** 2
        values.append(body + 0.1 * rng.standard_normal(body.shape))
        labels.append(("ball", "rod")[i % 2])
    names = [f"toy {i}" for i in range(count)]
    return from_names(np.array(values, np.float32)[:, None], labels, names=names)


def write_ucr(path: Path, samples: Samples, *, labelled: bool = True) -> Path:
    """Write series as UCR text; classes become 1, 2, ..."""
    lines = []
    for row, label in zip(samples.values[:, 0], samples.labels, strict=True):
        cells = [f"{v:.6e}" for v in row]
        lines.append("  ".join([f"{label + 1:.7e}", *cells] if labelled else cells))
    path.write_text("\n".join(lines) + "\n")
    return path
