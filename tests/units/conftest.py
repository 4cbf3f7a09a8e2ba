"""A small network and a folder of small photographs, cut from real ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_network import small_network

from limner import images
from limner.units.network import Network


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
