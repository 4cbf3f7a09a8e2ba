"""Batches whose place can be saved: the loader that makes a resumed run exact.

Every random choice of a batch comes from one of two places: the sampler's own generator,
whose state at the beginning of the epoch is saved, or a generator seeded by (seed, epoch,
number of the batch). So a run that was killed in the middle of an epoch goes on with the
batches that the unbroken run would have had.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from limner.errors import InputError

Plan = list[Tensor]
"""The batches of an epoch: index tensors, int64, shape (B,)."""


class Sampler(Protocol):
    """Draws the batches of one epoch."""

    def plan(self, generator: torch.Generator) -> Plan:
        """Return the batches of an epoch; the same state of `generator` gives the same plan."""
        ...

    def __len__(self) -> int:
        """Return how many batches an epoch has."""
        ...


class ShuffledBatches:
    """Every sample once an epoch, in random order.

    Args:
        count: How many samples there are.
        batch: Samples in a batch.
        shuffle: False for the order of the data (validation).
        drop_last: Whether a last batch that is not full is left out; it never is where it
            is the only one.

    Raises:
        InputError: If there are no samples, or `batch` is below 1.
    """

    def __init__(
        self, count: int, *, batch: int, shuffle: bool = True, drop_last: bool = False
    ) -> None:
        if count < 1:
            raise InputError("there are no samples to train on.")
        if batch < 1:
            raise InputError(f"batch must be 1 or larger, got {batch}.")
        self.count, self.batch, self.shuffle = count, batch, shuffle
        self.drop_last = drop_last and count >= batch

    def __len__(self) -> int:
        """Return how many batches an epoch has."""
        full, rest = divmod(self.count, self.batch)
        return full + (rest > 0 and not self.drop_last)

    def plan(self, generator: torch.Generator) -> Plan:
        """Return the batches of an epoch."""
        order = (
            torch.randperm(self.count, generator=generator)
            if self.shuffle
            else torch.arange(self.count)
        )
        starts = range(0, len(self) * self.batch, self.batch)
        return [order[start : start + self.batch] for start in starts]


def mix_seed(*parts: int) -> int:
    """Return one seed in [0, 2^63) from several whole numbers (order matters)."""
    state = 0x9E3779B97F4A7C15
    for part in parts:
        state = (state ^ (part & 0xFFFFFFFFFFFFFFFF)) * 0xBF58476D1CE4E5B9 % 2**64
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB % 2**64
        state ^= state >> 31
    return state >> 1


class Batches:
    """An endless supply of epochs of batches, with a place that can be saved.

    Iterating gives one epoch, or, after `load_state_dict`, what is left of it.

    Args:
        sampler: Draws the batches of an epoch.
        fetch: ``(indices, generator, epoch) -> batch``: picks, augments, stacks.
        seed: Of the sampler's generator and of every batch's own.
        rank: Which of the processes this is; each takes every `world`-th batch.
        world: How many processes share the epoch.

    Raises:
        InputError: If an epoch has fewer batches than there are processes.
    """

    def __init__(
        self,
        sampler: Sampler,
        fetch: Callable[[Tensor, torch.Generator, int], Any],
        *,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        if len(sampler) < world:
            raise InputError(
                f"an epoch has {len(sampler)} batches, too few for {world} processes; "
                "make the batches smaller."
            )
        self.plans, self.fetch, self.seed = sampler, fetch, seed
        self.rank, self.world = rank, world
        self._generator = torch.Generator().manual_seed(mix_seed(seed, 1))
        self._start = self._generator.get_state()
        self._epoch, self._place = 0, 0

    @classmethod
    def of_tensors(
        cls,
        tensors: Sequence[Tensor],
        *,
        batch: int,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
    ) -> Batches:
        """Return batches of rows of tensors, as a `TensorDataset` has them.

        Args:
            tensors: Each with the same first axis.
            batch: Rows in a batch.
            shuffle: Whether the order is random.
            seed: Of the order.
            drop_last: Whether a last batch that is not full is left out.

        Raises:
            InputError: If the first axes differ or are empty.
        """
        counts = {len(t) for t in tensors}
        if len(counts) != 1:
            raise InputError(f"tensors must have one number of rows, got {sorted(counts)}.")
        sampler = ShuffledBatches(counts.pop(), batch=batch, shuffle=shuffle, drop_last=drop_last)
        return cls(sampler, lambda rows, _, __: tuple(t[rows] for t in tensors), seed=seed)

    def share(self, rank: int, world: int) -> None:
        """Take every `world`-th batch from now on, beginning with number `rank`.

        Raises:
            InputError: If an epoch has fewer batches than `world`.
        """
        if len(self.plans) < world:
            raise InputError(
                f"an epoch has {len(self.plans)} batches, too few for {world} processes; "
                "make the batches smaller."
            )
        self.rank, self.world = rank, world

    def __len__(self) -> int:
        """Return how many batches a whole epoch has for this process."""
        return len(self.plans) // self.world

    def __iter__(self) -> Iterator[Any]:
        """Yield the batches of the epoch from the saved place on."""
        if self._place >= len(self):
            self._epoch, self._place = self._epoch + 1, 0
            self._start = self._generator.get_state()
        self._generator.set_state(self._start)
        plan = self.plans.plan(self._generator)
        while self._place < len(self):
            number = self._place * self.world + self.rank
            own = torch.Generator().manual_seed(mix_seed(self.seed, 2, self._epoch, number))
            batch = self.fetch(plan[number], own, self._epoch)
            self._place += 1
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """Return epoch, place, and the generator's state at the epoch's beginning."""
        return {"epoch": self._epoch, "place": self._place, "generator": self._start.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a saved place."""
        self._epoch, self._place = int(state["epoch"]), int(state["place"])
        self._start = state["generator"].clone()
        self._generator.set_state(self._start)
        if self._place >= len(self):  # the epoch was over: advance as iterating would
            self.plans.plan(self._generator)
