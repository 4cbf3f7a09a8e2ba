"""What a training of series or volumes was asked for, so that it can go on where it ended."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from limner.errors import InputError
from limner.training.array_fit import CLASSIFIER_LOSSES, ArrayRecipe
from limner.training.array_model import ArrayNet
from limner.training.distort import SeriesDistortion, VolumeDistortion
from limner.training.losses import build_loss
from limner.training.miners import build_miner
from limner.training.model_folder import write_text
from limner.training.samples import Samples
from limner.training.series_options import SeriesOptions
from limner.training.volume_options import VolumeOptions

RUN = "run.json"
KINDS = ("series", "volumes")


@dataclass(frozen=True)
class Asked:
    """The words of one training, all of which are checked before any work.

    Attributes:
        kind: `series` or `volumes`.
        source: What is read; None for arrays that are given.
        keywords: Of `train_series` or `train_volumes`, without `out` and callbacks.
    """

    kind: str
    source: str | None
    keywords: dict[str, Any]

    def check(self, out: Path | None, *, resume: bool) -> None:
        """Refuse words and folders that cannot be used.

        Raises:
            InputError: If a number is out of range, words contradict each other, `out` holds a
                training already and is not to be resumed, or holds none and is.
            UnknownNameError: If a word is unknown.
        """
        from limner import device as devices

        given = self.keywords
        recipe: ArrayRecipe = given["recipe"]
        share = given["hold_out"]
        if not 0.0 < share < 1.0:
            raise InputError(f"the share that is held out must lie between 0 and 1, got {share}.")
        seconds = given["seconds"]
        if seconds is not None and not seconds > 0:
            raise InputError(f"the time must be longer than 0 seconds, got {seconds}.")
        for name in ("width", "members", "embedding"):
            if given[name] is not None and given[name] < 1:
                raise InputError(f"{name} must be 1 or larger, got {given[name]}.")
        shape = (1, 64) if self.kind == "series" else (1, 16, 16, 16)
        ArrayNet(
            kind=self.kind,  # type: ignore[arg-type]
            net=given["net"],
            shape=shape,
            classes=("a", "b"),
            scaling=given["scaling"],
        )
        check_loss(recipe, given["embedding"])
        devices.resolve(given["device"])
        held = out is not None and (out / RUN).exists()
        if held and not resume:
            raise InputError(
                f"{out} holds a training already: go on with `limner train resume {out}`, choose "
                "another folder with -o, or remove it."
            )
        if resume and out is None:
            raise InputError("there is nothing to resume without the folder of a training.")

    def network(self, train: Samples) -> ArrayNet:
        """Return the network that was asked for, as the training set needs it."""
        given = self.keywords
        dropout = 0.2 if self.kind == "series" else 0.3
        return ArrayNet(
            kind=self.kind,  # type: ignore[arg-type]
            net=given["net"],
            shape=train.shape,
            classes=train.classes,
            width=given["width"],
            embedding=given["embedding"],
            members=given["members"],
            depths=given.get("depths", False),
            scaling=given["scaling"],
            dropout=dropout if given["net"] == "resnet" else 0.0,
            layout=train.layout,
            several=train.several is not None,
        )

    def save(self, out: Path, train: Samples, *, resume: bool) -> None:
        """Write `RUN`; of one that is resumed, check that its data are the same.

        Raises:
            InputError: If the data differ, or the file cannot be written.
        """
        digest = digest_of(train)
        if resume and (out / RUN).exists():
            if _read(out).get("digest") != digest:
                raise InputError(
                    f"the data of {out} are no longer those that it was trained on, so that it "
                    "cannot go on; begin anew in another folder."
                )
            return
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{out} cannot be used: {error.strerror or error}.") from error
        values = dict(self.keywords)
        for name in ("options", "recipe"):
            values[name] = None if values[name] is None else asdict(values[name])
        document = {"kind": self.kind, "source": self.source, "digest": digest, "keywords": values}
        write_text(out / RUN, json.dumps(document, indent=1, default=str) + "\n")


def asked_for(kind: str, source: Any, *, test: Any, **keywords: Any) -> Asked:
    """Return what is asked for; arrays that are given have no place on the disk.

    Args:
        kind: `series` or `volumes`.
        source: A path, or `Samples`.
        test: Likewise, or None, or ``val``.
        keywords: The others of `train_series` or `train_volumes`.
    """
    files = not isinstance(source, Samples) and not isinstance(test, Samples)
    place = str(Path(source).absolute()) if files else None
    options = keywords["options"]
    if isinstance(options, SeriesOptions) and options.labels is not None:
        keywords["options"] = replace(options, labels=options.labels.absolute())
    tested = None if test is None or isinstance(test, Samples) else str(test)
    if tested is not None and Path(tested).exists():
        tested = str(Path(tested).absolute())
    return Asked(kind, place, {"test": tested, **keywords})


def check_loss(recipe: ArrayRecipe, embedding: int | None) -> None:
    """Refuse a loss or miner that is unknown, or that does not fit the network.

    Raises:
        InputError: If a classifier's loss gets an embedding's width, or the other way round.
        UnknownNameError: If there is no such loss or miner.
    """
    if recipe.loss != "nll":
        build_loss(recipe.loss, classes=2, dim=embedding or 2)
    if recipe.loss == "triplet":
        build_miner(recipe.miner)
    if (recipe.loss in CLASSIFIER_LOSSES) != (embedding is None):
        raise InputError(
            f"the {recipe.loss} loss trains {'a classifier' if embedding else 'an embedding'}; "
            f"{'leave the embedding out' if embedding else 'give its width'}."
        )


def digest_of(samples: Samples) -> str:
    """Return a digest of values and labels."""
    found = hashlib.sha256(np.ascontiguousarray(samples.values).data)
    found.update(np.ascontiguousarray(samples.labels).data)
    found.update("\0".join(samples.classes).encode())
    return found.hexdigest()


def is_array_run(out: Path) -> bool:
    """Tell whether a folder is that of a training of series or volumes."""
    try:
        return json.loads((out / RUN).read_text("utf-8")).get("kind") in KINDS
    except (OSError, ValueError, AttributeError):
        return False


def open_run(out: Path) -> Asked:
    """Read what a training was asked for.

    Raises:
        InputError: If the folder is not that of a training of series or volumes from files.
    """
    document = _read(out)
    if document.get("kind") not in KINDS or document.get("source") is None:
        raise InputError(f"{out} is no training of files of series or volumes.")
    values = dict(document["keywords"])
    series = document["kind"] == "series"
    recipe = dict(values["recipe"])
    if recipe["distortion"] is not None:
        kind = SeriesDistortion if series else VolumeDistortion
        recipe["distortion"] = kind(**recipe["distortion"])
    values["recipe"] = ArrayRecipe(**recipe)
    if values["options"] is not None:
        options: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in values["options"].items()
        }
        if options.get("labels") is not None:
            options["labels"] = Path(options["labels"])
        values["options"] = (SeriesOptions if series else VolumeOptions)(**options)
    return Asked(document["kind"], document["source"], values)


def _read(out: Path) -> dict[str, Any]:
    try:
        document = json.loads((out / RUN).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{out} is not the folder of a training: it holds no {RUN}.") from error
    return dict(document)
