"""P x K batches: P people with K photos each, so that every batch holds pairs of both kinds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from limner.errors import InputError


class PeopleBatches:
    """Draws P people and K photos of each, as triplet training wants them.

    People come in random order, everybody once before anybody twice; of each the photos
    likewise, within a batch. The order comes from the generator that `plan` is given, which
    `limner.training.batches.Batches` owns and saves.

    Args:
        labels: Shape (N,), the person of each sample.
        people: P, two or more.
        photos: K, two or more.
        batches: Batches of an epoch; None for as many as show about every photo once.
        repeat: Whether a person with fewer than K photos shows some of them twice in a batch;
            otherwise that is an error.
        names: The people's names, for messages.

    Raises:
        InputError: If P or K is too small, or larger than the data allow.
    """

    def __init__(
        self,
        labels: ArrayLike,
        *,
        people: int,
        photos: int,
        batches: int | None = None,
        repeat: bool = False,
        names: Sequence[str] | None = None,
    ) -> None:
        numbers = np.asarray(labels)
        if people < 2 or photos < 2:
            raise InputError(
                f"a batch needs two people and two photos of each at least, got {people} and "
                f"{photos}: without a positive pair there is nothing to compare."
            )
        own, counts = np.unique(numbers, return_counts=True)
        if own.size < people:
            raise InputError(
                f"a batch of {people} people is wanted, but there are {own.size}; lower "
                f"people_per_batch (--set people_per_batch={own.size})."
            )
        smallest = int(counts.argmin())
        if counts[smallest] < 2 or (counts[smallest] < photos and not repeat):
            who = str(own[smallest]) if names is None else names[int(own[smallest])]
            few = int(counts[smallest])
            raise InputError(
                f"{photos} photos of each person are wanted, but {who} has {few}; lower it, "
                f"leave such people out with min_photos {max(2, photos if not repeat else 2)}"
                + ("." if few < 2 else ", or let photos repeat.")
            )
        self.rows = [torch.from_numpy(np.flatnonzero(numbers == n)) for n in own]
        self.people, self.photos = people, photos
        self.batches = max(1, numbers.size // (people * photos)) if batches is None else batches
        if self.batches < 1:
            raise InputError(f"an epoch needs one batch at least, got {batches}.")

    def __len__(self) -> int:
        """Return how many batches an epoch has."""
        return self.batches

    def plan(self, generator: torch.Generator) -> list[Tensor]:
        """Return the batches of an epoch."""
        queue: list[int] = []
        plan = []
        for _ in range(self.batches):
            if len(queue) < self.people:  # the rest first, then a new order of the others
                order = torch.randperm(len(self.rows), generator=generator).tolist()
                queue += [p for p in order if p not in set(queue)]
            chosen, queue = queue[: self.people], queue[self.people :]
            plan.append(torch.cat([self._photos(self.rows[p], generator) for p in chosen]))
        return plan

    def _photos(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Return K rows of one person; each once before any twice."""
        parts: list[Tensor] = []
        missing = self.photos
        while missing > 0:
            parts.append(rows[torch.randperm(len(rows), generator=generator)][:missing])
            missing -= len(parts[-1])
        return torch.cat(parts)
