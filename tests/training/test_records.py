"""WFDB records: leads by name, rates, R peaks that are found, labels of whole records."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from limner.errors import InputError
from limner.training.array_fit import ArrayRecipe
from limner.training.array_model import load_model
from limner.training.array_report import measure_several
from limner.training.series import classify_series, read_for, train_series
from limner.training.series_files import read_series
from limner.training.series_options import SeriesOptions

wfdb = pytest.importorskip("wfdb")

RATE = 125
BEATS_S = np.arange(1.5, 28, 0.9)


def ecg(*, wide: bool = False, rate: int = RATE, seed: int = 0, seconds: float = 30) -> np.ndarray:
    """A lead with an R peak at every one of `BEATS_S`, narrow or wide, and a T wave."""
    t = np.arange(round(seconds * rate)) / rate
    width = 0.05 if wide else 0.015
    signal = sum(np.exp(-(((t - b) / width) ** 2)) for b in BEATS_S)
    signal += sum(0.25 * np.exp(-(((t - b - 0.25) / 0.06) ** 2)) for b in BEATS_S)
    return signal + 0.02 * np.random.default_rng(seed).standard_normal(len(t))


def write(folder, name, leads, *, rate=RATE, symbols=None, comments=()):
    """Write a record by wfdb; `leads` are signals by name."""
    folder.mkdir(parents=True, exist_ok=True)
    wfdb.wrsamp(
        name,
        fs=rate,
        units=["mV"] * len(leads),
        sig_name=list(leads),
        p_signal=np.stack(list(leads.values()), axis=1),
        fmt=["16"] * len(leads),
        comments=list(comments),
        write_dir=str(folder),
    )
    if symbols is not None:
        places = np.round(BEATS_S * rate).astype(int)
        wfdb.wrann(name, "atr", places, symbols, write_dir=str(folder))
    return folder / name


def test_leads_are_matched_by_their_names(tmp_path):
    first, second = ecg(seed=1), -2 * ecg(seed=2)
    marks = ["N"] * len(BEATS_S)
    write(tmp_path, "a", {"MLII": first, "V5": second}, symbols=marks)
    write(tmp_path, "b", {"V5": second, "MLII": first}, symbols=marks)
    write(tmp_path, "c", {"MLII": first, "V5": second}, symbols=marks)
    read = read_series(tmp_path)
    a, b = (read.values[[g == name for g in read.groups]] for name in "ab")
    assert np.allclose(a, b, atol=2e-3)
    assert read.layout.leads == ("MLII", "V5")
    assert read.layout.rate_hz == RATE
    assert "1 records had other leads or another order; MLII, V5 were taken." in read.notes
    # one that lacks a lead is left out and named, unless a common one is chosen
    write(tmp_path, "d", {"MLII": first, "V1": second}, symbols=marks)
    read = read_series(tmp_path)
    assert set(read.groups) == set("abc")
    assert "1 of 4 records were left out: d: it has the leads MLII, V1, not V5" in " ".join(
        read.notes
    )
    common = read_series(tmp_path, options=SeriesOptions(leads=("MLII",)))
    assert set(common.groups) == set("abcd")
    assert common.shape[0] == 1


def test_another_sampling_rate_is_brought_to_the_usual_one(tmp_path):
    marks = ["N"] * len(BEATS_S)
    for name, rate in (("a", 125), ("b", 250), ("c", 125)):
        write(tmp_path, name, {"II": ecg(rate=rate)}, rate=rate, symbols=marks)
    read = read_series(tmp_path)
    means = [read.values[[g == n for g in read.groups]].mean(axis=0) for n in "ab"]
    assert np.abs(means[0] - means[1]).max() < 0.08  # half a sample of a narrow peak
    assert "1 records were brought to 125 samples a second." in read.notes


def test_r_peaks_are_found_where_none_are_annotated(tmp_path):
    """The oracle is where the peaks were put."""
    bare = write(tmp_path / "bare", "a", {"II": ecg(seed=3)})
    with pytest.raises(InputError, match=r"a\.atr is missing.*--labels"):
        read_series(bare)
    read = read_series(bare, length=round(1.5 * RATE))
    places = [float(name.split(" at ")[1].split()[0]) for name in read.names]
    off = [np.abs(BEATS_S - place).min() for place in places]
    assert max(off) <= 0.02
    assert len(places) >= len(BEATS_S) - 2
    assert read.classes == ("?",)
    assert "XQRS found them" in read.notes[-1]


def test_the_peaks_of_record_100_are_those_that_were_annotated(shared_data, tmp_path):
    source = shared_data / "signals" / "mitbih100"
    for ending in ("hea", "dat"):
        (tmp_path / f"100.{ending}").write_bytes((source / f"100.{ending}").read_bytes())
    found = read_series(tmp_path, length=540)
    known = read_series(source)
    ours = np.array([float(n.split(" at ")[1].split()[0]) for n in found.names])
    theirs = np.array([float(n.split(" at ")[1].split()[0]) for n in known.names])
    near = np.abs(ours[:, None] - theirs[None]).min(axis=0)
    assert (near <= 0.05).mean() > 0.995
    assert len(ours) <= len(theirs) * 1.005


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model of narrow and wide beats, trained on four annotated records."""
    folder = tmp_path_factory.mktemp("beats")
    for i in range(4):
        wide = i % 2 == 1
        marks = [("N", "V")[wide]] * len(BEATS_S)
        leads = {"II": ecg(wide=wide, seed=i), "V1": 0.5 * ecg(wide=wide, seed=i + 10)}
        write(folder / "records", f"r{i}", leads, symbols=marks)
    test = folder / "test"
    for i in (4, 5):
        wide = i % 2 == 1
        leads = {"V1": 0.5 * ecg(wide=wide, seed=i + 10), "II": ecg(wide=wide, seed=i)}
        write(test, f"r{i}", leads, symbols=[("N", "V")[wide]] * len(BEATS_S))
    report = train_series(
        folder / "records",
        test=test,
        options=SeriesOptions(before_s=0.3, after_s=0.3),
        recipe=ArrayRecipe(epochs=6, batch=16, rate=1e-2),
        width=4,
        members=1,
        out=folder / "model",
    )
    return report, folder


def test_a_model_reads_records_as_it_was_trained_on(model, tmp_path):
    report, folder = model
    assert report.figures.accuracy > 0.95
    held = load_model(folder / "model")
    assert held.net.layout == replace(
        held.net.layout, leads=("II", "V1"), rate_hz=125, item="beats", before_s=0.3, after_s=0.3
    )
    # another order of leads, another rate, a window that nobody repeats, and no annotations
    leads = {"V1": 0.5 * ecg(wide=True, rate=250, seed=8), "II": ecg(wide=True, rate=250, seed=7)}
    answers = classify_series(held, write(tmp_path, "new", leads, rate=250))
    assert len(answers) >= len(BEATS_S) - 2
    assert np.mean([a.label == "V" for a in answers]) > 0.9
    assert all(a.truth is None for a in answers)
    write(tmp_path / "bad", "x", {"aVF": ecg()})
    with pytest.raises(InputError, match="it has the leads aVF, not II, V1"):
        read_for(held, tmp_path / "bad")


def test_one_bad_record_does_not_stop_a_folder(tmp_path):
    marks = ["N"] * len(BEATS_S)
    for name in "abc":
        write(tmp_path / name, name, {"II": ecg()}, symbols=marks)
    (tmp_path / "b" / "b.hea").write_text("nonsense")
    (tmp_path / "c" / "c.atr").unlink()
    read = read_series(tmp_path)
    assert set(read.groups) == {"a"}
    note = " ".join(read.notes)
    assert "2 of 3 records were left out" in note
    assert "b.hea cannot be read" in note
    assert "c.atr is missing" in note


def write_ptb(folder):
    """Records and a table as PTB-XL has them: nested, statements as dictionaries, patients."""
    lines = ["ecg_id,patient_id,scp_codes,filename_lr"]
    for i in range(24):
        wide, upside = i % 2 == 1, i % 4 >= 2
        signal = (-1 if upside else 1) * ecg(wide=wide, seed=i, seconds=4)
        name = f"{i:05d}_lr"
        write(folder / "records100" / "00000", name, {"II": signal})
        codes = {("NORM", "WIDE")[wide]: 100.0, **({"UP": 0.0} if upside else {})}
        lines.append(f'{i},{1000 + i // 2}.0,"{codes}",records100/00000/{name}')
    lines.append('99,7,"{}",records100/00000/absent')
    (folder / "ptbxl_database.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_labels_of_whole_records_as_ptb_xl_has_them(tmp_path):
    folder = write_ptb(tmp_path)
    how = SeriesOptions(labels=folder / "ptbxl_database.csv")
    read = read_series(folder, options=how)
    assert read.classes == ("NORM", "UP", "WIDE")
    assert read.counts() == {"NORM": 12, "UP": 12, "WIDE": 12}
    assert read.words(3) == ("UP", "WIDE")
    assert read.words(0) == ("NORM",)
    assert read.groups[:4] == ("1000", "1000", "1001", "1001")
    assert read.grouped_by == "patient"
    assert read.shape == (1, 4 * RATE)
    kept = read_series(folder, options=replace(how, classes=("UP", "NORM")))
    assert kept.classes == ("UP", "NORM")
    assert len(kept) == 18
    assert [kept.words(i) for i in range(3)] == [("NORM",), ("UP", "NORM"), ("UP",)]
    with pytest.raises(InputError, match="has no column 'x'; it has ecg_id, patient_id"):
        read_series(folder, options=replace(how, label="x"))


def test_a_classifier_of_several_classes_at_once(tmp_path):
    folder = write_ptb(tmp_path)
    how = SeriesOptions(labels=folder / "ptbxl_database.csv")
    recipe = ArrayRecipe(epochs=25, batch=8, rate=2e-2)
    report = train_series(
        folder, options=how, hold_out=0.25, recipe=recipe, width=4, members=1, out=tmp_path / "m"
    )
    figures = report.figures
    assert "of 12 patients held out" in report.tested_on
    assert figures.roc_auc > 0.9
    assert sum(figures.counts) > figures.items
    model = load_model(tmp_path / "m")
    assert model.net.several
    assert model.head is None
    scores = model.scores(report.test.values)
    assert ((scores >= 0) & (scores <= 1)).all()
    assert not np.allclose(scores.sum(axis=1), 1, atol=0.05)
    # whole records are asked without their labels
    answers = classify_series(model, folder / "records100")
    assert len(answers) == 24
    assert {a.truth for a in answers} == {None}
    both = [a for a in answers if set(a.labels) == {"UP", "WIDE"}]
    assert both
    with pytest.raises(InputError, match="several classes at once are trained by the nll loss"):
        train_series(folder, options=how, recipe=replace(recipe, loss="focal"))


def test_figures_of_several_classes_are_sklearn_s():
    from sklearn.metrics import accuracy_score, f1_score, recall_score, roc_auc_score

    rng = np.random.default_rng(0)
    truth, scores = rng.random((50, 3)) < 0.4, rng.random((50, 3)).astype(np.float32)
    figures = measure_several(truth, scores, tuple("abc"))
    said = scores >= 0.5
    assert figures.accuracy == pytest.approx(accuracy_score(truth, said))
    assert figures.macro_f1 == pytest.approx(f1_score(truth, said, average="macro"))
    assert figures.roc_auc == pytest.approx(roc_auc_score(truth, scores, average="macro"))
    assert list(figures.recall.values()) == pytest.approx(
        list(recall_score(truth, said, average=None))
    )


def test_labels_in_headers_and_in_reference_csv(tmp_path):
    for i in range(4):
        comments = [f"Dx: {('426783006', '59118001')[i % 2]}", f"Reason: {'ab'[i % 2]} infarct"]
        write(tmp_path / "dx", f"r{i}", {"II": ecg(seed=i, seconds=3)}, comments=comments)
        write(tmp_path / "ref", f"A{i}", {"II": ecg(seed=i, seconds=3)})
    read = read_series(tmp_path / "dx")
    assert read.classes == ("59118001", "426783006")
    assert read.layout.item == "records"
    named = read_series(tmp_path / "dx", options=SeriesOptions(label="Reason"))
    assert named.classes == ("a infarct", "b infarct")
    (tmp_path / "ref" / "REFERENCE.csv").write_text(
        "".join(f"A{i},{'NA'[i % 2]}\n" for i in range(4))
    )
    read = read_series(tmp_path / "ref")
    assert read.classes == ("A", "N")
    assert read.labels.tolist() == [1, 0, 1, 0]
    (tmp_path / "ref" / "REFERENCE.csv").write_text("B7,N\n")
    with pytest.raises(InputError, match="has no column of records"):
        read_series(tmp_path / "ref")
