"""What is held out: whole records and patients, time only when asked, leaks said."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from toy_arrays import toy_series, toy_volumes

from limner.errors import InputError
from limner.training.splits import leaks, split


def in_records(count: int, each: int):
    samples = toy_series(count * each)
    groups = tuple(f"r{i // each}" for i in range(count * each))
    return replace(samples, groups=groups, grouped_by="record", in_time=True)


def test_items_without_groups_are_drawn_class_by_class_and_none_is_lost():
    samples = toy_series(21)
    first, second, words = split(samples, 0.25, seed=3)
    assert words == "25% held out"
    assert sorted([*first.names, *second.names]) == sorted(samples.names)
    assert second.counts() == {"one": 3, "two": 2}
    assert split(samples, 0.25, seed=3)[1].names == second.names
    assert split(samples, 0.25, seed=4)[1].names != second.names


@pytest.mark.parametrize("share", [0.2, 0.3, 0.5, 0.8])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_five_records_are_never_on_both_sides(share, seed):
    samples = in_records(5, 12)
    first, second, words = split(samples, share, seed=seed)
    assert set(first.groups).isdisjoint(second.groups)
    assert len(first) + len(second) == len(samples)
    assert abs(len(second) / len(samples) - share) <= 0.11
    assert set(second.labels) == set(first.labels) == {0, 1}
    assert f"of 5 records held out ({', '.join(sorted(set(second.groups))[:4])}" in words


def test_time_is_cut_within_each_record_and_only_when_asked():
    samples = in_records(3, 10)
    first, second, words = split(samples, 0.3, seed=0, group="time")
    assert second.names == tuple(f"toy {i}" for i in (7, 8, 9, 17, 18, 19, 27, 28, 29))
    assert words == "the last 30% in time of every record"
    assert "nothing of other people" in first.notes[-1]
    one = in_records(1, 20)
    with pytest.raises(InputError, match=r"all items are of one record \(r0\).*--group time"):
        split(one, 0.3, seed=0)
    assert split(one, 0.3, seed=0, group="time")[1].names == one.names[14:]
    with pytest.raises(InputError, match="ask for --group time"):
        split(replace(one, groups=(), grouped_by=""), 0.3, seed=0)


def test_items_that_leak_are_said():
    samples = in_records(4, 10)
    first, _, _ = split(samples, 0.3, seed=0, group="item")
    assert "4 of 4 records are in training and test" in first.notes[-1]
    train, test = samples.take(range(20)), samples.take(range(15, 40))
    said = leaks(train, test)
    assert said[0].startswith("1 records are in training and test (r1)")
    assert said[1] == "5 of 25 test items are in the training data, value by value."
    assert leaks(samples.take(range(20)), samples.take(range(20, 40))) == ()
    volumes = toy_volumes(10)
    assert "do not say whose they are" in split(volumes, 0.2, seed=0)[0].notes[-1]
    patients = replace(volumes, groups=tuple("aabbccddee"), grouped_by="patient")
    first, second, _ = split(patients, 0.2, seed=0)
    assert first.notes == ()
    assert len(set(second.groups)) == 1


def test_shares_and_words_are_checked():
    samples = in_records(3, 10)
    with pytest.raises(InputError, match="between 0 and 1, got 1"):
        split(samples, 1.0, seed=0)
    with pytest.raises(InputError, match="too few"):
        split(toy_series(2), 0.5, seed=0)
    with pytest.raises(InputError, match="by item or time or record, got --group patient"):
        split(samples, 0.3, seed=0, group="patient")
    with pytest.raises(InputError, match=r"by item, got --group time.*whose each item is"):
        split(toy_series(20), 0.3, seed=0, group="time")


def test_a_class_of_one_record_that_is_held_out_is_said():
    samples = in_records(2, 10)
    labels = np.array([0] * 10 + [1] * 10)
    first, _, _ = split(replace(samples, labels=labels), 0.5, seed=0)
    assert "there is test data only" in first.notes[-1]
