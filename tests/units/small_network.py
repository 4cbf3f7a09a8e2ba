"""A network small enough to be searched through by hand."""

from __future__ import annotations

import torch
from torch import nn

from limner.nets.preprocess import Normalise
from limner.units.network import Network


def small_network(*, size: int = 40, seed: int = 0) -> Network:
    torch.manual_seed(seed)
    module = nn.Sequential()
    module.add_module("conv1", nn.Conv2d(3, 8, 3, padding=1))
    module.add_module("relu1", nn.ReLU(inplace=True))
    module.add_module("pool1", nn.MaxPool2d(2))
    module.add_module("conv2", nn.Conv2d(8, 12, 3, padding=1))
    module.add_module("relu2", nn.ReLU(inplace=True))
    normalisation = Normalise((120.0, 115.0, 105.0), (60.0, 60.0, 60.0))
    return Network("small", module, normalisation=normalisation, size_px=size, digest="random")
