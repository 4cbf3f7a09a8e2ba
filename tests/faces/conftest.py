"""Real portraits from installed packages, and analyzers that are made once."""

from __future__ import annotations

import numpy as np
import pytest

from limner.faces import FaceAnalyzer
from limner.types import ImageArray


@pytest.fixture(scope="session")
def astronaut() -> ImageArray:
    data = pytest.importorskip("skimage.data")
    return np.asarray(data.astronaut(), np.uint8)


@pytest.fixture(scope="session")
def hopper() -> ImageArray:
    from matplotlib.cbook import get_sample_data

    from limner import images

    with get_sample_data("grace_hopper.jpg") as file:
        return images.read(file)


@pytest.fixture(scope="session")
def facenet() -> FaceAnalyzer:
    return FaceAnalyzer(embedder="facenet")


@pytest.fixture(scope="session")
def dlib_net() -> FaceAnalyzer:
    return FaceAnalyzer(embedder="dlib")
