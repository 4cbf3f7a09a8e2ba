"""What `limner train` and `limner classify` say when they are asked wrongly, or for a list."""

from __future__ import annotations

import csv
import json

import pytest
from typer.testing import CliRunner

from limner.cli.main import app


def call(*words):
    return CliRunner().invoke(app, [str(w) for w in words])


def test_recipes_are_listed():
    found = json.loads(call("train", "recipes", "--json").stdout)["recipes"]
    names = [r["name"] for r in found]
    assert [n for n in names if n.startswith("notes-")] == [f"notes-{i}" for i in range(1, 6)]
    assert "frmodel" in call("train", "recipes").stdout


def test_report_shows_epochs_and_draws_curves(tmp_path):
    with open(tmp_path / "metrics.csv", "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(
            ["epoch", "step", "train_loss", "val_loss", "val_accuracy", "lr", "seconds"]
        )
        writer.writerows(
            [[e, e * 3, 2 / (e + 1), 2.2 / (e + 1), e / 40, 0.003, 1.0] for e in range(30)]
        )
    result = call("train", "report", tmp_path)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].split()[:2] == ["epoch", "train"]
    assert lines[-2].split()[0] == "30"  # the last epoch is always there
    assert (tmp_path / "curves.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "classify", "DIR", "--recipe", "notes-6"], "no recipe 'notes-6'"),
        (["train", "classify", "DIR", "--recipe", "head-128"], "for `limner train embed`"),
        (["train", "embed", "DIR", "--recipe", "notes-1"], "for `limner train classify`"),
        (["train", "classify", "DIR", "--set", "epochz=3"], "did you mean 'epochs'"),
        (["train", "classify", "DIR", "--set", "epochs"], "KEY=VALUE"),
        (["train", "classify", "DIR", "--lr", "0"], "lr must be a positive number"),
        (["train", "classify", "DIR/absent"], "does not exist"),
        (["train", "classify", "DIR"], "no folder of a person with photos"),
        (["train", "classify", "DIR", "--loss", "triplet"], "the loss triplet is for task embed"),
        (["train", "resume", "DIR"], "not the folder of a training"),
        (["train", "report", "DIR"], "not the folder of a training"),
        (["train", "push", "DIR", "me/x"], "is not a trained model"),
        (["train", "push", "DIR", "x"], "OWNER/NAME"),
        (["classify", "face", "a.jpg", "--model", "DIR"], "is not a trained model"),
        (["compare", "a.jpg", "b.jpg", "--embedder", "DIR"], "holds no trained embedder"),
    ],
)
def test_mistakes_are_one_sentence_and_status_2(tmp_path, words, message):
    (tmp_path / "dir").mkdir()
    spelled = [w.replace("DIR", str(tmp_path / "dir")) for w in words]
    if words[1] in ("classify", "embed") and words[0] == "train":
        spelled += ["-o", str(tmp_path / "mine")]
    result = call(*spelled)
    assert result.exit_code == 2, result.output
    assert message in " ".join(result.stderr.split())
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_folder_that_holds_a_training_is_not_written_over(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "run.json").write_text("{}")
    result = call("train", "classify", tmp_path, "-o", tmp_path / "mine")
    assert result.exit_code == 2
    assert "holds a training already" in result.stderr
    assert "limner train resume" in result.stderr
