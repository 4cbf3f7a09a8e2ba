"""Trainings of signals and volumes go on exactly where they ended, and check their words first."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from toy_arrays import toy_series, toy_volumes, write_ucr

from limner.errors import InputError, LimnerError
from limner.training.array_fit import ArrayRecipe
from limner.training.array_model import load_model
from limner.training.array_run import open_run
from limner.training.distort import SeriesDistortion, VolumeDistortion
from limner.training.series import train_series
from limner.training.series_options import SeriesOptions
from limner.training.volumes import train_volumes

RECIPE = ArrayRecipe(epochs=4, batch=16, rate=1e-2, distortion=SeriesDistortion(shift=2))


class Broken(Exception):
    pass


def breaks(member, epoch):
    """Return a callback that ends the training as a crash does."""

    def told(number, at, row):
        if (number, at) == (member, epoch):
            raise Broken

    return told


def same_weights(a, b):
    for one, other in zip(a.members, b.members, strict=True):
        left, right = one.state_dict(), other.state_dict()
        assert left.keys() == right.keys()
        assert all(torch.equal(left[k], right[k]) for k in left)
    assert np.array_equal(a.reference, b.reference)


@pytest.mark.parametrize("where", [(0, 1), (1, 0), (1, 3)])
@pytest.mark.parametrize("loss", ["nll", "triplet"])
def test_a_broken_training_of_series_ends_with_the_same_weights(tmp_path, where, loss):
    samples = toy_series(64)
    words = {
        "test": toy_series(20, seed=9),
        "recipe": replace(RECIPE, loss=loss),
        "embedding": None if loss == "nll" else 8,
        "width": 4,
        "members": 2,
    }
    whole = train_series(samples, **words)
    with pytest.raises(Broken):
        train_series(samples, out=tmp_path / "run", on_epoch=breaks(*where), **words)
    steps = []
    resumed = train_series(
        samples, out=tmp_path / "run", resume=True, on_step=lambda *at: steps.append(at), **words
    )
    same_weights(whole.model, resumed.model)
    member, epoch = where  # the epoch that broke has no checkpoint yet, so it is trained again
    assert len(steps) == 4 * (4 * (1 - member) + 4 - epoch)
    assert resumed.figures.to_json() == whole.figures.to_json()


def test_a_broken_training_of_volumes_ends_with_the_same_weights(tmp_path):
    recipe = ArrayRecipe(epochs=3, batch=10, rate=1e-2, distortion=VolumeDistortion(shift=1))
    words = {"test": toy_volumes(8, seed=9), "recipe": recipe, "width": 4, "members": 1}
    whole = train_volumes(toy_volumes(20), **words)
    with pytest.raises(Broken):
        train_volumes(toy_volumes(20), out=tmp_path, on_epoch=breaks(0, 0), **words)
    resumed = train_volumes(toy_volumes(20), out=tmp_path, resume=True, **words)
    same_weights(whole.model, resumed.model)


def test_the_clock_stops_it_and_resume_goes_on(tmp_path):
    words = {"test": toy_series(20, seed=9), "recipe": RECIPE, "width": 4, "members": 2}
    whole = train_series(toy_series(64), **words)
    stopped = train_series(toy_series(64), out=tmp_path, seconds=1e-6, **words)
    assert "the time was up after epoch 1 of 4 of network 1 of 2." in stopped.notes
    assert len(load_model(tmp_path).members) == 1
    resumed = train_series(toy_series(64), out=tmp_path, resume=True, **words)
    same_weights(whole.model, resumed.model)
    same_weights(whole.model, load_model(tmp_path))


def test_words_are_checked_before_anything_is_read(tmp_path):
    absent = tmp_path / "absent.txt"
    for change, words in (
        ({"recipe": replace(RECIPE, loss="arcfase"), "embedding": 4}, "loss must be one of"),
        ({"recipe": replace(RECIPE, loss="triplet", miner="hardest"), "embedding": 4}, "miner"),
        ({"net": "vgg"}, "net must be one of"),
        ({"hold_out": 1.5}, "between 0 and 1"),
        ({"seconds": 0}, "longer than 0 seconds"),
        ({"members": 0}, "members must be 1"),
        ({"device": "gpu"}, "device must be 'auto'"),
        ({"resume": True}, "nothing to resume"),
    ):
        with pytest.raises(LimnerError, match=words):
            train_series(absent, **{"recipe": RECIPE, **change})


def test_what_was_asked_for_is_kept_whole_and_other_data_are_refused(tmp_path):
    source = write_ucr(tmp_path / "toy_TRAIN.txt", toy_series(40))
    recipe = replace(RECIPE, epochs=1, smoothing=0.01)
    how = SeriesOptions(classes=("1", "2"), gaps="fill")
    out = tmp_path / "mine"
    train_series(source, out=out, recipe=recipe, options=how, members=1, width=4, seed=3)
    asked = open_run(out)
    assert asked.kind == "series"
    assert asked.source == str(source)
    assert asked.keywords["recipe"] == recipe
    assert asked.keywords["options"] == how
    with pytest.raises(InputError, match=r"holds a training already.*limner train resume"):
        train_series(source, out=out, recipe=recipe, options=how)
    write_ucr(source, toy_series(40, seed=5))
    with pytest.raises(InputError, match="no longer those that it was trained on"):
        train_series(asked.source, out=out, resume=True, **asked.keywords)
    (out / "run.json").write_text(json.dumps({"kind": "other"}))
    with pytest.raises(InputError, match="is no training of files"):
        open_run(out)


def test_ctrl_c_and_resume_on_the_command_line(tmp_path):
    """The process is interrupted in its first network, and the resumed model is the whole one's."""
    source = write_ucr(tmp_path / "toy_TRAIN.txt", toy_series(200))
    words = ["train", "series", source, "--epochs", "12", "--width", "4", "--members", "2"]

    def limner(*arguments):
        code = "from limner.cli.entry import run; run()"
        command = [sys.executable, "-c", code, *map(str, arguments), "--device", "cpu"]
        return subprocess.Popen(
            command[: -2 if "resume" in map(str, arguments) else None],
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "LIMNER_THREADS": "1"},
        )

    running = limner(*words, "-o", tmp_path / "mine")
    last = tmp_path / "mine" / "member_0" / "last.ckpt"
    until = time.monotonic() + 90
    while not last.exists() and time.monotonic() < until and running.poll() is None:
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=90)
    assert running.returncode == 130, said
    assert f"`limner train resume {tmp_path / 'mine'}` goes on" in said
    for arguments in (("train", "resume", tmp_path / "mine"), (*words, "-o", tmp_path / "whole")):
        done = limner(*arguments)
        out, said = done.communicate(timeout=180)
        assert done.returncode == 0, said
        assert "accuracy" in out
    same_weights(load_model(tmp_path / "mine"), load_model(tmp_path / "whole"))
