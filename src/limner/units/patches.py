"""Patches: what a unit saw, cut from the photos themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from limner.types import BoxXYXY, ImageArray
from limner.units import photos as framing
from limner.units.tally import TopPatches


@dataclass(frozen=True, eq=False)
class Patch:
    """What a unit saw in one photo.

    Attributes:
        image: Shape (side, side, 3), uint8 RGB; stripes where it looked beyond the square that
            the network read.
        box_xyxy: In pixels of the photo; may reach beyond it.
        value: The unit's activation there.
        photo: Path of the photo.
    """

    image: ImageArray
    box_xyxy: BoxXYXY
    value: float
    photo: str


def patches_of(top: TopPatches, layer: str, unit: int, *, side: int = 96) -> list[Patch]:
    """Return a unit's patches, the strongest first.

    Args:
        top: A complete pass.
        layer: Name of a layer.
        unit: Channel in it.
        side: Height and width of each patch, pixels.

    Raises:
        UnknownNameError: If there is no such layer.
        InputError: If there is no such unit.
        ImageError: If a photo is no longer there.
    """
    tally = top.check_unit(layer, unit)
    images = cut_patches(top, layer, [unit], side=side)[0]
    return [
        Patch(
            images[rank],
            top.box_in_photo(layer, unit, rank),
            float(tally.value[unit, rank]),
            top.photos[int(tally.photo[unit, rank])],
        )
        for rank in range(top.kept(layer, unit))
    ]


def cut_patches(
    top: TopPatches, layer: str, units: Sequence[int], *, side: int = 96
) -> NDArray[np.uint8]:
    """Cut the patches of several units, reading each photo once.

    Returns:
        Shape (units, count, side, side, 3), uint8 RGB; stripes where there is no photo.

    Raises:
        ImageError: If a photo is no longer there.
    """
    from limner import images

    tally = top.layer(layer)
    result = np.empty((len(units), top.count, side, side, 3), np.uint8)
    result[:] = framing.hatch(side, side)
    wanted = tally.photo[list(units)]
    for number in np.unique(wanted[wanted >= 0]):
        photo = images.read(top.photos[int(number)])
        for row, rank in np.argwhere(wanted == number):
            box = top.box_in_photo(layer, units[int(row)], int(rank))
            region = top.regions_xyxy[int(number)]
            result[row, rank] = framing.cut(photo, box, side, side, within_xyxy=region)
    return result


def mosaic(tiles: NDArray[np.uint8], columns: int, *, gap: int = 2, grey: int = 128) -> ImageArray:
    """Lay tiles out in rows.

    Args:
        tiles: Shape (N, h, w, 3).
        columns: Tiles a row.
        gap: Pixels between them.
        grey: Of the gaps.
    """
    count, height, width = tiles.shape[:3]
    rows = -(-count // columns)
    shape = (rows * (height + gap) - gap, columns * (width + gap) - gap, 3)
    result = np.full(shape, grey, np.uint8)
    for i, tile in enumerate(tiles):
        y, x = (i // columns) * (height + gap), (i % columns) * (width + gap)
        result[y : y + height, x : x + width] = tile
    return result
