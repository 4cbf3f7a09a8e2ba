"""Signals and volumes of our own making, and two small networks that learn them in seconds.

They let the tab show something at once, where nobody has trained a model yet. They are toys:
a beat made of five bells is no electrocardiogram, and a ball of noise is no organ.
"""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING

import numpy as np

from limner.training.samples import Samples, from_names
from limner.types import FloatArray

if TYPE_CHECKING:
    from limner.nets.nd import TrunkAndHead
    from limner.training.array_model import ArrayModel, ArrayNet

BEATS = ("normal beat", "wide, early beat", "raised ST segment")
SHAPES = ("solid", "hollow", "two lobes")
LENGTH, SIDE = 160, 20
_EACH = {1: 40, 3: 24}
_STEPS = {1: 60, 3: 45}
_LOCK = threading.Lock()


def beat(kind: str, generator: np.random.Generator) -> FloatArray:
    """Return a heart beat made of bells (P, Q, R, S, T), shape (160,)."""
    t = np.linspace(0, 1, LENGTH)
    shift = generator.normal(0, 0.015)
    waves = {"P": (0.22, 0.025, 0.16), "Q": (0.41, 0.010, -0.14), "R": (0.44, 0.012, 1.1)}
    waves |= {"S": (0.47, 0.012, -0.26), "T": (0.70, 0.050, 0.32)}
    if kind == BEATS[1]:
        waves = {"R": (0.38, 0.040, 1.0), "S": (0.50, 0.045, -0.45), "T": (0.72, 0.060, -0.35)}
    level: FloatArray = np.zeros(LENGTH, np.float32)
    if kind == BEATS[2]:
        raised = (t > 0.49 + shift) & (t < 0.66 + shift)
        level = np.asarray(0.38 * raised, np.float32)
        level = np.convolve(level, np.ones(7) / 7, "same").astype(np.float32)
    for place, width, height in waves.values():
        grown = height * generator.normal(1, 0.1)
        bell = np.exp(-0.5 * ((t - place - shift) / width) ** 2)
        level = np.asarray(level + grown * bell, np.float32)
    drift = 0.06 * np.sin(2 * np.pi * (t + generator.uniform()))
    return np.asarray(level + drift + generator.normal(0, 0.025, LENGTH), np.float32)


def shape(kind: str, generator: np.random.Generator) -> FloatArray:
    """Return a body in a noisy volume, shape (20, 20, 20)."""
    grid = np.indices((SIDE, SIDE, SIDE)) - (SIDE - 1) / 2
    middle = generator.uniform(-1.5, 1.5, 3)[:, None, None, None]
    stretch = generator.uniform(0.85, 1.15, 3)[:, None, None, None]
    away = np.sqrt((((grid - middle) / stretch) ** 2).sum(axis=0))
    radius = generator.uniform(5.0, 6.5)
    body = 1 / (1 + np.exp(2 * (away - radius)))
    if kind == SHAPES[1]:
        body = body - 0.85 / (1 + np.exp(2 * (away - 0.55 * radius)))
    elif kind == SHAPES[2]:
        apart = np.zeros((3, 1, 1, 1))
        apart[int(generator.integers(3))] = 0.62 * radius
        lobes = [np.sqrt((((grid - middle + s * apart) / 0.62) ** 2).sum(0)) for s in (-1, 1)]
        body = np.maximum(*(1 / (1 + np.exp(1.5 * (lobe - radius))) for lobe in lobes))
    return np.asarray(body + generator.normal(0, 0.08, body.shape), np.float32)


def make(dims: int, *, each: int, seed: int) -> Samples:
    """Return labelled items: beats for 1, shapes for 3 dimensions."""
    generator = np.random.default_rng(seed)
    kinds, one = (BEATS, beat) if dims == 1 else (SHAPES, shape)
    labels = [kind for kind in kinds for _ in range(each)]
    values = np.stack([one(kind, generator) for kind in labels])[:, None]
    return from_names(values, labels, names=[f"{k} {i + 1}" for i, k in enumerate(labels)])


def taught(dims: int) -> ArrayModel:
    """Return the small network of beats (1) or shapes (3); it learns once a process."""
    with _LOCK:
        return _taught(dims)


@functools.cache
def _taught(dims: int) -> ArrayModel:
    from limner.training.array_model import ArrayModel, ArrayNet

    samples = make(dims, each=_EACH[dims], seed=0)
    net = ArrayNet(
        kind="series" if dims == 1 else "volumes",
        net="resnet",
        shape=tuple(samples.values.shape[1:]),
        classes=samples.classes,
        width=8 if dims == 1 else 4,
    )
    member = _learn(net, samples, steps=_STEPS[dims])
    nothing = np.zeros((0, 1), np.float32)
    return ArrayModel(net, (member,), nothing, np.zeros(0, np.int64), ())


def _learn(net: ArrayNet, samples: Samples, *, steps: int) -> TrunkAndHead:
    """Fit one network in one room, without checkpoints: it takes seconds."""
    import torch
    from torch import nn
    from torch.nn import functional

    with torch.random.fork_rng():
        torch.manual_seed(0)
        member = net.build().train()
        values = torch.from_numpy(net.scale(samples.values))
        labels = torch.from_numpy(samples.labels)
        descent = torch.optim.AdamW(member.parameters(), lr=0.01, weight_decay=1e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(descent, steps)
        order = torch.Generator().manual_seed(0)
        for _ in range(steps):
            picks = torch.randperm(len(values), generator=order)[:32]
            loss = functional.cross_entropy(member(values[picks]), labels[picks])
            descent.zero_grad()
            torch.autograd.backward(loss)
            descent.step()
            schedule.step()
        for layer in member.modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                layer.reset_running_stats()
                layer.momentum = None  # averages of what follows, all alike
        with torch.no_grad():
            member(values)
        return member.eval()
