"""Measure limner on signals and volumes: accuracy beside others on the same splits, and speed.

Every part can be interrupted and goes on where it was: finished folds and seeds are kept in
``bench/results/nd.json``.

Usage: ``python bench/nd.py PART [--seconds S]`` with PART of ecg, mitbih, adrenal, speed.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import f1_score
from sklearn.model_selection import StratifiedKFold

from common import DATA, RESULTS, machine, save
from limner.training.array_fit import ArrayModule, ArrayRecipe
from limner.training.array_model import ArrayModel
from limner.training.array_report import figures_of, measure
from limner.training.samples import Samples
from limner.training.series import train_series
from limner.training.series_files import read_series
from limner.training.series_options import SeriesOptions
from limner.training.volume_files import read_volumes
from limner.training.volumes import DEFAULT_RECIPE as VOLUME_RECIPE
from limner.training.volumes import train_volumes

ECG = DATA / "signals" / "ecg5000" / "ECG5000_TRAIN.txt"
MITBIH = DATA / "signals" / "mitbih100"
ADRENAL = DATA / "volumes" / "adrenalmnist3d" / "adrenalmnist3d.npz"
REPEATS, FOLDS, SEEDS = 5, 5, 3
BANDS = (0.03, 0.05, 0.1)


def kept() -> dict[str, Any]:
    """Return what earlier runs measured."""
    path = RESULTS / "nd.json"
    found: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    return found


def keep(part: str, entry: dict[str, Any]) -> None:
    save("nd", {part: entry, "machine": machine()}, merge=True)


def dtw_distances(values: np.ndarray, band: float) -> np.ndarray:
    """Return squared dynamic-time-warping distances of all pairs, (N, N).

    The warping path stays within `band` times the length of the diagonal (Sakoe and Chiba).
    Cells are filled row by row, each for all pairs at once.
    """
    n, length = values.shape
    width = max(1, round(band * length))
    left, right = np.triu_indices(n, 1)
    a, b = values[left].T, values[right].T  # (length, pairs)
    huge = np.float32(np.inf)
    before = np.full((length + 1, len(left)), huge, np.float32)
    before[0] = 0
    for i in range(length):
        row = np.full_like(before, huge)
        for j in range(max(0, i - width), min(length, i + width + 1)):
            step = np.minimum(np.minimum(before[j], before[j + 1]), row[j])
            row[j + 1] = (a[i] - b[j]) ** 2 + step
        before = row
    distances = np.zeros((n, n), np.float32)
    distances[left, right] = distances[right, left] = before[length]
    return distances


def folds(labels: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return 5 x 5 stratified folds by name; the smallest class has two items."""
    import warnings

    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for repeat in range(REPEATS):
            split = StratifiedKFold(FOLDS, shuffle=True, random_state=repeat)
            for number, (train, test) in enumerate(split.split(labels, labels)):
                found[f"{repeat}.{number}"] = (train, test)
    return found


def first_member(model: ArrayModel) -> ArrayModel:
    return replace(model, members=model.members[:1], net=replace(model.net, members=1))


def ecg(deadline: float) -> None:
    samples = read_series(ECG)
    entry = kept().get("ecg", {"folds": {}})
    if "neighbours" not in entry:
        values = samples.values[:, 0]
        squared = ((values[:, None] - values[None]) ** 2).sum(axis=2)
        ways = {"euclid": squared}
        ways.update({f"dtw {band:.0%}": dtw_distances(values, band) for band in BANDS})
        entry["neighbours"] = {name: neighbour(d, samples.labels) for name, d in ways.items()}
        keep("ecg", entry)
    for number, (name, (train, test)) in enumerate(folds(samples.labels).items()):
        if name in entry["folds"]:
            continue
        if time.monotonic() > deadline:
            return
        held = samples.take(test)
        report = train_series(samples.take(train), test=held, seed=number)
        single = figures_of(first_member(report.model), held)
        entry["folds"][name] = {
            "accuracy": report.figures.accuracy,
            "macro_f1": report.figures.macro_f1,
            "single_accuracy": single.accuracy,
            "single_macro_f1": single.macro_f1,
            "confusion": report.figures.confusion,
            "seconds": report.seconds,
        }
        keep("ecg", entry)
        print(name, entry["folds"][name]["accuracy"], single.accuracy, flush=True)


def neighbour(distances: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Return accuracy and macro-F1 of the nearest neighbour over the folds."""
    accuracies, f1s = [], []
    for train, test in folds(labels).values():
        answers = labels[train][distances[np.ix_(test, train)].argmin(axis=1)]
        accuracies.append(float((answers == labels[test]).mean()))
        f1s.append(float(f1_score(labels[test], answers, average="macro")))
    return {"accuracy": float(np.mean(accuracies)), "macro_f1": float(np.mean(f1s))}


def mitbih(deadline: float) -> None:
    samples = read_series(MITBIH, options=SeriesOptions(classes=("N", "A")))
    entry = kept().get("mitbih", {"seeds": {}})
    recipe = ArrayRecipe(epochs=6, balance=True)
    for seed in map(str, range(SEEDS)):
        if seed in entry["seeds"] or time.monotonic() > deadline:
            continue
        report = train_series(
            samples, seed=int(seed), hold_out=0.5, group="time", recipe=recipe, members=1
        )
        entry["seeds"][seed] = report.figures.to_json()
        entry["train"], entry["epochs"] = report.train_counts, recipe.epochs
        entry["test"] = report.test.counts()
        print(seed, report.figures, flush=True)
        keep("mitbih", entry)


def adrenal(deadline: float) -> None:
    entry = kept().get("adrenal", {"seeds": {}})
    train = read_volumes(ADRENAL, part="train")
    val, test = (read_volumes(ADRENAL, part=part) for part in ("val", "test"))
    for seed in map(str, range(SEEDS)):
        if seed in entry["seeds"] or time.monotonic() > deadline:
            continue
        recipe = replace(VOLUME_RECIPE, epochs=30, rate=3e-3)
        report = train_volumes(train, test=test, seed=int(seed), depths=True, recipe=recipe)
        plain = measure(
            test.labels, replace(report.model, flips=False).scores(test.values), test.classes
        )
        entry["seeds"][seed] = {
            **report.figures.to_json(),
            "val": figures_of(report.model, val).to_json(),
            "without_mirroring": plain.to_json(),
            "seconds": report.seconds,
            "loss": report.loss,
        }
        print(seed, report.figures.roc_auc, report.figures.accuracy, flush=True)
        keep("adrenal", entry)


def speed(deadline: float) -> None:
    """Volumes a second of training steps, fp32 and bf16 in turn, and both loss curves."""
    samples = read_volumes(ADRENAL, part="train").take(range(256))
    steps, batch = 6, 32
    rates: dict[str, list[float]] = {"32": [], "bf16": []}
    losses: dict[str, list[float]] = {}
    parts = {name: prepare(samples, steps * 8) for name in rates}
    for round_number in range(5):
        for name in rates:
            module, optimiser, x, y = parts[name]
            began, curve = time.perf_counter(), []
            for step in range(steps):
                rows = slice((step * batch) % 256, (step * batch) % 256 + batch)
                with torch.autocast("cpu", torch.bfloat16, enabled=name == "bf16"):
                    loss = module.training_step((x[rows], y[rows]), step)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                curve.append(float(loss.detach()))
            if round_number:  # the first round warms up
                rates[name].append(steps * batch / (time.perf_counter() - began))
            losses.setdefault(name, []).extend(curve)
    ratio = [b / a for a, b in zip(rates["32"], rates["bf16"], strict=True)]
    entry = {
        "volumes_per_second": {k: float(np.median(v)) for k, v in rates.items()},
        "rounds": rates,
        "bf16_over_fp32": {
            "median": float(np.median(ratio)),
            "lowest": min(ratio),
            "highest": max(ratio),
        },
        "largest_difference_of_losses": float(
            np.abs(np.array(losses["32"]) - np.array(losses["bf16"])).max()
        ),
        "losses": losses,
        "threads": torch.get_num_threads(),
    }
    print({k: v for k, v in entry.items() if k != "losses"})
    keep("speed", entry)


def prepare(samples: Samples, steps: int) -> tuple[ArrayModule, Any, torch.Tensor, torch.Tensor]:
    from limner.training.array_model import ArrayNet

    torch.manual_seed(0)
    net = ArrayNet("volumes", "resnet", samples.shape, samples.classes, scaling="each")
    recipe = replace(VOLUME_RECIPE, distortion=None)
    module = ArrayModule(net.build(), recipe, classes=2, steps=steps, seed=0)
    module.log = lambda *_, **__: None  # type: ignore[method-assign, assignment]
    optimiser = module.configure_optimizers()["optimizer"]
    x = torch.from_numpy(net.scale(samples.values))
    return module.train(), optimiser, x, torch.from_numpy(samples.labels)


PARTS = {"ecg": ecg, "mitbih": mitbih, "adrenal": adrenal, "speed": speed}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--seconds", type=float, default=1e9, help="begin nothing new after this")
    given = parser.parse_args()
    Path(RESULTS).mkdir(exist_ok=True)
    PARTS[given.part](time.monotonic() + given.seconds)


if __name__ == "__main__":
    main()
