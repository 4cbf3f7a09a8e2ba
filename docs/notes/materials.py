"""Write the photos, signals and volumes that the commands of these pages read.

Usage: ``python docs/notes/materials.py FOLDER``. Photos come with scikit-image and matplotlib
(``pip install 'limner[demo]'``); heart beats and bodies are made up here.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

RATE, LENGTH = 125, 160  # samples a second, samples of a beat's window
SIDE = 16
PHOTOS = ("astronaut", "camera", "chelsea", "coffee", "rocket", "retina", "coins", "grass", "brick")


def portraits() -> dict[str, Image.Image]:
    """Return one photo of each of two people."""
    import matplotlib.cbook
    import skimage.data

    collins = Image.fromarray(skimage.data.astronaut())
    with Image.open(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)) as own:
        return {"collins": collins, "hopper": own.convert("RGB")}


def write_photos(folder: Path) -> None:
    """Write two portraits, other views of them, and a folder with one folder a person."""
    import skimage.data

    for name, photo in portraits().items():
        mirrored = photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        views = {"": photo, "-mirrored": mirrored, "-turned": photo.rotate(8)}
        for ending, view in views.items():
            view.save(folder / f"{name}{ending}.jpg", quality=92)
        own = folder / "friends" / name
        own.mkdir(parents=True, exist_ok=True)
        for number, view in enumerate((photo, mirrored), start=1):
            view.save(own / f"{number}.jpg", quality=92)
    (folder / "photos").mkdir(exist_ok=True)
    for name in PHOTOS:
        picture = Image.fromarray(np.asarray(getattr(skimage.data, name)())).convert("RGB")
        picture.thumbnail((320, 320))
        picture.save(folder / "photos" / f"{name}.jpg", quality=92)
    Image.fromarray(skimage.data.hubble_deep_field()).resize((256, 224)).save(folder / "sky.jpg")
    Image.fromarray(skimage.data.coffee()).resize((256, 171)).save(folder / "coffee.jpg")


def beat(rng: np.random.Generator, *, early: bool) -> np.ndarray:
    """Return a made-up heart beat: P, QRS and T waves, and the beat before it.

    An early (premature) beat follows the one before it sooner, and its P wave is lost in the
    T wave before.
    """
    time = (np.arange(LENGTH) - 100) / RATE
    gap = rng.normal(0.5 if early else 0.74, 0.02)
    strong = rng.normal(1.0, 0.08)

    def wave(centre: float, width: float, height: float) -> np.ndarray:
        return height * np.exp(-(((time - centre) / width) ** 2))

    signal = rng.normal(0, 0.03, LENGTH)
    for start in (0.0, -gap):
        small = 0.02 if early and start == 0 else 0.14
        signal += wave(start - 0.16, 0.025, small) + wave(start, 0.014, strong)
        signal += wave(start - 0.03, 0.010, -0.12) + wave(start + 0.03, 0.012, -0.2)
        signal += wave(start + 0.24, 0.05, 0.28)
    return signal


def body(rng: np.random.Generator, *, rod: bool) -> np.ndarray:
    """Return a made-up scan (SIDE voxels a side): a ball or a rod in noise."""
    grid = np.stack(np.meshgrid(*[np.arange(SIDE)] * 3, indexing="ij"), axis=-1)
    away = np.abs(grid - SIDE / 2 - rng.uniform(-1.5, 1.5, 3))
    inside = (
        (away[..., 0] < SIDE * 0.4) & (away[..., 1:].max(axis=-1) < SIDE * 0.12)
        if rod
        else (away**2).sum(axis=-1) < (SIDE * 0.25) ** 2
    )
    return inside + rng.normal(0, 0.15, inside.shape)


def write_beats(folder: Path, *, count: int = 80) -> None:
    """Write ``beats_TRAIN.txt`` and ``beats_TEST.txt`` as UCR text: 1 normal, 2 early."""
    rng = np.random.default_rng(0)
    for name, number in (("TRAIN", count), ("TEST", count // 2)):
        rows = []
        for i in range(number):
            early = i % 4 == 3
            rows.append([2 if early else 1, *np.round(beat(rng, early=early), 4)])
        text = "\n".join(" ".join(map(str, row)) for row in rows)
        (folder / f"beats_{name}.txt").write_text(text + "\n", "utf-8")


def write_bodies(folder: Path, *, count: int = 40) -> None:
    """Write ``bodies.npz`` with the parts train and test: 0 ball, 1 rod."""
    rng = np.random.default_rng(0)
    arrays = {}
    for part, number in (("train", count), ("test", count // 2)):
        labels = np.arange(number) % 2
        scans = [body(rng, rod=bool(label)) for label in labels]
        arrays[f"{part}_images"] = np.array(scans, np.float32)
        arrays[f"{part}_labels"] = labels[:, None]
    np.savez_compressed(folder / "bodies.npz", **arrays)


def main(folder: str) -> None:
    """Write everything into a folder."""
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    write_photos(target)
    write_beats(target)
    write_bodies(target)
    print(f"written: {target}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "notes")
