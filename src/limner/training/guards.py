"""Guards: a loss that is not finite, and embeddings that collapse into one point."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from limner.errors import InputError

EXPLODED = 1e6
"""A loss so many times the first one's size (or 1, if that is larger) has diverged."""


class NanGuard(Callback):
    """Stops before a loss or gradient that is not finite reaches the weights.

    Args:
        last: The last checkpoint, for the message.
    """

    def __init__(self, last: Path) -> None:
        self.last = last
        self.first: float | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return the first loss, against which later ones are judged."""
        return {"first": self.first}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the first loss."""
        self.first = state_dict["first"]

    def on_before_backward(
        self, trainer: Trainer, pl_module: LightningModule, loss: Tensor
    ) -> None:
        """Refuse a loss that is not finite or has exploded."""
        value = float(loss.detach())
        if self.first is None and math.isfinite(value):
            self.first = abs(value)
        if not math.isfinite(value):
            raise InputError(self._message(trainer, f"the loss became {value}"))
        if abs(value) > EXPLODED * max(self.first or 0.0, 1.0):
            raise InputError(self._message(trainer, f"the loss rose to {value:.3g}"))

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Refuse gradients that are not finite."""
        if trainer.precision == "16-mixed":
            return  # the scaler skips such steps by itself
        found = [p.grad for group in optimizer.param_groups for p in group["params"]]
        norms = [g.detach().abs().max() for g in found if g is not None and g.numel()]
        if norms and not bool(torch.isfinite(torch.stack(norms)).all()):
            raise InputError(self._message(trainer, "the gradient is no longer finite"))

    def _message(self, trainer: Trainer, what: str) -> str:
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        kept = (
            f"the last good checkpoint is {self.last}"
            if self.last.is_file()
            else ("no checkpoint was written yet")
        )
        return (
            f"{what} in epoch {trainer.current_epoch + 1}, step {trainer.global_step + 1}: the "
            f"learning rate {rate:g} is too high, or the data hold values that are not finite; "
            f"lower the rate; {kept}."
        )


class CollapseGuard(Callback):
    """Watches for embeddings that fall into one point, and acts.

    Three signs, each over `window` steps in a row: the spread (1 - ||mean embedding||^2) is
    below `spread`; or the triplet loss lies within 2 % of its margin while nearly every triplet
    is active, which is what a single point gives. Then the learning rate is multiplied by
    `factor`, and a miner of hard triplets gives way to semi-hard ones. And when semi-hard
    mining has found next to nothing for so long, it gives way to hard triplets. Whatever
    it does is said once, in `notes` and as a warning.

    Args:
        spread: Below it embeddings count as collapsed.
        window: Steps in a row before it acts.
        factor: What the rate is multiplied by.
        at_most: Times that it acts; then it stops the training with an error.

    Raises:
        InputError: If the embeddings stay collapsed after `at_most` changes.
    """

    def __init__(
        self, *, spread: float = 0.02, window: int = 20, factor: float = 0.3, at_most: int = 4
    ) -> None:
        self.least, self.window, self.factor, self.at_most = spread, window, factor, at_most
        self.notes: list[str] = []
        self.miner: str | None = None
        self._bad = self._idle = self._acted = 0

    def state_dict(self) -> dict[str, Any]:
        """Return the counters, and the miner that was chosen."""
        return {
            "notes": list(self.notes),
            "miner": self.miner,
            "bad": self._bad,
            "idle": self._idle,
            "acted": self._acted,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the counters; the miner is put in when training starts."""
        self.notes, self.miner = list(state_dict["notes"]), state_dict["miner"]
        self._bad, self._idle = state_dict["bad"], state_dict["idle"]
        self._acted = state_dict["acted"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put in the miner that was chosen before a resume."""
        if self.miner is not None:
            _put_miner(pl_module, self.miner)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *args: Any
    ) -> None:
        """Look at the last batch."""
        loss = float(outputs["loss"] if isinstance(outputs, dict) else outputs)
        module: Any = pl_module
        rule: Any = module.loss
        margin = getattr(rule, "margin", None) if rule.mines == "triplets" else None
        active = float(getattr(rule, "active", 0.0))
        collapsed = module.spread < self.least
        if margin is not None and module.miner is not None:
            collapsed = collapsed or (active > 0.98 and abs(loss - margin) < 0.02 * margin)
        self._bad = self._bad + 1 if collapsed else 0
        mining = _miner_name(module.miner)
        self._idle = self._idle + 1 if mining == "semihard" and active < 0.01 else 0
        if self._bad >= self.window:
            self._bad = 0
            self._rescue(trainer, module, loss)
        elif self._idle >= self.window:
            self._idle = 0
            self.miner = "hard"
            _put_miner(module, "hard")
            self._say(trainer, "semi-hard triplets have run out: hard ones from now on")

    def _rescue(self, trainer: Trainer, module: Any, loss: float) -> None:
        if self._acted >= self.at_most:
            raise InputError(
                f"the embeddings have collapsed (spread {module.spread:.3f}, loss {loss:.4g}) and "
                f"stayed so after {self.at_most} smaller rates; begin again with a smaller lr, "
                "batches of more people, or the loss cosface."
            )
        self._acted += 1
        for optimizer in trainer.optimizers:
            for group in optimizer.param_groups:
                group["lr"] *= self.factor
        for config in trainer.lr_scheduler_configs:
            schedule: Any = config.scheduler
            schedule.base_lrs = [rate * self.factor for rate in schedule.base_lrs]
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        text = f"the embeddings collapse (spread {module.spread:.3f}): the rate falls to {rate:.3g}"
        if _miner_name(module.miner) in ("hard", "batch_hard"):
            self.miner = "semihard"
            _put_miner(module, "semihard")
            text += ", and semi-hard triplets take the place of hard ones"
        self._say(trainer, text)

    def _say(self, trainer: Trainer, text: str) -> None:
        note = f"epoch {trainer.current_epoch + 1}, step {trainer.global_step}: {text}."
        self.notes.append(note)
        warnings.warn(note, RuntimeWarning, stacklevel=1)


def _miner_name(miner: Any) -> str | None:
    from limner.training.miners import MINERS

    return next((name for name, kind in MINERS.items() if type(miner) is kind), None)


def _put_miner(module: Any, name: str) -> None:
    """Give a module another miner, which draws on from the same generator."""
    from limner.training.miners import build_miner

    options = {"margin": module.loss.margin} if name == "semihard" else {}
    miner = build_miner(name, **options)
    if module.miner is not None:
        miner.generator = module.miner.generator
    module.miner = miner
