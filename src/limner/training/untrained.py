"""What the trunk's own features do before anything is trained: the row beside each training.

For people that are known, a gallery: every training photo is enrolled, and a held-out photo gets
the name of the nearest. For strangers, the equal error rate over all pairs. Both by the cosine of
the trunk's features. A training that does not beat them was not worth its time.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from limner.errors import InputError
from limner.evaluation.bootstrap import interval, resample_pairs
from limner.training.module import FaceModule
from limner.training.prepare import Prepared, Tell, feature_cache

_BATCH = 128
_MOST_PAIRS = 200_000
_RESAMPLES = 200

Bounds = tuple[float, float]


def trunk_features(
    ready: Prepared, module: FaceModule, *, cache: Path | None, tell: Tell
) -> dict[str, Tensor]:
    """Return the trunk's features of unit length, for `val`, `test`, and to classify `train`.

    Args:
        ready: What will be trained on.
        module: The module before its training.
        cache: Where features are kept; None for nowhere.
        tell: As `limner.training.prepare.prepare`.

    Returns:
        By side, (M, F).
    """
    sides = {"val": ready.split.val, "test": ready.split.test}
    if module.classifies:
        sides["train"] = ready.split.train
    if module.reads == "features":
        table = feature_cache(ready, cache=cache, tell=tell).draw(0)
        return {
            s: functional.normalize(table[torch.from_numpy(r)], dim=1) for s, r in sides.items()
        }
    net, was = module.net, module.net.training
    module.to(ready.device)
    net.eval()
    found = {}
    with torch.inference_mode():
        for side, rows in sides.items():
            parts = [torch.zeros(0, net.width)]
            for start in range(0, len(rows), _BATCH):
                chips = torch.from_numpy(ready.pixels[rows[start : start + _BATCH]])
                x = module.prepare(chips.permute(0, 3, 1, 2).float().to(ready.device))
                parts.append(net.features(x).float().reshape(len(chips), -1).cpu())
            found[side] = functional.normalize(torch.cat(parts), dim=1)
    module.cpu()
    net.train(was)
    return {side: rows.clone() for side, rows in found.items()}


def untrained_figures(ready: Prepared, features: dict[str, Tensor]) -> dict[str, Any]:
    """Return what the features do: `{side}_accuracy_gallery`, or `{side}_eer_before`.

    Each comes with its 95 % interval under the same name in `intervals`.
    """
    found: dict[str, Any] = {}
    bounds: dict[str, Bounds] = {}
    for side, rows in (("val", ready.split.val), ("test", ready.split.test)):
        labels = ready.people.labels[rows]
        if not rows.size:
            continue
        if "train" in features:
            known = ready.people.labels[ready.split.train]
            nearest = (features[side] @ features["train"].T).argmax(1).numpy()
            right = known[nearest] == labels
            name = f"{side}_accuracy_gallery"
            found[name], bounds[name] = float(right.mean()), share_interval(right)
            continue
        pairs = eer_with_interval(features[side], labels)
        if pairs is not None:
            found[f"{side}_eer_before"], bounds[f"{side}_eer_before"] = pairs
    return {**found, "intervals": bounds}


def share_interval(right: NDArray[np.bool_]) -> Bounds:
    """Return the 95 % interval of a share of right answers.

    Source: Wilson (1927), by scipy.
    """
    from scipy.stats import binomtest

    found = binomtest(int(right.sum()), int(right.size)).proportion_ci(0.95, method="wilson")
    return float(found.low), float(found.high)


def eer_with_interval(
    rows: Tensor, labels: NDArray[np.int64], *, seed: int = 0
) -> tuple[float, Bounds] | None:
    """Return the equal error rate of all pairs of rows (M, D), and its 95 % interval.

    The interval is over pairs, resampled as if they were independent, which is a little narrow;
    of very many pairs of two people some are drawn. None where one kind of pair is missing.
    """
    from limner.training.module import equal_error_rate

    try:
        value = equal_error_rate(rows, torch.from_numpy(labels))
    except InputError:
        return None
    unit = functional.normalize(rows.float(), dim=1).numpy()
    first, second = np.triu_indices(len(unit), 1)
    same = labels[first] == labels[second]
    generator = np.random.default_rng(seed)
    other = generator.permutation(np.flatnonzero(~same))[:_MOST_PAIRS]
    chosen = np.concatenate([np.flatnonzero(same)[:_MOST_PAIRS], other])
    squared = np.square(unit[first[chosen]] - unit[second[chosen]]).sum(1)
    drawn = resample_pairs(squared, same[chosen], resamples=_RESAMPLES, seed=seed)
    low, high = interval(drawn.eer)
    return value, (min(low, value), max(high, value))
