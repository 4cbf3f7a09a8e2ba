"""Receptive fields against the support of a gradient, and against figures from the literature."""

from __future__ import annotations

import random

import pytest
import torch
import torchvision
from gradient_support import compare
from torch import nn

from limner.errors import InputError, ShapeError, UnknownNameError
from limner.nets.dlib_resnet import DlibResNet
from limner.nets.inception import FRModel
from limner.nets.nn4_small2 import Nn4Small2
from limner.units.load import load_network
from limner.units.receptive import fields, trace


def test_vgg19_has_the_published_sizes():
    with torch.device("meta"):
        features = torchvision.models.vgg19().features
    table = fields(features, 224)
    # features.N: the convolutions 1_1, 2_1, 3_1, 4_1, 5_1 and 5_4
    sizes = {name: table[name].size[0] for name in ("0", "5", "10", "19", "28", "34")}
    assert sizes == {"0": 3, "5": 10, "10": 24, "19": 68, "28": 156, "34": 252}
    assert table["34"].stride == (16, 16)
    own = load_network("vgg19", weights="random").fields()
    assert [e.size for e in own.layers] == [e.size for e in table.layers]


def test_alexnet_is_cut_at_the_border_layer_by_layer():
    alexnet = load_network("alexnet", weights="random").module
    entry = fields(alexnet, 224)["pool5"]
    assert entry.size == (195, 195)
    assert entry.stride == (32, 32)
    # Cut once, at the end, unit 0 would see up to pixel offset + 194. It sees less, because
    # the padding of each layer hides pixels from the layers above.
    assert entry.box((0, 0)) is not None
    assert compare(alexnet, 224, inner=0)[1] == []


@pytest.mark.parametrize(
    ("make", "size", "least"),
    [
        (lambda: torchvision.models.resnet18(), 32, 60),
        (lambda: Nn4Small2(size="half"), 32, 100),
        (lambda: FRModel(size="half"), 32, 100),
        (lambda: load_network("vgg19", weights="random").module[:19], 24, 19),
    ],
    ids=["resnet18", "nn4_small2", "frmodel", "vgg19"],
)
def test_fields_are_the_support_of_the_gradient(make, size, least):
    torch.manual_seed(0)
    layers, wrong = compare(make(), size, inner=0)
    assert layers >= least
    assert wrong == []


@pytest.mark.slow
@pytest.mark.parametrize("make", [DlibResNet, torchvision.models.squeezenet1_1])
def test_fields_of_larger_networks(make):
    layers, wrong = compare(make(), 150, inner=1)
    assert layers >= 40
    assert wrong == []


class Branches(nn.Module):
    """Branches that are added or joined, of random reach; and functions without a module."""

    def __init__(self, width: int, *, joined: bool, draw: random.Random) -> None:
        super().__init__()
        kernels = [draw.choice([1, 3, 5]) for _ in range(2)]
        dilations = [draw.choice([1, 2]) for _ in range(2)]
        self.parts = nn.ModuleList(
            nn.Conv2d(width, width, k, padding=d * (k - 1) // 2, dilation=d)
            for k, d in zip(kernels, dilations, strict=True)
        )
        self.joined = joined

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = (part(x) for part in self.parts)
        return torch.cat([a, b], 1) if self.joined else a + b


def random_net(seed: int) -> nn.Module:
    draw = random.Random(seed)
    width, layers = 3, []
    for _ in range(draw.randint(3, 6)):
        kind = draw.choice(["conv", "conv", "max", "average", "sum", "join", "group", "up"])
        kernel = draw.choice([1, 2, 3, 5])
        if kind == "conv":
            stride, padding = draw.choice([1, 1, 2]), draw.randint(0, 2)
            dilation = draw.choice([1, 2])
            layers.append(nn.Conv2d(width, 4, kernel, stride, padding, dilation))
            width = 4
        elif kind == "max":
            size = max(kernel, 2)
            ceil = draw.random() < 0.5
            layers.append(nn.MaxPool2d(size, draw.choice([1, 2]), size // 2, ceil_mode=ceil))
        elif kind == "average":
            layers.append(nn.AvgPool2d(2, draw.choice([1, 2])))
        elif kind in ("sum", "join"):
            layers.append(Branches(width, joined=kind == "join", draw=draw))
            width *= 2 if kind == "join" else 1
        elif kind == "group":
            layers.append(nn.Conv2d(width, width, 3, padding=1, groups=width))
        else:
            layers.append(nn.Upsample(scale_factor=2, mode=draw.choice(["nearest", "bilinear"])))
        layers.append(nn.ReLU())
    return nn.Sequential(*layers)


@pytest.mark.parametrize("seed", range(30))
def test_fields_of_random_networks(seed):
    layers, wrong = compare(random_net(seed), 29, inner=1)
    assert layers >= 6
    assert wrong == []


def test_an_attention_sees_everything_and_a_token_alone_does_not():
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches = nn.Conv2d(3, 8, 4, 4)
            self.norm = nn.LayerNorm(8)
            self.attend = nn.MultiheadAttention(8, 2, batch_first=True)
            self.last = nn.Linear(8, 8)

        def forward(self, x):
            x = self.norm(self.patches(x).flatten(2).transpose(1, 2))
            y, _ = self.attend(x, x, x, need_weights=False)
            return self.last(y)

    assert layer is not None
    table = fields(Net(), 16)
    assert table["norm"].layout == "channels_last"
    assert table["norm"].box((5,)) == (4, 4, 8, 8)  # the sixth patch of four a row
    assert table["last"].whole


def test_other_dimensions():
    line = nn.Sequential(nn.Conv1d(2, 4, 5, padding=2), nn.MaxPool1d(2), nn.Conv1d(4, 4, 3))
    table = fields(line, 40)
    assert [e.size for e in table.layers] == [(5,), (6,), (10,)]
    assert table["2"].seen((0,)) == ((0,), (7,))  # -2..7, cut by the padding
    volume = nn.Sequential(nn.Conv3d(1, 2, 3, stride=2), nn.Conv3d(2, 2, 3))
    assert fields(volume, (9, 11, 13))["1"].size == (7, 7, 7)


def test_branches_that_meet_keep_their_own_fields():
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.small = nn.Conv2d(3, 2, 1)
            self.large = nn.Conv2d(3, 2, 5, padding=2)
            self.joined = nn.Identity()

        def forward(self, x):
            return self.joined(torch.cat([self.small(x), self.large(x)], 1)) * 1

    entry = fields(Net(), 9)["joined"]
    assert entry.box((4, 4), 0) == (4, 4, 5, 5)
    assert entry.box((4, 4), 3) == (2, 2, 7, 7)
    assert entry.size == (5, 5)


class Dynamic(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)
        self.second = nn.Conv2d(4, 4, 3)

    def forward(self, x):
        x = self.first(x)
        return self.second(x) if float(x.mean()) < 1e9 else x


def test_a_dynamic_graph_is_followed_with_hooks_and_says_so():
    table = fields(Dynamic(), 16)
    assert table["second"].size == (5, 5)
    assert len(table.notes) == 1
    assert "torch.fx cannot trace" in table.notes[0]
    assert "hooks" in table.notes[0]


def test_an_operation_without_a_rule_is_named_and_sees_everything():
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3)
            self.after = nn.Identity()

        def forward(self, x):
            return self.after(torch.fft.fft2(self.conv(x)).real)

    table = fields(Net(), 16)
    assert table["after"].whole
    assert "no rule for" in table.notes[-1]


def test_padding_alone_is_nothing():
    entry = fields(nn.Sequential(nn.Conv2d(3, 1, 1, padding=1)), 4)["0"]
    assert entry.box((0, 0)) is None
    assert entry.box((1, 1)) == (0, 0, 1, 1)
    assert entry.frame((0, 0)) == (-1, -1, 0, 0)


def test_what_a_later_operation_overwrites_is_marked():
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3)

        def forward(self, x):
            return self.conv(x).relu_()

    assert fields(Net(), 8)["conv"].overwritten


def test_bad_input():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3))
    with pytest.raises(InputError, match="give size"):
        fields(net)
    with pytest.raises(ShapeError, match="cannot read a picture of 2 x 2"):
        fields(net, 2)
    table = trace(net, (1, 3, 9, 9))
    with pytest.raises(UnknownNameError, match="there are 0, 1"):
        table["conv9"]
    with pytest.raises(InputError, match="4 units"):
        table["0"].box((0, 0), 4)
    with pytest.raises(InputError, match="places"):
        table["0"].box((7, 0))
