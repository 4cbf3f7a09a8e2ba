"""Small pictures for the first look into a network: crops of scikit-image's photographs."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import numpy as np

from limner import images
from limner.errors import MissingExtraError
from limner.types import ImageArray

_NAMES = (
    *("astronaut", "chelsea", "coffee", "rocket", "camera", "coins", "brick", "grass", "gravel"),
    *("page", "text", "moon", "hubble_deep_field", "retina", "immunohistochemistry"),
)
_EACH = 2
_SIDE_PX = 112


@functools.cache
def photographs() -> dict[str, ImageArray]:
    """Return photographs that come with scikit-image, by name.

    Raises:
        MissingExtraError: If it is not installed.
    """
    try:
        from skimage import data
    except ImportError as error:
        raise MissingExtraError(
            "the sample photographs come with scikit-image: pip install 'limner[studio]'."
        ) from error
    return {name: images.read(_rgb(getattr(data, name)())) for name in _NAMES}


def _rgb(pixels: np.ndarray) -> ImageArray:
    grey = np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels[..., :3]
    return np.ascontiguousarray(grey, dtype=np.uint8)


def write_crops(folder: Path) -> list[Path]:
    """Write crops of the photographs as PNG files; the same ones at every call."""
    generator = np.random.default_rng(4)
    paths = []
    for name, photo in photographs().items():
        height, width = photo.shape[:2]
        for number in range(_EACH):
            side = int(min(height, width) * generator.uniform(0.3, 0.75))
            y = int(generator.integers(0, height - side + 1))
            x = int(generator.integers(0, width - side + 1))
            part = photo[y : y + side, x : x + side]
            path = folder / f"{name}-{number}.png"
            images.write(path, _reduced(part))
            paths.append(path)
    return paths


def _reduced(part: ImageArray) -> ImageArray:
    from PIL import Image

    square = Image.fromarray(part).resize((_SIDE_PX, _SIDE_PX), Image.Resampling.LANCZOS)
    return np.asarray(square)


def new_folder() -> Path:
    """Return a folder that is removed when the process ends."""
    import atexit
    import shutil

    folder = Path(tempfile.mkdtemp(prefix="limner-crops-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
