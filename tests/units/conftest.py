"""A small network and a folder of small photographs, cut from real ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from limner import images
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


@pytest.fixture
def net() -> Network:
    return small_network()


@pytest.fixture(scope="session")
def photo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty-four different parts of photographs, in three folders."""
    from skimage import data

    folder = tmp_path_factory.mktemp("photos")
    for kind, picture in (
        ("cat", data.chelsea()),
        ("woman", data.astronaut()),
        ("cup", data.coffee()),
    ):
        (folder / kind).mkdir()
        height, width = picture.shape[:2]
        for i in range(8):
            y, x = (i // 4) * (height // 2), (i % 4) * (width // 4)
            part = np.ascontiguousarray(picture[y : y + height // 2, x : x + width // 4])
            images.write(folder / kind / f"{i}.png", part)
    return folder
