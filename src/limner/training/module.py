"""What Lightning trains: a network with a classifier's or an embedding's loss."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from limner.errors import InputError, UnknownNameError
from limner.nets.backbone import Backbone, ClassifierHead
from limner.similarity import error_curve
from limner.training.losses import Loss
from limner.training.miners import Miner

OptimizerName = Literal["adam", "adamw", "sgd"]
Schedule = Literal["constant", "cosine", "one_cycle"]
Reads = Literal["chips", "features"]
_WARM_UP = 0.15
_TRUNK = "net.trunk."


@dataclass(frozen=True)
class Optimisation:
    """How weights are changed.

    Attributes:
        optimizer: `adam`, `adamw` or `sgd` (momentum 0.9, Nesterov).
        lr: Learning rate.
        weight_decay: Of the weights; biases and normalisations have none.
        schedule: `constant`; `cosine` falls to 0; `one_cycle` rises for 15 % of the steps first.
        trunk_lr: Rate of the trunk, where it trains; None for `lr`.

    Raises:
        UnknownNameError: If a word is not known.
        InputError: If a number is out of range.
    """

    optimizer: OptimizerName = "adam"
    lr: float = 3e-3
    weight_decay: float = 1e-5
    schedule: Schedule = "constant"
    trunk_lr: float | None = None

    def __post_init__(self) -> None:
        for what, word, allowed in (
            ("optimizer", self.optimizer, get_args(OptimizerName)),
            ("schedule", self.schedule, get_args(Schedule)),
        ):
            if word not in allowed:
                raise UnknownNameError(f"{what} must be one of {', '.join(allowed)}, got {word!r}.")
        for what, rate in (("lr", self.lr), ("trunk_lr", self.trunk_lr)):
            if rate is not None and not (math.isfinite(rate) and rate > 0):
                raise InputError(f"{what} must be a positive number, got {rate!r}.")
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise InputError(f"weight_decay must be 0 or larger, got {self.weight_decay!r}.")

    def factor(self, step: int, steps: int) -> float:
        """Return what the rate is multiplied by in a step, 0-based, of `steps`."""
        if self.schedule == "constant":
            return 1.0
        share = min(step / max(steps, 1), 1.0)
        warm = _WARM_UP if self.schedule == "one_cycle" else 0.0
        if share < warm:
            return max(share / warm, 0.04)
        return 0.5 * (1 + math.cos(math.pi * (share - warm) / (1 - warm)))


class FaceModule(LightningModule):
    """A network that learns people.

    A loss that reads logits makes it a classifier: it logs ``val_loss`` and ``val_accuracy``.
    Any other makes it an embedder: it logs ``val_eer`` over all pairs of the validation.

    Args:
        net: Trunk and head.
        loss: What is minimised.
        miner: Chooses triplets; only for a loss that takes them.
        optimisation: How.
        steps: Optimiser steps in all, for the schedule.
        reads: `chips`: batches of (N, 3, S, S), 0..255. `features`: of (N, F), the trunk's
            output, computed before.

    Attributes:
        spread: 1 - ||mean embedding||^2 of the last batch: 0 where all embeddings are one point.
    """

    def __init__(
        self,
        net: Backbone,
        loss: Loss,
        *,
        miner: Miner | None = None,
        optimisation: Optimisation | None = None,
        steps: int = 1,
        reads: Reads = "chips",
    ) -> None:
        super().__init__()
        if miner is not None and loss.mines != "triplets":
            raise InputError(f"a miner was given, but {type(loss).__name__} takes no triplets.")
        self.net, self.loss, self.miner = net, loss, miner
        self.normalisation = net.input.normalisation()
        self.optimisation = optimisation or Optimisation()
        self.steps, self.reads = steps, reads
        self.classifies = loss.reads == "logits"
        self.spread = 1.0
        self._seen: list[tuple[Tensor, Tensor]] = []

    def state_dict(  # type: ignore[override]
        self, *args: Any, **options: Any
    ) -> dict[str, Any]:
        """Return what trains: with features, a frozen trunk would fill every checkpoint."""
        found: dict[str, Any] = super().state_dict(*args, **options)
        if self.reads == "features":
            for key in [k for k in found if _TRUNK in k]:
                del found[key]
        return found

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Take over what `state_dict` returned; a frozen trunk stays as it is."""
        whole = self.reads != "features"
        result = super().load_state_dict(state_dict, strict=strict and whole, assign=assign)
        missing = [k for k in result.missing_keys if whole or _TRUNK not in k]
        if strict and (missing or result.unexpected_keys):
            raise RuntimeError(f"weights do not fit: {[*missing, *result.unexpected_keys][:3]}")
        return result

    def forward(self, x: Tensor) -> Tensor:
        """Map chips (N, 3, S, S), 0..255, or features (N, F) to logits or embeddings."""
        if self.reads == "features":
            found: Tensor = self.net.head(x)
        else:
            found = self.net(self.prepare(x))
        return found

    def embed(self, x: Tensor) -> Tensor:
        """Map what `forward` reads to the embedding: a classifier's feeds its last layer."""
        features = x if self.reads == "features" else self.net.features(self.prepare(x))
        head = self.net.head
        if self.classifies:
            assert isinstance(head, ClassifierHead)
            head = head.before_last()
        found: Tensor = head(features)
        return found

    def prepare(self, chips: Tensor) -> Tensor:
        """Normalise chips (N, 3, S, S), 0..255, as the network wants them."""
        y: Tensor = self.normalisation(chips.permute(0, 2, 3, 1))
        return y.contiguous(memory_format=torch.channels_last)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return the loss of a batch (x, labels)."""
        x, labels = batch
        out = self(x)
        mined = None if self.miner is None else self.miner(out.float(), labels)
        loss: Tensor = self.loss(out, labels, mined)
        self._log("train_loss", loss, len(labels))
        if self.classifies:
            self._log("train_accuracy", (out.argmax(1) == labels).float().mean(), len(labels))
            return loss
        with torch.no_grad():
            unit = nn.functional.normalize(out.detach().float(), dim=1)
            self.spread = float(1 - unit.mean(dim=0).square().sum())
        self._log("spread", self.spread, len(labels))
        if self.loss.mines == "triplets":
            self._log("active", float(getattr(self.loss, "active", 0.0)), len(labels))
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Score a batch, or keep its embeddings for the end of the validation."""
        x, labels = batch
        out = self(x)
        if not self.classifies:
            self._seen.append((out.float(), labels))
            return
        self._log("val_loss", self.loss(out, labels), len(labels))
        self._log("val_accuracy", (out.argmax(1) == labels).float().mean(), len(labels))

    def on_validation_epoch_end(self) -> None:
        """Log the equal error rate over all pairs of the validation."""
        if not self._seen:
            return
        rows = torch.cat([e for e, _ in self._seen])
        labels = torch.cat([n for _, n in self._seen])
        self._seen.clear()
        self.log("val_eer", equal_error_rate(rows, labels), sync_dist=True)

    def configure_optimizers(self) -> Any:
        """Return the optimiser and its schedule."""
        groups = self._groups()
        way = self.optimisation
        optimizer: torch.optim.Optimizer
        if way.optimizer == "sgd":
            optimizer = torch.optim.SGD(groups, lr=way.lr, momentum=0.9, nesterov=True)
        elif way.optimizer == "adamw":
            optimizer = torch.optim.AdamW(groups, lr=way.lr)
        else:
            optimizer = torch.optim.Adam(groups, lr=way.lr)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: way.factor(step, self.steps)
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def _groups(self) -> list[dict[str, Any]]:
        way = self.optimisation
        trunk = {id(p) for p in self.net.trunk.parameters()}
        groups = []
        for inside, rate in ((False, way.lr), (True, way.trunk_lr or way.lr)):
            own = [p for p in self.parameters() if p.requires_grad and (id(p) in trunk) is inside]
            if inside and self.reads == "features":
                continue
            for matrices, decay in ((True, way.weight_decay), (False, 0.0)):
                chosen = [p for p in own if (p.ndim > 1) is matrices]
                if chosen:
                    groups.append({"params": chosen, "lr": rate, "weight_decay": decay})
        if not groups:
            raise InputError("nothing of the network trains; free its head, or more of it.")
        return groups

    def _log(self, name: str, value: Tensor | float, count: int) -> None:
        self.log(name, value, on_step=False, on_epoch=True, batch_size=count, sync_dist=True)


def equal_error_rate(rows: Tensor, labels: Tensor) -> float:
    """Return the equal error rate over all pairs of embeddings (N, D), squared L2.

    Raises:
        InputError: If there is no pair of one person, or none of two.
    """
    unit = nn.functional.normalize(rows.detach().float().cpu(), dim=1)
    first, second = torch.triu_indices(len(unit), len(unit), offset=1)
    squared = 2 - 2 * (unit @ unit.T)[first, second]
    numbers = labels.cpu()
    same = numbers[first] == numbers[second]
    if bool(same.all()) or not bool(same.any()):
        raise InputError(
            "the validation needs pairs of one person and pairs of two: two people, one of them "
            "with two photos."
        )
    return float(error_curve(squared.double().numpy(), same.numpy()).equal_error_rate())
