"""What a training saw, epoch by epoch: a CSV file, TensorBoard events, and a list."""

from __future__ import annotations

import csv
import io
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from limner.errors import InputError

CSV_NAME = "metrics.csv"

Row = dict[str, float]


class History(Callback):
    """Keeps the figures of every epoch, in the checkpoint too, and writes them as CSV.

    Args:
        folder: Where `CSV_NAME` goes.
        on_epoch: Called with the row of each finished epoch.
        on_step: Called after each batch with (batches done, batches of the epoch).
    """

    def __init__(
        self,
        folder: Path,
        *,
        on_epoch: Callable[[Row], None] | None = None,
        on_step: Callable[[int, int], None] | None = None,
    ) -> None:
        self.folder, self.on_epoch, self.on_step = folder, on_epoch, on_step
        self.rows: list[Row] = []
        self._began = time.perf_counter()

    def state_dict(self) -> dict[str, Any]:
        """Return the rows so far."""
        return {"rows": [dict(row) for row in self.rows]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the rows so far."""
        self.rows = [dict(row) for row in state_dict["rows"]]

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the epoch's clock."""
        self._began = time.perf_counter()

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Tell how far the epoch is."""
        if self.on_step is not None:
            self.on_step(batch_idx + 1, int(trainer.num_training_batches))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep, write and tell the epoch's figures."""
        row: Row = {"epoch": float(trainer.current_epoch), "step": float(trainer.global_step)}
        for name, value in sorted(trainer.callback_metrics.items()):
            row[name] = float(value)
        row["lr"] = float(trainer.optimizers[0].param_groups[0]["lr"])
        row["seconds"] = time.perf_counter() - self._began
        self.rows.append(row)
        if trainer.is_global_zero:
            write_csv(self.folder / CSV_NAME, self.rows)
            if self.on_epoch is not None:
                self.on_epoch(row)


def write_csv(path: Path, rows: list[Row]) -> None:
    """Write rows as CSV, whole or not at all; columns in order of first appearance.

    Raises:
        InputError: If the file cannot be written.
    """
    columns = list(dict.fromkeys(name for row in rows for name in row))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: f"{v:.8g}" for k, v in row.items()} for row in rows)
    temporary = path.with_name(f".{path.name}.part")
    try:
        temporary.write_text(buffer.getvalue(), "utf-8")
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}.") from error
