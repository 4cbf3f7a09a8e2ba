"""Miners: which triplets of a batch a loss looks at.

Every miner is exact and works through the distances in blocks of anchors, so that a batch of
1,800 photos needs a few megabytes. Each has its own random generator, whose state is saved with
the module, so that a resumed training draws the same triplets.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from limner.errors import InputError, UnknownNameError
from limner.training.class_losses import require_positive
from limner.training.losses import check_options, near
from limner.training.ranking_losses import Mined, check_people

Choice = Literal["random", "nearest"]


@dataclass(frozen=True)
class Block:
    """The distances of some anchors to the whole batch.

    Attributes:
        anchors: Shape (B,), rows of the batch.
        squared: Shape (B, N), ||a - x||^2.
        positive: Shape (B, N): another photo of the anchor's person.
        negative: Shape (B, N): a photo of somebody else.
    """

    anchors: Tensor
    squared: Tensor
    positive: Tensor
    negative: Tensor


class Miner(nn.Module):
    """Base of the miners.

    Args:
        seed: Of the miner's own generator.
        block: Anchors that are looked at together; changes the memory, not the result.
    """

    def __init__(self, *, seed: int = 0, block: int = 128) -> None:
        super().__init__()
        if block < 1:
            raise InputError(f"block must be 1 or more, got {block}.")
        self.block = block
        self.generator = torch.Generator().manual_seed(seed)

    def get_extra_state(self) -> Tensor:
        """Return the generator's state, which goes into the state dictionary."""
        return self.generator.get_state()

    def set_extra_state(self, state: Any) -> None:
        """Set the generator's state."""
        self.generator.set_state(state.cpu())

    def forward(self, embeddings: Tensor, labels: Tensor) -> Mined | None:
        """Choose triplets.

        Args:
            embeddings: Shape (N, D), unit length; no gradient flows through the choice.
            labels: Shape (N,).

        Returns:
            The triplets, maybe none; None stands for every triplet of the batch, which
            `TripletLoss` sums without a list.

        Raises:
            InputError: If the batch holds no pair of one person or only one person.
        """
        check_people(embeddings, labels)
        with torch.no_grad():
            parts = [self.choose(block) for block in self.blocks(embeddings, labels)]
        return Mined(*(torch.cat(rows) for rows in zip(*parts, strict=True)))

    def blocks(self, embeddings: Tensor, labels: Tensor) -> Iterator[Block]:
        """Yield the distances, block by block."""
        x = embeddings.detach()
        x = x if x.dtype in (torch.float32, torch.float64) else x.float()
        for start in range(0, len(x), self.block):
            anchors = torch.arange(start, min(start + self.block, len(x)), device=x.device)
            squared = torch.cdist(
                x[anchors], x, compute_mode="donot_use_mm_for_euclid_dist"
            ).square()
            same = labels[anchors][:, None] == labels[None]
            positive = same.clone()
            positive[torch.arange(len(anchors)), anchors] = False
            yield Block(anchors, squared, positive, ~same)

    def choose(self, block: Block) -> tuple[Tensor, Tensor, Tensor]:
        """Return anchors, positives and negatives, each (T,), of one block."""
        raise NotImplementedError

    def draw(self, like: Tensor) -> Tensor:
        """Return numbers in [0, 1), one for each row of `like`, on its device."""
        numbers = torch.rand(len(like), generator=self.generator, dtype=torch.float64)
        return numbers.to(like.device)


class AllMiner(Miner):
    """Every triplet of the batch: nothing is chosen, and `TripletLoss` sums them all."""

    def __init__(self) -> None:
        super().__init__()

    def forward(self, embeddings: Tensor, labels: Tensor) -> None:
        """Return None, which stands for every triplet."""
        check_people(embeddings, labels)


class RandomMiner(Miner):
    """For each anchor and positive, one negative at random."""

    def choose(self, block: Block) -> tuple[Tensor, Tensor, Tensor]:
        """Return one triplet for each positive of the block."""
        row, positive = block.positive.nonzero(as_tuple=True)
        order = (~block.negative).to(torch.uint8).sort(dim=1, stable=True).indices
        count = block.negative.sum(dim=1)[row]
        pick = (self.draw(row) * count).long()
        return block.anchors[row], positive, order[row, pick]


class SemiHardMiner(Miner):
    """For each anchor and positive, one negative that is farther, but by less than the margin.

    Args:
        margin: alpha of the triplet loss.
        choice: `random` among them, or the `nearest` of them.
        seed: Of the miner's own generator.
        block: Anchors that are looked at together.

    Source: Schroff et al., FaceNet (2015), section 3.2; the draw among them is that of
    D. Sandberg's facenet.
    Differs: both photos of a pair take their turn as the anchor.
    """

    def __init__(
        self,
        *,
        margin: float = 0.2,
        choice: Choice = "random",
        seed: int = 0,
        block: int = 128,
    ) -> None:
        super().__init__(seed=seed, block=block)
        self.margin = require_positive("margin", margin)
        if choice not in get_args(Choice):
            raise UnknownNameError(f"choice must be 'random' or 'nearest', got {choice!r}.")
        self.choice = choice

    def choose(self, block: Block) -> tuple[Tensor, Tensor, Tensor]:
        """Return at most one triplet for each positive of the block."""
        infinite = torch.full_like(block.squared, torch.inf)
        ranked = torch.where(block.negative, block.squared, infinite).sort(dim=1)
        values = ranked.values.contiguous()
        reach = block.squared.contiguous()
        first = torch.searchsorted(values, reach, right=True)
        last = torch.searchsorted(values, (reach + self.margin).contiguous())
        row, positive = (block.positive & (last > first)).nonzero(as_tuple=True)
        low, high = first[row, positive], last[row, positive]
        pick = low
        if self.choice == "random":
            pick = low + (self.draw(row) * (high - low)).long()
        return block.anchors[row], positive, ranked.indices[row, pick]


class HardMiner(Miner):
    """For each anchor and positive, the nearest negative, where it is nearer than the positive."""

    def choose(self, block: Block) -> tuple[Tensor, Tensor, Tensor]:
        """Return at most one triplet for each positive of the block."""
        infinite = torch.full_like(block.squared, torch.inf)
        nearest = torch.where(block.negative, block.squared, infinite).min(dim=1)
        wrong = block.positive & (nearest.values[:, None] < block.squared)
        row, positive = wrong.nonzero(as_tuple=True)
        return block.anchors[row], positive, nearest.indices[row]


class BatchHardMiner(Miner):
    """For each anchor, its farthest positive and its nearest negative.

    Source: Hermans, Beyer and Leibe, In Defense of the Triplet Loss (2017), equation 5.
    """

    def choose(self, block: Block) -> tuple[Tensor, Tensor, Tensor]:
        """Return one triplet for each anchor of the block that has a positive."""
        infinite = torch.full_like(block.squared, torch.inf)
        farthest = torch.where(block.positive, block.squared, -infinite).max(dim=1)
        nearest = torch.where(block.negative, block.squared, infinite).min(dim=1)
        row = block.positive.any(dim=1).nonzero()[:, 0]
        return block.anchors[row], farthest.indices[row], nearest.indices[row]


MINERS: dict[str, type[Miner]] = {
    "random": RandomMiner,
    "all": AllMiner,
    "semihard": SemiHardMiner,
    "hard": HardMiner,
    "batch_hard": BatchHardMiner,
}


def build_miner(name: str, *, seed: int = 0, **options: Any) -> Miner:
    """Build a miner.

    Args:
        name: One of `MINERS`.
        seed: Of the miner's own generator; random and semihard draw from it.
        options: Those of the class: `block`, and for semihard `margin` and `choice`.

    Returns:
        A module: ``miner(embeddings, labels)`` gives `Mined` triplets, or None for all.

    Raises:
        UnknownNameError: If there is no such miner or option.
        InputError: If a value is out of range.
    """
    factory = MINERS.get(name)
    if factory is None:
        raise UnknownNameError(
            f"miner must be one of {', '.join(MINERS)}, got {name!r}.{near(name, list(MINERS))}"
        )
    check_options(f"the {name} miner", factory, options)
    miner = factory(**options)
    miner.generator.manual_seed(seed)
    return miner
