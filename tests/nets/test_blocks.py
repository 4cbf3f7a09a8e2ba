"""The table of blocks against its formulas; plain-34 and ResNet-34 against torchvision."""

from __future__ import annotations

import pytest
import torch

from limner.errors import InputError
from limner.nets.blocks import BLOCKS, measure
from limner.nets.plain import Net34, compare, gradient_norms


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
