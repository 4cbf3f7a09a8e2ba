"""Samples of our own making: the toys learn what they should, the crops are what they say."""

from __future__ import annotations

import numpy as np
import pytest

from limner.studio import crops, lessons
from limner.studio.paintings import painting


@pytest.mark.parametrize("dims", [1, 3])
def test_a_toy_knows_items_that_it_has_not_seen(dims):
    model = lessons.taught(dims)
    fresh = lessons.make(dims, each=20, seed=123)
    assert model.net.classes == fresh.classes
    right = (model.scores(fresh.values).argmax(axis=1) == fresh.labels).mean()
    assert right >= 0.85  # chance is 0.33
    assert lessons.taught(dims) is model


def test_a_painting_is_the_same_every_time_and_no_flat_colour():
    once, again = painting("Dusk"), painting.__wrapped__("Dusk")
    assert np.array_equal(once, again)
    assert once.std(axis=(0, 1)).min() > 25
    assert np.abs(once.astype(int) - painting("Meadow")).mean() > 30


def test_crops_are_parts_of_the_photographs(tmp_path):
    paths = crops.write_crops(tmp_path)
    assert len(paths) >= 20
    assert len({p.read_bytes() for p in paths}) == len(paths)
    assert {p.stem.rpartition("-")[0] for p in paths} == set(crops.photographs())
