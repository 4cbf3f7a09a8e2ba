"""Which column is what: headings are read, labels may be last, nothing is guessed in silence."""

from __future__ import annotations

import numpy as np
import pytest

from limner.errors import InputError
from limner.training.series_files import read_series
from limner.training.series_options import SeriesOptions


def table(path, headings, rows):
    lines = [",".join(map(str, row)) for row in ([headings] if headings else []) + list(rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_the_label_is_found_by_its_heading_and_patients_stay_together(tmp_path):
    headings = ["patient", *(f"t{i}" for i in range(5)), "label"]
    values = np.round(np.random.default_rng(0).random((4, 5)), 3)
    rows = [[100 + i // 2, *v, "xy"[i % 2]] for i, v in enumerate(values)]
    read = read_series(table(tmp_path / "a.csv", headings, rows))
    assert read.classes == ("x", "y")
    assert np.allclose(read.values[:, 0], values)
    assert read.groups == ("100", "100", "101", "101")
    assert read.grouped_by == "patient"
    assert any("the labels are in the column 'label'" in n for n in read.notes)
    assert any("equal 'patient' are kept together" in n for n in read.notes)


def test_headings_that_do_not_say_are_refused_until_one_is_named(tmp_path):
    headings = ["t0", "t1", "t2", "rhythm", "ward"]
    rows = [[0.1, 0.2, 0.3, "a", 7], [0.4, 0.5, 0.6, "b", 8], [0.7, 0.8, 0.9, "a", 7]]
    path = table(tmp_path / "a.csv", headings, rows)
    with pytest.raises(InputError, match=r"no heading says.*--label, one of t0, t1"):
        read_series(path)
    with pytest.raises(InputError, match="ward do not look like samples"):
        read_series(path, options=SeriesOptions(label="rhythm"))
    read = read_series(path, options=SeriesOptions(label="rhythm", group="ward"))
    assert read.shape == (1, 3)
    assert read.groups == ("7", "8", "7")
    assert read.grouped_by == "ward"
    with pytest.raises(InputError, match="has no columns 'rythm'"):
        read_series(path, options=SeriesOptions(label="rythm"))


def test_a_label_in_the_last_column_without_headings(tmp_path):
    rng = np.random.default_rng(1)
    values = np.round(rng.random((6, 8)), 3)
    path = table(tmp_path / "beats.csv", None, [[*v, i % 2] for i, v in enumerate(values)])
    with pytest.raises(InputError, match=r"a label is a whole number.*--label"):
        read_series(path)
    read = read_series(path, options=SeriesOptions(label="last"))
    assert np.allclose(read.values[:, 0], values)
    assert read.labels.tolist() == [0, 1] * 3
    # first samples that are all 0 or 1 look like labels: it is asked, not guessed
    values[:, 0] = [0, 1, 0, 1, 1, 0]
    both = table(tmp_path / "both.csv", None, [[*v, i % 2] for i, v in enumerate(values)])
    with pytest.raises(InputError, match="first and the last column could both be labels"):
        read_series(both)
    first = read_series(both, options=SeriesOptions(label="first"))
    assert first.labels.tolist() == [0, 1, 0, 1, 1, 0]
    with pytest.raises(InputError, match="has no headings, so that no column is called 'class'"):
        read_series(both, options=SeriesOptions(label="class"))


def test_an_empty_cell_is_a_gap_and_moves_nothing(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("1,0.5,,1.5\n2,1.5,2.5,3.5\n")
    with pytest.raises(InputError, match=r"a\.csv:1: 1 of 3 samples are missing"):
        read_series(path)
    read = read_series(path, options=SeriesOptions(gaps="fill"))
    assert read.values[0, 0].tolist() == [0.5, 1.0, 1.5]


def test_quoted_headings_semicolons_and_crops(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('"class";"t 0";"t 1";"t 2"\nx;1;2;3\ny;4;5;6\n')
    assert read_series(path).values[:, 0].tolist() == [[1, 2, 3], [4, 5, 6]]
    path.write_text("x 1 2 3\ny 4 5 6 7\n")
    read = read_series(path, options=SeriesOptions(other_length="crop"))
    assert read.values[:, 0].tolist() == [[1, 2, 3], [4, 5, 6]]
    assert read.notes == ("1 series were cropped to 3 samples.",)


def test_samples_alone_under_headings_are_asked_of_a_model(tmp_path):
    path = table(tmp_path / "a.csv", ["t0", "t1", "t2"], [[1, 2, 3], [4, 5, 6]])
    read = read_series(path, length=3)
    assert read.classes == ("?",)
    assert read.values[:, 0].tolist() == [[1, 2, 3], [4, 5, 6]]
