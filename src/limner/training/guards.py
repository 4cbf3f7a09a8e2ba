"""Guards: a loss that is not finite, and embeddings that collapse into one point."""

from __future__ import annotations

import math
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
