"""The corners of the eyes and the base of the nose, as dlib's chips are aligned by.

The detector's own five landmarks are the centres of the eyes, the tip of the nose and the corners
of the mouth, and a mouth moves. dlib's embedder learnt from chips that were aligned by eyes and
nose alone, and answers better on such (docs/models/dlib.md).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from limner.types import Face, ImageArray

Complex = NDArray[np.complex128]

_SHIFT_X, _SHIFT_Y, _SIDE = 0.020, 0.068, 0.848
"""From the detector's box to the square that the predictor was trained with, over the box's
height: medians over LFW View 1 of dlib's detector beside ours."""


class FivePoints:
    """A cascade of regression trees: each stage compares pixels near the landmarks and moves them.

    Args:
        arrays: What `limner.weights.read_points.read_points` returns.

    Source: Kazemi and Sullivan, "One Millisecond Face Alignment with an Ensemble of
    Regression Trees" (CVPR 2014), algorithm 1; weights and constants by D. King (dlib).
    Differs: the trees of a stage are walked side by side; the start comes from our detector's
    box, in fractions of a pixel, and is turned with the head.
    """

    def __init__(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        stages, trees, splits = arrays["thresholds"].shape
        self._mean = _complex(arrays["mean"].reshape(5, 2))
        centred = self._mean - self._mean.mean()
        self._fit = centred.conj() / np.vdot(centred, centred)
        pixels = arrays["pixels"].astype(np.intp).transpose(0, 3, 1, 2)
        self._pixels = np.ascontiguousarray(pixels.reshape(stages, 2, -1))
        self._thresholds = arrays["thresholds"].astype(np.float32).reshape(stages, -1)
        self._leaves = arrays["leaves"].astype(np.float64).reshape(stages, -1, 10)
        self._ones = np.ones(trees)
        self._anchors = arrays["anchors"].astype(np.intp)
        self._offsets = _complex(arrays["offsets"])
        self._roots = np.arange(trees) * splits
        # A tree has one leaf more than splits, and its leaves are counted on from its splits.
        self._first_leaves = self._roots + np.arange(trees) - splits
        self._depth = (splits + 1).bit_length() - 1

    def __call__(self, image: ImageArray, face: Face) -> NDArray[np.float32]:
        """Return the landmarks of a face.

        Args:
            image: Shape (H, W, 3), uint8 RGB, upright.
            face: A face of that photo.

        Returns:
            Shape (5, 2), x and y in pixels: outer and inner corner of the eye on the right
            of the photo, of that on the left, and the base of the nose.
        """
        return self.locate(image, *start_square(face))

    def locate(self, image: ImageArray, corner: complex, side: complex) -> NDArray[np.float32]:
        """Return the landmarks of the face in a square.

        Args:
            image: Shape (H, W, 3), uint8 RGB.
            corner: The square's first corner, x + iy in pixels.
            side: From there to the next corner: a real number for an upright square.

        Returns:
            Shape (5, 2), as above.
        """
        light = _Light(image, corner, side)
        shape = self._mean
        for stage in range(len(self._leaves)):
            # Umeyama's turn and scale from the mean face to this one: one complex number.
            turn = self._fit @ (shape - shape.mean())
            places = side * (turn * self._offsets[stage] + shape.take(self._anchors[stage]))
            leaves = self._walk(stage, light.at(places + corner))
            step = self._ones @ self._leaves[stage].take(leaves, axis=0)  # a fast way to sum
            shape = shape + step.view(np.complex128)
        found = corner + side * shape
        return np.stack([found.real, found.imag], axis=1).astype(np.float32)

    def _walk(self, stage: int, values: NDArray[np.float32]) -> NDArray[np.intp]:
        """Return the leaf that each tree of a stage ends in, counted over all its trees."""
        first, second = values.take(self._pixels[stage])
        down = 2 - (first - second > self._thresholds[stage])  # of every split; 1: to the left
        at = np.zeros(len(self._roots), np.intp)
        for _ in range(self._depth):
            at = 2 * at + down.take(self._roots + at)
        return np.asarray(at + self._first_leaves, np.intp)


class _Light:
    """The mean of red, green and blue about a square, as dlib rounds it; 0 beside the photo.

    The part reaches a side beyond the square, further than any pixel that is asked for.
    """

    def __init__(self, image: ImageArray, corner: complex, side: complex) -> None:
        height, width = image.shape[:2]
        centre, reach = corner + side * (0.5 + 0.5j), 2 * abs(side)
        x0, y0 = (max(0, int(v - reach)) for v in (centre.real, centre.imag))
        x1, y1 = (
            min(most, max(0, int(v + reach)) + 1)
            for v, most in ((centre.real, width), (centre.imag, height))
        )
        part = image[y0:y1, x0:x1]
        sums = part[..., 0].astype(np.uint16) + part[..., 1] + part[..., 2]
        self._pixels = np.pad((sums // 3).astype(np.float32), 1)  # what lies outside reads 0
        self._limits = np.array(self._pixels.shape) - 1
        self._origin = complex(x0, y0) - (1.5 + 1.5j)  # of the margin, and half a pixel to round

    def at(self, places: Complex) -> NDArray[np.float32]:
        """Return the light at the pixels nearest to (N,) places."""
        places = places - self._origin
        # Rounding down by cutting is right from 0 on, and what is below is the margin anyway.
        x = np.clip(places.real, 0, self._limits[1]).astype(np.intp)
        y = np.clip(places.imag, 0, self._limits[0]).astype(np.intp)
        return np.asarray(self._pixels.take(y * self._pixels.shape[1] + x), np.float32)


def start_square(face: Face) -> tuple[complex, complex]:
    """Return the first corner and the side of the square to start from, as `locate` takes them.

    It is turned as the line between the eyes is: the predictor knows upright faces only.
    """
    x0, y0, x1, y1 = (float(v) for v in face.box_xyxy)
    centre, height = complex((x0 + x1) / 2, (y0 + y1) / 2), y1 - y0
    if face.head is not None:
        centre, height = complex(*face.head.centre_xy), face.head.size_wh[1]
    eyes = _complex(face.landmarks_xy[:2])
    line = complex(eyes[1] - eyes[0])
    # One box's height along the head's own right: times i, it is downwards to the chin.
    unit = height * (line / abs(line) if line else 1.0)
    side = _SIDE * unit
    centre += complex(_SHIFT_X, _SHIFT_Y) * unit
    return centre - side * (0.5 + 0.5j), side


def _complex(points: NDArray[np.generic]) -> Complex:
    """Points (..., 2) as complex numbers (...), x + iy: turning and scaling is one product."""
    values = points.astype(np.float64)
    return np.asarray(values[..., 0] + 1j * values[..., 1])
