from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limner.errors import InputError
from limner.faces import BoxCrop, LandmarkCrop, YuNet, cut_chip, similarity_transform
from limner.faces.align import ARCFACE, DLIB, FACENET, steadied_box
from limner.types import Face


def face_at(box, landmarks=None):
    if landmarks is None:
        x0, y0, x1, y1 = box
        unit = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]])
        landmarks = unit * [x1 - x0, y1 - y0] + [x0, y0]
    return Face(box_xyxy=box, landmarks_xy=np.asarray(landmarks, np.float32), score=0.9)


def sample(image, matrix, size):
    """Bilinear sampling with black beyond the edge, in plain loops."""
    height, width = image.shape[:2]
    out = np.zeros((size, size, 3))
    for row in range(size):
        for column in range(size):
            x, y = matrix @ [column, row, 1.0]
            fx, fy = np.floor(x), np.floor(y)
            for j, weight_y in ((fy, 1 - (y - fy)), (fy + 1, y - fy)):
                for i, weight_x in ((fx, 1 - (x - fx)), (fx + 1, x - fx)):
                    if 0 <= i < width and 0 <= j < height:
                        out[row, column] += image[int(j), int(i)] * weight_x * weight_y
    return out


@given(
    st.floats(-3, 3),
    st.floats(0.2, 5),
    st.tuples(st.floats(-50, 50), st.floats(-50, 50)),
    st.integers(0, 2**31),
)
def test_a_known_similarity_is_found_again(angle, scale, shift, seed):
    points = np.random.default_rng(seed).normal(size=(5, 2)) * 10
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = points @ (scale * turn).T + shift
    matrix = similarity_transform(points, moved)
    np.testing.assert_allclose(matrix[:, :2], scale * turn, atol=1e-8)
    np.testing.assert_allclose(matrix[:, 2], shift, atol=1e-6)


def test_noisy_points_agree_with_scikit_image():
    transform = pytest.importorskip("skimage.transform")
    rng = np.random.default_rng(0)
    for _ in range(20):
        source, target = rng.normal(size=(5, 2)), rng.normal(size=(5, 2))
        other = transform.SimilarityTransform.from_estimate(source, target)
        np.testing.assert_allclose(
            similarity_transform(source, target), other.params[:2], atol=1e-9
        )


def test_points_in_one_place_are_refused():
    with pytest.raises(InputError, match="one point"):
        similarity_transform(np.ones((5, 2)), np.zeros((5, 2)))


def test_the_box_itself_comes_out_pixel_by_pixel():
    image = np.random.default_rng(1).integers(0, 256, (60, 80, 3), np.uint8)
    chip = cut_chip(image, face_at((10, 20, 42, 52)), BoxCrop(1.0, 1.0), size=32)
    np.testing.assert_array_equal(chip, image[20:52, 10:42])


@settings(deadline=None, max_examples=15)
@given(st.floats(5, 40), st.floats(5, 40), st.floats(18, 30), st.integers(0, 1000))
def test_crops_agree_with_plain_bilinear_sampling(x, y, side, seed):
    image = np.random.default_rng(seed).integers(0, 256, (64, 64, 3), np.uint8)
    face = face_at((x, y, x + side, y + 1.3 * side))
    for crop in (BoxCrop(1.2, 1.05, -0.04), DLIB):
        size = 40
        expected = sample(image, crop.matrix(face, size), size)
        got = cut_chip(image, face, crop, size=size).astype(float)
        # OpenCV interpolates on a grid of 1/32 pixel.
        assert np.abs(got - expected).max() <= 255 / 32 * 2 + 1
        assert np.abs(got - expected).mean() <= 3


def keys(t: np.ndarray) -> np.ndarray:
    """Return the weights of cubic convolution (Keys, 1981) with a = -0.75, as OpenCV has it."""
    t, a = np.abs(t), -0.75
    near = (a + 2) * t**3 - (a + 3) * t**2 + 1
    far = a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a
    return np.where(t <= 1, near, np.where(t < 2, far, 0))


@pytest.mark.parametrize("seed", range(4))
def test_cubic_crops_agree_with_plain_cubic_convolution(seed):
    random = np.random.default_rng(seed)
    image = random.integers(0, 256, (64, 64, 3), np.uint8)
    x, y, side = random.uniform([18, 18, 14], [26, 26, 22])
    crop = BoxCrop(1.2, 1.05, -0.04, "cubic")
    size = 40
    face = face_at((x, y, x + side, y + 1.3 * side))
    matrix = crop.matrix(face, size)
    at_x = matrix[0, 0] * np.arange(size) + matrix[0, 2]
    at_y = matrix[1, 1] * np.arange(size) + matrix[1, 2]
    pixels = np.arange(64)
    weights_y, weights_x = (keys(at[:, None] - pixels[None, :]) for at in (at_y, at_x))
    wanted = np.einsum("yi,ijc,xj->yxc", weights_y, image.astype(float), weights_x).clip(0, 255)
    got = cut_chip(image, face, crop, size=size).astype(float)
    linear = cut_chip(image, face, BoxCrop(1.2, 1.05, -0.04), size=size).astype(float)
    assert np.abs(got - wanted).mean() <= 3  # OpenCV interpolates on a grid of 1/32 pixel
    assert np.abs(linear - wanted).mean() > 3 * np.abs(got - wanted).mean()


def test_a_large_face_is_averaged_not_picked_at():
    # A one-pixel checkerboard averages to grey; sampling it would alias to black and white.
    board = (np.indices((800, 800)).sum(axis=0) % 2 * 255).astype(np.uint8)
    image = np.repeat(board[..., None], 3, axis=2)
    chip = cut_chip(image, face_at((100, 100, 700, 700)), BoxCrop(1.0, 1.0), size=100)
    assert np.abs(chip.astype(float) - 127.5).max() < 20


def test_shrinking_does_not_shift_the_chip():
    ramp = np.linspace(0, 255, 900)
    image = np.repeat(np.tile(ramp, (900, 1))[..., None], 3, axis=2).astype(np.uint8)
    face = face_at((150.3, 100.0, 750.3, 700.0))
    chip = cut_chip(image, face, BoxCrop(1.0, 1.0), size=100)[50, :, 0].astype(float)
    centres = 150.3 + (np.arange(100) + 0.5) * 6.0 - 0.5
    np.testing.assert_allclose(chip, np.interp(centres, np.arange(900), ramp), atol=1.5)


def test_beyond_the_photo_is_black():
    image = np.full((50, 50, 3), 200, np.uint8)
    chip = cut_chip(image, face_at((-25, 0, 25, 50)), BoxCrop(1.0, 1.0), size=50)
    assert not chip[:, :20].any()
    assert (chip[:, 30:] == 200).all()


@pytest.mark.parametrize("crop", [DLIB, ARCFACE])
def test_landmarks_land_on_the_template(crop):
    assert isinstance(crop, LandmarkCrop)
    template = np.asarray(crop.template_xy) * 112
    angle = 0.5
    turn = 1.7 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    landmarks = template @ turn.T + [30, 40]
    matrix = crop.matrix(face_at((0, 0, 10, 10), landmarks), 112)
    back = (landmarks - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
    np.testing.assert_allclose(back, template, atol=1e-3)


def test_a_steadied_box_lies_between_the_detectors_and_the_landmarks_own(portraits):
    for face in portraits:
        x0, y0, x1, y1 = face.box_xyxy
        got = np.array(steadied_box(face))
        assert np.abs(got - face.box_xyxy).max() < 0.1 * (y1 - y0)
        # A box that is off is put half right, in place and in size.
        moved = replace(face, box_xyxy=(x0 + 8, y0 - 4, x1 + 8, y1 - 4))
        np.testing.assert_allclose(steadied_box(moved) - got, [4, -2, 4, -2], atol=1e-9)
        wider = replace(face, box_xyxy=(x0 - 6, y0, x1 + 6, y1))
        np.testing.assert_allclose(steadied_box(wider) - got, [-3, 0, 3, 0], atol=1e-9)
        # It goes where the face goes, and grows with it.
        bigger = replace(
            face,
            box_xyxy=tuple(3 * v + 5 for v in face.box_xyxy),
            landmarks_xy=3 * face.landmarks_xy + 5,
        )
        np.testing.assert_allclose(steadied_box(bigger), 3 * got + 5, rtol=1e-5)


def test_the_landmarks_own_box_is_upright_whatever_the_roll(portraits):
    face = portraits[0]
    middle = face.landmarks_xy.mean(axis=0)
    quarter = np.array([[0.0, 1.0], [-1.0, 0.0]], np.float32)
    turned = replace(face, landmarks_xy=(face.landmarks_xy - middle) @ quarter + middle)
    np.testing.assert_allclose(steadied_box(turned), steadied_box(face), rtol=1e-5)


def test_landmarks_in_one_place_speak_for_no_box():
    face = face_at((10, 20, 42, 52), np.full((5, 2), 30.0))
    assert steadied_box(face) == face.box_xyxy
    image = np.random.default_rng(1).integers(0, 256, (60, 80, 3), np.uint8)
    assert cut_chip(image, face, FACENET, size=160).shape == (160, 160, 3)


@pytest.fixture(scope="module")
def portraits(astronaut, hopper):
    detector = YuNet()
    return [detector.detect(photo)[0] for photo in (astronaut, hopper)]
