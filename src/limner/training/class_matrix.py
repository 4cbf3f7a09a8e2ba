"""From features to a probability for each person: the matrix that a classifier ends in.

A classifier's last layer has it, and so has every loss that knows the people (softmax, center,
A-softmax, CosFace, ArcFace). With it one network answers both questions: who of these people is
it (probabilities), and are these two the same (its features, by their cosine).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from limner.nets.backbone import ClassifierHead
from limner.training.class_losses import (
    ArcFaceLoss,
    ASoftmaxLoss,
    CosFaceLoss,
    Loss,
    SoftmaxLoss,
)


class ClassMatrix(NamedTuple):
    """One row for each person.

    Attributes:
        weight: Shape (C, D).
        bias: Shape (C,).
        unit: Whether it reads rows of unit length; otherwise as they are.
    """

    weight: Tensor
    bias: Tensor
    unit: bool

    def logits(self, rows: Tensor) -> Tensor:
        """Map features (N, D) to logits (N, C)."""
        x = functional.normalize(rows, dim=1) if self.unit else rows
        return functional.linear(x, self.weight, self.bias)


def matrix_of_loss(loss: Loss) -> ClassMatrix | None:
    """Return a loss's matrix without its margin; None for a loss that has none.

    Its logits are those of `loss.logits`.
    """
    with torch.no_grad():
        if isinstance(loss, SoftmaxLoss):  # and CenterLoss
            return ClassMatrix(loss.linear.weight.clone(), loss.linear.bias.clone(), False)
        if isinstance(loss, ASoftmaxLoss):
            rows = functional.normalize(loss.centres, dim=1)
            return ClassMatrix(rows, torch.zeros(loss.classes), False)
        if isinstance(loss, CosFaceLoss | ArcFaceLoss):
            rows = functional.normalize(loss.inner.W.detach().t(), dim=1)
            return ClassMatrix(loss.scale * rows, torch.zeros(loss.classes), True)
    return None


def split_classifier(head: ClassifierHead) -> tuple[nn.Sequential, ClassMatrix]:
    """Take a classifier's head apart: what comes before its last layer, and that layer."""
    last = head[-1]
    assert isinstance(last, nn.Linear)
    return head.before_last(), ClassMatrix(last.weight.detach(), last.bias.detach(), False)
