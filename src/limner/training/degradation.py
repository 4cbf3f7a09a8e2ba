"""Degradation: deeper plain networks learn worse, deeper residual ones do not.

Plain and residual networks of the same depths are trained alike on small pictures, and their
training and validation errors stand side by side, epoch by epoch. That a deeper plain network
has the larger *training* error shows that it is not over-fitting.

Source: He, Zhang, Ren and Sun (2016), section 4.2 and figures 1, 4 and 6: SGD with momentum 0.9,
weight decay 1e-4, rate 0.1, divided by 10 at half and at three quarters of the epochs, batches
of 128, pictures shifted at random.
Differs: pictures and epochs are few, so that it takes minutes on a CPU; batches are of 64 and the
rate is 0.02, because at 0.1 so few steps do not get the deeper residual network going either;
nothing is mirrored, because digits are not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from limner import images
from limner.errors import InputError
from limner.nets.plain import SmallNet
from limner.training.batches import mix_seed
from limner.training.people import read_people

_DECAY, _MOMENTUM = 1e-4, 0.9
_HELD_OUT = 0.25


@dataclass(frozen=True, eq=False)
class Pictures:
    """Small pictures of several kinds.

    Attributes:
        train: Shape (N, C, S, S), mean 0 and deviation 1 over all training pictures.
        train_labels: Shape (N,).
        val: Shape (M, C, S, S).
        val_labels: Shape (M,).
        classes: How many kinds.
        what: In words.
    """

    train: Tensor
    train_labels: Tensor
    val: Tensor
    val_labels: Tensor
    classes: int
    what: str


def digits(*, seed: int = 0) -> Pictures:
    """Return scikit-learn's 1,797 handwritten digits, 8 x 8, a quarter of them held out."""
    from sklearn.datasets import load_digits

    found = load_digits()
    x = torch.from_numpy(found.images.astype(np.float32))[:, None]
    return _held_out(x, found.target, 10, "1,797 handwritten digits of 8 x 8", seed)


def folder_of_kinds(folder: str | Path, *, side: int = 32, seed: int = 0) -> Pictures:
    """Read `KIND/picture.jpg`, made small, a quarter of each kind's pictures held out.

    Args:
        folder: One folder for each kind.
        side: Height and width in pixels that every picture is brought to.
        seed: Of the choice.

    Raises:
        InputError: If there are fewer than two kinds, or `side` is below 8.
    """
    import cv2

    if side < 8:
        raise InputError(f"side must be 8 pixels or more, got {side}.")
    kinds = read_people(folder, min_photos=4)
    small = [
        cv2.resize(images.read(p), (side, side), interpolation=cv2.INTER_AREA) for p in kinds.photos
    ]
    x = torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2).float()
    what = f"{len(small):,} pictures of {len(kinds.names)} kinds, {side} x {side}"
    return _held_out(x, kinds.labels, len(kinds.names), what, seed)


def _held_out(x: Tensor, labels: np.ndarray, classes: int, what: str, seed: int) -> Pictures:
    from sklearn.model_selection import train_test_split

    rows = np.arange(len(x))
    train, val = train_test_split(rows, test_size=_HELD_OUT, random_state=seed, stratify=labels)
    mean, std = x[train].mean(), x[train].std().clamp_min(1e-6)
    y = torch.from_numpy(np.asarray(labels, np.int64))
    x = (x - mean) / std
    return Pictures(x[train], y[train], x[val], y[val], classes, what)


def train_depths(
    pictures: Pictures,
    *,
    layers: Sequence[int] = (20, 56),
    epochs: int = 14,
    batch: int = 64,
    rate: float = 0.02,
    seed: int = 0,
    tell: Callable[[str, dict[str, float]], None] | None = None,
) -> dict[str, list[dict[str, float]]]:
    """Train a plain and a residual network of each depth.

    Args:
        pictures: What they learn.
        layers: Depths, 6 n + 2 each.
        epochs: Passes over the training pictures.
        batch: Pictures in a batch.
        rate: Learning rate.
        seed: Of weights, order and shifts: the same for all networks.
        tell: Called with a network's name and the figures of each of its epochs.

    Returns:
        `plain-20`, `ResNet-20`, ... -> for each epoch `epoch`, `train_loss`, `train_error`,
        `val_error`, `seconds`. Both errors are measured at the end of the epoch, alike.

    Raises:
        InputError: If a number is out of range.
    """
    if epochs < 1 or batch < 2:
        raise InputError(f"epochs must be 1 and batch 2 or more, got {epochs} and {batch}.")
    found: dict[str, list[dict[str, float]]] = {}
    for shortcuts, word in ((False, "plain"), (True, "ResNet")):
        for depth in layers:
            torch.manual_seed(mix_seed(seed, 31))
            net = SmallNet(
                layers=depth,
                shortcuts=shortcuts,
                in_channels=pictures.train.shape[1],
                classes=pictures.classes,
            )
            rows: list[dict[str, float]] = []
            for row in _epochs(net, pictures, epochs, batch, rate, seed):
                rows.append(row)
                if tell is not None:
                    tell(f"{word}-{depth}", row)
            found[f"{word}-{depth}"] = rows
    return found


def _epochs(
    net: SmallNet, pictures: Pictures, epochs: int, batch: int, rate: float, seed: int
) -> Iterator[dict[str, float]]:
    """Train, and yield the figures of each epoch."""
    optimizer = torch.optim.SGD(net.parameters(), lr=rate, momentum=_MOMENTUM, weight_decay=_DECAY)
    drops = [max(1, epochs // 2), max(2, 3 * epochs // 4)]
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, drops, gamma=0.1)
    generator = torch.Generator().manual_seed(mix_seed(seed, 32))
    count = len(pictures.train)
    for epoch in range(epochs):
        began, total = time.perf_counter(), 0.0
        net.train()
        order = torch.randperm(count, generator=generator)
        for rows_of in torch.split(order[: count - count % batch], batch):
            x = _shifted(pictures.train[rows_of], generator)
            loss = functional.cross_entropy(net(x), pictures.train_labels[rows_of])
            optimizer.zero_grad()
            torch.autograd.backward([loss])
            optimizer.step()
            total += float(loss.detach()) * len(rows_of)
        schedule.step()
        yield {
            "epoch": float(epoch + 1),
            "train_loss": total / max(1, count - count % batch),
            "train_error": _error(net, pictures.train, pictures.train_labels),
            "val_error": _error(net, pictures.val, pictures.val_labels),
            "seconds": time.perf_counter() - began,
        }


def _shifted(x: Tensor, generator: torch.Generator) -> Tensor:
    """Shift each picture by up to an eighth of its side, zeros coming in."""
    reach = x.shape[-1] // 8
    padded = functional.pad(x, (reach,) * 4)
    side = x.shape[-1]
    places = torch.randint(2 * reach + 1, (len(x), 2), generator=generator).tolist()
    return torch.stack(
        [p[:, i : i + side, j : j + side] for p, (i, j) in zip(padded, places, strict=True)]
    )


def _error(net: SmallNet, x: Tensor, labels: Tensor) -> float:
    """Return the share of pictures that are named wrongly."""
    net.eval()
    with torch.inference_mode():
        hits = [net(part).argmax(1) for part in torch.split(x, 256)]
    return float((torch.cat(hits) != labels).float().mean())
