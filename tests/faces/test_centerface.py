"""CenterFace: the decoding against the authors' loop, and the crowds that it is for."""

from __future__ import annotations

import json

import numpy as np
import pytest

from limner import images, weights
from limner.faces import YuNet
from limner.faces.centerface import LEAST, CenterFace, decode


def loop(heat, size, offset, points):
    """Decode cell by cell, in the order of the authors' demonstration."""
    rows = []
    for down in range(heat.shape[2]):
        for across in range(heat.shape[3]):
            value = heat[0, 0, down, across]
            if value < LEAST / 2:
                continue
            tall = np.exp(size[0, 0, down, across]) * 4
            wide = np.exp(size[0, 1, down, across]) * 4
            left = (across + offset[0, 1, down, across] + 0.5) * 4 - wide / 2
            top = (down + offset[0, 0, down, across] + 0.5) * 4 - tall / 2
            row = [left, top, left + wide, top + tall]
            for k in range(5):
                row.append(points[0, 2 * k + 1, down, across] * wide + left)
                row.append(points[0, 2 * k, down, across] * tall + top)
            below = value / LEAST * 0.6
            row.append(below if value < LEAST else 0.6 + 0.4 * (value - LEAST) / (1 - LEAST))
            rows.append(row)
    return np.array(rows).reshape(-1, 15)


@pytest.mark.parametrize("seed", range(5))
def test_decoding_agrees_with_a_loop(seed):
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(2, 9)), int(rng.integers(2, 9)))
    maps = [rng.random((1, n, *shape)) for n in (1, 2, 2, 10)]
    np.testing.assert_allclose(decode(*maps), loop(*maps), rtol=1e-9)


def test_nothing_hot_gives_no_row():
    maps = [np.zeros((1, n, 4, 4)) for n in (1, 2, 2, 10)]
    assert decode(*maps).shape == (0, 15)


def test_the_graph_of_any_size_is_the_original_at_its_own_size():
    import onnxruntime

    loaded = weights.load("centerface")
    original = loaded.files["onnx"].parent / loaded.spec.file
    pictures = np.random.default_rng(0).uniform(0, 255, (10, 3, 32, 32)).astype(np.float32)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    fixed = onnxruntime.InferenceSession(str(original), options).run(None, {"input.1": pictures})
    free = onnxruntime.InferenceSession(str(loaded.files["onnx"]), options)
    for i in (0, 9):
        for ours, theirs in zip(
            free.run(None, {"input.1": pictures[i : i + 1]}), fixed, strict=True
        ):
            np.testing.assert_allclose(ours[0], theirs[i], atol=1e-4)


def test_a_small_portrait_and_its_landmarks():
    from skimage.data import astronaut

    rows = CenterFace().rows(astronaut())
    best = rows[rows[:, 14].argmax()]
    left, top, right, bottom = best[:4]
    assert best[14] > 0.8
    assert 150 < left < right < 310
    assert 40 < top < bottom < 220
    eye_a, eye_b, nose, mouth_a, mouth_b = best[4:14].reshape(5, 2)
    assert eye_a[0] < nose[0] < eye_b[0]
    assert max(eye_a[1], eye_b[1]) < nose[1] < min(mouth_a[1], mouth_b[1])


def test_crowds_of_wider(shared_data):
    folder = shared_data / "groups" / "wider"
    yunet = YuNet(min_size=16)
    hits = total = found = false = 0
    for name, entry in json.loads((folder / "named_gt.json").read_text()).items():
        truths = np.array([[x, y, x + w, y + h] for x, y, w, h in entry["boxes_xywh"]], float)
        faces = yunet.detect(images.read(folder / "named" / name))
        boxes = np.array([f.box_xyxy for f in faces]).reshape(-1, 4)
        low = np.maximum(truths[:, None, :2], boxes[None, :, :2])
        high = np.minimum(truths[:, None, 2:], boxes[None, :, 2:])
        inter = np.clip(high - low, 0, None).prod(axis=2)
        area_a, area_b = ((b[:, 2:] - b[:, :2]).prod(axis=1) for b in (truths, boxes))
        overlap = inter / (area_a[:, None] + area_b[None] - inter)
        counted = (truths[:, 2:] - truths[:, :2]).max(axis=1) >= 20
        hits += int((overlap[counted].max(axis=1, initial=0) >= 0.5).sum())
        total += int(counted.sum())
        found += len(boxes)
        false += int((overlap.max(axis=0, initial=0) < 0.3).sum())
    assert total == 136
    assert hits / total >= 0.85
    assert false / found <= 0.02
