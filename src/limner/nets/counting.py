"""What a network costs: numbers that it learns, and multiply-adds for one picture."""

from __future__ import annotations

import torch
from torch import nn


def count_parameters(net: nn.Module) -> int:
    """Return how many numbers training sets."""
    return sum(p.numel() for p in net.parameters() if p.requires_grad)


def count_flops(net: nn.Module, shape: tuple[int, ...]) -> int:
    """Return the multiply-adds of convolutions and matrices for one input.

    A multiplication with its addition counts once, as in the networks' papers;
    normalisations, activations and pooling are not counted, as there.

    Args:
        net: On the meta device, where nothing is computed; put into evaluation mode.
        shape: Of the input without the batch, such as (C, H, W).
    """
    from torch.utils.flop_counter import FlopCounterMode

    net.eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(torch.empty(1, *shape, device="meta"))
    return int(counter.get_total_flops()) // 2
