"""Checkpoints: written whole or not at all, read without pickles, never lost to a full disk."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import Tensor

from limner.errors import InputError

LAST, BEST = "last.ckpt", "best.safetensors"


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint beside its place and renames it; a full disk keeps the last one."""

    def __init__(self) -> None:
        super().__init__()
        self.failures: list[str] = []

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        """Write `checkpoint`; if the system refuses, warn and leave the last good one."""
        target = Path(path)
        temporary = target.with_name(f".{secrets.token_hex(8)}.part")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with open(temporary, "xb") as stream:
                torch.save(checkpoint, stream)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temporary, target)
        except (OSError, RuntimeError) as error:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
            kept = "the last good one stays" if target.exists() else "there is none yet"
            message = f"a checkpoint could not be written to {target} ({reason}); {kept}."
            self.failures.append(message)
            warnings.warn(message, RuntimeWarning, stacklevel=1)

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint as plain tensors and numbers; anything else in it is refused."""
        try:
            found: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            raise InputError(f"{path} is not a checkpoint of limner: {error}.") from error
        return found


class KeepCheckpoints(Callback):
    """Saves the last state every so often, and the best weights.

    Args:
        folder: Where they go: `LAST` and `BEST`.
        monitor: The logged figure that decides which weights are best.
        mode: ``min`` or ``max``.
        every_steps: A checkpoint after so many optimiser steps; None for none by steps.
        every_s: A checkpoint after so many seconds, with one process; None for none by time.
    """

    def __init__(
        self,
        folder: Path,
        *,
        monitor: str,
        mode: str,
        every_steps: int | None,
        every_s: float | None,
    ) -> None:
        self.folder, self.monitor, self.mode = folder, monitor, mode
        self.every_steps, self.every_s = every_steps, every_s
        self.best_value: float | None = None
        self.best_epoch = -1
        self._saved_at = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        """Return the best figure so far."""
        return {"value": self.best_value, "epoch": self.best_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the best figure so far."""
        self.best_value, self.best_epoch = state_dict["value"], int(state_dict["epoch"])

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        """Save the last state if it is time; at an epoch's end that comes after validation."""
        if trainer.is_last_batch:
            return
        due = self.every_steps is not None and trainer.global_step % self.every_steps == 0
        if self.every_s is not None and trainer.world_size == 1:
            due = due or time.monotonic() - self._saved_at >= self.every_s
        if due:
            self._save(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the last state, and the weights if they are the best."""
        value = trainer.callback_metrics.get(self.monitor)
        if value is not None:
            self._keep_best(trainer, pl_module, float(value))
        self._save(trainer)

    def _keep_best(self, trainer: Trainer, module: LightningModule, value: float) -> None:
        sign = 1 if self.mode == "min" else -1
        if self.best_value is not None and not sign * value <= sign * self.best_value:
            return  # of equals the later one is kept, as in the notes
        self.best_value, self.best_epoch = value, trainer.current_epoch
        if trainer.is_global_zero:
            save_weights(self.folder / BEST, module.state_dict())

    def _save(self, trainer: Trainer) -> None:
        trainer.save_checkpoint(self.folder / LAST)
        self._saved_at = time.monotonic()


def save_weights(path: Path, state: dict[str, Tensor]) -> None:
    """Write tensors as safetensors, whole or not at all.

    Raises:
        InputError: If the file cannot be written.
    """
    from safetensors.torch import save

    temporary = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "xb") as stream:
            stream.write(save({k: v.detach().cpu().contiguous().clone() for k, v in state.items()}))
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise InputError(f"{path} cannot be written: {error.strerror or error}.") from error


def load_weights(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        InputError: If it cannot be read.
    """
    from safetensors.torch import load_file

    try:
        found: dict[str, Tensor] = load_file(path)
    except Exception as error:
        raise InputError(f"{path} cannot be read as safetensors: {error}.") from error
    return found
