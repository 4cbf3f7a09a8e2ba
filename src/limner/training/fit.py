"""One training of faces from beginning to end: folder and recipe in, a model's folder out."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from limner import device as devices
from limner.errors import InputError
from limner.training.finish import finish
from limner.training.guards import CollapseGuard
from limner.training.history import Row
from limner.training.loop import FitReport, fit_module
from limner.training.miners import build_miner
from limner.training.model_folder import TrainedModel, write_text
from limner.training.module import FaceModule, Optimisation
from limner.training.prepare import Prepared, Tell, feature_cache, loaders, prepare
from limner.training.recipe import Recipe, read_recipe, write_recipe
from limner.training.untrained import trunk_features, untrained_figures
from limner.training.world import rank, world

RUN = "run.json"
_RECIPE = "recipe.yaml"


@dataclass(frozen=True)
class Run:
    """Where a training takes place, and for how long.

    Attributes:
        folder: The people.
        out: Where everything goes.
        cache: Where chips and features are kept; None for `out/cache`.
        device: As `limner.device.resolve` takes it.
        processes: Processes on this machine; under ``torchrun`` 1 means those it started.
        seconds: Stop after the epoch in which so much time has passed; None for never.
        checkpoint_steps: A checkpoint every so many steps; None for by the clock alone.
        licence: For the model card.
    """

    folder: Path
    out: Path
    cache: Path | None = None
    device: str = "auto"
    processes: int = 1
    seconds: float | None = None
    checkpoint_steps: int | None = None
    licence: str = ""

    def save(self, loss: str) -> None:
        """Write `run.json`, from which `resume` goes on; `loss` is what the run begins with."""
        document = {
            "loss": loss,
            "folder": str(self.folder.absolute()),
            "cache": None if self.cache is None else str(self.cache.absolute()),
            "device": self.device,
            "processes": self.processes,
            "seconds": self.seconds,
            "checkpoint_steps": self.checkpoint_steps,
            "licence": self.licence,
        }
        write_text(self.out / RUN, json.dumps(document, indent=1) + "\n")


@dataclass(frozen=True)
class Trained:
    """What a training gave.

    Attributes:
        model: The model's folder.
        report: What the loop did.
        figures: What was measured on the held-out photos.
        notes: What was left out, replaced or rescued, in sentences.
        right: Of a classifier: for `val` and `test`, whether the first answer for each photo
            (by its path below the folder) is right; empty for an embedder.
        seconds: Of preparing (chips, features), training and finishing.
    """

    model: TrainedModel
    report: FitReport
    figures: dict[str, Any]
    notes: tuple[str, ...]
    seconds: dict[str, float]
    right: dict[str, dict[str, bool]] = field(default_factory=dict)


def open_run(out: Path) -> tuple[Recipe, Run]:
    """Read the recipe and the circumstances of a run.

    Raises:
        InputError: If the folder is not that of a run, or its recipe has another loss by now.
    """
    try:
        document = json.loads((out / RUN).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{out} is not the folder of a training: it holds no {RUN}.") from error
    recipe = read_recipe(out / _RECIPE)
    began = document.pop("loss", recipe.loss)
    if began != recipe.loss:
        why = (
            "center loss belongs to a training from its beginning"
            if recipe.loss == "center"
            else "a loss is not changed on the way"
        )
        raise InputError(
            f"{out} began with the loss {began}, but its {_RECIPE} now says {recipe.loss}: {why}. "
            "Start a new training with another -o."
        )
    cache = document.pop("cache")
    folder = Path(document.pop("folder"))
    return recipe, Run(folder, out, None if cache is None else Path(cache), **document)


def train_people(
    recipe: Recipe,
    run: Run,
    *,
    resume: bool = False,
    tell: Tell | None = None,
    on_epoch: Callable[[Row], None] | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> Trained:
    """Train on a folder of people, and write the model's folder.

    Args:
        recipe: What and how.
        run: Where.
        resume: Go on from the last checkpoint of `run.out`.
        tell: Called with (what, done, of how many) while chips and features are made.
        on_epoch: Called with the figures of each epoch.
        on_step: Called after each batch with (batches done, batches of the epoch).

    Returns:
        The model and what was measured.

    Raises:
        LimnerError: Whatever is wrong with folder, recipe, weights or disk.
    """
    told = tell or (lambda what, done, total: None)
    began = time.perf_counter()
    shared, device = world(run.processes), devices.resolve(run.device)
    try:
        run.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{run.out} cannot be used: {error.strerror or error}.") from error
    cache = run.cache or run.out / "cache"
    ready = prepare(recipe, run.folder, cache=cache, tell=told, device=device)
    train, val = loaders(ready, cache=cache, tell=told)
    if not resume:
        run.save(recipe.loss)
        write_recipe(run.out / _RECIPE, recipe)
    steps = recipe.epochs * max(1, len(train) // shared.size)
    module = build_module(ready, steps=steps)
    before = untrained_figures(ready, trunk_features(ready, module, cache=cache, tell=told))
    prepared = time.perf_counter()
    guard = [CollapseGuard()] if recipe.guard and recipe.task == "embed" else []
    report = fit_module(
        module,
        train,
        val,
        out=run.out,
        epochs=recipe.epochs,
        seed=recipe.seed,
        resume=resume,
        precision=recipe.precision,  # type: ignore[arg-type]
        processes=run.processes,
        monitor="val_loss" if recipe.task == "classify" else "val_eer",
        patience=recipe.patience,
        device=device,
        clip_norm=recipe.clip_norm,
        seconds=run.seconds,
        checkpoint_steps=run.checkpoint_steps,
        callbacks=guard,
        on_epoch=on_epoch,
        on_step=on_step,
    )
    fitted = time.perf_counter()
    if rank() > 0:
        raise SystemExit(0)  # one of several processes: the first one writes the model
    module.to(device).eval()
    outputs = answers(ready, module, cache=cache, tell=told)
    module.cpu()
    model, figures = finish(
        ready, module, outputs, report, before=before, out=run.out, licence=run.licence
    )
    seconds = {
        "preparing": prepared - began,
        "training": fitted - prepared,
        "finishing": time.perf_counter() - fitted,
    }
    right = answered_right(ready, outputs) if module.classifies else {}
    return Trained(model, report, figures, (*ready.notes, *report.notes), seconds, right)


def answered_right(ready: Prepared, outputs: dict[str, Tensor]) -> dict[str, dict[str, bool]]:
    """Return whether the first answer is right, for each photo of each side."""
    found: dict[str, dict[str, bool]] = {}
    for side, rows in (("val", ready.split.val), ("test", ready.split.test)):
        hits = outputs[side].argmax(1).numpy() == ready.people.labels[rows] if rows.size else ()
        names = [ready.people.photos[i].relative_to(ready.people.root).as_posix() for i in rows]
        found[side] = {name: bool(hit) for name, hit in zip(names, hits, strict=True)}
    return found


def build_module(ready: Prepared, *, steps: int) -> FaceModule:
    """Return what Lightning trains for a recipe."""
    recipe = ready.recipe
    miner = None
    if recipe.miner:
        miner = build_miner(recipe.miner, seed=recipe.seed, **recipe.miner_options)
    way = Optimisation(
        recipe.optimizer,  # type: ignore[arg-type]
        recipe.lr,
        recipe.weight_decay,
        recipe.schedule,  # type: ignore[arg-type]
        recipe.trunk_lr,
    )
    return FaceModule(
        ready.net,
        ready.loss,
        miner=miner,
        optimisation=way,
        steps=steps,
        reads="features" if recipe.free == "head" else "chips",
    )


def answers(
    ready: Prepared, module: FaceModule, *, cache: Path | None, tell: Tell
) -> dict[str, Tensor]:
    """Return the network's outputs on the validation and test photos, by side, (M, D).

    Of a classifier, `val_embeddings` and `test_embeddings` hold what its last layer reads.
    """
    sides = {"val": ready.split.val, "test": ready.split.test}
    found: dict[str, Tensor] = {}
    features = None
    if module.reads == "features":
        features = feature_cache(ready, cache=cache, tell=tell).draw(0)
    with torch.inference_mode():
        for side, rows in sides.items():
            parts = []
            for batch in np.array_split(rows, max(1, -(-rows.size // 128))):
                index = torch.from_numpy(batch)
                if features is not None:
                    x = features[index]
                else:
                    x = torch.from_numpy(ready.pixels[batch]).permute(0, 3, 1, 2).float()
                parts.append(module.embed(x.to(ready.device)))
            rows_out = torch.cat(parts)
            if module.classifies:
                found[f"{side}_embeddings"] = rows_out.float().cpu()
                rows_out = module.net.head[-1](rows_out)  # type: ignore[index]
            found[side] = rows_out.float().cpu()
    return found
