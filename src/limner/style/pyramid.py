"""Sizes of the coarse-to-fine pyramid, resizing, and the picture a run starts from."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from limner.errors import InputError, UnknownNameError
from limner.style.kinds import Resampling

Side = Literal["longer", "shorter"]
MIN_SIDE_PX = 32  # the fifth block of a VGG needs 16, and a style more than one position


def fit(
    size_hw: tuple[int, int], *, size: float, side: Side, resampling: Resampling = "bicubic"
) -> tuple[int, int]:
    """Return height and width so that one side is `size` and the proportions are kept.

    The other side is rounded to the nearest pixel; for `torchvision` it is cut to whole pixels,
    as ``torchvision.transforms.Resize`` does.

    Args:
        size_hw: Of the original.
        size: Pixels.
        side: Which side is meant, the `longer` or the `shorter` one.
        resampling: As for `resize`.

    Raises:
        UnknownNameError: If `side` is neither.
    """
    if side not in ("longer", "shorter"):
        raise UnknownNameError(f"side must be 'longer' or 'shorter', got {side!r}.")
    height, width = size_hw
    if resampling == "torchvision":
        asked, known = max(1, round(size)), (max if side == "longer" else min)(size_hw)
        # In this order: int(size * (long / short)) is a pixel less now and then.
        height, width = (asked if n == known else int(asked * n / known) for n in size_hw)
        return max(1, height), max(1, width)
    scale = size / (max if side == "longer" else min)(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def check_size(size_hw: tuple[int, int], original_hw: tuple[int, int], *, what: str) -> None:
    """Refuse a picture whose shorter side an encoder cannot read.

    Raises:
        InputError: If a side is below 32 pixels.
    """
    if min(size_hw) < MIN_SIDE_PX:
        wanted = -(-MIN_SIDE_PX * max(original_hw) // min(original_hw))
        raise InputError(
            f"{what} is {original_hw[1]} x {original_hw[0]} px, which makes {size_hw[1]} x "
            f"{size_hw[0]} at this size; an encoder needs {MIN_SIDE_PX} px each way. Crop it, or "
            f"ask for a longer side of at least {wanted} px."
        )


def resize(
    image: Tensor, size_hw: tuple[int, int], *, resampling: Resampling = "bicubic"
) -> Tensor:
    """Return a picture at another size, anti-aliased, within [0, 1].

    Args:
        image: Shape (1, 3, H, W), in [0, 1].
        size_hw: Height and width wanted.
        resampling: `bicubic`, or `torchvision`: what ``Resize`` and ``ToTensor`` make of an 8-bit
            picture: bilinear, and rounded to 8 bits before and after.
    """
    if tuple(image.shape[-2:]) == tuple(size_hw):
        return image.clone()
    if resampling == "torchvision":
        return _resized_in_8_bits(image, size_hw)
    resized = functional.interpolate(
        image, size=size_hw, mode="bicubic", align_corners=False, antialias=True
    )
    return resized.clamp_(0, 1)


def _resized_in_8_bits(image: Tensor, size_hw: tuple[int, int]) -> Tensor:
    import numpy as np
    from PIL import Image

    pixels = (image[0].permute(1, 2, 0) * 255).round().clamp(0, 255).to("cpu", torch.uint8).numpy()
    small = Image.fromarray(pixels).resize(size_hw[::-1], Image.Resampling.BILINEAR)
    # In float32, whatever the precision: that is what `ToTensor` gives.
    return (torch.from_numpy(np.array(small)).permute(2, 0, 1)[None].float() / 255).to(image)


def noisy(content: Tensor, *, noise: float, seed: int) -> Tensor:
    """Return ``rand * noise + content * (1 - noise)``, the notes' start.

    Args:
        content: Shape (1, 3, H, W), in [0, 1].
        noise: Share of the noise, in [0, 1]; the notes' is 0.6.
        seed: Of the noise, which is uniform in [0, 1).
    """
    generator = torch.Generator().manual_seed(seed)
    random = torch.rand(content.shape, generator=generator)  # the same in every precision
    return random.to(content) * noise + content * (1 - noise)
