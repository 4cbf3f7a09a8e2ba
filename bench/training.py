"""Figures of training on LFW: ``python bench/training.py [STEP ...]``.

Needs ``../shared/data/lfw``. Everything is kept in ``out/training``, so that a step can be
run again for nothing. STEPS: closed, recipes, nn4, pca, head, throughput, sets.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch.nn import functional

from common import REPOSITORY, machine, save
from limner.evaluation import PairList, read_pairs
from limner.similarity import best_threshold
from limner.training.backbones import build
from limner.training.batches import Batches, ShuffledBatches
from limner.training.checkpoints import load_weights
from limner.training.chips import cut_chips
from limner.training.finish import classifier_figures
from limner.training.fit import answers, build_module
from limner.training.loop import fit_module
from limner.training.losses import build_loss
from limner.training.miners import build_miner
from limner.training.module import FaceModule, Optimisation
from limner.training.people import People, read_people
from limner.training.prepare import loaders, prepare
from limner.training.recipe import read_recipe
from limner.training.sampler import PeopleBatches

LFW = REPOSITORY.parent / "shared" / "data" / "lfw"
OUT = REPOSITORY / "out" / "training"
CACHE = OUT / "cache"
SEEDS = (0, 1, 2, 3, 4)
SIDE = 64


def quiet(what: str, done: int, total: int | None) -> None:
    """Show nothing."""


def closed() -> dict[str, Any]:
    """LFW people with 20 photos or more, 60/20/20 by photo, one layer on a frozen trunk."""
    found: dict[str, Any] = {}
    for trunk, draws in (("inception_resnet_v1", 1), ("efficientnet_lite0", 2)):
        began = time.perf_counter()
        scores = []
        for seed in SEEDS:
            recipe = read_recipe(
                "notes-2",
                net=trunk,
                min_photos=20,
                draws=draws,
                epochs=50,
                seed=seed,
                fallbacks=[],
            )
            ready = prepare(recipe, LFW / "images", cache=CACHE, tell=quiet)
            train, val = loaders(ready, cache=CACHE, tell=quiet)
            module = build_module(ready, steps=50 * len(train))
            fit_module(
                module,
                train,
                val,
                out=OUT / f"closed-{trunk}-{seed}",
                epochs=50,
                seed=seed,
                tensorboard=False,
            )
            module.eval()
            outputs = answers(ready, module, cache=CACHE, tell=quiet)
            scores.append(classifier_figures(ready, outputs)["test_accuracy"])
            print(trunk, seed, scores[-1], flush=True)
        found[trunk] = {
            "accuracies": scores,
            "mean": float(np.mean(scores)),
            "std": float(np.std(scores, ddof=1)),
            "people": len(ready.people.names),
            "photos": len(ready.people.photos),
            "draws": draws,
            "seconds": time.perf_counter() - began,
        }
    return found


def recipes() -> dict[str, Any]:
    """The notes' five on the same people, two seeds, each trained to its end; pairing's gain."""
    from limner.training.notes_five import train_five

    seeds, draws = 2, 4
    found, gain = train_five(
        LFW / "images",
        OUT / "recipes",
        seeds=seeds,
        changes={"min_photos": 20, "draws": draws},
        tell=lambda words: print(words, flush=True),
    )
    rows = [
        {
            "recipe": row.name,
            "about": row.recipe.about,
            "net": row.net,
            "val_accuracy": row.accuracy("val"),
            "test_accuracy": row.accuracy("test"),
            "test_each": [f["test_accuracy"] for f in row.figures],
            "gallery": row.figures[0]["test_accuracy_gallery"],
            "best_epochs": list(row.best_epochs),
            "seconds": row.seconds,
        }
        for row in found
    ]
    return {
        "rows": rows,
        "seconds": sum(row.seconds for row in found),
        "draws": draws,
        "seeds": seeds,
        "sample_pairing": vars(gain),
        "answer": gain.words(),
        "machine": machine(),
    }


def fold_of_pairs(pairs: PairList, fold: int) -> tuple[list[Path], Any, Any, Any, set[str]]:
    """Return the photos of one fold of View 2, both sides' places in them, sameness, people."""
    rows = np.flatnonzero(pairs.fold == fold)
    numbers = sorted({int(i) for i in (*pairs.left[rows], *pairs.right[rows])})
    place = {n: k for k, n in enumerate(numbers)}
    photos = [LFW / "images" / f"{pairs.photos[n].path}.jpg" for n in numbers]
    people = {str(pairs.photos[n].person) for n in numbers}
    left = np.array([place[int(i)] for i in pairs.left[rows]])
    right = np.array([place[int(i)] for i in pairs.right[rows]])
    return photos, left, right, pairs.same[rows], people


def sides(people: People, used: set[str], *, seed: int = 0) -> tuple[list[int], list[int]]:
    """Return people to train on (4 photos or more) and 120 to validate on (2 or more)."""
    counts = people.counts()
    free = [i for i, name in enumerate(people.names) if name not in used and counts[i] >= 2]
    val = set(np.random.default_rng(seed).permutation(free)[:120].tolist())
    return [i for i in free if i not in val and counts[i] >= 4], sorted(val)


def chips64(photos: list[Path] | tuple[Path, ...]) -> Any:
    """Return aligned chips of 64 pixels, (N, 64, 64, 3)."""
    return cut_chips(photos, crop="arcface", size_px=SIDE, cache=CACHE).pixels


def nn4() -> dict[str, Any]:
    """nn4.small2, half width, from scratch, on people outside View 2's fold 1; its pairs."""
    recipe = read_recipe("nn4-cosface")
    pairs = read_pairs(LFW / "pairs.txt")
    photos, left, right, same, used = fold_of_pairs(pairs, 0)
    people = read_people(LFW / "images")
    train_people, val_people = sides(people, used)
    assert not {people.names[i] for i in (*train_people, *val_people)} & used
    rows = np.flatnonzero(np.isin(people.labels, train_people))
    val_rows = np.flatnonzero(np.isin(people.labels, val_people))
    pixels = torch.from_numpy(chips64(people.photos))
    labels = torch.from_numpy(np.searchsorted(train_people, people.labels[rows]))
    x, val_x = pixels[rows], pixels[val_rows]
    val_labels = torch.from_numpy(people.labels[val_rows])
    augment = _augment(recipe)

    def fetch(index: torch.Tensor, generator: torch.Generator, epoch: int) -> Any:
        return augment(x[index].permute(0, 3, 1, 2).float(), generator), labels[index]

    train = Batches(ShuffledBatches(len(x), batch=recipe.batch, drop_last=True), fetch, seed=0)
    in_order = ShuffledBatches(len(val_x), batch=128, shuffle=False)
    val = Batches(in_order, lambda i, _, __: (val_x[i].permute(0, 3, 1, 2).float(), val_labels[i]))
    loss = build_loss("cosface", classes=len(train_people), dim=recipe.width)
    net = build(recipe.net, head="embedding", width_or_classes=recipe.width, image_size=SIDE)
    net = net.to(memory_format=torch.channels_last)
    way = Optimisation("adamw", recipe.lr, recipe.weight_decay, "one_cycle")
    module = FaceModule(net, loss, optimisation=way, steps=recipe.epochs * len(train))
    out = OUT / "nn4-fold-1"
    _fit_once(module, train, val, out, recipe.epochs)
    test = torch.from_numpy(chips64(photos))

    def score(module: FaceModule, out: Path) -> dict[str, Any]:
        module.load_state_dict(load_weights(out / "best.safetensors"))
        module.eval()
        tau = _balanced_threshold(_embed(module, val_x), val_labels.numpy())
        unit = _embed(module, test)
        distance = np.square(unit[left] - unit[right]).sum(1)
        history = _history(out / "metrics.csv")
        return {
            "accuracy": float(np.mean((distance <= tau) == same)),
            "accuracy_best_threshold": _best(distance, same),
            "val_eer": [row["val_eer"] for row in history],
            "spread": [row["spread"] for row in history],
            "minutes": sum(row["seconds"] for row in history) / 60,
        }

    found = {
        "recipe": "nn4-cosface",
        "train_people": len(train_people),
        "train_photos": len(x),
        "epochs": recipe.epochs,
        "threshold_from": "120 other people of the training set",
        **score(module, out),
    }
    return {**found, "then_triplets": score(*_triplets(net, fetch, labels, val))}


def _triplets(net: Any, fetch: Any, labels: torch.Tensor, val: Any) -> tuple[FaceModule, Path]:
    """Go on from CosFace's weights by semi-hard triplets: 24 people x 4 photos a batch."""
    epochs, out = 6, OUT / "nn4-fold-1-triplets"
    batches = PeopleBatches(labels, people=24, photos=4, repeat=True)
    train = Batches(batches, fetch, seed=1)
    way = Optimisation("adamw", 3e-4, 5e-4, "one_cycle")
    loss = build_loss("triplet", margin=0.2)
    miner = build_miner("semihard", margin=0.2)
    module = FaceModule(net, loss, miner=miner, optimisation=way, steps=epochs * len(train))
    _fit_once(module, train, val, out, epochs)
    return module, out


def _fit_once(module: FaceModule, train: Any, val: Any, out: Path, epochs: int) -> None:
    """Train, unless an earlier run left its best weights there."""
    if not (out / "best.safetensors").is_file():
        fit_module(
            module,
            train,
            val,
            out=out,
            epochs=epochs,
            monitor="val_eer",
            on_epoch=lambda row: print(row, flush=True),
        )


def _augment(recipe: Any) -> Any:
    from limner.training.augment import Augment

    return Augment(
        crop=recipe.smallest_crop,
        rotation_deg=recipe.rotation_deg,
        erase=recipe.erase,
        erase_area=recipe.erase_area,
        light=recipe.light,
    )


def _embed(module: FaceModule, pixels: torch.Tensor) -> Any:
    """Return unit embeddings; a chip and its mirror image are averaged."""
    parts = []
    with torch.inference_mode():
        for chips in pixels.split(128):
            y = chips.permute(0, 3, 1, 2).float()
            parts.append(functional.normalize(module(y) + module(y.flip(3)), dim=1))
    return torch.cat(parts).numpy()


def _balanced_threshold(unit: Any, labels: Any, *, seed: int = 0) -> float:
    """Return the best threshold on as many pairs of two people as there are of one."""
    first, second = np.triu_indices(len(unit), 1)
    same = labels[first] == labels[second]
    generator = np.random.default_rng(seed)
    other = generator.permutation(np.flatnonzero(~same))[: same.sum()]
    chosen = np.concatenate([np.flatnonzero(same), other])
    distance = np.square(unit[first[chosen]] - unit[second[chosen]]).sum(1)
    return float(best_threshold(distance, same[chosen]))


def _best(distance: Any, same: Any) -> float:
    return float(np.mean((distance <= best_threshold(distance, same)) == same))


def _history(path: Path) -> list[dict[str, float]]:
    import csv

    with open(path, encoding="utf-8", newline="") as stream:
        return [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(stream)]


def pca() -> dict[str, Any]:
    """Eigenfaces on the same chips, people and protocol: 128 whitened components, cosine."""
    pairs = read_pairs(LFW / "pairs.txt")
    photos, left, right, same, used = fold_of_pairs(pairs, 0)
    people = read_people(LFW / "images")
    train_people, val_people = sides(people, used)
    pixels = chips64(people.photos)
    grey = pixels.astype(np.float32).mean(-1).reshape(len(pixels), -1)
    rows = np.flatnonzero(np.isin(people.labels, train_people))
    val_rows = np.flatnonzero(np.isin(people.labels, val_people))
    mean = grey[rows].mean(0)
    _, scale, axes = torch.svd_lowrank(torch.from_numpy(grey[rows] - mean), q=128, niter=4)
    whiten = (axes / (scale / np.sqrt(len(rows)))).numpy()

    def unit(values: Any) -> Any:
        projected = (values - mean) @ whiten
        return projected / np.linalg.norm(projected, axis=1, keepdims=True)

    tau = _balanced_threshold(unit(grey[val_rows]), people.labels[val_rows])
    test = unit(chips64(photos).astype(np.float32).mean(-1).reshape(len(photos), -1))
    distance = np.square(test[left] - test[right]).sum(1)
    return {
        "accuracy": float(np.mean((distance <= tau) == same)),
        "accuracy_best_threshold": _best(distance, same),
        "components": 128,
    }


def head() -> dict[str, Any]:
    """A linear head on the default embedder, trained fold by fold without that fold's people."""
    from limner.evaluation import embed_photos
    from limner.faces import load_embedder

    people = read_people(LFW / "images")
    kept = embed_photos(people.photos, load_embedder("facenet"), cache=REPOSITORY / "out" / "cache")
    rows = torch.from_numpy(kept.vectors)
    place = {str(p.relative_to(LFW / "images")): i for i, p in enumerate(people.photos)}
    pairs = read_pairs(LFW / "pairs.txt")
    where = np.array([place[f"{r.path}.jpg"] for r in pairs.photos])
    plain, trained = [], []
    for fold in range(10):
        test = pairs.fold == fold
        used = {str(pairs.photos[i].person) for i in (*pairs.left[test], *pairs.right[test])}
        counts = people.counts()
        free = [i for i, n in enumerate(people.names) if n not in used and counts[i] >= 2]
        chosen = torch.from_numpy(np.flatnonzero(np.isin(people.labels, free) & kept.found))
        labels = people.labels[chosen.numpy()]
        alive = np.flatnonzero(np.bincount(labels, minlength=len(people.names)) >= 2)
        chosen = chosen[torch.from_numpy(np.isin(labels, alive))]
        unit = _train_head(rows, chosen, people.labels[chosen.numpy()], fold)
        for vectors, scores in ((rows.numpy(), plain), (unit, trained)):
            distance = np.square(vectors[where[pairs.left]] - vectors[where[pairs.right]]).sum(1)
            others = _outside(pairs, used) & ~test
            tau = best_threshold(distance[others], pairs.same[others])
            scores.append(float(np.mean((distance[test] <= tau) == pairs.same[test])))
        print(fold, plain[-1], trained[-1], flush=True)
    test = stats.ttest_rel(trained, plain)
    return {
        "default": plain,
        "head": trained,
        "difference": float(np.mean(np.array(trained) - np.array(plain))),
        "p_value": float(test.pvalue),
        "wilcoxon_p": float(_wilcoxon(trained, plain)),
    }


def _wilcoxon(a: list[float], b: list[float]) -> float:
    return 1.0 if np.allclose(a, b) else float(stats.wilcoxon(a, b).pvalue)


def _outside(pairs: PairList, used: set[str]) -> Any:
    mask = np.array([r.person not in used for r in pairs.photos])
    return mask[pairs.left] & mask[pairs.right]


def _train_head(rows: torch.Tensor, chosen: torch.Tensor, labels: Any, fold: int) -> Any:
    """Train a 128 x 128 head from the identity on semi-hard triplets; return unit rows."""
    recipe = read_recipe("head-128")
    numbers = np.unique(labels, return_inverse=True)[1]
    x, y = rows[chosen], torch.from_numpy(numbers)
    val = np.isin(numbers, np.random.default_rng(fold).permutation(numbers.max() + 1)[:150])
    train_rows = torch.from_numpy(np.flatnonzero(~val))
    train_y = torch.from_numpy(np.unique(numbers[~val], return_inverse=True)[1])
    net = build("nn4_small2_half", head="embedding", width_or_classes=128, image_size=64)
    net.head.linear = torch.nn.Linear(128, 128, bias=False)
    torch.nn.init.eye_(net.head.linear.weight)
    margin = recipe.loss_options["margin"]
    sampler = PeopleBatches(train_y.numpy(), people=16, photos=4, batches=60, repeat=True)
    train_x = x[train_rows]
    module = FaceModule(
        net,
        build_loss("triplet", margin=margin),
        miner=build_miner("semihard", margin=margin),
        optimisation=Optimisation("adam", recipe.lr, recipe.weight_decay),
        reads="features",
    )
    fit_module(
        module,
        Batches(sampler, lambda i, _, __: (train_x[i], train_y[i]), seed=fold),
        Batches.of_tensors((x[torch.from_numpy(val)], y[torch.from_numpy(val)]), batch=4096),
        out=OUT / f"head-{fold}",
        epochs=8,
        patience=3,
        monitor="val_eer",
        tensorboard=False,
        checkpoint_s=None,
    )
    module.eval()
    with torch.inference_mode():
        return functional.normalize(module(rows), dim=1).numpy()


def throughput() -> dict[str, Any]:
    """Images a second of ten epochs: a plain loop as in the notes, and limner's, one after other.

    Both train one layer on the frozen efficientnet_lite0, on the same 256 photos, batch 32. The
    plain loop opens, resizes, mirrors and sends every photo through the trunk in every epoch.
    limner cuts the chips and computes the features once for each of two draws (counted), then
    trains on these. The share of the first epoch is stated too: there is nothing to save in it.
    """
    people = read_people(LFW / "images", min_photos=20, max_people=8)
    photos = [p for k in range(8) for p in np.array(people.photos)[people.labels == k][:32]]
    labels = torch.arange(8).repeat_interleave(32)
    folder = _linked(photos, labels)
    epochs = 10
    recipe = read_recipe("notes-2", net="efficientnet_lite0", batch=32, epochs=epochs, draws=2)
    began = time.perf_counter()
    ready = prepare(recipe, folder, cache=None, tell=quiet)
    train, val = loaders(ready, cache=None, tell=quiet)
    module = build_module(ready, steps=epochs * len(train))
    prepared = time.perf_counter()
    out = OUT / "throughput"
    fit_module(module, train, val, out=out, epochs=epochs, tensorboard=False, checkpoint_s=None)
    ours = time.perf_counter() - began
    count = len(ready.split.train)
    plain = _plain_loop([str(ready.people.photos[i]) for i in ready.split.train], labels, epochs=2)
    return {
        "photos": count,
        "epochs": epochs,
        "limner_images_per_s": count * epochs / ours,
        "limner_preparing_s": prepared - began,
        "limner_after_preparing_images_per_s": count * epochs / (ours - (prepared - began)),
        "plain_images_per_s": plain,
        "ratio": count * epochs / ours / plain,
    }


def _linked(photos: list[Path], labels: torch.Tensor) -> Path:
    folder = OUT / "throughput-people"
    for photo, label in zip(photos, labels.tolist(), strict=True):
        target = folder / f"p{label}" / photo.name
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            os.symlink(photo, target)
    return folder


def _plain_loop(photos: list[str], labels: torch.Tensor, *, epochs: int) -> float:
    """Train as the notes do: every photo is opened and goes through the trunk every time."""
    from PIL import Image
    from torchvision import transforms

    net = build("efficientnet_lite0", head="classifier", width_or_classes=8, pretrained=True)
    net.free("head")
    way = transforms.Compose(
        [
            transforms.Resize(net.input.size_px),
            transforms.RandomCrop(net.input.size_px),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize([0.5] * 3, [0.5] * 3),
        ]
    )
    optimizer = torch.optim.Adam(net.head.parameters(), lr=3e-3, weight_decay=1e-5)
    began = time.perf_counter()
    for _ in range(epochs):
        for rows in torch.randperm(len(photos)).split(32):
            x = torch.stack([way(Image.open(photos[i]).convert("RGB")) for i in rows.tolist()])
            optimizer.zero_grad()
            functional.cross_entropy(net(x), labels[rows]).backward()
            optimizer.step()
    return epochs * len(photos) / (time.perf_counter() - began)


def sets() -> dict[str, Any]:
    """Open against closed set on LFW, and its plot."""
    from limner.training.open_closed import compare_sets
    from limner.training.plots import plot_shots

    found = compare_sets(LFW / "images", max_photos=25, cache=CACHE)
    target = REPOSITORY / "docs" / "images" / "open-closed.png"
    target.parent.mkdir(exist_ok=True)
    plot_shots(target, found)
    print(json.dumps(found.to_json(), indent=1))
    return found.to_json()


STEPS: dict[str, Callable[[], dict[str, Any]]] = {
    "pca": pca,
    "nn4": nn4,
    "head": head,
    "sets": sets,
    "closed": closed,
    "throughput": throughput,
    "recipes": recipes,
}


def main() -> None:
    """Run the steps and keep their figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("steps", nargs="*", default=list(STEPS), choices=[*STEPS, []])
    OUT.mkdir(parents=True, exist_ok=True)
    for step in parser.parse_args().steps:
        began = time.perf_counter()
        figures = STEPS[step]()
        seconds = round(time.perf_counter() - began, 1)
        entry = {**figures, "step_seconds": seconds}
        save("training", {"machine": machine(), step: entry}, merge=True)
        print(step, json.dumps(entry)[:600], flush=True)


if __name__ == "__main__":
    main()
