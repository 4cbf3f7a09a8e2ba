"""Plain and residual networks on small pictures: what is trained, measured and drawn."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from toy_people import make_people
from typer.testing import CliRunner

from limner import images
from limner.cli.main import app
from limner.errors import InputError
from limner.training.degradation import digits, train_depths

RESULTS = Path(__file__).resolve().parents[2] / "bench" / "results" / "degradation.json"


def test_digits_are_split_and_normalised():
    pictures = digits()
    assert pictures.train.shape == (1347, 1, 8, 8)
    assert pictures.val.shape == (450, 1, 8, 8)
    assert float(pictures.train.mean()) == pytest.approx(0, abs=1e-5)
    assert float(pictures.train.std()) == pytest.approx(1, abs=1e-4)
    assert sorted(set(pictures.val_labels.tolist())) == list(range(10))


def test_shallow_networks_learn_and_a_seed_repeats_them():
    found = train_depths(digits(), layers=(8,), epochs=3, rate=0.1)
    assert list(found) == ["plain-8", "ResNet-8"]
    for rows in found.values():
        assert [row["epoch"] for row in rows] == [1, 2, 3]
        assert rows[-1]["val_error"] < 0.3
        assert rows[-1]["train_loss"] < rows[0]["train_loss"]
    torch.rand(1)
    again = train_depths(digits(), layers=(8,), epochs=3, rate=0.1)
    assert again["plain-8"][-1]["train_error"] == found["plain-8"][-1]["train_error"]
    with pytest.raises(InputError, match="6 n"):
        train_depths(digits(), layers=(21,), epochs=1)


def test_the_command_reads_a_folder_and_draws(tmp_path):
    folder = make_people(tmp_path / "kinds", people=3, photos=8)
    words = ["nets", "degradation", str(folder), "--layers", "8", "--epochs", "2", "--batch", "4"]
    picture = tmp_path / "errors.png"
    result = CliRunner().invoke(app, [*words, "--side", "16", "--draw", str(picture), "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["pictures"] == "24 pictures of 3 kinds, 16 x 16"
    assert set(found["networks"]) == {"plain-8", "ResNet-8"}
    assert images.read(picture).std() > 5
    bad = CliRunner().invoke(app, ["nets", "degradation", "--layers", "deep"])
    assert bad.exit_code == 2
    assert "wants numbers such as 20,56" in bad.stderr


def test_what_was_measured_shows_degradation():
    """The committed run: the deeper plain network has the larger error in training, too."""
    last = {n: rows[-1] for n, rows in json.loads(RESULTS.read_text())["networks"].items()}
    assert last["plain-56"]["train_error"] > 3 * last["plain-20"]["train_error"]
    assert last["ResNet-56"]["train_error"] < last["plain-56"]["train_error"] / 3
