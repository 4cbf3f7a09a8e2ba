"""Plots, contact sheet and report files; and the commands that make them."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from toy_models import ToyDetector, ToyEmbedder, make_folder, make_pairs
from typer.testing import CliRunner

from limner import images
from limner.cli import evaluate
from limner.cli.main import app
from limner.errors import InputError
from limner.evaluation import (
    PairsReport,
    contact,
    evaluate_identification,
    evaluate_pairs,
    plots,
    save_identification,
    save_pairs,
    score_pairs,
)
from limner.evaluation.curves import RateAt


@pytest.fixture
def people(tmp_path: Path) -> tuple[Path, Path]:
    counts = make_folder(tmp_path / "images", noise=25.0)
    return tmp_path / "images", make_pairs(tmp_path / "pairs.txt", counts)


@pytest.fixture
def report(people: tuple[Path, Path]) -> PairsReport:
    return evaluate_pairs(people[1], people[0], ToyEmbedder(), detector=ToyDetector())


def drawn(path: Path) -> np.ndarray:
    picture = images.read(path)
    assert (picture[0] > 250).all(), "the paper is white"
    assert len(np.unique(picture.astype(np.int64) @ [1, 256, 65536])) > 20
    return picture


def test_pairs_report(report: PairsReport, tmp_path: Path) -> None:
    files = save_pairs(report, tmp_path / "new" / "folder")
    assert [f.name for f in files] == [
        "report.json",
        "roc.png",
        "distances.png",
        "folds.png",
        "wrong.png",
    ]
    assert sorted(f.name for f in (tmp_path / "new/folder").iterdir()) == sorted(
        f.name for f in files
    )
    for path in files[1:]:
        drawn(path)
    document = json.loads(files[0].read_text())
    assert document["accuracy"] == report.scores.accuracy
    assert document["wrong"] == len(document["wrong_pairs"]) == int((~report.scores.right).sum())
    for pair in document["wrong_pairs"]:
        assert pair["same"] == (pair["distance"] > pair["threshold"])
    errors = [abs(p["distance"] - p["threshold"]) for p in document["wrong_pairs"]]
    assert errors == sorted(errors, reverse=True)
    assert errors


def test_identification_report(people: tuple[Path, Path], tmp_path: Path) -> None:
    found = evaluate_identification(people[0], ToyEmbedder(), detector=ToyDetector())
    files = save_identification(found, tmp_path / "report")
    assert json.loads(files[0].read_text())["rank1"] == found.scores.rank1
    drawn(files[1])


def test_a_folder_that_cannot_be_made(report: PairsReport, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match=r"the report folder .* cannot be made"):
        save_pairs(report, tmp_path / "file")


@pytest.mark.parametrize("wrong", [0, 1, 7, contact.MOST + 3])
def test_sheet_of_any_length(wrong: int, report: PairsReport) -> None:
    pairs = contact.wrong_pairs(
        dataclasses.replace(
            report,
            scores=dataclasses.replace(
                report.scores, right=np.arange(len(report.pairs)) >= min(wrong, 9)
            ),
        )
    )
    pairs = (pairs * (contact.MOST + 3))[:wrong]
    sheet = contact.draw_sheet(pairs, title="Wrong pairs", total=len(report.pairs))
    assert sheet.dtype == np.uint8
    assert sheet.shape[2] == 3
    rows = -(-min(wrong, contact.MOST) // contact._COLUMNS)
    assert sheet.shape[0] >= rows * contact._CHIP
    assert sheet.shape[1] < 2000


def test_the_sheet_shows_both_faces(report: PairsReport) -> None:
    pair = contact.wrong_pairs(report)[0]
    sheet = contact.draw_sheet([pair], title="Wrong pairs", total=9)
    for side in (0, 1):
        colour = images.read(pair.paths[side])
        x0, y0, x1, y1 = (int(v) for v in pair.boxes_xyxy[side])
        wanted = colour[(y0 + y1) // 2, (x0 + x1) // 2].astype(int)
        x = contact._MARGIN + side * (contact._CHIP + contact._GAP) + contact._CHIP // 2
        shown = sheet[contact._HEAD + contact._CHIP // 2, x].astype(int)
        assert np.abs(shown - wanted).max() <= 2


def test_captions() -> None:
    def captions(a: str, b: str, same: bool) -> list[str]:
        pair = contact.WrongPair(0, (a, b), (Path(), Path()), (None, None), same, 1.0, 0.5)
        return [text for _, text, _ in contact._captions(pair)]

    assert captions("Ann_Lee_0001", "Ann_Lee_0012", True) == ["Ann Lee 1 and 12"]
    assert captions("Ann_0001", "Bob_0003", False) == ["Ann 1", "Bob 3"]
    assert captions("a/x.jpg", "b/y.jpg", True) == ["a/x.jpg", "b/y.jpg"]


CASES = {
    "separated": (np.r_[np.zeros(50), np.ones(50)], np.arange(100) < 50),
    "all equal": (np.full(100, 0.7), np.arange(100) < 50),
    "upside down": (np.r_[np.ones(50), np.zeros(50)], np.arange(100) < 50),
    "few": (np.array([0.1, 0.9, 0.2, 0.8]), np.array([True, False, True, False])),
    "negative": (np.r_[-np.ones(50), np.linspace(-3, 0, 50)], np.arange(100) < 50),
}


@pytest.mark.parametrize("name", sorted(CASES))
def test_plots_of_odd_figures(name: str, tmp_path: Path) -> None:
    d, same = CASES[name]
    fold = np.arange(d.size) % 2 if d.size > 4 else np.array([0, 0, 1, 1])
    scores = score_pairs(d, same, fold, fars=(0.02, 0.2), resamples=50)
    plots.plot_roc(tmp_path / "a.png", d, same, scores.tar_at_far, title=name)
    plots.plot_distances(tmp_path / "b.png", d, same, float(scores.thresholds[0]), title=name)
    plots.plot_folds(tmp_path / "c.png", scores.accuracies, scores.thresholds, title=name)
    for letter in "abc":
        drawn(tmp_path / f"{letter}.png")


def test_plot_of_identification_without_any_stranger_accepted(tmp_path: Path) -> None:
    plots.plot_identification(
        tmp_path / "a.png",
        (np.zeros(0), np.zeros(0)),
        [RateAt(0.1, None, 0, note="not stated")],
        rank1=0.4,
        strangers=3,
        title="nothing",
        subtitle="at all",
    )
    drawn(tmp_path / "a.png")


def test_plots_leave_matplotlib_alone(tmp_path: Path) -> None:
    code = f"""
import sys, matplotlib
before = matplotlib.rcParams.copy()
from limner.evaluation import plots
plots.plot_folds({str(tmp_path / "a.png")!r}, [0.9, 1.0], [0.5, 0.5], title="x")
assert matplotlib.rcParams.copy() == before
print("matplotlib.pyplot" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "False", done.stderr


# --- commands ---------------------------------------------------------------------------


@pytest.fixture
def toy_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "_models", lambda *_: (ToyEmbedder(), ToyDetector()))


def run(*words: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["evaluate", *map(str, words)])
    return done.exit_code, done.stdout, done.stderr


@pytest.mark.usefixtures("toy_models")
def test_command_pairs(people: tuple[Path, Path], tmp_path: Path) -> None:
    words = ["pairs", "--images", people[0], "--pairs", people[1]]
    status, out, _ = run(*words, "--json")
    assert status == 0
    document = json.loads(out)
    assert document["pairs"] == 48
    assert document["files"] == []
    status, out, _ = run(*words, "-o", tmp_path / "report", "--cache", tmp_path / "cache")
    assert status == 0
    assert "accuracy" in out
    assert "over 4 folds" in out
    assert "rate 0.001 not stated: 24 different pairs cannot show" in out
    assert "wrong.png" in out
    assert (tmp_path / "report/wrong.png").exists()
    assert json.loads(run(*words, "--cache", tmp_path / "cache", "--json")[1])["cached"] is True


@pytest.mark.usefixtures("toy_models")
def test_command_identification(people: tuple[Path, Path], tmp_path: Path) -> None:
    words = ["identification", "--images", people[0]]
    status, out, _ = run(*words, "--json", "-o", tmp_path / "report")
    assert status == 0
    assert json.loads(out)["enrolled"] == 12
    status, out, _ = run(*words)
    assert status == 0
    assert "12 people enrolled from one photo, 12 strangers" in out


@pytest.mark.usefixtures("toy_models")
def test_command_fit(tmp_path: Path) -> None:
    counts = make_folder(tmp_path / "images", people=30, strangers=30)
    train = make_pairs(tmp_path / "train.txt", counts, folds=0, each=60)
    test = make_pairs(tmp_path / "test.txt", counts, folds=0, each=40, seed=1)
    target = tmp_path / "calibration.json"
    words = ["fit", "--images", tmp_path / "images", "--train", train, "--test", test]
    status, out, _ = run(*words, "-o", target)
    assert status == 0
    assert "squared_l2" in out
    assert f"written to {target}" in out
    from limner.similarity import Calibration

    assert Calibration.load(target).embedder_id == "toy-000000000000-p1"
    status, out, _ = run(*words, "-o", target, "--json")
    assert json.loads(out)["calibration"]["heads"].keys() >= {"cosine"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["pairs", "--images", "{images}", "--pairs", "{images}/none.txt"], "cannot be read"),
        (["pairs", "--images", "{images}/none", "--pairs", "{pairs}"], "is not a folder"),
        (["pairs", "--images", "{images}"], "Missing option"),
        (["identification", "--images", "{images}/none"], "does not exist"),
        (["fit", "--images", "{images}", "--train", "{pairs}", "-o", "{images}"], "is a folder"),
        (
            ["fit", "--images", "{images}", "--train", "{pairs}", "-o", "{images}/no/c.json"],
            "does not exist",
        ),
        (
            ["pairs", "--images", "{images}", "--pairs", "{pairs}", "-o", "{pairs}"],
            "would be written over",
        ),
    ],
)
@pytest.mark.usefixtures("toy_models")
def test_mistakes_are_one_line_and_status_2(
    words: list[str], message: str, people: tuple[Path, Path]
) -> None:
    filled = [w.format(images=people[0], pairs=people[1]) for w in words]
    status, out, error = run(*filled)
    assert status == 2
    assert out == ""
    assert message in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
