"""From a face in a photo to the chip that an embedder reads.

Two ways of cutting a chip: the detector's box, stretched about its centre and turned with the
head where that does not stand upright, or the similarity transform that brings the five landmarks
nearest to fixed places.
Which one an embedder gets was measured on LFW View 1 (docs/benchmarks.md), and is part of
the preprocessing version in its ``embedder_id``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from limner.errors import InputError
from limner.types import BoxXYXY, Face, Head, ImageArray

Matrix = NDArray[np.float64]
Interpolation = Literal["linear", "cubic"]


@dataclass(frozen=True)
class BoxCrop:
    """The detector's box, widened about its centre and resized to a square chip.

    Attributes:
        width: Width of the crop over the width of the box.
        height: Height of the crop over the height of the box.
        shift_y: Downward shift of the crop's centre, over the height of the box.
        interpolation: Between pixels: `linear`, or `cubic`, which keeps a small face sharper.
        steadied: Whether the box is first averaged with the one that the landmarks speak for:
            a detector's box is off by a few hundredths of its size, and so are its landmarks,
            but not in the same direction.
    """

    width: float
    height: float
    shift_y: float = 0.0
    interpolation: Interpolation = "linear"
    steadied: bool = False

    def matrix(self, face: Face, size: int) -> Matrix:
        """Return the (2, 3) affine map from chip pixels to photo pixels (pixel centres)."""
        if face.head is not None:
            upright, to_photo = _stood_up(face, face.head)
            matrix = self.matrix(upright, size)
            linear = to_photo[:, :2] @ matrix[:, :2]
            return np.column_stack([linear, to_photo[:, :2] @ matrix[:, 2] + to_photo[:, 2]])
        x0, y0, x1, y1 = steadied_box(face) if self.steadied else face.box_xyxy
        crop_w, crop_h = (x1 - x0) * self.width, (y1 - y0) * self.height
        centre_x = (x0 + x1) / 2
        centre_y = (y0 + y1) / 2 + self.shift_y * (y1 - y0)
        step_x, step_y = crop_w / size, crop_h / size
        return np.array(
            [
                [step_x, 0.0, centre_x - crop_w / 2 + step_x / 2 - 0.5],
                [0.0, step_y, centre_y - crop_h / 2 + step_y / 2 - 0.5],
            ]
        )


@dataclass(frozen=True)
class LandmarkCrop:
    """The five landmarks, brought nearest to fixed places by shift, turn and one scale.

    Attributes:
        template_xy: Five (x, y) places over the chip's size: in [0, 1] inside the chip.
        interpolation: As of `BoxCrop`.
    """

    template_xy: tuple[tuple[float, float], ...]
    interpolation: Interpolation = "linear"

    def matrix(self, face: Face, size: int) -> Matrix:
        """Return the (2, 3) affine map from chip pixels to photo pixels (pixel centres)."""
        template = np.asarray(self.template_xy) * size
        return similarity_transform(template, face.landmarks_xy.astype(np.float64))


class Crop(Protocol):
    """A way of cutting a chip."""

    @property
    def interpolation(self) -> Interpolation:
        """Between pixels."""
        ...

    def matrix(self, face: Face, size: int) -> Matrix:
        """Return the (2, 3) affine map from chip pixels to photo pixels (pixel centres)."""
        ...


DLIB = LandmarkCrop(
    tuple(
        (x / 150, y / 150)
        for x, y in (
            (45.50, 44.02),
            (99.29, 44.31),
            (69.97, 77.36),
            (48.81, 101.29),
            (94.60, 101.42),
        )
    )
)
"""Where YuNet's landmarks lie in the chips that dlib cuts itself (150 px, padding 0.25)."""

DLIB_POINTS = LandmarkCrop(
    tuple(
        ((x + 0.25) / 1.5 - 0.5 / 150, (y + 0.25) / 1.5 - 0.5 / 150)
        for x, y in (
            (0.8595674595992, 0.2134981538014),
            (0.6460604764104, 0.2289674387677),
            (0.1205750620789, 0.2137274526848),
            (0.3340850613712, 0.2290642403242),
            (0.4901123135679, 0.6277975316475),
        )
    )
)
"""Where dlib puts its own five landmarks in a chip: its mean face, with padding 0.25.

dlib counts from the outer edge of the first pixel there, we from its centre.
"""

ARCFACE = LandmarkCrop(
    tuple(
        (x / 112, y / 112)
        for x, y in (
            (38.2946, 51.6963),
            (73.5318, 51.5014),
            (56.0252, 71.7366),
            (41.5493, 92.3655),
            (70.7299, 92.2041),
        )
    )
)
"""The places that ArcFace-type embedders are trained with, on a chip of 112 px."""

FACENET = BoxCrop(width=1.2, height=1.05, shift_y=-0.04, interpolation="cubic", steadied=True)

_USUAL_XY = np.array(
    [(-0.183, -0.129), (0.183, -0.129), (0.0, 0.071), (-0.155, 0.225), (0.155, 0.225)]
)
_USUAL_CENTRE, _USUAL_SIZE = np.array([-0.012, -0.053]), np.array([0.770, 1.015])
"""Where the detector's landmarks lie about the middle of its box, over the box's height; and where
the box lies about the middle of the landmarks, over their scale. Medians over LFW View 1."""


def steadied_box(face: Face) -> BoxXYXY:
    """Return the mean of a face's box and the box that its five landmarks speak for.

    The second one has the usual place and size beside landmarks of that scale, upright. Where
    the landmarks lie all in one place, they speak for none.
    """
    landmarks = face.landmarks_xy.astype(np.float64)
    if np.ptp(landmarks, axis=0).max() <= 0:
        return face.box_xyxy
    linear = similarity_transform(_USUAL_XY, landmarks)[:, :2]
    scale = float(np.sqrt(abs(np.linalg.det(linear))))
    centre = landmarks.mean(axis=0) + scale * _USUAL_CENTRE
    half = scale * _USUAL_SIZE / 2
    x0, y0, x1, y1 = (np.array([*(centre - half), *(centre + half)]) + face.box_xyxy) / 2
    return float(x0), float(y0), float(x1), float(y1)


def turn_about(centre_xy: tuple[float, float], angle_deg: float) -> Matrix:
    """Return the (2, 3) map that turns points clockwise in the picture about a centre."""
    angle, centre = np.deg2rad(angle_deg), np.asarray(centre_xy, np.float64)
    linear = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.column_stack([linear, centre - linear @ centre])


def tilt_of(landmarks_xy: NDArray[np.floating]) -> float:
    """Return how far five landmarks are turned clockwise in the picture, degrees in (-180, 180].

    Raises:
        InputError: If they all lie in one point.
    """
    linear = similarity_transform(_USUAL_XY, landmarks_xy.astype(np.float64))
    return float(np.rad2deg(np.arctan2(linear[1, 0], linear[0, 0])))


def _stood_up(face: Face, head: Head) -> tuple[Face, Matrix]:
    """Return a face as if its photo were turned about the head until that stands upright.

    Returns:
        The face there, and the (2, 3) map from there to the photo.
    """
    pivot = (head.centre_xy[0] - 0.5, head.centre_xy[1] - 0.5)  # of pixel centres, not edges
    to_photo = turn_about(pivot, head.angle_deg)
    back = turn_about(pivot, -head.angle_deg)
    landmarks = face.landmarks_xy @ back[:, :2].T + back[:, 2]
    (x, y), (width, height) = head.centre_xy, head.size_wh
    box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    return Face(box, landmarks.astype(np.float32), face.score), to_photo


def similarity_transform(source_xy: Matrix, target_xy: Matrix) -> Matrix:
    """Return the shift, turn and scale that bring one set of points nearest to another.

    Args:
        source_xy: Shape (N, 2), N >= 2, not all in one place.
        target_xy: Shape (N, 2).

    Returns:
        Shape (2, 3): ``target ~ matrix[:, :2] @ source + matrix[:, 2]``.

    Raises:
        InputError: If the source points all coincide.

    Source: S. Umeyama, "Least-squares estimation of transformation parameters between two
    point patterns", 1991, equations 38 to 43, whose decomposition is a quotient in the plane: of
    points as complex numbers t and s about their means, ``sum(t conj(s)) / sum(|s|^2)`` is both
    turn and scale.
    """
    source, target = (np.ascontiguousarray(p, np.float64) for p in (source_xy, target_xy))
    s, t = source.view(np.complex128)[:, 0], target.view(np.complex128)[:, 0]
    mean_s, mean_t = s.mean(), t.mean()
    s, t = s - mean_s, t - mean_t
    spread = np.vdot(s, s).real
    if spread <= 0:
        raise InputError("the landmarks of a face all lie in one point; it cannot be aligned.")
    turn = np.vdot(s, t) / spread
    shift = mean_t - turn * mean_s
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def cut_chip(image: ImageArray, face: Face, crop: Crop, *, size: int) -> ImageArray:
    """Cut a face out of a photo as the square chip that an embedder reads.

    Args:
        image: Shape (H, W, 3), uint8 RGB, upright.
        face: A face of that photo.
        crop: How the embedder wants it cut.
        size: Height and width of the chip in pixels.

    Returns:
        Shape (size, size, 3), uint8 RGB; black where the crop reaches beyond the photo.
        A face larger than the chip is averaged down first, so that nothing aliases.
    """
    import cv2

    matrix = crop.matrix(face, size)
    step = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    if step > 1.5:
        image, matrix = _shrink(image, matrix, size, step)
    kind = cv2.INTER_CUBIC if crop.interpolation == "cubic" else cv2.INTER_LINEAR
    chip = cv2.warpAffine(
        image,
        matrix,
        (size, size),
        flags=kind | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
    )
    return np.asarray(chip, np.uint8)


def _shrink(image: ImageArray, matrix: Matrix, size: int, step: float) -> tuple[ImageArray, Matrix]:
    """Average the neighbourhood of the crop down, so that a chip pixel steps about one pixel."""
    import cv2

    height, width = image.shape[:2]
    corners = np.array([[-1, -1, 1], [size, -1, 1], [-1, size, 1], [size, size, 1]]) @ matrix.T
    x0, y0 = np.clip(np.floor(corners.min(axis=0)) - 2, 0, [width - 1, height - 1]).astype(int)
    x1, y1 = np.clip(np.ceil(corners.max(axis=0)) + 3, [x0 + 1, y0 + 1], [width, height]).astype(
        int
    )
    part = image[y0:y1, x0:x1]
    small_w = max(1, round((x1 - x0) / step))
    small_h = max(1, round((y1 - y0) / step))
    small = cv2.resize(part, (small_w, small_h), interpolation=cv2.INTER_AREA)
    ratio = np.array([small_w / (x1 - x0), small_h / (y1 - y0)])
    # A pixel centre p of the photo lies at (p - origin + 0.5) * ratio - 0.5 of the small one.
    shrunk = matrix.copy()
    shrunk[:, 2] += 0.5 - np.array([x0, y0])
    shrunk *= ratio[:, None]
    shrunk[:, 2] -= 0.5
    return np.asarray(small, np.uint8), shrunk
