"""Learn to tell series apart, such as heart beats, and say what a trained model sees in one."""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from limner.errors import InputError
from limner.training.alike import fit_head
from limner.training.array_fit import ArrayRecipe, OnEpoch, OnStep, fit_model
from limner.training.array_model import ArrayModel, ArrayNet, Net, Scaling, load_model
from limner.training.array_report import Answer, ArrayReport, answer, figures_of
from limner.training.array_run import asked_for
from limner.training.distort import SeriesDistortion
from limner.training.extras import require
from limner.training.samples import Samples, same_classes
from limner.training.series_files import find_test_file, read_series
from limner.training.series_options import SeriesOptions
from limner.training.splits import leaks, split

EPOCHS, MEMBERS, WIDTH = 30, 2, 16
SHIFT_SHARE = 0.03
HOLD_OUT = 0.2

DEFAULT_RECIPE = ArrayRecipe(epochs=EPOCHS, distortion=SeriesDistortion())


def train_series(
    source: str | Path | Samples,
    *,
    test: str | Path | Samples | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    hold_out: float = HOLD_OUT,
    group: str | None = None,
    options: SeriesOptions | None = None,
    net: Net = "resnet",
    width: int = WIDTH,
    members: int = MEMBERS,
    embedding: int | None = None,
    scaling: Scaling = "each",
    recipe: ArrayRecipe = DEFAULT_RECIPE,
    resume: bool = False,
    seconds: float | None = None,
    device: str = "auto",
    on_epoch: OnEpoch | None = None,
    on_step: OnStep | None = None,
) -> ArrayReport:
    """Train a classifier (or an embedder) of series and test it.

    Args:
        source: As `read_series` takes it, or what it returned.
        test: Test series of the same kind. Default: the ``*_TEST`` file beside a UCR
            ``*_TRAIN`` file; without one, a part of the source that is held out.
        seed: Of everything that is drawn.
        out: Folder for the model; None to write nothing.
        hold_out: Share of the source that is held out where there is no test data.
        group: What stays together then, as `limner.training.splits.split` takes it.
        options: How files are read.
        net: `resnet`, `frmodel` (the notes'), `nn4_small2`, or these with `_half`.
        width: Channels of the first stage of a `resnet`.
        members: How many networks are trained and answer together.
        embedding: Width of the embedding, for the losses that train one.
        scaling: Whether `each` series is scaled by itself, lead by lead, or all by the
            `training` set.
        recipe: How to train.
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
        "series",
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
    )
    target = None if out is None else Path(out)
    asked.check(target, resume=resume)
    train, held, tested_on = _data(source, test, hold_out, group, options, seed)
    if target is not None:
        asked.save(target, train, resume=resume)
    described = describe_net(train, asked.network(train))
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
        on_epoch=on_epoch,
    )


def _data(
    source: str | Path | Samples,
    test: str | Path | Samples | None,
    hold_out: float,
    group: str | None,
    options: SeriesOptions | None,
    seed: int,
) -> tuple[Samples, Samples, str]:
    """Return the training set, the test set and what the latter is, in words."""
    train = source if isinstance(source, Samples) else read_series(source, options=options)
    if test is None and not isinstance(source, Samples):
        test = find_test_file(source)
    if test is None:
        train, held, tested_on = split(train, hold_out, seed=seed, group=group)
    else:
        held = _test_set(test, train, options)
        tested_on = "test data given" if isinstance(test, Samples) else str(test)
    held = same_classes(held, train.classes)
    train = replace(train, notes=(*train.notes, *leaks(train, held)))
    if held.shape != train.shape:
        raise InputError(
            f"the test series have {held.shape} leads and samples, those for training "
            f"{train.shape}; make them equal, or ask for shorter series to be padded."
        )
    return train, held, tested_on


def _test_set(test: str | Path | Samples, train: Samples, options: SeriesOptions | None) -> Samples:
    """Return test data that was read as the training data was."""
    if not isinstance(test, Samples) and train.layout.leads:
        options = replace(options or SeriesOptions(), leads=train.layout.leads)
    held = test if isinstance(test, Samples) else read_series(test, options=options)
    if train.layout.item and held.layout.item and train.layout != held.layout:
        ours, theirs = train.layout, held.layout
        raise InputError(
            f"the test records are {theirs.item} of {', '.join(theirs.leads)} at "
            f"{theirs.rate_hz:g} Hz, those for training {ours.item} of {', '.join(ours.leads)} at "
            f"{ours.rate_hz:g} Hz; choose common leads with --leads and one --cut."
        )
    if held.several is None and train.several is not None:
        several = np.eye(held.kinds, dtype=np.bool_)[held.labels]
        held = replace(held, several=several)
    return held


def describe_net(train: Samples, net: ArrayNet) -> ArrayNet:
    """Return the network with the training set's mean and deviation, where it scales by them."""
    if net.scaling == "each":
        return net
    axes = (0, *range(2, train.values.ndim))
    mean, std = (
        train.values.mean(axis=axes, dtype=np.float64),
        train.values.std(axis=axes, dtype=np.float64),
    )
    return replace(net, mean=tuple(map(float, mean)), std=tuple(map(float, std)))


def train_and_test(
    train: Samples,
    test: Samples,
    net: ArrayNet,
    recipe: ArrayRecipe,
    *,
    seed: int,
    out: Path | None,
    tested_on: str,
    flips: bool = False,
    resume: bool = False,
    seconds: float | None = None,
    device: str = "auto",
    on_epoch: OnEpoch | None = None,
    on_step: OnStep | None = None,
) -> ArrayReport:
    """Train a model, measure it on a test set, and write it where that is asked for."""
    began = time.perf_counter()
    losses: dict[int, float] = {}

    def remember(member: int, epoch: int, row: dict[str, float]) -> None:
        losses[member] = row.get("train_loss", float("nan"))
        if on_epoch is not None:
            on_epoch(member, epoch, row)

    with tempfile.TemporaryDirectory(prefix="limner-") as scratch:
        model, stopped = fit_model(
            train,
            net,
            recipe,
            seed=seed,
            out=Path(scratch) if out is None else out,
            scratch=out is None,
            flips=flips,
            resume=resume,
            seconds=seconds,
            device=device,
            on_epoch=remember,
            on_step=on_step,
        )
    figures = figures_of(model, test)
    model = replace(
        model,
        figures={**figures.to_json(), "tested_on": tested_on},
        head=None if net.several else fit_head(model, test, seed=seed),
    )
    if out is not None:
        model.save(out)
    return ArrayReport(
        model=model,
        figures=figures,
        test=test,
        train_counts=train.counts(),
        tested_on=tested_on,
        seed=seed,
        epochs=recipe.epochs,
        loss=float(np.mean(list(losses.values()))) if losses else None,
        seconds=time.perf_counter() - began,
        out=out,
        notes=(*train.notes, *([stopped] if stopped else [])),
    )


def read_for(
    model: ArrayModel, source: str | Path, *, options: SeriesOptions | None = None
) -> Samples:
    """Read series for a model; labels may be missing, and shorter ones padded by option.

    Raises:
        InputError: If the model is not one of series, or the source cannot be read.
    """
    if model.net.kind != "series":
        raise InputError(f"this model is one of {model.net.kind}; give one of series.")
    shape, layout = model.net.shape, model.net.layout
    return read_series(source, options=options, length=shape[1], layout=layout)


def classify_series(
    model: ArrayModel | str | Path,
    source: str | Path | Samples,
    *,
    options: SeriesOptions | None = None,
) -> list[Answer]:
    """Say of what class each series is, and what in it spoke for that.

    Args:
        model: A trained model, or the folder it was written to.
        source: As `read_series` takes it; labels may be missing.
        options: How files are read.

    Returns:
        One answer an item, with its class map of shape (L,).

    Raises:
        InputError: If the source cannot be read, or the model is not one of series.
        ShapeError: If the series have another length or number of leads than the model reads.
    """
    held = model if isinstance(model, ArrayModel) else load_model(model)
    samples = source if isinstance(source, Samples) else read_for(held, source, options=options)
    return answer(held, samples)
