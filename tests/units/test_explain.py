"""Explanations against finite differences and against formulas written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_network import small_network
from torch.nn import functional

from limner import images
from limner.errors import InputError, UnknownNameError
from limner.units import load_network, top_patches
from limner.units.explain import METHODS, draw_signal, explain
from limner.units.ideal import ideal
from limner.units.sheet import draw_why


@pytest.fixture
def top(net, photo_folder):
    return top_patches(net, photo_folder, layers=["conv2"])


def some(top, unit, count=3):
    tally = top.layer("conv2")
    pixels = [top.photo_pixels(int(p)) for p in tally.photo[unit, :count]]
    return pixels, [tuple(int(v) for v in p) for p in tally.place[unit, :count]]


def test_the_values_are_those_of_the_pass(net, top):
    for unit in range(12):
        pixels, places = some(top, unit)
        _, values = explain(net, pixels, "conv2", unit, places)
        assert values == pytest.approx(top.layer("conv2").value[unit, :3], abs=1e-5)


def test_the_gradient_is_the_slope(net, top):
    pixels, places = some(top, 4, 1)
    signal, _ = explain(net, pixels, "conv2", 4, places, method="gradient")
    x = net.prepare(np.stack(pixels)).double()
    module = net.module.double()
    y0, x0, y1, x1 = (*np.argwhere(np.abs(signal[0]).sum(2)).min(0),
                      *np.argwhere(np.abs(signal[0]).sum(2)).max(0))  # fmt: skip
    for y, c, channel in ((y0, x0, 0), ((y0 + y1) // 2, (x0 + x1) // 2, 1), (y1, x1, 2)):
        step = torch.zeros_like(x)
        step[0, channel, y, c] = 1e-5
        up, down = (module(x + s)[0, 4, places[0][0], places[0][1]] for s in (step, -step))
        slope = float(up - down) / 2e-5
        # `module` ends in relu2, and the value is positive, so it is conv2's
        assert signal[0, y, c, channel] == pytest.approx(slope, abs=1e-3)


def written_out(net, pixels, unit, place, method):
    """Conv, ReLU, pool, conv: backwards by hand, with the rule of each paper."""
    x = net.prepare(np.stack(pixels))
    a = net.module.conv1(x)
    pooled, winners = functional.max_pool2d(a.clamp(min=0), 2, return_indices=True)
    signal = torch.zeros_like(net.module.conv2(pooled))
    signal[0, unit, place[0], place[1]] = 1
    signal = functional.conv_transpose2d(signal, net.module.conv2.weight, padding=1)
    signal = functional.max_unpool2d(signal, winners, 2, output_size=a.shape[2:])
    if method in ("guided", "deconvnet"):
        signal = signal.clamp(min=0)
    if method in ("guided", "gradient"):
        signal = signal * (a > 0)
    signal = functional.conv_transpose2d(signal, net.module.conv1.weight, padding=1)
    return signal[0].movedim(0, -1).detach().numpy()


@pytest.mark.parametrize("method", METHODS)
def test_each_method_is_the_one_of_its_paper(net, top, method):
    for unit in (0, 5, 11):
        pixels, places = some(top, unit, 1)
        signal, _ = explain(net, pixels, "conv2", unit, places, method=method)
        truth = written_out(net, pixels, unit, places[0], method)
        assert np.allclose(signal[0], truth, atol=1e-6)
        assert np.abs(truth).max() > 0


def test_a_part_of_the_picture_gives_the_same_as_all_of_it(monkeypatch, top, net):
    from limner.units import explain as module

    pixels, places = some(top, 3)
    part = explain(net, pixels, "conv2", 3, places)
    monkeypatch.setattr(
        module, "_windows", lambda entry, p, size: ([(0, 0)] * len(p), (size, size), list(p))
    )
    whole = explain(net, pixels, "conv2", 3, places)
    assert np.allclose(part[0], whole[0], atol=1e-6)


def test_colours_come_back_as_rgb(photo_folder):
    from limner.nets.preprocess import Normalise
    from limner.units.network import Network

    rgb = small_network()
    swapped = Network(
        "bgr", small_network().module, normalisation=Normalise((0,) * 3, (1,) * 3, bgr=True),
        size_px=40, digest="random", bgr=True,
    )  # fmt: skip
    with torch.no_grad():
        swapped.module.conv1.weight.copy_(rgb.module.conv1.weight.flip(1))
    rgb.normalisation = Normalise((0,) * 3, (1,) * 3)
    pixels = [images.read(photo_folder / "cat" / "0.png")[:40, :40]]
    a = explain(rgb, pixels, "conv1", 2, [(5, 5)], method="gradient")[0]
    b = explain(swapped, pixels, "conv1", 2, [(5, 5)], method="gradient")[0]
    assert np.allclose(a, b, atol=1e-6)


def test_drawings(net, top):
    assert draw_signal(np.zeros((4, 4, 3), np.float32)).tolist() == np.full((4, 4, 3), 128).tolist()
    one = np.zeros((4, 4, 3), np.float32)
    one[0, 0, 0], one[1, 1, 1] = 2.0, -2.0
    drawn = draw_signal(one)
    assert drawn[0, 0, 0] == 255
    assert drawn[1, 1, 1] == 0
    assert draw_why(top, net, "conv2", 3, side=32).shape == (4 * 34 - 2, 9 * 34 - 2, 3)


def test_an_ideal_picture_excites_more_than_photos_do(net, top):
    for unit in (1, 7):
        found = ideal(net, "conv2", unit, steps=80)
        assert found.value > found.start
        assert found.value > top.layer("conv2").value[unit, 0]
        assert found.image.shape == (8, 8, 3)
        again = ideal(net, "conv2", unit, steps=80)
        assert (again.image == found.image).all()


def test_an_ideal_picture_for_a_unit_without_a_place():
    net = load_network("small_resnet", weights="random", size=32)
    last = net.fields().layers[-1].layer
    found = ideal(net, last, 3, steps=12)
    assert found.value > found.start
    assert found.image.shape == (32, 32, 3)


def test_bad_input(net, top):
    pixels, places = some(top, 0)
    with pytest.raises(UnknownNameError, match="method must be one of"):
        explain(net, pixels, "conv2", 0, places, method="magic")
    with pytest.raises(InputError, match="12 units"):
        explain(net, pixels, "conv2", 12, places)
    with pytest.raises(InputError, match="places"):
        explain(net, pixels, "conv2", 0, [(99, 0)] * 3)
    with pytest.raises(InputError, match="3 pictures came with 1 places"):
        explain(net, pixels, "conv2", 0, places[:1])
    with pytest.raises(InputError, match="no ReLU before conv1"):
        explain(net, pixels, "conv1", 0, [(3, 3)] * 3, method="guided")
    with pytest.raises(InputError, match="units 0 to 11"):
        ideal(net, "conv2", 12)
    with pytest.raises(InputError, match="steps must be"):
        ideal(net, "conv2", 1, steps=0)
