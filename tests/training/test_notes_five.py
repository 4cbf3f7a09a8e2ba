"""The notes' five trainings: their table on both layouts, and what SamplePairing adds."""

from __future__ import annotations

import json
import math
import shutil

import numpy as np
import pytest
from toy_people import make_people
from typer.testing import CliRunner

from limner.cli.main import app
from limner.errors import InputError
from limner.training.notes_five import paired_gain

TINY = (
    *("--set", "net=nn4_small2_half", "--set", "pretrained=false", "--set", "free=all"),
    *("--set", "crop=whole", "--set", "size_px=32", "--set", "epochs=2", "--set", "batch=8"),
)


def call(*words):
    return CliRunner().invoke(app, [str(w) for w in words])


def practical_layout(root):
    """`data/train/NAME`, `data/val/NAME`, as the practical reads it; no test folder."""
    flat = make_people(root / "flat", people=2, photos=6)
    for person in sorted(flat.iterdir()):
        for number, photo in enumerate(sorted(person.iterdir())):
            side = "train" if number < 4 else "val"
            target = root / "data" / side / person.name / photo.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(photo, target)
    return root / "data"


def test_the_practicals_own_layout_gives_the_table(tmp_path):
    folder = practical_layout(tmp_path)
    result = call("train", "recipes", folder, "-o", tmp_path / "five", *TINY, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert [r["recipe"] for r in found["recipes"]] == [f"notes-{i}" for i in range(1, 6)]
    assert all(r["test_accuracy"] is None for r in found["recipes"])
    assert all(0 <= r["val_accuracy"] <= 1 for r in found["recipes"])
    gain = found["sample_pairing"]
    assert (gain["side"], gain["photos"], gain["seeds"]) == ("val", 4, 1)
    one, other = (r["val_accuracy"] for r in found["recipes"][3:])
    assert gain["difference"] == pytest.approx(other - one)
    assert gain["low"] <= gain["difference"] <= gain["high"]
    again = call("train", "recipes", folder, "-o", tmp_path / "five", *TINY)
    assert again.exit_code == 2
    assert "holds a training already" in again.stderr


def test_people_without_sides_and_two_seeds(tmp_path):
    folder = make_people(tmp_path / "people", people=3, photos=6)
    words = ("train", "recipes", folder, "-o", tmp_path / "five", "--seeds", 2, *TINY)
    result = call(*words)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "five" / "notes-5-seed-1" / "model.onnx").is_file()
    last = result.stdout.strip().splitlines()[-1]
    assert last.startswith("SamplePairing ")
    assert "95 % interval" in last
    assert "2 seeds" in last
    bad = call("train", "recipes", folder, "-o", tmp_path / "six", "--seeds", 0)
    assert bad.exit_code == 2
    assert "seeds must be 1 or larger, got 0" in bad.stderr


def test_the_interval_is_that_of_paired_differences():
    """Oracle: for many photos the interval is the normal one of the mean difference."""
    generator = np.random.default_rng(0)
    photos = [str(i) for i in range(2000)]
    plain = generator.random(2000) < 0.70
    paired = np.where(generator.random(2000) < 0.15, generator.random(2000) < 0.90, plain)
    gain = paired_gain(
        [dict(zip(photos, map(bool, paired), strict=True))],
        [dict(zip(photos, map(bool, plain), strict=True))],
        side="test",
    )
    difference = paired.astype(int) - plain.astype(int)
    half = 1.96 * difference.std() / math.sqrt(2000)
    assert gain.difference == pytest.approx(difference.mean())
    assert gain.low == pytest.approx(difference.mean() - half, abs=0.1 * half)
    assert gain.high == pytest.approx(difference.mean() + half, abs=0.1 * half)
    assert gain.words().startswith("SamplePairing helps here: +")


def test_seeds_that_say_the_same_do_not_narrow_the_interval():
    plain = {str(i): i % 3 > 0 for i in range(300)}
    paired = {k: v or int(k) % 11 == 0 for k, v in plain.items()}
    once = paired_gain([paired], [plain], side="val")
    thrice = paired_gain([paired] * 3, [plain] * 3, side="val")
    assert (once.low, once.high) == pytest.approx((thrice.low, thrice.high))
    none = paired_gain([plain], [plain], side="val")
    assert none.difference == none.low == none.high == 0
    assert "makes no difference that can be told from chance" in none.words()
    with pytest.raises(InputError, match="same held-out photos"):
        paired_gain([plain], [{"0": True}], side="val")
