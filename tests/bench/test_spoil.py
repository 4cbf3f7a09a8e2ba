"""The spoilings of the hard bench, on scikit-image's astronaut."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from skimage.data import astronaut

import spoil
from limner.types import Face

FACE = Face(
    box_xyxy=(178.2, 62.9, 268.1, 176.2),
    landmarks_xy=np.array(
        [[200.1, 101.8], [247.1, 102.6], [220.4, 124.5], [198.6, 142.8], [239.7, 143.6]],
        np.float32,
    ),
    score=0.93,
)
"""The astronaut's face, as YuNet finds it."""
NAMES = (
    *("clean", "tilt 15", "tilt 30", "tilt 45", "tilt 60"),
    *("rotation 90", "rotation 180", "rotation 270"),
    *("blur 2", "blur 4", "blur 6", "blur 8", "motion blur 15"),
    *("face 16 px", "face 20 px", "face 24 px", "face 30 px", "JPEG 10", "JPEG 5", "JPEG 2"),
    *("gamma 3", "gamma 5", "overexposed 2.5", "noise 25"),
    *("mask", "sunglasses", "mask and sunglasses", "left half black", "grey"),
)


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return np.ascontiguousarray(astronaut())


def middle_of_dot(picture: np.ndarray) -> tuple[float, float]:
    """Return the centre of a light dot on black, pixels counted from their edges."""
    y, x = ndimage.center_of_mass(picture[..., 0].astype(float))
    return x + 0.5, y + 0.5


def dot(x: float, y: float, size_hw: tuple[int, int], radius: float = 6.0) -> np.ndarray:
    rows, columns = np.mgrid[: size_hw[0], : size_hw[1]] + 0.5
    inside = np.hypot(columns - x, rows - y) <= radius
    return np.repeat((255 * inside).astype(np.uint8)[..., None], 3, axis=2)


def test_the_rows_are_the_ones_that_were_asked_for():
    assert tuple(spoil.ROWS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_bytes_and_the_photo_stays(photo, name):
    before = photo.copy()
    first, second = (spoil.ROWS[name](photo, FACE, 3) for _ in range(2))
    assert first.dtype == np.uint8
    assert first.ndim == 3
    assert first.shape[2] == 3
    assert first.flags.c_contiguous
    assert first.tobytes() == second.tobytes()
    assert (photo == before).all()
    assert (name == "clean") == np.array_equal(first, photo)


def test_another_seed_gives_other_noise(photo):
    row = spoil.ROWS["noise 25"]
    assert not np.array_equal(row(photo, FACE, 1), row(photo, FACE, 2))


@pytest.mark.parametrize("degrees", [15, 30, 45, 60, -20])
def test_tilt_turns_the_landmarks_by_its_angle(photo, degrees):
    row = spoil.tilt_row(degrees)
    moved = row.points(FACE.landmarks_xy, FACE, photo.shape[:2])

    def slope(points):
        x, y = points[1] - points[0]
        return math.degrees(math.atan2(-y, x))  # y points down

    assert slope(moved) - slope(FACE.landmarks_xy) == pytest.approx(degrees, abs=1e-3)
    x0, y0, x1, y1 = FACE.box_xyxy
    assert row.middle(FACE, photo.shape[:2]) == pytest.approx(((x0 + x1) / 2, (y0 + y1) / 2))


@pytest.mark.parametrize(
    "name", [n for n in NAMES if n.startswith(("clean", "tilt", "rotation", "face 30"))]
)
def test_pixels_go_where_the_row_says(name):
    size_hw = (300, 420)
    row = spoil.ROWS[name]
    for x, y in FACE.landmarks_xy.astype(float):
        seen = middle_of_dot(row(dot(x, y, size_hw), FACE, 0))
        assert seen == pytest.approx(tuple(row.points([[x, y]], FACE, size_hw)[0]), abs=0.25)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_is_pillows(photo, degrees):
    wide = photo[:300]
    expected = np.array(Image.fromarray(wide).rotate(degrees, expand=True))
    assert np.array_equal(spoil.rotate(wide, degrees), expected)
    with pytest.raises(ValueError, match="90, 180 or 270"):
        spoil.rotate(photo, 45)


def test_blur_is_a_gaussian(photo):
    expected = ndimage.gaussian_filter(photo.astype(float), (4, 4, 0), mode="nearest")
    assert np.abs(spoil.blur(photo, 4) - expected).max() < 2


@pytest.mark.parametrize("degrees", [0, 30, 90, 135])
def test_motion_blur_is_a_line_of_its_length_and_angle(degrees):
    point = np.zeros((81, 81, 3), np.uint8)
    point[40, 40] = 255
    streak = spoil.motion_blur(point, 24, degrees)[..., 0].astype(float)
    rows, columns = np.mgrid[:81, :81] - 40.0
    weight = streak / streak.sum()
    spread = np.cov(np.stack([columns.ravel(), -rows.ravel()]), aweights=weight.ravel(), ddof=0)
    values, vectors = np.linalg.eigh(spread)
    angle = math.degrees(math.atan2(vectors[1, 1], vectors[0, 1])) % 180
    assert min(abs(angle - degrees), 180 - abs(angle - degrees)) < 2
    assert values[1] == pytest.approx(24**2 / 12, rel=0.1)
    assert values[0] < 1


@pytest.mark.parametrize("face_px", [16, 20, 24, 30])
def test_shrink_makes_the_face_that_many_pixels_high(photo, face_px):
    row = spoil.ROWS[f"face {face_px} px"]
    x0, y0, x1, y1 = FACE.box_xyxy
    corners = row.points([[x0, y0], [x1, y1]], FACE, photo.shape[:2])
    assert corners[1, 1] - corners[0, 1] == pytest.approx(face_px, rel=0.02)
    small = row(photo, FACE, 0)
    assert small.shape[0] == round(512 * face_px / (y1 - y0))
    assert small.mean() == pytest.approx(photo.mean(), abs=1)


def test_jpeg_of_lower_quality_is_further_from_the_photo(photo):
    errors = [
        float(np.abs(spoil.jpeg(photo, q).astype(int) - photo).mean()) for q in (95, 10, 5, 2)
    ]
    assert errors == sorted(errors)
    assert errors[0] < 2
    assert errors[3] > 10


def test_light_follows_its_formula():
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    assert spoil.gamma(ramp, 3)[0, 128, 0] == round(255 * (128 / 255) ** 3)
    assert spoil.overexpose(ramp, 2.5)[0, [10, 100, 110], 0].tolist() == [25, 250, 255]


def test_noise_has_its_deviation():
    flat = np.full((200, 200, 3), 128, np.uint8)
    grain = spoil.noise(flat, 25, 7).astype(float) - 128
    assert grain.std() == pytest.approx(25, rel=0.02)
    assert abs(grain.mean()) < 0.3


def pixel(picture: np.ndarray, place: np.ndarray) -> np.ndarray:
    return picture[int(place[1]), int(place[0])].astype(int)


@pytest.mark.parametrize("degrees", [0, 40])
def test_the_mask_covers_nose_and_mouth_and_glasses_the_eyes(photo, degrees):
    """In a head that is tilted too."""
    row = spoil.tilt_row(degrees)
    tilted = row(photo, FACE, 0)
    points = row.points(FACE.landmarks_xy, FACE, photo.shape[:2]).astype(np.float32)
    face = Face(box_xyxy=FACE.box_xyxy, landmarks_xy=points, score=0.9)
    mask, glasses, both = (
        spoil.ROWS[name](tilted, face, 0) for name in ("mask", "sunglasses", "mask and sunglasses")
    )
    for number, place in enumerate(points):
        eye = number < 2
        kept, covered = (mask, glasses) if eye else (glasses, mask)
        paint = spoil.GLASSES_RGB if eye else spoil.MASK_RGB
        assert (pixel(kept, place) == pixel(tilted, place)).all()
        for picture in (covered, both):  # a fold of the mask is a little darker
            assert np.abs(pixel(picture, place) - paint).max() <= 26
    changed = (mask != tilted).any(axis=2)
    x0, y0, x1, y1 = FACE.box_xyxy
    assert 0.25 < changed.sum() / ((x1 - x0) * (y1 - y0)) < 0.7


def test_left_half_black_leaves_the_right_half(photo):
    half = spoil.ROWS["left half black"](photo, FACE, 0)
    edge = round((FACE.box_xyxy[0] + FACE.box_xyxy[2]) / 2)
    assert half[:, :edge].max() == 0
    assert np.array_equal(half[:, edge:], photo[:, edge:])


def test_grey_is_the_luma_in_three_channels(photo):
    grey = spoil.grey(photo)
    luma = photo @ np.array([0.299, 0.587, 0.114])
    assert np.abs(grey - luma[..., None]).max() <= 1


def test_drawn_spoilings_follow_their_seed(photo):
    seen = {spoil.drawn(seed).name for seed in range(200)}
    assert len(seen) > 100
    kinds = {kind for kind in spoil.KINDS if spoil.drawn(5, kind)}
    assert kinds == set(spoil.KINDS)
    first, second = (spoil.drawn(11, "blur") for _ in range(2))
    assert first.name == second.name
    assert np.array_equal(first(photo, FACE, 0), second(photo, FACE, 0))
