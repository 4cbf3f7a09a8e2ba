"""Series from text, npz and WFDB records; what cannot be used is refused in one sentence."""

from __future__ import annotations

import numpy as np
import pytest
from toy_arrays import toy_series, write_ucr

from limner.errors import InputError, ShapeError, UnknownNameError
from limner.training.samples import Samples, from_names, same_classes
from limner.training.series_files import find_test_file, read_series
from limner.training.series_options import SeriesOptions


def test_ucr_text_gives_the_numbers_and_labels_of_the_file(tmp_path):
    toy = toy_series(6)
    read = read_series(write_ucr(tmp_path / "toy_TRAIN.txt", toy))
    assert read.shape == (1, 48)
    assert read.classes == ("1", "2")
    assert np.allclose(read.values, toy.values, atol=1e-6)
    assert read.labels.tolist() == toy.labels.tolist()
    assert read.names[2] == "toy_TRAIN.txt:3"


@pytest.mark.parametrize("text", ["label,a,b,c\nx,1,2,3\ny,4,5,6\n", "x 1 2 3\ny\t4\t5\t6\n\n"])
def test_headings_words_and_separators(tmp_path, text):
    path = tmp_path / "a.csv"
    path.write_text(text)
    read = read_series(path)
    assert read.classes == ("x", "y")
    assert read.values[:, 0].tolist() == [[1, 2, 3], [4, 5, 6]]


def test_numbers_sort_as_numbers(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("10 1 2\n-1 1 2\n2 1 2\n")
    assert read_series(path).classes == ("-1", "2", "10")


def test_shorter_series_are_refused_or_padded(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("1 1 2 3 4\n2 5 6 7 8\n1 9 8 NaN NaN\n")  # UCR's way of a shorter series
    with pytest.raises(InputError, match=r"a\.txt:3 has 2 samples where others have 4"):
        read_series(path)
    read = read_series(path, options=SeriesOptions(other_length="pad"))
    assert read.values[2, 0].tolist() == [9, 8, 8, 8]
    assert read.notes == ("1 series were padded to 4 samples.",)


def test_missing_samples_are_refused_or_filled(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("1 1 NaN 3 4\n2 5 6 7 8\n")
    with pytest.raises(InputError, match=r"a\.txt:1: 1 of 4 samples are missing"):
        read_series(path)
    read = read_series(path, options=SeriesOptions(gaps="fill"))
    assert read.values[0, 0].tolist() == [1, 2, 3, 4]
    path.write_text("1 1 inf 3 4\n2 5 6 7 8\n")
    with pytest.raises(InputError, match="infinite"):
        read_series(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no series"),
        ("1 2 3\nx y z\n", "line 2: a series is a label and numbers"),
        ("1\n", "at least two samples"),
        ("0.25 1 2 3\n0.5 1 2 3\n", "labels are missing"),
        ("NaN 1 2 3\n", "the label is missing"),
    ],
)
def test_files_that_are_no_series(tmp_path, text, words):
    path = tmp_path / "a.txt"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        read_series(path)


def test_places_without_series(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_series(tmp_path / "none.txt")
    with pytest.raises(InputError, match="holds no series"):
        read_series(tmp_path)
    (tmp_path / "a.pdf").write_text("x")
    with pytest.raises(InputError, match="is not a series file"):
        read_series(tmp_path / "a.pdf")
    (tmp_path / "b.txt").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(InputError, match="not a text file"):
        read_series(tmp_path / "b.txt")


def test_a_folder_with_train_and_test(tmp_path):
    write_ucr(tmp_path / "toy_TRAIN.tsv", toy_series(4))
    assert find_test_file(tmp_path) is None
    write_ucr(tmp_path / "toy_TEST.tsv", toy_series(6))
    assert len(read_series(tmp_path)) == 4
    assert find_test_file(tmp_path) == tmp_path / "toy_TEST.tsv"
    assert find_test_file(tmp_path / "toy_TRAIN.tsv") == tmp_path / "toy_TEST.tsv"
    write_ucr(tmp_path / "more_TRAIN.tsv", toy_series(4))
    with pytest.raises(InputError, match="holds 2"):
        read_series(tmp_path)


def test_npz_with_channels_in_either_place_and_without_labels(tmp_path):
    values = np.random.default_rng(0).random((5, 2, 30)).astype(np.float32)
    np.savez(tmp_path / "a.npz", values=values, labels=np.array(list("abaab")))
    np.savez(tmp_path / "b.npz", x=np.moveaxis(values, 1, 2), y=np.array([[3], [4], [3], [3], [4]]))
    first, second = read_series(tmp_path / "a.npz"), read_series(tmp_path / "b.npz")
    assert first.shape == (2, 30)
    assert np.array_equal(first.values, second.values)
    assert (first.classes, second.classes) == (("a", "b"), ("3", "4"))
    np.savez(tmp_path / "c.npz", values=values)
    with pytest.raises(InputError, match="has no labels"):
        read_series(tmp_path / "c.npz")
    assert read_series(tmp_path / "c.npz", length=30).classes == ("?",)
    np.savez(tmp_path / "d.npz", values=np.full((2, 3), np.nan), labels=np.arange(2))
    with pytest.raises(InputError, match="6 values are NaN or infinite, the first in item 0"):
        read_series(tmp_path / "d.npz")
    np.savez(tmp_path / "e.npz", values=np.array(["x", "y"]), labels=np.arange(2))
    with pytest.raises(InputError, match="must hold numbers"):
        read_series(tmp_path / "e.npz")
    (tmp_path / "f.npz").write_bytes(b"not a zip")
    with pytest.raises(InputError, match="cannot be read as an npz file"):
        read_series(tmp_path / "f.npz")


def test_an_array_larger_than_memory_is_refused_by_its_header(tmp_path, monkeypatch):
    from limner.training import array_files

    np.savez(tmp_path / "a.npz", values=np.zeros((10, 100), np.float32), labels=np.arange(10))
    monkeypatch.setattr(array_files, "MAX_BYTES", 3999)
    with pytest.raises(InputError, match="GiB in memory, more than"):
        read_series(tmp_path / "a.npz")


def test_series_without_labels_for_a_trained_model(tmp_path):
    path = write_ucr(tmp_path / "a.txt", toy_series(4), labelled=False)
    assert read_series(path, length=48).classes == ("?",)
    both = write_ucr(tmp_path / "b.txt", toy_series(4))
    assert read_series(both, length=48).classes == ("1", "2")
    with pytest.raises(InputError, match="48 samples where others have 50"):
        read_series(both, length=50)


def test_beats_are_cut_around_their_annotations(tmp_path):
    """A record written by wfdb itself: a peak of known height at each annotated place."""
    wfdb = pytest.importorskip("wfdb")
    rate, places = 100, [50, 200, 350, 500, 900]
    signal = np.zeros((1000, 2))
    for n, place in enumerate(places):
        signal[place] = [n + 1, -(n + 1)]
    wfdb.wrsamp(
        "toy",
        fs=rate,
        units=["mV", "mV"],
        sig_name=["I", "II"],
        p_signal=signal,
        fmt=["16", "16"],
        write_dir=str(tmp_path),
    )
    symbols = ["N", "A", "+", "N", "V"]  # + marks a rhythm, not a beat
    wfdb.wrann("toy", "atr", np.array(places), symbols, write_dir=str(tmp_path))
    how = SeriesOptions(before_s=0.6, after_s=0.4)
    for source in (tmp_path, tmp_path / "toy", tmp_path / "toy.hea"):
        read = read_series(source, options=how)
        assert read.shape == (2, 100)
        assert [read.classes[i] for i in read.labels] == ["A", "N", "V"]
        assert np.allclose(read.values[:, 0, 60], [2, 4, 5], atol=0.01)
        assert np.allclose(read.values[:, 1, 60], [-2, -4, -5], atol=0.01)
    assert read.in_time
    assert read.names[0] == "toy at 2.00 s"
    assert read.notes == ("1 beats at an end of the record or with gaps were left out.",)
    kept = read_series(tmp_path, options=SeriesOptions(classes=("V", "A")))
    assert kept.classes == ("V", "A")
    assert kept.labels.tolist() == [1, 0]
    with pytest.raises(UnknownNameError, match="has no class 'Q'; it has A, N"):
        read_series(tmp_path, options=SeriesOptions(classes=("Q",)))
    (tmp_path / "toy.atr").unlink()
    with pytest.raises(InputError, match=r"toy\.atr is missing"):
        read_series(tmp_path)
    (tmp_path / "toy.hea").write_text("nonsense")
    with pytest.raises(InputError, match="cannot be read as a WFDB record"):
        read_series(tmp_path)


def test_record_100_has_its_2237_normal_and_33_premature_beats(shared_data):
    pytest.importorskip("wfdb")
    read = read_series(
        shared_data / "signals" / "mitbih100", options=SeriesOptions(classes=("N", "A"))
    )
    # 2,239 N in all: the first and the last have no whole window.
    assert read.counts() == {"N": 2237, "A": 33}
    assert read.shape == (2, 540)
    # The R peak of lead MLII lies where the annotation says.
    peaks = 300 + read.values[:, 0, 300:420].argmax(axis=1)
    assert np.abs(peaks - 360).max() <= 5


def test_words_and_windows_of_the_options_are_checked():
    with pytest.raises(UnknownNameError, match="'refuse', 'pad' or 'crop', got 'cut'"):
        SeriesOptions(other_length="cut")  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="'refuse' or 'fill'"):
        SeriesOptions(gaps="zero")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="after_s above 0"):
        SeriesOptions(after_s=0)


def test_sets_that_do_not_fit_together():
    samples = toy_series(8)
    other = from_names(samples.values, ["one", "three"] * 4, names=samples.names)
    with pytest.raises(InputError, match="has the class 'three', which the training data lacks"):
        same_classes(other, samples.classes)
    turned = same_classes(samples, ("two", "one"))
    assert turned.labels.tolist() == [1, 0] * 4
    with pytest.raises(ShapeError, match="as many labels"):
        Samples(samples.values, samples.labels[:3], samples.classes, samples.names)
    with pytest.raises(ShapeError, match=r"\(N, C, L\)"):
        Samples(samples.values[0], samples.labels[:1], samples.classes, samples.names[:1])
