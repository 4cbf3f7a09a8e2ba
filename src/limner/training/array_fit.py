"""Train networks on labelled signals or volumes, with the loop, losses and miners of the room."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.nn import functional

from limner import device as devices
from limner.errors import InputError
from limner.nets.nd import TrunkAndHead
from limner.training.array_model import ArrayModel, ArrayNet
from limner.training.batches import Batches, Plan, ShuffledBatches, mix_seed
from limner.training.checkpoints import LAST, load_weights, save_weights
from limner.training.distort import SeriesDistortion, VolumeDistortion
from limner.training.loop import Precision, fit_module
from limner.training.losses import Loss, build_loss
from limner.training.miners import build_miner
from limner.training.samples import Samples, check_trainable

CLASSIFIER_LOSSES = ("nll", "focal")
SETTLED = "settled.safetensors"
OnStep = Callable[[int, int], None]
OnEpoch = Callable[[int, int, dict[str, float]], None]


@dataclass(frozen=True)
class ArrayRecipe:
    """How networks are trained on arrays.

    Attributes:
        epochs: Passes over the training items.
        batch: Items in a batch.
        rate: Highest learning rate (AdamW; it rises for 30 % of the steps, then falls).
        decay: Weight decay.
        smoothing: Label smoothing of the nll loss.
        loss: Of `limner.training.losses`: nll and focal train a classifier, the others an
            embedding.
        miner: For the triplet loss: of `limner.training.miners`.
        balance: Whether every class fills an equal part of each batch; metric losses always
            have it so, since they compare items.
        precision: `32`, `bf16` or `16`.
        distortion: What happens to an item in training; None for nothing.
    """

    epochs: int
    batch: int = 32
    rate: float = 2e-3
    decay: float = 1e-2
    smoothing: float = 0.05
    loss: str = "nll"
    miner: str = "semihard"
    balance: bool = False
    precision: Precision = "32"
    distortion: SeriesDistortion | VolumeDistortion | None = None

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch < 2:
            raise InputError(
                f"epochs must be 1 and batch 2 or larger, got {self.epochs} and {self.batch}."
            )
        if not self.rate > 0 or self.decay < 0 or not 0 <= self.smoothing < 1:
            raise InputError(
                "the rate must be positive, the decay 0 or larger and smoothing in [0, 1), got "
                f"{self.rate}, {self.decay} and {self.smoothing}."
            )


class ArrayModule(LightningModule):
    """A network of `limner.nets.nd` with a loss, for `fit_module`."""

    def __init__(
        self, net: TrunkAndHead, recipe: ArrayRecipe, *, classes: int, steps: int, seed: int
    ) -> None:
        super().__init__()
        self.net, self.recipe, self.steps = net, recipe, steps
        self.loss: Loss | None = None
        self.miner: nn.Module | None = None
        if recipe.loss != "nll":
            self.loss = build_loss(recipe.loss, classes=classes, dim=net.head.out_features)
        if recipe.loss == "triplet":
            self.miner = build_miner(recipe.miner, seed=seed)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the loss of one batch of (items, labels)."""
        x, labels = batch
        plain = self.loss is not None and not self.loss.unit_length
        y = self.net.outputs(x) if plain else self.net(x)
        if labels.is_floating_point():  # several classes at once
            loss = functional.binary_cross_entropy_with_logits(y, labels)
        elif self.loss is None:
            loss = functional.cross_entropy(y, labels, label_smoothing=self.recipe.smoothing)
        else:
            mined = None if self.miner is None else self.miner(y.detach(), labels)
            loss = self.loss(y, labels, mined)
        self.log("train_loss", loss, on_epoch=True, on_step=False, batch_size=len(x))
        return loss

    def configure_optimizers(self) -> Any:
        """Return AdamW with one rise and fall of the rate over the whole training."""
        recipe = self.recipe
        optimiser = torch.optim.AdamW(self.parameters(), lr=recipe.rate, weight_decay=recipe.decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, recipe.rate, total_steps=self.steps
        )
        return {
            "optimizer": optimiser,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


class BalancedBatches:
    """Batches in which every class has a share, for losses that compare items.

    Every class gives `each` items to a batch (drawn again where it has fewer); an epoch has
    as many batches as the items fill.
    """

    def __init__(self, labels: Tensor, *, batch: int) -> None:
        kinds = torch.unique(labels)
        self.rows = [torch.flatten(torch.nonzero(labels == k)) for k in kinds]
        self.each = max(2, batch // len(self.rows))
        self.count = max(1, len(labels) // (self.each * len(self.rows)))

    def __len__(self) -> int:
        return self.count

    def plan(self, generator: torch.Generator) -> Plan:
        """Return the batches of an epoch."""
        columns = []
        for rows in self.rows:
            need, picks = self.count * self.each, []
            while need > 0:
                turn = rows[torch.randperm(len(rows), generator=generator)][:need]
                picks.append(turn)
                need -= len(turn)
            columns.append(torch.cat(picks).reshape(self.count, self.each))
        return list(torch.cat(columns, dim=1).unbind())


def fit_model(
    samples: Samples,
    net: ArrayNet,
    recipe: ArrayRecipe,
    *,
    seed: int,
    out: Path,
    scratch: bool = False,
    flips: bool = False,
    resume: bool = False,
    seconds: float | None = None,
    device: str = "cpu",
    on_epoch: OnEpoch | None = None,
    on_step: OnStep | None = None,
) -> tuple[ArrayModel, str]:
    """Train the members of a model, one after the other.

    Args:
        samples: What to learn; at least two classes.
        net: The network; its shape and classes are those of the samples.
        recipe: How to train. Its loss must fit `net.embedding`.
        seed: Of weights, batches and distortions; member i takes ``(seed, i)``.
        out: Folder for checkpoints and curves, one folder a member.
        scratch: Whether `out` is thrown away afterwards, so that an epoch's checkpoint does.
        flips: Whether the model reads volumes mirrored too and averages.
        resume: Go on where a training in `out` ended; members that are finished are read.
        seconds: Stop after the epoch in which so much time has passed; None for never.
        device: As `limner.device.resolve` takes it.
        on_epoch: Called with (member, epoch, figures) after each epoch.
        on_step: Called after each batch with (batches done, batches of the epoch).

    Returns:
        The model with its last weights, and the training items' embeddings to compare with;
        and, where the time was up, a sentence about where it stopped, else "".

    Raises:
        InputError: If there is one class only, or several at once and the loss cannot.
    """
    check_trainable(samples)
    began = time.monotonic()
    place = devices.resolve(device)
    values = torch.from_numpy(net.scale(samples.values))
    labels = _targets(samples, recipe)
    members: list[TrunkAndHead] = []
    stopped = ""
    for number in range(net.members):
        own = mix_seed(seed, number)
        torch.manual_seed(own)
        member = net.build()
        folder = out / f"member_{number}"
        settled = folder / SETTLED
        if resume and settled.is_file():
            member.load_state_dict(load_weights(settled))
            members.append(member.eval())
            continue
        left = None if seconds is None else seconds - (time.monotonic() - began)
        if left is not None and left <= 0 and members:
            break
        loader = _loader(values, labels, recipe, own)
        steps = recipe.epochs * len(loader)
        module = ArrayModule(member, recipe, classes=len(net.classes), steps=steps, seed=own)
        report = fit_module(
            module,
            loader,
            None,
            out=folder,
            epochs=recipe.epochs,
            seed=own,
            resume=resume and (folder / LAST).is_file(),
            precision=recipe.precision,
            device=place,
            seconds=left,
            checkpoint_s=None if scratch else 60.0,
            restore_best=False,
            tensorboard=False,
            on_epoch=None if on_epoch is None else _teller(on_epoch, number),
            on_step=on_step,
        )
        plan = loader.plans.plan(torch.Generator().manual_seed(0))
        members.append(settle(member.to(place), values, plan).cpu())
        if report.stopped == "time":
            where = f"epoch {report.epochs} of {recipe.epochs} of network {number + 1}"
            stopped = f"the time was up after {where} of {net.members}."
            break
        save_weights(settled, member.state_dict())
    if len(members) < net.members and not stopped:
        stopped = f"the time was up after {len(members)} of {net.members} networks."
    model = ArrayModel(
        replace(net, members=len(members)),
        tuple(members),
        np.zeros((0, 1), np.float32),
        samples.labels,
        samples.names,
        flips=flips,
        device=place,
    )
    return replace(model, reference=model.vectors(samples.values)), stopped


def _targets(samples: Samples, recipe: ArrayRecipe) -> Tensor:
    """Return labels (N,), or (N, classes) of 0 and 1 where an item may be of several."""
    if samples.several is None:
        return torch.from_numpy(samples.labels)
    if recipe.loss != "nll" or recipe.balance:
        raise InputError(
            "items of several classes at once are trained by the nll loss, class by class and "
            f"without balance, got {recipe.loss}{' with balance' if recipe.balance else ''}."
        )
    return torch.from_numpy(samples.several.astype(np.float32))


@torch.no_grad()
def settle(net: TrunkAndHead, values: Tensor, plan: Plan) -> TrunkAndHead:
    """Give batch normalisations the averages of a whole epoch, and go to evaluation.

    Running averages lag behind the weights and mix in distorted items; one pass over the items
    as they are gives the averages that the last weights have. The batches are drawn as in
    training: where classes were balanced there, they are here.

    Source: Wu and Johnson, "Rethinking 'Batch' in BatchNorm" (2021), section 3.

    Args:
        net: A trained network.
        values: Shape (N, C, ...), scaled.
        plan: The batches of an epoch.
    """
    norms = [m for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over the batches
    net.train()
    place = next(net.parameters()).device
    for rows in plan:
        if len(rows) > 1:
            net.features(values[rows].to(place))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return net.eval()


def _teller(on_epoch: OnEpoch, member: int) -> Callable[[dict[str, float]], None]:
    return lambda row: on_epoch(member, int(row["epoch"]), row)


def _loader(values: Tensor, labels: Tensor, recipe: ArrayRecipe, seed: int) -> Batches:
    sampler: Any
    if recipe.loss in CLASSIFIER_LOSSES and not recipe.balance:
        sampler = ShuffledBatches(len(values), batch=recipe.batch)
        if len(values) % recipe.batch == 1:  # one item alone has no batch statistics
            sampler = ShuffledBatches(len(values), batch=recipe.batch, drop_last=True)
    else:
        sampler = BalancedBatches(labels, batch=recipe.batch)

    def fetch(rows: Tensor, generator: torch.Generator, epoch: int) -> tuple[Tensor, Tensor]:
        x = values[rows]
        if recipe.distortion is not None:
            x = recipe.distortion(x, generator)
        return x, labels[rows]

    return Batches(sampler, fetch, seed=seed)
