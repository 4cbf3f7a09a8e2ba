"""Small folders, equal epochs, and the row "before training"."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from toy_people import make_people, no_tell
from typer.testing import CliRunner

from limner.cli.main import app
from limner.errors import InputError
from limner.similarity import error_curve
from limner.training.checkpoints import KeepCheckpoints
from limner.training.fit import Run, build_module, open_run, train_people
from limner.training.prepare import prepare
from limner.training.recipe import Recipe, read_recipe
from limner.training.sampler import PeopleBatches
from limner.training.untrained import (
    eer_with_interval,
    share_interval,
    trunk_features,
    untrained_figures,
)

TINY = Recipe(
    net="nn4_small2_half",
    pretrained=False,
    free="all",
    crop="whole",
    size_px=32,
    epochs=1,
    batch=8,
)


def test_the_default_recipe_fits_its_batch_to_ten_people(shared_data, tmp_path):
    """`limner train embed DIR` under 20 people: the default recipe wants 16 of them a batch."""
    recipe = read_recipe("head-128", epochs=2)
    assert recipe.people_per_batch == 16
    folder = shared_data / "groups" / "dlib" / "johns"
    out = tmp_path / "mine"
    result = CliRunner().invoke(
        app, ["train", "embed", str(folder), "-o", str(out), "--epochs", "2", "--set", "draws=1"]
    )
    assert result.exit_code == 0, result.output
    assert "a batch holds 3 people, not 16: no more train." in " ".join(result.stderr.split())
    figures = json.loads((out / "model.json").read_text())["figures"]
    low, high = figures["intervals"]["val_eer_before"]
    assert low <= figures["val_eer_before"] <= high
    assert "before training" in (out / "README.md").read_text()


def test_the_sampler_says_which_option_lowers_the_batch():
    with pytest.raises(InputError, match="--set people_per_batch=4"):
        PeopleBatches(np.repeat(np.arange(4), 3), people=16, photos=2)


def test_of_equal_epochs_the_later_is_kept(tmp_path):
    """As the practical: `if valid_loss <= valid_loss_min`."""
    keep = KeepCheckpoints(tmp_path, monitor="val_eer", mode="min", every_steps=None, every_s=None)

    class Trainer:
        current_epoch = 0
        is_global_zero = False

    for epoch, value in enumerate([0.3, 0.1, 0.1, 0.2]):
        Trainer.current_epoch = epoch
        keep._keep_best(Trainer(), None, value)  # type: ignore[arg-type]
    assert (keep.best_value, keep.best_epoch) == (0.1, 2)


def test_the_gallerys_accuracy_is_that_of_the_nearest_photo(tmp_path):
    folder = make_people(tmp_path / "people", people=4, photos=8)
    ready = prepare(TINY, folder, cache=None, tell=no_tell)
    module = build_module(ready, steps=1)
    with torch.no_grad():  # averages that suit such chips: else all features are alike
        for _ in range(20):
            chips = torch.from_numpy(ready.pixels).permute(0, 3, 1, 2).float()
            module.net(module.prepare(chips))
    features = trunk_features(ready, module, cache=None, tell=no_tell)
    found = untrained_figures(ready, features)
    labels = ready.people.labels
    module.eval()
    with torch.no_grad():  # the oracle: photo by photo, in plain loops
        rows = module.net.features(module.prepare(chips))
        unit = [(r / r.norm()).tolist() for r in rows]
    right = []
    for i in ready.split.test:
        near = max(
            ready.split.train,
            key=lambda j: sum(a * b for a, b in zip(unit[i], unit[j], strict=True)),
        )
        right.append(labels[near] == labels[i])
    assert found["test_accuracy_gallery"] == pytest.approx(np.mean(right))
    done = train_people(TINY, Run(folder, tmp_path / "mine"))
    assert set(done.figures["intervals"]) >= {"test_accuracy", "test_accuracy_gallery"}


def test_intervals_hold_what_they_should():
    generator = np.random.default_rng(0)
    held = 0
    for _ in range(200):
        low, high = share_interval(generator.random(60) < 0.8)
        held += low <= 0.8 <= high
    assert 182 <= held <= 200
    rows = torch.from_numpy(generator.normal(size=(60, 4)).astype(np.float32))
    labels = np.arange(60) % 10
    rows += 1.5 * torch.from_numpy(generator.normal(size=(10, 4)).astype(np.float32))[labels]
    value, (low, high) = eer_with_interval(rows, labels)
    unit = (rows / rows.norm(dim=1, keepdim=True)).double().numpy()
    first, second = np.triu_indices(60, 1)
    squared = np.square(unit[first] - unit[second]).sum(1)
    wanted = error_curve(squared, labels[first] == labels[second]).equal_error_rate()
    assert value == pytest.approx(wanted, abs=1e-6)
    assert low < value < high
    assert eer_with_interval(rows[:3], np.arange(3)) is None


def test_a_loss_is_not_changed_on_the_way(tmp_path):
    folder = make_people(tmp_path / "people", people=3, photos=6)
    train_people(replace(TINY, epochs=1), Run(folder, tmp_path / "mine"))
    path = tmp_path / "mine" / "recipe.yaml"
    document = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**document, "task": "embed", "loss": "center"}))
    with pytest.raises(InputError, match="center loss belongs to a training from its beginning"):
        open_run(tmp_path / "mine")
    path.write_text(yaml.safe_dump({**document, "loss": "focal"}))
    with pytest.raises(InputError, match="began with the loss nll, but its"):
        open_run(tmp_path / "mine")
