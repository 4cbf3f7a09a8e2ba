from __future__ import annotations

import shutil

import numpy as np
import pytest
from toy_people import make_people, portrait

from limner import images
from limner.errors import ImageError, InputError, UnknownNameError
from limner.training.chips import cut_chips
from limner.training.people import Split, check_split, drop_unreadable, read_people, split_people


def test_a_folder_is_read_person_by_person(tmp_path):
    root = make_people(tmp_path, people=3, photos=11)
    people = read_people(root)
    assert people.names == ("p0", "p1", "p2")
    assert people.counts().tolist() == [11, 11, 11]
    assert [p.name for p in people.photos[:11]] == [f"{i}.png" for i in range(11)]
    assert all(
        p.parent.name == people.names[n] for p, n in zip(people.photos, people.labels, strict=True)
    )


@pytest.mark.parametrize("seed", range(5))
def test_a_split_by_photo_has_everybody_everywhere_and_no_photo_twice(tmp_path, seed):
    people = read_people(make_people(tmp_path, people=4, photos=10))
    split = split_people(people, by="photo", seed=seed)
    sides = (split.train, split.val, split.test)
    assert sorted(np.concatenate(sides)) == list(range(40))
    for side, count in zip(sides, (6, 2, 2), strict=True):
        assert np.bincount(people.labels[side]).tolist() == [count] * 4


def test_a_split_by_identity_keeps_people_whole(tmp_path):
    people = read_people(make_people(tmp_path, people=10, photos=3))
    split = split_people(people, by="identity", seed=1)
    groups = [set(people.labels[s].tolist()) for s in (split.train, split.val, split.test)]
    assert [len(g) for g in groups] == [6, 2, 2]
    assert not groups[0] & groups[1] | groups[0] & groups[2] | groups[1] & groups[2]


def test_seeds_split_differently_and_repeatably(tmp_path):
    people = read_people(make_people(tmp_path, photos=10))
    one, again, two = (split_people(people, by="photo", seed=s).test.tolist() for s in (1, 1, 2))
    assert one == again != two


def test_a_given_split_is_used_and_its_leaks_are_refused(tmp_path):
    make_people(tmp_path / "train", people=3, photos=4)
    make_people(tmp_path / "val", people=3, photos=1)
    for person in range(3):  # other photos than those of train
        images.write(tmp_path / "val" / f"p{person}" / "0.png", portrait(person, 77))
    people = read_people(tmp_path)
    split = split_people(people, by="photo")
    assert (len(split.train), len(split.val), len(split.test)) == (12, 3, 0)
    with pytest.raises(InputError, match="p0 is in train and in val"):
        split_people(people, by="identity")
    shutil.copy(tmp_path / "train" / "p1" / "2.png", tmp_path / "val" / "p1" / "x.png")
    with pytest.raises(InputError, match=r"same file, in train and in val: a leak"):
        read_people(tmp_path)


def test_one_file_under_two_names_is_refused_and_a_copy_is_dropped(tmp_path):
    root = make_people(tmp_path)
    shutil.copy(root / "p1" / "0.png", root / "p1" / "copy.png")
    people = read_people(root)
    assert len(people.photos) == 24
    assert "second copies: 1 photo" in people.notes[-1]
    shutil.copy(root / "p1" / "0.png", root / "p2" / "stolen.png")
    with pytest.raises(InputError, match=r"same file under two names"):
        read_people(root)


def test_an_empty_folder_of_a_person_is_said_and_left_out(tmp_path):
    root = make_people(tmp_path)
    (root / "nobody").mkdir()
    images.write(root / "loose.png", portrait(0, 99))
    people = read_people(root)
    assert "nobody" not in people.names
    assert "no photo: nobody (1 folder)" in people.notes[0]
    assert "in no person's folder: 1 photo" in people.notes[1]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda root: make_people(root, people=1), "1 person"),
        (lambda root: (root / "x").mkdir(), "holds no folder of a person with photos"),
    ],
)
def test_folders_that_cannot_be_trained_on(tmp_path, make, words):
    make(tmp_path)
    with pytest.raises(InputError, match=words):
        read_people(tmp_path)


def test_too_few_photos_name_the_person_and_the_way_out(tmp_path):
    root = make_people(tmp_path)
    images.write(root / "zed" / "only.png", portrait(9, 9)) if (root / "zed").mkdir() is None else 0
    people = read_people(root)
    with pytest.raises(InputError, match=r"zed has 1 photo, too few for 3 sides.*min_photos 3"):
        split_people(people, by="photo")
    assert "zed" not in read_people(root, min_photos=2).names
    with pytest.raises(InputError, match="0 people with 7 photos or more"):
        read_people(root, min_photos=7)
    with pytest.raises(InputError, match="too few to split by identity"):
        split_people(read_people(make_people(tmp_path / "few", people=3)), by="identity")


def test_a_class_that_is_missing_in_validation_is_named(tmp_path):
    people = read_people(make_people(tmp_path))
    everything = np.arange(24)
    val = everything[(people.labels != 2) & (everything % 6 == 0)]
    train = np.setdiff1d(everything, val)
    with pytest.raises(InputError, match="p2 has no photo in val"):
        check_split(people, Split("photo", train, val, np.array([], np.int64)))
    with pytest.raises(InputError, match="on two sides of the split: a leak"):
        check_split(people, Split("photo", everything, val, np.array([], np.int64)))


@pytest.mark.parametrize("shares", [(0.5, 0.5, 0.5), (1.0, 0.0, 0.0), (0.8, 0.3, -0.1), (1.0,)])
def test_shares_that_are_none(tmp_path, shares):
    people = read_people(make_people(tmp_path))
    with pytest.raises(InputError, match="three numbers that sum to 1"):
        split_people(people, by="photo", shares=shares)
    with pytest.raises(UnknownNameError, match="'photo' or 'identity'"):
        split_people(people, by="face")


def test_unreadable_photos_are_left_out_and_said(tmp_path):
    root = make_people(tmp_path)
    (root / "p1" / "3.png").write_bytes(b"not a picture")
    people = read_people(root)
    chips = cut_chips(people.photos, crop="whole", size_px=32, cache=None)
    assert [r is None for r in chips.reasons].count(False) == 1
    kept = drop_unreadable(people, chips.reasons)
    assert len(kept.photos) == 23
    assert "unreadable or without a face: 1 photo (3.png" in kept.notes[-1]
    with pytest.raises(ImageError, match="none of the 24 photos"):
        drop_unreadable(people, ["broken"] * 24)


def test_chips_are_cut_once_and_a_damaged_cache_is_made_again(tmp_path, monkeypatch):
    people = read_people(make_people(tmp_path / "people"))
    cache = tmp_path / "cache"
    counted = []
    first = cut_chips(
        people.photos, crop="whole", size_px=32, cache=cache, on_photo=lambda: counted.append(1)
    )
    again = cut_chips(
        people.photos, crop="whole", size_px=32, cache=cache, on_photo=lambda: counted.append(1)
    )
    assert len(counted) == 24
    assert np.array_equal(first.pixels, again.pixels)
    assert first.digest == again.digest
    (file,) = cache.iterdir()
    file.write_bytes(file.read_bytes()[:100])
    third = cut_chips(people.photos, crop="whole", size_px=32, cache=cache)
    assert np.array_equal(first.pixels, third.pixels)
    images.write(people.photos[0], portrait(3, 50))
    changed = cut_chips(people.photos, crop="whole", size_px=32, cache=cache)
    assert changed.digest != first.digest
    assert not np.array_equal(first.pixels[0], changed.pixels[0])


def test_chips_of_faces_are_those_of_the_embedder(tmp_path):
    """What is trained on is what the embedder will read: the same crop of the same face."""
    from skimage.data import astronaut

    from limner.faces import YuNet, cut_chip
    from limner.faces.align import FACENET

    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    images.write(tmp_path / "a" / "x.png", astronaut())
    images.write(tmp_path / "b" / "x.png", np.full((64, 64, 3), 127, np.uint8))
    people = read_people(tmp_path)
    chips = cut_chips(people.photos, crop="facenet", size_px=160, cache=None)
    face = YuNet().detect(astronaut())[0]
    assert np.array_equal(chips.pixels[0], cut_chip(astronaut(), face, FACENET, size=160))
    assert chips.reasons == (None, "no face was found")


def test_bad_ways_of_cutting(tmp_path):
    with pytest.raises(UnknownNameError, match="facenet, arcface, dlib, whole"):
        cut_chips([], crop="square", size_px=64, cache=None)
    with pytest.raises(InputError, match="between 16 and 1024"):
        cut_chips([], crop="whole", size_px=8, cache=None)
