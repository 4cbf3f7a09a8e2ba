"""The corners of the eyes and the base of the nose: against plain code, and against dlib."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from limner import weights
from limner.faces import YuNet, cut_chip
from limner.faces.align import DLIB_POINTS, similarity_transform
from limner.faces.five_points import FivePoints, start_square


@pytest.fixture(scope="module")
def arrays():
    from safetensors.numpy import load_file

    return load_file(weights.load("dlib_points").files["safetensors"])


@pytest.fixture(scope="module")
def points(arrays):
    return FivePoints(arrays)


@pytest.fixture(scope="module")
def portraits(astronaut, hopper):
    detector = YuNet()
    return [(photo, detector.detect(photo)[0]) for photo in (astronaut, hopper)]


def plainly(arrays, image, corner, side):
    """Kazemi and Sullivan's algorithm 1, one tree and one number at a time."""
    mean = arrays["mean"].astype(float).reshape(5, 2)
    shape = mean.copy()
    height, width = image.shape[:2]
    for stage in range(len(arrays["leaves"])):
        turn = similarity_transform(mean, shape)[:, :2]
        values = []
        for anchor, offset in zip(
            arrays["anchors"][stage], arrays["offsets"][stage].astype(float), strict=True
        ):
            x, y = np.floor(corner + side * (turn @ offset + shape[anchor]) + 0.5).astype(int)
            inside = 0 <= x < width and 0 <= y < height
            values.append(sum(int(v) for v in image[y, x]) // 3 if inside else 0)
        step = np.zeros(10)
        for pixels, thresholds, leaves in zip(
            arrays["pixels"][stage], arrays["thresholds"][stage], arrays["leaves"][stage],
            strict=True,
        ):  # fmt: skip
            at = 0
            while at < len(thresholds):
                first, second = pixels[at]
                left = values[first] - values[second] > thresholds[at]
                at = 2 * at + (1 if left else 2)
            step += leaves[at - len(thresholds)].astype(float)
        shape = shape + step.reshape(5, 2)
    return corner + side * shape


def test_against_plain_code(arrays, points, portraits):
    few = {n: (a if n == "mean" else a[:3]) for n, a in arrays.items()}  # three stages
    for photo, face in portraits:
        corner, side = start_square(face)
        upright = abs(side)
        got = FivePoints(few).locate(photo, corner, upright)
        wanted = plainly(few, photo, np.array([corner.real, corner.imag]), upright)
        np.testing.assert_allclose(got, wanted, atol=1e-3)
        assert np.abs(got - points.locate(photo, corner, upright)).max() > 0.1


def test_against_dlib(points, portraits, tmp_path):
    dlib = pytest.importorskip("dlib")
    loaded = weights.load("dlib_points", thorough=True)
    theirs = dlib.shape_predictor(str(loaded.files["safetensors"].parent / loaded.spec.file))
    far = []
    for photo, face in portraits:
        for moved in (-6, 0, 5):
            corner, side = start_square(face)
            x, y, s = round(corner.real) + moved, round(corner.imag) - moved, round(abs(side))
            found = theirs(photo, dlib.rectangle(x, y, x + s, y + s))
            wanted = np.array([(p.x, p.y) for p in found.parts()])
            far.append(np.abs(points.locate(photo, complex(x, y), s) - wanted))
            chip = cut_chip(photo, replace(face, landmarks_xy=wanted), DLIB_POINTS, size=150)
            other = dlib.get_face_chip(photo, found, 150, 0.25)
            apart = np.abs(chip.astype(int) - other.astype(int)).mean()
            # Half a pixel aside would be 3 or more. Hopper's face is larger than the chip, where
            # we average and dlib skips pixels.
            assert apart < (1 if photo is portraits[0][0] else 5)
    # dlib rounds to whole pixels, and counts in single precision.
    assert np.max(far) < 0.75


def test_landmarks_lie_on_the_face(points, portraits):
    for photo, face in portraits:
        got = points(photo, face)
        assert got.shape == (5, 2)
        assert got.dtype == np.float32
        height = face.box_xyxy[3] - face.box_xyxy[1]
        right, left = got[:2].mean(axis=0), got[2:4].mean(axis=0)
        # The detector's eyes, left in the photo first, and its tip of the nose.
        np.testing.assert_allclose(left, face.landmarks_xy[0], atol=0.05 * height)
        np.testing.assert_allclose(right, face.landmarks_xy[1], atol=0.05 * height)
        assert abs(got[4, 0] - face.landmarks_xy[2, 0]) < 0.1 * height
        assert got[0, 0] > got[1, 0] > got[3, 0] > got[2, 0]


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_turned_head_is_found_as_an_upright_one(points, portraits, quarters):
    for photo, found in portraits:
        x0, y0, x1, y1 = found.box_xyxy
        middle, half = (x0 + x1) / 2, (y1 - y0) / 2  # a square box stays one when it is turned
        face = replace(found, box_xyxy=(middle - half, y0, middle + half, y1))
        wanted, turned = points(photo, face), photo
        for _ in range(quarters):  # by 90 degrees against the clock, pixel for pixel
            last = turned.shape[1] - 1
            turned = np.ascontiguousarray(np.rot90(turned))
            a0, b0, a1, b1 = face.box_xyxy
            face = replace(
                face,
                box_xyxy=(b0, last - a1, b1, last - a0),
                landmarks_xy=around(face.landmarks_xy, last),
            )
            wanted = around(wanted, last)
        # The nearest pixel of a place halfway between two is another one when it is turned.
        np.testing.assert_allclose(points(turned, face), wanted, atol=0.02 * half)


def around(points_xy, last):
    """Where points go when a photo whose last column is `last` is turned against the clock."""
    return np.stack([points_xy[:, 1], last - points_xy[:, 0]], axis=1)


def test_a_face_at_the_edge_and_one_without_size(points, portraits):
    photo, face = portraits[0]
    x0, y0, x1, y1 = (int(v) for v in face.box_xyxy)
    cut = np.ascontiguousarray(photo[(y0 + y1) // 2 :, (x0 + x1) // 2 :])
    shift = np.array([(x0 + x1) // 2, (y0 + y1) // 2])
    moved = replace(
        face,
        box_xyxy=(x0 - shift[0], y0 - shift[1], x1 - shift[0], y1 - shift[1]),
        landmarks_xy=face.landmarks_xy - shift,
    )
    assert np.isfinite(points(cut, moved)).all()
    one_place = replace(face, landmarks_xy=np.full((5, 2), 50, np.float32))
    assert np.isfinite(points(photo, one_place)).all()
