import itertools
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limner import images, weights
from limner.errors import InputError
from limner.faces import YuNet
from limner.faces.detect import COARSE_PX, OVERLAP_PX, plan_windows


def iou(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return width * height / (areas - width * height)


@pytest.fixture(scope="module")
def yunet():
    return YuNet()


@pytest.fixture(scope="module")
def opencv():
    """The original implementation: OpenCV's own decoding of the same network."""
    import cv2

    folder = weights.load("yunet").files["onnx"].parent
    original = folder / weights.spec("yunet").file

    def detect(image):
        net = cv2.FaceDetectorYN_create(str(original), "", image.shape[1::-1], 0.6, 0.4, 500)
        _, rows = net.detect(np.ascontiguousarray(image[..., ::-1]))
        return [] if rows is None else rows

    return detect


@settings(deadline=None)
@given(st.integers(1, 6000), st.integers(1, 6000), st.floats(10, 400))
def test_windows_cover_the_photo_and_hold_every_small_face_whole(height, width, min_size):
    windows = plan_windows(height, width, min_size=min_size)
    assert max(windows[0].width, windows[0].height) <= COARSE_PX
    scales = sorted({w.scale for w in windows})
    assert all(b / a <= 4.001 for a, b in itertools.pairwise(scales))
    for scale in scales:
        at_scale = [w for w in windows if w.scale == scale]
        for length, start, size in ((width, "x", "width"), (height, "y", "height")):
            spans = sorted({(getattr(w, start), getattr(w, size)) for w in at_scale})
            assert spans[0][0] == 0
            assert spans[-1][0] + spans[-1][1] >= max(1, round(length * scale))
            for (a, n), (b, _) in itertools.pairwise(spans):
                assert a + n - b >= OVERLAP_PX - 1


def test_boxes_landmarks_and_scores_agree_with_opencv(yunet, opencv, astronaut, hopper):
    for image in (astronaut, hopper):
        # OpenCV looks once at the photo as it is, and so do we where it is small.
        theirs = opencv(image)
        ours = yunet.detect(image)
        assert len(ours) == len(theirs) == 1
        row, face = theirs[0], ours[0]
        box = [row[0], row[1], row[0] + row[2], row[1] + row[3]]
        np.testing.assert_allclose(face.box_xyxy, box, atol=0.5)
        np.testing.assert_allclose(face.landmarks_xy.ravel(), row[4:14], atol=0.5)
        assert face.score == pytest.approx(row[14], abs=1e-3)


def test_a_small_face_in_a_large_photo_is_found_across_a_seam(yunet, astronaut):
    import cv2

    small = cv2.resize(astronaut, (150, 150), interpolation=cv2.INTER_AREA)  # face of ~33 px
    truth = np.array(yunet.detect(astronaut)[0].box_xyxy) * 150 / 512
    for left, top in ((30, 40), (950, 940), (2200, 1500)):
        canvas = np.full((1800, 2600, 3), 110, np.uint8)
        canvas[top : top + 150, left : left + 150] = small
        faces = yunet.detect(canvas)
        assert len(faces) == 1
        assert iou(faces[0].box_xyxy, np.add(truth, [left, top, left, top])) > 0.7


def test_a_face_that_fills_a_large_photo_is_found_once(yunet, astronaut):
    import cv2

    x0, y0, x1, y1 = (int(v) for v in yunet.detect(astronaut)[0].box_xyxy)
    close = astronaut[y0 - 30 : y1 + 30, x0 - 30 : x1 + 30]
    faces = yunet.detect(cv2.resize(close, (2600, 2600), interpolation=cv2.INTER_CUBIC))
    assert len(faces) == 1
    assert faces[0].area > 0.2 * 2600**2


def test_no_face_is_an_empty_list(yunet):
    assert yunet.detect(np.zeros((300, 300, 3), np.uint8)) == []
    assert yunet.detect(np.zeros((1, 1, 3), np.uint8)) == []
    noise = np.random.default_rng(0).integers(0, 256, (200, 2000, 3), np.uint8)
    assert yunet.detect(noise) == []


def test_smallest_size_and_score_are_kept_to(astronaut):
    face = YuNet().detect(astronaut)[0]
    longer = face.box_xyxy[3] - face.box_xyxy[1]
    assert YuNet(min_size=longer + 1).detect(astronaut) == []
    assert len(YuNet(min_size=longer - 1).detect(astronaut)) == 1
    assert YuNet(min_score=min(0.999, face.score + 0.01)).detect(astronaut) == []


@pytest.mark.parametrize("options", [{"min_score": 0.0}, {"min_score": 1.0}, {"min_size": 3}])
def test_bounds_of_options(options):
    with pytest.raises(InputError, match="must lie between"):
        YuNet(**options)


def test_group_photographs_against_their_true_boxes(yunet, shared_data):
    folder = shared_data / "groups" / "dlib" / "faces"
    found = total = wrong = 0
    for file in ("training.xml", "testing.xml"):
        for entry in ET.parse(folder / file).getroot().iter("image"):
            truths = []
            for box in entry.iter("box"):
                left, top, w, h = (float(box.get(k)) for k in ("left", "top", "width", "height"))
                truths.append((left, top, left + w, top + h))
            faces = yunet.detect(images.read(folder / entry.get("file")))
            total += len(truths)
            found += sum(any(iou(f.box_xyxy, t) >= 0.5 for f in faces) for t in truths)
            wrong += sum(all(iou(f.box_xyxy, t) < 0.3 for t in truths) for f in faces)
    assert total == 43
    assert found / total >= 0.97
    assert wrong <= 1


def test_a_crowd_is_looked_at_again(yunet, shared_data):
    photo = shared_data / "groups/wider/named/11_Meeting_Meeting_11_Meeting_Meeting_11_176.jpg"
    faces = yunet.detect(images.read(photo))
    assert 15 <= len(faces) <= 18
