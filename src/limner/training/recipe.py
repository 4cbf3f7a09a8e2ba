"""Recipes: everything that a training of faces can be told, as one YAML file.

Unknown keys are refused with the nearest known one. `limner train recipes` lists those that
come with limner; any of them, or a file of one's own, goes to ``--recipe``.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_args

from limner.errors import InputError, UnknownNameError
from limner.training.extras import require

Task = Literal["classify", "embed"]
Free = Literal["head", "last_block", "all"]
Crop = Literal["auto", "facenet", "arcface", "dlib", "whole"]
_FOLDER = "recipes"
_POSITIVE = ("lr", "trunk_lr", "clip_norm")
_COUNTS = (
    *("epochs", "batch", "width", "hidden", "draws", "min_photos", "people_per_batch"),
    *("photos_per_person", "patience", "max_people", "batches_per_epoch"),
)
_CHOICES: dict[str, tuple[Any, ...]] = {
    "task": get_args(Task),
    "free": get_args(Free),
    "crop": get_args(Crop),
    "head_layers": (1, 2),
    "split": ("photo", "identity"),
    "precision": ("32", "bf16", "16"),
    "optimizer": ("adam", "adamw", "sgd"),
    "schedule": ("constant", "cosine", "one_cycle"),
    "sampler": ("shuffled", "people"),
}


@dataclass(frozen=True)
class Recipe:
    """One training of faces.

    Attributes:
        about: What it is for, in words.
        task: `classify` (who of these is it?) or `embed` (vectors that tell people apart).
        net: One of `limner nets`.
        fallbacks: Networks tried, in order, where the pretrained weights of `net` cannot be
            had.
        pretrained: Whether the trunk begins with trained weights.
        free: What trains: the `head` on cached features, the head and the trunk's
            `last_block`, or `all`.
        head_layers: Of a classifier: 1 or 2 linear layers.
        hidden: Width between two layers.
        dropout: Share dropped between two layers.
        width: Width of an embedding.
        loss: One of the losses by name.
        loss_options: Its options, such as `margin`.
        miner: Which triplets count, for a triplet loss; empty for all.
        miner_options: Its options.
        sampler: `shuffled` batches, or P x K `people` batches.
        batch: Chips in a shuffled batch.
        people_per_batch: P.
        photos_per_person: K.
        repeat_photos: Whether a person with fewer than K photos shows some twice.
        batches_per_epoch: Of the people sampler; 0 for as many as show about every photo.
        optimizer: `adam`, `adamw` or `sgd`.
        lr: Learning rate.
        trunk_lr: Rate of the trunk, where it trains; null for `lr`.
        weight_decay: Of matrices and kernels.
        schedule: `constant`, `cosine` or `one_cycle`.
        epochs: Epochs at most.
        patience: Epochs without a better figure before it stops; null for never.
        clip_norm: Largest norm of the gradient; null for any.
        precision: `32`, `bf16` or `16`.
        crop: How the face is cut: `facenet` (widened box), `arcface` or `dlib` (five
            landmarks), `whole` (the photo is the chip), `auto` (what the trunk was trained on).
        size_px: Side of a chip; null for what the network likes.
        smallest_crop: Augmentation: side of the smallest random crop, as a share.
        rotation_deg: Augmentation: largest turn.
        mirror: Augmentation: whether half of the chips are mirrored.
        erase: Augmentation: share of chips with a blanked rectangle.
        erase_area: Augmentation: largest rectangle, as a share of the chip.
        light: Augmentation: largest change of brightness and contrast.
        draws: With cached features: how many draws of the augmentation are computed.
        plain_draws: Whether the first two of them are the plain chip and its mirror image;
            otherwise all are augmented.
        sample_pairing: Whether chips are averaged in pairs between 20 and 80 % of the epochs.
        split: By `photo` (closed set) or `identity` (open set).
        train_share: Of the photos, or people.
        val_share: Likewise.
        test_share: Likewise.
        min_photos: People with fewer are left out.
        max_people: At most so many; null for all.
        guard: Whether a collapse of the embeddings is watched for.
        seed: Of everything.

    Raises:
        UnknownNameError: If a word is not known.
        InputError: If a value is out of range or contradicts another.
    """

    about: str = ""
    task: Task = "classify"
    net: str = "resnet50"
    fallbacks: tuple[str, ...] = ("efficientnet_lite0", "inception_resnet_v1")
    pretrained: bool = True
    free: Free = "head"
    head_layers: int = 1
    hidden: int = 256
    dropout: float = 0.4
    width: int = 128
    loss: str = "nll"
    loss_options: Mapping[str, Any] = field(default_factory=dict)
    miner: str = ""
    miner_options: Mapping[str, Any] = field(default_factory=dict)
    sampler: str = "shuffled"
    batch: int = 128
    people_per_batch: int = 16
    photos_per_person: int = 4
    repeat_photos: bool = False
    batches_per_epoch: int = 0
    optimizer: str = "adam"
    lr: float = 3e-3
    trunk_lr: float | None = None
    weight_decay: float = 1e-5
    schedule: str = "constant"
    epochs: int = 50
    patience: int | None = None
    clip_norm: float | None = None
    precision: str = "32"
    crop: Crop = "auto"
    size_px: int | None = None
    smallest_crop: float = 0.9
    rotation_deg: float = 10.0
    mirror: bool = True
    erase: float = 0.0
    erase_area: float = 0.33
    light: float = 0.0
    draws: int = 4
    plain_draws: bool = True
    sample_pairing: bool = False
    split: str = "photo"
    train_share: float = 0.6
    val_share: float = 0.2
    test_share: float = 0.2
    min_photos: int = 3
    max_people: int | None = None
    guard: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        for key, allowed in _CHOICES.items():
            if getattr(self, key) not in allowed:
                words = ", ".join(str(a) for a in allowed)
                raise UnknownNameError(f"{key} must be one of {words}, got {getattr(self, key)!r}.")
        for key in _POSITIVE:
            value = getattr(self, key)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise InputError(f"{key} must be a positive number, got {value!r}.")
        for key in _COUNTS:
            value = getattr(self, key)
            least = 0 if key == "batches_per_epoch" else 1
            if value is not None and value < least:
                raise InputError(f"{key} must be {least} or larger, got {value!r}.")
        margin = self.loss_options.get("margin")
        if isinstance(margin, int | float) and not margin > 0:
            raise InputError(f"margin must be larger than 0, got {margin!r}.")
        if self.sample_pairing and self.task != "classify":
            raise InputError("sample_pairing averages two people's faces; it is for classify only.")
        if self.free != "all" and not self.pretrained:
            raise InputError(
                f"free: {self.free} leaves the trunk as it is, which with pretrained: false is "
                "random; use free: all."
            )

    def to_json(self) -> dict[str, Any]:
        """Return the keys as plain values."""
        found = asdict(self)
        found["fallbacks"] = list(self.fallbacks)
        return found


KEYS: tuple[str, ...] = tuple(f.name for f in fields(Recipe))


def recipe_from(document: Mapping[str, Any], *, source: str) -> Recipe:
    """Build a recipe from plain values.

    Args:
        document: Keys of `Recipe`; those that are absent keep their default.
        source: Where it comes from, for messages.

    Raises:
        UnknownNameError: If a key is not known; the message names the nearest.
        InputError: If a value is of the wrong kind or out of range.
    """
    defaults = Recipe.__dataclass_fields__
    values: dict[str, Any] = {}
    for key, value in document.items():
        if key not in KEYS:
            near = difflib.get_close_matches(str(key), KEYS, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(KEYS)}."
            raise UnknownNameError(f"{source}: there is no key {key!r}; {hint}")
        values[key] = _as_kind(key, value, str(defaults[key].type), source)
    try:
        return Recipe(**values)
    except InputError as error:
        raise type(error)(f"{source}: {error}") from error


def _as_kind(key: str, value: Any, kind: str, source: str) -> Any:
    """Check a value's kind; YAML reads ``1e-5`` as text, which is meant as a number."""
    if value is None and "None" in kind:
        return None
    base = kind.removesuffix(" | None")
    if base == "float":
        try:
            return float(value)
        except (TypeError, ValueError):
            raise InputError(f"{source}: {key} must be a number, got {value!r}.") from None
    if base == "int":
        if isinstance(value, bool) or not isinstance(value, int):
            raise InputError(f"{source}: {key} must be a whole number, got {value!r}.")
        return value
    if base == "bool":
        if not isinstance(value, bool):
            raise InputError(f"{source}: {key} must be true or false, got {value!r}.")
        return value
    if base.startswith("tuple"):
        if isinstance(value, str) or not isinstance(value, list | tuple):
            raise InputError(f"{source}: {key} must be a list, got {value!r}.")
        return tuple(str(v) for v in value)
    if base.startswith("Mapping"):
        if not isinstance(value, Mapping):
            raise InputError(f"{source}: {key} must hold keys and values, got {value!r}.")
        return {str(k): _number(v) for k, v in value.items()}
    return str(value)


def _number(value: Any) -> Any:
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def recipe_names() -> list[str]:
    """Return the names of the recipes that come with limner."""
    folder = resources.files("limner.training") / _FOLDER
    names = [entry.name for entry in folder.iterdir() if entry.name.endswith(".yaml")]
    return sorted(name.removesuffix(".yaml") for name in names)


def read_recipe(name_or_path: str | Path, **changes: Any) -> Recipe:
    """Read a recipe that comes with limner, or a YAML file.

    Args:
        name_or_path: A name of `recipe_names()`, or a path.
        changes: Keys of `Recipe` that replace those of the file.

    Raises:
        UnknownNameError: If there is no such recipe or key.
        InputError: If the file cannot be read, is not YAML, or holds bad values.
        MissingExtraError: If PyYAML is not installed.
    """
    require("yaml")
    import yaml

    source = str(name_or_path)
    if source in recipe_names():
        text = (resources.files("limner.training") / _FOLDER / f"{source}.yaml").read_text("utf-8")
    else:
        path = Path(name_or_path)
        if not path.suffix and not path.exists():
            raise UnknownNameError(
                f"there is no recipe {source!r}; there are {', '.join(recipe_names())}, or give "
                "the path of a YAML file."
            )
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"the recipe {path} cannot be read: {error}.") from error
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"{source} is not YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(document, Mapping):
        raise InputError(f"{source} must hold keys and values, one a line.")
    return recipe_from({**document, **changes}, source=source)


def write_recipe(path: Path, recipe: Recipe) -> None:
    """Write a recipe as YAML."""
    import yaml

    path.write_text(yaml.safe_dump(recipe.to_json(), sort_keys=False, allow_unicode=True), "utf-8")


def change(recipe: Recipe, **changes: Any) -> Recipe:
    """Return a recipe with some keys changed."""
    return replace(recipe, **changes)
