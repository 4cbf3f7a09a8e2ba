"""Draw the pictures of these pages with limner's own functions.

Usage: ``python docs/notes/pictures.py [PAGE ...]``; without a name, all of them. The photos come
from scikit-image and matplotlib; the weights are fetched once, as for any command.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from materials import LENGTH, PHOTOS, SIDE, beat, body, portraits, write_photos
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from limner import images
from limner.evaluation.plots import DIFFERENT, INK, QUIET, RULE, SAME

HERE = Path(__file__).resolve().parent
FONT = {"family": "DejaVu Sans"}


def figure(size: tuple[float, float]) -> Figure:
    """Return an empty white figure."""
    made = Figure(figsize=size, dpi=120, facecolor="white", layout="constrained")
    FigureCanvasAgg(made)
    return made


def plain(axes: Any, title: str = "") -> None:
    """Take the frame's weight away."""
    for spine in axes.spines.values():
        spine.set_color(RULE)
    axes.tick_params(colors=QUIET, labelsize=8, length=2)
    if title:
        axes.set_title(title, fontsize=9.5, color=INK, loc="left", **FONT)


def picture(axes: Any, image: Any, title: str = "", **how: Any) -> None:
    """Show an image without axes."""
    axes.imshow(image, **how)
    axes.set_xticks([])
    axes.set_yticks([])
    plain(axes, title)


def save(made: Figure, name: str) -> None:
    """Write a page's picture."""
    canvas: Any = made.canvas
    canvas.draw()
    images.write(HERE / f"{name}.png", np.asarray(canvas.buffer_rgba())[..., :3].copy())


def faces() -> tuple[list[str], list[Any], np.ndarray]:
    """Return names, chips and embeddings of two people, two photos each."""
    from limner.faces import FaceAnalyzer

    analyzer = FaceAnalyzer()
    names, chips, vectors = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        write_photos(Path(folder))
        for name in ("collins", "collins-mirrored", "hopper", "hopper-turned"):
            face = analyzer.analyze(Path(folder) / f"{name}.jpg", keep_chips=True)[0]
            assert face.embedding is not None
            names.append(name)
            chips.append(face.chip)
            vectors.append(face.embedding.vector)
    return names, chips, np.array(vectors)


def verification_siamese_and_heads() -> None:
    """Draw what rests on the embeddings of four photos."""
    from limner.similarity import shipped

    names, chips, vectors = faces()
    tau = shipped("facenet").threshold
    distances = ((vectors[:, None] - vectors[None]) ** 2).sum(axis=2)
    pairs = [(0, 1), (2, 3), (0, 2), (1, 3)]
    made = figure((7.2, 1.75))
    for column, (a, b) in enumerate(pairs):
        axes = made.add_subplot(1, 4, column + 1)
        same = distances[a, b] <= tau
        picture(axes, np.concatenate([chips[a], chips[b]], axis=1))
        axes.set_title(
            f"d = {distances[a, b]:.2f}", color=SAME if same else DIFFERENT, fontsize=11, **FONT
        )
        axes.set_xlabel("same" if same else "different", color=QUIET, fontsize=9, **FONT)
    made.suptitle(f"same where d ≤ τ = {tau:.2f}", color=INK, fontsize=11, x=0.02, ha="left")
    save(made, "verification")
    made = figure((7.2, 3.0))
    grid = made.add_gridspec(2, 6)
    for row, index in enumerate((0, 2)):
        picture(made.add_subplot(grid[row, 0]), chips[index], names[index])
        axes = made.add_subplot(grid[row, 1:])
        axes.bar(np.arange(128), vectors[index], color=(SAME, DIFFERENT)[row], width=0.9)
        axes.set_xlim(-1, 128)
        plain(axes, "f(x): 128 numbers" if not row else "the same network, the same weights")
    save(made, "siamese")
    head = shipped("facenet").heads["weighted_l1"]
    made = figure((7.2, 2.8))
    for column, (a, b, title) in enumerate(((0, 1, "one person"), (0, 2, "two people"))):
        axes = made.add_subplot(1, 2, column + 1)
        parts = head.weights * np.abs(vectors[a] - vectors[b])
        axes.bar(np.arange(128), parts, color=np.where(parts > 0, SAME, DIFFERENT), width=0.9)
        axes.set_ylim(-2.0, 0.5)
        answer = head.judge(vectors[a], vectors[b])
        plain(axes, f"{title}: y = {answer.probability:.3f}")
        axes.set_xlabel("component k:  w_k |f_k(a) - f_k(b)|", color=QUIET, fontsize=8.5, **FONT)
    save(made, "pair-head")


def one_shot() -> None:
    """Draw one enrolled photo a person, and the distances of a new one."""
    names, chips, vectors = faces()
    made = figure((7.2, 2.6))
    grid = made.add_gridspec(1, 4)
    for column, index in enumerate((0, 2)):
        picture(made.add_subplot(grid[column]), chips[index], f"enrolled: {names[index]}")
    picture(made.add_subplot(grid[2]), chips[3], "who is it?")
    axes = made.add_subplot(grid[3])
    found = [float(((vectors[i] - vectors[3]) ** 2).sum()) for i in (0, 2)]
    axes.barh([1, 0], found, color=[DIFFERENT, SAME], height=0.5)
    axes.set_yticks([1, 0], [names[0], names[2]])
    plain(axes, "distance")
    save(made, "one-shot")


def triplet() -> None:
    """Draw the loss of one triplet over both distances, by the loss itself."""
    from limner.training.losses import Mined, build_loss

    loss = build_loss("triplet", margin=0.2)
    side = 41
    grid = np.linspace(0, 1, side)
    values = np.zeros((side, side))
    for i, negative in enumerate(grid):
        for j, positive in enumerate(grid):
            # on a line: the anchor at 0, so that squared distances are what we want
            points = torch.tensor([[0.0], [positive**0.5], [-(negative**0.5)]])
            mined = Mined(torch.tensor([0]), torch.tensor([1]), torch.tensor([2]))
            values[i, j] = float(loss(points, torch.tensor([0, 0, 1]), mined))
    made = figure((5.2, 4.2))
    axes = made.add_subplot()
    shown = axes.imshow(values, origin="lower", extent=(0, 1, 0, 1), cmap="YlOrBr")
    axes.plot([0, 1], [0, 1], color=INK, linewidth=1)
    axes.plot([0, 0.8], [0.2, 1], color=INK, linewidth=1, linestyle="--")
    for x, y, words, turn in (
        (0.16, 0.75, "easy: loss 0", 0),
        (0.50, 0.62, "semi-hard", 40),
        (0.66, 0.25, "hard", 0),
    ):
        axes.text(x, y, words, color=INK, fontsize=10, rotation=turn, ha="center", va="center")
    axes.set_xlabel("‖A - P‖²", fontsize=10, color=INK, **FONT)
    axes.set_ylabel("‖A - N‖²", fontsize=10, color=INK, **FONT)
    plain(axes, "max(‖A - P‖² - ‖A - N‖² + 0.2, 0)")
    made.colorbar(shown, ax=axes).outline.set_visible(False)
    save(made, "triplet")


def style_terms() -> None:
    """Draw content features and Gram matrices of two pictures."""
    from limner.style.encoder import load_encoder
    from limner.style.losses import content_cost, gram

    with tempfile.TemporaryDirectory() as folder:
        write_photos(Path(folder))
        pair = [
            Image.open(Path(folder) / name).convert("RGB") for name in ("coffee.jpg", "sky.jpg")
        ]
        a, b = (np.asarray(p.resize((160, 128)), np.float32) / 255 for p in pair)
    noisy = np.clip(a + np.random.default_rng(0).normal(0, 0.15, a.shape), 0, 1).astype(np.float32)
    net = load_encoder("auto", deepest="relu4_1")
    taps = ["relu1_1", "relu2_1", "relu4_1"]
    held = [
        {
            k: v.detach()[0]
            for k, v in net.features(torch.from_numpy(x).permute(2, 0, 1)[None], taps).items()
        }
        for x in (a, b, noisy)
    ]
    made = figure((7.2, 2.5))
    for column, (image, index, title) in enumerate(
        ((a, 0, "content C"), (noisy, 2, "C with noise"), (b, 1, "another picture"))
    ):
        cost = float(content_cost(held[index]["relu4_1"], held[0]["relu4_1"], kind="half_sum"))
        axes = made.add_subplot(1, 3, column + 1)
        picture(axes, image, title)
        words = f"½ ‖a(C) - a(G)‖² = {cost / 1e6:.2f} million"
        axes.set_xlabel(words, fontsize=8.5, color=INK, **FONT)
    save(made, "content-cost")
    made = figure((7.2, 4.2))
    for row, (image, index) in enumerate(((a, 0), (b, 1))):
        picture(made.add_subplot(2, 3, 3 * row + 1), image)
        for column, tap in enumerate(("relu1_1", "relu2_1")):
            matrix = gram(held[index][tap]).numpy()
            axes = made.add_subplot(2, 3, 3 * row + column + 2)
            picture(axes, np.sqrt(matrix / matrix.max()), f"G, {tap}", cmap="magma")
    save(made, "gram")


def layers() -> None:
    """Draw what one unit of each layer sees of a photo, by its exact receptive field."""
    from limner.units import fields, load_network

    net = load_network("vgg19", weights="random")
    table = fields(net, 512)
    photo = np.asarray(portraits()["collins"])
    made = figure((7.2, 2.0))
    chosen = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")
    for column, name in enumerate(chosen):
        side = table[name].size[0]
        top, left = 104 - side // 2, 242 - side // 2
        crop = photo[max(0, top) : top + side, max(0, left) : left + side]
        axes = made.add_subplot(1, 5, column + 1)
        picture(axes, crop, f"{name}: {side} px", interpolation="nearest")
    save(made, "layers")


def arrays() -> None:
    """Draw the notes' three convolutions with our own one."""
    from limner.nets.nd import convolve

    rng = np.random.default_rng(3)
    signals = [beat(rng, early=False), beat(rng, early=True)]
    edge = torch.tensor([-1.0, -1.0, 0.0, 1.0, 1.0]).reshape(5, 1, 1)
    made = figure((7.2, 3.0))
    for row, (signal, title) in enumerate(zip(signals, ("normal", "early"), strict=True)):
        y = convolve(torch.tensor(signal, dtype=torch.float32)[:, None], edge)[:, 0]
        axes = made.add_subplot(2, 1, row + 1)
        axes.plot(np.arange(LENGTH), signal, color=QUIET, linewidth=1.2)
        axes.plot(np.arange(2, LENGTH - 2), y.numpy() / 3, color=DIFFERENT, linewidth=1.2)
        plain(axes, f"{title}: {LENGTH} x 1 * 5 x 1 x 1 -> {len(y)} x 1")
    save(made, "one-dimension")
    made = figure((7.2, 2.6))
    for column, rod in enumerate((False, True)):
        scan = torch.tensor(body(rng, rod=rod), dtype=torch.float32)
        smooth = convolve(scan[..., None], torch.full((5, 5, 5, 1, 1), 1 / 125))[..., 0]
        axes = made.add_subplot(1, 4, 2 * column + 1)
        picture(axes, scan[:, :, SIDE // 2].numpy(), ("ball", "rod")[rod], cmap="gray")
        axes = made.add_subplot(1, 4, 2 * column + 2)
        picture(axes, smooth[:, :, smooth.shape[2] // 2].numpy(), "mean of 5 x 5 x 5", cmap="gray")
    save(made, "three-dimensions")


def units() -> None:
    """Draw which photos excite a few units of an early layer most, and where."""
    from limner.units import load_network, patches_of, top_patches

    with tempfile.TemporaryDirectory() as folder:
        write_photos(Path(folder))
        photos = sorted((Path(folder) / "photos").glob("*.jpg"))
        net = load_network("vgg16_hed", size=160)
        top = top_patches(net, photos, layers=["conv2_1"])
        made = figure((7.2, 4.0))
        for row, unit in enumerate((3, 20, 41, 77)):
            for column, patch in enumerate(patches_of(top, "conv2_1", unit)[: len(PHOTOS)]):
                axes = made.add_subplot(4, 9, 9 * row + column + 1)
                picture(axes, patch.image)
                if column == 0:
                    axes.set_ylabel(f"unit {unit}", fontsize=8, color=INK, **FONT)
    save(made, "units")


DRAWN = {
    "verification": verification_siamese_and_heads,
    "one-shot": one_shot,
    "triplet": triplet,
    "gram": style_terms,
    "layers": layers,
    "one-dimension": arrays,
    "units": units,
}


if __name__ == "__main__":
    for wanted in sys.argv[1:] or DRAWN:
        DRAWN[wanted]()
        print(f"drawn: {wanted}")
