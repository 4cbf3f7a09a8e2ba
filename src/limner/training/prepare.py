"""From a folder of people and a recipe to everything that a training needs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from limner.errors import InputError
from limner.nets.backbone import Backbone
from limner.training.architectures import architecture
from limner.training.augment import Augment, pair_samples, pairing_is_on
from limner.training.backbones import build, build_available
from limner.training.batches import Batches, Sampler, ShuffledBatches
from limner.training.chips import cut_chips
from limner.training.features import FeatureCache, training_draws
from limner.training.losses import Loss, build_loss
from limner.training.miners import build_miner
from limner.training.people import People, Split, drop_unreadable, read_people, split_people
from limner.training.recipe import Recipe
from limner.training.sampler import PeopleBatches
from limner.types import ImageArray

_CROP_OF = {
    "inception_resnet_v1": "facenet",
    "dlib_resnet": "dlib",
    "frmodel": "arcface",
    "nn4_small2": "arcface",
}
_VAL_BATCH = 256

Tell = Callable[[str, int, int | None], None]


@dataclass(frozen=True, eq=False)
class Prepared:
    """People, chips, sides, network and loss.

    Attributes:
        recipe: What was asked for.
        people: The photos that have a chip.
        pixels: Shape (N, S, S, 3), uint8 RGB.
        split: Which photos train, validate and test.
        net: With random or trained weights.
        loss: What is minimised.
        crop: How the chips were cut.
        digest: Of chips and trunk.
        device: Where features and answers are computed, as `limner.device.resolve` returns it.
    """

    recipe: Recipe
    people: People
    pixels: ImageArray
    split: Split
    net: Backbone
    loss: Loss
    crop: str
    digest: str
    device: str = "cpu"

    @property
    def notes(self) -> list[str]:
        """What was left out, and which network took the place of which, in sentences."""
        found = list(self.people.notes)
        if self.net.provenance.get("reason"):
            found.append(
                f"{self.net.name} takes the place of {self.net.provenance['asked']}: "
                f"{self.net.provenance['reason']}"
            )
        if self.recipe.sampler == "people" and self.batch_people < self.recipe.people_per_batch:
            found.append(
                f"a batch holds {self.batch_people} people, not {self.recipe.people_per_batch}: "
                "no more train."
            )
        return found

    @property
    def batch_people(self) -> int:
        """People of a batch: as many as the recipe wants, or all that train."""
        trained = np.unique(self.people.labels[self.split.train]).size
        return min(self.recipe.people_per_batch, int(trained))

    def augment(self) -> Augment:
        """Return the augmentation of the recipe."""
        r = self.recipe
        return Augment(
            crop=r.smallest_crop,
            rotation_deg=r.rotation_deg,
            mirror=r.mirror,
            erase=r.erase,
            erase_area=r.erase_area,
            fill=self.net.input.mean or None,
            light=r.light,
        )

    def train_labels(self) -> Tensor:
        """Return the training photos' people, numbered from 0 without gaps, shape (M,)."""
        labels = self.people.labels[self.split.train]
        if self.recipe.task == "embed":
            labels = np.unique(labels, return_inverse=True)[1]
        return torch.from_numpy(np.asarray(labels, np.int64))


def prepare(
    recipe: Recipe, folder: str | Path, *, cache: Path | None, tell: Tell, device: str = "cpu"
) -> Prepared:
    """Read the folder, cut the chips, split them, build the network.

    Args:
        recipe: What is wanted.
        folder: `person/photo.jpg`, or `train|val|test/person/photo.jpg`.
        cache: Where chips and features are kept; None for nowhere.
        tell: Called with (what, done, of how many) while it works.
        device: Where a frozen trunk computes, as `limner.device.resolve` returns it.

    Raises:
        LimnerError: Whatever is wrong with folder, recipe or weights.
    """
    check_words(recipe)
    people = read_people(folder, min_photos=recipe.min_photos, max_people=recipe.max_people)
    net = network_for(recipe, len(people.names))
    kept, pixels, digest, crop = chips_of(people, recipe, net, cache=cache, tell=tell)
    split = split_people(
        kept,
        by=recipe.split,  # type: ignore[arg-type]
        shares=(recipe.train_share, recipe.val_share, recipe.test_share),
        seed=recipe.seed,
    )
    loss = _loss(recipe, net, kept, split)
    if isinstance(getattr(net.head, "normalise", None), bool):
        setattr(net.head, "normalise", loss.unit_length)  # noqa: B010
    return Prepared(recipe, kept, pixels, split, net, loss, crop, digest, device)


def chips_of(
    people: People, recipe: Recipe, net: Backbone, *, cache: Path | None, tell: Tell
) -> tuple[People, ImageArray, str, str]:
    """Cut the chips that a network reads, and leave out photos without one.

    Returns:
        The people that are left, pixels (N, S, S, 3), a digest of chips and trunk, and how the
        chips were cut.

    Raises:
        InputError: If somebody has no photo that can be used.
    """
    crop = recipe.crop
    if crop == "auto":
        crop = _CROP_OF.get(net.name.removesuffix("_half"), "facenet")  # type: ignore[assignment]
    if crop == "whole" and recipe.task == "embed":
        raise InputError(
            "crop: whole is for classify only: an embedder has to know how a face is cut."
        )
    done = 0

    def on_photo() -> None:
        nonlocal done
        done += 1
        tell("cutting faces", done, len(people.photos))

    chips = cut_chips(
        people.photos, crop=crop, size_px=net.input.size_px, cache=cache, on_photo=on_photo
    )
    usable = np.array([reason is None for reason in chips.reasons])
    kept = drop_unreadable(people, chips.reasons)
    if len(kept.names) < len(people.names):
        lost = sorted(set(people.names) - set(kept.names))[0]
        raise InputError(
            f"no photo of {lost} can be used ({_reason_of(people, chips.reasons, lost)}); mend "
            "them, or remove the person's folder."
        )
    words = f"{chips.digest} {usable.tobytes().hex()} {_trunk_digest(net)}"
    digest = hashlib.sha256(words.encode()).hexdigest()
    return kept, chips.pixels if usable.all() else chips.pixels[usable], digest, crop


def _reason_of(people: People, reasons: tuple[str | None, ...], name: str) -> str:
    number = people.names.index(name)
    return next(
        str(reason).rstrip(".")
        for label, reason in zip(people.labels.tolist(), reasons, strict=True)
        if label == number and reason is not None
    )


def _trunk_digest(net: Backbone) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(net.trunk.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.contiguous().numpy().tobytes())
    return digest.hexdigest()


def network_for(recipe: Recipe, classes: int) -> Backbone:
    """Return the recipe's network, its random weights drawn from the recipe's seed."""
    torch.manual_seed(recipe.seed)
    classify = recipe.task == "classify"
    options: dict[str, Any] = {
        "head": "classifier" if classify else "embedding",
        "width_or_classes": classes if classify else recipe.width,
        "image_size": recipe.size_px,
    }
    if classify:
        options |= {
            "layers": recipe.head_layers,
            "hidden": recipe.hidden,
            "dropout": recipe.dropout,
        }
    if recipe.pretrained:
        net = build_available(recipe.net, fallbacks=recipe.fallbacks, **options)
    else:
        net = build(recipe.net, **options)
    net.free(recipe.free)
    return net.to(memory_format=torch.channels_last)


def _loss(recipe: Recipe, net: Backbone, people: People, split: Split) -> Loss:
    trained = np.unique(people.labels[split.train]).size
    return build_loss(recipe.loss, classes=trained, dim=recipe.width, **recipe.loss_options)


def check_words(recipe: Recipe) -> None:
    """Refuse words of a recipe that are unknown or contradict each other, before any work.

    Raises:
        UnknownNameError: If there is no such network, loss, miner or option of theirs.
        InputError: If the loss is not for the task, or an option is out of range.
    """
    architecture(recipe.net)
    loss = build_loss(recipe.loss, classes=2, dim=recipe.width, **recipe.loss_options)
    if (loss.reads == "logits") != (recipe.task == "classify"):
        other = "classify" if loss.reads == "logits" else "embed"
        raise InputError(f"the loss {recipe.loss} is for task {other}, not for {recipe.task}.")
    if recipe.miner:
        build_miner(recipe.miner, **recipe.miner_options)


def loaders(ready: Prepared, *, cache: Path | None, tell: Tell) -> tuple[Batches, Batches]:
    """Return the batches of training and of validation.

    With a frozen trunk they hold features, computed here once for each draw; else chips.
    """
    recipe, split = ready.recipe, ready.split
    labels = ready.train_labels()
    val_labels = torch.from_numpy(ready.people.labels[split.val])
    sampler = _sampler(recipe, ready, labels)
    in_order = ShuffledBatches(len(val_labels), batch=_VAL_BATCH, shuffle=False)
    rows, val_rows = torch.from_numpy(split.train), torch.from_numpy(split.val)
    if recipe.free == "head":
        plain, paired, val_x = _features(ready, rows, val_rows, cache, tell)

        def pick(index: Tensor, generator: torch.Generator, epoch: int) -> tuple[Tensor, Tensor]:
            on = recipe.sample_pairing and pairing_is_on(epoch, recipe.epochs)
            table = paired if on else plain
            draw = torch.randint(len(table), (len(index),), generator=generator)
            return table[draw, index], labels[index]

        train = Batches(sampler, pick, seed=recipe.seed)
        val = Batches(in_order, lambda i, _, __: (val_x[i], val_labels[i]))
        return train, val
    pixels, augment = torch.from_numpy(ready.pixels), ready.augment()

    def fetch(index: Tensor, generator: torch.Generator, epoch: int) -> tuple[Tensor, Tensor]:
        x = augment(pixels[rows[index]].permute(0, 3, 1, 2).float(), generator)
        if recipe.sample_pairing and pairing_is_on(epoch, recipe.epochs):
            x = pair_samples(x, generator)
        return x, labels[index]

    def fetch_val(index: Tensor, _: torch.Generator, __: int) -> tuple[Tensor, Tensor]:
        return pixels[val_rows[index]].permute(0, 3, 1, 2).float(), val_labels[index]

    return Batches(sampler, fetch, seed=recipe.seed), Batches(in_order, fetch_val)


def feature_cache(ready: Prepared, *, cache: Path | None, tell: Tell) -> FeatureCache:
    """Return the cache of the trunk's features of these chips."""
    done = 0

    def on_batch(count: int) -> None:
        nonlocal done
        done += count
        tell("computing features", done, None)

    return FeatureCache(
        ready.net,
        ready.pixels,
        ready.digest,
        ready.augment(),
        seed=ready.recipe.seed,
        folder=cache,
        on_batch=on_batch,
        device=ready.device,
    )


def _features(
    ready: Prepared, rows: Tensor, val_rows: Tensor, cache: Path | None, tell: Tell
) -> tuple[Tensor, Tensor, Tensor]:
    """Return plain draws (D, M, F), paired ones, and the validation's features (V, F)."""
    store = feature_cache(ready, cache=cache, tell=tell)
    recipe = ready.recipe
    numbers = training_draws(recipe.draws, plain=recipe.plain_draws)
    plain = torch.stack([store.draw(d)[rows] for d in numbers])
    paired = plain
    if recipe.sample_pairing:
        paired = torch.stack([store.draw(d, rows=rows, paired=True) for d in numbers])
    return plain, paired, store.draw(0)[val_rows]


def _sampler(recipe: Recipe, ready: Prepared, labels: Tensor) -> Sampler:
    if recipe.sampler == "people":
        names = [ready.people.names[i] for i in np.unique(ready.people.labels[ready.split.train])]
        return PeopleBatches(
            labels.numpy(),
            people=ready.batch_people,
            photos=recipe.photos_per_person,
            batches=recipe.batches_per_epoch or None,
            repeat=recipe.repeat_photos,
            names=names,
        )
    return ShuffledBatches(len(labels), batch=recipe.batch, drop_last=recipe.free != "head")
