"""Learn to tell volumes apart, such as CT scans, and say what a trained model sees in one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from limner.errors import InputError
from limner.training.array_files import UNKNOWN, Part
from limner.training.array_fit import ArrayRecipe, OnEpoch, OnStep
from limner.training.array_model import ArrayModel, Net, Scaling, load_model
from limner.training.array_report import Answer, ArrayReport, answer
from limner.training.array_run import asked_for
from limner.training.distort import VolumeDistortion
from limner.training.extras import require
from limner.training.samples import Layout, Samples, from_names, same_classes
from limner.training.series import describe_net, train_and_test
from limner.training.splits import leaks, split
from limner.training.volume_files import read_scan, read_volumes, volume_parts
from limner.training.volume_items import find_items
from limner.training.volume_options import VolumeOptions

EPOCHS, MEMBERS, WIDTH = 25, 1, 16
HOLD_OUT = 0.2

DEFAULT_RECIPE = ArrayRecipe(epochs=EPOCHS, distortion=VolumeDistortion())


def train_volumes(
    source: str | Path | Samples,
    *,
    test: str | Path | Samples | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    hold_out: float = HOLD_OUT,
    group: str | None = None,
    options: VolumeOptions | None = None,
    net: Net = "resnet",
    width: int = WIDTH,
    members: int = MEMBERS,
    embedding: int | None = None,
    depths: bool = False,
    scaling: Scaling = "training",
    recipe: ArrayRecipe = DEFAULT_RECIPE,
    resume: bool = False,
    seconds: float | None = None,
    device: str = "auto",
    on_epoch: OnEpoch | None = None,
    on_step: OnStep | None = None,
) -> ArrayReport:
    """Train a classifier (or an embedder) of volumes and test it.

    Args:
        source: As `read_volumes` takes it, or what it returned. A source with the parts
            ``train`` and ``test`` is trained on the one and tested on the other; its ``val``
            is left alone (use it as `test` to choose options).
        test: Test volumes of the same kind; ``val`` names that part of the source. Default:
            the source's own test part, else a share that is held out, class by class.
        seed: Of everything that is drawn.
        out: Folder for the model; None to write nothing.
        hold_out: Share of the source that is held out where there is no test data.
        group: What stays together then, as `limner.training.splits.split` takes it.
        options: How files are read.
        net: `resnet`, `frmodel` (the notes'), `nn4_small2`, or these with `_half`.
        width: Channels of the first stage of a `resnet`.
        members: How many networks are trained and answer together.
        embedding: Width of the embedding, for the losses that train one.
        depths: Whether the network also reads how far each voxel lies inside the body; for
            masks, whose shape is all there is.
        scaling: Whether `each` volume is scaled by itself or all by the `training` set.
        recipe: How to train. Where its distortion mirrors volumes, answers are averaged over
            the eight mirror images.
        resume: Go on where a training in `out` ended; the model is then bit for bit the one
            that an unbroken training gives.
        seconds: Stop after the epoch in which so much time has passed; None for never. The
            model is written as it is, and can be resumed.
        device: As `limner.device.resolve` takes it.
        on_epoch: Called with (member, epoch, figures) after each epoch.
        on_step: Called after each batch with (batches done, batches of the epoch).

    Returns:
        Model and figures.

    Raises:
        InputError: If the data or an option cannot be used.
        UnknownNameError: If a word is unknown.
        MissingExtraError: If `limner[train]` is not installed.
    """
    require("lightning")
    asked = asked_for(
        "volumes",
        source,
        test=test,
        seed=seed,
        hold_out=hold_out,
        group=group,
        options=options,
        net=net,
        width=width,
        members=members,
        embedding=embedding,
        scaling=scaling,
        recipe=recipe,
        seconds=seconds,
        device=device,
        depths=depths,
    )
    target = None if out is None else Path(out)
    asked.check(target, resume=resume)
    train, held, tested_on = _train_and_test(source, test, hold_out, group, options, seed)
    train, held = _fitting(train, held)
    if target is not None:
        asked.save(target, train, resume=resume)
    described = describe_net(train, asked.network(train))
    distortion = recipe.distortion
    flips = isinstance(distortion, VolumeDistortion) and set(distortion.flips) == set("dhw")
    return train_and_test(
        train,
        held,
        described,
        recipe,
        seed=seed,
        out=target,
        tested_on=tested_on,
        resume=resume,
        seconds=seconds,
        device=device,
        on_step=on_step,
        flips=flips and embedding is None,
        on_epoch=on_epoch,
    )


def _fitting(train: Samples, held: Samples) -> tuple[Samples, Samples]:
    """Return both sets with one list of classes, or say why they do not fit together."""
    held = same_classes(held, train.classes)
    if held.layout != train.layout:
        raise InputError(
            "of the training and the test volumes only one kind says how the body lies in it; "
            "give both as files that say it, or both as arrays."
        )
    train = replace(train, notes=(*train.notes, *leaks(train, held)))
    if held.shape != train.shape:
        raise InputError(
            f"the test volumes have {held.shape} channels and voxels, those for training "
            f"{train.shape}; choose one side for both."
        )
    return train, held


def _train_and_test(
    source: str | Path | Samples,
    test: str | Path | Samples | None,
    hold_out: float,
    group: str | None,
    options: VolumeOptions | None,
    seed: int,
) -> tuple[Samples, Samples, str]:
    """Return the training set, the test set and what the latter is, in words."""
    parts: tuple[Part, ...] = ()
    if isinstance(source, Samples):
        train = source
    else:
        parts = volume_parts(source)
        train = read_volumes(source, part="train" if "train" in parts else None, options=options)
    if isinstance(test, Samples):
        return train, test, "test data given"
    if test is not None:
        if test == "val" and "val" in parts and not isinstance(source, Samples):
            return train, read_volumes(source, part="val", options=options), "its val part"
        inner: Part | None = "test" if "test" in volume_parts(test) else None
        return train, read_volumes(test, part=inner, options=options), str(test)
    if "test" in parts and not isinstance(source, Samples):
        return train, read_volumes(source, part="test", options=options), "its test part"
    return split(train, hold_out, seed=seed, group=group)


def read_for(
    model: ArrayModel, source: str | Path, *, options: VolumeOptions | None = None
) -> Samples:
    """Read volumes for a model: a file, DICOM slices, a folder without labels, a labelled set.

    Raises:
        InputError: If the model is not one of volumes, or the source cannot be read.
    """
    if model.net.kind != "volumes":
        raise InputError(f"this model is one of {model.net.kind}; give one of volumes.")
    path = Path(source)
    how = replace(options or VolumeOptions(), side=model.net.shape[1])
    if path.is_dir() and not any(p.is_dir() for p in path.iterdir()):
        items, _ = find_items(path)
        loose = [item.path for item in items if not item.files]
        samples = _unlabelled(loose or [path], how)
    elif path.is_file() and path.suffix != ".npz":
        samples = _unlabelled([path], how)
    else:
        parts = volume_parts(path)
        samples = read_volumes(path, part="test" if "test" in parts else None, options=how)
    note = _orientation_note(samples.layout.orientation, model.net.layout.orientation)
    return replace(samples, notes=(*samples.notes, *note))


def _unlabelled(paths: Sequence[Path], how: VolumeOptions) -> Samples:
    scans = [read_scan(path, options=how) for path in paths]
    lies = {s.orientation for s in scans}
    samples = from_names(
        np.stack([s.values for s in scans]),
        [UNKNOWN] * len(scans),
        names=[p.name for p in paths],
        notes=[n for s in scans for n in s.notes],
    )
    return replace(samples, layout=Layout(orientation=lies.pop() if len(lies) == 1 else ""))


def _orientation_note(asked: str, trained: str) -> tuple[str, ...]:
    if asked == trained:
        return ()
    if trained:
        return (
            "how the body lies is not said by what was asked; the model was trained on volumes "
            "that say it, and its answer is wrong where the body lies otherwise.",
        )
    return (
        "the model was trained on volumes that do not say how the body lies; this one was turned "
        "to lie as limner reads them all, which need not be how those lay.",
    )


def classify_volume(
    model: ArrayModel | str | Path,
    source: str | Path | Samples | np.ndarray,
    *,
    options: VolumeOptions | None = None,
) -> list[Answer]:
    """Say of what class each volume is, and what in it spoke for that.

    Args:
        model: A trained model, or the folder it was written to.
        source: A volume file, a folder of DICOM slices, a set as `read_volumes` takes it
            (its test part, where it has one), or an array (D, H, W).
        options: How files are read; the side is the model's.

    Returns:
        One answer an item, with its class map of shape (D, H, W).

    Raises:
        InputError: If the source cannot be read, or the model is not one of volumes.
        ShapeError: If the volumes have other channels or sides than the model reads.
    """
    held = model if isinstance(model, ArrayModel) else load_model(model)
    if isinstance(source, np.ndarray):
        samples = from_names(np.asarray(source, np.float32)[None, None], [UNKNOWN], names=["array"])
    elif isinstance(source, Samples):
        samples = source
    else:
        samples = read_for(held, source, options=options)
    return answer(held, samples)
