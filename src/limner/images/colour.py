"""ICC profiles to sRGB, and transparency onto white."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from limner.images.icc import matrix_profile

if TYPE_CHECKING:
    import PIL.Image

_PROBE_LEVELS = 9
_INVISIBLE = 1  # a transform that moves no probe by more than this many levels is left out


@lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> Any:
    """Return the ImageCms transform to sRGB, or None where it is broken or changes nothing."""
    import io

    from PIL import ImageCms

    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
        return None if mode == "RGB" and _changes_nothing(transform) else transform
    except Exception:  # a broken profile is ignored: the picture is still a picture
        return None


def _changes_nothing(transform: Any) -> bool:
    from PIL import Image

    levels = np.linspace(0, 255, _PROBE_LEVELS).round().astype(np.uint8)
    cube = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1)
    probe = np.ascontiguousarray(cube.reshape(1, -1, 3))
    moved = np.asarray(transform.apply(Image.fromarray(probe)))
    return int(np.abs(moved.astype(np.int16) - probe).max()) <= _INVISIBLE


def to_srgb(image: PIL.Image.Image, profile: bytes | None) -> PIL.Image.Image:
    """Return a picture of mode RGB, converted by its ICC profile where that can be used.

    Args:
        image: Mode L, RGB, CMYK, LAB or anything that Pillow converts to RGB; no alpha.
        profile: Bytes of the ICC profile, or None.
    """
    if image.mode == "LAB":
        return _lab_to_srgb(image)
    if profile and image.mode in ("L", "RGB", "CMYK"):
        transform = _transform(profile, image.mode)
        if transform is not None:
            converted: PIL.Image.Image = transform.apply(image)
            return converted
    return image if image.mode == "RGB" else image.convert("RGB")


def _lab_to_srgb(image: PIL.Image.Image) -> PIL.Image.Image:
    from PIL import ImageCms

    transform = ImageCms.buildTransform(
        ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB"
    )
    converted: PIL.Image.Image = transform.apply(image)
    return converted


def to_srgb_float(rgb: NDArray[np.float32], profile: bytes | None) -> NDArray[np.float32]:
    """Convert pixels of more than 8 bits to sRGB by their ICC profile.

    Profiles of three primaries and tone curves (which is what cameras and editors embed) are
    computed in floating point. Profiles of any other kind go through 8 bits.

    Args:
        rgb: Shape (H, W, 3), in [0, 1].
        profile: Bytes of the ICC profile, or None.

    Returns:
        Same shape, in [0, 1].
    """
    if not profile or _transform(profile, "RGB") is None:
        return rgb
    matrix = matrix_profile(profile)
    if matrix is not None:
        return matrix.to_srgb(rgb)
    from PIL import Image

    eight = Image.fromarray(np.rint(rgb * 255).astype(np.uint8))
    return np.asarray(to_srgb(eight, profile), dtype=np.float32) / np.float32(255)


def onto_white(rgb: PIL.Image.Image, alpha: PIL.Image.Image) -> PIL.Image.Image:
    """Composite an RGB picture onto white; `alpha` is mode L, 0 transparent, 255 opaque."""
    from PIL import Image

    paper = Image.new("RGB", rgb.size, (255, 255, 255))
    paper.paste(rgb, mask=alpha)
    return paper
