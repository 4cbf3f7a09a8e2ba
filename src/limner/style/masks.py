"""Which style goes where: one region per colour of a mask picture."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from limner.errors import InputError, ShapeError
from limner.images import describe, read
from limner.types import FloatArray, ImageArray

if TYPE_CHECKING:
    from limner.images.sources import Source

RGB = tuple[int, int, int]

TOLERANCE = 60.0
_SMALLEST = 0.002
_STRAY = 0.05
_SKEW = 0.03
_SOFT = 0.01


@dataclass(frozen=True, eq=False)
class Masks:
    """Soft regions that cover a picture.

    Attributes:
        shares: Shape (K, H, W), float32 in [0, 1]; at every pixel they sum to 1.
        colours: The colour of each region in the mask picture; empty where there was none.
    """

    shares: FloatArray
    colours: tuple[RGB, ...] = ()

    def __post_init__(self) -> None:
        shares = self.shares
        if shares.ndim != 3 or 0 in shares.shape:
            raise ShapeError(f"masks must have shape (K, H, W), got {shares.shape}.")
        if not np.isfinite(shares).all():
            raise InputError("The masks hold values that are not numbers (NaN or infinite).")
        if shares.min() < 0 or np.abs(shares.sum(0) - 1).max() > 1e-3:
            raise InputError("The masks must not be negative and must sum to 1 at every pixel.")
        if self.colours and len(self.colours) != len(shares):
            raise InputError(f"There are {len(shares)} masks and {len(self.colours)} colours.")

    def __len__(self) -> int:
        return len(self.shares)

    def at(self, height: int, width: int) -> FloatArray:
        """Return the masks at another size, such as a tap's: averaged over what a cell covers.

        Returns:
            Shape (K, height, width); they still sum to 1.
        """
        import cv2

        if (height, width) == self.shares.shape[1:]:
            return self.shares
        shrinks = height * width < self.shares.shape[1] * self.shares.shape[2]
        way = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        sized = [cv2.resize(s, (width, height), interpolation=way) for s in self.shares]
        return _normalised(np.stack(sized).astype(np.float32))

    def check(self, height: int, width: int) -> None:
        """Refuse a picture of other proportions; a mask that is only larger or smaller will do.

        Raises:
            InputError: If the ratios of width to height differ by more than 3 %.
        """
        tall, wide = self.shares.shape[1:]
        if abs(np.log(width * tall / (height * wide))) > _SKEW:
            raise InputError(
                f"The mask is {wide} x {tall} px and the content {width} x {height}: they must "
                "have the same proportions. Cut the mask as the content is cut."
            )

    def cut(self, picture: FloatArray, index: int) -> FloatArray:
        """Return the pixels of one region in a row, shape (1, N, 3); all if it has none."""
        inside = picture[self.at(*picture.shape[:2])[index] > 0.5]
        return (inside if len(inside) else picture.reshape(-1, 3))[None]

    def sized(self, height: int, width: int) -> Masks:
        """Return the same masks at another size."""
        return Masks(self.at(height, width), self.colours)

    def softened(self, radius_px: float) -> Masks:
        """Return masks whose borders fade over about `radius_px` pixels to either side."""
        import cv2

        if not (np.isfinite(radius_px) and radius_px >= 0):
            raise InputError(f"radius_px must not be negative, got {radius_px}.")
        if radius_px == 0:
            return self
        sigma = radius_px / 2
        blurred = [
            cv2.GaussianBlur(s, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE) for s in self.shares
        ]
        return Masks(_normalised(np.stack(blurred)), self.colours)

    def soft(self, height: int, width: int) -> Masks:
        """Return the masks for pictures of a size: borders fade over 1 % of the longer side."""
        return self.sized(height, width).softened(_SOFT * max(height, width))

    def blend(self, pictures: Sequence[FloatArray]) -> FloatArray:
        """Put pictures of one size together, each where its mask is.

        Args:
            pictures: One of shape (H, W, 3) per mask.

        Returns:
            Shape (H, W, 3).

        Raises:
            ShapeError: If their number or sizes do not fit.
        """
        if len(pictures) != len(self) or len({p.shape for p in pictures}) != 1:
            raise ShapeError(
                f"{len(self)} pictures of one size are needed, one for each mask, got "
                f"{[p.shape for p in pictures]}."
            )
        shares = self.at(*pictures[0].shape[:2])
        total = np.zeros_like(pictures[0], dtype=np.float32)
        for share, picture in zip(shares, pictures, strict=True):
            total += share[..., None] * picture
        return total


def _normalised(shares: FloatArray) -> FloatArray:
    shares = np.maximum(shares, 0)
    total: FloatArray = shares / shares.sum(0, keepdims=True)
    return total


def from_shares(shares: Any) -> Masks:
    """Return masks from numbers, scaled so that they sum to 1 at every pixel.

    Args:
        shares: Shape (K, H, W), or (H, W) for the first of two masks (the second is the rest);
            not negative, finite, and not all 0 anywhere.

    Raises:
        ShapeError: If the shape is another.
        InputError: If a value is NaN, infinite or negative, or a pixel belongs to no mask.
    """
    array = np.asarray(shares, np.float32)
    if array.ndim not in (2, 3) or 0 in array.shape:
        raise ShapeError(f"masks must have shape (K, H, W) or (H, W), got {array.shape}.")
    if not np.isfinite(array).all():
        bad = int((~np.isfinite(array)).sum())
        raise InputError(f"The mask holds {bad} values that are not numbers (NaN or infinite).")
    if array.min() < 0:
        raise InputError(f"A mask must not be negative, got {array.min()}.")
    if array.ndim == 2:
        if array.max() > 1:
            raise InputError(f"A single mask must lie in [0, 1], got {array.max()}.")
        array = np.stack([array, 1 - array])
    if (array.sum(0) <= 0).any():
        raise InputError("Some pixels belong to no mask: at every pixel one must be above 0.")
    return Masks(_normalised(array))


def read_masks(
    source: Source,
    *,
    count: int | None = None,
    colours: Sequence[RGB | str] | None = None,
    tolerance: float = TOLERANCE,
) -> Masks:
    """Read a mask picture: one region per colour.

    Pixels go to the nearest colour, so that smoothed edges are no regions of their own.

    Args:
        source: The picture; PNG keeps colours exact, JPEG blurs them, which is tolerated. An
            array of floats is taken by `from_shares`.
        count: How many colours there must be; None for as many as there are.
        colours: Which colour belongs to the first style, the second and so on; without them
            the regions are ordered from the darkest colour to the lightest.
        tolerance: How far a pixel may be from a region's colour (in RGB 0..255).

    Raises:
        InputError: If the mask has too few or too many colours, lacks one, or holds NaN.
        ImageError: If the picture cannot be read.
    """
    if not (np.isfinite(tolerance) and 0 < tolerance <= 442):
        raise InputError(f"tolerance must lie in (0, 442], got {tolerance}.")
    if isinstance(source, np.ndarray) and source.dtype.kind == "f":
        if source.ndim != 3 or source.shape[2] != 3:
            return from_shares(source)
        if not np.isfinite(source).all():
            raise InputError("The mask holds values that are not numbers (NaN or infinite).")
        source = np.rint(np.clip(source, 0, 1) * 255).astype(np.uint8)
    name = describe(source)
    picture = read(source)
    wanted = None if colours is None else [parse_colour(c) for c in colours]
    found = wanted if wanted is not None else _colours_of(picture, tolerance)
    if len(set(found)) != len(found):
        raise InputError(f"The mask's colours must differ, got {_words(found)}.")
    if count is not None and len(found) != count:
        raise InputError(
            f"{name} has {len(found)} colours ({_words(found)}), but there are {count} styles: "
            "give one style for each colour."
        )
    return _regions(picture, found, tolerance, name)


def masks_for(
    count: int,
    mask: Source | Masks | None,
    *,
    colours: Sequence[RGB | str] | None = None,
    weights: Sequence[float] | None = None,
) -> Masks | None:
    """Return the masks for so many styles; None where there are none.

    Args:
        count: Styles.
        mask: As for `read_masks`, or masks that were read.
        colours: As for `read_masks`.
        weights: Of the styles; they do not go together with a mask.

    Raises:
        InputError: If masks, colours, weights and styles do not fit together.
    """
    if mask is None:
        if colours is not None:
            raise InputError("Colours of a mask were given, but no mask.")
        return None
    if weights is not None:
        raise InputError("Weights of styles and a mask cannot be used together.")
    if not isinstance(mask, Masks):
        return read_masks(mask, count=count, colours=colours)
    if len(mask) != count:
        raise InputError(f"There are {len(mask)} masks, but {count} styles.")
    return mask


def _regions(picture: ImageArray, colours: list[RGB], tolerance: float, name: str) -> Masks:
    pixels = picture.astype(np.float32)
    distances = np.stack([((pixels - np.array(c, np.float32)) ** 2).sum(2) for c in colours])
    nearest = distances.argmin(0)
    stray = float((distances.min(0) > tolerance**2).mean())
    if stray > _STRAY:
        raise InputError(
            f"{stray:.0%} of {name} is none of the colours {_words(colours)}; paint the mask in "
            "those, or raise the tolerance."
        )
    shares = (nearest[None] == np.arange(len(colours))[:, None, None]).astype(np.float32)
    empty = [c for c, s in zip(colours, shares, strict=True) if not s.any()]
    if empty:
        raise InputError(f"{name} has no pixel of the colour {_words(empty)}.")
    return Masks(shares, tuple(colours))


def _colours_of(picture: ImageArray, tolerance: float) -> list[RGB]:
    """Return the colours of the regions, from dark to light."""
    codes = picture.reshape(-1, 3).astype(np.int64) @ np.array([65536, 256, 1])
    values, counts = np.unique(codes, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    palette = np.stack([values >> 16, values >> 8 & 255, values & 255], axis=1)[order]
    counts = counts[order]
    free = np.ones(len(palette), bool)
    found: list[RGB] = []
    while free.any() and len(found) < 64:
        first = palette[free.argmax()]
        near = ((palette - first) ** 2).sum(1) <= tolerance**2
        share = counts[near & free].sum() / len(codes)
        if share >= _SMALLEST and _is_thick(codes, values[order][near & free], picture.shape):
            found.append((int(first[0]), int(first[1]), int(first[2])))
        free &= ~near
    return sorted(found, key=lambda c: (0.299 * c[0] + 0.587 * c[1] + 0.114 * c[2], c))


def _is_thick(codes: Any, members: Any, shape: tuple[int, ...]) -> bool:
    """Tell a region from the seam that smoothing or JPEG leaves between two regions."""
    import cv2

    mask = np.isin(codes, members).reshape(shape[:2]).astype(np.uint8)
    side = 2 * round(max(1.0, 0.004 * min(shape[:2]))) + 1
    kernel = np.ones((min(side, shape[0]), min(side, shape[1])), np.uint8)
    return bool(cv2.erode(mask, kernel, borderType=cv2.BORDER_REPLICATE).any())


def parse_colour(colour: RGB | str) -> RGB:
    """Return a colour as three numbers from ``#rgb``, ``#rrggbb``, a common name or numbers.

    Raises:
        InputError: If it is no colour.
    """
    if not isinstance(colour, str):
        values = tuple(int(v) for v in colour)
        if len(values) == 3 and all(0 <= v <= 255 for v in values):
            return (values[0], values[1], values[2])
    elif re.fullmatch(r"[a-zA-Z]+|#[0-9a-fA-F]{3}|#[0-9a-fA-F]{6}", colour.strip()):
        from PIL import ImageColor

        try:
            found = ImageColor.getrgb(colour.strip())
        except ValueError:
            pass
        else:
            return (found[0], found[1], found[2])
    raise InputError(f"A colour is a name such as 'red', or '#rrggbb', got {colour!r}.")


def _words(colours: Sequence[RGB]) -> str:
    return ", ".join(f"#{r:02x}{g:02x}{b:02x}" for r, g, b in colours)
