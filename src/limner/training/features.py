"""Features of a frozen trunk: computed once for each draw of the augmentation, and kept.

A trunk that does not train gives the same features for the same chips. So an epoch needs no
convolution: it reads what was computed for one of a few draws. Draw 0 is the plain chip, draw 1
its mirror image, later ones are augmented at random; with SamplePairing each draw has a second
form, in which every chip is averaged with another. `training_draws` says which ones train.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from limner.errors import InputError
from limner.nets.backbone import Backbone
from limner.training.augment import Augment, pair_samples
from limner.training.batches import mix_seed
from limner.types import ImageArray

BATCH = 16
_FORMAT = 2
_AUGMENTED = 2  # the first draw that is augmented at random


def training_draws(count: int, *, plain: bool) -> range:
    """Return which draws train: `count` of them, from the plain chip on or all augmented."""
    first = 0 if plain else _AUGMENTED
    return range(first, first + count)


@dataclass(frozen=True, eq=False)
class FeatureCache:
    """Computes a trunk's features, or finds them.

    Attributes:
        net: Its trunk is used, in evaluation.
        pixels: Shape (N, S, S, 3), uint8 RGB.
        digest: Of the chips and of the trunk's weights.
        augment: For draws from 2 on, and whether draw 1 is the mirror image.
        seed: Of the augmentation.
        folder: Where features are kept; None for nowhere.
        on_batch: Called with the number of chips after each batch that is computed.
        device: Where the trunk computes, as `limner.device.resolve` returns it.
    """

    net: Backbone
    pixels: ImageArray
    digest: str
    augment: Augment
    seed: int = 0
    folder: Path | None = None
    on_batch: Callable[[int], None] | None = None
    device: str = "cpu"

    def draw(self, number: int, *, rows: Tensor | None = None, paired: bool = False) -> Tensor:
        """Return the features of one draw.

        Args:
            number: Which draw, from 0.
            rows: Shape (M,): only these chips; None for all. Partners of pairs are among them.
            paired: Whether SamplePairing mixes the chips.

        Returns:
            Shape (M, F), float32.

        Raises:
            InputError: If the cache cannot be written.
        """
        chosen = torch.arange(len(self.pixels)) if rows is None else rows
        plain = number == 0 or (number == 1 and self.augment.mirror)
        words = repr(
            (
                _FORMAT,
                self.digest,
                number,
                paired,
                () if plain and not paired else (self.augment, self.seed),
                hashlib.sha256(chosen.numpy().tobytes()).hexdigest(),
                *([] if self.device == "cpu" else [self.device.partition(":")[0]]),
            )
        )
        name = f"features-{self.net.name}-{hashlib.sha256(words.encode()).hexdigest()[:20]}.npy"
        file = None if self.folder is None else self.folder / name
        kept = None if file is None else _read(file, (len(chosen), self.net.width))
        if kept is not None:
            return kept
        found = self._compute(chosen, number, paired)
        if file is not None:
            _write(file, found)
        return found

    def _compute(self, rows: Tensor, number: int, paired: bool) -> Tensor:
        generator = torch.Generator().manual_seed(mix_seed(self.seed, 7, number, int(paired)))
        normalise = self.net.input.normalisation().to(self.device)
        training, place = self.net.training, next(self.net.parameters()).device
        self.net.to(self.device).eval()
        partners = _circle(len(rows), generator)
        parts = []
        with torch.inference_mode():
            for start in range(0, len(rows), BATCH):
                batch = torch.arange(start, min(start + BATCH, len(rows)))
                chips = self._chips(rows[batch], number, generator)
                if paired:
                    other = self._chips(rows[partners[batch]], number, generator)
                    chips = (chips + other) / 2
                x = normalise(chips.permute(0, 2, 3, 1).to(self.device))
                x = x.contiguous(memory_format=torch.channels_last)
                parts.append(self.net.features(x).float().reshape(len(batch), -1).cpu())
                if self.on_batch is not None:
                    self.on_batch(len(batch))
        self.net.to(place).train(training)
        return torch.cat(parts).clone()

    def _chips(self, rows: Tensor, number: int, generator: torch.Generator) -> Tensor:
        """Return chips as (B, 3, S, S) floats, augmented as the draw wants."""
        x = torch.from_numpy(self.pixels[rows.numpy()]).permute(0, 3, 1, 2).float()
        if number == 0:
            return x
        if number == 1 and self.augment.mirror:
            return x.flip(3)
        return self.augment(x, generator)


def _circle(count: int, generator: torch.Generator) -> Tensor:
    """Return a partner for everybody, as `pair_samples` chooses them."""
    places = torch.arange(count, dtype=torch.float64)[:, None]
    return (2 * pair_samples(places, generator) - places)[:, 0].round().long()


def _read(file: Path, shape: tuple[int, int]) -> Tensor | None:
    try:
        rows = np.load(file, allow_pickle=False)
    except Exception:  # absent or damaged: it is made again
        return None
    return torch.from_numpy(rows) if rows.shape == shape and rows.dtype == np.float32 else None


def _write(file: Path, rows: Tensor) -> None:
    temporary = file.with_name(f".{secrets.token_hex(8)}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as stream:
            np.save(stream, rows.numpy())
        os.replace(temporary, file)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise InputError(
            f"the cache {file} cannot be written: {(error.strerror or str(error)).lower()}."
        ) from error
