"""How deep inside the body each voxel of a mask lies."""

from __future__ import annotations

import numpy as np

from limner.training.samples import FloatArray


def inner_depth(values: FloatArray) -> FloatArray:
    """Return how far each voxel lies inside the body, as a share of a fifth of the side.

    The body is what is above the middle between an item's smallest and largest value; the
    depth is the Euclidean distance to the nearest voxel outside.

    Args:
        values: Shape (N, C, D, H, W).

    Returns:
        The same shape; 0 outside.
    """
    from scipy.ndimage import distance_transform_edt

    depths = np.zeros(values.shape, np.float32)
    for item, found in zip(values, depths, strict=True):
        for channel, place in zip(item, found, strict=True):
            middle = (float(channel.min()) + float(channel.max())) / 2
            place[...] = distance_transform_edt(channel > middle)
    return np.asarray(depths / (max(values.shape[2:]) / 5), dtype=np.float32)
