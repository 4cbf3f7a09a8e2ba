"""A small network with dropout, momentum and a schedule: everything that a resume can get wrong."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import nn

from limner.training.batches import Batches, ShuffledBatches
from limner.training.loop import fit_module


class Toy(LightningModule):
    def __init__(self, lr: float = 0.05, dropout: float = 0.3) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.lr = lr
        self.net = nn.Sequential(
            nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, 3)
        )

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = nn.functional.cross_entropy(self.net(batch[0]), batch[1])
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(batch[0]))
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        loss = nn.functional.cross_entropy(self.net(batch[0]), batch[1])
        self.log("val_loss", loss, on_step=False, on_epoch=True, batch_size=len(batch[0]))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=self.lr, momentum=0.9)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule}}


def toy_data(count: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(count, 6, generator=generator)
    return x, (x[:, 0] > 0).long() + (x[:, 1] > 0.5).long()


def noisy_batches(batch: int = 8, seed: int = 11) -> Batches:
    """Batches with an augmentation that draws from the batch's own generator."""
    x, y = toy_data()

    def fetch(rows: torch.Tensor, generator: torch.Generator, epoch: int) -> Any:
        noise = torch.randn(x[rows].shape, generator=generator)
        return x[rows] + 0.1 * noise, y[rows]

    return Batches(ShuffledBatches(len(x), batch=batch), fetch, seed=seed)


def val_batches() -> Batches:
    return Batches.of_tensors(toy_data(), batch=20, shuffle=False)


def run(out: Path, *, epochs: int = 4, resume: bool = False, **options: Any) -> Any:
    module = options.pop("module", None) or Toy()
    report = fit_module(
        module,
        noisy_batches(),
        options.pop("val", val_batches()),
        out=out,
        epochs=epochs,
        seed=2,
        resume=resume,
        checkpoint_steps=options.pop("checkpoint_steps", 1),
        restore_best=False,
        tensorboard=False,
        **options,
    )
    return module, report


if __name__ == "__main__":  # a process of its own, to be killed or to be one of several
    folder, mode = Path(sys.argv[1]), sys.argv[2]
    torch.set_num_threads(1)
    if mode == "slow":
        import time

        def dawdle(done: int, count: int) -> None:
            print("step", done, flush=True)
            time.sleep(0.15)

        run(folder, on_step=dawdle)
    elif mode == "two":
        toy, _ = run(
            folder,
            processes=2,
            module=Toy(dropout=0.0),
            epochs=2,
            val=None,
        )
        rank = toy.global_rank
        torch.save(toy.state_dict(), folder / f"rank{rank}.pt")
