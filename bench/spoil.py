"""Photos spoiled on purpose, alike for the hard bench, the fitting of quality and the tests.

Every spoiling is a pure function of a photo (uint8 RGB, shape (H, W, 3)) that returns a new
photo; the same arguments give the same bytes. `ROWS` are the rows of ``bench/hard.py``, by
name; `drawn` gives a spoiling of any strength between them, by seed, to fit on. A row also says
where it takes the points of the photo, so that the face is found again afterwards.

Strengths in pixels are meant for LFW, whose faces are about 95 px wide in photos of 250 px.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from limner.types import BoxXYXY, Face, ImageArray

Points = NDArray[np.float64]
Affine = NDArray[np.float64]

MASK_RGB = (150, 185, 205)
"""A surgical mask's pale blue."""
GLASSES_RGB = (22, 20, 24)


def tilt_matrix(box_xyxy: BoxXYXY, degrees: float) -> Affine:
    """Return the turn about a box's middle, shape (2, 3); anticlockwise as one sees it."""
    x0, y0, x1, y1 = box_xyxy
    # OpenCV counts from the middle of a pixel, boxes from its edge.
    middle = ((x0 + x1) / 2 - 0.5, (y0 + y1) / 2 - 0.5)
    turn: Affine = cv2.getRotationMatrix2D(middle, degrees, 1.0)
    return turn


def tilt(image: ImageArray, box_xyxy: BoxXYXY, degrees: float) -> ImageArray:
    """Turn the photo about the face, anticlockwise.

    The frame stays as it is. What comes in from outside repeats the photo's edge: black corners
    would be an edge that real photos lack, and a mirrored border can show a second face.
    """
    height, width = image.shape[:2]
    turn = tilt_matrix(box_xyxy, degrees)
    return cv2.warpAffine(
        image, turn, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    ).astype(np.uint8)


def rotate(image: ImageArray, degrees: int) -> ImageArray:
    """Turn the whole photo by 90, 180 or 270 degrees, anticlockwise, frame and all."""
    if degrees not in (90, 180, 270):
        raise ValueError(f"degrees must be 90, 180 or 270, got {degrees}.")
    return np.ascontiguousarray(np.rot90(image, degrees // 90))


def blur(image: ImageArray, sigma: float) -> ImageArray:
    """Blur by a Gaussian of `sigma` pixels."""
    return cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE).astype(np.uint8)


def motion_blur(image: ImageArray, length: float, degrees: float) -> ImageArray:
    """Smear along a straight line of `length` pixels, `degrees` anticlockwise from level."""
    half = math.ceil(length / 2)
    kernel = np.zeros((2 * half + 1, 2 * half + 1), np.float32)
    for along in np.linspace(-length / 2, length / 2, 16 * half + 1):
        x = half + along * math.cos(math.radians(degrees))
        y = half - along * math.sin(math.radians(degrees))
        left, top = math.floor(x), math.floor(y)
        for column, row in ((left, top), (left + 1, top), (left, top + 1), (left + 1, top + 1)):
            weight = (1 - abs(x - column)) * (1 - abs(y - row))
            if weight > 0:
                kernel[row, column] += weight
    return cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE).astype(
        np.uint8
    )


def shrink(image: ImageArray, box_xyxy: BoxXYXY, face_px: float) -> ImageArray:
    """Make the whole photo smaller, so that the face's box is `face_px` pixels high."""
    height, width = image.shape[:2]
    scale = face_px / (box_xyxy[3] - box_xyxy[1])
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8)


def jpeg(image: ImageArray, quality: int) -> ImageArray:
    """Write the photo as a JPEG of that quality, and read it again."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality, subsampling="4:2:0")
    return np.array(Image.open(file).convert("RGB"))


def gamma(image: ImageArray, exponent: float) -> ImageArray:
    """Darken: each value v in [0, 1] becomes ``v ** exponent``."""
    table = np.rint(255 * (np.arange(256) / 255) ** exponent).astype(np.uint8)
    return np.ascontiguousarray(table[image])


def overexpose(image: ImageArray, gain: float) -> ImageArray:
    """Brighten by `gain`, and burn out what does not fit."""
    table = np.clip(np.rint(gain * np.arange(256)), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(table[image])


def noise(image: ImageArray, sigma: float, seed: int) -> ImageArray:
    """Add Gaussian noise of `sigma` grey levels to each value."""
    grain = np.random.default_rng(seed).normal(0.0, sigma, image.shape)
    return np.clip(np.rint(image + grain), 0, 255).astype(np.uint8)


def grey(image: ImageArray) -> ImageArray:
    """Take the colour out; three equal channels remain."""
    return np.array(Image.fromarray(image).convert("L").convert("RGB"))


def half_black(image: ImageArray, box_xyxy: BoxXYXY) -> ImageArray:
    """Black out everything left of the face's middle."""
    out = image.copy()
    out[:, : max(0, round((box_xyxy[0] + box_xyxy[2]) / 2))] = 0
    return out


def _face_points(landmarks_xy: NDArray[np.floating], points: list[tuple[float, float]]) -> Points:
    """Return places on a face in pixels.

    Args:
        landmarks_xy: Shape (5, 2).
        points: (across, down): across from the line through the middle of the eyes and of the
            mouth, in eye distances; down from the eyes, 1 being the mouth.
    """
    marks = np.asarray(landmarks_xy, np.float64)
    eyes, mouth = marks[:2].mean(axis=0), marks[3:].mean(axis=0)
    level, down = marks[1] - marks[0], mouth - eyes
    # Of a head turned away the eyes are close together; the mask stays as wide as it is high.
    level *= max(1.0, 0.8 * float(np.linalg.norm(down) / np.linalg.norm(level)))
    return np.array([eyes + x * level + y * down for x, y in points])


def _fill(image: ImageArray, points: Points, colour: tuple[int, int, int]) -> ImageArray:
    out = image.copy()
    fixed = np.rint((points - 0.5) * 16).astype(np.int32)  # sixteenths of a pixel
    cv2.fillPoly(out, [fixed], colour, lineType=cv2.LINE_AA, shift=4)
    return out


MASK_OUTLINE = [
    *((-0.98, 0.42), (-0.45, 0.36), (0.0, 0.28), (0.45, 0.36), (0.98, 0.42)),
    *((0.95, 1.05), (0.72, 1.55), (0.35, 1.85), (0.0, 1.92)),
    *((-0.35, 1.85), (-0.72, 1.55), (-0.95, 1.05)),
]


def mask(image: ImageArray, landmarks_xy: NDArray[np.floating]) -> ImageArray:
    """Cover the lower face, from the bridge of the nose to the chin, with a surgical mask."""
    out = _fill(image, _face_points(landmarks_xy, MASK_OUTLINE), MASK_RGB)
    thickness = max(1, round(float(np.linalg.norm(landmarks_xy[1] - landmarks_xy[0])) / 25))
    for down in (0.75, 1.05, 1.35):
        fold = _face_points(landmarks_xy, [(-0.8, down), (0.0, down + 0.06), (0.8, down)])
        fixed = np.rint((fold - 0.5) * 16).astype(np.int32)
        shade = tuple(int(v * 0.88) for v in MASK_RGB)
        cv2.polylines(out, [fixed], False, shade, thickness, lineType=cv2.LINE_AA, shift=4)
    return out


def sunglasses(image: ImageArray, landmarks_xy: NDArray[np.floating]) -> ImageArray:
    """Cover both eyes with dark glasses, with a bridge and temples."""
    out = image
    angles = np.linspace(0, 2 * math.pi, 48, endpoint=False)
    for side in (-0.5, 0.5):
        lens = [(side + 0.43 * math.cos(a), 0.04 + 0.34 * math.sin(a)) for a in angles]
        out = _fill(out, _face_points(landmarks_xy, lens), GLASSES_RGB)
    bar = [(-1.1, -0.14), (1.1, -0.14), (1.1, -0.05), (-1.1, -0.05)]
    return _fill(out, _face_points(landmarks_xy, bar), GLASSES_RGB)


def mask_and_sunglasses(image: ImageArray, landmarks_xy: NDArray[np.floating]) -> ImageArray:
    """Cover the lower face and both eyes."""
    return sunglasses(mask(image, landmarks_xy), landmarks_xy)


Spoil = Callable[[ImageArray, Face, int], ImageArray]
Move = Callable[[Face, tuple[int, int]], Affine]


def _stays(face: Face, size_hw: tuple[int, int]) -> Affine:
    return np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


@dataclass(frozen=True)
class Row:
    """One way of spoiling a photo.

    Attributes:
        name: What it is called in tables.
        spoil: From a photo, its face (found in the clean photo) and a seed to a new photo.
        move: From that face and the photo's height and width to where points go, shape (2, 3).
    """

    name: str
    spoil: Spoil
    move: Move = _stays

    def __call__(self, image: ImageArray, face: Face, seed: int = 0) -> ImageArray:
        """Return the spoiled photo; the same arguments give the same bytes."""
        return self.spoil(image, face, seed)

    def points(
        self, points_xy: NDArray[np.floating], face: Face, size_hw: tuple[int, int]
    ) -> Points:
        """Return where points of the clean photo, shape (N, 2), lie in the spoiled one."""
        turn = self.move(face, size_hw)
        return np.asarray(points_xy, np.float64) @ turn[:, :2].T + turn[:, 2]

    def middle(self, face: Face, size_hw: tuple[int, int]) -> tuple[float, float]:
        """Return where the middle of the clean face's box lies in the spoiled photo."""
        x0, y0, x1, y1 = face.box_xyxy
        x, y = self.points(np.array([[(x0 + x1) / 2, (y0 + y1) / 2]]), face, size_hw)[0]
        return float(x), float(y)


def tilt_row(degrees: float) -> Row:
    """Return the row that turns the photo about the face."""

    def move(face: Face, size_hw: tuple[int, int]) -> Affine:
        turn = tilt_matrix(face.box_xyxy, degrees)
        return np.c_[turn[:, :2], turn[:, 2] + 0.5 - turn[:, :2] @ (0.5, 0.5)]

    return Row(f"tilt {degrees:g}", lambda i, f, s: tilt(i, f.box_xyxy, degrees), move)


def rotation_row(degrees: int) -> Row:
    """Return the row that turns the whole photo."""

    def move(face: Face, size_hw: tuple[int, int]) -> Affine:
        height, width = size_hw
        turns = {
            90: [[0, 1, 0], [-1, 0, width]],
            180: [[-1, 0, width], [0, -1, height]],
            270: [[0, -1, height], [1, 0, 0]],
        }
        return np.array(turns[degrees], np.float64)

    return Row(f"rotation {degrees}", lambda i, f, s: rotate(i, degrees), move)


def shrink_row(face_px: float) -> Row:
    """Return the row that makes the face a number of pixels high."""

    def move(face: Face, size_hw: tuple[int, int]) -> Affine:
        scale = face_px / (face.box_xyxy[3] - face.box_xyxy[1])
        across, down = (max(1, round(v * scale)) / v for v in (size_hw[1], size_hw[0]))
        return np.array([[across, 0.0, 0.0], [0.0, down, 0.0]])

    return Row(f"face {face_px:g} px", lambda i, f, s: shrink(i, f.box_xyxy, face_px), move)


def blur_row(sigma: float) -> Row:
    """Return the row that blurs."""
    return Row(f"blur {sigma:g}", lambda i, f, s: blur(i, sigma))


def motion_row(length: float, degrees: float = 0.0) -> Row:
    """Return the row that smears along a line."""
    return Row(f"motion blur {length:g}", lambda i, f, s: motion_blur(i, length, degrees))


def jpeg_row(quality: int) -> Row:
    """Return the row that compresses."""
    return Row(f"JPEG {quality}", lambda i, f, s: jpeg(i, quality))


def gamma_row(exponent: float) -> Row:
    """Return the row that darkens."""
    return Row(f"gamma {exponent:g}", lambda i, f, s: gamma(i, exponent))


def bright_row(gain: float) -> Row:
    """Return the row that burns out."""
    return Row(f"overexposed {gain:g}", lambda i, f, s: overexpose(i, gain))


def noise_row(sigma: float) -> Row:
    """Return the row that adds noise."""
    return Row(f"noise {sigma:g}", lambda i, f, s: noise(i, sigma, s))


CLEAN = Row("clean", lambda i, f, s: i)
GREY = Row("grey", lambda i, f, s: grey(i))
MASK = Row("mask", lambda i, f, s: mask(i, f.landmarks_xy))
SUNGLASSES = Row("sunglasses", lambda i, f, s: sunglasses(i, f.landmarks_xy))
BOTH = Row("mask and sunglasses", lambda i, f, s: mask_and_sunglasses(i, f.landmarks_xy))
HALF_BLACK = Row("left half black", lambda i, f, s: half_black(i, f.box_xyxy))

ROWS: dict[str, Row] = {
    row.name: row
    for row in (
        CLEAN,
        *(tilt_row(d) for d in (15, 30, 45, 60)),
        *(rotation_row(d) for d in (90, 180, 270)),
        *(blur_row(s) for s in (2, 4, 6, 8)),
        motion_row(15),
        *(shrink_row(p) for p in (16, 20, 24, 30)),
        *(jpeg_row(q) for q in (10, 5, 2)),
        *(gamma_row(g) for g in (3, 5)),
        bright_row(2.5),
        noise_row(25),
        MASK,
        SUNGLASSES,
        BOTH,
        HALF_BLACK,
        GREY,
    )
}
"""The rows of the hard bench that are made; ``hard.py`` adds profile pairs, which are found."""

KINDS: dict[str, Callable[[np.random.Generator], Row]] = {
    "tilt": lambda g: tilt_row(float(g.uniform(-60, 60))),
    "rotation": lambda g: rotation_row(int(g.choice((90, 180, 270)))),
    "blur": lambda g: blur_row(float(g.uniform(0.5, 8))),
    "motion blur": lambda g: motion_row(float(g.uniform(4, 24)), float(g.uniform(0, 180))),
    "small": lambda g: shrink_row(float(g.uniform(18, 60))),
    "jpeg": lambda g: jpeg_row(int(g.integers(2, 31))),
    "gamma": lambda g: gamma_row(float(g.uniform(1.5, 6))),
    "overexposed": lambda g: bright_row(float(g.uniform(1.3, 4))),
    "noise": lambda g: noise_row(float(g.uniform(5, 40))),
    "mask": lambda g: MASK,
    "sunglasses": lambda g: SUNGLASSES,
    "mask and sunglasses": lambda g: BOTH,
    "left half black": lambda g: HALF_BLACK,
    "grey": lambda g: GREY,
}
"""Each kind of spoiling, its strength drawn evenly over what the rows span."""


def drawn(seed: int, kind: str | None = None) -> Row:
    """Return a spoiling drawn by seed.

    Args:
        seed: The same seed gives the same row.
        kind: One of `KINDS`; default: drawn too, each as likely as another.
    """
    generator = np.random.default_rng(seed)
    name = str(generator.choice(list(KINDS))) if kind is None else kind
    return KINDS[name](generator)
