"""Open against closed set: one network as a classifier, as a verifier and as an identifier.

And the notes' point about one-shot learning: a softmax with an output for everybody and one for
"somebody else" against a similarity with a threshold, for one photo a person and more; who
joins later has to wait for a new training in the one, and is enrolled in the other.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from limner import device as devices
from limner.errors import InputError
from limner.evaluation import score_identification
from limner.nets.backbone import Backbone
from limner.training.batches import mix_seed
from limner.training.class_matrix import ClassMatrix
from limner.training.features import FeatureCache
from limner.training.finish import leave_model, verification
from limner.training.people import People, read_people
from limner.training.prepare import Tell, chips_of, network_for
from limner.training.recipe import Recipe
from limner.types import ImageArray

SHOTS = (1, 2, 3, 5, 10)
_STEPS = 300
_FPIR = 0.01
_OTHERS = 400


@dataclass(frozen=True)
class OpenClosed:
    """What the report found.

    Attributes:
        counts: People and photos of each group, and the network.
        closed: Accuracy of the classifier.
        verification: EER and TAR at FARs over all pairs of test photos.
        identification: Rank 1 and TPIR, by similarity and by the classifier's own probability.
        one_shot: One row for each number of photos a person.
        notes: What was left out or replaced.
    """

    counts: dict[str, Any]
    closed: dict[str, float]
    verification: dict[str, float]
    identification: dict[str, float]
    one_shot: tuple[dict[str, float], ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return {
            "counts": self.counts,
            "closed": self.closed,
            "verification": self.verification,
            "identification": self.identification,
            "one_shot": list(self.one_shot),
            "notes": list(self.notes),
        }


@dataclass(frozen=True, eq=False)
class _Groups:
    """Unit features and people of the four groups; who is known, and a photo of each."""

    known: NDArray[np.int64]
    first: NDArray[np.int64]
    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    newcomers: tuple[Tensor, Tensor]
    others: tuple[Tensor, Tensor]


def compare_sets(
    folder: str | Path,
    *,
    net: str = "inception_resnet_v1",
    min_photos: int = 20,
    newcomers: int = 10,
    max_photos: int = 40,
    shots: Sequence[int] = SHOTS,
    seed: int = 0,
    cache: Path | None = None,
    out: Path | None = None,
    device: str = "auto",
    tell: Tell | None = None,
) -> OpenClosed:
    """Measure one frozen network in the closed set and in the open set.

    People with `min_photos` or more are known, but for `newcomers` of them, who join later;
    all others are strangers, one photo each.

    Args:
        folder: `person/photo.jpg`.
        net: One of `limner nets`; `efficientnet_lite0` where its weights cannot be had.
        min_photos: Photos of a known person, 5 or more.
        newcomers: How many of the known join later, 2 or more.
        max_photos: At most so many photos of a person are looked at.
        shots: Numbers of photos a person to enrol from.
        seed: Of every choice.
        cache: Where chips and features are kept.
        out: Where the network is left as a model that answers both ways; None for nowhere.
        device: Where the network computes, as `limner.device.resolve` takes it.
        tell: Called with (what, done, of how many).

    Raises:
        InputError: If there are too few people of a kind.
    """
    told = tell or (lambda what, done, total: None)
    place = devices.resolve(device)
    if min_photos < 5 or newcomers < 2:
        raise InputError(
            f"min_photos must be 5 and newcomers 2 or more, got {min_photos} and {newcomers}."
        )
    people = _choose(read_people(folder), min_photos, max_photos, seed)
    recipe = Recipe(net=net, crop="auto", seed=seed)
    network = network_for(recipe, len(people.names))
    people, pixels, digest, crop = chips_of(people, recipe, network, cache=cache, tell=told)
    done = 0

    def on_batch(count: int) -> None:
        nonlocal done
        done += count
        told("computing features", done, len(pixels))

    from limner.training.augment import Augment

    store = FeatureCache(
        network,
        pixels,
        digest,
        Augment(),
        seed=seed,
        folder=cache,
        on_batch=on_batch,
        device=place,
    )
    rows = functional.normalize(store.draw(0), dim=1)
    groups = _group(people, rows, min_photos, newcomers, seed)
    classes = int(groups.train[1].max()) + 1
    head = fit_softmax(*groups.train, classes=classes, seed=seed)
    logits = head(groups.test[0])
    found = OpenClosed(
        counts={
            "network": network.name,
            "crop": crop,
            "known": classes,
            "train_photos": len(groups.train[1]),
            "test_photos": len(groups.test[1]),
            "newcomers": newcomers,
            "strangers": len(groups.others[1]),
        },
        closed={"accuracy": float((logits.argmax(1) == groups.test[1]).float().mean())},
        verification=verification(*groups.test),
        identification=_identify(groups, head),
        one_shot=tuple(_shot(groups, k, seed) for k in shots if k <= int(0.6 * min_photos)),
        notes=(*people.notes, *_replaced(network.provenance)),
    )
    if out is not None:
        _leave(out, found, network, head, groups, people, pixels)
    return found


def _leave(
    out: Path,
    found: OpenClosed,
    network: Backbone,
    head: nn.Linear,
    groups: _Groups,
    people: People,
    pixels: ImageArray,
) -> None:
    """Write the network with its softmax as a model's folder; thresholds from all test photos."""
    strangers = groups.test[1].max() + 1 + groups.newcomers[1].max() + 1
    labels = torch.cat(
        [
            groups.test[1],
            groups.newcomers[1] + groups.test[1].max() + 1,
            torch.arange(len(groups.others[1])) + strangers,
        ]
    )
    leave_model(
        out,
        network,
        ClassMatrix(head.weight, head.bias, True),
        crop=str(found.counts["crop"]),
        people=tuple(people.names[i] for i in groups.known),
        faces=pixels[groups.first],
        held_out=(torch.cat([groups.test[0], groups.newcomers[0], groups.others[0]]), labels),
        fitted_on=f"{people.root.name}: photos that did not train, strangers' too",
        figures={**found.closed, **found.verification, **found.identification},
    )


def _replaced(provenance: dict[str, Any]) -> tuple[str, ...]:
    return (f"{provenance['used']}: {provenance['reason']}",) if provenance.get("reason") else ()


def _choose(people: People, min_photos: int, max_photos: int, seed: int) -> People:
    """Keep some photos of everybody with many, and one photo of some of the others."""
    generator = np.random.default_rng(mix_seed(seed, 21))
    counts = people.counts()
    keep = np.zeros(len(people.photos), bool)
    few = np.flatnonzero(counts < min_photos)
    for number in generator.permutation(few)[:_OTHERS]:
        keep[np.flatnonzero(people.labels == number)[0]] = True
    for number in np.flatnonzero(counts >= min_photos):
        own = np.flatnonzero(people.labels == number)
        keep[np.sort(generator.permutation(own)[:max_photos])] = True
    return people.take(keep)


def _group(people: People, rows: Tensor, min_photos: int, newcomers: int, seed: int) -> _Groups:
    generator = np.random.default_rng(mix_seed(seed, 22))
    counts = people.counts()
    many = np.flatnonzero(counts >= min(5, min_photos))
    strangers = np.flatnonzero(counts < 5)
    if many.size < newcomers + 2 or strangers.size < 20:
        raise InputError(
            f"{many.size} people have {min_photos} photos or more and {strangers.size} have fewer; "
            f"this report needs {newcomers + 2} of the first kind and 20 strangers: lower "
            "--min-photos or --newcomers, or add photos."
        )
    many = generator.permutation(many)
    joining, known = np.sort(many[:newcomers]), np.sort(many[newcomers:])
    sides: tuple[list[int], list[int]] = ([], [])
    for number in known:
        own = generator.permutation(np.flatnonzero(people.labels == number))
        cut = max(1, round(0.25 * own.size))
        sides[1].extend(own[:cut].tolist())
        sides[0].extend(own[cut:].tolist())

    def take(index: NDArray[np.int64] | list[int], of: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        chosen = np.asarray(index)
        labels = np.searchsorted(of, people.labels[chosen])
        return rows[torch.from_numpy(chosen)], torch.from_numpy(labels)

    own_labels = people.labels[np.array(sides[0])]
    first = np.array([sides[0][int(np.flatnonzero(own_labels == k)[0])] for k in known])
    return _Groups(
        known,
        first,
        take(sides[0], known),
        take(sides[1], known),
        take(np.flatnonzero(np.isin(people.labels, joining)), joining),
        take(np.flatnonzero(np.isin(people.labels, strangers)), strangers),
    )


def fit_softmax(x: Tensor, y: Tensor, *, classes: int, seed: int) -> nn.Linear:
    """Fit one linear layer on unit features (N, F) by cross entropy; 300 steps of Adam."""
    torch.manual_seed(mix_seed(seed, 23))
    head = nn.Linear(x.shape[1], classes)
    scaled = x * 10  # unit rows are small numbers for a linear layer
    with torch.enable_grad():
        optimizer = torch.optim.Adam(head.parameters(), lr=3e-3, weight_decay=1e-5)
        for _ in range(_STEPS):
            optimizer.zero_grad()
            torch.autograd.backward([functional.cross_entropy(head(scaled), y)])
            optimizer.step()
    head.weight.requires_grad_(False).mul_(10)
    return head.requires_grad_(False)


def _identify(groups: _Groups, head: nn.Linear) -> dict[str, float]:
    """Score open-set identification, by similarity and by the classifier's probability."""
    (train, train_people), (test, test_people) = groups.train, groups.test
    others = groups.others[0]
    first = [int(torch.nonzero(train_people == k)[0]) for k in range(int(train_people.max()) + 1)]
    everything = torch.cat([train[first], test, others]).numpy()
    names = [f"k{k}" for k in range(len(first))]
    names += [f"k{int(k)}" for k in test_people] + [f"s{i}" for i in range(len(others))]
    scores = score_identification(everything, names, resamples=50)
    found = {"rank1": scores.rank1}
    for rate in scores.tpir_at_fpir:
        if rate.value is not None:
            found[f"tpir_at_fpir_{rate.bound:g}"] = float(rate.value)
    probabilities = functional.softmax(head(test), dim=1)
    sure, answer = probabilities.max(1)
    strange = functional.softmax(head(others), dim=1).max(1).values.sort(descending=True).values
    found["classifier_rank1"] = float((answer == test_people).float().mean())
    for fpir in (0.1, 0.01):
        if fpir * len(others) >= 1:
            tau = float(strange[int(fpir * len(others))])
            right = (answer == test_people) & (sure > tau)
            found[f"classifier_tpir_at_fpir_{fpir:g}"] = float(right.float().mean())
    return found


def _some(x: Tensor, y: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the first `count` rows of everybody, their people, and a mask of the rest."""
    rest = torch.ones(len(y), dtype=torch.bool)
    chosen = torch.cat([torch.nonzero(y == k)[:count, 0] for k in range(int(y.max()) + 1)])
    rest[chosen] = False
    return x[chosen], y[chosen], rest


def _shot(groups: _Groups, count: int, seed: int) -> dict[str, float]:
    """Compare softmax with one output more and similarity, from `count` photos a person."""
    x, y, _ = _some(*groups.train, count)
    test, test_people = groups.test
    classes = int(groups.train[1].max()) + 1
    others = groups.others[0]
    half = len(others) // 2
    teaching, asking = others[:half], others[half:]
    new_x, new_y, rest = _some(*groups.newcomers, count)
    new_test, new_people = groups.newcomers[0][rest], groups.newcomers[1][rest]

    began = time.perf_counter()
    strange = torch.full((half,), classes)
    softmax = fit_softmax(
        torch.cat([x, teaching]), torch.cat([y, strange]), classes=classes + 1, seed=seed
    )
    first_s = time.perf_counter() - began
    began = time.perf_counter()
    joined = fit_softmax(
        torch.cat([x, new_x, teaching]),
        torch.cat([y, classes + new_y, strange + int(new_y.max()) + 1]),
        classes=classes + int(new_y.max()) + 2,
        seed=seed,
    )
    again_s = time.perf_counter() - began
    began = time.perf_counter()
    gallery, owners = torch.cat([x, new_x]), torch.cat([y, classes + new_y])
    join_s = time.perf_counter() - began
    tau = float(
        (teaching @ gallery.T).max(1).values.sort(descending=True).values[int(_FPIR * half)]
    )

    def nearest(rows: Tensor) -> tuple[Tensor, Tensor]:
        best = (rows @ gallery.T).max(1)
        return torch.where(best.values > tau, owners[best.indices], -1), best.values

    return {
        "photos": float(count),
        "softmax_known": _share(softmax(test).argmax(1) == test_people),
        "similarity_known": _share(nearest(test)[0] == test_people),
        "softmax_strangers_refused": _share(softmax(asking).argmax(1) == classes),
        "similarity_strangers_refused": _share(nearest(asking)[0] < 0),
        "softmax_newcomers_before": 0.0,
        "softmax_newcomers_retrained": _share(joined(new_test).argmax(1) == classes + new_people),
        "similarity_newcomers": _share(nearest(new_test)[0] == classes + new_people),
        "softmax_train_s": first_s,
        "softmax_join_s": again_s,
        "similarity_join_s": join_s,
    }


def _share(hits: Tensor) -> float:
    return float(hits.float().mean())
