"""Questions about a pass: planted answers must come out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_network import small_network

from limner import images
from limner.errors import EmbedderMismatch, InputError, UnknownNameError
from limner.units import excites, gram_pairs, like, top_patches
from limner.units.photos import frame_photo
from limner.units.search import selectivity


def test_a_copied_unit_is_the_most_alike(photo_folder):
    net = small_network()
    with torch.no_grad():
        net.module.conv2.weight[9] = 2 * net.module.conv2.weight[4]
        net.module.conv2.bias[9] = 2 * net.module.conv2.bias[4] + 1
    top = top_patches(net, photo_folder, layers=["conv1", "conv2"])
    found = like(top, "conv2", 4, count=3)
    assert (found[0].layer, found[0].unit) == ("conv2", 9)
    assert found[0].similarity == pytest.approx(1, abs=1e-3)
    assert found[1].similarity < 0.9999
    truth = np.corrcoef(top.layer("conv2").responses.astype(float).T)
    other = like(top, "conv2", 4, layers=["conv2"], count=11)
    for entry in other:
        assert entry.similarity == pytest.approx(truth[4, entry.unit], abs=1e-3)


def test_a_picture_excites_the_unit_that_was_made_for_it(photo_folder, tmp_path):
    """Unit 5 counts magenta, which none of the photographs has much of."""
    net = small_network()
    with torch.no_grad():
        net.module.conv1.weight[5] = torch.tensor([1.0, -2.0, 1.0])[:, None, None].expand(3, 3, 3)
        net.module.conv1.bias[5] = 0
    top = top_patches(net, photo_folder, layers=["conv1"])
    picture = np.full((100, 160, 3), 90, np.uint8)
    picture[60:70, 100:110] = (255, 0, 255)
    found = excites(picture, net, top, count=3)
    assert found[0].unit == 5
    assert found[0].above == 1
    x0, y0, x1, y1 = found[0].box_xyxy
    assert x1 - x0 == pytest.approx(7.5)
    assert 98 <= (x0 + x1) / 2 <= 112
    assert 58 <= (y0 + y1) / 2 <= 72


def test_selectivity_is_morcos_index(net, photo_folder):
    top = top_patches(net, photo_folder, layers=["relu2"])
    values, best = selectivity(top, "relu2")
    with torch.no_grad():
        pixels = np.stack([top.photo_pixels(i) for i in range(24)])
        found = net.read(net.prepare(pixels), ["relu2"])["relu2"].amax((2, 3)).numpy()
    for unit in range(12):
        means = [found[np.equal(top.class_of, c), unit].mean() for c in range(3)]
        largest, rest = max(means), (sum(means) - max(means)) / 2
        expected = (largest - rest) / (largest + rest) if largest + rest else 0
        assert values[unit] == pytest.approx(expected, abs=1e-5)
        if largest:
            assert means[best[unit]] == pytest.approx(largest, abs=1e-5)


def test_gram_pairs_are_the_largest_entries(net, photo_folder):
    picture = images.read(photo_folder / "woman" / "2.png")
    found = gram_pairs(picture, net, "conv2", count=3)
    framed = frame_photo(picture, net.size_px)
    with torch.no_grad():
        maps = net.read(net.prepare(framed.pixels[None]), ["conv2"])["conv2"][0].clamp(min=0)
    flat = maps.flatten(1).double().numpy()
    gram = flat @ flat.T / flat.shape[1]
    entries = sorted(((gram[i, j], i, j) for i in range(12) for j in range(i)), reverse=True)
    assert found[0].gram == pytest.approx(entries[0][0], rel=1e-5)
    assert set(found[0].units) == {entries[0][1], entries[0][2]}
    i, j = found[0].units
    spot = np.unravel_index(int((maps[i] * maps[j]).argmax()), tuple(maps.shape[1:]))
    scale = (framed.region_xyxy[2] - framed.region_xyxy[0]) / net.size_px
    centre = (found[0].box_xyxy[0] + found[0].box_xyxy[2]) / 2 - framed.region_xyxy[0]
    assert centre == pytest.approx((2 * spot[1] + 1) * scale, abs=scale)
    used = [u for p in gram_pairs(picture, net, "conv2", count=10) for u in p.units]
    assert max(used.count(u) for u in used) <= 2


def test_what_is_usual_counts(net, photo_folder):
    top = top_patches(net, photo_folder, layers=["conv2"])
    picture = images.read(photo_folder / "woman" / "2.png")
    found = gram_pairs(picture, net, "conv2", top=top, count=2)
    energy = np.sqrt(top.layer("conv2").squares / top.layer("conv2").sampled)
    i, j = found[0].units
    assert found[0].usual == pytest.approx(energy[i] * energy[j])


def test_bad_input(net, photo_folder, tmp_path):
    top = top_patches(net, photo_folder, layers=["conv1"])
    picture = images.read(photo_folder / "cat" / "1.png")
    with pytest.raises(UnknownNameError, match="these patches are of conv1"):
        like(top, "conv2", 0)
    with pytest.raises(InputError, match="units 0 to 7"):
        like(top, "conv1", 8)
    with pytest.raises(InputError, match="count must be"):
        excites(picture, net, top, count=0)
    with pytest.raises(EmbedderMismatch, match="patches were made by small"):
        excites(picture, small_network(size=48), top)
    few = top_patches(net, sorted((photo_folder / "cat").glob("*.png"))[:3], layers=["conv1"])
    with pytest.raises(InputError, match="at least 5"):
        excites(picture, net, few)
    with pytest.raises(InputError, match="two classes"):
        selectivity(few, "conv1")
