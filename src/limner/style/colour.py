"""Colours of a stylized picture: the content's kept, or matched to another picture's.

Source: Gatys et al., Preserving Color in Neural Artistic Style Transfer, 2016: luminance-only
transfer, and linear matching of mean and covariance. Differs: where a kept colour does not fit
the new luminance it is desaturated, never clipped, so that hue and luminance are exact; of the
linear maps with the wanted covariance the one that moves colours least is taken (Pitie and
Kokaram, The linear Monge-Kantorovitch linear colour mapping, 2007).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from limner.errors import InputError, ShapeError
from limner.types import FloatArray

if TYPE_CHECKING:
    from limner.style.masks import Masks

Colour = Literal["style", "content", "moments", "histogram"]

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_BINS = 65536
_RIDGE = 1e-8
_GREY = 0.02  # of the range: the spread of a grey JPEG's channels stays below it


def luminance(image: FloatArray) -> FloatArray:
    """Return the luma of a picture (Rec. 601, the Y of YIQ).

    Args:
        image: Shape (H, W, 3), RGB in [0, 1].

    Returns:
        Shape (H, W), in [0, 1].
    """
    return np.asarray(image @ LUMA, np.float32)


def keep_colour(stylized: FloatArray, content: FloatArray) -> FloatArray:
    """Return the luminance of one picture with the colours of another.

    Hue is the content's; saturation too, but where that colour does not exist at the new
    luminance, where it is as large as can be.

    Args:
        stylized: Shape (H, W, 3), RGB in [0, 1].
        content: Same shape.

    Returns:
        Same shape, in [0, 1]; its luminance is that of `stylized`.

    Raises:
        ShapeError: If the shapes differ.
    """
    _check(stylized, "stylized")
    _check(content, "content")
    if stylized.shape != content.shape:
        raise ShapeError(
            f"stylized and content must have one shape, got {stylized.shape} and {content.shape}."
        )
    bright = luminance(stylized)[..., None]
    chroma = content - luminance(content)[..., None]
    room = np.where(chroma > 0, 1 - bright, bright)
    size = np.abs(chroma)
    fits = np.divide(room, size, out=np.ones_like(chroma), where=size > room)
    kept: FloatArray = bright + chroma * fits.min(axis=2, keepdims=True)
    return np.clip(kept, 0, 1)


def is_grey(image: FloatArray) -> bool:
    """Tell whether a picture has no colours: its channels are one, but for what JPEG adds.

    Args:
        image: Shape (H, W, 3), RGB in [0, 1].
    """
    spread = image.max(axis=2) - image.min(axis=2)
    return bool(np.quantile(spread, 0.99) <= _GREY)


def without_colour(image: FloatArray) -> FloatArray:
    """Return a picture's luminance in all three channels, shape (H, W, 3)."""
    return np.repeat(luminance(image)[..., None], 3, axis=2)


def drained(
    image: FloatArray, grey: Sequence[bool], *, masks: Masks | None = None, share: float = 1.0
) -> FloatArray:
    """Return a painted picture without the colours that none of its styles has.

    The activations of an encoder hold colours that a grey painting never showed; what is
    painted after one keeps its luminance alone.

    Args:
        image: Shape (H, W, 3), RGB in [0, 1].
        grey: For each style whether it is grey.
        masks: Which style goes where; without them all must be grey.
        share: How much of the colours is taken, 0 to 1.
    """
    if not any(grey) or (masks is None and not all(grey)):
        return image
    plain = image + np.float32(share) * (without_colour(image) - image)
    return plain if masks is None else masks.blend([plain if one else image for one in grey])


def match_moments(image: FloatArray, reference: FloatArray) -> FloatArray:
    """Give a picture the mean colour and the covariance of colours of another.

    Args:
        image: Shape (H, W, 3), RGB in [0, 1].
        reference: Shape (h, w, 3).

    Returns:
        The shape of `image`, clipped to [0, 1] after the map.
    """
    return np.clip(_moved(image, reference), 0, 1)


def _moved(image: FloatArray, reference: FloatArray) -> FloatArray:
    _check(image, "image")
    _check(reference, "reference")
    here, there = (p.reshape(-1, 3).astype(np.float64) for p in (image, reference))
    mean, wanted = here.mean(0), there.mean(0)
    matrix = _least_motion(_covariance(here), _covariance(there))
    moved = (here - mean) @ matrix + wanted
    return np.asarray(moved.reshape(image.shape), np.float32)


def _covariance(colours: NDArray[np.float64]) -> NDArray[np.float64]:
    centred = colours - colours.mean(0)
    return np.asarray(centred.T @ centred / len(colours))


def _least_motion(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the symmetric T with T a T = b: a^-1/2 (a^1/2 b a^1/2)^1/2 a^-1/2."""
    a = a + _RIDGE * np.eye(3)
    root, inverse = _power(a, 0.5), _power(a, -0.5)
    return np.asarray(inverse @ _power(root @ b @ root, 0.5) @ inverse)


def _power(matrix: NDArray[np.float64], exponent: float) -> NDArray[np.float64]:
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    floor = _RIDGE if exponent < 0 else 0.0
    return np.asarray((vectors * np.maximum(values, floor) ** exponent) @ vectors.T)


def match_histogram(image: FloatArray, reference: FloatArray) -> FloatArray:
    """Give each of a picture's channels the distribution that it has in another picture.

    Args:
        image: Shape (H, W, 3), RGB in [0, 1].
        reference: Shape (h, w, 3).

    Returns:
        The shape of `image`, in [0, 1]; equal values stay equal, their order is kept.
    """
    _check(image, "image")
    _check(reference, "reference")
    return np.stack([_matched(image[..., c], reference[..., c]) for c in range(3)], axis=-1)


def _matched(values: FloatArray, reference: FloatArray) -> FloatArray:
    top = _BINS - 1
    bins = np.rint(values * top).astype(np.int64)
    counts = np.bincount(bins.ravel(), minlength=_BINS)
    # The rank of a value is the middle of those that share it.
    ranks = (np.cumsum(counts) - counts / 2) / values.size
    there = np.bincount(np.rint(reference * top).astype(np.int64).ravel(), minlength=_BINS)
    present = np.flatnonzero(there)
    amount = there[present]
    middle = (np.cumsum(amount) - amount / 2) / reference.size
    table = np.interp(ranks, middle, present / top)
    return np.asarray(table[bins], np.float32)


def recolour_style(style: FloatArray, content: FloatArray, how: Colour) -> FloatArray:
    """Return the style as the optimiser should see it for the wanted colours.

    For `moments` and `histogram` the painting gets the content's colours before it is
    imitated; for `style` and `content` it is left alone.

    Raises:
        InputError: If `how` is unknown.
    """
    _known(how)
    if how == "moments":
        return match_moments(style, content)
    return match_histogram(style, content) if how == "histogram" else style


def recolour_result(result: FloatArray, content: FloatArray, how: Colour) -> FloatArray:
    """Return a finished picture in the wanted colours.

    Args:
        result: Shape (H, W, 3), RGB in [0, 1].
        content: Same shape.
        how: `style` leaves it; `content` keeps the content's colours under the result's
            luminance; `moments` and `histogram` match the result to the content.

    Raises:
        InputError: If `how` is unknown.
        ShapeError: If the shapes differ, for `content`.
    """
    _known(how)
    if how == "content":
        return keep_colour(result, content)
    return recolour_style(result, content, how)


def _known(how: str) -> None:
    if how not in get_args(Colour):
        words = ", ".join(repr(w) for w in get_args(Colour))
        raise InputError(f"colour must be one of {words}, got {how!r}.")


def _check(image: Any, what: str) -> None:
    if getattr(image, "ndim", 0) != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ShapeError(f"{what} must have shape (H, W, 3), got {getattr(image, 'shape', None)}.")
    if not np.isfinite(image).all() or image.min() < 0 or image.max() > 1:
        raise InputError(f"{what} must be RGB in [0, 1], got values outside.")
