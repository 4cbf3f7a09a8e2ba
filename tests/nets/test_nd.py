"""Builders in one, two and three dimensions: the notes' shapes, and inflation's identity."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from limner.errors import InputError
from limner.nets import nd
from limner.nets.inception import FRModel, FRModelNet
from limner.nets.inflate import inflate
from limner.nets.nn4_small2 import Nn4Small2

SIDES = {1: (64,), 2: (32, 32), 3: (16, 16, 16)}
# What Keras' summary says of nn4.small2's well-known port, running averages included.
NN4_PARAMETERS = 3_743_280
NN4_SHAPES = {
    "conv1": (64, 48, 48),
    "pool1": (64, 24, 24),
    "conv2": (64, 24, 24),
    "conv3": (192, 24, 24),
    "pool2": (192, 12, 12),
    "inception_1a": (256, 12, 12),
    "inception_1b": (320, 12, 12),
    "inception_1c": (640, 6, 6),
    "inception_2a": (640, 6, 6),
    "inception_2b": (1024, 3, 3),
    "inception_3a": (736, 3, 3),
    "inception_3b": (736, 3, 3),
}


def settle(net: nn.Module, x: torch.Tensor) -> nn.Module:
    """Give batch normalisations the averages of some input, so that no ReLU is dead."""
    for module in net.modules():
        if hasattr(module, "running_var"):
            module.momentum = None  # the average of all, not a running one
    with torch.no_grad():
        for _ in range(2):
            net.train()(x)
    return net.eval()


@pytest.mark.parametrize(
    ("array", "kernels", "answer"),
    [
        ((14, 14, 3), (5, 5, 3, 16), (10, 10, 16)),
        ((14, 1), (5, 1, 16), (10, 16)),
        ((14, 14, 14, 1), (5, 5, 5, 1, 16), (10, 10, 10, 16)),
        ((10, 16), (5, 16, 32), (6, 32)),
        ((10, 10, 10, 16), (5, 5, 5, 16, 32), (6, 6, 6, 32)),
    ],
)
def test_the_notes_shapes(array, kernels, answer):
    torch.manual_seed(0)
    x = torch.rand(array, dtype=torch.float64)
    k = torch.rand(kernels, dtype=torch.float64)
    y = nd.convolve(x, k)
    assert tuple(y.shape) == answer
    # one place, by the definition: the sum of products over the window
    place = tuple(n // 2 for n in answer[:-1])
    window = x[tuple(slice(p, p + s) for p, s in zip(place, kernels, strict=False))]
    expected = (window.unsqueeze(-1) * k).sum(dim=tuple(range(len(kernels) - 1)))
    assert torch.allclose(y[place], expected, atol=1e-12)


@pytest.mark.parametrize(
    ("array", "kernels", "words"),
    [
        ((14, 14, 3), (5, 5, 4, 16), "3 channels in"),
        ((14, 14, 3), (5, 3, 16), "has 2 sides"),
        ((4, 1), (5, 1, 16), "larger than the array"),
        ((4,), (5, 16), "dims must be 1"),
    ],
)
def test_convolve_refuses_what_does_not_fit(array, kernels, words):
    with pytest.raises(InputError, match=words):
        nd.convolve(torch.rand(array), torch.rand(kernels))


def test_unknown_words_are_refused():
    with pytest.raises(InputError, match="dims must be 1"):
        nd.conv(4, 1, 1, 3)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="'max' or 'average', got 'avg'"):
        nd.pool(2, "avg", 3)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="'full' or 'half'"):
        Nn4Small2(size="tiny")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="exactly one"):
        nd.SmallResNet(1, 1)
    with pytest.raises(InputError, match="exactly one"):
        nd.SmallResNet(1, 1, classes=2, embedding=8)


def test_nn4_small2_has_the_published_shapes_and_parameters():
    net = Nn4Small2().eval()
    held = {k: v for k, v in net.state_dict().items() if not k.endswith("num_batches_tracked")}
    assert sum(v.numel() for v in held.values()) == NN4_PARAMETERS
    x = torch.rand(2, 3, 96, 96)
    seen = {}
    y = x
    for name, layer in net.trunk.named_children():
        y = layer(y)
        seen[name] = tuple(y.shape[1:])
    assert seen == NN4_SHAPES
    embedded = net(x)
    assert embedded.shape == (2, 128)
    assert torch.allclose(embedded.norm(dim=1), torch.ones(2), atol=1e-6)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_blocks_keep_their_promises_in_every_dimension(dims):
    x = torch.rand(2, 4, *SIDES[dims])
    half = tuple(side // 2 for side in SIDES[dims])
    assert nd.ConvBlock(dims, 4, 6, 5, dilation=2)(x).shape == (2, 6, *SIDES[dims])
    assert nd.ResidualBlock(dims, 4, 6, stride=2)(x).shape == (2, 6, *half)
    assert nd.DepthwiseBlock(dims, 4, 6, stride=2)(x).shape == (2, 6, *half)
    dense = nd.DenseBlock(dims, 4, growth=3, layers=2)
    y = dense(x)
    assert y.shape == (2, dense.outputs, *SIDES[dims])
    assert torch.equal(y[:, :4], x)


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("build", [nd.SmallResNet, Nn4Small2, FRModelNet])
def test_networks_learn_and_their_class_maps_add_up(dims, build):
    torch.manual_seed(0)
    options = {"width": 4} if build is nd.SmallResNet else {"size": "half"}
    net = build(dims, 2, classes=3, **options)
    x = torch.rand(2, 2, *SIDES[dims])
    net(x).square().sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    settle(net, x)
    maps = net.class_maps(x)
    scores = maps.flatten(2).mean(dim=2) + net.head.bias
    assert torch.allclose(scores, net(x), atol=1e-5)


def test_depthwise_channels_do_not_see_each_other():
    layer = nd.DepthwiseBlock(1, 3, 3)[0].eval()
    x = torch.rand(1, 3, 20, requires_grad=True)
    layer(x)[0, 1].sum().backward()
    assert x.grad is not None
    assert x.grad[0, [0, 2]].abs().sum() == 0


def stack(picture: torch.Tensor, depth: int) -> torch.Tensor:
    return picture.unsqueeze(2).expand(-1, -1, depth, -1, -1)


def two_dimensional(name: str) -> nn.Module:
    torch.manual_seed(3)
    if name == "resnet18":
        from torchvision.models import resnet18

        return resnet18()
    if name == "mixed":
        return nn.Sequential(
            nn.Conv2d(3, 8, (1, 7), padding=(0, 3)),
            nn.AvgPool2d(3, stride=2, padding=1),
            nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=4),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.AdaptiveAvgPool2d((3, 2)),
            nn.Flatten(),
            nn.Linear(48, 5),
        )
    if name == "frmodel":
        return FRModel(size="half")
    if name == "nn4_small2":
        return Nn4Small2()
    if name == "classifier":
        return Nn4Small2(2, 3, size="half", classes=5)
    return nd.SmallResNet(2, 3, classes=5, width=8)


@pytest.mark.parametrize("depth_stride", [None, 1])
@pytest.mark.parametrize(
    "name", ["resnet18", "mixed", "frmodel", "nn4_small2", "classifier", "small"]
)
def test_a_stack_of_equal_slices_gives_the_two_dimensional_answer(name, depth_stride):
    net = settle(two_dimensional(name).double(), torch.rand(4, 3, 64, 64, dtype=torch.float64))
    picture = torch.rand(1, 3, 64, 64, dtype=torch.float64)
    deep = inflate(net, depth_stride=depth_stride)
    with torch.no_grad():
        expected, got = net(picture), deep(stack(picture, 6))
        other = net(torch.zeros_like(picture))
        single = deep.float()(stack(picture, 6).float())
    assert (other - expected).abs().max() > 1e-2  # the network does look at its input
    assert (got - expected).abs().max() <= 1e-10
    assert (single - expected).abs().max() <= 5e-5 * max(1.0, float(expected.abs().max()))
    assert not any(isinstance(m, nn.Conv2d) for m in deep.modules())


def test_zero_padding_in_the_depth_would_not():
    """The other way, to show that the identity test can fail."""
    net = settle(two_dimensional("small"), torch.rand(4, 3, 32, 32))
    deep = inflate(net, depth_stride=1)
    for module in deep.modules():
        if hasattr(module, "pads"):
            before = module.pads[4]
            module.layer.padding = (before, *module.layer.padding[1:])
            module.pads = (0,) * 6
    picture = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        expected = net(picture)
        error = (deep(stack(picture, 6)) - expected).norm() / expected.norm()
    assert error > 0.05


def test_inflation_reads_other_depths_and_learns():
    deep = inflate(two_dimensional("classifier"))
    deep(torch.rand(2, 3, 9, 32, 32)).sum().backward()
    assert all(p.grad is not None for p in deep.parameters())


def test_inflation_refuses_what_it_cannot_carry_over():
    with pytest.raises(InputError, match=r"network\.1 is a InstanceNorm2d"):
        inflate(nn.Sequential(nn.Conv2d(3, 4, 3), nn.InstanceNorm2d(4)))
    with pytest.raises(InputError, match="padding_mode='reflect'"):
        inflate(nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"))
    with pytest.raises(InputError, match="depth_stride must be 1 or more, got 0"):
        inflate(nn.Conv2d(3, 4, 3), depth_stride=0)
