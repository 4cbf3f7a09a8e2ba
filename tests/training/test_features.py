from __future__ import annotations

import numpy as np
import pytest
import torch
from toy_people import portrait

from limner.training.augment import Augment
from limner.training.backbones import build
from limner.training.features import FeatureCache, training_draws


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    made = build("nn4_small2_half", head="classifier", width_or_classes=3, image_size=48)
    faces = torch.from_numpy(np.stack([portrait(i % 5, i) for i in range(40)]))
    with torch.no_grad():  # running averages that suit such chips: else all features are alike
        for _ in range(20):
            made(faces.permute(0, 3, 1, 2).float() / 255)
    return made


@pytest.fixture(scope="module")
def pixels():
    return np.stack([portrait(i % 3, i) for i in range(21)])


def cache(net, pixels, folder=None, **options):
    return FeatureCache(net, pixels, "digest", Augment(), folder=folder, **options)


def plainly(net, pixels):
    net.eval()
    with torch.no_grad():
        return net.features(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255)


def test_draw_0_is_the_plain_chip_and_draw_1_its_mirror(net, pixels):
    store = cache(net, pixels)
    assert torch.allclose(store.draw(0), plainly(net, pixels), atol=1e-5)
    mirrored = np.ascontiguousarray(pixels[:, :, ::-1])
    assert torch.allclose(store.draw(1), plainly(net, mirrored), atol=1e-5)
    third = store.draw(2)
    assert not torch.allclose(third, store.draw(0), atol=1e-2)
    assert not torch.allclose(store.draw(1), store.draw(0), atol=1e-2)
    assert torch.equal(third, cache(net, pixels).draw(2))
    assert not torch.equal(third, store.draw(3))


def test_which_draws_train(net, pixels):
    assert list(training_draws(3, plain=True)) == [0, 1, 2]
    assert list(training_draws(3, plain=False)) == [2, 3, 4]  # neither plain nor mirrored
    store = cache(net, pixels)
    for number in training_draws(2, plain=False):
        assert not torch.equal(store.draw(number), store.draw(0))


def test_paired_draws_average_two_chips_before_the_trunk(net, pixels):
    rows = torch.arange(2)
    paired = cache(net, pixels).draw(0, rows=rows, paired=True)
    both = ((pixels[0].astype(float) + pixels[1]) / 2)[None]  # two chips: each other's partner
    expected = plainly(net, both.astype(np.float32))
    assert torch.allclose(paired, expected.repeat(2, 1), atol=1e-4)


def test_features_are_computed_once(net, pixels, tmp_path):
    counted = []
    store = cache(net, pixels, tmp_path, on_batch=counted.append)
    first = store.draw(2)
    assert sum(counted) == 21
    assert torch.equal(store.draw(2), first)
    assert sum(counted) == 21
    other = FeatureCache(
        net, pixels, "another", Augment(), folder=tmp_path, on_batch=counted.append
    )
    other.draw(2)
    assert sum(counted) == 42
    turned = FeatureCache(net, pixels, "digest", Augment(rotation_deg=5), folder=tmp_path)
    assert not torch.equal(turned.draw(2), first)
    for file in tmp_path.iterdir():
        file.write_bytes(b"damaged")
    assert torch.equal(store.draw(2), first)


def test_a_full_disk_is_one_sentence(net, pixels, tmp_path, monkeypatch):
    from limner.errors import InputError

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("limner.training.features.np.save", full)
    with pytest.raises(InputError, match="cannot be written: no space left"):
        cache(net, pixels, tmp_path).draw(0)
    assert list(tmp_path.iterdir()) == []
