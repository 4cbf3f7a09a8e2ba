"""Every loss and miner once more, in plain loops over Python floats: slow, and easy to check.

Nothing here uses torch or the package. Embeddings are lists of lists, labels a list.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

Rows = Sequence[Sequence[float]]


def squared(a: Sequence[float], b: Sequence[float]) -> float:
    return math.fsum((x - y) ** 2 for x, y in zip(a, b, strict=True))


def dot(a: Sequence[float], b: Sequence[float]) -> float:
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


def length(a: Sequence[float]) -> float:
    return math.sqrt(dot(a, a))


def log_softmax(logits: Sequence[float]) -> list[float]:
    top = max(logits)
    total = math.log(math.fsum(math.exp(z - top) for z in logits))
    return [z - top - total for z in logits]


def mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def nll(logits: Rows, labels: Sequence[int]) -> float:
    return mean([-log_softmax(z)[y] for z, y in zip(logits, labels, strict=True)])


def focal(logits: Rows, labels: Sequence[int], gamma: float = 2.0) -> float:
    terms = []
    for z, y in zip(logits, labels, strict=True):
        log_p = log_softmax(z)[y]
        terms.append(-((1 - math.exp(log_p)) ** gamma) * log_p)
    return mean(terms)


def softmax(x: Rows, labels: Sequence[int], weight: Rows, bias: Sequence[float]) -> float:
    logits = [[dot(row, w) + b for w, b in zip(weight, bias, strict=True)] for row in x]
    return nll(logits, labels)


def center(
    x: Rows,
    labels: Sequence[int],
    weight: Rows,
    bias: Sequence[float],
    centres: Rows,
    strength: float = 0.003,
) -> float:
    pull = mean([squared(row, centres[y]) for row, y in zip(x, labels, strict=True)])
    return softmax(x, labels, weight, bias) + strength / 2 * pull


def moved_centres(
    x: Rows, labels: Sequence[int], centres: Rows, rate: float = 0.5
) -> list[list[float]]:
    """Wen et al., equation 4."""
    result = []
    for j, centre in enumerate(centres):
        own = [row for row, y in zip(x, labels, strict=True) if y == j]
        change = [
            math.fsum(centre[k] - row[k] for row in own) / (1 + len(own))
            for k in range(len(centre))
        ]
        result.append([c - rate * d for c, d in zip(centre, change, strict=True)])
    return result


def angles(x: Rows, centres: Rows) -> list[list[float]]:
    return [[math.acos(dot(row, c) / (length(row) * length(c))) for c in centres] for row in x]


def asoftmax(
    x: Rows, labels: Sequence[int], centres: Rows, m: int = 4, strength: float = 5.0
) -> float:
    """SphereFace, equations 5 to 7, with the interval k found by looking for it."""
    logits = []
    for row, y, theta in zip(x, labels, angles(x, centres), strict=True):
        size = length(row)
        z = [size * math.cos(t) for t in theta]
        t = theta[y]
        k = next(k for k in range(m) if t <= (k + 1) * math.pi / m)
        psi = (-1) ** k * math.cos(m * t) - 2 * k
        z[y] = size * (strength * math.cos(t) + psi) / (1 + strength)
        logits.append(z)
    return nll(logits, labels)


def cosface(
    x: Rows, labels: Sequence[int], centres: Rows, scale: float, margin: float = 0.35
) -> float:
    logits = []
    for y, theta in zip(labels, angles(x, centres), strict=True):
        z = [scale * math.cos(t) for t in theta]
        z[y] = scale * (math.cos(theta[y]) - margin)
        logits.append(z)
    return nll(logits, labels)


def arcface(
    x: Rows, labels: Sequence[int], centres: Rows, scale: float, margin: float = 0.5
) -> float:
    logits = []
    for y, theta in zip(labels, angles(x, centres), strict=True):
        z = [scale * math.cos(t) for t in theta]
        t = theta[y]
        own = math.cos(t + margin)
        if t + margin > math.pi:
            own = math.cos(t) - margin * math.sin(margin)
        z[y] = scale * own
        logits.append(z)
    return nll(logits, labels)


def all_triplets(labels: Sequence[int]) -> list[tuple[int, int, int]]:
    everyone = range(len(labels))
    return [
        (a, p, n)
        for a in everyone
        for p in everyone
        for n in everyone
        if a != p and labels[a] == labels[p] and labels[a] != labels[n]
    ]


def triplet_terms(
    x: Rows, triplets: Sequence[tuple[int, int, int]], margin: float = 0.2
) -> list[float]:
    return [max(squared(x[a], x[p]) - squared(x[a], x[n]) + margin, 0.0) for a, p, n in triplets]


def triplet(
    x: Rows, triplets: Sequence[tuple[int, int, int]], margin: float = 0.2, *, active: bool = False
) -> float:
    terms = triplet_terms(x, triplets, margin)
    if active:
        terms = [t for t in terms if t > 0] or [0.0]
    return mean(terms)


def contrastive(
    x: Rows, labels: Sequence[int], margin: float = 1.0, *, balanced: bool = False
) -> float:
    same, different = [], []
    for i, j in combinations(range(len(x)), 2):
        d = math.sqrt(squared(x[i], x[j]))
        if labels[i] == labels[j]:
            same.append(d * d / 2)
        else:
            different.append(max(0.0, margin - d) ** 2 / 2)
    return (mean(same) + mean(different)) / 2 if balanced else mean(same + different)


def pairwise(x: Rows, labels: Sequence[int], margin: float = 1.0) -> float:
    same, different = [], []
    for i, j in combinations(range(len(x)), 2):
        d = math.sqrt(squared(x[i], x[j]))
        if labels[i] == labels[j]:
            same.append(d)
        else:
            different.append(max(0.0, margin - d))
    return mean(same) + mean(different)


def positive_pairs(labels: Sequence[int]) -> list[tuple[int, int]]:
    everyone = range(len(labels))
    return [(a, p) for a in everyone for p in everyone if a != p and labels[a] == labels[p]]


def semi_hard(
    x: Rows, labels: Sequence[int], margin: float = 0.2
) -> dict[tuple[int, int], set[int]]:
    """For every anchor and positive, the negatives that are semi-hard."""
    return {
        (a, p): {
            n
            for n in range(len(x))
            if labels[n] != labels[a]
            and squared(x[a], x[p]) < squared(x[a], x[n]) < squared(x[a], x[p]) + margin
        }
        for a, p in positive_pairs(labels)
    }


def nearest_negative(x: Rows, labels: Sequence[int], a: int) -> int:
    others = [n for n in range(len(x)) if labels[n] != labels[a]]
    return min(others, key=lambda n: squared(x[a], x[n]))


def hard(x: Rows, labels: Sequence[int]) -> set[tuple[int, int, int]]:
    found = set()
    for a, p in positive_pairs(labels):
        n = nearest_negative(x, labels, a)
        if squared(x[a], x[n]) < squared(x[a], x[p]):
            found.add((a, p, n))
    return found


def batch_hard(x: Rows, labels: Sequence[int]) -> set[tuple[int, int, int]]:
    found = set()
    for a in range(len(x)):
        own = [p for p in range(len(x)) if p != a and labels[p] == labels[a]]
        if own:
            p = max(own, key=lambda p: squared(x[a], x[p]))
            found.add((a, p, nearest_negative(x, labels, a)))
    return found


def siamese(
    x: Rows,
    labels: Sequence[int],
    weights: Sequence[float],
    bias: float,
    kind: str,
    decay: float,
) -> float:
    """Cross-entropy of sigma(w . terms + b) over all pairs, both kinds weighing half."""
    same, different = [], []
    for i, j in combinations(range(len(x)), 2):
        terms = [
            abs(a - b) if kind == "weighted_l1" else (a - b) ** 2 / (abs(a) + abs(b) + 1e-10)
            for a, b in zip(x[i], x[j], strict=True)
        ]
        p = 1 / (1 + math.exp(-(dot(terms, weights) + bias)))
        if labels[i] == labels[j]:
            same.append(-math.log(p))
        else:
            different.append(-math.log(1 - p))
    return (mean(same) + mean(different)) / 2 + decay * mean([w * w for w in weights])
