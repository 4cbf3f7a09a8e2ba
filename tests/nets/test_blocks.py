"""The table of blocks against its formulas; plain-34 and ResNet-34 against torchvision."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from limner.errors import InputError
from limner.nets.blocks import BLOCKS, measure
from limner.nets.plain import Net34, SmallNet, compare, gradient_norms, plain_resnet


@pytest.mark.parametrize(("c", "side"), [(64, 7), (256, 14)])
def test_costs_are_those_of_the_formulas(c, side):
    places = side * side
    three, norm = 9 * c * c, 2 * c
    wanted = {
        "convolution": (three + norm, three * places),
        "grouped convolution": (three // 32 + norm, three // 32 * places),
        "depth-wise convolution": (9 * c + norm, 9 * c * places),
        "depth-wise separable": (9 * c + c * c + 2 * norm, (9 * c + c * c) * places),
        "plain pair": (2 * (three + norm), 2 * three * places),
        "residual": (2 * (three + norm), 2 * three * places),
    }
    q = c // 4
    inside = 2 * c * q + 9 * q * q
    wanted["bottleneck"] = (inside + 2 * (2 * q + c), inside * places)
    h = c // 2
    inside = 2 * c * h + 9 * h * h // 32
    wanted["grouped bottleneck"] = (inside + 2 * (2 * h + c), inside * places)
    e = 6 * c
    inside = 2 * c * e + 9 * e
    wanted["inverted residual"] = (inside + 2 * (2 * e + c), inside * places)
    s = c // 16
    wanted["squeeze and excitation"] = (2 * c * s + s + c, 2 * c * s)  # once for all places
    reads = sum(c + 32 * i for i in range(4))
    inside = 9 * 32 * reads + (c + 128) * c
    wanted["dense"] = (inside + 2 * 4 * 32 + norm, inside * places)
    assert {row.block.name: (row.parameters, row.flops) for row in measure(width=c, side=side)} == (
        wanted
    )


@pytest.mark.parametrize("block", BLOCKS, ids=lambda b: b.name)
def test_blocks_keep_width_and_size_and_pass_a_gradient(block):
    torch.manual_seed(0)
    net, x = block.make(64), torch.randn(2, 64, 5, 7, requires_grad=True)
    y = net(x)
    assert y.shape == x.shape
    y.square().sum().backward()
    assert float(x.grad.abs().min(dim=1).values.max()) > 0


def test_a_residual_block_that_has_learnt_nothing_passes_its_input_on():
    for block in BLOCKS:
        if block.name in ("residual", "bottleneck", "grouped bottleneck", "inverted residual"):
            net = block.make(64).eval()
            for parameter in net.parameters():
                parameter.data.zero_()
            x = torch.rand(1, 64, 4, 4)
            assert torch.equal(net(x), x)


def test_bad_sizes():
    with pytest.raises(InputError, match="width must be a multiple of 64, got 100"):
        measure(width=100)
    with pytest.raises(InputError, match="side must be 1 or more"):
        measure(side=0)


def torchvision_names(key):
    """torchvision's name of a tensor of `Net34`."""
    key = key.replace("trunk.stem.conv", "conv1").replace("trunk.stem.norm", "bn1")
    key = key.replace("head.", "fc.")
    if key.startswith("trunk.stage"):
        stage, rest = key.removeprefix("trunk.stage").split(".", 1)
        layer, i = stage.split("_")
        for old, new in (
            ("first.conv", "conv1"),
            ("first.norm", "bn1"),
            ("second.conv", "conv2"),
            ("second.norm", "bn2"),
            ("shortcut.conv", "downsample.0"),
            ("shortcut.norm", "downsample.1"),
        ):
            rest = rest.replace(old, new)
        key = f"layer{layer}.{int(i) - 1}.{rest}"
    return key


def test_resnet34_is_torchvisions():
    from torchvision import models

    torch.manual_seed(0)
    ours, theirs = Net34(classes=7).eval(), models.resnet34(num_classes=7).eval()
    theirs.load_state_dict({torchvision_names(k): v for k, v in ours.state_dict().items()})
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x))


def test_plain34_is_resnet34_without_its_shortcuts():
    plain, residual = Net34(shortcuts=False), Net34()
    own = {k: v.shape for k, v in plain.state_dict().items()}
    shared = {k: v.shape for k, v in residual.state_dict().items() if "shortcut" not in k}
    assert own == shared
    assert len([k for k in own if k.endswith("conv.weight")]) == 33


def test_gradient_norms_are_autograds():
    torch.manual_seed(0)
    net = Net34(classes=3)
    x, labels = torch.randn(4, 3, 48, 48), torch.tensor([0, 1, 2, 0])
    rows = gradient_norms(net, x, labels)
    assert [row.layer for row in rows] == list(range(1, 34))
    fresh = Net34(classes=3)
    fresh.load_state_dict(net.state_dict())
    weight = fresh.trunk.get_parameter("stage3_2.second.conv.weight")
    loss = torch.nn.functional.cross_entropy(fresh.train()(x), labels)
    (wanted,) = torch.autograd.grad(loss, weight)
    (row,) = [r for r in rows if r.name == "stage3_2.second.conv"]
    assert row.norm == pytest.approx(float(wanted.norm()), rel=1e-4)
    assert row.relative == pytest.approx(row.norm / float(weight.detach().norm()), rel=1e-5)


def test_shortcuts_keep_gradients_alive_and_in_bounds():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, 3, 32, 32, generator=generator)
    found = compare(x, torch.arange(4), seeds=1)
    first = {name: rows[0].norm for name, rows in found.items()}
    last = {name: rows[-1].norm for name, rows in found.items()}
    assert first["plain-34, not normalised"] < 1e-9 < 1e-4 < first["ResNet-34, not normalised"]
    ratio = {name: first[name] / last[name] for name in found}
    assert ratio["plain-34"] > 3 * ratio["ResNet-34"]


def test_gradients_vanish_behind_sigmoids_and_explode_behind_wide_tanh():
    """Layer by layer, and while the signal itself is alive."""
    torch.manual_seed(0)
    x, labels = torch.randn(4, 3, 64, 64), torch.arange(4)
    found = compare(x, labels, seeds=1)
    norms = {name: [row.norm for row in found[name]] for name in ("sigmoid", "tanh")}
    assert norms["sigmoid"][0] < 1e-15
    assert norms["sigmoid"][-1] > 1e-2
    behind = zip(norms["sigmoid"][4:], norms["sigmoid"], strict=False)
    assert all(later > 20 * earlier for later, earlier in behind)
    assert norms["tanh"][0] > 1000 * norms["tanh"][-1]
    for activation in ("sigmoid", "tanh"):
        torch.manual_seed(0)
        net = Net34(classes=4, shortcuts=False, batch_norm=False, activation=activation)
        with torch.no_grad():
            maps = net.trunk(x)
        assert maps.std() > 0.05  # no dead signal


@pytest.mark.parametrize(("layers", "millions"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85)])
def test_small_networks_have_the_papers_parameters(layers, millions):
    """He et al. (2016), table 6; a plain network has no fewer."""
    plain = SmallNet(layers=layers, shortcuts=False)
    assert sum(p.numel() for p in plain.parameters()) / 1e6 == pytest.approx(millions, abs=0.005)
    weighty = [m for m in plain.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(weighty) == layers
    with pytest.raises(InputError, match="6 n \\+ 2"):
        SmallNet(layers=layers + 1, shortcuts=False)


@pytest.mark.parametrize("layers", [18, 34])
def test_plain_networks_are_torchvisions_without_shortcuts(layers):
    """Oracle: torchvision's own weights fit, and its block answers so with the shortcut at 0."""
    from torchvision.models import get_model

    theirs, ours = get_model(f"resnet{layers}", weights=None).eval(), plain_resnet(layers).eval()
    state = {k: v for k, v in theirs.state_dict().items() if "downsample" not in k}
    ours.load_state_dict(state)
    block, plain = theirs.layer1[0], ours.layer1[0]
    x = torch.rand(2, 64, 8, 8)
    with torch.no_grad():
        summed = block.bn2(block.conv2(block.relu(block.bn1(block.conv1(x)))))
        assert torch.allclose(plain(x), summed.relu(), atol=1e-6)
        assert not torch.allclose(plain(x), block(x), atol=1e-2)
    assert ours(torch.rand(1, 3, 64, 64)).shape == (1, 1000)
