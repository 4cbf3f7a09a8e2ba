"""Every loss by name.

    loss = build_loss("arcface", classes=62, dim=128)
    loss(embeddings, labels).backward()

A loss says what it `reads` (logits or embeddings), whether embeddings should have unit length,
and whether a miner can choose for it.
"""

from __future__ import annotations

import difflib
import inspect
from typing import Any

from limner.errors import InputError, UnknownNameError
from limner.training.class_losses import (
    ArcFaceLoss,
    ASoftmaxLoss,
    CenterLoss,
    CosFaceLoss,
    FocalLoss,
    Loss,
    ModifiedSoftmaxLoss,
    NLLLoss,
    SoftmaxLoss,
    scale_for,
)
from limner.training.pairs import SiameseLoss
from limner.training.ranking_losses import (
    ContrastiveLoss,
    Mined,
    PairwiseLoss,
    TripletLoss,
    distances,
)

__all__ = ["LOSSES", "Loss", "Mined", "build_loss", "distances", "options_of", "scale_for"]

LOSSES: dict[str, type[Loss]] = {
    "nll": NLLLoss,
    "focal": FocalLoss,
    "softmax": SoftmaxLoss,
    "center": CenterLoss,
    "modified_softmax": ModifiedSoftmaxLoss,
    "asoftmax": ASoftmaxLoss,
    "cosface": CosFaceLoss,
    "arcface": ArcFaceLoss,
    "triplet": TripletLoss,
    "contrastive": ContrastiveLoss,
    "pairwise": PairwiseLoss,
    "siamese": SiameseLoss,
}


def options_of(factory: type) -> list[str]:
    """Return the names of a class's own options: not `classes` and `dim`."""
    parameters = inspect.signature(factory).parameters.values()
    named = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    return [name for name in named if name not in ("classes", "dim")]


def near(word: str, allowed: list[str]) -> str:
    """Return a hint at the nearest allowed word, or nothing."""
    found = difflib.get_close_matches(word, allowed, n=1, cutoff=0.5)
    return f" Did you mean {found[0]!r}?" if found else ""


def check_options(what: str, factory: type, options: dict[str, Any]) -> None:
    """Check that a class takes these options.

    Raises:
        UnknownNameError: If it does not; the message names the nearest.
    """
    allowed = options_of(factory)
    for option in options:
        if option not in allowed:
            words = ", ".join(allowed) if allowed else "no options"
            raise UnknownNameError(
                f"{what} has no option {option!r}; it takes {words}.{near(option, allowed)}"
            )


def build_loss(
    name: str, *, classes: int | None = None, dim: int | None = None, **options: Any
) -> Loss:
    """Build a loss.

    Args:
        name: One of `LOSSES`.
        classes: Number of people; needed by softmax, center, modified_softmax, asoftmax, cosface
            and arcface.
        dim: Width of the embedding; needed by the same ones and by siamese.
        options: Those of the class, such as `margin`.

    Returns:
        A module: ``loss(embeddings_or_logits, labels, mined=None)`` is a scalar.

    Raises:
        UnknownNameError: If there is no such loss or option.
        InputError: If a value is out of range, or classes and dim are missing.
        MissingExtraError: If pytorch-metric-learning is needed and not installed.
    """
    factory = LOSSES.get(name)
    if factory is None:
        raise UnknownNameError(
            f"loss must be one of {', '.join(LOSSES)}, got {name!r}.{near(name, list(LOSSES))}"
        )
    check_options(f"the {name} loss", factory, options)
    parameters = inspect.signature(factory).parameters
    given = {"classes": classes, "dim": dim}
    words = {"classes": "the number of classes", "dim": "the embedding's width"}
    needed = {name: value for name, value in given.items() if name in parameters}
    missing = [words[key] for key, value in needed.items() if value is None]
    if missing:
        raise InputError(f"the {name} loss needs {' and '.join(missing)}.")
    return factory(**needed, **options)
