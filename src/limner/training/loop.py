"""The training loop: Lightning, with exact resume, guards, and a report.

A run that is killed, even in the middle of an epoch, and started again with ``resume`` ends
with the same weights, bit for bit, as one that was not (on one machine, with the same number
of threads). Three things make it so: `limner.training.batches.Batches` saves its place, the
global generator is seeded anew from (seed, step, process) before every batch, and the
checkpoint holds everything else that changes.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping

from limner import device as devices
from limner.errors import InputError, UnknownNameError
from limner.training.batches import Batches, mix_seed
from limner.training.checkpoints import (
    BEST,
    LAST,
    KeepCheckpoints,
    WholeCheckpoints,
    load_weights,
)
from limner.training.guards import NanGuard
from limner.training.history import History, Row
from limner.training.world import World, world

Precision = Literal["32", "bf16", "16"]
_LIGHTNING_PRECISION: dict[str, Any] = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}
_NOISY = ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero")


@dataclass(frozen=True)
class FitReport:
    """What a training did.

    Attributes:
        epochs: Finished epochs, those before a resume included.
        steps: Optimiser steps, likewise.
        stopped: Why it ended: ``epochs``, ``early`` (no better for `patience` epochs),
            ``time``.
        monitor: The figure that chose the best weights.
        best_value: Its best value; None where it was never logged.
        best_epoch: Epoch of it, 0-based; -1 where there is none.
        best_path: The best weights, safetensors; None where there are none.
        last_path: The last checkpoint.
        seconds: Of this call.
        history: The figures of each epoch.
        notes: What the guards did, and checkpoints that could not be written.
    """

    epochs: int
    steps: int
    stopped: Literal["epochs", "early", "time"]
    monitor: str
    best_value: float | None
    best_epoch: int
    best_path: Path | None
    last_path: Path
    seconds: float
    history: list[Row] = field(default_factory=list)
    notes: tuple[str, ...] = ()


class _SeedEveryStep(Callback):
    """Makes dropout and every other use of the global generator a function of the step."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        torch.manual_seed(
            mix_seed(self.seed, 3, trainer.fit_loop.epoch_loop.total_batch_idx, trainer.global_rank)
        )


class _KeepPlace(Callback):
    """Keeps the loader's place; Lightning does so in the middle of an epoch only."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader if isinstance(loader, Batches) else None

    def state_dict(self) -> dict[str, Any]:
        return {} if self.loader is None else self.loader.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if self.loader is not None and state_dict:
            self.loader.load_state_dict(state_dict)


class _Clock(Callback):
    """Ends the training after the epoch in which the time is up."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.began, self.rang = seconds, time.monotonic(), False

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        up = time.monotonic() - self.began >= self.seconds
        if trainer.strategy.reduce_boolean_decision(up, all=False):
            self.rang = trainer.should_stop = True


def fit_module(
    module: LightningModule,
    train_loader: Any,
    val_loader: Any = None,
    *,
    out: Path,
    epochs: int,
    seed: int = 0,
    resume: bool = False,
    precision: Precision = "32",
    processes: int = 1,
    monitor: str = "val_loss",
    mode: Literal["min", "max"] = "min",
    patience: int | None = None,
    device: str = "cpu",
    clip_norm: float | None = None,
    accumulate: int = 1,
    seconds: float | None = None,
    checkpoint_steps: int | None = None,
    checkpoint_s: float | None = 60.0,
    validate_every: int = 1,
    restore_best: bool = True,
    callbacks: Sequence[Callback] = (),
    tensorboard: bool = True,
    on_epoch: Callable[[Row], None] | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> FitReport:
    """Train a module, and leave it with its best weights.

    Args:
        module: Logs ``train_loss`` (and ``val_loss``) with ``self.log``, per epoch.
        train_loader: A `Batches` resumes exactly; any other loader begins the epoch anew.
        val_loader: Batches of the validation, or None: `monitor` is then ``train_loss``.
        out: Folder for checkpoints, ``metrics.csv`` and TensorBoard's events.
        epochs: Epochs in all, those before a resume included.
        seed: Of everything that is drawn while training.
        resume: Go on from the last checkpoint in `out`; without one, an error.
        precision: ``32``, ``bf16`` or ``16`` (mixed).
        processes: Processes on this machine (gloo on a CPU); under ``torchrun`` 1 means those
            that it started, on all machines.
        monitor: The logged figure that decides which weights are best.
        mode: Whether small (``min``) or large (``max``) is better.
        patience: Stop after so many epochs without a better figure; None for never.
        device: As `limner.device.resolve` takes it.
        clip_norm: Largest norm of the gradient; None for any.
        accumulate: Batches whose gradients make one step.
        seconds: Stop after the epoch in which so much time has passed; None for never.
        checkpoint_steps: A checkpoint every so many steps, beside those of each epoch.
        checkpoint_s: The same by the clock, with one process.
        validate_every: Validate after every so many epochs.
        restore_best: Whether the module is left with its best weights instead of its last.
        callbacks: More of Lightning's callbacks, such as a `CollapseGuard`.
        tensorboard: Whether TensorBoard's events are written (`tensorboardX`).
        on_epoch: Called with the figures of each epoch.
        on_step: Called after each batch with (batches done, batches of the epoch).

    Returns:
        What happened.

    Raises:
        UnknownNameError: If `precision`, `mode` or `device` is not a known word.
        InputError: If a number is out of range, `out` cannot be used, there is nothing to
            resume, or the loss is no longer finite (the last good checkpoint stays).
    """
    _check(epochs=epochs, precision=precision, mode=mode)
    out = Path(out)
    last = out / LAST
    if resume and not last.is_file():
        raise InputError(f"{out} holds no checkpoint {LAST} to resume from.")
    if val_loader is None and monitor.startswith("val_"):
        monitor = "train_loss"
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out} cannot be used: {error.strerror or error}.") from error
    keep = KeepCheckpoints(
        out, monitor=monitor, mode=mode, every_steps=checkpoint_steps, every_s=checkpoint_s
    )
    history = History(out, on_epoch=on_epoch, on_step=on_step)
    early = _early(monitor, mode, patience)
    clock = [] if seconds is None else [_Clock(seconds)]
    writer, nan = WholeCheckpoints(), NanGuard(last)
    # The keeper comes last: what it saves holds the state of all others after the epoch.
    place = _KeepPlace(train_loader)
    chosen = [_SeedEveryStep(seed), place, nan, *callbacks, *early, *clock, history, keep]
    began = time.perf_counter()
    with _quiet():
        trainer = _trainer(
            chosen,
            writer,
            out=out,
            epochs=epochs,
            precision=precision,
            shared=world(processes),
            device=device,
            clip_norm=clip_norm,
            accumulate=accumulate,
            validate_every=validate_every,
            tensorboard=tensorboard,
        )
        _share(train_loader, trainer)
        _fit(trainer, module, train_loader, val_loader, str(last) if resume else None)
    best = out / BEST
    if restore_best and best.is_file() and keep.best_epoch >= 0:
        module.load_state_dict(load_weights(best))
    stopped: Literal["epochs", "early", "time"] = "epochs"
    if any(c.rang for c in clock):
        stopped = "time"
    elif early and early[0].stopped_epoch:
        stopped = "early"
    notes = [*writer.failures, *(n for c in callbacks for n in getattr(c, "notes", ()))]
    return FitReport(
        epochs=len(history.rows),
        steps=trainer.global_step,
        stopped=stopped,
        monitor=monitor,
        best_value=keep.best_value,
        best_epoch=keep.best_epoch,
        best_path=best if keep.best_epoch >= 0 else None,
        last_path=last,
        seconds=time.perf_counter() - began,
        history=history.rows,
        notes=tuple(notes),
    )


def _fit(trainer: Trainer, module: Any, train: Any, val: Any, checkpoint: str | None) -> None:
    """Run the trainer; it turns Ctrl-C into an exit of the program, which is turned back."""
    handler = None
    if threading.current_thread() is threading.main_thread():
        handler = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(module, train, val, ckpt_path=checkpoint)
    except SystemExit:
        if trainer.interrupted:
            raise KeyboardInterrupt from None
        raise
    finally:
        if handler is not None:
            signal.signal(signal.SIGINT, handler)
    if trainer.interrupted:
        raise KeyboardInterrupt


def _check(*, epochs: int, precision: str, mode: str) -> None:
    if epochs < 1:
        raise InputError(f"epochs must be 1 or larger, got {epochs}.")
    if precision not in get_args(Precision):
        raise UnknownNameError(f"precision must be '32', 'bf16' or '16', got {precision!r}.")
    if mode not in ("min", "max"):
        raise UnknownNameError(f"mode must be 'min' or 'max', got {mode!r}.")


def _early(monitor: str, mode: str, patience: int | None) -> list[EarlyStopping]:
    if patience is None:
        return []
    if patience < 1:
        raise InputError(f"patience must be 1 or larger, got {patience}.")
    return [
        EarlyStopping(
            monitor, mode=mode, patience=patience, check_on_train_epoch_end=True, strict=True
        )
    ]


def _share(loader: Any, trainer: Trainer) -> None:
    if isinstance(loader, Batches) and trainer.world_size > 1:
        loader.share(trainer.global_rank, trainer.world_size)


def _trainer(
    callbacks: list[Any],
    writer: WholeCheckpoints,
    *,
    out: Path,
    epochs: int,
    precision: Precision,
    shared: World,
    device: str,
    clip_norm: float | None,
    accumulate: int,
    validate_every: int,
    tensorboard: bool,
) -> Trainer:
    where = devices.resolve(device)
    kind, _, number = where.partition(":")
    logger: Any = False
    if tensorboard:
        from lightning.pytorch.loggers import TensorBoardLogger

        with contextlib.suppress(ModuleNotFoundError):
            logger = TensorBoardLogger(str(out), name="", version="tensorboard")
    parallel: dict[str, Any] = {"devices": [int(number)] if number else 1}
    if shared.size > 1:
        from lightning.pytorch.strategies import DDPStrategy

        backend = "gloo" if kind == "cpu" else "nccl"
        strategy = DDPStrategy(process_group_backend=backend)
        parallel = {"devices": shared.local, "num_nodes": shared.nodes, "strategy": strategy}
    return Trainer(
        accelerator=kind,
        max_epochs=epochs,
        precision=_LIGHTNING_PRECISION[precision],
        gradient_clip_val=clip_norm,
        accumulate_grad_batches=accumulate,
        check_val_every_n_epoch=validate_every,
        callbacks=callbacks,
        plugins=[writer],
        logger=logger,
        default_root_dir=str(out),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=10,
        use_distributed_sampler=False,
        **parallel,
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning's banners and hints off the terminal; its errors come through."""
    loggers = [logging.getLogger(name) for name in _NOISY]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning\..*")
        warnings.filterwarnings("ignore", message=".*GPU available.*|.*num_workers.*")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
